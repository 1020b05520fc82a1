"""How far KPIs are complete: from the watermarks of their streams to the windows that nothing can change any more.

A window is complete when all of the KPI's leaves are: those made of events once the watermarks less lateness have
passed the window's end (and the time that its last event has to convert or to come back), or when it had begun before
the end of an input that was declared finished; reported ones once the window's last period has been reported.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from onpace.config.calendar import window_start
from onpace.config.catalog import Catalog
from onpace.config.kpi import SimpleKpi
from onpace.config.kpi_entities import ConversionKpi, FactStream, Kpi, Leaf, ReportedKpi, RetentionKpi, streams_of
from onpace.processors.calendar_sql import first_day_sql, later_sql, longest
from onpace.processors.quoting import quoted
from onpace.processors.report_sql import reported_until

__all__ = ["Extent", "begun_sql", "extent_sql", "firsts_of", "leaf_reached"]

_EPOCH = "toDateTime64(0, 6, 'UTC')"
_ALWAYS = "toDateTime64('2105-01-01 00:00:00', 6, 'UTC')"
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Extent:
    """How far one KPI is complete. What it does not depend on is None with `streamed` or `reports` False."""

    reached: datetime | None
    """The lowest that its leaves of events have reached."""
    input_end: datetime | None
    reported: datetime | None = None
    """The earliest end, over its reported leaves, of the last period that was reported."""
    streamed: bool = True
    reports: bool = False

    @property
    def latest(self) -> datetime | None:
        """No window that begins after it is complete."""
        streamed = max((at for at in (self.reached, self.input_end) if at is not None), default=None)
        if not self.reports:
            return streamed
        return min(self.reported, streamed) if self.streamed and self.reported and streamed else self.reported

    def holds(self, start: datetime, end: datetime) -> bool:
        """Whether the window is complete."""
        if self.reports and (self.reported is None or end > self.reported):
            return False
        passed = self.reached is not None and end <= self.reached
        return not self.streamed or passed or (self.input_end is not None and start <= self.input_end)


def leaf_reached(leaf: Leaf, mark: datetime) -> datetime:
    """The end of the last window that is complete when the streams, less lateness, have come to `mark`."""
    if isinstance(leaf, ConversionKpi):
        return mark - leaf.window
    if isinstance(leaf, RetentionKpi):
        at = window_start(leaf.base_grain, mark, leaf.calendar)
        for _ in range(leaf.n):
            if at.year <= 1970:
                return datetime.min.replace(tzinfo=UTC)
            at = window_start(leaf.base_grain, at - _MICROSECOND, leaf.calendar)
        return at
    return mark


def extent_sql(catalog: Catalog, kpi: Kpi) -> str:
    """SQL for how far the KPI is complete: (reached by leaves of events, a finished input's end, reported until)."""
    leaves = catalog.leaves(kpi)
    reached = [_reached_sql(leaf) for leaf in leaves if not isinstance(leaf, ReportedKpi)]
    reported = [f"toDateTime64(({reported_until(leaf)}), 6, 'UTC')" for leaf in leaves if isinstance(leaf, ReportedKpi)]
    parts = [_least(reached), "max(input_end)", _least(reported)]
    names = ", ".join(quoted(stream.name) for stream in catalog.streams(kpi))
    pending = f"(SELECT count() FROM kpi_rebuilds WHERE kpi IN ({names}))"
    nothing = ", ".join([_EPOCH] * 3)
    return f"(SELECT if({pending} > 0, ({nothing}), ({', '.join(parts)})) FROM event_watermarks)"


def _least(instants: list[str]) -> str:
    if not instants:
        return _ALWAYS
    return instants[0] if len(instants) == 1 else f"least({', '.join(instants)})"


def _reached_sql(leaf: Leaf) -> str:
    marks = [
        f"(minIf(watermark, event_type = {quoted(stream.event)}) - toIntervalSecond({_seconds(stream.lateness)}))"
        for stream in streams_of(leaf)
    ]
    mark = _least(list(dict.fromkeys(marks)))
    if isinstance(leaf, ConversionKpi):
        return f"({mark} - toIntervalSecond({_seconds(leaf.window)}))"
    if isinstance(leaf, RetentionKpi):
        first = first_day_sql(leaf.base_grain, leaf.calendar, mark)
        day = later_sql(leaf.base_grain, first, -leaf.n)
        back = f"toDateTime64(toDateTime({day}, {quoted(leaf.timezone)}), 6, 'UTC')"
        # a date so many days or weeks before 1970 would be one in 2149
        enough = min(_seconds((leaf.n + 1) * longest(leaf.base_grain)), 2**32 - 1)
        return f"if({mark} < toDateTime64({enough}, 6, 'UTC'), {_EPOCH}, {back})"
    return mark


def begun_sql(catalog: Catalog, kpi: Kpi) -> str:
    """SQL for the latest start that a window of the KPI may have: of later ones not even emptiness is known."""
    extent = extent_sql(catalog, kpi)
    complete = f"(WITH {extent} AS e SELECT greatest(least(e.1, e.3), if(e.1 < {_ALWAYS}, e.2, {_EPOCH})))"
    latest = [
        f"toDateTime64((SELECT max({_time(stream)}) FROM {_table(stream)} WHERE {_mine(stream)}), 6, 'UTC')"
        for stream in catalog.streams(kpi)
    ]
    return f"greatest({', '.join([complete, *latest])})"


def firsts_of(streams: Iterable[SimpleKpi]) -> str:
    """A SELECT of (place in the list, the instant that the stream begins with; 1970 when it holds nothing).

    In the order of the primary key a first row is found without reading the others.
    """
    return "\nUNION ALL\n".join(
        f"SELECT {at} AS place, toDateTime64(min(begin), 6, 'UTC') AS first FROM (SELECT {_time(stream)} AS begin "
        f"FROM {_table(stream)} WHERE {_mine(stream)} ORDER BY {_time(stream)} LIMIT 1)"
        for at, stream in enumerate(streams)
    )


def _table(stream: SimpleKpi) -> str:
    if isinstance(stream, FactStream):
        return "facts"
    return "partials_distinct" if stream.agg == "count_distinct" else "partials"


def _time(stream: SimpleKpi) -> str:
    return "time" if isinstance(stream, FactStream) else "window_start"


def _mine(stream: SimpleKpi) -> str:
    return f"kpi = {quoted(stream.name)} AND definition = {stream.definition}"


def _seconds(length: timedelta) -> int:
    return int(length.total_seconds())
