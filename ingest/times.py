"""RFC 3339 times to microseconds since 1970-01-01 UTC, one at a time and a column at once."""

# pyarrow.compute makes its functions when it is imported:
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from onpace.config.errors import InvalidEvent

__all__ = ["OLDEST_US", "check_time", "from_us", "parse_time", "parse_times", "to_us"]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
OLDEST_US = 86_400_000_000
"""1970-01-02: anything before it is a clock that was never set."""

RFC3339 = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]+))?"
    r"(?:([Zz])|([+-])([0-9]{2}):([0-9]{2}))?"
)
STRICT = r"^\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)$"
SHORTEST = len("2026-10-01T12:00:00Z")
LONGEST_MICROSECONDS = len("2026-10-01T12:00:00.000000+00:00")
SMALL = 32


def to_us(time: datetime) -> int:
    """Microseconds since 1970 of an aware time."""
    return (time - EPOCH) // MICROSECOND


def from_us(time_us: int) -> datetime:
    """The aware UTC time of microseconds since 1970."""
    return EPOCH + timedelta(microseconds=time_us)


def parse_time(text: str) -> int:
    """Microseconds since 1970 of one RFC 3339 time; digits beyond microseconds are cut off.

    A leap second (`:60`) is the first moment of the next minute. Raises InvalidEvent: invalid_time without a
    zone or when it is no time at all, time_too_old before 1970-01-02.
    """
    match = RFC3339.fullmatch(text)
    if match is None:
        raise _invalid(f"time '{text[:40]}' is not RFC 3339 (expected 2026-10-01T12:00:00Z)")
    year, month, day, hour, minute, second, fraction, zulu, sign, zone_hour, zone_minute = match.groups()
    if not zulu and not sign:
        raise _invalid(f"time '{text[:40]}' has no time zone: append Z or an offset such as +02:00")
    if sign and (int(zone_hour) > 23 or int(zone_minute) > 59):
        raise _invalid(f"time '{text[:40]}' has an offset that does not exist")
    if year == "0000":
        raise _too_old(text)
    leap = second == "60" and minute == "59"
    try:
        whole = 59 if leap else int(second)
        local = datetime(int(year), int(month), int(day), int(hour), int(minute), whole, tzinfo=UTC)
    except ValueError as exc:
        raise _invalid(f"time '{text[:40]}' does not exist: {exc}") from exc
    time_us = to_us(local) + (1_000_000 if leap else int((fraction or "0")[:6].ljust(6, "0")))
    if sign:
        offset_us = (int(zone_hour) * 60 + int(zone_minute)) * 60_000_000
        time_us += offset_us if sign == "-" else -offset_us
    if time_us < OLDEST_US:
        raise _too_old(text)
    return time_us


def parse_times(texts: Sequence[str]) -> list[int | None]:
    """`parse_time` of a column; None where it raises."""
    fast = _parse_column(texts)
    if fast is not None:
        return fast
    if len(texts) <= SMALL:
        return [_parse_or_none(text) for text in texts]
    half = len(texts) // 2
    return parse_times(texts[:half]) + parse_times(texts[half:])


def check_time(time_us: int, arrival_us: int, max_future: timedelta) -> None:
    """Raise InvalidEvent('time_in_future') for an event dated more than `max_future` after its arrival."""
    if time_us - arrival_us > max_future // MICROSECOND:
        raise InvalidEvent("time_in_future", f"time is more than {max_future} after the event's arrival", "time")


def _parse_column(texts: Sequence[str]) -> list[int | None] | None:
    """The column when every text is a plain RFC 3339 time, else None. Arrow alone is too lenient: it takes `05Z`."""
    if not texts:
        return []
    column = pa.array(texts, pa.string())
    try:
        if pc.max(pc.binary_length(column)).as_py() > LONGEST_MICROSECONDS - len("+00:00") + 1:
            column = pc.replace_substring_regex(column, r"(\.\d{6})\d+", r"\1")
        if not _plain(column):
            return None
        times = column.cast(pa.timestamp("us", "UTC")).cast(pa.int64())
    except pa.ArrowInvalid:
        return None
    if pc.min(times).as_py() < OLDEST_US:
        return None
    plain: list[int | None] = times.to_numpy().tolist()
    return plain


def _plain(column: pa.Array) -> bool:
    zulu = pc.min(pc.binary_length(column)).as_py() >= SHORTEST and pc.all(pc.ends_with(column, "Z")).as_py()
    return bool(zulu or pc.all(pc.match_substring_regex(column, STRICT)).as_py())


def _parse_or_none(text: str) -> int | None:
    try:
        return parse_time(text)
    except InvalidEvent:
        return None


def _invalid(message: str) -> InvalidEvent:
    return InvalidEvent("invalid_time", message, "time")


def _too_old(text: str) -> InvalidEvent:
    return InvalidEvent("time_too_old", f"time '{text[:40]}' is before 1970-01-02", "time")
