"""Grains, windows and periods in a time zone.

Windows are half-open `[start, end)`. Minutes to hours are steps of absolute time aligned to the zone's local clock;
days and longer follow the calendar of the zone, so that a day has 23 or 25 hours when daylight saving changes.

Where a zone is asked for, a `Calendar` says more: on which day weeks begin, and on which date fiscal years do. A bare
zone has weeks from Monday and fiscal years from January 1st.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from functools import lru_cache
from zoneinfo import ZoneInfo

from onpace.config.business import BusinessDays

__all__ = [
    "BASE_GRAINS",
    "FISCAL_GRAINS",
    "Calendar",
    "Grain",
    "Period",
    "as_calendar",
    "period_containing",
    "window_end",
    "window_start",
    "windows",
]


class Grain(StrEnum):
    """The length of a window. Each is coarser than the one before it."""

    MINUTE = "minute"
    FIVE_MINUTES = "5min"
    FIFTEEN_MINUTES = "15min"
    THIRTY_MINUTES = "30min"
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    QUARTER = "quarter"
    FISCAL_QUARTER = "fiscal_quarter"
    YEAR = "year"
    FISCAL_YEAR = "fiscal_year"

    @property
    def step(self) -> timedelta | None:
        """The fixed length of an hour or less; None for days and longer."""
        return _STEPS.get(self)

    @property
    def rank(self) -> int:
        """0 is the finest."""
        return list(Grain).index(self)


_STEPS = {
    Grain.MINUTE: timedelta(minutes=1),
    Grain.FIVE_MINUTES: timedelta(minutes=5),
    Grain.FIFTEEN_MINUTES: timedelta(minutes=15),
    Grain.THIRTY_MINUTES: timedelta(minutes=30),
    Grain.HOUR: timedelta(hours=1),
}

BASE_GRAINS = {
    "1min": Grain.MINUTE,
    "5min": Grain.FIVE_MINUTES,
    "15min": Grain.FIFTEEN_MINUTES,
    "30min": Grain.THIRTY_MINUTES,
    "1h": Grain.HOUR,
    "1d": Grain.DAY,
}
"""What a KPI's `grain:` may say, and the grain it means."""

FISCAL_GRAINS = (Grain.FISCAL_QUARTER, Grain.FISCAL_YEAR)
_THURSDAY = 3


@dataclass(frozen=True, slots=True)
class Calendar:
    """A time zone, where weeks and fiscal years begin, and which days are open (all, without `business`)."""

    zone: ZoneInfo
    week_start: int = 0
    """The weekday that weeks begin on: 0 is Monday."""
    fiscal_start: tuple[int, int] = (1, 1)
    """Month and day (at most 28) that fiscal years begin on."""
    business: BusinessDays | None = None

    @property
    def frame(self) -> tuple[str, int, tuple[int, int]]:
        """What decides the windows: equal frames have equal windows of every grain."""
        return self.zone.key, self.week_start, self.fiscal_start

    def is_open(self, day: date) -> bool:
        """Whether it is a business day."""
        return not self.business or not self.business.closed_by(day)


def as_calendar(zone: ZoneInfo | Calendar) -> Calendar:
    """A bare zone as a calendar: weeks from Monday, fiscal years from January 1st."""
    return zone if isinstance(zone, Calendar) else Calendar(zone)


def _zone(zone: ZoneInfo | Calendar) -> ZoneInfo:
    return zone.zone if isinstance(zone, Calendar) else zone


@lru_cache(maxsize=65536)
def _midnight(day: date, zone: ZoneInfo) -> datetime:
    """The first instant of a local day, in UTC. Where 00:00 does not exist, the day begins after the gap."""
    local = datetime.combine(day, time.min, zone)
    instant = local.astimezone(UTC)
    if instant.astimezone(zone).date() != day:  # fold=0 in a gap maps before it
        instant = local.replace(fold=1).astimezone(UTC)
    if instant.astimezone(zone).date() < day:
        instant = instant + (datetime.combine(day, time.min) - instant.astimezone(zone).replace(tzinfo=None))
    return instant


