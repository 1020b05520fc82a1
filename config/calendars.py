"""Calendars as KPI files declare them: weekends and holidays, and where weeks and fiscal years begin."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import date
from functools import lru_cache
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, BeforeValidator, Field, WithJsonSchema

from onpace.config.business import BusinessDays
from onpace.config.calendar import Calendar

__all__ = ["CalendarName", "CalendarRules", "Day", "calendar_of"]

Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
_WEEKDAYS: tuple[Weekday, ...] = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_LAST_SAFE_DAY = 28
"""The last day of the month that every month has."""


def _weekday(value: Any) -> Any:
    """`sun` is Sunday."""
    found = [name for name in _WEEKDAYS if value in (name, name[:3])]
    if not found:
        raise ValueError(f"'{value}' is no weekday: write {', '.join(name[:3] for name in _WEEKDAYS)}")
    return found[0]


def _day(value: Any) -> Any:
    """A date as YAML gives it: a text. A bare number would be read as seconds since 1970."""
    if isinstance(value, date):
        return value
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d{2}-\d{2}", value):
        with suppress(ValueError):
            return date.fromisoformat(value)
    raise ValueError(f"{value!r} is not a date: write it as 2026-10-01")


Day = Annotated[date, BeforeValidator(_day), WithJsonSchema({"type": "string", "format": "date"})]


def _fiscal_start(value: Any) -> Any:
    """`4` or `"04-06"` -> (month, day)."""
    if isinstance(value, tuple):
        return value
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    match = re.fullmatch(r"(\d{1,2})(?:-(\d{2}))?", text)
    month, day = (int(match[1]), int(match[2] or 1)) if match else (0, 0)
    if not (1 <= month <= 12 and 1 <= day <= _LAST_SAFE_DAY):
        known = "write a month, as in 4, or a date up to the 28th, as in 04-06"
        raise ValueError(f"no fiscal year begins on '{value}': {known}")
    return month, day


AnyWeekday = Annotated[
    Weekday, BeforeValidator(_weekday), WithJsonSchema({"enum": [*(name[:3] for name in _WEEKDAYS), *_WEEKDAYS]})
]
FiscalStart = Annotated[
    tuple[int, int],
    BeforeValidator(_fiscal_start),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1, "maximum": 12}, {"type": "string"}]}),
]


class CalendarRules(BaseModel, frozen=True, extra="forbid"):
    """Which days are open, and where weeks and fiscal years begin."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]*$", max_length=63)
    country: str | None = None
    """ISO 3166-1 code of the country whose public holidays are closed."""
    subdivision: str | None = None
    """ISO 3166-2 code of its state or region, for the holidays that only it has."""
    weekend: tuple[AnyWeekday, ...] = ()
    closed: tuple[Day, ...] = ()
    open: tuple[Day, ...] = ()
    """Open for all that, be it a holiday or on the weekend."""
    week_start: AnyWeekday = "monday"
    fiscal_year_start: FiscalStart = (1, 1)

    @property
    def business(self) -> BusinessDays | None:
        """Its closed days; None where every day is open."""
        if not (self.country or self.weekend or self.closed):
            return None
        weekend = frozenset(_WEEKDAYS.index(day) for day in self.weekend)
        return BusinessDays(self.country, self.subdivision, weekend, frozenset(self.closed), frozenset(self.open))

    @property
    def has_fiscal_year(self) -> bool:
        """Whether it says when fiscal years begin."""
        return "fiscal_year_start" in self.model_fields_set


def _named(value: Any) -> Any:
    """A file names a calendar; the loader puts the one of that name in its place."""
    if isinstance(value, CalendarRules):
        return value
    if not isinstance(value, str):
        raise ValueError("must be the name of one of calendars:")
    return CalendarRules.model_construct(name=value)


CalendarName = Annotated[CalendarRules, BeforeValidator(_named), WithJsonSchema({"type": "string"})]


@lru_cache(maxsize=1024)
def calendar_of(timezone: str, rules: CalendarRules | None) -> Calendar:
    """The calendar of a KPI in a time zone."""
    if rules is None:
        return Calendar(ZoneInfo(timezone))
    week_start = _WEEKDAYS.index(rules.week_start)
    return Calendar(ZoneInfo(timezone), week_start, rules.fiscal_year_start, rules.business)
