"""Time-bound: by when, and looked at how often."""

from __future__ import annotations

from collections.abc import Iterator

from onpace.config.durations import format_duration
from onpace.config.kpi_entities import Kpi
from onpace.config.lint.findings import Finding
from onpace.config.lint.scope import Scope

__all__ = ["check_timely"]


def check_timely(scope: Scope) -> Iterator[Finding]:
    """T501 to T506. `scope.today` decides what is over and what is overdue."""
    for kpi in scope.catalog.kpis.values():
        yield from _targets(scope, kpi)
        yield from _reviews(scope, kpi)
    for objective in scope.catalog.objectives.values():
        if objective.period is None:
            yield scope.objective(
                "T502",
                objective.name,
                "has no period: it can neither be late nor be reached",
                "add period:, as in period: 2026-Q4",
            )
        elif scope.over(objective.period):
            yield scope.objective(
                "T504",
                objective.name,
                f"its period, {objective.period}, is over",
                "close it: remove it, or give it the next period and new values",
                at=("period",),
            )


def _targets(scope: Scope, kpi: Kpi) -> Iterator[Finding]:
    if kpi.name not in scope.goals:
        why = _owes_a_target(scope, kpi)
        if why:
            yield scope.kpi(
                "T501",
                kpi.name,
                f"{why}, and has no target: nobody can say whether it is good",
                "add targets: with a value and by when, as in targets: [{every: month, value: 100}]",
            )
        return
    ends = [target.period for target in kpi.targets if target.period]
    if ends and len(ends) == len(kpi.targets) and all(scope.over(period, kpi) for period in ends):
        last = max(ends, key=lambda period: period.next().begins(kpi.calendar))
        yield scope.kpi(
            "T503",
            kpi.name,
            f"its last target was for {last}, which is over: it is judged by nothing now",
            "add a target for the present period, or one that comes every: month",
            at=("targets",),
        )


def _owes_a_target(scope: Scope, kpi: Kpi) -> str:
    """Why a KPI without a target should have one; '' for inputs, guardrails and leading indicators."""
    if kpi.objective:
        return f"is there for objective '{kpi.objective}'"
    if kpi.level == "strategic":
        return "is strategic"
    return "is what other KPIs drive" if kpi.role == "lagging" and kpi.name in scope.driven - scope.inputs else ""


def _reviews(scope: Scope, kpi: Kpi) -> Iterator[Finding]:
    if kpi.reviewed and kpi.reviewed > scope.today:
        yield scope.kpi(
            "T505",
            kpi.name,
            f"was reviewed on {kpi.reviewed}, which is still to come",
            "correct the date",
            at=("reviewed",),
        )
    elif kpi.review_every and kpi.reviewed and scope.today > kpi.reviewed + kpi.review_every:
        days = (scope.today - kpi.reviewed).days
        every = format_duration(kpi.review_every)
        yield scope.kpi(
            "T505",
            kpi.name,
            f"is to be reviewed every {every}, and was last reviewed {days} days ago, on {kpi.reviewed}",
            "ask whether it still serves its objective and its target still fits, then set reviewed: to that day",
            at=("reviewed",),
        )
    elif kpi.review_every and not kpi.reviewed:
        yield scope.kpi(
            "T506",
            kpi.name,
            f"is to be reviewed every {format_duration(kpi.review_every)}, and never was",
            "review it, and add reviewed: with the day",
            at=("review_every",),
        )
