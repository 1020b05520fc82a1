"""Into which windows or stretches of time the rows of a term go, as SQL.

A plain term's row goes into the window that holds it. A term that looks back (see `onpace.config.terms`) is merged by
small units first, each of which then goes into all windows whose stretch it lies in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from onpace.config.calendar import Calendar, Grain
from onpace.config.offsets import Shift
from onpace.config.terms import Reach, Term
from onpace.processors.calendar_sql import first_day_sql, later_sql, longest, shortest, window_end_sql, window_start_sql
from onpace.processors.leaf_sql import leaf_rows, merged_state
from onpace.processors.quoting import inner, quoted

__all__ = ["Placement", "Spans", "Windows"]

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Windows:
    """Windows of one grain in one calendar. `begun`: SQL for the instant that no window may begin after."""

    grain: Grain
    calendar: Calendar
    begun: str
    condition: str = "1"
    """Over `window_start`, which the primary key can use; for terms that do not look back."""

    @property
    def column(self) -> str:
        """The name of the column that tells the windows apart: their start."""
        return "Start"

    def rows(self, term: Term, dims: Sequence[str]) -> str:
        """A SELECT of the term's rows with the start of each window that they go into."""
        if not term.steps:
            rows = leaf_rows(term.leaf, dims, self.condition)
            start = (
                "window_start" if term.leaf.base_grain is self.grain else window_start_sql(self.grain, self.calendar)
            )
            return f"SELECT {start} AS Start, * FROM ({rows})"
        unit = self._unit(term)
        placed = _merged_by(term, dims, window_start_sql(unit, self.calendar), "1")
        for step in reversed(term.steps):
            targets = self._targets(step)
            placed = f"SELECT * REPLACE (arrayJoin({targets}) AS Start) FROM ({placed})"
        return f"WITH {self.begun} AS Begun {placed}"

    def _unit(self, term: Term) -> Grain:
        """The longest windows of which each stretch of the term is made."""
        base, last = term.leaf.base_grain, term.steps[-1]
        if isinstance(last, Shift):
            return self.grain
        if last.window and last.window % _DAY:
            return base
        return max(Grain.DAY if self.grain.step is None else self.grain, base, key=lambda grain: grain.rank)

    def _targets(self, step: Shift | Reach) -> str:
        """SQL for the starts of all windows whose stretch holds the unit (or window) that begins at `Start`."""
        if isinstance(step, Shift):
            back = f"{window_start_sql(self.grain, self.calendar, self._shifted('t', step, -1))}"
            near = self._near(step)
            return f"arrayFilter(t -> {back} = Start AND t <= Begun, {near})"
        candidates = self._candidates("Start", 0, self._count(step))
        begin = self._begin(step, window_end_sql(self.grain, self.calendar, "t"))
        return f"arrayFilter(t -> t <= Begun AND {begin} <= Start, {candidates})"

    def _near(self, shift: Shift) -> str:
        """The starts of all windows that may look back at the one that begins at `Start`: several at a month's end."""
        forward = self._shifted("Start", shift, 1)
        if self.grain.step is None:
            return self._candidates(forward, -3, 4)
        around = math.ceil(timedelta(hours=1) / self.grain.step)
        found = self._candidates("f", -around, around + 1)
        days = range(4 if shift.unit in ("month", "quarter", "year") else 1)
        forwards = ", ".join(self._by_date(forward, f"addDays({{}}, {day})") if day else forward for day in days)
        return f"arrayDistinct(arrayFlatten(arrayMap(f -> {found}, [{forwards}])))"

    def _count(self, reach: Reach) -> str:
        """At most so many windows hold a unit in their stretch."""
        step = shortest(self.grain)
        if reach.to_date:
            return str(math.ceil(longest(reach.to_date) / step) + 1)
        if reach.window:
            return str(math.ceil(reach.window / step) + 2)
        seconds = int(step.total_seconds())
        return f"greatest(0, intDiv(toUnixTimestamp(Begun) - toUnixTimestamp(Start), {seconds}) + 2)"

    def _begin(self, reach: Reach, end: str) -> str:
        """SQL for where the stretch of the window that ends at `end` begins."""
        if reach.to_date:
            return window_start_sql(reach.to_date, self.calendar, f"({end} - toIntervalSecond(1))")
        if reach.window is None:
            return "toDateTime(0, 'UTC')"
        if reach.window % _DAY:
            return f"({end} - toIntervalSecond({int(reach.window.total_seconds())}))"
        return self._by_date(end, f"addDays({{}}, -{reach.window // _DAY})")

    def _candidates(self, at: str, first: int, count: str | int) -> str:
        """The starts of windows from the `first`-th after the one that holds `at`, up to the `count`-th (exclusive)."""
        numbers = f"range({first}, toInt64({count}))"
        if step := self.grain.step:
            seconds = int(step.total_seconds())
            moved = f"({window_start_sql(self.grain, self.calendar, at)} + toIntervalSecond(n * {seconds}))"
            return f"arrayDistinct(arrayMap(n -> {window_start_sql(self.grain, self.calendar, moved)}, {numbers}))"
        day = later_sql(self.grain, first_day_sql(self.grain, self.calendar, at), "n")
        return f"arrayMap(n -> toTimeZone(toDateTime({day}, {quoted(self.calendar.zone.key)}), 'UTC'), {numbers})"

    def _shifted(self, at: str, shift: Shift, sign: int) -> str:
        count = sign * shift.count
        if shift.unit in ("minute", "hour"):
            return f"({at} + toIntervalSecond({count * (60 if shift.unit == 'minute' else 3600)}))"
        if self.grain is Grain.WEEK and shift.unit == "year":
            return self._by_date(at, f"addDays({{}}, {count * 364})")
        return self._by_date(at, later_sql(Grain(shift.unit), "{}", count))

    def _by_date(self, at: str, moved: str) -> str:
        """`at` with its local date changed and its local time of day kept, as `terms.shifted_back` does it."""
        tz = quoted(self.calendar.zone.key)
        day = moved.format(f"toDate({at}, {tz})")
        if self.grain.step is None:
            return f"toTimeZone(toDateTime({day}, {tz}), 'UTC')"
        seconds = f"(toUnixTimestamp({at}) + {_offset(at, tz)}) % 86400"
        return _instant_of(f"toInt64(toUnixTimestamp({day})) + {seconds}", tz)


