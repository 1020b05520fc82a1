"""Status of an actual value against what is expected of it."""

from __future__ import annotations

import math
from typing import Any

import pytest
from alerts_fakes import at, simple
from hypothesis import given
from hypothesis import strategies as st

from onpace.alerts.judgement import Due, Judgement, due_periods, judge_again, target_in_force
from onpace.alerts.status import Wanted, attainment, format_value, judge, judge_final
from onpace.config.calendar import Grain, Period
from onpace.config.kpi import Direction, Target


def target(**given: Any) -> Target:
    """A monthly target."""
    return Target.model_validate({"every": "month"} | given)


@pytest.mark.parametrize(
    ("direction", "given", "cases"),
    [
        ("higher_is_better", {"value": 100}, {100: "on_track", 99.9: "at_risk", 95: "at_risk", 94.9: "off_track"}),
        ("higher_is_better", {"value": 100, "at_risk": 0.8}, {80: "at_risk", 79: "off_track"}),
        ("higher_is_better", {"value": 100, "tolerance": 2}, {98: "at_risk", 97.9: "off_track"}),
        ("higher_is_better", {"value": 0, "tolerance": 2}, {0: "on_track", -2: "at_risk", -2.1: "off_track"}),
        ("lower_is_better", {"value": 100}, {100: "on_track", 100.1: "at_risk", 105: "at_risk", 105.1: "off_track"}),
        ("lower_is_better", {"value": 0.1, "tolerance": 0.02}, {0.1: "on_track", 0.12: "at_risk", 0.121: "off_track"}),
        (
            "in_range",
            {"min": 10, "max": 20, "tolerance": 1},
            {10: "on_track", 20: "on_track", 9: "at_risk", 21: "at_risk", 8.9: "off_track", 21.1: "off_track"},
        ),
    ],
)
def test_status_while_the_period_runs(direction: Direction, given: dict[str, Any], cases: dict[float, str]) -> None:
    """On track, at risk and off track meet where the contract says."""
    aim = target(**given)
    for actual, status in cases.items():
        assert judge(actual, Wanted.of(aim, direction), direction, aim) == status, actual


@pytest.mark.parametrize("actual", [None, math.nan, math.inf])
def test_without_a_number_there_is_no_data(actual: float | None) -> None:
    """Null, NaN and infinity are never a bad KPI."""
    wanted = Wanted.of(target(value=1), "higher_is_better")
    assert judge(actual, wanted, "higher_is_better", target(value=1)) == "no_data"
    assert judge_final(actual, wanted) == "no_data"
    assert attainment(actual, target(value=1)) is None


def test_the_final_comparison_is_with_the_target_itself() -> None:
    """No share and no tolerance once the period is over."""
    assert judge_final(100, Wanted.of(target(value=100), "higher_is_better")) == "met"
    assert judge_final(99, Wanted.of(target(value=100), "higher_is_better")) == "missed"
    assert judge_final(101, Wanted.of(target(value=100), "lower_is_better")) == "missed"
    assert judge_final(9.5, Wanted.of(target(min=10, max=20, tolerance=1), "in_range")) == "missed"


def test_attainment_is_the_share_of_the_way_from_where_it_began() -> None:
    """Without `from` it is A / value; a way of no length has no share."""
    assert attainment(330_000, target(value=360_000, **{"from": 300_000})) == pytest.approx(0.5)
    assert attainment(50, target(value=200)) == 0.25
    assert attainment(50, target(value=0, tolerance=1)) is None
    assert attainment(50, target(min=1, max=2)) is None


@given(st.floats(-1e9, 1e9), st.floats(0.01, 1e9))
def test_better_is_never_judged_worse(actual: float, value: float) -> None:
    """Status is monotonic in the actual value, and lower_is_better is its mirror in order."""
    order = ["off_track", "at_risk", "on_track"]
    for direction, sign in (("higher_is_better", 1), ("lower_is_better", -1)):
        aim = target(value=value)
        wanted = Wanted.of(aim, direction)
        worse, better = (judge(actual + sign * more, wanted, direction, aim) for more in (0, abs(actual) + 1))
        assert order.index(better) >= order.index(worse)


