"""Measurable: the events arrive, carry the fields that are used, and the number moves."""

from __future__ import annotations

from collections.abc import Iterator

from onpace.config.kpi import SimpleKpi
from onpace.config.kpi_entities import FactStream, Kpi
from onpace.config.lint.evidence import Evidence, FieldFacts
from onpace.config.lint.findings import Finding, Judged, Verdict, number
from onpace.config.lint.scope import Scope
from onpace.config.yaml_lines import Keys

__all__ = ["check_measurable"]

NULL_SHARE = 0.2
"""Share of events without a field from which on it is a finding."""
STILL_DAYS = 28
"""Days with one and the same value from which on a KPI counts as one that never moves."""
_CHOICES = ("base", "conversion", "start", "return")
"""Parts of KPIs that follow entities, with a filter of their own."""


def check_measurable(scope: Scope) -> Iterator[Verdict]:
    """M201 to M206, and M209. All but M205 need evidence."""
    yield from _silent_sources(scope)
    if scope.evidence:
        yield from _arrivals(scope, scope.evidence)
        for kpi, stream in scope.streams():
            if facts := scope.evidence.fields.get(stream.name):
                yield from _fields(scope, kpi, stream, facts)
        yield from _still(scope, scope.evidence)
        yield from _reports(scope, scope.evidence)


def _silent_sources(scope: Scope) -> Iterator[Finding]:
    fed: dict[str, list[str]] = {}
    for kpi in scope.goal_kpis():
        for name in scope.catalog.event_types(kpi):
            fed.setdefault(name, []).append(kpi.name)
    for name, kpis in fed.items():
        if name in scope.found.events and scope.catalog.events[name].expected_every is None:
            yield scope.event(
                "M205",
                name,
                f"feeds {', '.join(kpis)} and has no expected_every: when its source falls silent, that looks like a "
                "bad KPI",
                "add expected_every: with the longest silence that is normal, as in expected_every: 1h",
            )


def _arrivals(scope: Scope, evidence: Evidence) -> Iterator[Verdict]:
    used: dict[str, dict[str, None]] = {}
    for kpi, stream in scope.streams():
        used.setdefault(stream.event, {})[kpi.name] = None
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


def _fields(scope: Scope, kpi: Kpi, stream: SimpleKpi, facts: FieldFacts) -> Iterator[Verdict]:
    """Nothing can be said without events, nor of what comes after a filter that lets none through."""
    if not facts.events:
        return
    part = stream.name.partition(".")[2] if stream is not kpi else ""
    at: Keys = (part, "filter") if part in _CHOICES else ("filter",)
    of = f" of its {part} events" if part in _CHOICES else ""
    yield scope.judged("M204", kpi.name)
    if not facts.matched:
        yield scope.kpi(
            "M204",
            kpi.name,
            f"the filter{of}, {stream.filter}, lets none of {facts.events:,} events through",
            "correct the filter: look for the spelling of the values",
            at=at,
        )
    yield scope.judged("M202", kpi.name)
    if facts.filter_null / facts.events >= NULL_SHARE:
        yield _missing(
            scope,
            kpi.name,
            f"the filter{of}, {stream.filter}, is null in {_share(facts.filter_null, facts.events)}, which counts as "
            "false",
            str(stream.filter),
            at,
        )
    if facts.matched:
        yield from _values(scope, kpi, stream, facts)
        yield from _dimensions(scope, kpi, stream, facts)


def _share(nulls: int, events: int) -> str:
    return f"{nulls:,} of {events:,} events ({nulls / events:.0%})"


def _missing(scope: Scope, name: str, message: str, text: str, at: Keys) -> Finding:
    remedy = f"have the application send what {text} names, or say with coalesce(…) what stands for it"
    return scope.kpi("M202", name, message, remedy, at=at)


def _values(scope: Scope, kpi: Kpi, stream: SimpleKpi, facts: FieldFacts) -> Iterator[Finding]:
    """The value; for a part of a KPI that follows entities, the entity and the number that goes with it."""
    amount = stream.amount if isinstance(stream, FactStream) else None
    key = "value" if stream is kpi else "entity"
    for name, text, nulls in ((key, stream.value, facts.value_null), ("value", amount, facts.amount_null)):
        if nulls / facts.matched >= NULL_SHARE:
            message = f"its {name}, {text}, is null in {_share(nulls, facts.matched)}, which adds nothing"
            yield _missing(scope, kpi.name, message, str(text), (name,))


def _dimensions(scope: Scope, kpi: Kpi, stream: SimpleKpi, facts: FieldFacts) -> Iterator[Verdict]:
    yield scope.judged("M203", kpi.name)
    for name, nulls in facts.dimension_null.items():
        constant = name.startswith("=")  # a property that must be equal in both events: null equals nothing
        what = f"constant property {name[1:]}" if constant else f"dimension {name}"
        at: Keys = ("constant",) if constant else ("dimensions",)
        if nulls == facts.matched:
            yield scope.kpi(
                "M203",
                kpi.name,
                f"its {what} is null in all of {nulls:,} {stream.event} events: it "
                + ("equals nothing, so none converts" if constant else "splits nothing"),
                "have the application send it, correct the name, or leave it out",
                at=at,
            )
        elif nulls / facts.matched >= NULL_SHARE:
            yield scope.kpi(
                "M202",
                kpi.name,
                f"its {what} is null in {_share(nulls, facts.matched)}: they "
                + ("convert to nothing" if constant else "belong to no segment"),
                f"have the application send {name.lstrip('=')}, or name those without it with coalesce(…, 'unknown')",
                at=at,
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


def _reports(scope: Scope, evidence: Evidence) -> Iterator[Verdict]:
    for name, facts in evidence.reports.items():
        yield scope.judged("M209", name)
        lacks = {"source": facts.without_source, "note": facts.without_note}
        if found := [f"{count:,} have no {what}" for what, count in lacks.items() if count]:
            yield scope.kpi(
                "M209",
                name,
                f"of its {facts.values:,} reported values, {' and '.join(found)}, the latest of them for "
                f"{facts.latest}: nobody can check where they come from",
                "report them again with --source and --note: the value that counts is the last one",
            )
