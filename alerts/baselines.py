"""What a target that is an increase comes to: its baseline, and the value and the way that follow. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

from onpace.alerts.pace import LATE_START, elapsed_share
from onpace.alerts.reading import Span
from onpace.alerts.status import format_value
from onpace.config.calendar import Calendar, Grain, Period
from onpace.config.increases import Over
from onpace.config.kpi import Direction, Target

__all__ = ["WEEKS_IN_A_YEAR", "Baseline", "Resolved", "baseline_period", "resolved", "year_before"]

WEEKS_IN_A_YEAR = 52


def baseline_period(period: Period, over: Over) -> Period:
    """The period before, or the same one a year ago: for a week that is 52 weeks before, for 29 February the 28th."""
    if over == "previous":
        return period.previous()
    day = period.first_day
    if period.grain is Grain.WEEK:
        return replace(period, first_day=day - timedelta(weeks=WEEKS_IN_A_YEAR))
    year_ago = year_before(day)
    if period.grain is Grain.DAY:
        return replace(period, first_day=year_ago)
    found = period.previous()
    while found.first_day > year_ago:
        found = found.previous()
    return found


def year_before(day: date) -> date:
    """The same date a year before; for 29 February the 28th."""
    try:
        return day.replace(year=day.year - 1)
    except ValueError:  # 29 February
        return day.replace(year=day.year - 1, day=28)


@dataclass(frozen=True, slots=True)
class Baseline:
    """The period that a target is an increase over, and whether it can be gone by."""

    period: Period
    span: Span
    problem: str
    """Why it cannot be gone by; empty when it can."""

    @classmethod
    def of(
        cls,
        period: Period,
        calendar: Calendar,
        *,
        first_event: datetime | None,
        complete_to: datetime | None,
        accumulates: bool,
    ) -> Baseline:
        """A total needs the whole period: one that began after its first 5 % is too small to go by."""
        start, end = span = period.bounds(calendar)
        if complete_to is None or complete_to < end:
            return cls(period, span, f"{period} is not complete yet")
        if first_event is None or first_event >= end:
            return cls(period, span, f"there are no events of {period}")
        if accumulates and elapsed_share(start, end, first_event) > LATE_START:
            begun = f"{first_event.astimezone(calendar.zone):%Y-%m-%d %H:%M}"
            return cls(period, span, f"{period} was not seen whole: the first event is of {begun}")
        return cls(period, span, "")


@dataclass(frozen=True, slots=True)
class Resolved:
    """A target with its value in place of an increase."""

    target: Target
    """As it is judged by. Without a value where that could not be found."""
    problem: str = ""
    """Why nothing can be judged; empty when it can."""
    words: str = ""
    """Where the value comes from, for people; empty for a target that is given as a value."""


def resolved(target: Target, baseline: Baseline | None, value: float | None, direction: Direction) -> Resolved:
    """The target to judge by; `value` is the KPI's over the baseline. Targets that are no increase are as they are.

    One that may get worse by so much only (`-10%` where higher is better) is no way to go: it has no `from`.
    """
    if target.increase is None or baseline is None:
        return Resolved(target)
    plain = {"increase": None, "over": None}
    problem = baseline.problem or (f"the KPI has no value in {baseline.period}" if value is None else "")
    if problem or value is None:
        return Resolved(target.model_copy(update=plain), f"no baseline for {target.increase}: {problem}")
    aim = target.increase.over(value)
    words = f"{target.increase} over {format_value(value)} in {baseline.period}"
    onward = (aim > value) == (direction == "higher_is_better")
    found = target.model_copy(update={**plain, "value": aim, "start": value if onward else None})
    if aim <= 0 and target.tolerance is None:
        return Resolved(found, f"no target: {words} is {format_value(aim)}, and 0 or less needs a tolerance", words)
    return Resolved(found, "", words)
