"""Reading KPI values: by window, by span, and how far they are complete."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from onpace.config.calendar import Grain, window_end, window_start, windows
from onpace.config.catalog import Catalog
from onpace.config.errors import UnknownName, did_you_mean
from onpace.config.kpi import CumulativeKpi, RatioKpi, SimpleKpi
from onpace.config.kpi_entities import ConversionKpi, Kpi, Leaf, ReportedKpi, streams_of
from onpace.config.terms import terms_of
from onpace.processors.clickhouse import ClickHouse
from onpace.processors.extents import Extent, begun_sql, firsts_of, leaf_reached
from onpace.processors.placing import Placement, Spans, Windows
from onpace.processors.report_sql import reported_since, reported_until
from onpace.processors.segments import Portions, read_segments
from onpace.processors.slices import read_slices, spans_of, spans_per_query, window_spans
from onpace.processors.sql import dimension_select, merged_select
from onpace.processors.window_tables import Placed, WindowTable, arrays_select, fill_table, placed_in, placed_points
from onpace.processors.windows import LATEST_US
from onpace.processors.writer import EPOCH

__all__ = ["Point", "Reader", "Series", "Source"]

_MICROSECOND = timedelta(microseconds=1)
Span = tuple[datetime, datetime]
_LATEST = EPOCH + LATEST_US * _MICROSECOND


@dataclass(frozen=True, slots=True)
class Point:
    """One window of one series. A filled-in empty window has revision 0."""

    window_start: datetime
    window_end: datetime
    value: float | None
    numerator: float | None
    denominator: float | None
    complete: bool
    revision: int


Series = dict[tuple[str | None, ...], list[Point]]
"""Dimension values in the order of `by` -> windows in order; () is the total."""


@dataclass(frozen=True, slots=True)
class Source:
    """How far one event type has come."""

    last_event_time: datetime | None
    last_arrival: datetime | None
    caught_up_at: datetime | None
    watermark: datetime | None = None
    """Before lateness is taken off."""
    input_end: datetime | None = None
    """The time of the last event, where the input was declared finished."""


class Reader:
    """Reads KPIs by name. `sources` looks at the watermarks anew; until then all reads judge by the same ones.

    Every method raises StoreUnavailable when the store does not answer, and UnknownName for a KPI that does not exist.
    """

    def __init__(self, store: ClickHouse, catalog: Catalog) -> None:
        self._store = store
        self._catalog = catalog
        self._sources: dict[str, Source] | None = None
        self._rebuilding: frozenset[str] = frozenset()
        self._asked_for_firsts = False
        self._firsts: dict[str, datetime] = {}  # leaf -> first window; asked again until there is one

    def sources(self) -> dict[str, Source]:
        """How far each declared event type has come. Read before values: what it calls complete is then there."""
        rows = self._store.query(
            "SELECT event_type, last_event_time, last_arrival, caught_up_at, watermark, input_end FROM event_watermarks"
        )
        self._firsts.clear()
        self._asked_for_firsts = False
        found = {name: Source(*(_instant(value) for value in values)) for name, *values in rows}
        self._rebuilding = frozenset(name for (name,) in self._store.query("SELECT DISTINCT kpi FROM kpi_rebuilds"))
        self._sources = {name: found.get(name, Source(None, None, None)) for name in self._catalog.events}
        return self._sources

    def rebuilding(self, kpi: str) -> tuple[str, ...]:
        """Its inputs whose history is still being rebuilt from the archive: nothing of the KPI is complete yet."""
        if self._sources is None:
            self.sources()
        streams = self._catalog.streams(self._catalog.kpi(kpi))
        return tuple(stream.name for stream in streams if stream.name in self._rebuilding)

    def watermark(self, kpi: str) -> datetime | None:
        """W: every base window before it is complete for all inputs. None: nothing is complete yet."""
        found = self._catalog.kpi(kpi)
        extent, base = self._extent(found), self._catalog.base_grain(found)
        ends = [] if extent.reached is None else [window_start(base, extent.reached, found.calendar)]
        if extent.input_end:
            ends.append(window_end(base, window_start(base, extent.input_end, found.calendar), found.calendar))
        streamed = max(ends, default=None)
        if not extent.reports:
            return streamed
        return min(extent.reported, streamed) if extent.streamed and extent.reported and streamed else extent.reported

    def _extent(self, kpi: Kpi) -> Extent:
        sources = self._sources if self._sources is not None else self.sources()
        leaves = self._catalog.leaves(kpi)
        reports = [leaf for leaf in leaves if isinstance(leaf, ReportedKpi)]
        streamed = [leaf for leaf in leaves if not isinstance(leaf, ReportedKpi)]
        if self.rebuilding(kpi.name):
            return Extent(None, None, None, streamed=True, reports=bool(reports))
        reached = [self._reached(leaf, sources) for leaf in streamed]
        ends = [source.input_end for source in sources.values() if source.input_end] if streamed else []
        until = [self._instant(reported_until(leaf)) for leaf in reports]
        end = max(ends, default=None)
        return Extent(_earliest(reached), end, _earliest(until), streamed=bool(streamed), reports=bool(reports))

    def _reached(self, leaf: Leaf, sources: Mapping[str, Source]) -> datetime | None:
        streams = streams_of(leaf)
        marks = [m - stream.lateness for stream in streams if (m := sources[stream.event].watermark) is not None]
        return leaf_reached(leaf, min(marks)) if len(marks) == len(streams) else None

    def _instant(self, select: str) -> datetime | None:
        rows = self._store.query(select)
        return _instant(rows[0][0]) if rows else None

    def first_event(self, kpi: str) -> datetime | None:
        """The start of the KPI's first base window that holds an event."""
        firsts = [self._first(leaf) for leaf in self._catalog.leaves(self._catalog.kpi(kpi))]
        return min((at for at in firsts if at is not None), default=None)

    def _first(self, leaf: Leaf) -> datetime | None:
        """The leaf's first window. Remembered as of the last `sources`: a late event may still move it back."""
        if (known := self._firsts.get(leaf.name)) is not None:
            return known
        found = self._instant(reported_since(leaf)) if isinstance(leaf, ReportedKpi) else self._first_of_stream(leaf)
        if found is None:
            return None
        begun = self._firsts[leaf.name] = window_start(leaf.base_grain, found, leaf.calendar)
        return begun

    def _first_of_stream(self, leaf: Leaf) -> datetime | None:
        """Asked for all leaves at once, when it is asked at all: there may be hundreds; later only of what had none."""
        leaves = {leaf.name: leaf}
        if not self._asked_for_firsts:
            leaves |= {one.name: one for kpi in self._catalog.kpis.values() for one in self._catalog.leaves(kpi)}
            self._asked_for_firsts = True
        streamed = [one for one in leaves.values() if not isinstance(one, ReportedKpi)]
        begins = {
            streamed[int(at)].name: found
            for at, first in self._store.query(firsts_of(streams_of(one)[0] for one in streamed))
            if (found := _instant(first)) is not None
        }
        self._firsts |= {
            one.name: window_start(one.base_grain, begins[one.name], one.calendar)
            for one in streamed
            if one.name in begins
        }
        return begins.get(leaf.name)

    def values(
        self, kpi: str, spans: Sequence[tuple[datetime, datetime]], where: Mapping[str, str] | None = None
    ) -> list[float | None]:
        """The KPI merged over each half-open span of base windows; spans may overlap.

        A span that begins before the KPI's first event and holds none is None, even for accumulating kinds.
        """
        found = self._catalog.kpi(kpi)
        self._check_dimensions(found, list(where or ()))
        merged: dict[int, float | None] = {}
        size = spans_per_query(self._catalog, found)
        for at in range(0, len(spans), size):
            part = list(spans[at : at + size])
            placement = Spans(partial(spans_of, part, found.calendar))
            rows = self._query(found, placement, where=where)
            merged |= {at + int(place) - 1: value for place, value, *_ in rows}
        nothing = self._nothing(found, spans) if len(merged) < len(spans) else ()
        return [merged[at] if at in merged else nothing[at] for at in range(len(spans))]

    def slices(self, kpi: str, spans: Sequence[Span], wheres: Sequence[Mapping[str, str]]) -> list[list[float | None]]:
        """`values` in each of several slices, which name the same dimensions in the same order, in one query."""
        found = self._catalog.kpi(kpi)
        self._check_dimensions(found, list(wheres[0]))
        nothing = partial(self._nothing, found, spans)
        return read_slices(self._store, self._catalog, found, spans, wheres, nothing=nothing)

    def _nothing(self, kpi: Kpi, spans: Sequence[Span]) -> list[float | None]:
        """What stands in spans without events."""
        empty = self._empty_value(kpi)
        begun = None if empty is None else self.first_event(kpi.name)
        return [empty if begun is not None and begun < end else None for _, end in spans]

    def segments(
        self, kpi: str, spans: Sequence[Span], dimension: str, where: Mapping[str, str | None] | None = None
    ) -> list[Portions]:
        """What each value of a dimension counts for in each span, in one query; `where` takes null as well.

        Only for KPIs that `onpace.config.additivity` can take apart.
        """
        found = self._catalog.kpi(kpi)
        self._check_dimensions(found, [dimension, *(where or ())])
        return read_segments(self._store, self._catalog, found, spans, dimension=dimension, where=where or {})

    def _query(
        self, kpi: Kpi, placement: Placement, by: Sequence[str] = (), where: Mapping[str, str] | None = None
    ) -> list[tuple[Any, ...]]:
        select = merged_select(self._catalog, kpi, placement, by, list(where or ()))
        return self._store.query(select, _where_parameters(where))

    def value(self, kpi: str, start: datetime, end: datetime, where: Mapping[str, str] | None = None) -> float | None:
        """The KPI merged over all base windows with `start <= window_start < end`."""
        return self.values(kpi, [(start, end)], where)[0]

    def series(
        self,
        kpi: str,
        grain: Grain,
        start: datetime,
        end: datetime,
        *,
        by: Sequence[str] = (),
        where: Mapping[str, str] | None = None,
    ) -> Series:
        """Windows of `grain` that begin in `[window of start, end)`, per series of `by`.

        Complete windows without events are filled in from the KPI's first event on: 0 for counts and sums, else None.
        Raises ValueError for a grain finer than the KPI's base grain and UnknownName for a dimension it lacks.
        """
        found = self._catalog.kpi(kpi)
        base = self._catalog.base_grain(found)
        if grain.rank < base.rank:
            raise ValueError(f"KPI '{kpi}' has windows of {base}: ask for {base} or coarser, not {grain}")
        self._check_dimensions(found, [*by, *(where or ())])
        extent = self._extent(found)  # before the values: what it vouches for is then there
        first, end = window_start(grain, start, found.calendar), min(end, _LATEST)
        if end <= first:
            return {}
        upto = window_end(grain, window_start(grain, end - _MICROSECOND, found.calendar), found.calendar)
        result: Series = {}
        for dims, point in self._points(found, grain, (first, upto), by=by, where=where, extent=extent):
            result.setdefault(dims, []).append(point)
        if empty := self._empty_points(found, grain, first, end, extent=extent):
            for dims in self._known_series(found, by, where) if by else [()]:
                points = result.setdefault(dims, [])
                present = {point.window_start for point in points}
                points += [point for point in empty if point.window_start not in present]
        return {
            dims: sorted(points, key=lambda point: point.window_start)
            for dims, points in sorted(result.items(), key=_order)
        }

    def table(
        self, kpi: str, grain: Grain, spans: Sequence[Span], *, by: Sequence[str] = (), every: bool = True
    ) -> WindowTable:
        """The complete windows of `grain` that begin in any of the spans (in order, apart, at edges of windows), filled
        in like those of `series`, in one query and a second one for series without events there. Without `every` that
        is a fast one: series of which all events were rebuilt from the archive may be missing."""
        found = self._catalog.kpi(kpi)
        self._check_dimensions(found, by)
        extent = self._extent(found)  # before the values, as in `series`
        empty = [one for span in spans for one in self._empty_points(found, grain, *span, extent=extent)]
        starts = [one.window_start for one in empty]
        if not starts:
            return fill_table([], [], empty=None)
        placed = self._placed_arrays(found, grain, spans, by)
        nothing = self._empty_value(found)
        known: list[tuple[str | None, ...]] = [] if by else [()]
        if by and nothing is not None:
            known = self._store.query(dimension_select(self._catalog, found, by, every=every))
        return fill_table(placed, starts, empty=nothing, known=known)

    def _placed_arrays(self, kpi: Kpi, grain: Grain, spans: Sequence[Span], by: Sequence[str]) -> list[Placed]:
        if not any(term.steps for term in terms_of(self._catalog, kpi)):
            between = " OR ".join(f"({_between(*map(_seconds, span))})" for span in spans)
            select = merged_select(self._catalog, kpi, Windows(grain, kpi.calendar, "", between), by)
            return placed_in(self._store.query_arrow(arrays_select(select, by)), by)
        points: dict[tuple[str | None, ...], list[tuple[datetime, float | None]]] = {}
        for span in spans:
            for at, *rest in self._placed(kpi, grain, span, by, None):
                points.setdefault(tuple(rest[: len(by)]), []).append((at, rest[len(by)]))
        return placed_points(points)

    def _points(
        self,
        kpi: Kpi,
        grain: Grain,
        span: tuple[datetime, datetime],
        *,
        by: Sequence[str],
        where: Mapping[str, str] | None,
        extent: Extent,
    ) -> Iterator[tuple[tuple[str | None, ...], Point]]:
        """Dimension values and window of everything that was counted in base windows of `span`."""
        for opened, *rest in self._placed(kpi, grain, span, by, where):
            closed = window_end(grain, opened, kpi.calendar)
            value, numerator, denominator, revision = rest[len(by) :]
            complete = extent.holds(opened, closed)
            point = Point(opened, closed, value, numerator, denominator, complete, int(revision))
            yield tuple(rest[: len(by)]), point

    def _placed(
        self,
        kpi: Kpi,
        grain: Grain,
        span: tuple[datetime, datetime],
        by: Sequence[str],
        where: Mapping[str, str] | None,
    ) -> Iterator[tuple[Any, ...]]:
        """Rows of (window start, dimension values, value, numerator, denominator, revision)."""
        if not any(term.steps for term in terms_of(self._catalog, kpi)):
            placement = Windows(grain, kpi.calendar, "", _between(*map(_seconds, span)))
            yield from ((_utc(at), *rest) for at, *rest in self._query(kpi, placement, by, where))
            return
        begun = self._instant(f"SELECT {begun_sql(self._catalog, kpi)}")
        first = self.first_event(kpi.name)
        if begun is None or first is None:
            return
        starts = list(windows(grain, max(span[0], first), min(span[1], begun + _MICROSECOND), kpi.calendar))
        size = spans_per_query(self._catalog, kpi)
        for at in range(0, len(starts), size):
            part = starts[at : at + size]
            spans = Spans(partial(window_spans, part, grain, kpi.calendar))
            yield from ((part[int(place) - 1], *rest) for place, *rest in self._query(kpi, spans, by, where))

    def _empty_points(self, kpi: Kpi, grain: Grain, start: datetime, end: datetime, *, extent: Extent) -> list[Point]:
        """What stands in complete windows without events."""
        begun = self.first_event(kpi.name)
        latest = extent.latest
        if begun is None or latest is None:
            return []
        value = self._empty_value(kpi)
        numerator, denominator = (
            (self._empty_value(part) for part in self._catalog.inputs(kpi))
            if isinstance(kpi, RatioKpi)
            else (None, None)
        )
        return [
            Point(at, upto, value, numerator, denominator, True, 0)
            for at in windows(grain, max(start, begun), min(end, latest + _MICROSECOND), kpi.calendar)
            if extent.holds(at, upto := window_end(grain, at, kpi.calendar))
        ]

    def _known_series(
        self, kpi: Kpi, by: Sequence[str], where: Mapping[str, str] | None
    ) -> list[tuple[str | None, ...]]:
        """Every combination of dimension values the KPI has ever had."""
        return self._store.query(dimension_select(self._catalog, kpi, by, list(where or ())), _where_parameters(where))

    def _empty_value(self, kpi: Kpi) -> float | None:
        match kpi:
            case SimpleKpi(agg="count" | "sum" | "count_distinct") | ConversionKpi(measure="count"):
                return 0.0
            case CumulativeKpi():
                return self._empty_value(self._catalog.kpi(kpi.of))
            case _:
                return None

    def _check_dimensions(self, kpi: Kpi, names: Sequence[str]) -> None:
        known = self._catalog.dimensions(kpi)
        for name in names:
            if name not in known:
                has = f"its dimensions are {', '.join(known)}" if known else "it has none"
                raise UnknownName(f"KPI '{kpi.name}' has no dimension '{name}'{did_you_mean(name, known)}: {has}")


def _earliest(instants: Sequence[datetime | None]) -> datetime | None:
    known = [at for at in instants if at is not None]
    return min(known, default=None) if len(known) == len(instants) else None


def _order(item: tuple[tuple[str | None, ...], Any]) -> tuple[tuple[bool, str], ...]:
    return tuple((part is not None, part or "") for part in item[0])


def _between(start: int, end: int) -> str:
    return f"window_start >= toDateTime({start}, 'UTC') AND window_start < toDateTime({end}, 'UTC')"


def _seconds(at: datetime) -> int:
    """Seconds since 1970, within what a DateTime holds; a bound inside a second counts as the next one."""
    return min(max(-((EPOCH - at) // timedelta(seconds=1)), 0), 2**32 - 1)


def _where_parameters(where: Mapping[str, str] | None) -> dict[str, object]:
    return {f"where_{name}": value for name, value in (where or {}).items()}


def _utc(at: datetime) -> datetime:
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def _instant(value: object) -> datetime | None:
    """A datetime from the store; the epoch stands for nothing."""
    return _utc(value) if isinstance(value, datetime) and _utc(value) > EPOCH else None
