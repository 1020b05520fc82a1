"""Targets of totals so far: what is expected on the way, and where the way begins."""

from __future__ import annotations

from typing import Any

import pytest
from alerts_fakes import at

from onpace.alerts.judgement import Due, Judgement
from onpace.alerts.status import KpiStatus
from onpace.config.calendar import Grain, Period
from onpace.config.kpi import CumulativeKpi, Target

NOON_OF_JULY_2ND = "2026-07-02 12:00"  # the middle of 2026


def judged(
    target: dict[str, Any], period: str, *, actual: float, carried: float | None = None, **more: Any
) -> KpiStatus:
    """A total so far in the middle of 2026, nothing to learn from. `carried`: what it had at the period's begin."""
    common = {"name": "total", "type": "cumulative", "of": "x", "direction": "higher_is_better", "role": "lagging"}
    kpi = CumulativeKpi.model_validate(common | more)
    due = Due(Target.model_validate(target), Period.parse(period))
    now = at(NOON_OF_JULY_2ND)
    judgement = Judgement(kpi, due, Grain.DAY, False, at("2026-01-01"), now, now)
    values = dict.fromkeys(judgement.spans(), carried)
    assert judgement.actual_span
    return judgement.status(values | {judgement.actual_span: actual})


def test_a_year_to_date_is_expected_to_be_half_way_in_the_middle_of_the_year() -> None:
    """Not at the whole target: then it would be off track until December."""
    status = judged({"period": "2026", "value": 1000}, "2026", actual=500, to_date="year")
    assert (status.status, status.expected) == ("on_track", pytest.approx(500))
    assert judged({"period": "2026", "value": 1000}, "2026", actual=470, to_date="year").status == "off_track"


def test_a_month_of_a_year_to_date_begins_with_what_the_year_had() -> None:
    """July is to add 60 to 540: after 1.5 of its 31 days, 3."""
    status = judged({"every": "month", "value": 600}, "2026-07", actual=545, carried=540, to_date="year")
    assert status.expected == pytest.approx(540 + 60 * 1.5 / 31)
    assert status.status == "on_track"


def test_a_running_total_begins_at_from_or_at_what_it_had() -> None:
    """1,000 customers at New Year, 1,500 at the year's end: 1,250 in the middle."""
    status = judged({"period": "2026", "value": 1500, "from": 1000}, "2026", actual=1250)
    assert (status.expected, status.attainment) == (pytest.approx(1250), 0.5)
    assert judged({"period": "2026", "value": 1500}, "2026", actual=1250, carried=900).expected == pytest.approx(1200)


def test_a_trailing_stretch_is_a_level() -> None:
    """28 days are 28 days at any time of the year."""
    assert judged({"period": "2026", "value": 1000}, "2026", actual=960, window="28d").expected == 1000
    assert judged({"every": "month", "value": 1000}, "2026-07", actual=960, to_date="week").expected == 1000
