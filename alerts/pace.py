"""What share of a period's total is expected by an instant: learned from past periods, else linear in time.

For a KPI that accumulates, the expected value at W is target x share. The share is the mean, over up to the last twelve
whole periods of the same length, of (cumulative value at the same point of the period) / (total of the period). "The
same point" is the same share of the period's open time (all its time, where no days are closed): on an even flow that
gives exactly the linear answer in February and in March alike, where the same day of the month would not. A point is
interpolated between the cumulative values at the edges of the window of `GRID` around it (or of the base window, if
that is longer), so that the past is read anew only when W enters the next such window.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from statistics import fmean

from onpace.alerts.reading import Span
from onpace.config.calendar import Calendar, Grain, Period, window_end, window_start
from onpace.config.open_time import open_point, open_share, open_time

__all__ = ["MAX_PAST", "PastPoint", "elapsed_share", "expected_share", "past_periods", "past_points"]

MAX_PAST = 12
MIN_PAST = 2
LATE_START = 0.05
"""A period counts as whole when the KPI's first event lies within this first share of it."""

GRID = {
    Grain.DAY: Grain.FIVE_MINUTES,
    Grain.WEEK: Grain.HOUR,
    Grain.MONTH: Grain.HOUR,
    Grain.QUARTER: Grain.DAY,
    Grain.FISCAL_QUARTER: Grain.DAY,
    Grain.YEAR: Grain.DAY,
    Grain.FISCAL_YEAR: Grain.DAY,
}
"""How finely the past is read, by the length of the period."""


def elapsed_share(start: datetime, end: datetime, at: datetime) -> float:
    """The share of `[start, end)` that has passed at `at`, in absolute time: 0 before it, 1 after it."""
    return min(1.0, max(0.0, (at - start) / (end - start)))


def past_periods(
    period: Period, calendar: Calendar, *, first_event: datetime, complete_to: datetime, most: int = MAX_PAST
) -> list[Period]:
    """Up to `most` periods before `period`, newest first, that the KPI saw whole, that are complete and not closed."""
    found: list[Period] = []
    candidate = period.previous()
    while len(found) < most:
        start, end = candidate.bounds(calendar)
        if elapsed_share(start, end, first_event) > LATE_START:
            break
        if end <= complete_to and open_time([calendar], start, end):
            found.append(candidate)
        candidate = candidate.previous()
    return found


@dataclass(frozen=True, slots=True)
class PastPoint:
    """A past period and the point of it that matches the instant asked about, with the window of the grid around it."""

    start: datetime
    end: datetime
    before: datetime
    after: datetime
    weight: float
    """How far the point lies between `before` (0) and `after` (1)."""

    @classmethod
    def at(cls, period: Period, share: float, grain: Grain, calendar: Calendar) -> PastPoint:
        """The point at `share` of the period's open time; `grain` is the KPI's base grain."""
        grain = max(grain, GRID[period.grain], key=lambda one: one.rank)
        start, end = period.bounds(calendar)
        point = open_point(calendar, start, end, share)
        before = max(start, window_start(grain, point, calendar))
        if before == point:
            return cls(start, end, point, point, 0.0)
        after = min(end, window_end(grain, before, calendar))
        return cls(start, end, before, after, (point - before) / (after - before))

    @property
    def spans(self) -> tuple[Span, Span, Span]:
        """What to read: up to the window before the point, up to the one after it, and the whole period."""
        return (self.start, self.before), (self.start, self.after), (self.start, self.end)

    def share(self, values: Mapping[Span, float | None]) -> float | None:
        """The share of the period's total reached at the point; None when the total is missing or not positive."""
        reached = self.reached(values, from_nothing=True)
        return reached[0] / reached[1] if reached and reached[1] > 0 else None

    def reached(self, values: Mapping[Span, float | None], *, from_nothing: bool) -> tuple[float, float] | None:
        """The value at the point and that of the whole period; None where one is missing. A total begins at nothing."""
        before, after, whole = (
            (0.0 if from_nothing else None) if span[0] >= span[1] else values.get(span) for span in self.spans
        )
        if before is None and self.spans[0][0] >= self.spans[0][1]:
            before = after
        if before is None or after is None or whole is None:
            return None
        return before + (after - before) * self.weight, whole


@lru_cache(maxsize=1024)
def past_points(
    period: Period, calendar: Calendar, grain: Grain, *, first_event: datetime, at: datetime, most: int
) -> tuple[tuple[Period, PastPoint], ...]:
    """Past periods, newest first, each with its point that matches `at` in `period`; `grain` is the KPI's base one."""
    share = open_share(calendar, *period.bounds(calendar), at)
    found = past_periods(period, calendar, first_event=first_event, complete_to=at, most=most)
    return tuple((one, PastPoint.at(one, share, grain, calendar)) for one in found)


def expected_share(linear: float, past: Sequence[float | None]) -> float:
    """The mean of the past shares, when there are at least two usable ones; else the linear share."""
    usable = [share for share in past if share is not None]
    return fmean(usable) if len(usable) >= MIN_PAST else linear