def _offset(at: str, tz: str) -> str:
    return f"timezoneOffset(toTimeZone({at}, {tz}))"


def _instant_of(local: str, tz: str) -> str:
    """SQL for the instant of a local time in seconds: of two the first, of none as if before the gap (PEP 495)."""

    def at(hours: int) -> str:
        return f"(l - {_offset(f'toDateTime(l + {hours * 3600}, {_UTC})', tz)})"

    before, after = at(-24), at(24)
    holds = f"{before} + {_offset(f'toDateTime({before}, {_UTC})', tz)} = l"
    later = f"{after} + {_offset(f'toDateTime({after}, {_UTC})', tz)} = l"
    chosen = f"if({holds} OR NOT {later}, {before}, {after})"
    return f"toDateTime(arrayMap(l -> {chosen}, [{local}])[1], {_UTC})"


_UTC = "'UTC'"


@dataclass(frozen=True, slots=True)
class Spans:
    """Numbered half-open stretches of time, for each term its own. They may overlap; nothing goes into an empty one."""

    of: Callable[[Term], Sequence[tuple[datetime, datetime]]]

    @property
    def column(self) -> str:
        """The name of the column that tells the stretches apart: their place in the list, from 1 on."""
        return "Span"

    def rows(self, term: Term, dims: Sequence[str]) -> str:
        """A SELECT of the term's rows with the number of each stretch that they go into."""
        starts = [_seconds(start) for start, _ in self.of(term)]
        ends = [_seconds(end) for _, end in self.of(term)]
        edges = sorted({*starts, *ends})
        seconds = "toInt64(toUnixTimestamp(window_start))"
        condition = f"window_start >= toDateTime({edges[0]}, 'UTC') AND window_start < toDateTime({edges[-1]}, 'UTC')"
        merged = _merged_by(term, dims, f"roundDown({seconds}, CAST({edges}, 'Array(Int64)'))", condition)
        # the arrays are walked along: to index them would copy all of each, for each stretch of each row
        arrays = ", ".join(f"CAST({part}, 'Array(Int64)')" for part in (starts, ends))
        holds = "(i, opens, closes) -> Start >= opens AND Start < closes"
        inside = f"arrayFilter({holds}, range(1, {len(starts) + 1}), {arrays})"
        return f"SELECT arrayJoin({inside}) AS Span, * EXCEPT (Start)\n  FROM ({merged})"


Placement = Windows | Spans


def _seconds(at: datetime) -> int:
    """Seconds since 1970, within what a DateTime holds; a bound inside a second counts as the next one."""
    return min(max(math.ceil(at.timestamp()), 0), 2**32 - 1)


def _merged_by(term: Term, dims: Sequence[str], unit: str, condition: str) -> str:
    """The term's rows merged by `unit`, SQL over `window_start` that becomes the column `Start`."""
    keys = ["Start", *map(inner, dims)]
    return (
        f"SELECT {', '.join([f'{unit} AS Start', *map(inner, dims), *merged_state(term.leaf)])}\n"
        f"  FROM ({leaf_rows(term.leaf, dims, condition)}) AS s\n  GROUP BY {', '.join(keys)}"
    )
