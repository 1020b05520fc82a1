"""The portfolio: few KPIs for each objective, leading and lagging ones, and none that nobody uses."""

from __future__ import annotations

from collections.abc import Iterator

from onpace.config.kpi_entities import Kpi
from onpace.config.lint.codes import CODES
from onpace.config.lint.findings import Finding
from onpace.config.lint.scope import Scope

__all__ = ["check_portfolio"]

FEWEST, MOST = 3, 5
MOST_OF_AN_OWNER = 7


def check_portfolio(scope: Scope) -> Iterator[Finding]:
    """O601 to O606."""
    if not scope.catalog.objectives and (first := next(scope.goal_kpis(), None)):
        count = len(scope.goals)
        yield Finding(
            "O601",
            CODES["O601"].severity,
            scope.found.kpis[first.name].place,
            "",
            f"no objective is declared: nothing says what {count} KPIs with targets are for",
            "add objectives: with a title, an owner, a period and key_results:",
        )
    for name in scope.catalog.objectives:
        yield from _objective(scope, name)
    yield from _owners(scope)
    yield from _unused(scope)


def _objective(scope: Scope, name: str) -> Iterator[Finding]:
    objective, kpis = scope.catalog.objectives[name], scope.linked(name)
    if not objective.key_results and not any(kpi.targets for kpi in kpis):
        yield scope.objective(
            "O604",
            name,
            "has neither key results nor KPIs with targets: its progress cannot be computed",
            "add key_results: with where a KPI starts and where it should get, as in {kpi: revenue, from: 1, value: 2}",
        )
    listed = f"{len(kpis)} KPI{'' if len(kpis) == 1 else 's'}{_names(kpis)}"
    if len(kpis) < FEWEST:
        yield scope.objective(
            "O602",
            name,
            f"has {listed}: too few to show from more than one side whether it is reached",
            f"give it {FEWEST} to {MOST}: name it as objective: in the KPIs that drive its key results",
        )
    elif len(kpis) > MOST:
        yield scope.objective(
            "O602",
            name,
            f"has {listed}: where everything is key, nothing is",
            f"keep the {FEWEST} to {MOST} that decide, or split the objective",
        )
    roles = {kpi.role for kpi in kpis}
    if len(kpis) > 1 and len(roles) == 1:
        have, lack = ("lagging", "leading") if roles == {"lagging"} else ("leading", "lagging")
        why = "it shows only what has happened" if lack == "leading" else "it shows effort and no result"
        yield scope.objective(
            "O603",
            name,
            f"has only {have} KPIs{_names(kpis)}: {why}",
            f"add a {lack} one, or correct the roles",
        )


def _names(kpis: tuple[Kpi, ...]) -> str:
    return f" ({', '.join(kpi.name for kpi in kpis)})" if kpis else ""


def _owners(scope: Scope) -> Iterator[Finding]:
    owned: dict[str, list[Kpi]] = {}
    for kpi in scope.goal_kpis():
        owned.setdefault(kpi.owner, []).append(kpi)
    for owner, kpis in owned.items():
        if owner and len(kpis) > MOST_OF_AN_OWNER:
            yield Finding(
                "O605",
                CODES["O605"].severity,
                scope.found.kpis[kpis[MOST_OF_AN_OWNER].name].place,
                f"owner '{owner}'",
                f"answers for {len(kpis)} KPIs with targets{_names(tuple(kpis))}: more than {MOST_OF_AN_OWNER} "
                "compete for attention",
                "share them out among the people who can move them, or drop targets that decide nothing",
            )


def _unused(scope: Scope) -> Iterator[Finding]:
    used = scope.goals | scope.inputs | scope.guardrails | scope.ruled | scope.driven
    for kpi in scope.catalog.kpis.values():
        if kpi.name not in used and not kpi.objective and not kpi.drives:
            yield scope.kpi(
                "O606",
                kpi.name,
                "is used by nobody: no target, rule, objective or other KPI needs it",
                "give it a target or a rule, say what it drives:, or remove it",
            )
