"""Windows and periods: they tile time, whatever a zone's clock does."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from onpace.config.calendar import Grain, Period, period_containing, window_end, window_start, windows

ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Sao_Paulo",
    "Africa/Cairo",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
    "America/St_Johns",
    "Pacific/Apia",
    "Asia/Kathmandu",
]
CALENDAR = [Grain.DAY, Grain.WEEK, Grain.MONTH, Grain.QUARTER, Grain.YEAR]
instants = st.datetimes(datetime(2012, 1, 1), datetime(2035, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 (bounds are naive)
zones = st.sampled_from(ZONES).map(ZoneInfo)


def utc(text: str) -> datetime:
    """An instant from its ISO form."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@given(instants, zones, st.sampled_from(list(Grain)))
def test_an_instant_is_in_exactly_one_window(at: datetime, zone: ZoneInfo, grain: Grain) -> None:
    """It is in its own window, and the window's start, as an instant, too; the end begins the next."""
    assume(zone.key != "Australia/Lord_Howe" or grain is not Grain.HOUR)  # its clock moves by half an hour
    start = window_start(grain, at, zone)
    end = window_end(grain, start, zone)
    assert start <= at < end
    assert window_start(grain, start, zone) == start
    assert window_start(grain, end - timedelta(microseconds=1), zone) == start
    assert window_start(grain, end, zone) == end


@given(instants, zones, st.sampled_from(CALENDAR))
def test_calendar_windows_tile_time(at: datetime, zone: ZoneInfo, grain: Grain) -> None:
    """No gap, no overlap, in order, and all of them of the calendar."""
    starts = list(windows(grain, at, at + timedelta(days=40), zone))
    assert starts[0] == window_start(grain, at, zone)
    for one, following in pairwise(starts):
        assert window_end(grain, one, zone) == following
    assert len({one.astimezone(zone).date() for one in starts}) == len(starts)


@given(instants, zones, st.sampled_from([Grain.MINUTE, Grain.FIVE_MINUTES, Grain.THIRTY_MINUTES, Grain.HOUR]))
def test_short_windows_begin_on_the_local_clock(at: datetime, zone: ZoneInfo, grain: Grain) -> None:
    """An hour in Kathmandu begins at a full local hour, 15 minutes past one in UTC."""
    local = window_start(grain, at, zone).astimezone(zone)
    assume(local.utcoffset() == at.astimezone(zone).utcoffset())
    step = grain.step or timedelta(0)
    assert timedelta(hours=local.hour, minutes=local.minute, seconds=local.second) % step == timedelta(0)


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Berlin", "2026-03-29", 23),
        ("Europe/Berlin", "2026-10-25", 25),
        ("Europe/Berlin", "2026-06-01", 24),
        ("America/New_York", "2026-03-08", 23),
        ("America/New_York", "2026-11-01", 25),
        ("America/Sao_Paulo", "2018-11-04", 23),  # 00:00 does not exist: the day begins at 01:00
        ("America/Sao_Paulo", "2018-02-17", 25),  # 24:00 falls back to 23:00
        ("Africa/Cairo", "2026-04-24", 23),
        ("Africa/Cairo", "2026-10-29", 25),
        ("Australia/Lord_Howe", "2026-04-05", 24.5),
    ],
)
def test_a_day_has_the_hours_that_its_zone_gives_it(zone: str, day: str, hours: float) -> None:
    """Also where midnight is skipped or comes twice."""
    start, end = Period.parse(day).bounds(ZoneInfo(zone))
    assert end - start == timedelta(hours=hours)
    assert start.astimezone(ZoneInfo(zone)).date().isoformat() == day
    assert (start - timedelta(microseconds=1)).astimezone(ZoneInfo(zone)).date() < date.fromisoformat(day)


def test_a_day_without_midnight_begins_after_the_gap() -> None:
    """Sao Paulo, November 4 2018: the clock went from 23:59:59 to 01:00."""
    start, _ = Period.parse("2018-11-04").bounds(ZoneInfo("America/Sao_Paulo"))
    assert start == utc("2018-11-04T03:00:00")


def test_a_midnight_that_comes_twice_counts_the_first_time() -> None:
    """Havana, November 1 2026: 01:00 goes back to 00:00, and the day has 25 hours."""
    start, end = Period.parse("2026-11-01").bounds(ZoneInfo("America/Havana"))
    assert (start, end - start) == (utc("2026-11-01T04:00:00"), timedelta(hours=25))


@pytest.mark.parametrize("text", ["2026", "2026-Q4", "2026-10", "2026-W01", "2026-W53", "2026-10-05", "2024-02-29"])
def test_a_period_survives_its_own_form(text: str) -> None:
    """Parsing and printing are inverse."""
    assert str(Period.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    ["26", "2026-Q5", "2026-13", "2026-00", "2026-W54", "2025-W53", "2026-02-30", "FY2027", "", "2026-1", "0000"],
)
def test_what_is_no_period_is_refused(text: str) -> None:
    """A ValueError, whatever the calendar says."""
    with pytest.raises(ValueError, match=r"."):
        Period.parse(text)


@given(instants, zones, st.sampled_from(CALENDAR))
def test_periods_are_the_windows_of_their_grain(at: datetime, zone: ZoneInfo, grain: Grain) -> None:
    """Bounds, neighbours and text agree with the windows."""
    period = period_containing(grain, at, zone)
    start, end = period.bounds(zone)
    assert (start, end) == (window_start(grain, at, zone), window_end(grain, start, zone))
    assert period.next().bounds(zone)[0] == end
    assert period.previous().bounds(zone)[1] == start
    assert period.next().previous() == period
    assert Period.parse(str(period)) == period
