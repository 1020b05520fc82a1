"""What an alert is compared with when it is taken apart: past periods, the same weekday, the windows before."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from alerts_fakes import at
from test_rules import STATUS

from onpace.alerts.references import Reference, Stretch, of_period, of_window, wrong_way
from onpace.alerts.states import Alert
from onpace.config.business import BusinessDays
from onpace.config.calendar import Calendar, Grain
from onpace.config.rules import AnomalyRule, AttainmentRule, ChangeRule, PaceRule, ThresholdRule

UTC_DAYS = Calendar(ZoneInfo("UTC"))


def period(as_of: str, first: str = "2026-01-01", **more: Any) -> Reference | None:
    """That of a status in November 2026."""
    status = replace(STATUS, period_start=at("2026-11-01"), period_end=at("2026-12-01"), as_of=at(as_of))
    given: dict[str, Any] = {"base_grain": Grain.HOUR, "first_event": at(first), "from_nothing": True} | more
    return of_period(status, UTC_DAYS, **given)


def window(rule: Any, end: str, first: str = "2026-01-01", calendar: Calendar = UTC_DAYS) -> Reference | None:
    """That of a rule whose last window ends there."""
    return of_window(rule, Alert("rule", "revenue", evaluated_to=at(end)), calendar, first_event=at(first))


def rule(model: Any, **more: Any) -> Any:
    """A rule."""
    return model.model_validate({"name": "rule", "kpi": "revenue"} | more)


def starts(found: Reference | None) -> list[str]:
    """When the stretches of the past begin, newest first."""
    assert found is not None
    return [f"{stretch.after[0]:%m-%d %H}" for stretch in found.past]


THRESHOLD = rule(ThresholdRule, when="threshold", below=1, grain="day")


def test_the_same_point_of_past_periods_lies_between_the_edges_of_a_window() -> None:
    """As pace reads it: half of November is half of each month."""
    found = period("2026-11-16 00:10")
    assert found is not None
    assert (found.now, found.expected, found.words) == (
        (at("2026-11-01"), at("2026-11-16 00:10")),
        STATUS.expected,
        "the last 10 months up to the same point",
    )
    october = found.past[0]
    assert october.before == (at("2026-10-01"), at("2026-10-16 12:00"))
    assert october.after == (at("2026-10-01"), at("2026-10-16 13:00"))
    assert october.weight == pytest.approx(10 / 60 * 31 / 30)
    half = october.portions(
        {october.before: {("EU",): (6.0, 10.0)}, october.after: {("EU",): (12.0, 10.0), ("US",): (6.0, 0.0)}}
    )
    assert half == {
        ("EU",): (pytest.approx(6 + 6 * october.weight), 10),
        ("US",): (pytest.approx(6 * october.weight), 0),
    }
    level = period("2026-11-16 00:10", from_nothing=False)
    assert level is not None
    assert level.past[0] == Stretch(october.before, october.after, 1.0)


def test_of_a_period_that_is_over_the_whole_past_ones_are_the_reference() -> None:
    """And no empty stretch is read, at the very begin of one neither."""
    found = period("2026-12-01")
    assert found is not None
    assert found.past[0].after == (at("2026-10-01"), at("2026-11-01"))
    assert found.words == "the last 10 months"
    begun = period("2026-11-01 01:00", first="2026-09-20")
    assert begun is not None
    assert begun.words == "October 2026 up to the same point"
    assert all(start < end for start, end in begun.spans())
    assert len(begun.spans()) == len(set(begun.spans()))


def test_nothing_before_and_nothing_judged_is_no_reference() -> None:
    """It began in this very month, or has no value yet."""
    assert period("2026-11-16", first="2026-11-01") is None
    partly = period("2026-11-16", first="2026-10-20")
    assert partly is not None
    assert partly.words == "October 2026 up to the same point, which was not seen whole"
    nothing = replace(STATUS, actual=None)
    assert of_period(nothing, UTC_DAYS, base_grain=Grain.HOUR, first_event=at("2026-01-01"), from_nothing=True) is None


def test_a_day_is_compared_with_the_same_weekday() -> None:
    """Eight weeks back, as far as they were seen; two must be there, else it is the days before."""
    assert starts(window(THRESHOLD, "2026-11-17"))[::7] == ["11-09 00", "09-21 00"]
    found = window(THRESHOLD, "2026-11-17", first="2026-11-01")
    assert (starts(found), found and found.words) == (["11-09 00", "11-02 00"], "the last 2 Mondays")
    young = window(THRESHOLD, "2026-11-17", first="2026-11-06")
    assert (starts(young)[0], starts(young)[-1], young and young.words) == (
        "11-15 00",
        "11-06 00",
        "the 10 days before",
    )
    assert window(THRESHOLD, "2026-11-17", first="2026-11-16") is None


def test_an_hour_is_compared_with_the_same_hour_and_a_month_with_those_before() -> None:
    """By the local clock, over the change to winter time."""
    berlin = Calendar(ZoneInfo("Europe/Berlin"))
    hourly = window(rule(AnomalyRule, when="anomaly", grain="hour"), "2026-11-02 09:00", calendar=berlin)
    assert (starts(hourly)[:2], hourly and hourly.words) == (["10-26 08", "10-19 07"], "the last 8 Mondays at 09:00")
    monthly = window(rule(ThresholdRule, when="threshold", below=1, grain="month"), "2026-11-01", first="2026-08-01")
    assert (starts(monthly), monthly and monthly.words) == (["09-01 00", "08-01 00"], "the 2 months before")


def test_closed_days_are_no_reference() -> None:
    """The day before a Monday is the Friday."""
    office = Calendar(
        ZoneInfo("UTC"),
        business=BusinessDays(weekend=frozenset({5, 6}), closed=frozenset({date(2026, 11, 9)})),
    )
    change = rule(ChangeRule, when="change", against="previous", drop="10%", grain="day")
    assert starts(window(change, "2026-11-17", calendar=office)) == ["11-13 00"]
    assert starts(window(THRESHOLD, "2026-11-17", calendar=office))[0] == "11-02 00"


@pytest.mark.parametrize(
    ("against", "told"),
    [("previous", "the day before"), ("same_weekday", "the last 4 Mondays"), ("year_ago", "the same day a year ago")],
)
def test_a_change_is_taken_apart_against_what_it_compares_with(against: str, told: str) -> None:
    """In its words."""
    found = window(
        rule(ChangeRule, when="change", against=against, drop="10%", grain="day"), "2026-11-17", first="2025-01-01"
    )
    assert found is not None
    assert (found.words, found.expected) == (told, None)


@pytest.mark.parametrize(
    ("given", "down", "up"),
    [
        (THRESHOLD, True, False),
        (rule(ThresholdRule, when="threshold", above=1), False, True),
        (rule(ChangeRule, when="change", against="previous", drop="10%"), True, False),
        (rule(ChangeRule, when="change", against="previous", rise="10%"), False, True),
        (rule(AnomalyRule, when="anomaly"), True, True),
        (rule(PaceRule, when="pace"), True, False),
        (rule(AttainmentRule, when="attainment", above="100%"), False, True),
    ],
)
def test_a_gap_is_explained_where_it_goes_the_way_that_the_rule_complains_of(given: Any, down: bool, up: bool) -> None:
    """A rise explains no alert about a drop."""
    assert (wrong_way(given, -1, "higher_is_better"), wrong_way(given, 1, "higher_is_better")) == (down, up)
    assert wrong_way(given, 0, "higher_is_better") is False


def test_where_less_is_better_more_is_a_gap() -> None:
    """And in a range both ways are."""
    pace = rule(PaceRule, when="pace")
    assert [wrong_way(pace, gap, "lower_is_better") for gap in (-1, 1)] == [False, True]
    assert [wrong_way(pace, gap, "in_range") for gap in (-1, 1)] == [True, True]
