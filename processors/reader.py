"""Reading KPI values: by window, by span, and how far they are complete."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from onpace.config.calendar import Grain, window_end, window_start, windows
from onpace.config.catalog import Catalog
from onpace.config.errors import UnknownName, did_you_mean
from onpace.config.kpi import RatioKpi, SimpleKpi
from onpace.config.kpi_entities import Kpi
from onpace.processors.clickhouse import ClickHouse
from onpace.processors.sql import Grouping, dimension_select, merged_select
from onpace.processors.views import grouping_sql
from onpace.processors.windows import LATEST_US
from onpace.processors.writer import EPOCH

__all__ = ["Point", "Reader", "Series", "Source"]

_MICROSECOND = timedelta(microseconds=1)
_LATEST = EPOCH + LATEST_US * _MICROSECOND
_SPANS_PER_QUERY = 1000


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


@dataclass(frozen=True, slots=True)
class _Extent:
    """How far a KPI is complete."""

    reached: datetime | None
    """The lowest watermark of its inputs, less their lateness."""
    input_end: datetime | None

    @property
    def latest(self) -> datetime | None:
        """No window that begins after it is complete."""
        return max((at for at in (self.reached, self.input_end) if at is not None), default=None)

    def holds(self, start: datetime, end: datetime) -> bool:
        """Whether the window is complete: passed by all watermarks, or begun before a finished input ended."""
        passed = self.reached is not None and end <= self.reached
        return passed or (self.input_end is not None and start <= self.input_end)


class Reader:
    """Reads KPIs by name. `sources` looks at the watermarks anew; until then all reads judge by the same ones.

    Every method raises StoreUnavailable when the store does not answer, and UnknownName for a KPI that does not exist.
    """

    def __init__(self, store: ClickHouse, catalog: Catalog) -> None:
        self._store = store
        self._catalog = catalog
        self._sources: dict[str, Source] | None = None
        self._rebuilding: frozenset[str] = frozenset()
        self._firsts: dict[int, datetime] = {}  # definition -> first window; asked again until there is one

    def sources(self) -> dict[str, Source]:
        """How far each declared event type has come. Read before values: what it calls complete is then there."""
        rows = self._store.query(
            "SELECT event_type, last_event_time, last_arrival, caught_up_at, watermark, input_end FROM event_watermarks"
        )
        self._firsts.clear()
        found = {name: Source(*(_instant(value) for value in values)) for name, *values in rows}
        self._rebuilding = frozenset(name for (name,) in self._store.query("SELECT DISTINCT kpi FROM kpi_rebuilds"))
        self._sources = {name: found.get(name, Source(None, None, None)) for name in self._catalog.events}
        return self._sources

    def rebuilding(self, kpi: str) -> tuple[str, ...]:
        """Its inputs whose history is still being rebuilt from the archive: nothing of the KPI is complete yet."""
        if self._sources is None:
            self.sources()
        leaves = self._catalog.leaves(self._catalog.kpi(kpi))
        return tuple(leaf.name for leaf in leaves if leaf.name in self._rebuilding)

    def watermark(self, kpi: str) -> datetime | None:
        """W: every base window before it is complete for all inputs. None: nothing is complete yet."""
        found = self._catalog.kpi(kpi)
        extent, base = self._extent(found), self._catalog.base_grain(found)
        ends = [] if extent.reached is None else [window_start(base, extent.reached, found.zone)]
        if extent.input_end:
            ends.append(window_end(base, window_start(base, extent.input_end, found.zone), found.zone))
        return max(ends, default=None)

    def _extent(self, kpi: Kpi) -> _Extent:
        sources = self._sources if self._sources is not None else self.sources()
        if self.rebuilding(kpi.name):
            return _Extent(None, None)
        leaves = self._catalog.leaves(kpi)
        marks = [mark - leaf.lateness for leaf in leaves if (mark := sources[leaf.event].watermark) is not None]
        ends = [source.input_end for source in sources.values() if source.input_end]
        return _Extent(min(marks) if len(marks) == len(leaves) else None, max(ends, default=None))

    def first_event(self, kpi: str) -> datetime | None:
        """The start of the KPI's first base window that holds an event."""
        firsts = [self._first(leaf) for leaf in self._catalog.leaves(self._catalog.kpi(kpi))]
        return min((at for at in firsts if at is not None), default=None)

    def _first(self, leaf: SimpleKpi) -> datetime | None:
        """The leaf's first window. Remembered as of the last `sources`: a late event may still move it back."""
        known = self._firsts.get(leaf.definition)
        if known is not None:
            return known
        table = "partials_distinct" if leaf.agg == "count_distinct" else "partials"
        rows = self._store.query(
            f"SELECT min(window_start) FROM {table} WHERE kpi = {{kpi:String}} AND definition = {{definition:UInt64}}",
            {"kpi": leaf.name, "definition": leaf.definition},
        )
        found = _instant(rows[0][0]) if rows else None
        if found is not None:
            self._firsts[leaf.definition] = found
        return found

    def values(
        self, kpi: str, spans: Sequence[tuple[datetime, datetime]], where: Mapping[str, str] | None = None
    ) -> list[float | None]:
        """The KPI merged over each half-open span of base windows; spans may overlap.

        A span that begins before the KPI's first event and holds none is None, even for accumulating kinds.
        """
        found = self._catalog.kpi(kpi)
        self._check_dimensions(found, list(where or ()))
        merged: dict[int, float | None] = {}
        for at in range(0, len(spans), _SPANS_PER_QUERY):
            part = self._merged_over(found, spans[at : at + _SPANS_PER_QUERY], where)
            merged |= {at + place: value for place, value in part.items()}
        empty = self._empty_value(found)
        begun = None if empty is None or len(merged) == len(spans) else self.first_event(kpi)
        nothing = [empty if begun is not None and begun < end else None for _, end in spans]
        return [merged.get(at, nothing[at]) for at in range(len(spans))]

    def _merged_over(
        self, kpi: Kpi, spans: Sequence[tuple[datetime, datetime]], where: Mapping[str, str] | None
    ) -> dict[int, float | None]:
        """Place of each span that holds an event -> its value, in one query."""
        starts = [_seconds(start) for start, _ in spans]
        ends = [_seconds(end) for _, end in spans]
        seconds = "toUnixTimestamp(window_start)"
        inside = f"i -> {seconds} >= {starts}[i] AND {seconds} < {ends}[i]"
        grouping = Grouping(
            {"Span": "Span"},
            condition=_between(min(starts), max(ends)),
            where=list(where or ()),
            array_join=f"arrayFilter({inside}, range(1, {len(spans) + 1})) AS Span",
        )
        rows = self._store.query(merged_select(self._catalog, kpi, grouping), _where_parameters(where))
        return {int(span) - 1: value for span, value, *_ in rows}

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
        first, end = window_start(grain, start, found.zone), min(end, _LATEST)
        if end <= first:
            return {}
        upto = window_end(grain, window_start(grain, end - _MICROSECOND, found.zone), found.zone)
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

    def _points(
        self,
        kpi: Kpi,
        grain: Grain,
        span: tuple[datetime, datetime],
        *,
        by: Sequence[str],
        where: Mapping[str, str] | None,
        extent: _Extent,
    ) -> Iterator[tuple[tuple[str | None, ...], Point]]:
        """Dimension values and window of everything that was counted in base windows of `span`."""
        grouping = Grouping(
            {"Start": grouping_sql(self._catalog, kpi, grain)},
            list(by),
            condition=_between(*map(_seconds, span)),
            where=list(where or ()),
        )
        rows = self._store.query(merged_select(self._catalog, kpi, grouping), _where_parameters(where))
        for at, *rest in rows:
            opened = _utc(at)
            closed = window_end(grain, opened, kpi.zone)
            value, numerator, denominator, revision = rest[len(by) :]
            complete = extent.holds(opened, closed)
            point = Point(opened, closed, value, numerator, denominator, complete, int(revision))
            yield tuple(rest[: len(by)]), point

    def _empty_points(self, kpi: Kpi, grain: Grain, start: datetime, end: datetime, *, extent: _Extent) -> list[Point]:
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
            for at in windows(grain, max(start, begun), min(end, latest + _MICROSECOND), kpi.zone)
            if extent.holds(at, upto := window_end(grain, at, kpi.zone))
        ]

    def _known_series(
        self, kpi: Kpi, by: Sequence[str], where: Mapping[str, str] | None
    ) -> list[tuple[str | None, ...]]:
        """Every combination of dimension values the KPI has ever had."""
        return self._store.query(dimension_select(self._catalog, kpi, by, list(where or ())), _where_parameters(where))

    def _empty_value(self, kpi: Kpi) -> float | None:
        return 0.0 if isinstance(kpi, SimpleKpi) and kpi.agg in ("count", "sum", "count_distinct") else None

    def _check_dimensions(self, kpi: Kpi, names: Sequence[str]) -> None:
        known = self._catalog.dimensions(kpi)
        for name in names:
            if name not in known:
                has = f"its dimensions are {', '.join(known)}" if known else "it has none"
                raise UnknownName(f"KPI '{kpi.name}' has no dimension '{name}'{did_you_mean(name, known)}: {has}")


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
