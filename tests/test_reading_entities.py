"""Entity KPIs as they are read: by hand-computed numbers, when they are complete, and what is made of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from entities_fakes import balance, conversion, retention
from processors_fakes import LIFE, TOPIC, Sent, derived, log_of, simple
from processors_world import drain, world

from onpace.config.calendar import Grain
from onpace.config.catalog import Catalog
from onpace.config.kpi import CumulativeKpi, EventType
from onpace.processors.clickhouse import ClickHouse
from onpace.processors.extents import extent_sql
from onpace.processors.reader import Point, Reader
from onpace.processors.views import view_statements
from onpace.processors.writer import StoreWriter

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
TEXT = {"type": "string"}
VISITED = EventType(name="visited", properties={"user_id": TEXT, "region": TEXT})
BOUGHT = EventType(name="bought", properties={"user_id": TEXT, "region": TEXT})
CHANGED = EventType(name="changed", properties={"user_id": TEXT, "plan": TEXT, "mrr": {"type": "number", "decimal": 2}})
VISIT, BUY = {"event": "visited"}, {"event": "bought"}
REGION: dict[str, Any] = {"dimensions": {"region": "region"}, "grain": "1d"}


def total(name: str, of: str, **more: Any) -> CumulativeKpi:
    """A cumulative KPI."""
    common = {"type": "cumulative", "direction": "higher_is_better", "role": "lagging"}
    return CumulativeKpi.model_validate({"name": name, "of": of} | common | more)


KPIS = [
    conversion("rate", VISIT, BUY, "2d", **REGION),
    conversion("buyers", VISIT, BUY, "2d", measure="count", **REGION),
    conversion("seconds", VISIT, BUY, "2d", measure="median_time", **REGION),
    retention("back_w1", VISIT, VISIT, "week", 1),
    retention("back_never", VISIT, VISIT, "month", 1000),
    retention("back_later", VISIT, VISIT, "week", 1, kind="rolling"),
    balance("mrr", "changed", "mrr", dimensions={"plan": "plan"}, grain="1d"),
    derived("arr", "mrr * 12"),
    derived("mrr_growth", "mrr - offset(mrr, '1 week')"),
    total("buyers_mtd", "buyers", to_date="month"),
    simple("visits", "count", event="visited", grain="1d"),
    derived("twice", "rate * 2"),
]
CATALOG = Catalog(
    events={event.name: event for event in (VISITED, BOUGHT, CHANGED)}, kpis={kpi.name: kpi for kpi in KPIS}
)


def sent(type: str, id: str, after: timedelta, user: str, **data: Any) -> Sent:
    """An event so long after Monday."""
    return Sent(id=id, time=MONDAY + after, type=type, data={"user_id": user} | data)


EVENTS = [
    sent("visited", "v1", HOUR, "ann", region="EU"),
    sent("visited", "v2", 2 * HOUR, "bob", region="US"),
    sent("bought", "b1", 5 * HOUR, "ann", region="EU"),  # 4 hours after v1
    sent("visited", "v3", DAY + HOUR, "bob", region="US"),
    sent("bought", "b2", 2 * DAY + 3 * HOUR, "bob", region="US"),  # 49 hours after v2, 26 after v3
    sent("visited", "v4", 8 * DAY, "ann", region="EU"),  # comes back in the next week; so does nobody else
    sent("visited", "v5", 15 * DAY, "bob", region="US"),  # the week after the next one
    sent("changed", "c1", HOUR, "acme", plan="basic", mrr=10),
    sent("changed", "c2", DAY + HOUR, "bolt", plan="basic", mrr=20.5),
    sent("changed", "c3", 3 * DAY, "acme", plan="pro", mrr=50),  # moves
    sent("changed", "c4", 9 * DAY, "bolt", plan="basic", mrr=0),  # ends
]


@pytest.fixture
def reader(store: ClickHouse) -> Reader:
    """Everything processed, up to the last event."""
    logs = {0: log_of(EVENTS, MONDAY + 16 * DAY)}
    worker = world(store, CATALOG, logs)
    drain(worker, logs)
    return Reader(store, CATALOG)


def points(reader: Reader, kpi: str, grain: Grain = Grain.DAY, days: int = 17, **more: Any) -> dict[int, Point]:
    """Day after Monday -> the window that begins then."""
    found = reader.series(kpi, grain, MONDAY, MONDAY + days * DAY, **more)
    series = found.get((), []) if not more.get("by") else next(iter(found.values()), [])
    return {(point.window_start - MONDAY).days: point for point in series}


def viewed(store: ClickHouse, view: str, columns: str) -> list[Any]:
    """Rows of a KPI's view: the day of the month, and some columns."""
    select = dict(view_statements(CATALOG, TOPIC))[f"kpi_{view}_total"]
    return store.query(f"SELECT toDayOfMonth(window_start), {columns} FROM ({select}) ORDER BY window_start")


def values(reader: Reader, kpi: str, grain: Grain = Grain.DAY, **more: Any) -> dict[int, float | None]:
    """The values of these windows."""
    return {day: point.value for day, point in points(reader, kpi, grain, **more).items()}