def _first_day(grain: Grain, day: date, calendar: Calendar) -> date:
    """The first day of the window of `grain` that holds the day."""
    match grain:
        case Grain.WEEK:
            return day - timedelta(days=(day.weekday() - calendar.week_start) % 7)
        case Grain.MONTH:
            return day.replace(day=1)
        case Grain.QUARTER:
            return day.replace(month=day.month - (day.month - 1) % 3, day=1)
        case Grain.YEAR:
            return day.replace(month=1, day=1)
        case Grain.FISCAL_QUARTER | Grain.FISCAL_YEAR:
            year, months = _fiscal(day, calendar)
            return _fiscal_day(year, months - months % 3 if grain is Grain.FISCAL_QUARTER else 0, calendar)
        case _:
            return day


def _next_first_day(grain: Grain, first: date) -> date:
    """The first day of the next window, from that of one."""
    match grain:
        case Grain.DAY:
            return first + timedelta(days=1)
        case Grain.WEEK:
            return first + timedelta(days=7)
        case Grain.MONTH:
            return (first + timedelta(days=31)).replace(day=first.day)
        case Grain.QUARTER | Grain.FISCAL_QUARTER:
            return (first.replace(day=1) + timedelta(days=93)).replace(day=first.day)
        case Grain.YEAR | Grain.FISCAL_YEAR:
            return first.replace(year=first.year + 1)
        case _:
            raise ValueError(f"{grain} has no calendar days")


def _fiscal(day: date, calendar: Calendar) -> tuple[int, int]:
    """The year in which the day's fiscal year begins, and how many whole months of it have passed."""
    month, first = calendar.fiscal_start
    shifted = day - timedelta(days=first - 1)
    return divmod(shifted.year * 12 + shifted.month - month, 12)


def _fiscal_day(year: int, months: int, calendar: Calendar) -> date:
    """The day so many months into the fiscal year that begins in `year`."""
    month, first = calendar.fiscal_start
    years, month = divmod(month - 1 + months, 12)
    return date(year + years, month + 1, first)


def window_start(grain: Grain, at: datetime, zone: ZoneInfo | Calendar) -> datetime:
    """The start, in UTC, of the window of `grain` that holds the instant `at` (aware)."""
    if step := grain.step:
        offset = at.astimezone(_zone(zone)).utcoffset() or timedelta()
        local = at.astimezone(UTC).replace(tzinfo=None) + offset
        return (local - (local - datetime.min) % step - offset).replace(tzinfo=UTC)  # noqa: DTZ901 (a local clock)
    calendar = as_calendar(zone)
    return _midnight(_first_day(grain, at.astimezone(calendar.zone).date(), calendar), calendar.zone)


def window_end(grain: Grain, start: datetime, zone: ZoneInfo | Calendar) -> datetime:
    """The end (exclusive), in UTC, of the window of `grain` that begins at `start`."""
    if step := grain.step:
        return start.astimezone(UTC) + step
    zone = _zone(zone)
    return _midnight(_next_first_day(grain, start.astimezone(zone).date()), zone)


def windows(grain: Grain, start: datetime, end: datetime, zone: ZoneInfo | Calendar) -> Iterator[datetime]:
    """Starts of all windows that begin in `[window of start, end)`, in order."""
    at = window_start(grain, start, zone)
    while at < end:
        yield at
        at = window_end(grain, at, zone)


_PERIODS: tuple[tuple[str, Grain], ...] = (
    (r"(?P<y>\d{4})", Grain.YEAR),
    (r"(?P<y>\d{4})-Q(?P<q>[1-4])", Grain.QUARTER),
    (r"(?P<y>\d{4})-(?P<m>0[1-9]|1[0-2])", Grain.MONTH),
    (r"(?P<y>\d{4})-W(?P<w>0[1-9]|[1-4]\d|5[0-3])", Grain.WEEK),
    (r"(?P<y>\d{4})-(?P<m>0[1-9]|1[0-2])-(?P<d>0[1-9]|[12]\d|3[01])", Grain.DAY),
    (r"FY(?P<y>[12]\d{3})", Grain.FISCAL_YEAR),
    (r"FY(?P<y>[12]\d{3})-Q(?P<q>[1-4])", Grain.FISCAL_QUARTER),
)


