"""Windows in columns, read from the real store: the same as one by one; and late events through the whole engine."""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import datetime, timedelta
from math import isnan, nan

import pytest
from processors_fakes import EVERYTHING, REGION, TOPIC, Sent, catalog_of, log_of, order, ratio, simple, visit
from processors_world import drain, world
from test_targets import Silent

from onpace.alerts.engine import Engine
from onpace.alerts.history import ClickHouseHistory
from onpace.config.calendar import Grain, window_end, window_start, windows
from onpace.config.catalog import Catalog
from onpace.config.rules import ChangeRule, ThresholdRule
from onpace.processors.clickhouse import ClickHouse
from onpace.processors.reader import Reader
from onpace.processors.views import refresh_views

HOUR = timedelta(hours=1)
START = datetime.fromisoformat("2026-03-28T00:00:00+00:00")  # daylight saving begins in Berlin the day after
END = START + timedelta(days=4)


def some_events(seed: int, count: int = 300) -> list[Sent]:
    """Orders and visits of some regions, one of them null; nothing on one of the days."""
    rng = random.Random(seed)
    found = [order("first", START + HOUR, region="EU", amount=1.5, items=1, score=0.5)]
    for number in range(count):
        time = START + timedelta(seconds=rng.randrange(int((END - START).total_seconds())))
        if time.day == 30:
            continue
        region = rng.choice(["EU", "US", "test", None])
        amounts = {"amount": rng.randint(1, 30000) / 100, "items": rng.randint(1, 4), "score": rng.uniform(-5, 5)}
        found.append(order(f"o{number}", time, region=region, **amounts))
        if region:
            found.append(visit(f"v{number}", time, region=region))
    return found


def stored(store: ClickHouse, catalog: Catalog, sent: list[Sent]) -> Reader:
    """A reader of what a processor made of it."""
    logs = {0: log_of(sent, arrival=END)}
    worker = world(store, catalog, logs)
    drain(worker, logs)
    worker.flush(caught_up={0: END + HOUR}, input_end=END)
    refresh_views(store, catalog, TOPIC)
    return Reader(store, catalog)


@pytest.mark.parametrize("every", [True, False])
def test_a_table_has_what_the_windows_have_one_by_one(store: ClickHouse, every: bool) -> None:
    """Of every kind of KPI, in several stretches at once, by a dimension and in total, over a change of the clock."""
    reader = stored(store, EVERYTHING, some_events(1))
    for kpi in EVERYTHING.kpis.values():
        base, dimensions = EVERYTHING.base_grain(kpi), EVERYTHING.dimensions(kpi)
        for grain in [one for one in (Grain.HOUR, Grain.DAY) if one.rank >= base.rank]:
            starts = list(windows(grain, START - timedelta(days=1), END, kpi.calendar))
            parts = [(starts[0], starts[2]), (starts[3], window_end(grain, starts[-1], kpi.calendar))]
            for by in [(), ("region",)] if "region" in dimensions else [()]:
                table = reader.table(kpi.name, grain, parts, by=by, every=every)
                found = {
                    (key, start): float(value)
                    for start, row in zip(table.starts, table.values, strict=True)
                    for key, value in zip(table.keys, row, strict=True)
                }
                wanted = {
                    (key, point.window_start): nan if point.value is None else point.value
                    for start, end in parts
                    for key, points in reader.series(kpi.name, grain, start, end, by=by).items()
                    for point in points
                    if point.complete
                }
                read = {place: found.get(place, nan) for place in wanted}
                assert read == pytest.approx(wanted, rel=1e-12, abs=1e-12, nan_ok=True)
                assert not [
                    place for place, value in found.items() if not isnan(value) and value and place not in wanted
                ]


