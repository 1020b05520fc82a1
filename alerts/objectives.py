"""How far an objective has come: the mean of its key results' shares of their ways, and the grade that follows. Pure.

The share of the way of a key result at W, with A its KPI's value over the period so far and E what is expected by then:

| | with a start (`from`, or the baseline of an increase) | without |
|---|---|---|
| higher is better | (A - S) / (E - S) | A / E |
| lower is better | (A - S) / (E - S) | E / A |
| in range | 1 inside, 0 outside | 1 inside, 0 outside |

S is the start, times the share of the period that is due where the KPI accumulates: a total that keeps this pace ends
at that share of its way. A level is compared with where it should end, a cumulative KPI that climbs with how far it
should have come. For the mean each share counts from 0 to 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from onpace.alerts.climbs import climb_of
from onpace.alerts.judgement import target_in_force
from onpace.alerts.status import ROUNDING, KpiStatus, Labels, target_series
from onpace.alerts.versions import written_spec
from onpace.config.calendar import Period, period_containing
from onpace.config.catalog import Catalog
from onpace.config.kpi import Direction, KeyResult, Objective, Status, Target
from onpace.config.kpi_entities import Kpi
from onpace.config.privacy import for_owner

__all__ = [
    "GREEN",
    "KeyResultState",
    "Measure",
    "ObjectiveState",
    "headline_measure",
    "measures",
    "objective_state",
    "way_share",
]

GREEN = {"committed": 1.0, "aspirational": 0.7}
"""From this mean on an objective is on track; of a committed one every key result must be there."""
YELLOW = {"committed": 0.7, "aspirational": 0.4}
"""From this mean on it is at risk, below it is off track."""


MeasureKey = tuple[str, Labels, str, str, bool]


@dataclass(frozen=True, slots=True)
class Measure:
    """What an objective is measured by: a KPI against a target in a period."""

    kpi: Kpi
    target: Target
    period: Period
    weight: float
    judged: bool
    """Whether it is one of the KPI's own targets, which the engine judges; else a key result's."""
    climbs: bool = False
    """Whether the KPI is a cumulative one whose way begins where it stood, or at a start of its own."""

    @property
    def series(self) -> Labels:
        """The dimension values that it is narrowed to."""
        return target_series(self.target)

    @property
    def key(self) -> MeasureKey:
        """Two measures with the same key come to the same status."""
        return self.kpi.name, self.series, str(self.period), written_spec(self.target), self.judged


def measures(objective: Objective, catalog: Catalog, *, period: Period, at: datetime) -> list[Measure]:
    """Its key results, over `period`; without any, the headline targets of the KPIs that name it, in their periods.

    `at` is the last instant looked at: a headline target counts in the period that holds it.
    """
    if objective.key_results:
        return [
            _measure(catalog, catalog.kpi(one.kpi), _target(one, period), period, weight=one.weight)
            for one in objective.key_results
        ]
    named = [kpi for kpi in catalog.kpis.values() if kpi.objective == objective.name]
    return [found for kpi in named if for_owner(objective, kpi) and (found := headline_measure(kpi, catalog, at))]


def _target(result: KeyResult, period: Period) -> Target:
    return Target.model_validate({"period": period, "value": result.value, "from": result.start, "by": result.by})


def _measure(
    catalog: Catalog, kpi: Kpi, target: Target, period: Period, *, weight: float = 1.0, judged: bool = False
) -> Measure:
    climb = climb_of(catalog, kpi, period)
    climbs = climb is not None and (target.start is not None or not climb.from_nothing)
    return Measure(kpi, target, period, weight, judged, climbs)


def headline_measure(kpi: Kpi, catalog: Catalog, at: datetime) -> Measure | None:
    """The KPI's headline target in the period that holds `at`, or in its own; None for a KPI without targets."""
    headline = kpi.headline
    if headline is None:
        return None
    period = period_containing(headline.grain, at, kpi.calendar)
    target = target_in_force(kpi.targets, period, target_series(headline))
    if target is None and headline.period:
        target, period = headline, headline.period
    return _measure(catalog, kpi, target, period, judged=True) if target else None


