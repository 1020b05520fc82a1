"""Clock columns of the flights table as instants: local HHMM times, midnight and daylight saving. Pure."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

__all__ = ["first_at_or_after", "instant"]

DAY = timedelta(days=1)


@lru_cache(maxsize=65536)
def instant(day: date, hhmm: int, zone: ZoneInfo) -> datetime:
    """The instant, in UTC, at which clocks in `zone` show `hhmm` (0..2400) on the local `day`; 2400 is the day's end.

    A time that daylight saving skips is read with the offset from before the gap (02:30 becomes 03:30 summer time); a
    time that comes twice is the first of the two.
    """
    hours, minutes = divmod(hhmm, 100)
    if hours == 24:
        day, hours = day + DAY, 0
    return datetime.combine(day, time(hours, minutes), zone).astimezone(UTC)


def first_at_or_after(moment: datetime, hhmm: int, zone: ZoneInfo) -> datetime:
    """The first instant, in UTC, not before `moment` at which clocks in `zone` show `hhmm`."""
    day = moment.astimezone(zone).date() - DAY
    while (found := instant(day, hhmm, zone)) < moment:
        day += DAY
    return found