def test_an_explicit_period_beats_every() -> None:
    """December has a target of its own, for the total only."""
    every, december = target(value=1), Target.model_validate({"period": "2026-12", "value": 2})
    eu = target(value=3, by={"region": "EU"})
    targets = (every, december, eu)
    assert target_in_force(targets, Period.parse("2026-11"), ()) is every
    assert target_in_force(targets, Period.parse("2026-12"), ()) is december
    assert target_in_force(targets, Period.parse("2026-12"), (("region", "EU"),)) is eu
    assert target_in_force((december,), Period.parse("2026-11"), ()) is None


def test_every_period_since_the_first_event_is_due() -> None:
    """With the explicit target in its month, and nothing before the beginning or after now."""
    kpi = simple(
        targets=[{"every": "month", "value": 1}, {"period": "2026-10", "value": 2}, {"period": "2027-01", "value": 3}]
    )
    due = due_periods(kpi, first_event=at("2026-09-20"), now=at("2026-11-05"))
    assert [(str(one.period), one.target.value) for one in due] == [("2026-09", 1), ("2026-10", 2), ("2026-11", 1)]


def judgement(now: str, as_of: str | None, **kpi: Any) -> Judgement:
    """October of a KPI with a monthly target of 310."""
    model = simple(targets=[{"every": "month", "value": 310}], **kpi)
    due = Due(model.targets[0], Period.parse("2026-10"))
    first = at("2026-10-01") if as_of else None
    return Judgement(model, due, Grain.HOUR, model.nature != "level", first, at(as_of) if as_of else None, at(now))


def test_an_accumulating_kpi_is_expected_to_be_part_of_the_way() -> None:
    """Ten of 31 days: 100 of 310 are due, linear without history."""
    asked = judgement("2026-10-11 01:00", "2026-10-11")
    status = asked.status(dict.fromkeys(asked.spans(), 96.0))
    assert status.expected == pytest.approx(100)
    assert (status.status, status.gap, status.final) == ("at_risk", pytest.approx(-4), False)
    assert status.attainment == pytest.approx(96 / 310)


def test_a_level_is_expected_to_be_at_its_target_from_the_first_day() -> None:
    """Nature level: expected is the target."""
    asked = judgement("2026-10-11 01:00", "2026-10-11", nature="level")
    assert asked.status(dict.fromkeys(asked.spans(), 96.0)).expected == 310


def test_without_a_complete_window_there_is_no_data() -> None:
    """Nothing is read then."""
    for asked in (judgement("2026-10-05", None), judgement("2026-10-05", "2026-10-01")):
        assert list(asked.spans()) == []
        assert asked.status({}).status == "no_data"


def test_a_period_that_ended_is_met_or_missed_and_final_once_complete() -> None:
    """Between the end by the clock and the end by W the verdict may still change."""
    waiting = judgement("2026-11-01 00:03", "2026-10-31 23:00")
    status = waiting.status(dict.fromkeys(waiting.spans(), 300.0))
    assert (status.status, status.final) == ("missed", False)
    done = judgement("2026-11-01 02:00", "2026-11-01 01:00")
    status = done.status(dict.fromkeys(done.spans(), 310.0))
    assert (status.status, status.final, status.as_of) == ("met", True, at("2026-11-01"))


def test_a_final_status_moves_only_with_late_events_under_the_same_target() -> None:
    """A target edited later does not reach back."""
    done = judgement("2026-11-01 02:00", "2026-11-01 01:00")
    final = done.status(dict.fromkeys(done.spans(), 300.0))
    late = done.status(dict.fromkeys(done.spans(), 315.0))
    assert judge_again(final, late).status == "met"
    edited = Due(done.due.target.model_copy(update={"value": 200.0}), done.due.period)
    easier = Judgement(done.kpi, edited, Grain.HOUR, True, done.first_event, done.as_of, done.now)
    assert judge_again(final, easier.status(dict.fromkeys(done.spans(), 315.0))) is final


def test_values_read_well() -> None:
    """Thousands are separated, small values keep four digits."""
    assert [format_value(v) for v in (92_000, 0.61534, None, -1234.5, 12)] == ["92,000", "0.6153", "–", "-1,234", "12"]
