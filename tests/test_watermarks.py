"""How far event types have come, and which windows are complete."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from processors_fakes import LIFE, NEXT_LIFE, START, Record, Sent, catalog_of, log_of, order, ratio, simple, visit
from processors_world import NOW, Worker, drain, world

from onpace.config.calendar import Grain
from onpace.processors.clickhouse import ClickHouse
from onpace.processors.reader import Reader

HOUR, DAY, MINUTE = timedelta(hours=1), timedelta(days=1), timedelta(minutes=1)
CATALOG = catalog_of(
    simple("orders", "count", lateness="5min"),
    simple("visits", "count", event="site.visited", lateness="1h"),
    ratio("conversion", "orders", "visits"),
    visit={"expected_every": 2 * HOUR},
)


def run(store: ClickHouse, *logs: Sequence[Sent]) -> Worker:
    """A processor that has read these partitions."""
    records: dict[int, list[Record]] = {number: log_of(log) for number, log in enumerate(logs)}
    worker = world(store, CATALOG, records)
    drain(worker, records)
    return worker


def marks(store: ClickHouse) -> dict[str, datetime | None]:
    """Event type -> watermark."""
    return {name: source.watermark for name, source in Reader(store, CATALOG).sources().items()}


def test_a_watermark_is_as_far_as_the_slowest_partition(store: ClickHouse) -> None:
    """Per event type; one that a partition never had is nowhere there."""
    run(store, [order("a", START + 3 * HOUR), visit("b", START)], [order("c", START + HOUR)])
    assert marks(store) == {"order.placed": START + HOUR, "site.visited": None}


def test_an_event_from_the_future_moves_a_watermark_to_its_arrival_only(store: ClickHouse) -> None:
    """Never beyond."""
    worker = world(store, CATALOG, logs := {0: log_of([order("a", START + 5 * HOUR)], arrival=START)})
    drain(worker, logs)
    assert marks(store)["order.placed"] == START


def test_a_window_is_complete_when_all_inputs_have_passed_its_end(store: ClickHouse) -> None:
    """Each less its own lateness."""
    run(store, [order("a", START + MINUTE), order("b", START + 3 * HOUR), visit("c", START + 2 * HOUR)])
    reader = Reader(store, CATALOG)
    assert reader.watermark("orders") == START + 3 * HOUR - 5 * MINUTE
    assert reader.watermark("visits") == START + HOUR
    assert reader.watermark("conversion") == START + HOUR
    hours = reader.series("conversion", Grain.HOUR, START, START + DAY)[()]
    assert [point.complete for point in hours] == [True, False, False]


def test_an_idle_partition_advances_with_the_clock(store: ClickHouse) -> None:
    """Once nothing is left to read in it."""
    worker = run(store, [order("a", START)], [order("b", START + HOUR)])
    assert marks(store)["order.placed"] == START
    worker.flush(caught_up={0: START + 3 * HOUR})
    assert marks(store)["order.placed"] == START + HOUR
    worker.flush(caught_up={0: START + 4 * HOUR, 1: START + 3 * HOUR})
    assert marks(store)["order.placed"] == START + 3 * HOUR
    worker.flush(caught_up={0: START + 2 * HOUR})
    assert marks(store)["order.placed"] == START + 3 * HOUR


def test_an_overdue_source_holds_its_watermark(store: ClickHouse) -> None:
    """It may be broken rather than idle: `expected_every` after its last event anywhere, the clock no longer counts."""
    worker = run(store, [order("a", START), visit("b", START)], [visit("c", START + HOUR)])
    worker.flush(caught_up={0: START + DAY, 1: START + DAY})
    assert marks(store) == {"order.placed": START + DAY, "site.visited": START + 3 * HOUR}


def test_a_source_that_never_came_is_not_overdue(store: ClickHouse) -> None:
    """There is nothing to measure its silence from."""
    worker = run(store, [order("a", START)])
    worker.flush(caught_up={0: START + DAY})
    assert marks(store)["site.visited"] == START + DAY


def test_nothing_is_complete_before_every_partition_has_reported(store: ClickHouse) -> None:
    """A partition that nobody reads yet may hold anything."""
    worker = run(store, [order("a", START)])
    worker.writer.record_incarnation(LIFE, 2, NOW + HOUR)
    worker.flush(caught_up={0: START + DAY})
    reader = Reader(store, CATALOG)
    assert reader.watermark("orders") is None
    assert [p.complete for p in reader.series("orders", Grain.HOUR, START, START + DAY)[()]] == [False]


def test_a_topic_made_again_begins_at_nothing_but_knows_the_last_event(store: ClickHouse) -> None:
    """The partitions of its earlier life say nothing about the new one."""
    run(store, [order("a", START), visit("v", START)]).flush(caught_up={0: START + DAY})
    worker = Worker(store, CATALOG, {0: []}, world(store, CATALOG, {0: []}).processor._settings)
    worker.writer.record_incarnation(NEXT_LIFE, 1, NOW + HOUR)
    worker.assign({0}, NEXT_LIFE)
    sources = Reader(store, CATALOG).sources()
    assert sources["order.placed"].watermark is None
    worker.flush(caught_up={0: START + 2 * DAY})
    sources = Reader(store, CATALOG).sources()
    assert sources["order.placed"].watermark == START + 2 * DAY
    assert sources["site.visited"].watermark == START + 2 * HOUR
    assert sources["order.placed"].last_event_time == START


def test_a_finished_input_completes_its_last_windows(store: ClickHouse) -> None:
    """Those that begin no later than its last event, of every grain."""
    worker = run(store, [order("a", START + MINUTE / 2), order("b", START + HOUR)])
    worker.flush(input_end=START + HOUR)
    reader = Reader(store, CATALOG)
    assert reader.watermark("orders") == START + HOUR + MINUTE
    assert reader.sources()["order.placed"].input_end == START + HOUR
    assert [p.complete for p in reader.series("orders", Grain.HOUR, START, START + DAY)[()]] == [True, True]
    assert [p.complete for p in reader.series("orders", Grain.YEAR, START, START + DAY)[()]] == [True]
    assert reader.series("visits", Grain.DAY, START, START + DAY) == {}


def test_an_input_goes_on_with_a_later_event_or_a_live_clock(store: ClickHouse) -> None:
    """What was finished then is so no more."""
    logs = {0: log_of([order("a", START), order("b", START + HOUR)])}
    worker = world(store, CATALOG, logs)
    worker.take(0, 1)
    worker.flush(input_end=START)
    assert Reader(store, CATALOG).sources()["order.placed"].input_end == START
    worker.flush()
    assert Reader(store, CATALOG).sources()["order.placed"].input_end == START
    worker.take(0, 1)
    worker.flush()
    assert Reader(store, CATALOG).sources()["order.placed"].input_end is None
    worker.flush(input_end=START + HOUR)
    assert Reader(store, CATALOG).sources()["order.placed"].input_end == START + HOUR
    worker.flush(caught_up={0: NOW + HOUR})
    assert Reader(store, CATALOG).sources()["order.placed"].input_end is None


def test_a_reader_judges_all_values_by_the_same_watermarks(store: ClickHouse) -> None:
    """Until it looks at them anew."""
    worker = run(store, [order("a", START), order("b", START + HOUR)])
    reader = Reader(store, CATALOG)
    before = reader.watermark("orders")
    worker.flush(caught_up={0: START + DAY})
    assert reader.watermark("orders") == before
    reader.sources()
    assert reader.watermark("orders") == START + DAY - 5 * MINUTE
