"""Rules over many series at once: the same as one by one, with few queries, and the newest window is judged again."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from math import nan
from typing import Any

import numpy as np
import pytest
from alerts_fakes import Event, FakeReader, MemoryHistory, MemoryNotifier, at, catalog_of, simple
from hypothesis import given, settings
from hypothesis import strategies as st

from onpace.alerts import window_plans
from onpace.alerts.anomalies import Season, Slot
from onpace.alerts.engine import Engine
from onpace.alerts.reading import SeriesKey
from onpace.alerts.season_table import SeasonTable
from onpace.alerts.states import Alert, step
from onpace.alerts.window_rules import read_windows
from onpace.config.calendar import window_end
from onpace.config.catalog import Catalog
from onpace.config.kpi import RatioKpi
from onpace.config.rules import AnomalyRule, ChangeRule, Channel, Rule, ThresholdRule, WindowRule

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
START = at("2026-10-05")
"""A Monday."""
CHANNELS = [
    Channel(name="ops", type="log"),
    Channel(name="manager", type="alertmanager", url="http://localhost:9093"),
]
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
        self.catalog = catalog_of([ORDERS, SALES, RATE], rules or RULES, channels=CHANNELS)
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


DAILY: Sequence[WindowRule] = (
    rule("odd", "anomaly", grain="day", direction="both", sensitivity=1, **{"for": "1d"}),
    rule("limits", "anomaly", grain="day", direction="both", method="xmr", baseline=12),
    rule("odd-rate", "anomaly", kpi="rate", grain="day", direction="low", min_effect=0.1),
    rule("enough", "anomaly", grain="day", sensitivity=2, min_volume={"kpi": "sales", "at_least": 2}),
    rule("rise", "change", against="same_weekday", rise="40%", grain="day"),
)


@settings(max_examples=10)
@given(st.integers(0, 10**9))
def test_what_is_unusual_is_so_as_if_all_of_the_past_were_read_anew(seed: int) -> None:
    """Day by day for ten weeks: seasons and limits, new series, and late events that change days long past."""
    rng = random.Random(seed)
    world = World(*DAILY, events=sold(START, "EU", 2))
    naive = OneByOne(world.catalog, world.reader)
    now, regions = START, ["EU", "US"]
    while now < START + 70 * DAY:
        days = rng.choice([1, 2, 5, 14])
        regions += [f"r{len(regions)}"] if rng.random() < 0.1 else []
        for day in range(days):
            for region in regions:
                usual = 5 if (now + day * DAY).weekday() < 5 else 2
                count = usual + rng.choice([-1, 0, 0, 1]) if rng.random() < 0.9 else rng.choice([0, 9])
                world.arrive(*sold(now + day * DAY, region, count, rng.choice([0.5, 1.0])))
        now += days * DAY
        for _ in range(rng.randint(0, 3)):  # late, into any day
            world.arrive(*sold(now - rng.randint(1, (now - START).days) * DAY, rng.choice(regions), rng.randint(1, 4)))
        for minute in (0, 2):
            if rng.random() < 0.3:
                world.restart()
                naive.restart()
            world.look(now + timedelta(minutes=minute))
            naive.look(now + timedelta(minutes=minute))
            assert world.states() == naive.states()
            world.arrive(*sold(now - DAY, rng.choice(regions), rng.choice([0, 3])))


def test_rules_on_one_kpi_and_grain_share_a_query() -> None:
    """And so does the volume that another is weighed with; a second `by` is another query."""
    threshold = rule("low", "threshold", below=1)
    world = World(
        threshold,
        rule("drop", "change", against="same_weekday", drop="50%"),
        rule("odd", "anomaly"),
        rule("few", "threshold", kpi="sales", below=3, min_volume={"kpi": "orders", "at_least": 2}),
        rule("total", "threshold", below=1, by=[]),
        events=[one for number in range(30 * 24) for one in sold(START + number * HOUR, "EU")],
    )
    world.look(START + 30 * DAY)
    assert world.reader.queries.count("series orders") == 2
    assert world.reader.queries.count("series sales") == 1
    world.look(START + 30 * DAY + HOUR)
    assert world.reader.queries.count("series orders") == 2
    assert world.reader.queries.count("series sales") == 1


def test_the_past_is_read_again_once_a_day_and_not_with_every_window() -> None:
    """Eight weeks of hours are 1,344 windows: a 24th of them each hour, and what is judged."""
    world = World(rule("odd", "anomaly"))
    world.arrive(*[one for number in range(70 * 24) for one in sold(START + number * HOUR, "EU")])
    now = START + 65 * DAY
    world.look(now)
    assert world.reader.windows_read > 1344
    world.look(now + HOUR)
    assert 1344 / 24 <= world.reader.windows_read <= 1344 / 24 + 4
    world.look(now + HOUR + timedelta(minutes=2))
    assert world.reader.windows_read == 1


def test_what_is_quiet_is_not_written() -> None:
    """One row a rule says how far it has come, and that is enough for the engine that comes after."""
    rules = [rule("low", "threshold", below=1), rule("high", "threshold", above=5)]
    world = World(*rules, events=[one for region in "abcdefgh" for one in sold(START, region, 2)])
    world.look(START + HOUR)
    assert sorted(rule for rule, *_ in world.history.kept_alerts) == ["high", "low"]
    world.arrive(*sold(START + HOUR, "a", 9), *[one for region in "bcdefgh" for one in sold(START + HOUR, region)])
    world.restart()
    world.look(START + 2 * HOUR)
    active = [one for one in world.history.kept_alerts.values() if one.active]
    assert [(one.rule, one.series, one.fired_at) for one in active] == [("high", (("region", "a"),), START + 2 * HOUR)]
    assert len(world.history.kept_alerts) <= 4
    assert len([one for one in world.engine.latest.alerts if one.kpi]) == 16  # type: ignore[union-attr]


def test_an_alert_that_fired_because_a_source_was_late_is_resolved_when_it_has_come() -> None:
    """Not a day later: the newest window is judged again, at its own end. Both steps are on record."""
    world = World(rule("low", "threshold", below=10, grain="day"), events=sold(START, "EU", 20))
    world.arrive(*sold(START + DAY + 8 * HOUR, "EU", 3))
    world.look(START + DAY)
    world.look(START + 2 * DAY)
    assert world.alert("low", "EU").state == "firing"
    world.arrive(*sold(START + DAY + 9 * HOUR, "EU", 9))
    world.look(START + 2 * DAY + timedelta(minutes=10))
    alert = world.alert("low", "EU")
    assert (alert.state, alert.resolved_at) == ("resolved", START + 2 * DAY)
    assert alert.reason == "corrected by late events, was 3: 12 is within bounds"
    assert [(one.before, one.alert.state, one.at) for one in world.history.transitions] == [
        ("inactive", "firing", START + 2 * DAY),
        ("firing", "resolved", START + 2 * DAY),
    ]
    assert [state for _, state, _ in world.told()] == ["firing", "resolved"]


def test_a_rule_that_comes_back_says_what_it_finds_and_not_that_something_came_late() -> None:
    """It was taken out of the KPI files while it fired, and put back: nothing was corrected."""
    world = World(rule("low", "threshold", below=10, grain="day"), events=sold(START, "EU", 20))
    world.arrive(*sold(START + DAY + 8 * HOUR, "EU", 3))
    whole = world.catalog
    world.look(START + 2 * DAY)
    world.catalog = catalog_of([ORDERS, SALES, RATE], [rule("other", "threshold", below=0)], channels=CHANNELS)
    world.restart()
    left = START + 2 * DAY + timedelta(minutes=10)
    world.look(left)
    world.catalog = whole
    world.restart()
    world.look(START + 2 * DAY + timedelta(minutes=20))
    alert = world.alert("low", "EU")
    assert (alert.state, alert.reason, alert.fired_at) == ("firing", "3 is below 10", left)
    assert [(one.alert.state, one.at) for one in world.history.transitions] == [
        ("firing", START + 2 * DAY),
        ("resolved", left),
        ("firing", left),
    ]
    assert [text for *_, text in world.told()] == ["orders (region EU) is at 3, below 10"] * 2


def test_late_events_fire_an_alert_that_would_have() -> None:
    """The bound was crossed after all; and when that is corrected again, people hear of it again, under other keys."""
    world = World(rule("high", "threshold", above=3), events=sold(START, "EU", 2))
    world.look(START + HOUR)
    for late, state in ((2, "firing"), (0, "firing")):
        world.arrive(*sold(START, "EU", late))
        world.look(world.reader.clock + timedelta(minutes=5))
        assert world.alert("high", "EU").state == state
    del world.reader.events["order.placed"][2:]
    world.look(world.reader.clock + timedelta(minutes=5))
    assert world.alert("high", "EU").reason == "corrected by late events, was 4: 2 is within bounds"
    world.arrive(*sold(START, "EU", 3))
    world.look(world.reader.clock + timedelta(minutes=5))
    assert [state for _, state, _ in world.told()] == ["firing", "resolved", "firing"]
    assert len({one.key for one in world.notifier.sent}) == 3


def test_a_correction_goes_back_to_what_the_alert_was_before_the_window() -> None:
    """It fired an hour before, was resolved by the newest window, and that was wrong: it fires on."""
    world = World(rule("high", "threshold", above=3), events=sold(START, "EU", 5) + sold(START + HOUR, "EU", 2))
    world.look(START + HOUR)
    world.look(START + 2 * HOUR)
    assert world.alert("high", "EU").state == "resolved"
    world.restart()
    world.arrive(*sold(START + HOUR, "EU", 2))
    world.look(START + 2 * HOUR + timedelta(minutes=5))
    alert = world.alert("high", "EU")
    assert (alert.state, alert.active_since, alert.fired_at) == ("firing", START + HOUR, START + HOUR)
    assert [state for _, state, _ in world.told()] == ["firing", "resolved", "firing"]
    world.look(START + 3 * HOUR)
    assert world.alert("high", "EU").resolved_at == START + 3 * HOUR


def test_a_late_volume_is_a_correction_too() -> None:
    """With so few it was no verdict; with more it is a bad one."""
    low = rule("low", "threshold", kpi="rate", below=1, min_volume={"kpi": "orders", "at_least": 3})
    world = World(low, events=sold(START, "EU", 2, 0.5))
    world.look(START + HOUR)
    assert world.alert("low", "EU").state == "inactive"
    world.arrive(*sold(START, "EU", 2, 0.5))
    world.look(START + HOUR + timedelta(minutes=5))
    alert = world.alert("low", "EU")
    assert (alert.state, alert.reason) == ("firing", "corrected by late events: 0.5 is below 1")


def test_older_windows_are_not_reopened() -> None:
    """What lies before the newest window stays as it was judged."""
    world = World(rule("high", "threshold", above=3), events=sold(START, "EU", 2) + sold(START + HOUR, "EU", 2))
    world.look(START + 2 * HOUR)
    world.arrive(*sold(START, "EU", 5))
    world.look(START + 2 * HOUR + timedelta(minutes=5))
    world.restart()
    world.look(START + 2 * HOUR + timedelta(minutes=10))
    assert world.history.transitions == []


def test_a_rule_that_was_edited_does_not_judge_again_what_it_judged() -> None:
    """No late event has come: the new bound counts from the next window on."""
    world = World(rule("high", "threshold", above=3), events=sold(START, "EU", 2))
    world.look(START + HOUR)
    world.catalog = world.reader.catalog = catalog_of(
        [ORDERS, SALES, RATE], [rule("high", "threshold", above=1)], channels=CHANNELS
    )
    world.restart()
    world.look(START + HOUR + timedelta(minutes=5))
    assert world.alert("high", "EU").state == "inactive"
    world.arrive(*sold(START + HOUR, "EU", 2))
    world.look(START + 2 * HOUR)
    assert world.alert("high", "EU").fired_at == START + 2 * HOUR


@pytest.mark.parametrize("channel", ["ops", "manager"])
def test_people_are_told_of_the_worst_series_and_how_many_more_there_are(channel: str) -> None:
    """Three of ten; which they are does not change as others get worse, and a free place goes to the worst left."""
    many = rule("high", "threshold", above=3, max_alerts=3, notify=[channel])
    regions = [f"r{number}" for number in range(10)]
    world = World(many, events=[one for at_, region in enumerate(regions) for one in sold(START, region, 5 + at_)])
    world.look(START + HOUR)
    assert [(region, state) for region, state, _ in world.told()] == [
        ("r7", "firing"),
        ("r8", "firing"),
        ("r9", "firing"),
    ]
    assert world.notifier.sent[0].annotations["more"] == "And 7 more series"
    assert world.notifier.sent[0].annotations["description"].endswith("And 7 more series.")
    assert all(world.alert("high", region).state == "firing" for region in regions)
    assert sum(one.alert.state == "firing" for one in world.history.transitions) == 10
    assert len(world.notifier.firing) == (3 if channel == "manager" else 0)  # what is sent again and again

    worse = [20, 5, 30, 5, 5, 5, 5, 5, 4, 4]
    world.arrive(
        *[one for region, size in zip(regions, worse, strict=True) for one in sold(START + HOUR, region, size)]
    )
    world.restart()
    world.look(START + 2 * HOUR)
    assert len(world.notifier.sent) == 3

    world.arrive(*[one for region in regions for one in sold(START + 2 * HOUR, region, 1 if region == "r8" else 5)])
    world.look(START + 3 * HOUR)
    assert sorted((region, state) for region, state, _ in world.told()[3:]) == [("r0", "firing"), ("r8", "resolved")]
    assert world.notifier.sent[-1].annotations.get("more", world.notifier.sent[-2].annotations.get("more")) == (
        "And 6 more series"
    )


def test_a_few_points_of_much_are_worse_than_many_of_little() -> None:
    """Of two rates the one with more behind it is told."""
    low = rule("low", "threshold", kpi="rate", below=1, max_alerts=1, min_volume={"kpi": "orders", "at_least": 2})
    world = World(low, events=sold(START, "big", 40, 0.8) + sold(START, "small", 2, 0.1))
    world.look(START + HOUR)
    assert [(region, state) for region, state, _ in world.told()] == [("big", "firing")]


@pytest.mark.parametrize("accumulates", [False, True])
@settings(max_examples=40)
@given(st.integers(0, 10**9))
def test_a_season_is_learned_for_many_as_it_is_for_one(accumulates: bool, seed: int) -> None:
    """With holes, too little of it, ties and nothing but zeros."""
    rng = random.Random(seed)
    pool = rng.choice([[0.0], [0.0, 1, 2, 3], [5.0, 5, 5, 9], [number * 0.37 for number in range(50)], [-3.0, 2, 7]])
    width, holes = rng.randint(1, 5), rng.choice([0.0, 0.2])
    seen: dict[Slot, list[np.ndarray[Any, np.dtype[np.float64]]]] = {
        (day, 0): [
            np.array([nan if rng.random() < holes else float(rng.choice(pool)) for _ in range(width)])
            for _ in range(rng.randint(1, 9))
        ]
        for day in range(rng.randint(0, 7))
    }
    table = SeasonTable.learned(seen, accumulates=accumulates, width=width)
    for number in range(width):
        mine = {
            slot: [float(one[number]) for one in found if not np.isnan(one[number])] for slot, found in seen.items()
        }
        alone = Season.learned({slot: found for slot, found in mine.items() if found}, accumulates=accumulates)
        for slot in seen:
            one, many = alone.usual(slot, 4, ""), table.of(slot, number).usual(slot, 4, "")
            assert (one is None) == (many is None)
            if one and many:
                assert (many.centre, many.low, many.high) == pytest.approx((one.centre, one.low, one.high), rel=1e-12)


def test_a_long_pause_is_made_up_for_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven windows at once, of three hundred: the same steps as hour by hour, a query for each part."""
    rng = random.Random(5)
    sales = [one for at_ in range(300) for name in "ab" for one in sold(START + at_ * HOUR, name, rng.randint(0, 4))]
    rules = [one for one in RULES if one.kpi == "orders"]
    often, once = World(*rules, events=sales), World(*rules, events=sales)
    for hours in range(1, 301):
        often.look(START + hours * HOUR)
    monkeypatch.setattr(window_plans, "AT_ONCE", 7)
    once.look(START + 300 * HOUR)
    assert once.reader.queries.count("series orders") == 43 + 43 + 2  # hours by region and in total, days
    assert once.states() == often.states()
    taken = [
        {(one.alert.identity, one.alert.state, one.at) for one in world.history.transitions} for world in (often, once)
    ]
    assert taken[0] == taken[1]
    assert len(taken[0]) > 50
