"""Relevant: the KPI serves an objective, says something of its own, and somebody can move it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from itertools import combinations
from statistics import StatisticsError, correlation

from onpace.config.kpi_entities import Kpi
from onpace.config.lint.evidence import Evidence
from onpace.config.lint.findings import Finding, Verdict
from onpace.config.lint.scope import Scope

__all__ = ["alike", "check_relevant"]

NEAR_DUPLICATE = 0.95
"""Correlation, both of the days and of their changes over a week, from which on two KPIs say the same."""
MIN_PAIRS = 28
"""Changes over a week that both must have: five weeks of days."""
_WEEK = timedelta(days=7)


def check_relevant(scope: Scope) -> Iterator[Verdict]:
    """R401 to R403."""
    serving = _serving(scope)
    for kpi in scope.goal_kpis():
        if scope.catalog.objectives and kpi.name not in serving:
            yield scope.kpi(
                "R401",
                kpi.name,
                "has a target and serves no objective: it is not linked to one, and neither drives, guards nor feeds "
                "a KPI that is",
                "add objective:, make it a key result, say what it drives:, or drop the target",
            )
        if kpi.targets and not kpi.levers:
            yield scope.kpi(
                "R403",
                kpi.name,
                "has a target and no levers: nothing says what its owner can do to reach it",
                "add levers: with two or three things that move it, as in levers: [free delivery, more visits]",
            )
    if scope.evidence:
        yield from _duplicates(scope, scope.evidence)


def _serving(scope: Scope) -> frozenset[str]:
    """KPIs that an objective names, and all that drive, guard or feed one of those, at any distance."""
    found = {kpi.name for name in scope.catalog.objectives for kpi in scope.linked(name)}
    waiting = list(found)
    while waiting:
        kpi = scope.catalog.kpi(waiting.pop())
        near = {*kpi.guardrails, *(part.name for part in scope.catalog.inputs(kpi))}
        near |= {other.name for other in scope.catalog.leading(kpi)}
        waiting += near - found
        found |= near
    return frozenset(found)


def _duplicates(scope: Scope, evidence: Evidence) -> Iterator[Verdict]:
    """Pairs of goals. Inputs are left alone: orders and revenue go together, and one is needed for the other."""
    goals = [kpi for kpi in scope.goal_kpis() if kpi.direction != "in_range"]
    for first, second in combinations(goals, 2):
        if first.name in scope.made_of(second) or second.name in scope.made_of(first):
            continue
        sign = 1 if first.direction == second.direction else -1
        found = alike(evidence.daily.get(first.name, {}), evidence.daily.get(second.name, {}))
        if found is None:
            continue
        days, weekly, pairs = found
        yield scope.judged("R402", second.name)
        if min(sign * days, sign * weekly) >= NEAR_DUPLICATE:
            yield _duplicate(scope, first, second, days, pairs)


def _duplicate(scope: Scope, first: Kpi, second: Kpi, days: float, pairs: int) -> Finding:
    opposite = "" if first.direction == second.direction else ", the other way round"
    return scope.kpi(
        "R402",
        second.name,
        f"says what kpi '{first.name}' says{opposite}: their daily values correlate with {days:.2f}, and so do their "
        f"changes over a week ({pairs} of them)",
        f"keep the target of one of them: the second adds no news; or waive it with what '{second.name}' shows alone",
    )


def alike(first: Mapping[date, float], second: Mapping[date, float]) -> tuple[float, float, int] | None:
    """Pearson's correlation of two daily series and of their changes over seven days, and the number of changes.

    The changes matter: two series that merely grow, or are merely low on Sundays, correlate in their days. None when
    there are fewer than `MIN_PAIRS` changes, or one of the series does not move.
    """
    shared = sorted(first.keys() & second.keys())
    weeks = [day for day in shared if day - _WEEK in first and day - _WEEK in second]
    if len(weeks) < MIN_PAIRS:
        return None
    try:
        days = correlation([first[day] for day in shared], [second[day] for day in shared])
        changes = correlation(
            [first[day] - first[day - _WEEK] for day in weeks], [second[day] - second[day - _WEEK] for day in weeks]
        )
    except StatisticsError:  # one of them is constant
        return None
    return days, changes, len(weeks)
