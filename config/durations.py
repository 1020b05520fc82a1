"""Durations as KPI files write them: `30s 5min 1h 7d 2w`, never `1m` (minute or month?)."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

__all__ = ["Duration", "format_duration", "parse_duration"]

UNITS = {"s": 1, "min": 60, "h": 3600, "d": 86400, "w": 604800}
_PATTERN = re.compile(r"(\d+)(s|min|h|d|w)")


def parse_duration(text: str) -> timedelta:
    """`'10min'` -> ten minutes. Raises ValueError with the accepted units."""
    match = _PATTERN.fullmatch(text.strip())
    if not match and (negative := _PATTERN.fullmatch(text.strip().removeprefix("-"))):
        raise ValueError(f"'{text}' is negative: a duration is 0s or longer, as in {negative[0]}")
    if not match:
        hint = " (write 'min' for minutes)" if re.fullmatch(r"\d+m", text.strip()) else ""
        raise ValueError(f"'{text}' is not a duration: write a whole number and s, min, h, d or w, as in 10min{hint}")
    return timedelta(seconds=int(match[1]) * UNITS[match[2]])


def format_duration(value: timedelta) -> str:
    """The shortest exact form: 3600 s -> `1h`."""
    seconds = int(value.total_seconds())
    for unit in ("w", "d", "h", "min"):
        if seconds and seconds % UNITS[unit] == 0:
            return f"{seconds // UNITS[unit]}{unit}"
    return f"{seconds}s"


def _validate(value: Any) -> timedelta:
    if isinstance(value, timedelta):
        return value
    if isinstance(value, str):
        return parse_duration(value)
    raise ValueError(f"{value!r} is not a duration: write it with its unit, as in 10min")


Duration = Annotated[
    timedelta,
    BeforeValidator(_validate),
    PlainSerializer(format_duration),
    WithJsonSchema(
        {"type": "string", "pattern": f"^{_PATTERN.pattern}$", "examples": ["30s", "10min", "1h", "7d", "2w"]}
    ),
]
