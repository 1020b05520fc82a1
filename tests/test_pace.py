"""The share of a period that is expected by an instant."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest
from alerts_fakes import at
from hypothesis import given
from hypothesis import strategies as st

from onpace.alerts.pace import PastPoint, elapsed_share, expected_share, past_periods
from onpace.config.calendar import Calendar, Grain, Period

UTC = Calendar(ZoneInfo("UTC"))
BERLIN = Calendar(ZoneInfo("Europe/Berlin"))


def test_linear_share_is_absolute_time_between_the_bounds_in_the_zone() -> None:
    """October 2026 in Berlin has 745 hours, because daylight saving ends in it."""
    start, end = Period.parse("2026-10").bounds(BERLIN)
    assert elapsed_share(start, end, at("2026-10-31 12:00")) == pytest.approx((745 - 11) / 745)
    assert elapsed_share(start, end, at("2026-09-01")) == 0
    assert elapsed_share(start, end, at("2026-12-01")) == 1


def test_a_past_period_must_be_seen_whole_or_nearly_so() -> None:
    """A KPI that began a day into June (within 5 %) has June; one that began on the third has not."""
    asked = {"complete_to": at("2026-09-10")}
    found = past_periods(Period.parse("2026-09"), UTC, first_event=at("2026-06-02"), **asked)
    assert [str(period) for period in found] == ["2026-08", "2026-07", "2026-06"]
    found = past_periods(Period.parse("2026-09"), UTC, first_event=at("2026-06-03"), **asked)
    assert [str(period) for period in found] == ["2026-08", "2026-07"]


def test_a_past_period_must_be_complete() -> None:
    """August is left out while W is still in it."""
    found = past_periods(Period.parse("2026-09"), UTC, first_event=at("2026-06-01"), complete_to=at("2026-08-31 23:00"))
    assert [str(period) for period in found] == ["2026-07", "2026-06"]


def test_at_most_twelve_past_periods_are_taken() -> None:
    """The newest twelve."""
    found = past_periods(Period.parse("2026-09"), UTC, first_event=at("2020-01-01"), complete_to=at("2026-09-10"))
    assert len(found) == 12
    assert str(found[-1]) == "2025-09"


def test_the_same_point_of_a_past_period_is_the_same_share_of_its_length() -> None:
    """Half of April is the half of February, to the base window."""
    point = PastPoint.at(Period.parse("2026-02"), 0.5, Grain.HOUR, UTC)
    assert (point.before, point.after, point.weight) == (at("2026-02-15"), at("2026-02-15"), 0)


def test_an_even_flow_gives_the_linear_share_even_with_daily_windows() -> None:
    """At 0.3 of October (9.3 days) a KPI with daily windows is interpolated between days nine and ten."""
    point = PastPoint.at(Period.parse("2026-10"), 0.3, Grain.DAY, UTC)
    values = {span: float((span[1] - span[0]).days) for span in point.spans}
    assert point.share(values) == pytest.approx(0.3)


@given(st.floats(0, 1), st.sampled_from(["2026-02", "2026-10", "2026-W13", "2026-Q1", "2026-03-29"]))
def test_an_even_flow_gives_the_linear_share_in_every_period(share: float, period: str) -> None:
    """Whatever the period and daylight saving, hours counted evenly give the share itself."""
    point = PastPoint.at(Period.parse(period), share, Grain.HOUR, BERLIN)
    values = {span: (span[1] - span[0]).total_seconds() for span in point.spans}
    assert point.share(values) == pytest.approx(share, abs=1e-9)


def test_a_period_without_a_positive_total_teaches_nothing() -> None:
    """Zero, negative and missing totals have no share."""
    point = PastPoint.at(Period.parse("2026-10"), 0.5, Grain.HOUR, UTC)
    for total in (0.0, -5.0, None, float("nan")):
        assert point.share(dict.fromkeys(point.spans, 1.0) | {point.spans[2]: total}) is None


def test_learning_takes_two_periods_and_is_their_mean() -> None:
    """One usable period is not enough: then it is linear."""
    assert expected_share(0.5, [0.2, 0.4]) == pytest.approx(0.3)
    assert expected_share(0.5, [0.2, None]) == 0.5
    assert expected_share(0.5, []) == 0.5
