"""The complete windows of a KPI in columns: a number per window and series, for what looks at thousands of series."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import nan
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

__all__ = ["Placed", "WindowTable", "arrays_select", "fill_table", "placed_in", "placed_points"]

Placed = tuple[tuple[str | None, ...], Sequence[int], Sequence[float]]
"""A series, the starts of its windows in seconds since 1970, and their values; NaN is none."""


@dataclass(frozen=True, slots=True)
class WindowTable:
    """Complete windows of one grain by series."""

    keys: Sequence[tuple[str | None, ...]]
    """The series: dimension values in the order of `by`; () is the total."""
    starts: Sequence[datetime]
    """The windows, in order."""
    values: NDArray[np.float64]
    """A row per window and a column per series; NaN where there is no value, or one that is not finite."""
    empty: float = nan
    """What stands in a window in which a series has no events: 0 where the KPI adds up, else NaN."""


def fill_table(
    placed: Iterable[Placed],
    starts: Sequence[datetime],
    *,
    empty: float | None,
    known: Iterable[tuple[str | None, ...]] = (),
) -> WindowTable:
    """The table over `starts` (in order, each once); what lies in other windows is left out.

    `known`: series that are in it whether or not they have anything there.
    """
    found = list(placed)
    keys = list(dict.fromkeys([*(key for key, _, _ in found), *known]))
    columns = {key: at for at, key in enumerate(keys)}
    nothing = nan if empty is None else empty
    values = np.full((len(starts), len(keys)), nothing, dtype=np.float64)
    edges = np.array([_seconds(at) for at in starts], dtype=np.int64)
    for key, seconds, numbers in found if len(edges) else ():
        wanted = np.asarray(seconds, dtype=np.int64)
        rows = np.minimum(np.searchsorted(edges, wanted), len(edges) - 1)
        here = edges[rows] == wanted
        values[rows[here], columns[key]] = np.asarray(numbers, dtype=np.float64)[here]
    values[~np.isfinite(values)] = nan
    return WindowTable(keys, starts, values, nothing)


def _seconds(at: datetime) -> int:
    return int(at.timestamp())


def arrays_select(select: str, by: Sequence[str]) -> str:
    """A SELECT of a row per series, with arrays of the starts and values of what `select` (see `merged_select`) has."""
    keys = [f"`{name}` AS key_{at}" for at, name in enumerate(by)]
    arrays = ["groupArray(toUnixTimestamp(Start)) AS seconds", "groupArray(ifNull(value, nan)) AS numbers"]
    grouped = f"\nGROUP BY {', '.join(f'key_{at}' for at in range(len(by)))}" if by else ""
    return f"SELECT {', '.join([*keys, *arrays])} FROM (\n{select}\n){grouped}"


def placed_in(rows: pa.Table, by: Sequence[str]) -> list[Placed]:
    """What the rows of `arrays_select` say."""
    names = [rows.column(f"key_{at}").to_pylist() for at in range(len(by))]
    keys = list(zip(*names, strict=True)) if by else [()] * rows.num_rows
    seconds, edges = _flat(rows, "seconds")
    numbers, _ = _flat(rows, "numbers")
    spans = zip(keys, edges[:-1], edges[1:], strict=True)
    return [(key, seconds[start:end], numbers[start:end]) for key, start, end in spans]  # type: ignore[misc]


def _flat(rows: pa.Table, name: str) -> tuple[NDArray[np.generic], list[int]]:
    lists = rows.column(name).combine_chunks()
    return lists.flatten().to_numpy(zero_copy_only=False), _edges(lists.value_lengths().to_pylist())


def _edges(lengths: Sequence[int]) -> list[int]:
    edges = [0]
    for length in lengths:
        edges.append(edges[-1] + length)
    return edges


def placed_points(points: Mapping[tuple[str | None, ...], Sequence[tuple[datetime, float | None]]]) -> list[Placed]:
    """The same, of windows one by one."""
    return [
        (key, [_seconds(at) for at, _ in found], [nan if value is None else value for _, value in found])
        for key, found in points.items()
    ]
