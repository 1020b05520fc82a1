"""Specific: whoever reads the KPI knows what it is, in what, and whose."""

from __future__ import annotations

from collections.abc import Iterator

from onpace.config.lint.findings import Finding
from onpace.config.lint.scope import Scope

__all__ = ["check_specific"]


def check_specific(scope: Scope) -> Iterator[Finding]:
    """S101 to S105, for KPIs; title and owner for objectives too."""
    yield from _kpis(scope)
    yield from _shared_titles(scope)
    for objective in scope.catalog.objectives.values():
        if not objective.title:
            yield scope.objective(
                "S101", objective.name, "has no title", "say in one sentence what will be different when it is reached"
            )
        if not objective.owner:
            yield scope.objective("S103", objective.name, "has no owner", "name the person or team that answers for it")


def _kpis(scope: Scope) -> Iterator[Finding]:
    for kpi in scope.catalog.kpis.values():
        if not kpi.title:
            yield scope.kpi(
                "S101",
                kpi.name,
                f"has no title: scorecards and alerts will call it '{kpi.name}'",
                "add title: with the words that people use for it",
            )
        if not kpi.description:
            yield scope.kpi(
                "S102",
                kpi.name,
                "has no description: two readers may count different things",
                "add description: with what counts, and what is left out",
            )
        if not kpi.owner:
            yield scope.kpi(
                "S103",
                kpi.name,
                "has no owner: when it slips, nobody acts",
                "add owner: here, or under defaults: for the whole file",
            )
        if not kpi.unit:
            yield scope.kpi(
                "S104",
                kpi.name,
                "has no unit: its value and its target cannot be read",
                "add unit:, as in EUR, orders, min, or ratio",
            )


def _shared_titles(scope: Scope) -> Iterator[Finding]:
    first: dict[str, str] = {}
    for kpi in scope.catalog.kpis.values():
        title = kpi.title.strip().lower()
        if title and title in first:
            yield scope.kpi(
                "S105",
                kpi.name,
                f"has the same title as kpi '{first[title]}', '{kpi.title}': on a scorecard they cannot be told apart",
                "say in the title what is different",
                at=("title",),
            )
        first.setdefault(title, kpi.name)
