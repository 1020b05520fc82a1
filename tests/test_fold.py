"""Folding one KPI: memory is a cache over the store, and rows that it already holds are skipped."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise
from typing import Any

import polars as pl
from hypothesis import given
from hypothesis import settings as how
from hypothesis import strategies as st
from processors_fakes import catalog_of, simple

from onpace.processors.fold import KpiFold, Window
from onpace.processors.plan import plan_events
from onpace.processors.windows import key_columns, pack_keys

SUM = simple("items", "sum", value="items")
Event = tuple[int, int, int]
"""(slot, minute, items); the offset is its place."""


def new_fold(kpi: Any = SUM) -> KpiFold:
    """A fold of one KPI with two slots open, both without history."""
    fold = KpiFold(plan_events(catalog_of(kpi))["order.placed"].kpis[0])
    for slot in (0, 1):
        fold.open(slot, None, "stream:0")
    return fold


def frame_of(events: Sequence[Event], start: int = 0) -> pl.DataFrame:
    """Accepted events as the processor gives them."""
    schema = {"onpace:slot": pl.Int64, "onpace:minute": pl.Int64, "items": pl.Int64}
    frame = pl.DataFrame(events, schema=schema, orient="row")
    return frame.with_columns(
        dims=pl.lit(0, dtype=pl.Int64), **{"onpace:offset": pl.int_range(pl.len(), dtype=pl.Int64) + start}
    )


class Table:
    """What the store keeps: the row of the highest revision per key."""

    def __init__(self) -> None:
        self.rows: dict[int, dict[str, Any]] = {}

    def write(self, changed: pl.DataFrame) -> None:
        """Keep these, as a ReplacingMergeTree does."""
        for row in changed.iter_rows(named=True):
            known = self.rows.get(row["key"])
            if known is None or row["revision"] >= known["revision"]:
                self.rows[row["key"]] = row

    def read(self, keys: pl.Series) -> pl.DataFrame:
        """The rows of some keys."""
        schema = {"key": pl.UInt64, "revision": pl.Int64, "count": pl.UInt64, "exact": pl.Int128}
        frame = pl.DataFrame(list(self.rows.values()), schema=schema)
        return frame.filter(pl.col("key").is_in(keys.implode()))

    def values(self) -> dict[tuple[int, int], int]:
        """(slot, minute) -> sum."""
        keys = key_columns(pl.Series(list(self.rows), dtype=pl.UInt64))
        places = keys.select("slot", "minutes").iter_rows()
        return {place: row["exact"] for place, row in zip(places, self.rows.values(), strict=True)}


def put(fold: KpiFold, table: Table, events: Sequence[Event], start: int) -> None:
    """Fold events as the processor does: read back what is missing, fold, write."""
    rows = fold.select(frame_of(events, start), "dims")
    fold.absorb(table.read(fold.missing(rows)))
    table.write(fold.fold(rows))


def summed(events: Sequence[Event]) -> dict[tuple[int, int], int]:
    """The recount."""
    found: dict[tuple[int, int], int] = {}
    for slot, minute, items in events:
        found[slot, minute] = found.get((slot, minute), 0) + items
    return found


drawn_events = st.lists(st.tuples(st.integers(0, 1), st.integers(1, 12), st.integers(-9, 9)), min_size=1, max_size=40)


@how(deadline=None)
@given(drawn_events, st.lists(st.tuples(st.integers(0, 40), st.sampled_from(["evict", "forget", "reopen"]))))
def test_evicted_windows_come_back_from_the_store(events: list[Event], breaks: list[tuple[int, str]]) -> None:
    """Whatever is dropped from memory and whenever, the sums are those of all events."""
    fold, table = new_fold(), Table()
    bounds = sorted({0, len(events), *(at for at, _ in breaks if at < len(events))})
    for start, end in pairwise(bounds):
        put(fold, table, events[start:end], start)
        for what in [what for at, what in breaks if at == end]:
            if what == "reopen":
                fold = new_fold()
                for slot in (0, 1):
                    fold.open(slot, max((m for s, m in table.values() if s == slot), default=None), "stream:0")
            elif what == "forget":
                fold.forget()
            else:
                fold.evict(3)
    assert table.values() == summed(events)


@how(deadline=None)
@given(drawn_events, st.integers(0, 40), st.integers(0, 40), st.integers(0, 3))
def test_rows_that_a_window_read_back_already_holds_are_skipped(
    events: list[Event], first: int, second: int, width: int
) -> None:
    """A checkpoint may lie before what was written: the same events come again, in other batches."""
    checkpoint, ahead = sorted((min(first, len(events)), min(second, len(events))))
    table = Table()
    put(new_fold(), table, events[:checkpoint], 0)
    dead = new_fold()
    put(dead, Table(), events[:checkpoint], 0)
    put(dead, table, events[checkpoint:ahead], checkpoint)
    fold = new_fold()
    for slot in (0, 1):
        fold.open(slot, max((m for s, m in table.values() if s == slot), default=None), "stream:0")
    for start in range(checkpoint, len(events), width + 1):
        put(fold, table, events[start : start + width + 1], start)
    assert table.values() == summed(events)


def test_a_window_newer_than_anything_stored_needs_no_reading() -> None:
    """Its aggregate begins at nothing."""
    fold = new_fold()
    fold.open(0, 100, "stream:0")
    rows = fold.select(frame_of([(0, 100, 1), (0, 101, 1), (0, 7, 1), (1, 7, 1)]), "dims")
    assert windows(fold.missing(rows)) == {(0, 100), (0, 7)}
    fold.fold(rows.filter(pl.col("key") == pack(100)))
    assert windows(fold.missing(rows)) == {(0, 7)}


def test_only_the_keys_that_events_ask_for_are_read_back() -> None:
    """A late event for one of a hundred series brings one row into memory, not its whole window."""
    fold, table = new_fold(), Table()
    frame = frame_of([(0, 5, 1)] * 100).with_columns(dims=pl.int_range(100, dtype=pl.Int64))
    table.write(fold.fold(fold.select(frame, "dims")))
    fold.forget()
    late = fold.select(frame_of([(0, 5, 2)], 100).with_columns(dims=pl.lit(7, dtype=pl.Int64)), "dims")
    missing = fold.missing(late)
    assert missing.to_list() == late["key"].to_list()
    fold.absorb(table.read(missing))
    table.write(fold.fold(late))
    assert len(fold) == 1
    assert sorted(row["exact"] for row in table.rows.values()) == [1] * 99 + [3]


def test_eviction_keeps_the_newest_windows() -> None:
    """At least one, however small the budget."""
    fold = new_fold()
    put(fold, Table(), [(0, minute, 1) for minute in range(1, 101)], 0)
    fold.evict(1000)
    assert len(fold) == 100
    fold.evict(40)
    assert 20 <= len(fold) <= 40
    fold.evict(0)
    assert len(fold) == 1
    assert windows(fold.missing(fold.select(frame_of([(0, 99, 1), (0, 100, 1)]), "dims"))) == {(0, 99)}


def test_a_closed_slot_is_forgotten() -> None:
    """The others stay."""
    fold = new_fold()
    put(fold, Table(), [(0, 5, 1), (1, 5, 1), (1, 6, 1)], 0)
    fold.close(1)
    assert len(fold) == 1


def test_rows_without_a_value_or_outside_the_filter_are_left_out() -> None:
    """A filter that is null is false; a count needs no value."""
    frame = frame_of([(0, 1, 5), (0, 1, 50)]).with_columns(region=pl.Series([None, "EU"], dtype=pl.String))
    counting = new_fold(simple("n", "count", filter="region != 'test'"))
    assert counting.select(frame, "dims").rows() == [(pack(1), 1)]
    summing = new_fold(simple("s", "sum", value="if(items > 9, items, null)"))
    assert summing.select(frame, "dims").rows() == [(pack(1), 1, 50)]
    none = new_fold(simple("n", "count", filter="region = 'nowhere'"))
    assert none.fold(none.select(frame, "dims")).is_empty()


def test_the_lateness_of_a_type_is_the_longest_of_its_kpis() -> None:
    """Ten minutes beat five."""
    plan = plan_events(catalog_of(simple("a", "count"), simple("b", "count", lateness="10min")))
    assert plan["order.placed"].lateness == timedelta(minutes=10)


def windows(keys: pl.Series) -> set[Window]:
    """(slot, minute) of some keys."""
    return set(key_columns(keys).select("slot", "minutes").iter_rows())


def pack(minute: int) -> int:
    """The key of a window of slot 0 without dimensions."""
    frame = pl.DataFrame({"m": [minute]})
    zero = pl.lit(0, dtype=pl.Int64)
    return int(frame.select(pack_keys(pl.col("m"), zero, zero)).item())
