"""Durations: whole numbers with a unit."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onpace.config.durations import format_duration, parse_duration


@given(st.integers(min_value=0, max_value=10**7))
def test_a_duration_survives_its_own_form(seconds: int) -> None:
    """Parsing what was formatted gives the same."""
    assert parse_duration(format_duration(timedelta(seconds=seconds))) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("5min", 300), ("1h", 3600), ("7d", 604800), ("2w", 1209600), (" 0s ", 0)]
)
def test_every_unit_is_read(text: str, seconds: int) -> None:
    """Seconds, minutes, hours, days, weeks."""
    assert parse_duration(text).total_seconds() == seconds


@pytest.mark.parametrize("text", ["", "5", "1m", "1.5h", "-1h", "1 h", "1month", "h"])
def test_anything_else_is_refused(text: str) -> None:
    """Above all `1m`, which could be a minute or a month."""
    with pytest.raises(ValueError, match=r"is not a duration|is negative: a duration is 0s or longer"):
        parse_duration(text)


def test_1m_gets_a_hint() -> None:
    """It says how minutes are written."""
    with pytest.raises(ValueError, match="write 'min' for minutes"):
        parse_duration("1m")
