"""Aggregates: mergeable in any split, and as exact as they promise."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise
from typing import Any

import polars as pl
import pytest
from ddsketch.mapping import LogarithmicMapping
from hypothesis import given
from hypothesis import settings as how
from hypothesis import strategies as st

from onpace.processors.aggregates import BIN_OFFSET, RELATIVE_ERROR, Kind, merge, sketch_bin, summarise

Row = tuple[int, Any, int, str, str]
"""(key, value, time, source, id); the offset is its place."""

edge_parts = (st.integers(0, 3), st.sampled_from(["a", "b"]), st.sampled_from(["x", "Ü", "z"]))
finite = st.floats(allow_nan=False, allow_infinity=False)
wild = st.one_of(
    finite, st.sampled_from([1e308, -1e308, 1e-308, 5e-324, 1e16, 1.0, -1.0, 0.1, -0.0]), st.integers(-9, 9).map(float)
)
small = st.integers(-(2**63), 2**63 - 1)
huge = st.one_of(small, st.integers(-(2**126), 2**126))


def rows_of(rows: list[Row], dtype: Any, start: int = 0) -> pl.DataFrame:
    """A frame as KpiFold gives it."""
    schema = {"key": pl.UInt64, "value": dtype, "time_us": pl.Int64, "source": pl.String, "id": pl.String}
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    return frame.with_row_index("offset", start).with_columns(pl.col("offset").cast(pl.Int64))


def folded(rows: list[Row], cuts: list[int], kind: Kind, dtype: Any, **more: Any) -> pl.DataFrame:
    """The aggregates after folding the rows in the parts that `cuts` makes, as a processor does."""
    state: pl.DataFrame | None = None
    bounds = sorted({0, len(rows), *(cut for cut in cuts if cut < len(rows))})
    last = more.get("last", False)
    for start, end in pairwise(bounds):
        delta = summarise(rows_of(rows[start:end], dtype, start), kind, **more)
        if state is None:
            state = delta
            continue
        changed = merge(state, delta, kind, last=last)
        assert changed.schema == state.schema
        state = pl.concat([state.join(changed.select("key"), on="key", how="anti"), changed.select(state.columns)])
    assert state is not None
    return state


def by_key(frame: pl.DataFrame, column: str) -> dict[int, Any]:
    """key -> value of a column."""
    return dict(zip(frame["key"].to_list(), frame[column].to_list(), strict=True))


def groups(rows: list[Row]) -> dict[int, list[tuple[int, Row]]]:
    """key -> (offset, row)."""
    found: dict[int, list[tuple[int, Row]]] = {}
    for offset, row in enumerate(rows):
        found.setdefault(row[0], []).append((offset, row))
    return found


def drawn(value: st.SearchStrategy[Any], most: int = 40) -> st.SearchStrategy[list[Row]]:
    """Rows of a few keys."""
    return st.lists(st.tuples(st.integers(0, 3), value, *edge_parts), min_size=1, max_size=most)


cuts = st.lists(st.integers(0, 40), max_size=5)


@given(drawn(small), cuts)
def test_counts_and_revisions_are_those_of_the_rows(rows: list[Row], cuts: list[int]) -> None:
    """However the rows were split."""
    state = folded(rows, cuts, "count", pl.Int64)
    assert by_key(state, "count") == {key: len(part) for key, part in groups(rows).items()}
    assert by_key(state, "revision") == {key: max(offset for offset, _ in part) for key, part in groups(rows).items()}


@given(drawn(small), cuts)
def test_exact_sums_are_exact(rows: list[Row], cuts: list[int]) -> None:
    """Of any 64-bit values, in any split."""
    state = folded(rows, cuts, "exact", pl.Int128)
    assert by_key(state, "exact") == {key: sum(row[1] for _, row in part) for key, part in groups(rows).items()}


@given(drawn(huge), cuts)
def test_wide_sums_neither_wrap_around_nor_lose_what_is_exact(rows: list[Row], cuts: list[int]) -> None:
    """What passes 64 bits is summed as floats beside."""
    state = folded(rows, cuts, "wide", pl.Int128, scale=2)
    for key, part in groups(rows).items():
        values = [row[1] for _, row in part]
        assert by_key(state, "exact")[key] == sum(value for value in values if abs(value) <= 2**62)
        rest = sum(Fraction(value, 100) for value in values if abs(value) > 2**62)
        room = 1e-12 * sum(abs(value) / 100 for value in values)
        found = Fraction(by_key(state, "total")[key]) + Fraction(by_key(state, "compensation")[key])
        assert abs(found - rest) <= room


@how(max_examples=300)
@given(drawn(wild.filter(lambda value: abs(value) < 1e307)), cuts)
def test_float_sums_are_compensated(rows: list[Row], cuts: list[int]) -> None:
    """Within 1e-12 of the sum of absolute values, whatever cancels out."""
    state = folded(rows, cuts, "float", pl.Float64)
    for key, part in groups(rows).items():
        values = [row[1] for _, row in part]
        found = Fraction(by_key(state, "total")[key]) + Fraction(by_key(state, "compensation")[key])
        assert abs(found - Fraction(math.fsum(values))) <= Fraction(1e-12) * sum(map(abs, map(Fraction, values)))


def test_a_long_float_sum_loses_nothing_to_its_length() -> None:
    """Naive addition would be off by thousands of times as much."""
    values = [0.1 * (1 + at % 7) * (-1) ** (at % 3) for at in range(100_000)]
    state = summarise(rows_of([(1, value, 0, "", "") for value in values], pl.Float64), "float")
    total = state["total"][0] + state["compensation"][0]
    assert abs(total - math.fsum(values)) <= 1e-15 * math.fsum(map(abs, values))


def test_a_float_sum_may_overflow_without_harm_to_others() -> None:
    """Its own total is infinite; the other keys are what they were."""
    rows: list[Row] = [(1, 1.7e308, 0, "", ""), (2, 0.5, 0, "", ""), (1, 1.7e308, 0, "", ""), (2, 0.25, 0, "", "")]
    for split in ([], [2], [1, 2, 3]):
        state = folded(rows, split, "float", pl.Float64)
        assert by_key(state, "total")[1] == math.inf
        assert by_key(state, "total")[2] + by_key(state, "compensation")[2] == 0.75
        assert all(map(math.isfinite, by_key(state, "compensation").values()))


@given(drawn(finite), cuts)
def test_extremes_are_the_smallest_and_the_largest(rows: list[Row], cuts: list[int]) -> None:
    """In any split."""
    state = folded(rows, cuts, "extreme", pl.Float64)
    for key, part in groups(rows).items():
        values = [row[1] for _, row in part]
        assert (by_key(state, "minimum")[key], by_key(state, "maximum")[key]) == (min(values), max(values))


@pytest.mark.parametrize("last", [False, True])
@given(rows=drawn(finite), cuts=cuts)
def test_edges_are_ordered_by_time_source_and_id(last: bool, rows: list[Row], cuts: list[int]) -> None:
    """Of equal ones, the first or last offset counts."""
    state = folded(rows, cuts, "edge", pl.Float64, last=last)
    for key, part in groups(rows).items():
        pick = max if last else min
        wanted = pick(part, key=lambda item: (item[1][2:], item[0]))[1]
        found = tuple(by_key(state, f"edge_{name}")[key] for name in ("value", "time", "source", "id"))
        assert found == wanted[1:]


@given(drawn(wild), cuts)
def test_sketches_are_the_same_in_any_split(rows: list[Row], cuts: list[int]) -> None:
    """Each bin has as many values as fell into it."""
    whole, split = summarise(rows_of(rows, pl.Float64), "sketch"), folded(rows, cuts, "sketch", pl.Float64)

    def bins(state: pl.DataFrame) -> dict[int, dict[int, int]]:
        lists = zip(state["key"], state["bins"].to_list(), state["bin_counts"].to_list(), strict=True)
        return {key: dict(zip(places, counts, strict=True)) for key, places, counts in lists}

    assert bins(whole) == bins(split)
    assert {key: sum(found.values()) for key, found in bins(split).items()} == by_key(split, "count")


@how(max_examples=300)
@given(st.lists(wild.filter(lambda value: abs(value) >= 2.3e-308 or value == 0), min_size=1))
def test_bins_are_those_of_the_sketch_library(values: list[float]) -> None:
    """DDSketch's logarithmic mapping, with a sign and a place for zero; and within one percent."""
    mapping = LogarithmicMapping(RELATIVE_ERROR)
    found = pl.DataFrame({"v": values}, schema={"v": pl.Float64}).select(sketch_bin(pl.col("v"))).to_series().to_list()
    for value, bin in zip(values, found, strict=True):
        if value == 0:
            assert bin == 0
            continue
        index = abs(bin) - BIN_OFFSET
        assert (bin > 0) == (value > 0)
        assert abs(index - mapping.key(abs(value))) <= (1 if _on_an_edge(abs(value)) else 0)
        middle = math.log(2 / (1 + mapping.gamma)) + index * math.log(mapping.gamma)
        assert abs(math.expm1(middle - math.log(abs(value)))) <= RELATIVE_ERROR + 1e-9


def _on_an_edge(value: float) -> bool:
    """Whether rounding may decide between two bins."""
    place = math.log(value) / math.log((1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR))
    return abs(place - round(place)) < 1e-9


@given(st.lists(finite, min_size=2, max_size=50))
def test_bins_sort_as_their_values_do(values: list[float]) -> None:
    """Negative, zero, positive; from the tiniest to the largest float."""
    extremes = [*values, 5e-324, -5e-324, 1.7976931348623157e308, -1.7976931348623157e308, 0.0]
    frame = pl.DataFrame({"v": sorted(extremes)}, schema={"v": pl.Float64})
    bins = frame.select(sketch_bin(pl.col("v"))).to_series()
    assert bins.to_list() == sorted(bins.to_list())
    assert bins.null_count() == 0
