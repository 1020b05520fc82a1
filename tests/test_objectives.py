"""How far an objective has come, and what grade that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from alerts_fakes import at, catalog_of, simple
from test_rules import STATUS

from onpace.alerts.objectives import Measure, ObjectiveState, headline_measure, measures, objective_state, way_share
from onpace.alerts.status import KpiStatus
from onpace.config.calendar import Period
from onpace.config.catalog import Catalog
from onpace.config.kpi import Direction, Objective
from onpace.config.kpi_entities import Kpi

QUARTER = Period.parse("2026-Q4")


def judged(
    actual: float | None, target: float, *, due: float = 1.0, start: float | None = None, final: bool = False
) -> KpiStatus:
    """A status; `due` is the share of the target that is expected by now."""
    return replace(
        STATUS,
        actual=actual,
        target_value=target,
        expected=target * due,
        baseline=start,
        status="no_data" if actual is None else "off_track",
        final=final,
    )


@pytest.mark.parametrize(
    ("direction", "status", "share"),
    [
        ("higher_is_better", judged(330, 360, start=300), 0.5),
        ("higher_is_better", judged(285, 360, start=300), -0.25),
        ("higher_is_better", judged(375, 360, start=300), 1.25),
        ("higher_is_better", judged(165, 360, start=300, due=0.5), 0.5),  # at this pace 330 at the end
        ("higher_is_better", judged(90, 360, due=0.5), 0.5),
        ("higher_is_better", judged(-5, 10, start=-20), 0.5),
        ("lower_is_better", judged(0.04, 0.02), 0.5),
        ("lower_is_better", judged(0.01, 0.02), 2.0),
        ("lower_is_better", judged(0, 0.02), 1.0),
        ("lower_is_better", judged(75, 50, start=100), 0.5),
        ("lower_is_better", judged(60, 100, due=0.5), 5 / 6),  # 50 were allowed by now
        ("lower_is_better", judged(5, 0, start=10), 0.5),
        ("lower_is_better", judged(3, 0), 0.0),  # none at all was wanted
        ("lower_is_better", judged(0, 0), 1.0),
        ("higher_is_better", judged(None, 360), None),
        ("in_range", replace(STATUS, target_value=None, status="on_track", expected=5), 1.0),
        ("in_range", replace(STATUS, target_value=None, status="at_risk", expected=5), 0.0),
    ],
)
def test_the_share_of_the_way(direction: Direction, status: KpiStatus, share: float | None) -> None:
    """By direction, with and without a start, for what is due by now."""
    assert way_share(status, direction) == (share if share is None else pytest.approx(share))


def state(
    statuses: Sequence[KpiStatus], *, ended: bool = False, weights: Sequence[float] = (1, 1, 1), **objective: Any
) -> ObjectiveState:
    """An objective whose key results stand like this."""
    about = Objective.model_validate({"name": "grow"} | objective)
    kpi = simple(targets=[{"every": "month", "value": 1}])
    found = [
        (Measure(kpi, kpi.targets[0], QUARTER, weight, judged=False), status)
        for status, weight in zip(statuses, weights, strict=False)
    ]
    return objective_state(about, QUARTER, found, ended=ended)


def test_progress_is_the_weighted_mean_of_shares_from_0_to_1() -> None:
    """130 % of one key result makes up for nothing; the raw share is kept."""
    found = state([judged(13, 10), judged(5, 10)], weights=[1, 3])
    assert found.progress == pytest.approx((1 + 3 * 0.5) / 4)
    assert [result.progress for result in found.key_results] == [pytest.approx(1.3), 0.5]
    assert state([judged(-5, 10, start=0), judged(10, 10)]).progress == 0.5


@pytest.mark.parametrize(
    ("kind", "actuals", "running", "ended"),
    [
        ("committed", (10, 12), "on_track", "met"),
        ("committed", (9.9, 20), "at_risk", "missed"),  # all of them have to be there
        ("committed", (5, 8), "off_track", "missed"),
        ("aspirational", (7, 7), "on_track", "met"),
        ("aspirational", (4, 10), "on_track", "met"),  # 0.7 on average
        ("aspirational", (6.9, 7), "at_risk", "missed"),
        ("aspirational", (3, 4), "off_track", "missed"),
    ],
)
def test_the_colour_and_the_grade(kind: str, actuals: tuple[float, float], running: str, ended: str) -> None:
    """Committed needs every key result, aspirational seven tenths."""
    found = [judged(actual, 10, final=True) for actual in actuals]
    assert state(found, kind=kind).status == running
    over = state(found, kind=kind, ended=True)
    assert (over.status, over.final) == (ended, True)


def test_what_has_no_value_is_no_progress_and_no_failure() -> None:
    """It is left out of the mean, and there is a grade where it could not change that."""
    known, missing = judged(10, 10, final=True), judged(None, 10, final=True)
    running = state([known, missing])
    assert (running.progress, running.status) == (1, "on_track")
    assert running.reason == "on track: 1 of 2 key results reached; no value yet of revenue"
    assert state([missing]).status == "no_data"
    assert state([known, missing], ended=True).status == "no_data"
    assert state([judged(9, 10, final=True), missing], ended=True).status == "missed"
    assert state([known, known, missing], kind="aspirational", ended=True).status == "no_data"  # 0.67 or 1
    assert state([known, known, missing], weights=[2, 2, 1], kind="aspirational", ended=True).status == "met"


def test_without_anything_to_measure_it_by_it_says_so() -> None:
    """And has no grade, ever."""
    for ended in (False, True):
        found = state([], ended=ended)
        assert (found.progress, found.status, found.final) == (None, "no_data", False)
        assert "no key results, and no KPI with a target names it" in found.reason


def test_it_is_final_once_all_its_key_results_are() -> None:
    """Late events may still come."""
    assert not state([judged(10, 10, final=True), judged(10, 10)], ended=True).final


def catalog(*kpis: Kpi, **objective: Any) -> Catalog:
    """One objective beside these."""
    about = Objective.model_validate({"name": "grow"} | objective)
    found = catalog_of(kpis)
    return Catalog(events=found.events, kpis=found.kpis, objectives={"grow": about})


def test_key_results_are_measured_over_the_period_of_the_objective() -> None:
    """Each with its own start, value, slice and weight."""
    found = catalog(
        simple(dimensions={"region": "region"}),
        key_results=[{"kpi": "revenue", "from": 1, "value": 2, "by": {"region": "EU"}, "weight": 3}],
    )
    [measure] = measures(found.objectives["grow"], found, period=QUARTER, at=at("2026-11-10"))
    assert (measure.target.value, measure.target.start, measure.series) == (2, 1, (("region", "EU"),))
    assert (measure.period, measure.weight, measure.judged) == (QUARTER, 3, False)


def test_without_key_results_the_kpis_that_name_it_count_with_their_headline_targets() -> None:
    """In the period of each; one without a target does not count, nor does somebody's individual one."""
    targets = [{"every": "day", "value": 1}, {"every": "month", "value": 2, "headline": True}]
    found = catalog(
        simple(targets=targets, objective="grow"),
        simple("other", targets=targets),
        simple("bare", objective="grow"),
        simple("calls", targets=targets, objective="grow", level="individual", owner="anna"),
    )
    [measure] = measures(found.objectives["grow"], found, period=QUARTER, at=at("2026-11-10"))
    assert (measure.kpi.name, str(measure.period), measure.target.value) == ("revenue", "2026-11", 2)


def test_an_explicit_headline_target_stands_for_its_own_period() -> None:
    """Beside it nothing is in force then."""
    kpi = simple(targets=[{"period": "2026-12", "value": 5}])
    measure = headline_measure(kpi, catalog_of([kpi]), at("2026-11-10"))
    assert measure is not None
    assert str(measure.period) == "2026-12"
    assert headline_measure(simple(), catalog_of([simple()]), at("2026-11-10")) is None
