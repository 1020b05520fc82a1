"""A rule that goes window by window, over thousands of series at once: which of them it may find bad, at little cost.

Pure. What is found here is only ever narrowed down: `SeriesWindows` has the last word on each series that remains.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from onpace.alerts.anomalies import MIN_WINDOWS, RUN, XMR, Side, Slot, side_of, slot_of
from onpace.alerts.changes import MIN_WEEKS, earlier_windows
from onpace.alerts.columns import Columns
from onpace.alerts.pace import LATE_START, elapsed_share
from onpace.alerts.rules import Verdict
from onpace.alerts.season_table import SeasonTable, middle
from onpace.alerts.window_rules import SEASONS, SEEN, SLACK, SeriesWindows, days_before, windows_before
from onpace.config.calendar import Grain, window_end, window_start
from onpace.config.kpi_entities import Kpi
from onpace.config.open_time import closed_through
from onpace.config.rules import AnomalyRule, ChangeRule, ThresholdRule, WindowRule

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Learnt", "WindowColumns"]

_ROUNDING = 1e-6
"""More than what counts as rounding where verdicts are found."""
_SLIGHT = 1e-12


@dataclass(frozen=True, slots=True)
class Taught:
    """What was usual before a day."""

    day: datetime
    table: SeasonTable
    rounds: int
    """What was read by then (see `Columns.rounds`)."""
    seen: NDArray[np.bool_]
    """The series of which something is known from two weeks ago."""


@dataclass(frozen=True, slots=True)
class _Window:
    """One complete window of one series."""

    window_start: datetime
    window_end: datetime
    value: float | None
    complete: bool = True


Learnt = dict[str, Taught]
"""By rule."""


class WindowColumns:
    """One rule, as the columns of its KPI (and of the one that its `min_volume` is about) have it."""

    def __init__(
        self,
        rule: WindowRule,
        kpi: Kpi,
        own: Columns,
        gate: Columns | None,
        *,
        starts: Iterable[datetime],
        accumulates: bool,
        first_event: datetime,
        learnt: Learnt,
    ) -> None:
        """`starts`: all windows that are known. `learnt` is kept from one evaluation to the next."""
        self._rule, self._kpi, self._own, self._gate = rule, kpi, own, gate
        self.accumulates, self._first_event = accumulates, first_event
        self._places = gate.numbers_of(own.keys) if gate else None
        self._usable: dict[datetime, NDArray[np.float64] | None] = {}
        self._learnt, self._starts = learnt, sorted(starts)

    def values(self, start: datetime) -> NDArray[np.float64] | None:
        """One window; None where nobody has anything to go by."""
        return self._own.values(start)

    def volumes(self, start: datetime) -> NDArray[np.float64] | None:
        """The values of `min_volume`'s KPI in the window; None without."""
        if self._gate is None or self._places is None:
            return None
        found = self._gate.values(start)
        if found is None or not len(found):
            return np.full(len(self._places), np.nan)
        return np.where(self._places < 0, np.nan, found[self._places])

    def may_breach(self, start: datetime) -> NDArray[np.bool_]:
        """The series whose window the rule may find bad; all that it does find bad are among them."""
        values = self.values(start)
        nothing = np.zeros(len(self._own.keys), dtype=np.bool_)
        end = window_end(self._rule.grain, start, self._kpi.calendar)
        if values is None or closed_through(self._kpi.calendar, start, end):
            return nothing
        with np.errstate(invalid="ignore"):
            match self._rule:
                case ThresholdRule(below=below, above=above):
                    found = nothing if below is None else values < below
                    found = found if above is None else found | (values > above)
                case ChangeRule():
                    found = self._may_have_changed(self._rule, start, values)
                case AnomalyRule():
                    found = self._may_be_odd(self._rule, start, values)
            return found & self._enough(start)

    def verdict(self, number: int, start: datetime, *, firing: bool) -> Verdict:
        """What the rule says of one window of one series."""
        values = self.values(start)
        value = None if values is None else _number(values[number])
        end = window_end(self._rule.grain, start, self._kpi.calendar)
        return self._series(number, start).verdict(_Window(start, end, value), firing=firing)

    def _series(self, number: int, start: datetime) -> SeriesWindows:
        """One series, with all that the verdict on the window needs."""
        rule, volumes = self._rule, self.volumes(start)
        found = SeriesWindows(rule, self._kpi, self.accumulates, volumes={}, past=self._past(number, start))
        if volumes is not None:
            found.volumes = {start: _number(volumes[number])}
        if isinstance(rule, AnomalyRule) and self._has_seasons(rule):
            found.seasons = {self._day(start): self._learned(start).table.of(self._slot(start), number)}
        return found

    def _enough(self, start: datetime) -> NDArray[np.bool_] | bool:
        gate, volumes = self._rule.min_volume, self.volumes(start)
        return True if gate is None or volumes is None else volumes >= gate.at_least

    def _compared(self, start: datetime) -> NDArray[np.float64] | None:
        """The window as others are compared with it: without what is no fair comparison."""
        if start not in self._usable:
            self._usable[start] = self._fair(start)
        return self._usable[start]

    def _fair(self, start: datetime) -> NDArray[np.float64] | None:
        values, calendar = self._own.values(start), self._kpi.calendar
        end = window_end(self._rule.grain, start, calendar)
        if values is None or elapsed_share(start, end, self._first_event) > LATE_START:
            return None
        if closed_through(calendar, start, end):
            return None
        enough = self._enough(start)
        return values if enough is True else np.where(enough, values, np.nan)

    def _stacked(self, starts: Sequence[datetime]) -> NDArray[np.float64] | None:
        found = [column for start in starts if (column := self._compared(start)) is not None]
        return np.stack(found) if found else None

    def _may_have_changed(self, rule: ChangeRule, start: datetime, values: NDArray[np.float64]) -> NDArray[np.bool_]:
        rows = self._stacked(earlier_windows(rule, start, self._kpi.calendar))
        amount = rule.drop or rule.rise
        if rows is None or amount is None:
            return np.zeros(len(values), dtype=np.bool_)
        baseline, counts = middle(rows)
        wrong = baseline - values if rule.drop else values - baseline
        least = np.abs(baseline) * amount.number / 100 if amount.relative else amount.number
        found = (wrong >= least * (1 - _ROUNDING)) & (wrong >= (rule.min_effect or 0.0) * (1 - _ROUNDING))
        found &= counts >= (MIN_WEEKS if rule.against == "same_weekday" else 1)
        return found & (baseline != 0) if amount.relative else found

    def _may_be_odd(self, rule: AnomalyRule, start: datetime, values: NDArray[np.float64]) -> NDArray[np.bool_]:
        side, found = side_of(rule, self._kpi.direction), np.zeros(len(values), dtype=np.bool_)
        seen = found
        if self._has_seasons(rule):
            taught = self._learned(start)
            seen = taught.seen
            found = seen & self._beyond_season(rule, taught.table, start, values, side)
        if rule.method == "seasonal" or (rule.grain is Grain.HOUR and rule.method == "auto") or seen.all():
            return found
        return found | (~seen & self._beyond_limits(rule, start, values, side))

    def _beyond_season(
        self, rule: AnomalyRule, table: SeasonTable, start: datetime, values: NDArray[np.float64], side: Side
    ) -> NDArray[np.bool_]:
        slot = self._slot(start)
        if slot not in table.medians:
            return np.zeros(len(values), dtype=np.bool_)
        reach = rule.sensitivity * table.scale * table.sizes.get(slot, np.float64(1.0))
        return _beyond(rule, values, table.medians[slot], reach, side)

    def _beyond_limits(
        self, rule: AnomalyRule, start: datetime, values: NDArray[np.float64], side: Side
    ) -> NDArray[np.bool_]:
        """Beyond XmR limits, or in a run on one side of the mean."""
        first = windows_before(rule.grain, start, rule.baseline * SLACK, self._kpi.calendar)
        rows = self._stacked(self._between(first, start))
        if rows is None or len(rows) < MIN_WINDOWS:
            return np.zeros(len(values), dtype=np.bool_)
        order = np.argsort(~np.isnan(rows), axis=0, kind="stable")  # none first, then values as they came
        last = np.take_along_axis(rows, order, axis=0)[-rule.baseline :]
        counts = np.count_nonzero(~np.isnan(last), axis=0)
        centre = np.nansum(last, axis=0) / np.maximum(counts, 1)
        reach = XMR * np.nansum(np.abs(np.diff(last, axis=0)), axis=0) / np.maximum(counts - 1, 1)
        off = np.vstack([last[1 - RUN :], values]) - centre
        near = _SLIGHT * np.abs(centre)
        run = ((off < near).all(axis=0) & (side != "high")) | ((off > -near).all(axis=0) & (side != "low"))
        run &= np.abs(off).max(axis=0) > near
        effect = np.abs(values - centre) >= (rule.min_effect or 0.0) * (1 - _ROUNDING)
        found: NDArray[np.bool_] = _beyond(rule, values, centre, reach, side) | (run & effect)
        enough: NDArray[np.bool_] = counts >= MIN_WINDOWS
        return np.logical_and(found, enough)

    def _learned(self, start: datetime) -> Taught:
        """What the weeks before the window's day teach; the same for all windows of a day."""
        day, width, rounds = self._day(start), len(self._own.keys), self._rounds()
        known = self._learnt.get(self._rule.name)
        if known is None or (known.day, known.rounds) != (day, rounds):
            known = self._learn(start, slice(0, width))
        elif len(known.seen) < width:  # series that are new today
            more = self._learn(start, slice(len(known.seen), width))
            known = Taught(day, known.table.joined(more.table), rounds, np.append(known.seen, more.seen))
        self._learnt[self._rule.name] = known
        return known

    def _rounds(self) -> int:
        return self._own.rounds + (self._gate.rounds if self._gate else 0)

    def _learn(self, start: datetime, some: slice) -> Taught:
        day, calendar = self._day(start), self._kpi.calendar
        before = days_before(start, SEASONS, calendar)
        slots: dict[Slot, list[NDArray[np.float64]]] = {}
        for at in self._between(before, day):
            if (column := self._compared(at)) is not None:
                slots.setdefault(self._slot(at), []).append(column[some])
        width = some.stop - some.start
        old = self._stacked(self._between(before, days_before(start, SEEN, calendar)))
        seen: NDArray[np.bool_] = np.zeros(width, dtype=np.bool_)
        if old is not None:
            seen = np.any(~np.isnan(old[:, some]), axis=0)
        return Taught(day, SeasonTable.learned(slots, accumulates=self.accumulates, width=width), self._rounds(), seen)

    def _past(self, number: int, start: datetime) -> dict[datetime, float]:
        """Of one series, the windows that the one which begins at `start` is compared with, but for its season."""
        match rule := self._rule:
            case ThresholdRule():
                return {}
            case ChangeRule():
                starts = sorted(earlier_windows(rule, start, self._kpi.calendar))
            case AnomalyRule():
                first = windows_before(rule.grain, start, rule.baseline * SLACK, self._kpi.calendar)
                starts = [*self._first_seen(rule, number, start, first), *self._between(first, start)]
        found = {at: float(column[number]) for at in starts if (column := self._compared(at)) is not None}
        return {at: value for at, value in found.items() if not np.isnan(value)}

    def _first_seen(self, rule: AnomalyRule, number: int, start: datetime, before: datetime) -> list[datetime]:
        """A window that shows that the series was seen for two weeks, if it was and no later one shows it."""
        if not self._has_seasons(rule) or not self._learned(start).seen[number]:
            return []
        calendar = self._kpi.calendar
        for at in self._between(days_before(start, SEASONS, calendar), days_before(start, SEEN, calendar)):
            column = self._compared(at)
            if column is not None and not np.isnan(column[number]):
                return [at] if at < before else []
        return []

    def _between(self, first: datetime, end: datetime) -> Sequence[datetime]:
        return self._starts[bisect_left(self._starts, first) : bisect_left(self._starts, end)]

    def _has_seasons(self, rule: AnomalyRule) -> bool:
        return rule.method != "xmr" and rule.grain.rank <= Grain.DAY.rank

    def _slot(self, start: datetime) -> Slot:
        return slot_of(self._rule.grain, start, self._kpi.calendar)

    def _day(self, start: datetime) -> datetime:
        return window_start(Grain.DAY, start, self._kpi.calendar)


def _beyond(
    rule: AnomalyRule,
    values: NDArray[np.float64],
    centre: NDArray[np.float64],
    reach: NDArray[np.float64],
    side: Side,
) -> NDArray[np.bool_]:
    slack = _SLIGHT * (np.abs(centre) + reach)  # sums of floats may differ by their last digits
    low, high = values < centre - reach + slack, values > centre + reach - slack
    found = low if side == "low" else high if side == "high" else low | high
    off = np.abs(values - centre)
    return found & (off >= (rule.min_effect or 0.0) * (1 - _ROUNDING)) & (off > 0)


def _number(value: np.float64) -> float | None:
    return None if np.isnan(value) else float(value)
