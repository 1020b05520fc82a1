"""What each rule says about one look at its KPI."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from alerts_fakes import at

from onpace.alerts.quantities import quantity
from onpace.alerts.rules import attainment_verdict, is_active, no_data_verdict, pace_verdict, threshold_verdict
from onpace.alerts.status import KpiStatus, format_value
from onpace.config.calendar import Calendar, Grain
from onpace.config.rules import ActiveHours, AttainmentRule, NoDataRule, PaceRule, ThresholdRule


def threshold(**given: Any) -> ThresholdRule:
    """A threshold rule."""
    return ThresholdRule.model_validate({"name": "r", "kpi": "conversion", "when": "threshold"} | given)


def pace(**given: Any) -> PaceRule:
    """A pace rule."""
    return PaceRule.model_validate({"name": "r", "kpi": "revenue", "when": "pace"} | given)


ALWAYS = Calendar(ZoneInfo("UTC"))


def attainment(**given: Any) -> AttainmentRule:
    """An attainment rule."""
    return AttainmentRule.model_validate({"name": "r", "kpi": "revenue", "when": "attainment"} | given)


def reached(rule: AttainmentRule, share: float | None, *, firing: bool = False) -> bool | None:
    """Whether so much of the target is a breach."""
    return attainment_verdict(rule, replace(STATUS, attainment=share), firing=firing).breached


STATUS = KpiStatus(
    kpi="revenue",
    target="every month",
    series=(),
    period="2026-11",
    grain=Grain.MONTH,
    period_start=at("2026-11-01"),
    period_end=at("2026-12-01"),
    evaluated_at=at("2026-11-16"),
    as_of=at("2026-11-16"),
    actual=40_000.0,
    target_value=100_000.0,
    target_min=None,
    target_max=None,
    expected=50_000.0,
    attainment=0.4,
    gap=-10_000.0,
    status="off_track",
    final=False,
    stale=False,
    reason="off track: 40,000 of 50,000 expected by now",
)


def test_bounds_are_strict() -> None:
    """The bound itself is still good."""
    low, high = threshold(below=0.5), threshold(above=10)
    assert [threshold_verdict(low, v, None, firing=False).breached for v in (0.49, 0.5, 0.51)] == [True, False, False]
    assert [threshold_verdict(high, v, None, firing=False).breached for v in (9, 10, 10.1)] == [False, False, True]


def test_between_firing_and_clear_bound_a_firing_alert_stays() -> None:
    """A pending one does not: the condition itself has to hold."""
    rule = threshold(below=0.5, clear={"above": 0.55})
    assert threshold_verdict(rule, 0.52, None, firing=True).breached is None
    assert threshold_verdict(rule, 0.52, None, firing=False).breached is False
    assert threshold_verdict(rule, 0.55, None, firing=True).breached is None
    assert threshold_verdict(rule, 0.56, None, firing=True).breached is False


@pytest.mark.parametrize(("volume", "breached"), [(None, None), (199, None), (200, True)])
def test_a_window_with_too_little_volume_has_no_verdict(volume: float | None, breached: bool | None) -> None:
    """Null volume is too little."""
    rule = threshold(below=0.5, min_volume={"kpi": "checkouts", "at_least": 200})
    verdict = threshold_verdict(rule, 0.1, volume, firing=False)
    assert verdict.breached is breached
    assert verdict.inputs["volume"] == volume


@pytest.mark.parametrize("value", [None, float("nan")])
def test_a_window_without_a_value_has_no_verdict(value: float | None) -> None:
    """Null is not zero."""
    assert threshold_verdict(threshold(below=0.5), value, None, firing=True).breached is None


def test_at_risk_takes_off_track_too() -> None:
    """At or worse."""
    at_risk = replace(STATUS, status="at_risk")
    assert pace_verdict(pace(at="at_risk"), STATUS).breached is True
    assert pace_verdict(pace(at="at_risk"), at_risk).breached is True
    assert pace_verdict(pace(at="off_track"), at_risk).breached is False


def test_early_in_the_period_a_pace_rule_says_nothing() -> None:
    """`after: 10%` of November is three days."""
    rule = pace(after="10%")
    assert pace_verdict(rule, replace(STATUS, as_of=at("2026-11-03 23:00"))).breached is None
    assert pace_verdict(rule, replace(STATUS, as_of=at("2026-11-04"))).breached is True


def test_stale_no_data_and_unfinished_ends_have_no_verdict() -> None:
    """Only a status that can be trusted counts."""
    for odd in ({"stale": True}, {"status": "no_data"}, {"status": "missed"}, {"as_of": None}):
        assert pace_verdict(pace(), replace(STATUS, **odd)).breached is None


def test_the_final_status_ends_a_pace_alert_and_says_how() -> None:
    """Met or missed."""
    verdict = pace_verdict(
        pace(), replace(STATUS, status="missed", final=True, reason="missed: final 92,000 of 100,000")
    )
    assert (verdict.breached, verdict.reason) == (False, "missed: final 92,000 of 100,000")


def test_attainment_is_compared_with_its_bound_and_not_with_what_is_expected() -> None:
    """Strictly; whatever the status is."""
    assert [reached(attainment(below="80%"), share) for share in (0.79, 0.8, 0.81)] == [True, False, False]
    assert [reached(attainment(above=0.9), share) for share in (0.89, 0.9, 0.91)] == [False, False, True]
    verdict = attainment_verdict(attainment(below="80%"), replace(STATUS, status="on_track"), firing=False)
    assert verdict.breached is True
    assert verdict.reason == "40.0 % of the target is reached (40,000 of 100,000), less than 80 %"


def test_an_attainment_alert_ends_two_points_past_its_bound_unless_told_otherwise() -> None:
    """So that it does not come and go; with little to begin with, half way down to nothing."""
    low, high, own = attainment(below="80%"), attainment(above="90%"), attainment(below="80%", clear="85%")
    assert [reached(low, share, firing=True) for share in (0.79, 0.81, 0.82)] == [True, None, False]
    assert [reached(high, share, firing=True) for share in (0.91, 0.89, 0.88)] == [True, None, False]
    assert [reached(own, share, firing=True) for share in (0.84, 0.85)] == [None, False]
    assert [reached(attainment(above="1%"), share, firing=True) for share in (0.006, 0.005)] == [None, False]


def test_attainment_waits_for_its_share_of_the_period_and_ends_with_it() -> None:
    """Half of November is over on the 16th; the final status ends it, and what cannot be trusted says nothing."""
    rule = attainment(below="80%", after="50%")
    assert attainment_verdict(rule, replace(STATUS, as_of=at("2026-11-15 23:00")), firing=False).breached is None
    assert attainment_verdict(rule, STATUS, firing=False).breached is True
    final = replace(STATUS, status="missed", final=True, reason="missed: final 92,000 of 100,000")
    assert attainment_verdict(rule, final, firing=True).breached is False
    for odd in ({"stale": True}, {"status": "no_data"}, {"status": "missed"}, {"as_of": None}, {"attainment": None}):
        assert attainment_verdict(rule, replace(STATUS, **odd), firing=True).breached is None


def test_the_quietest_input_decides_on_silence() -> None:
    """Longer than `after`; an input that never sent anything gives no verdict."""
    rule = NoDataRule.model_validate({"name": "r", "kpi": "conversion", "when": "no_data", "after": "2h"})
    now = at("2026-11-01 12:00")
    assert no_data_verdict(rule, {"a": now, "b": now - timedelta(hours=2)}, now, ALWAYS).breached is False
    assert no_data_verdict(rule, {"a": now, "b": now - timedelta(hours=2, seconds=1)}, now, ALWAYS).breached is True
    assert no_data_verdict(rule, {"a": now, "b": None}, now, ALWAYS).breached is None


@pytest.mark.parametrize(
    ("days", "hours", "moment", "active"),
    [
        ("mon-sun", "07:00-23:00", "2026-11-02 06:00", True),  # 07:00 in Berlin
        ("mon-sun", "07:00-23:00", "2026-11-02 05:59", False),
        ("mon-sun", "07:00-23:00", "2026-11-02 22:00", False),  # 23:00 in Berlin
        ("mon-fri", "00:00-24:00", "2026-11-07 12:00", False),  # a Saturday
        ("sat-mon", "00:00-24:00", "2026-11-08 12:00", True),
        ("tue", "00:00-24:00", "2026-11-02 12:00", False),
        ("mon-sun", "22:00-06:00", "2026-11-02 03:00", True),
        ("mon-sun", "22:00-06:00", "2026-11-02 12:00", False),
    ],
)
def test_active_hours_are_local(days: str, hours: str, moment: str, active: bool) -> None:
    """In the KPI's zone; ranges of days and hours may wrap."""
    assert is_active(ActiveHours(days=days, hours=hours), at(moment), ZoneInfo("Europe/Berlin")) is active


def test_a_ratio_is_in_percent_in_every_reason_as_it_is_in_messages() -> None:
    """The same number, shown the same way: 13.95 %, and not 0.1395 here and 13.95 % there."""
    low = threshold(below=0.45)
    assert threshold_verdict(low, 0.3125, None, firing=False, unit="ratio").reason == "31.25 % is below 45 %"
    assert threshold_verdict(low, 0.5, None, firing=False, unit="ratio").reason == "50 % is within bounds"
    reached = replace(STATUS, actual=0.1395, target_value=0.1, attainment=1.395)
    verdict = attainment_verdict(attainment(below="80%"), reached, firing=False, unit="ratio")
    assert verdict.reason == "139.5 % of the target is reached (13.95 % of 10 %)"
    assert quantity(0.1395, "ratio") == format_value(0.1395, "ratio") == "13.95 %"