def way_share(status: KpiStatus, direction: Direction, *, climbs: bool = False) -> float | None:
    """The share of the way as the table above has it; below 0 or above 1 where it is. None without a value.

    `climbs`: the KPI is a cumulative one, and its way begins at the start whatever is due.
    """
    actual, expected, aim = status.actual, status.expected, status.target_value
    if actual is None or expected is None or status.status == "no_data":
        return None
    if direction == "in_range" or aim is None:
        return float(status.status in ("on_track", "met"))
    if status.baseline is not None and aim != 0:
        due = 1.0 if climbs else expected / aim  # of the start: all of it for a level, or once the period is over
        start = status.baseline * due
        return None if start == expected else (actual - start) / (expected - start)
    if status.baseline:
        return (actual - status.baseline) / (aim - status.baseline)
    if expected <= 0 or (direction == "lower_is_better" and actual <= 0):
        good = actual >= expected if direction == "higher_is_better" else actual <= expected
        return float(good)
    return actual / expected if direction == "higher_is_better" else expected / actual


@dataclass(frozen=True, slots=True)
class KeyResultState:
    """How far one key result has come."""

    measure: Measure
    status: KpiStatus
    progress: float | None
    """The share of the way as it is; None without a value."""

    @property
    def share(self) -> float | None:
        """What counts in the mean: from 0 to 1."""
        return None if self.progress is None else min(1.0, max(0.0, self.progress))

    def reached(self, missing: float) -> bool:
        """Whether the way is gone; one without a value counts as `missing`."""
        return (missing if self.share is None else self.share) >= 1 - ROUNDING


@dataclass(frozen=True, slots=True)
class ObjectiveState:
    """How far an objective has come."""

    objective: Objective
    period: Period
    key_results: tuple[KeyResultState, ...]
    progress: float | None
    """The weighted mean of the shares, over the key results that have a value."""
    status: Status
    final: bool
    reason: str


def objective_state(
    objective: Objective, period: Period, found: Sequence[tuple[Measure, KpiStatus]], *, ended: bool
) -> ObjectiveState:
    """The objective with its measures as judged, in order."""
    results = tuple(
        KeyResultState(measure, one, way_share(one, measure.kpi.direction, climbs=measure.climbs))
        for measure, one in found
    )
    status = _grade(objective, results) if ended else _standing(objective, results)
    final = ended and bool(results) and all(result.status.final for result in results)
    return ObjectiveState(
        objective, period, results, _mean(results), status, final, _reason(objective, results, status)
    )


def _mean(results: Sequence[KeyResultState], missing: float | None = None) -> float | None:
    """The weighted mean of the shares; those without a value are left out, or count as `missing`."""
    shares = [
        (missing if result.share is None else result.share, result.measure.weight)
        for result in results
        if result.share is not None or missing is not None
    ]
    weights = sum(weight for _, weight in shares)
    return sum((share or 0.0) * weight for share, weight in shares) / weights if weights else None


def _green(objective: Objective, results: Sequence[KeyResultState], missing: float) -> bool:
    if objective.kind == "committed":
        return all(result.reached(missing) for result in results)
    return (_mean(results, missing) or 0.0) >= GREEN[objective.kind] - ROUNDING


def _standing(objective: Objective, results: Sequence[KeyResultState]) -> Status:
    mean = _mean(results)
    if mean is None:
        return "no_data"
    if _green(objective, [result for result in results if result.share is not None], 0.0):
        return "on_track"
    return "at_risk" if mean >= YELLOW[objective.kind] - ROUNDING else "off_track"


def _grade(objective: Objective, results: Sequence[KeyResultState]) -> Status:
    """Met or missed, where what has no value could not change it."""
    worst, best = _green(objective, results, 0.0), _green(objective, results, 1.0)
    if not results or worst != best:
        return "no_data"
    return "met" if best else "missed"


def _reason(objective: Objective, results: Sequence[KeyResultState], status: Status) -> str:
    if not results:
        return "nothing to measure it by: it has no key results, and no KPI with a target names it"
    there = sum(result.reached(0.0) for result in results)
    said = f"{there} of {len(results)} key results reached" if objective.kind == "committed" else ""
    empty = [result.measure.kpi for result in results if result.share is None]
    missing = f"no value yet of {', '.join(kpi.title or kpi.name for kpi in empty)}" if empty else ""
    wanted = "" if objective.kind == "committed" else f"{GREEN['aspirational']:g} is enough"
    parts = [part for part in (said, wanted, missing) if part]
    return f"{status.replace('_', ' ')}: {'; '.join(parts)}"