@dataclass(frozen=True, slots=True, order=True)
class Period:
    """A stretch of the calendar that a target is set for: a (fiscal) year or quarter, a month, week or day.

    It is a name; `bounds` are what it means in a calendar. A fiscal year is named by the calendar year in which it
    ends. A week has the ISO number of the Thursday in it, whichever day it begins on.
    """

    first_day: date
    """The first day where weeks begin on Monday and fiscal years on January 1st."""
    grain: Grain

    @classmethod
    def parse(cls, text: str) -> Period:
        """`2026`, `2026-Q4`, `2026-10`, `2026-W43`, `2026-10-05`, `FY2027` or `FY2027-Q1`, else a ValueError."""
        for pattern, grain in _PERIODS:
            if match := re.fullmatch(pattern, text):
                part = {name: int(value) for name, value in match.groupdict().items()}
                if "w" in part:
                    return cls(date.fromisocalendar(part["y"], part["w"], 1), grain)
                month = part.get("m", 3 * part.get("q", 1) - 2)
                return cls(date(part["y"], month, part.get("d", 1)), grain)
        known = "write 2026, 2026-Q4, 2026-10, 2026-W43, 2026-10-05, FY2027 or FY2027-Q1"
        raise ValueError(f"'{text}' is not a period: {known}")

    def begins(self, calendar: Calendar) -> date:
        """Its first day in a calendar."""
        match self.grain:
            case Grain.WEEK:
                thursday = self.first_day + timedelta(days=_THURSDAY)
                return _first_day(Grain.WEEK, thursday, calendar)
            case Grain.FISCAL_QUARTER | Grain.FISCAL_YEAR:
                year = self.first_day.year - (calendar.fiscal_start != (1, 1))
                return _fiscal_day(year, self.first_day.month - 1, calendar)
            case _:
                return self.first_day

    def bounds(self, zone: ZoneInfo | Calendar) -> tuple[datetime, datetime]:
        """First instant (inclusive) and end (exclusive), in UTC."""
        first, zone = self.begins(as_calendar(zone)), _zone(zone)
        return _midnight(first, zone), _midnight(_next_first_day(self.grain, first), zone)

    def previous(self) -> Period:
        """The period of the same length just before this one."""
        before = self.first_day - timedelta(days=1)
        return Period(_first_day(self.grain, before, _PLAIN), self.grain)

    def next(self) -> Period:
        """The period of the same length just after this one."""
        return Period(_next_first_day(self.grain, self.first_day), self.grain)

    def __str__(self) -> str:
        day = self.first_day
        match self.grain:
            case Grain.YEAR | Grain.FISCAL_YEAR:
                return f"{_fy(self.grain)}{day.year}"
            case Grain.QUARTER | Grain.FISCAL_QUARTER:
                return f"{_fy(self.grain)}{day.year}-Q{(day.month + 2) // 3}"
            case Grain.MONTH:
                return f"{day:%Y-%m}"
            case Grain.WEEK:
                year, week, _ = day.isocalendar()
                return f"{year}-W{week:02}"
            case _:
                return day.isoformat()


_PLAIN = Calendar(ZoneInfo("UTC"))


def _fy(grain: Grain) -> str:
    return "FY" if grain in FISCAL_GRAINS else ""


def period_containing(grain: Grain, at: datetime, zone: ZoneInfo | Calendar) -> Period:
    """The calendar period of `grain` (a day or longer) that holds the instant `at`."""
    calendar = as_calendar(zone)
    day = at.astimezone(calendar.zone).date()
    match grain:
        case Grain.WEEK:
            first = _first_day(grain, day, calendar)
            thursday = first + timedelta(days=(_THURSDAY - calendar.week_start) % 7)
            return Period(_first_day(grain, thursday, _PLAIN), grain)
        case Grain.FISCAL_QUARTER | Grain.FISCAL_YEAR:
            year, months = _fiscal(day, calendar)
            named = date(year + (calendar.fiscal_start != (1, 1)), months + 1, 1)
            return Period(_first_day(grain, named, _PLAIN), grain)
        case _:
            return Period(_first_day(grain, day, calendar), grain)