def test_a_conversion_is_booked_on_its_base_event(reader: Reader) -> None:
    """Of Monday's two visits one led to an order within two days, after four hours; Tuesday's did after 26 hours."""
    assert {day: value for day, value in values(reader, "rate").items() if value is not None} == {
        0: 0.5,
        1: 1,
        8: 0,
        15: 0,
    }
    assert values(reader, "rate", Grain.WEEK) == {0: 2 / 3, 7: 0, 14: 0}
    assert values(reader, "buyers")[0] == 1
    assert values(reader, "rate", where={"region": "US"})[0] == 0
    seconds = values(reader, "seconds")
    assert seconds[0] == pytest.approx(4 * 3600, rel=0.01)
    assert seconds[1] == pytest.approx(26 * 3600, rel=0.01)
    assert values(reader, "twice")[0] == 1.0


def test_a_conversion_is_complete_when_all_have_had_their_time(store: ClickHouse, reader: Reader) -> None:
    """The watermark is that of `bought`, which is behind: nothing of it came after the third day."""
    worker = world(store, CATALOG, {0: log_of(EVENTS, MONDAY + 16 * DAY)})
    worker.flush(caught_up={0: MONDAY + 4 * DAY})
    reader.sources()
    complete = {day: point.complete for day, point in points(reader, "rate").items()}
    assert [complete[day] for day in (0, 1)] == [True, False]  # Tuesday's visits may convert until Thursday's end
    assert points(reader, "visits")[1].complete
    assert reader.watermark("rate") == MONDAY + DAY
    seen = dict(viewed(store, "rate_day", "complete"))
    assert [seen[day] for day in (2, 3)] == [1, 0]


def test_a_cohort_is_complete_when_its_period_to_come_back_in_is_over(store: ClickHouse, reader: Reader) -> None:
    """Both began in the first week; one came back in the second, the other one later."""
    assert values(reader, "back_w1", Grain.WEEK)[0] == 0.5
    assert values(reader, "back_later", Grain.WEEK)[0] == 1
    assert points(reader, "back_w1", Grain.WEEK)[0].complete
    assert (
        reader.watermark("back_w1") == MONDAY + 7 * DAY
    )  # visits have come to the third week: one cohort had its week
    assert viewed(store, "back_w1_week", "value, complete") == [(2, 0.5, 1)]


def test_no_cohort_is_complete_before_its_time_has_passed(store: ClickHouse, reader: Reader) -> None:
    """Not in centuries, nor when nothing is known: the store's dates of some weeks before 1970 are of 2013."""
    assert [point.complete for point in points(reader, "back_never", Grain.MONTH).values()] == [False]
    assert viewed(store, "back_never_month", "complete") == [(1, 0)]
    StoreWriter(store, TOPIC).record_incarnation(LIFE, 9, MONDAY + 300 * DAY)  # partitions that nobody has read
    reader.sources()
    assert [point.complete for point in points(reader, "back_w1", Grain.WEEK).values()] == [False]
    assert viewed(store, "back_w1_week", "complete") == [(2, 0)]
    [(reached,)] = store.query(f"SELECT toYear(({extent_sql(CATALOG, CATALOG.kpi('back_w1'))}).1)")
    assert reached == 1970


def test_what_begins_in_a_week_begins_on_its_own_day_for_others(reader: Reader) -> None:
    """A cohort's first period and a conversion's first window come from the same events."""
    assert reader.first_event("back_later") == MONDAY
    assert reader.first_event("back_never") == MONDAY.replace(day=1)
    assert reader.first_event("buyers") == MONDAY


def test_a_balance_holds_until_it_changes(store: ClickHouse, reader: Reader) -> None:
    """Also in windows without a change, by what it is at their end; who moves takes the value along."""
    mrr = values(reader, "mrr")
    assert [mrr[day] for day in (0, 1, 2, 3, 8, 9)] == [10, 30.5, 30.5, 70.5, 70.5, 50]
    assert values(reader, "mrr", Grain.WEEK) == {0: 70.5, 7: 50}
    by_plan = reader.series("mrr", Grain.DAY, MONDAY, MONDAY + 10 * DAY, by=["plan"])
    assert [point.value for point in by_plan["basic",]][:4] == [10, 30.5, 30.5, 20.5]
    assert [point.value for point in by_plan["pro",] if point.value][:1] == [50]
    assert values(reader, "arr")[9] == 600
    assert values(reader, "mrr_growth", Grain.WEEK)[7] == 50 - 70.5
    seen = dict(viewed(store, "mrr_day", "value"))
    assert [seen[2 + day] for day in (0, 1, 2, 3, 9)] == [10, 30.5, 30.5, 70.5, 50]


def test_conversions_accumulate(reader: Reader) -> None:
    """A month to date of a count."""
    found = values(reader, "buyers_mtd")
    assert [found[day] for day in (0, 1, 2)] == [1, 2, 2]
