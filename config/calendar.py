"""Grains, windows and periods in a time zone.

Windows are half-open `[start, end)`. Minutes to hours are steps of absolute time aligned to the zone's local clock;
days and longer follow the calendar of the zone, so that a day has 23 or 25 hours when daylight saving changes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from functools import lru_cache
from zoneinfo import ZoneInfo

__all__ = ["BASE_GRAINS", "Grain", "Period", "period_containing", "window_end", "window_start", "windows"]


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
    YEAR = "year"

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


def _first_day(grain: Grain, day: date) -> date:
    match grain:
        case Grain.WEEK:
            return day - timedelta(days=day.weekday())
        case Grain.MONTH:
            return day.replace(day=1)
        case Grain.QUARTER:
            return day.replace(month=day.month - (day.month - 1) % 3, day=1)
        case Grain.YEAR:
            return day.replace(month=1, day=1)
        case _:
            return day


def _next_first_day(grain: Grain, first: date) -> date:
    match grain:
        case Grain.DAY:
            return first + timedelta(days=1)
        case Grain.WEEK:
            return first + timedelta(days=7)
        case Grain.MONTH:
            return (first + timedelta(days=31)).replace(day=1)
        case Grain.QUARTER:
            return (first + timedelta(days=93)).replace(day=1)
        case Grain.YEAR:
            return first.replace(year=first.year + 1)
        case _:
            raise ValueError(f"{grain} has no calendar days")


def window_start(grain: Grain, at: datetime, zone: ZoneInfo) -> datetime:
    """The start, in UTC, of the window of `grain` that holds the instant `at` (aware)."""
    if step := grain.step:
        offset = at.astimezone(zone).utcoffset() or timedelta()
        local = at.astimezone(UTC).replace(tzinfo=None) + offset
        return (local - (local - datetime.min) % step - offset).replace(tzinfo=UTC)  # noqa: DTZ901 (a local clock)
    return _midnight(_first_day(grain, at.astimezone(zone).date()), zone)


def window_end(grain: Grain, start: datetime, zone: ZoneInfo) -> datetime:
    """The end (exclusive), in UTC, of the window of `grain` that begins at `start`."""
    if step := grain.step:
        return start.astimezone(UTC) + step
    return _midnight(_next_first_day(grain, start.astimezone(zone).date()), zone)


def windows(grain: Grain, start: datetime, end: datetime, zone: ZoneInfo) -> Iterator[datetime]:
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
)


@dataclass(frozen=True, slots=True, order=True)
class Period:
    """A stretch of the calendar that a target is set for: a year, quarter, month, week or day."""

    first_day: date
    grain: Grain

    @classmethod
    def parse(cls, text: str) -> Period:
        """`2026`, `2026-Q4`, `2026-10`, `2026-W43` or `2026-10-05`. Raises ValueError for anything else."""
        for pattern, grain in _PERIODS:
            if match := re.fullmatch(pattern, text):
                part = {name: int(value) for name, value in match.groupdict().items()}
                if "w" in part:
                    return cls(date.fromisocalendar(part["y"], part["w"], 1), grain)
                month = part.get("m", 3 * part.get("q", 1) - 2)
                return cls(date(part["y"], month, part.get("d", 1)), grain)
        raise ValueError(f"'{text}' is not a period: write 2026, 2026-Q4, 2026-10, 2026-W43 or 2026-10-05")

    def bounds(self, zone: ZoneInfo) -> tuple[datetime, datetime]:
        """First instant (inclusive) and end (exclusive), in UTC."""
        return _midnight(self.first_day, zone), _midnight(_next_first_day(self.grain, self.first_day), zone)

    def previous(self) -> Period:
        """The period of the same length just before this one."""
        return Period(_first_day(self.grain, self.first_day - timedelta(days=1)), self.grain)

    def next(self) -> Period:
        """The period of the same length just after this one."""
        return Period(_next_first_day(self.grain, self.first_day), self.grain)

    def __str__(self) -> str:
        day = self.first_day
        match self.grain:
            case Grain.YEAR:
                return f"{day.year}"
            case Grain.QUARTER:
                return f"{day.year}-Q{(day.month + 2) // 3}"
            case Grain.MONTH:
                return f"{day:%Y-%m}"
            case Grain.WEEK:
                year, week, _ = day.isocalendar()
                return f"{year}-W{week:02}"
            case _:
                return day.isoformat()


def period_containing(grain: Grain, at: datetime, zone: ZoneInfo) -> Period:
    """The calendar period of `grain` (a day or longer) that holds the instant `at`."""
    return Period(_first_day(grain, at.astimezone(zone).date()), grain)
