"""When reports are due, and which period they show. Pure.

A time that the clocks leave out in spring is due when they have jumped; one that comes twice in autumn, the first time.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from onpace.config.calendar import FISCAL_GRAINS, Calendar, Period, period_containing
from onpace.config.catalog import Catalog
from onpace.config.scorecard_reports import ScorecardReport

__all__ = ["due_before", "report_calendar", "shown_period", "time_told"]

_DAY = timedelta(days=1)
_QUARTER_STARTS = (1, 4, 7, 10)


def due_before(plan: ScorecardReport, at: datetime) -> datetime:
    """The latest instant up to `at` (inclusive) at which the report was due, in UTC."""
    return next(_due(plan, at))


def shown_period(plan: ScorecardReport, at: datetime, calendar: Calendar) -> Period:
    """The period that holds the middle of the time that a report of `at` tells of: on December 3, November."""
    return period_containing(plan.grain, at - time_told(plan, at) / 2, calendar)


def time_told(plan: ScorecardReport, at: datetime) -> timedelta:
    """How long the last one before `at` had been due after the one before it."""
    last = due_before(plan, at)
    return last - due_before(plan, last - timedelta(microseconds=1))


def report_calendar(plan: ScorecardReport, catalog: Catalog) -> Calendar:
    """What its period follows: its time zone; for fiscal ones the first KPI's calendar that has fiscal years."""
    if plan.grain in FISCAL_GRAINS:
        for kpi in catalog.kpis.values():
            if kpi.observes and kpi.observes.has_fiscal_year:
                return kpi.calendar
    return Calendar(ZoneInfo(plan.timezone))


def _due(plan: ScorecardReport, at: datetime) -> Iterator[datetime]:
    """All of them up to `at`, newest first."""
    zone = ZoneInfo(plan.timezone)
    day = at.astimezone(zone).date()
    while True:
        if _falls_on(plan, day):
            instant = datetime.combine(day, time(plan.at.hour, plan.at.minute), zone).astimezone(UTC)
            if instant <= at:
                yield instant
        day -= _DAY


def _falls_on(plan: ScorecardReport, day: date) -> bool:
    match plan.every:
        case "day":
            return True
        case "week":
            return day.weekday() == (plan.at.weekday or 0)
        case "month":
            return _is_day(plan, day)
        case "quarter":
            first = day.month if plan.at.day != 0 else (day + _DAY).month
            return first in _QUARTER_STARTS and _is_day(plan, day)


def _is_day(plan: ScorecardReport, day: date) -> bool:
    """Whether it is the day of the month that the report names."""
    return (day + _DAY).day == 1 if plan.at.day == 0 else day.day == (plan.at.day or 1)
