"""Windows and periods: they tile time, whatever a zone's clock does."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from onpace.config.calendar import Calendar, Grain, Period, period_containing, window_end, window_start, windows

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
CALENDAR = [grain for grain in Grain if grain.step is None]
instants = st.datetimes(datetime(2012, 1, 1), datetime(2035, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 (bounds are naive)
zones = st.sampled_from(ZONES).map(ZoneInfo)
starts = st.tuples(st.integers(1, 12), st.integers(1, 28))
calendars = st.builds(Calendar, zones, st.integers(0, 6), starts)


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


@given(instants, calendars, st.sampled_from(CALENDAR))
def test_calendar_windows_tile_time(at: datetime, calendar: Calendar, grain: Grain) -> None:
    """No gap, no overlap, in order, and all of them of the calendar."""
    starts = list(windows(grain, at, at + timedelta(days=40), calendar))
    assert starts[0] == window_start(grain, at, calendar)
    for one, following in pairwise(starts):
        assert window_end(grain, one, calendar) == following
    assert len({one.astimezone(calendar.zone).date() for one in starts}) == len(starts)


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


@pytest.mark.parametrize(
    "text", ["2026", "2026-Q4", "2026-10", "2026-W01", "2026-W53", "2026-10-05", "2024-02-29", "FY2027", "FY2027-Q1"]
)
def test_a_period_survives_its_own_form(text: str) -> None:
    """Parsing and printing are inverse."""
    assert str(Period.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "26",
        "2026-Q5",
        "2026-13",
        "2026-00",
        "2026-W54",
        "2025-W53",
        "2026-02-30",
        "FY27",
        "FY2027-Q5",
        "",
        "2026-1",
        "0000",
    ],
)
def test_what_is_no_period_is_refused(text: str) -> None:
    """A ValueError, whatever the calendar says."""
    with pytest.raises(ValueError, match=r"."):
        Period.parse(text)


@given(instants, calendars, st.sampled_from(CALENDAR))
def test_periods_are_the_windows_of_their_grain(at: datetime, calendar: Calendar, grain: Grain) -> None:
    """Bounds, neighbours and text agree with the windows."""
    period = period_containing(grain, at, calendar)
    start, end = period.bounds(calendar)
    assert (start, end) == (window_start(grain, at, calendar), window_end(grain, start, calendar))
    assert period.next().bounds(calendar)[0] == end
    assert period.previous().bounds(calendar)[1] == start
    assert period.next().previous() == period
    assert Period.parse(str(period)) == period


BERLIN, NEW_YORK, RIYADH = ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York"), ZoneInfo("Asia/Riyadh")


@pytest.mark.parametrize(
    ("calendar", "text", "first", "last"),
    [
        (Calendar(BERLIN), "2026-W43", "2026-10-19", "2026-10-25"),
        (Calendar(NEW_YORK, week_start=6), "2026-W43", "2026-10-18", "2026-10-24"),
        (Calendar(RIYADH, week_start=5), "2026-W43", "2026-10-17", "2026-10-23"),
        (Calendar(BERLIN, week_start=3), "2026-W43", "2026-10-22", "2026-10-28"),
        (Calendar(NEW_YORK, week_start=6), "2026-W01", "2025-12-28", "2026-01-03"),
        (Calendar(BERLIN, fiscal_start=(4, 1)), "FY2027", "2026-04-01", "2027-03-31"),
        (Calendar(BERLIN, fiscal_start=(4, 1)), "FY2027-Q1", "2026-04-01", "2026-06-30"),
        (Calendar(BERLIN, fiscal_start=(4, 1)), "FY2027-Q4", "2027-01-01", "2027-03-31"),
        (Calendar(NEW_YORK, fiscal_start=(10, 1)), "FY2027", "2026-10-01", "2027-09-30"),
        (Calendar(NEW_YORK, fiscal_start=(10, 1)), "FY2027-Q2", "2027-01-01", "2027-03-31"),
        (Calendar(BERLIN, fiscal_start=(4, 6)), "FY2027-Q3", "2026-10-06", "2027-01-05"),
        (Calendar(BERLIN, fiscal_start=(1, 6)), "FY2027", "2026-01-06", "2027-01-05"),
        (Calendar(BERLIN), "FY2027", "2027-01-01", "2027-12-31"),
        (Calendar(BERLIN), "FY2027-Q2", "2027-04-01", "2027-06-30"),
    ],
)
def test_a_period_is_what_its_calendar_makes_of_it(calendar: Calendar, text: str, first: str, last: str) -> None:
    """A fiscal year is named by the year it ends in, a week by the ISO week of its Thursday. Computed by hand."""
    period = Period.parse(text)
    start, end = period.bounds(calendar)
    assert start.astimezone(calendar.zone).isoformat()[:19] == f"{first}T00:00:00"
    assert (end - timedelta(seconds=1)).astimezone(calendar.zone).isoformat()[:19] == f"{last}T23:59:59"
    assert period_containing(period.grain, start, calendar) == period
    assert period_containing(period.grain, end - timedelta(seconds=1), calendar) == period


def test_a_fiscal_quarter_with_a_change_of_the_clock_has_one_hour_less_or_more() -> None:
    """Berlin's from January to March lacks an hour, the one from October to December has it again."""
    calendar = Calendar(BERLIN, fiscal_start=(4, 1))
    start, end = Period.parse("FY2027-Q4").bounds(calendar)
    assert end - start == timedelta(days=90, hours=-1)
    start, end = Period.parse("FY2027-Q3").bounds(calendar)
    assert end - start == timedelta(days=92, hours=1)
