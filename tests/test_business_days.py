"""Business days: what is closed, and that a closed day is neither a miss nor an alert."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from alerts_fakes import Event, FakeReader, MemoryHistory, MemoryNotifier, at, catalog_of, simple
from hypothesis import given, settings
from hypothesis import strategies as st

from onpace.alerts.engine import Engine
from onpace.alerts.evaluation import Evaluation
from onpace.alerts.pace import past_periods
from onpace.alerts.status import KpiStatus
from onpace.config.business import BusinessDays
from onpace.config.calendar import Calendar, Period
from onpace.config.calendars import CalendarRules
from onpace.config.open_time import closed_through, open_point, open_share, open_time
from onpace.config.rules import NoDataRule, PaceRule, Rule, ThresholdRule

HOUR = timedelta(hours=1)
GERMANY = CalendarRules.model_validate(
    {
        "name": "de",
        "country": "DE",
        "subdivision": "BE",
        "weekend": ["sat", "sun"],
        "closed": ["2026-12-24"],
        "open": ["2026-12-27"],
    }
)
AMERICA = CalendarRules.model_validate({"name": "us", "country": "US", "weekend": ["sat", "sun"]})
GULF = CalendarRules.model_validate({"name": "sa", "country": "SA", "weekend": ["fri", "sat"]})
BERLIN = Calendar(ZoneInfo("Europe/Berlin"), business=GERMANY.business)


def days(first: str, last: str) -> list[date]:
    """Every day from the first to the last."""
    begin, end = date.fromisoformat(first), date.fromisoformat(last)
    return [begin + timedelta(days=at) for at in range((end - begin).days + 1)]


@pytest.mark.parametrize(
    ("rules", "first", "last", "open_days"),
    [
        (GERMANY, "2026-04-01", "2026-04-30", 20),  # 22 weekdays less Good Friday and Easter Monday
        (GERMANY, "2026-12-24", "2026-12-31", 5),  # the 27th, a Sunday, is open; the 24th and 25th and Saturday are not
        (AMERICA, "2026-11-01", "2026-11-30", 19),  # 21 weekdays less Veterans Day and Thanksgiving
        (AMERICA, "2026-06-29", "2026-07-05", 4),  # Independence Day, a Saturday, is observed on Friday
        (GULF, "2026-09-01", "2026-09-30", 21),  # 22 days from Sunday to Thursday less the National Day
    ],
)
def test_open_days_are_counted_as_by_hand(rules: CalendarRules, first: str, last: str, open_days: int) -> None:
    """Holidays, weekends, days off and days that are open for all that."""
    calendar = Calendar(ZoneInfo("UTC"), business=rules.business)
    assert sum(calendar.is_open(day) for day in days(first, last)) == open_days


@pytest.mark.parametrize(
    ("rules", "day", "reason"),
    [
        (GERMANY, "2026-12-25", "Christmas Day"),
        (GERMANY, "2026-12-24", "a day off"),
        (GERMANY, "2026-12-26", "Second Day of Christmas"),
        (GERMANY, "2026-12-27", ""),
        (GERMANY, "2026-12-28", ""),
        (AMERICA, "2026-11-26", "Thanksgiving Day"),
        (AMERICA, "2027-12-31", "New Year's Day (observed)"),
        (GULF, "2026-09-25", "Friday"),
        (GULF, "2026-09-27", ""),
    ],
)
def test_a_closed_day_says_why(rules: CalendarRules, day: str, reason: str) -> None:
    """In English, whatever the country."""
    assert rules.business is not None
    assert rules.business.closed_by(date.fromisoformat(day)) == reason


def test_a_calendar_without_closed_days_is_always_open() -> None:
    """One with nothing but a week start closes nothing, not even what it lists as open."""
    assert CalendarRules.model_validate({"name": "us", "week_start": "sun", "open": ["2026-12-25"]}).business is None


def test_closed_stretches_name_their_days() -> None:
    """Easter from Friday to Monday; a stretch that touches an open day is not closed."""
    easter = closed_through(BERLIN, at("2026-04-02 22:00"), at("2026-04-06 22:00"))
    assert easter == "closed: Good Friday, Saturday, Sunday, …"
    assert closed_through(BERLIN, at("2026-04-02 21:59"), at("2026-04-06 22:00")) == ""
    assert closed_through(BERLIN, at("2026-04-02 22:00"), at("2026-04-06 22:01")) == ""


def test_a_month_with_easter_is_measured_by_its_open_days() -> None:
    """When April 7 is over, 3 of 20 open days have passed; on a closed day nothing does."""
    start, end = Period.parse("2026-04").bounds(BERLIN)
    assert open_share(BERLIN, start, end, at("2026-04-07 22:00")) == pytest.approx(3 / 20)
    assert open_share(BERLIN, start, end, at("2026-04-04 09:00")) == pytest.approx(2 / 20)
    assert open_share(BERLIN, start, end, end) == 1
    assert open_point(BERLIN, start, end, 0.15) == at("2026-04-07 22:00")
    assert open_point(BERLIN, start, end, 0.125) == at("2026-04-07 10:00")


def test_an_open_day_with_a_change_of_the_clock_counts_with_its_hours() -> None:
    """October 25 2026 has 25 hours in Berlin, where every Sunday is open."""
    calendar = Calendar(ZoneInfo("Europe/Berlin"), business=BusinessDays(weekend=frozenset({5})))
    assert open_time([calendar], *Period.parse("2026-W43").bounds(calendar)) == timedelta(days=6, hours=1)


def test_a_past_day_that_was_closed_teaches_nothing() -> None:
    """The days before Tuesday after Easter: Thursday, Wednesday, Tuesday, Monday, and Friday of the week before."""
    first, complete = at("2026-03-27 00:00"), at("2026-04-07 00:00")
    found = past_periods(Period.parse("2026-04-07"), BERLIN, first_event=first, complete_to=complete)
    assert [f"{period}"[8:] for period in found] == ["02", "01", "31", "30", "27"]


offsets = st.integers(0, 400 * 24 * 60).map(lambda minutes: at("2026-01-01 00:00") + timedelta(minutes=minutes))


@given(offsets, offsets, st.floats(0, 1))
def test_the_point_at_a_share_has_that_share(one: datetime, other: datetime, share: float) -> None:
    """Where there is open time at all."""
    start, end = min(one, other), max(one, other)
    if open_time([BERLIN], start, end):
        found = open_share(BERLIN, start, end, open_point(BERLIN, start, end, share))
        assert found == pytest.approx(share, abs=1e-4)


@settings(max_examples=20)
@given(offsets, offsets)
def test_open_time_is_that_of_its_open_minutes(one: datetime, other: datetime) -> None:
    """Counted minute by minute; of two calendars, the minutes in which either is open."""
    start, end = min(one, other), min(max(one, other), min(one, other) + timedelta(days=8))
    calendars = [BERLIN, Calendar(ZoneInfo("Asia/Riyadh"), business=GULF.business)]
    minutes = int((end - start) / timedelta(minutes=1))
    moments = [start + timedelta(minutes=at) for at in range(minutes)]
    open_ones = sum(any(c.is_open(moment.astimezone(c.zone).date()) for c in calendars) for moment in moments)
    assert open_time(calendars, start, end) == timedelta(minutes=open_ones)


def open_hours(first: str, last: str) -> list[Event]:
    """An event of 1 in the middle of every hour of the open days, in Berlin."""
    moment, end = at(first), at(last)
    found = []
    while moment < end:
        if BERLIN.is_open(moment.astimezone(BERLIN.zone).date()):
            found.append(Event(moment + HOUR / 2, {}, 1))
        moment += HOUR
    return found


class World:
    """One KPI with the German calendar, its events and an engine over them."""

    def __init__(self, events: Sequence[Event], *rules: Rule, expected_every: timedelta | None = None, **kpi: Any):
        given = {"timezone": "Europe/Berlin", "calendar": GERMANY} | kpi
        catalog = catalog_of([simple(**given)], rules, expected_every=expected_every)
        self.reader = FakeReader(catalog, {"order.placed": events}, at("2026-01-01 00:00"))
        self.engine = Engine(catalog, self.reader, MemoryHistory(), MemoryNotifier())

    def look(self, moment: str) -> Evaluation:
        """Evaluate as of then."""
        self.reader.clock = at(moment)
        return self.engine.evaluate(at(moment), notify=True)

    def status(self, moment: str, period: str) -> KpiStatus:
        """The status of one period as of then."""
        return next(status for status in self.look(moment).statuses if status.period == period)


MONTH = [{"every": "month", "value": 480}]  # an event an hour on each of 20 days


def test_a_month_with_easter_is_on_pace_by_open_days() -> None:
    """72 events on three open days of twenty are as many as expected, without history and with that of two months."""
    for begins in ("2026-03-31 22:00", "2026-01-31 23:00"):
        found = World(open_hours(begins, "2026-04-30 22:00"), targets=MONTH).status("2026-04-07 22:00", "2026-04")
        assert (found.actual, found.status) == (72, "on_track")
        assert found.expected == pytest.approx(72)


def test_a_month_with_easter_is_behind_without_a_calendar() -> None:
    """By the clock seven of thirty days have passed: the calendar is what makes the difference."""
    found = World(open_hours("2026-03-31 22:00", "2026-04-30 22:00"), targets=MONTH, calendar=None).status(
        "2026-04-07 22:00", "2026-04"
    )
    assert (found.status, found.expected) == ("off_track", pytest.approx(480 * 7 / 30))


def test_a_month_that_began_with_closed_days_says_so() -> None:
    """On January 1 nothing is due yet, also where less is better."""
    events = [*open_hours("2025-12-01 00:00", "2025-12-31 00:00"), Event(at("2026-01-01 09:00"), {}, 5)]
    world = World(events, targets=[{"every": "month", "value": 480}], direction="lower_is_better")
    found = world.status("2026-01-01 12:00", "2026-01")
    assert (found.status, found.reason) == ("no_data", "closed so far: New Year's Day")
    assert (found.actual, found.expected, found.attainment) == (5, None, None)


def test_a_daily_target_is_not_missed_on_a_closed_day() -> None:
    """Christmas Day is no_data and says why, for good; the day before the holidays was met, an open Sunday missed."""
    world = World(open_hours("2026-12-20 23:00", "2026-12-26 23:00"), targets=[{"every": "day", "value": 24}])
    found = {s.period: (s.status, s.reason, s.final) for s in world.look("2026-12-28 00:00").statuses}
    assert found["2026-12-23"][0] == "met"
    assert found["2026-12-24"] == ("no_data", "closed: a day off", True)
    assert found["2026-12-25"] == ("no_data", "closed: Christmas Day", True)
    assert found["2026-12-27"][0] == "missed"


def test_no_rule_fires_on_a_closed_day() -> None:
    """Neither a value that is too low nor silence nor the pace of a day; all do on the next open day without events."""
    rules = [
        ThresholdRule(name="low", kpi="revenue", when="threshold", below=1),
        NoDataRule(name="silent", kpi="revenue", when="no_data", after=2 * HOUR),
        PaceRule(name="behind", kpi="revenue", when="pace"),
    ]
    world = World(open_hours("2026-03-29 22:00", "2026-04-02 22:00"), *rules, targets=[{"every": "day", "value": 24}])
    for moment in ("2026-04-02 22:00", "2026-04-03 12:00", "2026-04-05 12:00", "2026-04-06 22:00"):
        assert [alert.rule for alert in world.look(moment).alerts if alert.state == "firing"] == []
    firing = {alert.rule for alert in world.look("2026-04-07 08:00").alerts if alert.state == "firing"}
    assert firing == {"low", "silent", "behind"}


def test_a_source_is_not_overdue_while_all_of_its_kpis_are_closed() -> None:
    """Silence counts in open time: two open hours after Easter it is, where an event is expected every two."""
    world = World(open_hours("2026-03-29 22:00", "2026-04-02 22:00"), expected_every=2 * HOUR)
    for moment in ("2026-04-03 12:00", "2026-04-05 12:00", "2026-04-06 21:59", "2026-04-06 23:20"):
        assert world.look(moment).stale == {}
    reason = "no event since 2026-04-02 21:30:00 UTC, expected every 2h"
    assert world.look("2026-04-06 23:31").stale == {"order.placed": reason}


def test_a_source_is_overdue_as_soon_as_one_of_its_kpis_is_open() -> None:
    """A KPI without a calendar shares the source: Good Friday is a day like others to it."""
    kpis = [simple(timezone="Europe/Berlin", calendar=GERMANY), simple("online")]
    reader = FakeReader(
        catalog_of(kpis, expected_every=2 * HOUR), {"order.placed": open_hours("2026-04-01 22:00", "2026-04-02 22:00")},
        at("2026-04-03 12:00"),
    )  # fmt: skip
    found = Engine(reader.catalog, reader, MemoryHistory(), MemoryNotifier()).evaluate(reader.clock, notify=True)
    assert list(found.stale) == ["order.placed"]
