"""Measurable: the events arrive, carry the fields that are used, and the number moves."""

from __future__ import annotations

from collections.abc import Iterator

from onpace.config.kpi import SimpleKpi
from onpace.config.lint.evidence import Evidence, FieldFacts
from onpace.config.lint.findings import Finding, Judged, Verdict, number
from onpace.config.lint.scope import Scope

__all__ = ["check_measurable"]

NULL_SHARE = 0.2
"""Share of events without a field from which on it is a finding."""
STILL_DAYS = 14
"""Days with one and the same value from which on a KPI counts as one that never moves."""


def check_measurable(scope: Scope) -> Iterator[Verdict]:
    """M201 to M206. All but M205 need evidence."""
    yield from _silent_sources(scope)
    if scope.evidence:
        yield from _arrivals(scope, scope.evidence)
        for kpi in scope.catalog.simple_kpis():
            if facts := scope.evidence.fields.get(kpi.name):
                yield from _fields(scope, kpi, facts)
        yield from _still(scope, scope.evidence)


def _silent_sources(scope: Scope) -> Iterator[Finding]:
    fed: dict[str, list[str]] = {}
    for kpi in scope.goal_kpis():
        for name in scope.catalog.event_types(kpi):
            fed.setdefault(name, []).append(kpi.name)
    for name, kpis in fed.items():
        if scope.catalog.events[name].expected_every is None:
            yield scope.event(
                "M205",
                name,
                f"feeds {', '.join(kpis)} and has no expected_every: when its source falls silent, that looks like a "
                "bad KPI",
                "add expected_every: with the longest silence that is normal, as in expected_every: 1h",
            )


def _arrivals(scope: Scope, evidence: Evidence) -> Iterator[Verdict]:
    used: dict[str, list[str]] = {}
    for kpi in scope.catalog.simple_kpis():
        used.setdefault(kpi.event, []).append(kpi.name)
    for name, kpis in used.items():
        yield Judged("M201", scope.found.events[name].place, f"event '{name}'")
        if not evidence.arrived.get(name):
            total = sum(evidence.arrived.values())
            yield scope.event(
                "M201",
                name,
                f"none has arrived among {total:,} events: {', '.join(kpis)} cannot be measured",
                "have the application send it, or correct the name",
            )


def _fields(scope: Scope, kpi: SimpleKpi, facts: FieldFacts) -> Iterator[Verdict]:
    """Nothing can be said without events, nor of what comes after a filter that lets none through."""
    if not facts.events:
        return
    yield scope.judged("M204", kpi.name)
    if not facts.matched:
        yield scope.kpi(
            "M204",
            kpi.name,
            f"its filter, {kpi.filter}, lets none of {facts.events:,} events through",
            "correct the filter: look for the spelling of the values",
            at=("filter",),
        )
    yield scope.judged("M202", kpi.name)
    for key, text, nulls, of in (
        ("filter", kpi.filter, facts.filter_null, facts.events),
        ("value", kpi.value, facts.value_null, facts.matched),
    ):
        if of and nulls / of >= NULL_SHARE:
            effect = "which counts as false" if key == "filter" else "which adds nothing"
            yield scope.kpi(
                "M202",
                kpi.name,
                f"its {key}, {text}, is null in {nulls:,} of {of:,} events ({nulls / of:.0%}), {effect}",
                f"have the application send what {text} names, or say with coalesce(…) what stands for it",
                at=(key,),
            )
    if facts.matched:
        yield from _dimensions(scope, kpi, facts)


def _dimensions(scope: Scope, kpi: SimpleKpi, facts: FieldFacts) -> Iterator[Verdict]:
    yield scope.judged("M203", kpi.name)
    for name, nulls in facts.dimension_null.items():
        if nulls == facts.matched:
            yield scope.kpi(
                "M203",
                kpi.name,
                f"its dimension {name} is null in all of {nulls:,} events: it splits nothing",
                "have the application send it, correct the name, or leave the dimension out",
                at=("dimensions",),
            )
        elif nulls / facts.matched >= NULL_SHARE:
            share = nulls / facts.matched
            yield scope.kpi(
                "M202",
                kpi.name,
                f"its dimension {name} is null in {nulls:,} of {facts.matched:,} events ({share:.0%}): they belong "
                "to no segment",
                f"have the application send it, or name those with coalesce(…, 'unknown') in {name}",
                at=("dimensions",),
            )


def _still(scope: Scope, evidence: Evidence) -> Iterator[Verdict]:
    for name, days in evidence.daily.items():
        if len(days) >= STILL_DAYS:
            yield scope.judged("M206", name)
            values = set(days.values())
            if len(values) == 1:
                kpi = scope.catalog.kpi(name)
                yield scope.kpi(
                    "M206",
                    name,
                    f"was {number(values.pop(), kpi.unit)} on each of {len(days)} days: it never moves, so nobody can "
                    "learn from it",
                    "check its definition, or measure what does move on the way there",
                )
