"""KPIs that change while events flow: what the stream does not hold of them is rebuilt from the archive."""

from __future__ import annotations

from datetime import timedelta

import pytest
from processors_fakes import (
    EVERYTHING,
    LIFE,
    NEXT_LIFE,
    START,
    TOPIC,
    Sent,
    catalog_of,
    counted,
    log_of,
    order,
    settings,
    simple,
)
from processors_world import AFTER, BEFORE, NOW, Worker, drain, rebuild, world, wrong_values

from onpace.config.calendar import Grain
from onpace.processors.clickhouse import ClickHouse
from onpace.processors.reader import Reader
from onpace.processors.rebuild import NEVER_STREAMED, Gap, Rebuilder, due
from onpace.processors.views import refresh_views

FEW = catalog_of(simple("orders", "count", grain="1h"))
MORE = catalog_of(
    simple("orders", "count", grain="1h"),
    simple("revenue", "sum", value="amount", grain="1d"),
    simple("buyers", "count_distinct", value="user_id", grain="1d"),
)


def some_orders(count: int = 20) -> list[Sent]:
    """Over one day."""
    return [order(str(at), START + timedelta(hours=at), amount=at + 0.25, user_id=f"u{at % 3}") for at in range(count)]


def completes(store: ClickHouse, kpi: str) -> list[bool]:
    """Whether the windows of a KPI are complete, by the reader; the view must say the same."""
    refresh_views(store, MORE, TOPIC)
    by_view = store.query(f"SELECT complete FROM kpi_{kpi}_day_total ORDER BY window_start")
    reader = Reader(store, MORE)
    points = reader.series(kpi, Grain.DAY, BEFORE, AFTER)[()]
    assert [bool(complete) for (complete,) in by_view] == [point.complete for point in points]
    return [point.complete for point in points]


def test_a_kpi_added_while_events_flow_is_complete_when_its_history_is_rebuilt(store: ClickHouse) -> None:
    """And not before, however far the stream has come; a KPI that was there all along stays complete."""
    sent = some_orders()
    logs = {0: log_of(sent)}
    worker = world(store, FEW, logs)
    worker.take(0, 11)
    worker.adopt(MORE)
    worker.take(0, 20)
    worker.flush(input_end=sent[-1].time)
    assert completes(store, "orders") == [True]
    assert completes(store, "revenue") == completes(store, "buyers") == [False]
    assert Reader(store, MORE).rebuilding("revenue") == ("revenue",)
    assert rebuild(store, MORE) == 1
    assert completes(store, "revenue") == completes(store, "buyers") == [True]
    assert not wrong_values(store, MORE, counted(sent))


def test_a_kpi_changed_while_no_event_comes_is_recorded_all_the_same(store: ClickHouse) -> None:
    """The checkpoint is written anew though it has not moved."""
    sent = some_orders()
    logs = {0: log_of(sent)}
    worker = world(store, FEW, logs)
    drain(worker, logs)
    worker.adopt(MORE)
    worker.flush()
    assert [gap.start for gap in Rebuilder(store, MORE, TOPIC, settings(), lambda: NOW).gaps()] == [20]
    rebuild(store, MORE)
    assert not wrong_values(store, MORE, counted(sent))


def test_a_kpi_that_went_and_came_back_has_no_hole(store: ClickHouse) -> None:
    """What passed by in between is in the archive."""
    sent = some_orders()
    logs = {0: log_of(sent)}
    worker = world(store, MORE, logs)
    for count, catalog in ((5, FEW), (5, MORE), (5, FEW), (2, MORE)):
        worker.take(0, count)
        worker.adopt(catalog)
    drain(worker, logs)
    rebuild(store, MORE)
    assert not wrong_values(store, MORE, counted(sent))


def test_what_dead_lives_of_the_topic_held_is_rebuilt_too(store: ClickHouse) -> None:
    """A KPI that they never knew."""
    sent = some_orders()
    drain(world(store, FEW, logs := {0: log_of(sent[:12])}), logs)
    drain(world(store, MORE, again := {0: log_of(sent[12:])}, life=NEXT_LIFE), again)
    assert [gap.start for gap in Rebuilder(store, MORE, TOPIC, settings(), lambda: NOW).gaps()] == [NEVER_STREAMED]
    rebuild(store, MORE)
    assert not wrong_values(store, MORE, counted(sent))


def test_a_rebuild_broken_off_is_done_again(store: ClickHouse) -> None:
    """What it had written does not count twice."""
    sent = some_orders(25)
    logs = {0: log_of(sent)}
    drain(worker := world(store, FEW, logs), logs)
    worker.adopt(EVERYTHING)
    worker.flush()
    rebuilder = Rebuilder(store, EVERYTHING, TOPIC, settings(resident_rows=1000), lambda: NOW)
    [gap] = rebuilder.gaps()
    assert not rebuilder.fill(gap, lambda: True)
    assert rebuilder.fill(gap)
    store.command("TRUNCATE TABLE rebuilds")
    assert rebuild(store, EVERYTHING) == 1
    assert not wrong_values(store, EVERYTHING, counted(sent))


def test_a_store_that_fails_leaves_the_old_kpis_in_force(store: ClickHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """Adopting them is tried again later."""
    sent = some_orders()
    logs = {0: log_of(sent)}
    worker = world(store, FEW, logs)
    worker.take(0, 5)
    worker.flush()
    with monkeypatch.context() as patched:
        patched.setattr(worker.writer, "frontiers", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            worker.processor.adopt(MORE, NOW)
    drain(worker, logs)
    assert not wrong_values(store, FEW, counted(sent))


def test_each_gap_has_one_process_that_fills_it() -> None:
    """Its holder, once the checkpoint says what its memory says; the holder of partition 0 for partitions long gone."""
    keys = {"a": "a/1"}
    own, other, dead, gone = (
        Gap(LIFE, 0, 50, ("a",)),
        Gap(LIFE, 1, 50, ("a",)),
        Gap(NEXT_LIFE, 0, 9, ("a",)),
        Gap(NEXT_LIFE, 7, 9, ("a",)),
    )
    gaps = [own, other, dead, gone]
    assert due(gaps, {(LIFE, 0): {"a/1": 50}}, LIFE, 2, keys) == [own, dead, gone]
    assert due(gaps, {(LIFE, 1): {"a/1": 50}}, LIFE, 2, keys) == [other]
    assert due(gaps, {(LIFE, 0): {"a/1": 51}}, LIFE, 2, keys) == [dead, gone]


def test_a_process_that_takes_over_goes_on_where_the_other_began(store: ClickHouse) -> None:
    """The checkpoint says from where on the stream holds each KPI."""
    sent = some_orders()
    logs = {0: log_of(sent)}
    first = world(store, FEW, logs)
    first.take(0, 8)
    first.adopt(MORE)
    first.take(0, 4)
    first.flush()
    second = Worker(store, MORE, logs, settings())
    second.assign({0})
    assert {key.partition("/")[0]: start for key, start in second.processor.starts[LIFE, 0].items()} == {
        "orders": 0,
        "revenue": 8,
        "buyers": 8,
    }
    drain(second, logs)
    rebuild(store, MORE)
    assert not wrong_values(store, MORE, counted(sent))
