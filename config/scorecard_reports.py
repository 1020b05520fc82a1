"""Reports: a scorecard that is sent to channels every day, week, month or quarter."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, WithJsonSchema

from onpace.config.calendar import Grain
from onpace.config.kpi import Model, SlugName

__all__ = ["ReportEvery", "ScorecardReport", "TimeOfReport"]

ReportEvery = Literal["day", "week", "month", "quarter"]
ReportOf = Literal["day", "week", "month", "quarter", "year", "fiscal_quarter", "fiscal_year"]

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_LAST_DAY = 28
"""Every month has this day."""
_FORM = re.compile(
    r"(?:(?P<weekday>mon|tue|wed|thu|fri|sat|sun)\s+|(?P<day>\d{1,2}|last)\s+)?(?P<hour>\d{2}):(?P<minute>\d{2})"
)


@dataclass(frozen=True, slots=True)
class TimeOfReport:
    """When in its day, week, month or quarter a report is due; without a day on the first one."""

    hour: int
    minute: int
    weekday: int | None = None
    """0 is Monday."""
    day: int | None = None
    """Of the month, or of the first month of a quarter; 0 is the last day of either."""

    def __str__(self) -> str:
        day = WEEKDAYS[self.weekday] if self.weekday is not None else "last" if self.day == 0 else self.day
        return f"{'' if day is None else f'{day} '}{self.hour:02}:{self.minute:02}"


def _time(value: Any) -> Any:
    if isinstance(value, TimeOfReport):
        return value
    match = _FORM.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"'{value}' is no time of a report: write 08:00, mon 08:00, 1 08:00 or last 17:00")
    hour, minute, day, weekday = int(match["hour"]), int(match["minute"]), match["day"], match["weekday"]
    if hour > 23 or minute > 59:
        raise ValueError(f"{hour:02}:{minute:02} is no time of day")
    if day not in (None, "last") and not 1 <= int(day) <= _LAST_DAY:
        raise ValueError(f"'{value}': a day of the month is 1 to {_LAST_DAY}, which every month has, or last")
    number = None if day is None else 0 if day == "last" else int(day)
    return TimeOfReport(hour, minute, WEEKDAYS.index(weekday) if weekday else None, number)


TimeInFile = Annotated[
    TimeOfReport,
    BeforeValidator(_time),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": r"^((mon|tue|wed|thu|fri|sat|sun|last|\d{1,2})\s+)?\d{2}:\d{2}$",
            "examples": ["08:00", "mon 08:00", "1 08:00", "last 17:00"],
        }
    ),
]


class ScorecardReport(Model):
    """Sends the scorecard to channels, all-good or not."""

    name: SlugName
    title: str = ""
    every: ReportEvery
    at: TimeInFile = TimeOfReport(8, 0)
    """When it is due, in its time zone: `08:00`, `mon 08:00`, `1 08:00` (day of the month) or `last 17:00`."""
    of: ReportOf = "quarter"
    """The period that it shows: the one that holds the middle of the time since the last report."""
    owner: str | None = None
    """Only what is this owner's; the owner's individual KPIs are in it too."""
    team: str | None = None
    """Only what is this team's."""
    notify: tuple[str, ...]
    timezone: str = "UTC"

    @property
    def grain(self) -> Grain:
        """The length of the period that it shows."""
        return Grain(self.of)

    @property
    def schedule(self) -> str:
        """What decides when it is due; another schedule begins anew."""
        return f"every {self.every} at {self.at} {self.timezone}"