def test_slices_are_read_together_as_they_are_one_by_one(store: ClickHouse) -> None:
    """Also those that hold nothing, before and after the first event."""
    reader = stored(store, EVERYTHING, some_events(2))
    spans = [(START - HOUR, START), (START, START + 30 * HOUR), (START, END), (START + 50 * HOUR, START + 60 * HOUR)]
    for kpi in EVERYTHING.kpis.values():
        if "region" in EVERYTHING.dimensions(kpi):
            wheres = [{"region": name} for name in ("EU", "it's", "US", "")]
            found = reader.slices(kpi.name, spans, wheres)
            for where, values in zip(wheres, found, strict=True):
                alone = [nan if one is None else one for one in reader.values(kpi.name, spans, where)]
                assert [nan if one is None else one for one in values] == pytest.approx(alone, rel=1e-12, nan_ok=True)


def test_a_table_of_nothing_is_empty(store: ClickHouse) -> None:
    """Before the first event, and before anything is complete."""
    catalog = catalog_of(simple("orders", "count", dimensions=REGION, grain="1h"))
    refresh_views(store, catalog, TOPIC)
    table = Reader(store, catalog).table("orders", Grain.HOUR, [(START, END)], by=("region",))
    assert (list(table.keys), list(table.starts), table.values.shape) == ([], [], (0, 0))


LOW = {"name": "low", "kpi": "orders", "when": "threshold", "below": 3, "by": ["region"], "grain": "hour"}
DROP = {"name": "drop", "kpi": "rate", "when": "change", "against": "previous", "drop": "50%", "grain": "hour"}


def test_late_events_correct_an_alert_in_the_store_across_a_restart(store: ClickHouse) -> None:
    """Every flush is judged by an engine that has just started; the alert and its history say what came late."""
    plain = catalog_of(
        simple("orders", "count", dimensions=REGION, grain="1h"),
        simple("visits", "count", event="site.visited", dimensions=REGION, grain="1h"),
        ratio("rate", "orders", "visits"),
    )
    rules = {"low": ThresholdRule.model_validate(LOW), "drop": ChangeRule.model_validate(DROP | {"by": ["region"]})}
    catalog = Catalog(events=plain.events, kpis=plain.kpis, rules=dict(rules))
    sent = [order(f"a{number}", START, region="EU") for number in range(4)]
    sent += [visit(f"v{number}-{hour}", START + hour * HOUR, region="EU") for number in range(4) for hour in range(2)]
    sent += [order("b0", START + HOUR, region="EU")]
    late = [order(f"b{number}", START + HOUR, region="EU") for number in range(1, 4)]
    logs = {0: log_of([*sent, *late], arrival=START + 3 * HOUR)}
    worker = world(store, catalog, logs)
    worker.assign({0})
    refresh_views(store, catalog, TOPIC)

    def look(count: int, now: datetime) -> Mapping[str, str]:
        worker.take(0, count)
        worker.flush(caught_up={0: now + HOUR / 2})
        engine = Engine(catalog, Reader(store, catalog), ClickHouseHistory(store), Silent())
        found = engine.evaluate(now, notify=True)
        return {one.rule: one.state for one in found.alerts if one.kpi and one.series == (("region", "EU"),)}

    now = window_start(Grain.HOUR, START + 2 * HOUR, plain.kpi("orders").calendar)
    assert look(len(sent), now) == {"low": "firing", "drop": "firing"}
    assert look(0, now + timedelta(minutes=2)) == {"low": "firing", "drop": "firing"}
    assert look(len(late), now + timedelta(minutes=4)) == {"low": "resolved", "drop": "resolved"}
    rows = store.query("SELECT rule, before, state, at, reason FROM alert_transitions ORDER BY rule, at, before DESC")
    assert [(rule, before, state, at) for rule, before, state, at, _ in rows] == [
        ("drop", "inactive", "firing", now),
        ("drop", "firing", "resolved", now),
        ("low", "inactive", "firing", now),
        ("low", "firing", "resolved", now),
    ]
    assert rows[3][4] == "corrected by late events, was 1: 4 is within bounds"
    [(corrections, prior)] = store.query("SELECT corrections, prior FROM alerts FINAL WHERE rule = 'low'")
    assert corrections == 1
    assert '"state":"inactive"' in prior
