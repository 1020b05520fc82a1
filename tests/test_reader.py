"""Reading KPI values: windows, spans, what is filled in and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from processors_fakes import REGION, START, TIERS, Sent, catalog_of, derived, log_of, order, ratio, simple, visit
from processors_world import Crash, drain, world

from onpace.config.calendar import Grain
from onpace.config.catalog import Catalog
from onpace.config.errors import StoreUnavailable, UnknownName
from onpace.processors.clickhouse import ClickHouse
from onpace.processors.reader import Point, Reader

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
CATALOG = catalog_of(
    simple("orders", "count", dimensions=TIERS, grain="1h", timezone="Europe/Berlin"),
    simple("revenue", "sum", value="amount", dimensions=REGION, grain="1h", timezone="Europe/Berlin"),
    simple("average", "avg", value="amount", dimensions=REGION, grain="1h", timezone="Europe/Berlin"),
    simple("visits", "count", event="site.visited", dimensions=REGION, grain="1h", timezone="Europe/Berlin"),
    simple("by_count", "count", dimensions={"count": "items", "leaf": "region", "total": "user_id", "dims": "user_id"}),
    ratio("aov", "revenue", "orders", timezone="Europe/Berlin"),
    ratio("means", "average", "orders", timezone="Europe/Berlin"),
    derived("twice", "revenue * 2", timezone="Europe/Berlin"),
)
SENT = [
    order("a", START + HOUR, region="EU", amount=10, items=1),
    order("b", START + HOUR, region="US", amount=200, items=1),
    order("c", START + 3 * HOUR, region="EU", amount=20.5, items=2),
    order("d", START + DAY + HOUR, region=None, amount=1, items=2),
    visit("e", START + 2 * DAY),
]


def read(store: ClickHouse, sent: list[Sent], catalog: Catalog = CATALOG, *, finish: bool = True) -> Reader:
    """A reader after the events were processed, the input finished."""
    logs = {0: log_of(sent)}
    worker = world(store, catalog, logs)
    drain(worker, logs)
    if finish:
        worker.flush(input_end=max(one.time for one in sent))
    return Reader(store, catalog)


def values(points: list[Point]) -> list[float | None]:
    """The values in order."""
    return [point.value for point in points]


def test_complete_windows_without_events_are_filled_in(store: ClickHouse) -> None:
    """Zero for counts and sums, null for the rest; from the first event on."""
    reader = read(store, SENT)
    span = (Grain.HOUR, START - 5 * HOUR, START + 5 * HOUR)
    assert values(reader.series("orders", *span)[()]) == [2, 0, 1, 0]
    assert values(reader.series("revenue", *span)[()]) == [210, 0, 20.5, 0]
    assert values(reader.series("average", *span)[()]) == [105, None, 20.5, None]
    aov = reader.series("aov", *span)[()]
    assert [(p.value, p.numerator, p.denominator) for p in aov][:2] == [(105, 210, 2), (None, 0, 0)]
    assert [(p.numerator, p.denominator) for p in reader.series("means", *span)[()]][1] == (None, 0)
    assert [(p.value, p.numerator) for p in reader.series("twice", *span)[()]][:2] == [(420, None), (None, None)]
    assert [point.revision for point in aov] == [1, 0, 2, 0]
    assert aov[0].window_start == START + HOUR
    assert aov[0].window_end == START + 2 * HOUR


def test_what_is_complete_is_there_before_the_first_checkpoint_of_its_partition(store: ClickHouse) -> None:
    """A flush that ends, or waits, between watermarks and checkpoints hides nothing that it vouches for."""
    logs = {0: log_of(SENT[:2]), 1: log_of(SENT[2:])}
    worker = world(store, CATALOG, logs)
    worker.take(0, 2)
    worker.flush()
    worker.take(1, 3)
    worker.crash_at = "watermarks"
    with pytest.raises(Crash):
        worker.flush(caught_up=dict.fromkeys(logs, START + 9 * DAY))
    found = Reader(store, CATALOG).series("orders", Grain.HOUR, START, START + 5 * HOUR)[()]
    assert [(point.value, point.complete) for point in found] == [(2, True), (0, True), (1, True), (0, True)]


def test_series_come_by_dimension_values(store: ClickHouse) -> None:
    """In the order asked for; null is a value of its own and sorts first."""
    reader = read(store, SENT)
    span = (Grain.DAY, START, START + 2 * DAY - 3 * HOUR)
    assert {d: values(p) for d, p in reader.series("orders", *span, by=["tier", "region"]).items()} == {
        ("big", "US"): [1, 0],
        ("small", None): [0, 1],
        ("small", "EU"): [2, 0],
    }
    assert list(reader.series("orders", *span, by=["region"])) == [(None,), ("EU",), ("US",)]


def test_a_condition_narrows_values_and_series(store: ClickHouse) -> None:
    """Series that never meet it are not filled in; a value that never occurred is zero everywhere."""
    reader = read(store, SENT)
    span = (Grain.DAY, START, START + 2 * DAY - 3 * HOUR)
    found = reader.series("orders", *span, by=["tier"], where={"region": "EU"})
    assert {dims: values(points) for dims, points in found.items()} == {("small",): [2, 0]}
    assert reader.series("orders", *span, by=["tier"], where={"region": "Mars"}) == {}
    assert values(reader.series("orders", *span, where={"region": "Mars"})[()]) == [0, 0]
    assert reader.value("orders", START, START + DAY, {"region": "EU", "tier": "small"}) == 2
    assert reader.value("orders", START, START + DAY, {"region": "Mars"}) == 0
    assert reader.value("aov", START, START + DAY, {"region": "US"}) == 200


def test_a_dimension_may_have_any_name(store: ClickHouse) -> None:
    """Also that of a column of the tables below."""
    reader = read(store, SENT)
    found = reader.series("by_count", Grain.DAY, START, START + 2 * DAY, by=["count", "leaf"], where={"total": "u1"})
    assert {dims: sum(filter(None, values(points))) for dims, points in found.items()} == {
        ("1", "EU"): 1,
        ("1", "US"): 1,
        ("2", "EU"): 1,
        ("2", None): 1,
    }


def test_spans_may_overlap_and_lie_anywhere(store: ClickHouse) -> None:
    """Half-open, over base windows; merged, not averaged."""
    reader = read(store, SENT)
    spans = [
        (START, START + DAY),
        (START + HOUR, START + 2 * HOUR),
        (START + 2 * HOUR, START + 3 * HOUR),
        (START - DAY, START),
        (START - DAY, START + 3 * DAY),
        (START + 300 * DAY, START + 301 * DAY),
    ]
    assert reader.values("orders", spans) == [3, 2, 0, None, 4, 0]
    assert reader.values("aov", spans[:5]) == [230.5 / 3, 105, None, None, 231.5 / 4]
    assert reader.values("average", spans[:3]) == [230.5 / 3, 105, None]
    assert reader.values("orders", []) == []


def test_many_spans_are_read_in_parts(store: ClickHouse) -> None:
    """More than one query may carry."""
    reader = read(store, SENT)
    spans = [(START + at * HOUR / 100, START + at * HOUR / 100 + HOUR) for at in range(-50, 2500)]
    found = reader.values("orders", spans)
    assert len(found) == 2550
    for at in (0, 51, 149, 150, 151, 351, 1000, 1050, 2549):
        assert found[at] == reader.value("orders", *spans[at])


def test_a_span_far_beyond_the_events_costs_no_more(store: ClickHouse) -> None:
    """Minutes are not counted out from the beginning of time."""
    reader = read(store, SENT)
    ages = (datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC))
    assert len(reader.series("orders", Grain.HOUR, *ages)[()]) == 48
    assert len(reader.series("by_count", Grain.MINUTE, *ages)[()]) == 47 * 60 + 1
    assert reader.value("orders", *ages) == 4
    assert reader.series("orders", Grain.HOUR, ages[1], ages[0]) == {}


def test_windows_begin_in_the_window_of_start(store: ClickHouse) -> None:
    """And before the end, which is exclusive."""
    reader = read(store, SENT)
    found = reader.series("orders", Grain.DAY, START + 7 * HOUR, START + 2 * DAY - 3 * HOUR)[()]
    assert [point.window_start for point in found] == [START - HOUR, START + 23 * HOUR]
    assert [point.window_end - point.window_start for point in found] == [DAY, 23 * HOUR]  # daylight saving begins


def test_a_kpi_without_events_has_no_series(store: ClickHouse) -> None:
    """There is nothing to fill in from."""
    reader = read(store, [SENT[-1]])
    assert reader.series("orders", Grain.DAY, START, START + DAY) == {}
    assert reader.value("orders", START, START + DAY) is None
    assert reader.first_event("orders") is None
    assert reader.first_event("visits") == START + 2 * DAY


def test_what_is_not_complete_is_not_filled_in(store: ClickHouse) -> None:
    """And what is there says so."""
    reader = read(store, [SENT[0], SENT[3], SENT[4]], finish=False)
    points = reader.series("orders", Grain.HOUR, START, START + 3 * DAY)[()]
    assert (len(points), {point.complete for point in points[:-1]}) == (24, {True})
    assert not points[-1].complete
    assert reader.watermark("orders") == START + DAY


def test_sources_tell_how_far_each_event_type_has_come(store: ClickHouse) -> None:
    """An event type that never came has no times."""
    sources = read(store, SENT[:2], finish=False).sources()
    assert sources["order.placed"].last_event_time == START + HOUR
    assert sources["order.placed"].last_arrival == START + timedelta(days=7, seconds=1)
    assert sources["site.visited"].last_event_time is None


def test_questions_that_cannot_be_answered_are_refused(store: ClickHouse) -> None:
    """With the names that would do."""
    reader = read(store, SENT)
    with pytest.raises(UnknownName, match="did you mean 'orders'"):
        reader.value("order", START, START + DAY)
    with pytest.raises(UnknownName, match="has no dimension 'channel': its dimensions are region"):
        reader.series("orders", Grain.DAY, START, START + DAY, by=["channel"])
    with pytest.raises(UnknownName, match="has no dimension 'tier'"):
        reader.value("aov", START, START + DAY, {"tier": "big"})
    with pytest.raises(ValueError, match="ask for hour or coarser"):
        reader.series("orders", Grain.MINUTE, START, START + DAY)


def test_a_store_that_is_away_is_said_to_be(store: ClickHouse) -> None:
    """So that the caller tries again."""

    class Away:
        def query(self, *_: object) -> None:
            raise StoreUnavailable("away")

    with pytest.raises(StoreUnavailable):
        Reader(Away(), CATALOG).series("orders", Grain.DAY, START, START + DAY)  # type: ignore[arg-type]
