"""Open time: the hours of business days. Without closed days in a calendar all time is open."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date, datetime, timedelta
from functools import lru_cache

from onpace.config.calendar import Calendar, Grain, window_end, window_start

__all__ = ["closed_through", "is_open_at", "open_point", "open_share", "open_time"]

Span = tuple[datetime, datetime]
_DAY = timedelta(days=1)
_MICROSECOND = timedelta(microseconds=1)
_ROUNDING = timedelta(milliseconds=1)
_NAMED = 3
"""So many days are named as the reason of a longer closure."""


def is_open_at(calendar: Calendar, at: datetime) -> bool:
    """Whether the instant lies in a business day."""
    return calendar.is_open(at.astimezone(calendar.zone).date())


def closed_through(calendar: Calendar, start: datetime, end: datetime) -> str:
    """Why all of `[start, end)` is closed, as in `closed: Christmas Day`; empty when some of it is open."""
    if not calendar.business or start >= end:
        return ""
    reasons: dict[str, None] = {}
    for day in _days(calendar, start, end):
        reason = calendar.business.closed_by(day)
        if not reason:
            return ""
        reasons[reason] = None
    more = ["…"] if len(reasons) > _NAMED else []
    return f"closed: {', '.join([*list(reasons)[:_NAMED], *more])}"


def open_time(calendars: Iterable[Calendar], start: datetime, end: datetime) -> timedelta:
    """How long any of the calendars is open in `[start, end)`."""
    total, reached = timedelta(), start
    for opens, closes in sorted(span for calendar in calendars for span in _open_spans(calendar, start, end)):
        total += max(closes - max(opens, reached), timedelta())
        reached = max(reached, closes)
    return total


def open_share(calendar: Calendar, start: datetime, end: datetime, at: datetime) -> float:
    """The share of the open time of `[start, end)` that has passed at `at`; of all time, where none of it is open."""
    at = min(max(at, start), end)
    if total := open_time([calendar], start, end):
        return open_time([calendar], start, at) / total
    return (at - start) / (end - start)


def open_point(calendar: Calendar, start: datetime, end: datetime, share: float) -> datetime:
    """The first instant of `[start, end]` at which `share` of its open time has passed."""
    left = open_time([calendar], start, end) * share
    for opens, closes in _open_spans(calendar, start, end):
        if closes - opens >= left - _ROUNDING:
            return min(opens + left, closes)
        left -= closes - opens
    return end


def _days(calendar: Calendar, start: datetime, end: datetime) -> Iterator[date]:
    day, last = (at.astimezone(calendar.zone).date() for at in (start, end - _MICROSECOND))
    while day <= last:
        yield day
        day += _DAY


def _open_spans(calendar: Calendar, start: datetime, end: datetime) -> Iterator[Span]:
    if start >= end:
        return
    if not calendar.business:
        yield start, end
        return
    first, last = (at.astimezone(calendar.zone).date() for at in (start, end - _MICROSECOND))
    for opens, closes in _open_days(calendar, first, last):
        yield max(opens, start), min(closes, end)


@lru_cache(maxsize=4096)
def _open_days(calendar: Calendar, first: date, last: date) -> tuple[Span, ...]:
    """The open days from the first to the last, consecutive ones as one span, in UTC."""
    found: list[Span] = []
    noon = datetime.min.time().replace(hour=12)
    for day in (first + _DAY * at for at in range((last - first).days + 1)):
        if not calendar.is_open(day):
            continue
        opens = window_start(Grain.DAY, datetime.combine(day, noon, calendar.zone), calendar)
        closes = window_end(Grain.DAY, opens, calendar)
        if found and found[-1][1] == opens:
            found[-1] = (found[-1][0], closes)
        else:
            found.append((opens, closes))
    return tuple(found)
