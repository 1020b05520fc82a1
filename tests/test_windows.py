"""Windows of whole columns, packed keys and dimension codes."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given
from hypothesis import settings as how
from hypothesis import strategies as st

from onpace.config.calendar import BASE_GRAINS, Grain, window_start
from onpace.config.errors import OnPaceError
from onpace.processors.windows import (
    DIMS_BITS,
    LATEST_US,
    MAX_SLOTS,
    DimensionCodes,
    key_columns,
    pack_keys,
    window_minutes,
)

ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "America/Sao_Paulo",
    "America/St_Johns",
    "Pacific/Apia",
    "Pacific/Chatham",
]
CHANGES = [  # instants near which a clock changes in one of the zones, St. John's at 00:01
    datetime(2026, 3, 29, 1, tzinfo=UTC),
    datetime(2026, 10, 25, 1, tzinfo=UTC),
    datetime(2026, 3, 8, 7, tzinfo=UTC),
    datetime(2026, 4, 4, 15, tzinfo=UTC),
    datetime(2026, 10, 3, 15, 30, tzinfo=UTC),
    datetime(2017, 10, 15, 3, tzinfo=UTC),
    datetime(2010, 11, 7, 2, 31, tzinfo=UTC),
    datetime(2011, 12, 30, 10, tzinfo=UTC),
]
near_changes = st.builds(
    lambda at, minutes, us: at + timedelta(minutes=minutes, microseconds=us),
    st.sampled_from(CHANGES),
    st.integers(-3000, 3000),
    st.integers(0, 60_000_000),
)
anywhere = st.builds(datetime.fromtimestamp, st.integers(94_694_400, 3_976_214_399), st.just(UTC))  # 1973 to 2095
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def microseconds(at: datetime) -> int:
    """Since 1970."""
    return (at - EPOCH) // timedelta(microseconds=1)


@pytest.mark.parametrize("grain", BASE_GRAINS.values(), ids=str)
@pytest.mark.parametrize("zone", ZONES)
@how(max_examples=12, deadline=None)
@given(instants=st.lists(st.one_of(near_changes, anywhere), max_size=40))
def test_windows_are_those_of_the_calendar(zone: str, grain: Grain, instants: list[datetime]) -> None:
    """For every base grain and zone, and to the minute where a clock changes."""
    found = window_minutes(pl.Series([microseconds(at) for at in instants], dtype=pl.Int64), grain, ZoneInfo(zone))
    assert found.to_list() == [microseconds(window_start(grain, at, ZoneInfo(zone))) // 60_000_000 for at in instants]
    assert found.dtype == pl.Int64


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Pago_Pago"])
def test_the_first_and_the_last_possible_event_have_windows_that_fit(zone: str) -> None:
    """1970-01-02 to the end of 2095, in the zones farthest east and west."""
    ends = pl.Series([86_400_000_000, LATEST_US - 1], dtype=pl.Int64)
    minutes = window_minutes(ends, Grain.DAY, ZoneInfo(zone))
    assert minutes.to_list()[0] >= 0
    assert minutes.to_list()[1] < 1 << (64 - 12 - DIMS_BITS)


@given(
    st.lists(
        st.tuples(st.integers(0, 2**26 - 1), st.integers(0, 2**DIMS_BITS - 1), st.integers(0, MAX_SLOTS - 1)),
        min_size=1,
    )
)
def test_keys_unpack_to_what_was_packed_and_sort_by_window(parts: list[tuple[int, int, int]]) -> None:
    """Window, dimension code and slot share 64 bits without touching."""
    frame = pl.DataFrame(parts, schema={"m": pl.Int64, "d": pl.Int64, "s": pl.Int64}, orient="row")
    keys = frame.select(pack_keys(pl.col("m"), pl.col("d"), pl.col("s")))["key"]
    assert list(key_columns(keys).iter_rows()) == parts
    assert keys.dtype == pl.UInt64
    assert [part for _, part in sorted(zip(keys.to_list(), parts, strict=True))] == sorted(parts)


values = st.one_of(
    st.none(), st.sampled_from(["", "null", "EU", '"', "\\", "a,b", "[]", "ü", "\0"]), st.text(max_size=5)
)


@given(st.lists(st.tuples(values, values), min_size=1, max_size=30))
def test_dimension_values_survive_as_json(rows: list[tuple[str | None, str | None]]) -> None:
    """Null is not the empty string, and quotes stay quotes."""
    codes = DimensionCodes()
    frame = pl.DataFrame(rows, schema={"a": pl.String, "b": pl.String}, orient="row")
    found = codes.encode(frame, ["a", "b"])
    assert [tuple(json.loads(text)) for text in codes.texts(found.to_list())] == rows
    assert codes.encode(frame, ["a", "b"]).to_list() == found.to_list()
    assert len(codes) == len(set(rows))


def test_no_dimensions_are_one_code() -> None:
    """The empty list."""
    codes = DimensionCodes()
    found = codes.encode(pl.DataFrame({"a": ["x", "y"]}), [])
    assert codes.texts(found.to_list()) == ["[]", "[]"]


def test_more_combinations_than_a_key_can_hold_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """It names the way out."""
    monkeypatch.setattr("onpace.processors.windows.DIMS_BITS", 1)
    codes = DimensionCodes()
    codes.code("a")
    codes.code("b")
    with pytest.raises(OnPaceError, match="drop a dimension"):
        codes.code("c")
