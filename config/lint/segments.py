"""Segments: the targets of a dimension's values fit the target of the whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import fsum

from onpace.config.calendar import Grain, Period
from onpace.config.kpi import RatioKpi, SimpleKpi, Target
from onpace.config.kpi_entities import BalanceKpi, ConversionKpi, Kpi, RetentionKpi
from onpace.config.lint.findings import Finding, number
from onpace.config.lint.scope import Scope

__all__ = ["check_segments"]

ROUNDING = 0.01
"""Share of the whole by which rounded targets may miss it."""


def check_segments(scope: Scope) -> Iterator[Finding]:
    """A303. Only for targets with a value, narrowed to values of one dimension."""
    for kpi in scope.catalog.kpis.values():
        valued = [target for target in kpi.targets if target.value is not None]
        dimensions = dict.fromkeys(name for target in valued for name in target.by if len(target.by) == 1)
        for dimension in dimensions:
            yield from _dimension(scope, kpi, valued, dimension)


def _dimension(scope: Scope, kpi: Kpi, targets: list[Target], dimension: str) -> Iterator[Finding]:
    values = {target.by[dimension] for target in targets if target.by.keys() == {dimension}}
    known = _known_values(scope, kpi, dimension)
    whole_known = bool(known) and known <= values
    mine = [target for target in targets if not target.by or target.by.keys() == {dimension}]
    for grain, period in dict.fromkeys((target.grain, target.period) for target in mine):
        whole = _in_force(mine, grain, period, {})
        parts = {value: _in_force(mine, grain, period, {dimension: value}) for value in sorted(values)}
        given = {value: part for value, part in parts.items() if part is not None}
        if whole is None or not given:
            continue
        complete = whole_known and len(given) == len(parts)
        message = _misfit(kpi, whole, given, complete=complete)
        if message:
            when = period or f"each {grain}"
            index = next(at for at, one in enumerate(kpi.targets) if one.by.keys() == {dimension})
            yield scope.kpi(
                "A303",
                kpi.name,
                f"its targets by {dimension} for {when} {message}",
                "change the segments' targets or the whole's, so that reaching the one means reaching the other",
                at=("targets", index),
            )


def _known_values(scope: Scope, kpi: Kpi, dimension: str) -> frozenset[str]:
    """Values that the dimension has had; else those that the event's schema allows; empty if nobody knows."""
    seen = scope.evidence.segments.get((kpi.name, dimension)) if scope.evidence else None
    if seen:
        return seen
    for stream in scope.catalog.streams(kpi):
        event = scope.catalog.events.get(stream.event)
        schema = event.properties.get(stream.dimensions.get(dimension, "")) if event else None
        if isinstance(schema, dict) and (allowed := schema.get("enum")):
            return frozenset(str(value) for value in allowed if value is not None)
    return frozenset()


def _in_force(targets: list[Target], grain: Grain, period: Period | None, by: Mapping[str, str]) -> float | None:
    """The target of a period: its own, else the one that comes every such period."""
    fitting = [target for target in targets if target.by == by and target.grain == grain]
    own = [target.value for target in fitting if period is not None and target.period == period]
    every = [target.value for target in fitting if target.period is None]
    return next(iter([*own, *every]), None)


def _misfit(kpi: Kpi, whole: float, parts: Mapping[str, float], *, complete: bool) -> str:
    """What is wrong, or ''. Without all segments a sum may only not exceed the whole, and a mean proves nothing."""
    if _adds_up(kpi):
        total = fsum(parts.values())
        slack = ROUNDING * abs(whole)
        if total > whole + slack or (complete and total < whole - slack):
            listed = " + ".join(f"{value} {number(part)}" for value, part in parts.items())
            return f"add up to {number(total, kpi.unit)} ({listed}), and the whole has {number(whole, kpi.unit)}"
    low, high = min(parts.values()), max(parts.values())
    if _lies_between(kpi) and complete and not low <= whole <= high:
        return (
            f"are {number(low)} to {number(high, kpi.unit)}, and the whole has {number(whole, kpi.unit)}: "
            "no mix of them comes to that"
        )
    return ""


def _adds_up(kpi: Kpi) -> bool:
    """Whether the whole is the sum of its segments."""
    match kpi:
        case SimpleKpi():
            return kpi.agg in ("count", "sum")
        case ConversionKpi():
            return kpi.measure == "count"
        case _:
            return isinstance(kpi, BalanceKpi)


def _lies_between(kpi: Kpi) -> bool:
    """Whether the whole is a mean of its segments, by how much there is of each."""
    match kpi:
        case SimpleKpi():
            return kpi.agg == "avg"
        case ConversionKpi():
            return kpi.measure == "rate"
        case _:
            return isinstance(kpi, RatioKpi | RetentionKpi)
