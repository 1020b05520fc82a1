"""Base windows of many events at once, and the packed key of one window aggregate.

A key is one UInt64: `minute of the window's start << 38 | dimension code << 12 | slot`. Keys therefore sort by window,
and grouping or joining by them costs the same however many dimensions a KPI has. 26 bits of minutes reach to 2097.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

import polars as pl

from onpace.config.calendar import Grain, window_start
from onpace.config.errors import OnPaceError

__all__ = [
    "DIMS_BITS",
    "LATEST_US",
    "MAX_SLOTS",
    "SLOT_BITS",
    "DimensionCodes",
    "key_columns",
    "pack_keys",
    "window_minutes",
]

SLOT_BITS = 12
DIMS_BITS = 26
MAX_SLOTS = 1 << SLOT_BITS
LATEST_US = int(datetime(2096, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
"""Event times from here on fit neither a key nor, as the end of a year, ClickHouse's DateTime."""

_MINUTE_US = 60_000_000
_FINE = {Grain.MINUTE: 1, Grain.FIVE_MINUTES: 5, Grain.FIFTEEN_MINUTES: 15}
"""Minutes per window of the grains that are the same in every zone: offsets are multiples of 15 minutes."""


def window_minutes(time_us: pl.Series, grain: Grain, zone: ZoneInfo) -> pl.Series:
    """The start of each event's base window, in minutes since 1970. `time_us`: microseconds since 1970 (Int64)."""
    minutes = time_us // _MINUTE_US
    if step := _FINE.get(grain):
        return (minutes // step) * step
    quarters = minutes // 15
    starts = {quarter: _start_of_quarter(grain, quarter, zone) for quarter in quarters.unique().to_list()}
    found = quarters.replace_strict(list(starts), list(starts.values()), return_dtype=pl.Int64) if starts else quarters
    if not found.null_count():
        return found
    split = minutes.filter(found.is_null()).unique().to_list()
    exact = minutes.replace_strict(
        split, [_start_minute(grain, at, zone) for at in split], default=None, return_dtype=pl.Int64
    )
    return found.fill_null(exact)


@lru_cache(maxsize=262_144)
def _start_of_quarter(grain: Grain, quarter: int, zone: ZoneInfo) -> int | None:
    """The start of the window that holds a quarter of an hour; None when a change of the clock lies within it.

    Some zones change at 00:01.
    """
    first, last = (_start_minute(grain, quarter * 15 + minute, zone) for minute in (0, 14))
    return first if first == last else None


@lru_cache(maxsize=65_536)
def _start_minute(grain: Grain, minute: int, zone: ZoneInfo) -> int:
    return int(window_start(grain, datetime.fromtimestamp(minute * 60, UTC), zone).timestamp()) // 60


def pack_keys(minutes: pl.Expr, dims: pl.Expr, slot: pl.Expr) -> pl.Expr:
    """The packed key of (window start in minutes, dimension code, slot)."""
    shifted = minutes.cast(pl.UInt64) * (1 << (DIMS_BITS + SLOT_BITS)) + dims.cast(pl.UInt64) * (1 << SLOT_BITS)
    return (shifted + slot.cast(pl.UInt64)).alias("key")


def key_columns(key: pl.Series) -> pl.DataFrame:
    """`minutes`, `dims` and `slot` of packed keys."""
    above = key // (1 << SLOT_BITS)
    return pl.DataFrame(
        {
            "minutes": (above // (1 << DIMS_BITS)).cast(pl.Int64),
            "dims": (above % (1 << DIMS_BITS)).cast(pl.Int64),
            "slot": (key % (1 << SLOT_BITS)).cast(pl.Int64),
        }
    )


class DimensionCodes:
    """Dimension values as text (a JSON array, null for a missing one) and as small numbers, both ways."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}
        self._texts: list[str] = []

    def __len__(self) -> int:
        return len(self._texts)

    def code(self, text: str) -> int:
        """The number of one combination of values; a new one gets the next number."""
        known = self._codes.get(text)
        if known is None:
            known = self._codes[text] = len(self._texts)
            if known >= 1 << DIMS_BITS:
                raise OnPaceError("more than 67 million dimension combinations: drop a dimension that is nearly unique")
            self._texts.append(text)
        return known

    def known(self, texts: Iterable[str]) -> dict[str, int]:
        """The numbers of those among `texts` that have one."""
        codes = self._codes
        return {text: codes[text] for text in texts if text in codes}

    def texts(self, codes: Iterable[int]) -> list[str]:
        """The JSON arrays behind the numbers."""
        texts = self._texts
        return [texts[code] for code in codes]

    def encode(self, frame: pl.DataFrame, columns: Sequence[str]) -> pl.Series:
        """One number per row of `frame` for the values in `columns` (String, null for a missing dimension)."""
        if not columns:
            return pl.Series("dims", [self.code("[]")], dtype=pl.Int64).new_from_index(0, frame.height)
        unique = frame.select(columns).unique()
        codes = [
            self.code(json.dumps(list(row), ensure_ascii=False, separators=(",", ":"))) for row in unique.iter_rows()
        ]
        coded = unique.with_columns(pl.Series("onpace:code", codes, dtype=pl.Int64))
        rows = frame.select(columns).join(coded, on=list(columns), how="left", nulls_equal=True, maintain_order="left")
        return rows["onpace:code"]
