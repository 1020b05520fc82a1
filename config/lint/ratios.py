"""Ratios: above and below the line the same things are counted, and can be split the same way."""

from __future__ import annotations

from collections.abc import Iterator

from sqlglot import exp

from onpace.config.expression_grammar import column_name
from onpace.config.expressions import parse_event_expression, parse_kpi_expression
from onpace.config.kpi import DerivedKpi, RatioKpi, SimpleKpi
from onpace.config.kpi_entities import Kpi
from onpace.config.lint.findings import Finding
from onpace.config.lint.scope import Scope
from onpace.config.offsets import split_name
from onpace.config.properties import property_kinds

__all__ = ["check_ratios"]


def check_ratios(scope: Scope) -> Iterator[Finding]:
    """M207 and M208, for ratios and for derived KPIs that are one KPI by another."""
    for kpi in scope.catalog.kpis.values():
        names = _fraction(kpi)
        above, below = (scope.catalog.kpi(name) for name in names) if names else (kpi, kpi)
        if names and isinstance(above, SimpleKpi) and isinstance(below, SimpleKpi):
            yield from _filters(scope, kpi, above, below)
            yield from _dimensions(scope, kpi, above, below)


def _fraction(kpi: Kpi) -> tuple[str, str] | None:
    if isinstance(kpi, RatioKpi):
        return kpi.numerator, kpi.denominator
    if isinstance(kpi, DerivedKpi) and isinstance(tree := parse_kpi_expression(kpi.expr).tree, exp.Div):
        above, below = column_name(tree.this), column_name(tree.expression)
        return (split_name(above)[0], split_name(below)[0]) if above and below else None
    return None


def _filters(scope: Scope, kpi: Kpi, above: SimpleKpi, below: SimpleKpi) -> Iterator[Finding]:
    """A share of the same events may be narrower above the line. A condition that the other cannot have is fine too."""
    only_below = _missing(scope, below, above)
    only_above = [] if above.event == below.event else _missing(scope, above, below)
    for conditions, one, other in ((only_above, above, below), (only_below, below, above)):
        if conditions:
            yield scope.kpi(
                "M207",
                kpi.name,
                f"only '{one.name}' has the filter {' AND '.join(conditions)}: '{other.name}' counts what it leaves "
                "out, and the ratio mixes the two",
                f"give '{other.name}' the same filter, or divide by a KPI that has it",
            )


def _missing(scope: Scope, one: SimpleKpi, other: SimpleKpi) -> list[str]:
    """Conditions of `one` that `other` does not have and could have."""
    known = property_kinds(scope.catalog.events[other.event])
    theirs = _conditions(other.filter)
    return [text for text, names in _conditions(one.filter).items() if text not in theirs and names <= known.keys()]


def _conditions(text: str | None) -> dict[str, frozenset[str]]:
    """The parts of a filter that are joined by AND -> the properties each names."""
    if text is None:
        return {}
    parts = [parse_event_expression(text).tree]
    found: dict[str, frozenset[str]] = {}
    while parts:
        part = parts.pop().unnest()
        if isinstance(part, exp.And):
            parts += [part.expression, part.this]
        else:
            names = (column_name(node) for node in part.walk() if isinstance(node, exp.Column | exp.Dot))
            found[part.sql()] = frozenset(name for name in names if name)
    return found


def _dimensions(scope: Scope, kpi: Kpi, above: SimpleKpi, below: SimpleKpi) -> Iterator[Finding]:
    for one, other in ((above, below), (below, above)):
        lacking = [name for name in one.dimensions if name not in other.dimensions]
        if lacking:
            yield scope.kpi(
                "M208",
                kpi.name,
                f"only '{one.name}' has the dimension{'s' if len(lacking) > 1 else ''} {', '.join(lacking)}: "
                "the ratio cannot be split by it",
                f"give '{other.name}' the same dimensions, or leave them out of '{one.name}'",
            )
    if above.event == below.event:
        for name, text in above.dimensions.items():
            if below.dimensions.get(name, text) != text:
                yield scope.kpi(
                    "M208",
                    kpi.name,
                    f"dimension {name} means {text} in '{above.name}' and {below.dimensions[name]} in "
                    f"'{below.name}': split by it, the ratio divides what does not belong together",
                    "give the dimension the same expression in both",
                )
