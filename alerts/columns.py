"""What is known of the windows of KPIs, in columns, and how it is read: one query per KPI, grain and `by`.

What lies in the past is kept between evaluations and read again once a day, a part with each new window, for late
events may have changed it. What is being judged is always read.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from onpace.alerts.reading import SeriesKey, SeriesReader, Span
from onpace.config.calendar import Calendar, Grain, window_end
from onpace.processors.window_tables import WindowTable, fill_table, placed_points

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ColumnCache", "Columns", "Place", "TableReader", "Wanted"]

Place = tuple[str, Grain, tuple[str, ...]]
"""A KPI, a grain and the dimensions that tell its series apart."""

AGAIN = timedelta(days=1)
"""The past is read again within so long, by the clock of the windows."""


@runtime_checkable
class TableReader(Protocol):
    """A reader that has windows in columns."""

    def table(
        self, kpi: str, grain: Grain, spans: Sequence[Span], *, by: Sequence[str] = (), every: bool = True
    ) -> WindowTable:
        """The complete windows that begin in any of the spans, which are in order, apart, and end where windows do.

        Without `every`, series that have no events there may be missing: it is enough to ask for all of them at times.
        """
        ...


@dataclass(slots=True)
class Wanted:
    """Starts of windows: those that have to be read, and those of which what was read before will do."""

    fresh: set[datetime] = field(default_factory=set)
    past: set[datetime] = field(default_factory=set)

    @property
    def all(self) -> set[datetime]:
        """All of them."""
        return self.fresh | self.past

    def add(self, other: Wanted) -> None:
        """Want that as well."""
        self.fresh |= other.fresh
        self.past |= other.past


class Columns:
    """The windows of one place. Arrays have a number per series, in the order of `keys`; they are never changed."""

    def __init__(self) -> None:
        self.keys: list[SeriesKey] = []
        """Only ever grows, so that a series keeps its number."""
        self.rounds = 0
        """How often all of the past was read at once, as it is with each day where windows are days."""
        self._numbers: dict[SeriesKey, int] = {}
        self._windows: dict[datetime, tuple[NDArray[np.float64] | None, datetime]] = {}
        self._empty = math.nan
        self._read_to: datetime | None = None
        self._all_known_at: datetime | None = None

    def number(self, key: SeriesKey) -> int | None:
        """Which number of the arrays is the series'."""
        return self._numbers.get(key)

    def values(self, start: datetime) -> NDArray[np.float64] | None:
        """One window; None where it is not complete, lies before the KPI's first event or is not known."""
        found, _ = self._windows.get(start, (None, None))
        return None if found is None else self.padded(found)

    def padded(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """An array from before some of the series were known, as long as the others."""
        more = len(self.keys) - len(values)
        return np.append(values, np.full(more, self._empty)) if more else values

    def numbers_of(self, keys: Iterable[SeriesKey]) -> NDArray[np.int64]:
        """The number of each series; that of one which is not here is -1."""
        return np.array([self._numbers.get(key, -1) for key in keys], dtype=np.int64)

    def missing(self, wanted: Wanted, to: datetime) -> list[datetime]:
        """What has to be read now, in order, when the newest window ends at `to`."""
        unknown = {start for start in wanted.past if start not in self._windows}
        kept = sorted((self._windows[start][1], start) for start in wanted.past - unknown - wanted.fresh)
        passed = (to - self._read_to) / AGAIN if self._read_to else 0.0
        oldest = kept[: math.ceil(len(kept) * min(1.0, max(0.0, passed)))]
        return sorted(wanted.fresh | unknown | {start for _, start in oldest})

    def lacks_series(self, to: datetime) -> bool:
        """Whether it is time to ask for all series."""
        return self._all_known_at is None or abs(to - self._all_known_at) >= AGAIN

    def take(self, table: WindowTable, asked: Iterable[datetime], wanted: Wanted, to: datetime) -> None:
        """Take in what was read, and let go what nobody wants."""
        self._empty = table.empty if len(table.starts) else self._empty
        for key in table.keys:
            if key not in self._numbers:
                self._numbers[key] = len(self.keys)
                self.keys.append(key)
        places = self.numbers_of(table.keys)
        found: dict[datetime, NDArray[np.float64]] = {}
        for at, start in enumerate(table.starts):
            column = np.full(len(self.keys), self._empty)
            column[places] = table.values[at]
            found[start] = column
        kept = wanted.all
        self._windows = {start: known for start, known in self._windows.items() if start in kept}
        self._windows |= {start: (found.get(start), to) for start in asked}
        self._read_to = max(to, self._read_to or to)
        self.rounds += bool(wanted.past) and wanted.past <= set(asked)
        self._all_known_at = to if self.lacks_series(to) else self._all_known_at


class ColumnCache:
    """The columns of every place that rules look at."""

    def __init__(self, reader: SeriesReader) -> None:
        self.reader = reader
        self._places: dict[Place, Columns] = {}

    def read(self, place: Place, wanted: Wanted, calendar: Calendar, to: datetime) -> Columns:
        """What is wanted of a place, where the newest window ends at `to`, in one query at most."""
        kpi, grain, by = place
        quick = self.reader if isinstance(self.reader, TableReader) else None
        columns = self._places.setdefault(place, Columns()) if quick else Columns()
        if asked := columns.missing(wanted, to):
            spans = _spans(asked, grain, calendar)
            every = columns.lacks_series(to)
            table = (
                quick.table(kpi, grain, spans, by=by, every=every) if quick else _from_points(self.reader, place, spans)
            )
            columns.take(table, asked, wanted, to)
        return columns


def _from_points(reader: SeriesReader, place: Place, spans: Sequence[Span]) -> WindowTable:
    """The same from a reader that only has windows one by one."""
    kpi, grain, by = place
    found: dict[SeriesKey, list[tuple[datetime, float | None]]] = {}
    for start, end in spans:
        for key, points in reader.series(kpi, grain, start, end, by=by).items():
            found.setdefault(key, []).extend((point.window_start, point.value) for point in points if point.complete)
    starts = sorted({start for points in found.values() for start, _ in points})
    return fill_table(placed_points(found), starts, empty=None)


def _spans(starts: Sequence[datetime], grain: Grain, calendar: Calendar) -> list[Span]:
    spans: list[Span] = []
    for start in starts:
        end = window_end(grain, start, calendar)
        if spans and spans[-1][1] == start:
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((start, end))
    return spans
