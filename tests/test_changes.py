"""What a window is compared with, and when a change is one. Every number is worked out by hand."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from alerts_fakes import at

from onpace.alerts.changes import Comparison, change_verdict, compared, earlier_windows
from onpace.config.business import BusinessDays
from onpace.config.calendar import Calendar
from onpace.config.rules import ChangeRule

UTC_DAYS = Calendar(ZoneInfo("UTC"))
BERLIN = Calendar(ZoneInfo("Europe/Berlin"))
FIVE_DAYS = Calendar(ZoneInfo("UTC"), business=BusinessDays(weekend=frozenset({5, 6})))
MONDAY = at("2026-11-23")
MONDAYS = {at("2026-11-16"): 650.0, at("2026-11-09"): 680.0, at("2026-11-02"): 660.0, at("2026-10-26"): 670.0}


def change(**given: Any) -> ChangeRule:
    """A rule on orders; against the window before and a drop of 30 %, unless told otherwise."""
    common = {"name": "r", "kpi": "orders", "when": "change", "against": "previous"}
    amount = {} if "rise" in given else {"drop": "30%"}
    return ChangeRule.model_validate(common | amount | given)


def breached(rule: ChangeRule, value: float | None, baseline: float | None, *, firing: bool = False) -> bool | None:
    """Whether a window of `value` is one, against `baseline`."""
    return change_verdict(rule, value, None, Comparison(baseline, "the day before"), firing=firing).breached


@pytest.mark.parametrize(
    ("against", "grain", "start", "earlier"),
    [
        ("previous", "hour", "2026-11-23 00:00", ["2026-11-22 23:00"]),
        ("previous", "day", "2026-03-29 22:00", ["2026-03-28 23:00"]),  # March 30 and the 29th, which has 23 hours
        ("previous", "month", "2026-02-28 23:00", ["2026-01-31 23:00"]),
        # 14:00 in Berlin is 13:00 UTC in winter and 12:00 in summer, which ended on October 25
        (
            "same_weekday",
            "hour",
            "2026-11-02 13:00",
            ["2026-10-26 13:00", "2026-10-19 12:00", "2026-10-12 12:00", "2026-10-05 12:00"],
        ),
        (
            "same_weekday",
            "day",
            "2026-10-25 23:00",  # Monday the 26th
            ["2026-10-18 22:00", "2026-10-11 22:00", "2026-10-04 22:00", "2026-09-27 22:00"],
        ),
        ("year_ago", "hour", "2026-11-23 10:00", ["2025-11-23 10:00"]),
        ("year_ago", "hour", "2028-02-29 10:00", ["2027-02-28 10:00"]),
        ("year_ago", "day", "2028-02-28 23:00", ["2027-02-27 23:00"]),  # February 29 and the 28th
        ("year_ago", "week", "2026-10-18 22:00", ["2025-10-19 22:00"]),  # 52 weeks
        ("year_ago", "month", "2026-03-31 22:00", ["2025-03-31 22:00"]),
        ("year_ago", "quarter", "2026-09-30 22:00", ["2025-09-30 22:00"]),
    ],
)
def test_earlier_windows_are_those_of_the_local_calendar(
    against: str, grain: str, start: str, earlier: list[str]
) -> None:
    """In Berlin; by the clock on the wall and the date, whatever the offset."""
    rule = change(against=against, grain=grain)
    assert earlier_windows(rule, at(start), BERLIN) == tuple(at(one) for one in earlier)


def test_the_window_before_is_the_last_one_that_was_open() -> None:
    """Monday is compared with Friday, and its first hour with the last one of Friday."""
    assert earlier_windows(change(grain="day"), MONDAY, FIVE_DAYS) == (at("2026-11-20"),)
    assert earlier_windows(change(grain="hour"), MONDAY, FIVE_DAYS) == (at("2026-11-20 23:00"),)
    found = compared(change(grain="day"), MONDAY, {at("2026-11-20"): 5.0}, FIVE_DAYS)
    assert found == Comparison(5.0, "the last open day")


def test_the_same_weekday_is_the_median_of_four() -> None:
    """Of 650, 660, 670 and 680 it is 665; where one of them is an odd 5, of 5, 650, 660 and 670, it is 655."""
    rule = change(against="same_weekday")
    assert compared(rule, MONDAY, MONDAYS, UTC_DAYS) == Comparison(665.0, "the last 4 Mondays")
    odd = MONDAYS | {at("2026-11-09"): 5.0}
    assert compared(rule, MONDAY, odd, UTC_DAYS).value == 655.0


@pytest.mark.parametrize(
    ("weeks", "expected"),
    [
        (3, Comparison(660.0, "3 of the last 4 Mondays")),
        (2, Comparison(665.0, "2 of the last 4 Mondays")),
        (1, Comparison(None, "the last 4 Mondays")),
        (0, Comparison(None, "the last 4 Mondays")),
    ],
)
def test_two_of_the_four_are_enough(weeks: int, expected: Comparison) -> None:
    """One week would be no better than any other day."""
    known = dict(sorted(MONDAYS.items(), reverse=True)[:weeks])
    assert compared(change(against="same_weekday"), MONDAY, known, UTC_DAYS) == expected


@pytest.mark.parametrize(
    ("against", "grain", "words"),
    [
        ("previous", "hour", "the hour before"),
        ("previous", "5min", "the 5 minutes before"),
        ("same_weekday", "hour", "the last 4 Mondays at 14:00"),
        ("year_ago", "day", "the same day a year ago"),
        ("year_ago", "week", "the same week 52 weeks ago"),
    ],
)
def test_it_says_what_it_compares_with(against: str, grain: str, words: str) -> None:
    """In plain words, by the local clock."""
    rule, start = change(against=against, grain=grain), at("2026-11-23 13:00")
    past = dict.fromkeys(earlier_windows(rule, start, BERLIN), 1.0)
    if grain in ("day", "week"):
        start = datetime(2026, 11, 23, tzinfo=BERLIN.zone)
    assert compared(rule, start, past, BERLIN).words == words


def test_it_fires_on_the_share_and_the_effect_together() -> None:
    """30 % of 100 is enough of the one, 50 orders of the other."""
    rule = change(min_effect=50)
    assert [breached(rule, value, 100) for value in (70, 50.1, 50, 0)] == [False, False, True, True]
    assert [breached(rule, value, 1000) for value in (950, 701, 700, 0)] == [False, False, True, True]
    assert breached(rule, 2000, 1000) is False


def test_a_rise_looks_the_other_way() -> None:
    """And the share is one of what it was."""
    rule = change(rise="20%")
    assert [breached(rule, value, 50) for value in (0, 50, 59.9, 60)] == [False, False, False, True]


def test_points_are_not_percent() -> None:
    """A conversion of 0.60 that falls to 0.56 lost 4 points, which are 6.7 %."""
    assert breached(change(drop=0.05), 0.56, 0.60) is False
    assert breached(change(drop="5%"), 0.56, 0.60) is True
    assert breached(change(drop=0.05), 0.55, 0.60) is True  # 0.6 - 0.55 is 0.04999999999999993: rounding


def test_below_zero_a_share_is_one_of_the_size() -> None:
    """A loss of 100 that grows to 130 is a drop of 30 %."""
    assert [breached(change(), value, -100) for value in (-129, -130)] == [False, True]


@pytest.mark.parametrize(("value", "baseline"), [(5, 0), (5, None), (5, float("nan")), (None, 5), (float("inf"), 5)])
def test_without_anything_to_compare_there_is_no_verdict(value: float | None, baseline: float | None) -> None:
    """Nothing is no zero, and of zero there is no share."""
    for firing in (True, False):
        assert breached(change(), value, baseline, firing=firing) is None


def test_in_the_kpis_unit_zero_is_a_baseline_like_any_other() -> None:
    """From 0 to 60 are 60 more."""
    assert [breached(change(rise=60), value, 0) for value in (59, 60)] == [False, True]


def test_a_firing_alert_ends_at_half_the_drop_unless_told_otherwise() -> None:
    """In between it stays; one that does not fire gets no such grace."""
    rule, own, none = change(), change(clear="5%"), change(clear="30%")
    assert [breached(rule, value, 100, firing=True) for value in (70, 71, 84, 85, 120)] == [
        True,
        None,
        None,
        False,
        False,
    ]
    assert [breached(own, value, 100, firing=True) for value in (85, 94, 95)] == [None, None, False]
    assert [breached(none, value, 100, firing=True) for value in (70, 71)] == [True, False]
    assert breached(rule, 71, 100) is False


def test_a_firing_alert_ends_when_the_effect_is_small() -> None:
    """At night half of 40 orders is 20, and 25 are half of the 50 that it takes."""
    rule = change(min_effect=50)
    assert [breached(rule, value, 60, firing=True) for value in (10, 34, 35)] == [True, None, False]


def test_too_little_volume_is_no_verdict() -> None:
    """As with every rule on windows."""
    rule = change(min_volume={"kpi": "checkouts", "at_least": 200})
    than = Comparison(100, "the day before")
    assert change_verdict(rule, 1, 199, than, firing=False).breached is None
    assert change_verdict(rule, 1, None, than, firing=False).breached is None
    assert change_verdict(rule, 1, 200, than, firing=False).breached is True


@pytest.mark.parametrize(
    ("given", "value", "unit", "reason"),
    [
        ({"against": "same_weekday"}, 412, "orders", "412 orders, 38 % below the 665 of the last 4 Mondays"),
        ({"against": "same_weekday"}, 665, "orders", "665 orders, as in the last 4 Mondays"),
        (
            {"rise": "20%", "against": "same_weekday"},
            1330,
            "EUR",
            "1,330 EUR, 100 % above the 665 of the last 4 Mondays",
        ),
        ({"drop": 100, "against": "same_weekday"}, 412, "", "412, 253 below the 665 of the last 4 Mondays"),
        (
            {"against": "same_weekday", "min_effect": 300},
            412,
            "orders",
            "412 orders, 38 % below the 665 of the last 4 Mondays: less than 300 orders in all",
        ),
    ],
)
def test_the_reason_is_in_plain_words(given: dict[str, Any], value: float, unit: str, reason: str) -> None:
    """253 of 665 are 38.05 %."""
    rule = change(**given)
    than = compared(rule, MONDAY, MONDAYS, UTC_DAYS)
    assert change_verdict(rule, value, None, than, firing=False, unit=unit).reason == reason


def test_a_ratio_is_told_in_percent_and_its_difference_in_points() -> None:
    """As people say it."""
    than = Comparison(0.665, "the day before")
    told = [
        change_verdict(change(drop=drop), 0.412, None, than, firing=False, unit="ratio").reason for drop in (0.1, "9%")
    ]
    assert told == [
        "41.2 %, 25.3 percentage points below the 66.5 % of the day before",
        "41.2 %, 38 % below the 66.5 % of the day before",
    ]


def test_the_inputs_are_kept() -> None:
    """So that one can ask later why."""
    verdict = change_verdict(change(), 412, 7, Comparison(665, "the day before"), firing=False)
    assert verdict.inputs == {"value": 412, "baseline": 665, "against": "the day before", "volume": 7}
