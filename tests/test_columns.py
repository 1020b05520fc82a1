"""Rules over many series at once: the same as one by one, with few queries, and the newest window is judged again."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from alerts_fakes import Event, FakeReader, MemoryHistory, MemoryNotifier, at, catalog_of, simple
from hypothesis import given, settings
from hypothesis import strategies as st

from onpace.alerts.engine import Engine
from onpace.alerts.reading import SeriesKey
from onpace.alerts.states import Alert, step
from onpace.alerts.window_rules import read_windows
from onpace.config.calendar import window_end
from onpace.config.catalog import Catalog
from onpace.config.kpi import RatioKpi
from onpace.config.rules import AnomalyRule, ChangeRule, Channel, Rule, ThresholdRule, WindowRule

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
START = at("2026-10-05")
"""A Monday."""
OPS = Channel(name="ops", type="log")
ORDERS = simple("orders", agg="count", value=None, dimensions={"region": "region"})
SALES = simple("sales", dimensions={"region": "region"})
RATE = RatioKpi.model_validate(
    {"name": "rate", "type": "ratio", "numerator": "sales", "denominator": "orders", "direction": "higher_is_better"}
    | {"role": "lagging"}
)
MODELS = {"threshold": ThresholdRule, "change": ChangeRule, "anomaly": AnomalyRule}


def rule(name: str, when: str, **more: Any) -> WindowRule:
    """A rule by region, in hours."""
    given = {"name": name, "kpi": "orders", "when": when, "by": ["region"], "grain": "hour", "notify": ["ops"]} | more
    found: WindowRule = MODELS[when].model_validate(given)
    return found


RULES: Sequence[WindowRule] = (
    rule("low", "threshold", below=1, **{"for": "1h", "keep_firing_for": "1h"}),
    rule("high", "threshold", above=3, clear={"below": 2}, by=[]),
    rule("drop", "change", against="previous", drop="50%"),
    rule("rise", "change", against="same_weekday", rise=2, grain="day"),
    rule("odd", "anomaly", grain="day", direction="both", sensitivity=1, min_effect=2),
    rule("odd-rate", "anomaly", kpi="rate", grain="day", method="xmr", direction="both", baseline=12),
    rule("few", "threshold", kpi="sales", below=3, min_volume={"kpi": "orders", "at_least": 2}),
    rule("rate", "change", kpi="rate", against="previous", rise=1, min_volume={"kpi": "orders", "at_least": 2}),
)


class OneByOne:
    """What an engine does that keeps nothing but alerts, and reads each series anew: the words of docs/alerts.md."""

    def __init__(self, catalog: Catalog, reader: FakeReader) -> None:
        self.catalog, self.reader = catalog, reader
        self.alerts: dict[tuple[str, SeriesKey], Alert] = {}
        self.before: dict[tuple[str, SeriesKey], Alert] = {}
        """As they were before the newest window."""
        self.newest: dict[str, datetime] = {}
        self.judged: dict[str, dict[SeriesKey, tuple[float | None, float | None]]] = {}

    def look(self, now: datetime) -> None:
        """Judge the newest window again where its value or volume differs, then all that are new."""
        first = self.reader.first_event("orders")
        if first is None:
            return
        for one in self.catalog.rules.values():
            assert isinstance(one, WindowRule)
            calendar = self.catalog.kpi(one.kpi).calendar
            size = one.grain.step or DAY
            complete_to = now.replace(minute=0) if size == HOUR else now.replace(hour=0, minute=0)
            begun = self.newest.get(one.name)
            since = begun - size if begun else first
            if since >= complete_to:
                continue
            judged = self.judged.setdefault(one.name, {})
            for key, windows in read_windows(
                self.catalog, self.reader, one, (since, complete_to), first_event=first
            ).items():
                place = one.name, key
                for point in windows.points:
                    end = window_end(one.grain, point.window_start, calendar)
                    alert = self.alerts.get(place, Alert(one.name, one.kpi, tuple(zip(one.by, key, strict=True))))
                    if begun and end < begun:
                        continue
                    seen = point.value, windows.volumes.get(point.window_start)
                    if end == begun:
                        if judged.get(key) == seen:
                            continue
                        alert = self.before.get(place, alert)
                    else:
                        self.before[place] = alert
                    verdict = windows.verdict(point, firing=alert.state == "firing")
                    after = step(alert, breached=verdict.breached, hold=one.hold, now=end, keep=one.keep)
                    judged[key] = seen
                    self.alerts[place] = after
            self.newest[one.name] = complete_to

    def restart(self) -> None:
        """What the newest windows looked like is not known any more: all of them are judged again."""
        self.judged.clear()

    def states(self) -> dict[tuple[str, SeriesKey], tuple[Any, ...]]:
        """Every alert that is active, with all its times."""
        return {
            place: (alert.state, alert.active_since, alert.fired_at, alert.good_since)
            for place, alert in self.alerts.items()
            if alert.active
        }


class World:
    """The engine, its store and its reader."""

    def __init__(self, *rules: Rule, events: Sequence[Event] = ()) -> None:
        self.catalog = catalog_of([ORDERS, SALES, RATE], rules or RULES, channels=[OPS])
        self.reader = FakeReader(self.catalog, {"order.placed": list(events)}, START)
        self.history, self.notifier = MemoryHistory(), MemoryNotifier()
        self.restart()

    def restart(self) -> None:
        """Another process takes over."""
        self.engine = Engine(self.catalog, self.reader, self.history, self.notifier)

    def look(self, now: datetime) -> None:
        """Evaluate."""
        self.reader.clock = now
        self.reader.queries.clear()
        self.engine.evaluate(now, notify=True)

    def arrive(self, *events: Event) -> None:
        """Events arrive, whenever they were."""
        self.reader.events["order.placed"] += events
        self.reader._indexes.clear()

    def alert(self, name: str, region: str | None = None) -> Alert:
        """One alert."""
        assert self.engine.latest is not None
        series = (("region", region),) if region else ()
        return next(one for one in self.engine.latest.alerts if (one.rule, one.series) == (name, series))

    def states(self) -> dict[tuple[str, SeriesKey], tuple[Any, ...]]:
        """Every alert of a window that is active, with all its times."""
        assert self.engine.latest is not None
        return {
            (one.rule, tuple(value for _, value in one.series)): (
                one.state,
                one.active_since,
                one.fired_at,
                one.good_since,
            )
            for one in self.engine.latest.alerts
            if one.active and one.kpi
        }

    def told(self) -> list[tuple[str, str, str]]:
        """Region, state and text of every message."""
        return [(one.labels.get("dim_region", ""), one.state, one.annotations["summary"]) for one in self.notifier.sent]


def sold(time: datetime, region: str, count: int = 1, value: float = 1.0) -> list[Event]:
    """So many orders in the middle of an hour."""
    return [Event(time + HOUR / 2, {"region": region}, value) for _ in range(count)]


@settings(max_examples=15)
@given(st.integers(0, 10**9))
def test_it_is_as_if_each_series_were_read_anew_and_judged_alone(seed: int) -> None:
    """Through late events into the newest windows, restarts, series that come and go, short looks and long pauses."""
    rng = random.Random(seed)
    world = World(events=sold(START, "EU", 2) + sold(START, "US", 2))
    naive = OneByOne(world.catalog, world.reader)
    now, regions = START, ["EU", "US"]
    for _ in range(rng.randint(5, 15)):
        hours = rng.choice([1, 1, 2, 5, 26, 60])
        if rng.random() < 0.2:
            regions.append(f"r{len(regions)}")
        for hour in range(hours):
            for region in regions:
                if rng.random() < 0.8 and not (region == "US" and seed % 3 == 0):  # the US vanish
                    world.arrive(*sold(now + hour * HOUR, region, rng.choice([0, 1, 1, 2, 4]), rng.choice([1.0, 2.0])))
        now += hours * HOUR
        for minute in range(0, rng.choice([1, 2, 3]) * 2, 2):
            if rng.random() < 0.5:  # late, into the hour or the day before
                newest = now - HOUR if rng.random() < 0.5 else now.replace(hour=0) - rng.randint(1, 24) * HOUR
                if newest >= START:
                    world.arrive(*sold(newest, rng.choice(regions), rng.randint(1, 4)))
            if rng.random() < 0.3:
                world.restart()
                naive.restart()
            at_ = now + timedelta(minutes=minute)
            world.look(at_)
            naive.look(at_)
            assert world.states() == naive.states()
