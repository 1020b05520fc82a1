"""What is usual in each slot, for thousands of series at once: `Season.learned` of `anomalies`, in columns.

Pure. Arrays have a number per series; NaN is none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from onpace.alerts.anomalies import (
    MEAN_DEVIATION,
    MEDIAN_DEVIATION,
    MIN_WINDOWS,
    NINE_IN_TEN,
    SMALLEST,
    Season,
    Slot,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["SeasonTable", "middle"]

CHUNK = 2000
"""So many series at a time: what is sorted should stay in the cache of the processor."""


def middle(rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The median of each column of values, and how many it has; the median of none is NaN."""
    ordered = np.sort(rows, axis=0)
    counts = np.count_nonzero(~np.isnan(ordered), axis=0)
    return _at_middle(ordered, counts), counts


def _at_middle(ordered: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    low, high = np.maximum(counts - 1, 0) // 2, np.minimum(counts // 2, len(ordered) - 1)
    return (_picked(ordered, low) + _picked(ordered, high)) / 2


def _picked(rows: NDArray[np.float64], places: NDArray[np.int64]) -> NDArray[np.float64]:
    if places.size and (places == places[0]).all():  # as it is nearly always
        same: NDArray[np.float64] = rows[places[0]]
        return same
    found: NDArray[np.float64] = np.take_along_axis(rows, places[np.newaxis, :], axis=0)[0]
    return found


@dataclass(frozen=True, slots=True)
class SeasonTable:
    """What the weeks before a day teach."""

    medians: Mapping[Slot, NDArray[np.float64]]
    """NaN where a slot was not seen twice."""
    sizes: Mapping[Slot, NDArray[np.float64]]
    """What a distance is measured in; empty where that is 1 for all."""
    scale: NDArray[np.float64]

    @classmethod
    def learned(
        cls, seen: Mapping[Slot, Sequence[NDArray[np.float64]]], *, accumulates: bool, width: int
    ) -> SeasonTable:
        """From the windows of each slot, an array each, of `width` series."""
        parts = [cls._part(seen, slice(at, at + CHUNK), accumulates) for at in range(0, width, CHUNK)]
        if not parts:
            return cls({}, {}, np.empty(0))
        return cls(
            {slot: np.concatenate([part.medians[slot] for part in parts]) for slot in parts[0].medians},
            {slot: np.concatenate([part.sizes[slot] for part in parts]) for slot in parts[0].sizes},
            np.concatenate([part.scale for part in parts]),
        )

    @classmethod
    def _part(cls, seen: Mapping[Slot, Sequence[NDArray[np.float64]]], some: slice, accumulates: bool) -> SeasonTable:
        ordered = {slot: np.sort(np.stack([one[some] for one in found]), axis=0) for slot, found in seen.items()}
        counts = {slot: np.count_nonzero(~np.isnan(rows), axis=0) for slot, rows in ordered.items()}
        medians = {
            slot: np.where(counts[slot] > 1, _at_middle(rows, counts[slot]), np.nan) for slot, rows in ordered.items()
        }
        sizes = _sizes(ordered, counts, medians) if accumulates and ordered else {}
        far = [_distances(rows, counts[slot]) / sizes.get(slot, 1.0) for slot, rows in ordered.items()]
        return cls(medians, sizes, _scales(far))

    def joined(self, more: SeasonTable) -> SeasonTable:
        """This one, with the series of another behind its own. A slot that one of them lacks is unknown there."""
        mine, other = len(self.scale), len(more.scale)
        return SeasonTable(
            _joined(self.medians, more.medians, np.full(mine, np.nan), np.full(other, np.nan)),
            _joined(self.sizes, more.sizes, np.ones(mine), np.ones(other)),
            np.append(self.scale, more.scale),
        )

    def of(self, slot: Slot, series: int) -> Season:
        """What one series has in one slot."""
        median = float(self.medians[slot][series]) if slot in self.medians else np.nan
        if np.isnan(median):
            return Season({}, {}, None)
        scale = float(self.scale[series])
        size = float(self.sizes[slot][series]) if slot in self.sizes else 1.0
        return Season({slot: median}, {slot: size}, None if np.isnan(scale) else scale)


def _joined(
    mine: Mapping[Slot, NDArray[np.float64]],
    other: Mapping[Slot, NDArray[np.float64]],
    lacked: NDArray[np.float64],
    lacking: NDArray[np.float64],
) -> dict[Slot, NDArray[np.float64]]:
    slots = dict.fromkeys([*mine, *other])
    return {slot: np.append(mine.get(slot, lacked), other.get(slot, lacking)) for slot in slots}


def _sizes(
    ordered: Mapping[Slot, NDArray[np.float64]],
    counts: Mapping[Slot, NDArray[np.int64]],
    medians: Mapping[Slot, NDArray[np.float64]],
) -> dict[Slot, NDArray[np.float64]]:
    total = sum(np.nansum(rows, axis=0) for rows in ordered.values())
    number = np.maximum(sum(counts.values()), 1)
    lowest = np.min([np.where(counts[slot] > 0, rows[0], np.inf) for slot, rows in ordered.items()], axis=0)
    smallest = SMALLEST * total / number
    found = {}
    for slot, median in medians.items():
        with np.errstate(invalid="ignore"):
            size = np.sqrt(np.fmax(median, smallest))
        found[slot] = np.where((lowest < 0) | (size == 0) | np.isnan(size), 1.0, size)
    return found


def _distances(ordered: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """How far each value is from the median of the others; NaN where there are none. Columns are sorted, NaN last."""
    low, high = np.maximum(counts - 2, 0) // 2, np.maximum(counts - 1, 0) // 2
    last = len(ordered) - 1
    found = np.empty_like(ordered)
    if counts.size and (counts == len(ordered)).all():
        low, high = low[:1], high[:1]
    for at in range(len(ordered)):  # the others' k-th value is the k-th, or the one after it from here on
        others = _picked(ordered, np.minimum(low + (low >= at), last)) + _picked(
            ordered, np.minimum(high + (high >= at), last)
        )
        found[at] = np.where(counts > 1, np.abs(ordered[at] - others / 2), np.nan)
    return found


def _scales(far: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """A standard deviation of each column, from all its distances; NaN from too few."""
    rows = np.ascontiguousarray(np.concatenate(far).T) if far else np.empty((0, 0))
    counts = np.count_nonzero(~np.isnan(rows), axis=1)
    if rows.size and counts.min() == rows.shape[1]:  # as it is nearly always: no need to sort it all
        number = rows.shape[1]
        places = sorted({(number - 1) // 2, number // 2, -(-9 * number // 10) - 1})
        rows.partition(places, axis=1)
    else:
        rows.sort(axis=1)
    enough = counts >= MIN_WINDOWS
    safe = np.maximum(counts, 1)

    def at(places: NDArray[np.int64]) -> NDArray[np.float64]:
        found: NDArray[np.float64] = np.take_along_axis(rows, places[:, np.newaxis], axis=1)[:, 0]
        return found

    if not rows.size:
        return np.full(len(rows), np.nan)
    half = (at((safe - 1) // 2) + at(np.minimum(safe // 2, rows.shape[1] - 1))) / 2
    scale = np.maximum(MEDIAN_DEVIATION * half, at(-(-9 * safe // 10) - 1) / NINE_IN_TEN)
    flat = scale == 0
    scale[flat] = MEAN_DEVIATION * np.nansum(rows[flat], axis=1) / safe[flat]
    return np.where(enough, scale, np.nan)
