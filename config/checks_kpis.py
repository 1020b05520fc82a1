"""What must hold between KPIs: inputs, cycles, time zones, targets, guardrails and drives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from zoneinfo import available_timezones

from onpace.config.calendar import Grain
from onpace.config.catalog import Catalog
from onpace.config.checks_calendars import check_fiscal, with_calendar
from onpace.config.checks_entities import check_cumulative, check_entity, check_reported
from onpace.config.checks_events import check_simple
from onpace.config.declarations import Declarations, Declared
from onpace.config.durations import parse_duration
from onpace.config.expressions import ExpressionError, parse_kpi_expression
from onpace.config.increases import increase_problems
from onpace.config.kpi import CumulativeKpi, DerivedKpi, EventType, RatioKpi, SimpleKpi, Target
from onpace.config.kpi_entities import BalanceKpi, ConversionKpi, Kpi, Leaf, ReportedKpi, RetentionKpi
from onpace.config.offsets import split_name
from onpace.config.reports import Report
from onpace.config.units import check_units
from onpace.config.yaml_lines import Place

__all__ = ["check_kpis", "target_problems"]


def check_kpis(found: Declarations, events: Mapping[str, EventType], report: Report) -> dict[str, Kpi]:
    """Report what is wrong with the KPIs; return those whose inputs all hold, with their time zones, in file order."""
    inputs = dict(_inputs(found, events, report))
    _check_cycles(found, inputs, report)
    sound: dict[str, Kpi] = {}
    waiting = {name: declared.model for name, declared in found.kpis.items() if declared.model and name in inputs}
    while ready := [name for name in waiting if all(part in sound for part in inputs[name])]:
        for name in ready:
            kpi = waiting.pop(name)
            parts, place = [sound[part] for part in inputs[name]], found.kpis[name].place
            zoned = _with_zone(kpi, parts, place, report)
            if zoned and (placed := with_calendar(zoned, parts, place, found, report)):
                sound[name] = placed
    catalog = Catalog(kpis={name: sound[name] for name in found.kpis if name in sound})
    for kpi in catalog.kpis.values():
        if isinstance(kpi, DerivedKpi):
            _check_units(kpi, catalog, found.kpis[kpi.name].place, report)
        if isinstance(kpi, CumulativeKpi):
            check_cumulative(kpi, catalog, found.kpis[kpi.name].place, report)
        _check_grains(kpi, catalog.base_grain(kpi), found.kpis[kpi.name].place, report)
        check_fiscal(kpi, found.kpis[kpi.name].place, report)
        _check_targets(kpi, catalog.dimensions(kpi), found.kpis[kpi.name].place, report)
    for name, declared in found.kpis.items():
        if declared.model:
            _check_references(declared.model, declared.place, f"kpi '{name}'", found, report)
    return catalog.kpis


def _inputs(
    found: Declarations, events: Mapping[str, EventType], report: Report
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The names of each KPI's inputs; a KPI with an unknown or unreadable one is left out."""
    for name, declared in found.kpis.items():
        subject, place = f"kpi '{name}'", declared.place
        match declared.model:
            case SimpleKpi() as kpi:
                if kpi.event not in found.events:
                    report.unknown(place.at("event"), subject, "event", kpi.event, found.events)
                check_simple(kpi, events.get(kpi.event), place, report)
                yield name, ()
            case RatioKpi() as kpi:
                parts = {"numerator": kpi.numerator, "denominator": kpi.denominator}
                known = [_known(part, place.at(key), subject, found, report) for key, part in parts.items()]
                if all(known):
                    yield name, (kpi.numerator, kpi.denominator)
            case ConversionKpi() | RetentionKpi() | BalanceKpi() as kpi:
                check_entity(kpi, {name: events.get(name) for name in found.events}, place, report)
                yield name, ()
            case ReportedKpi() as kpi:
                check_reported(kpi, place, report)
                yield name, ()
            case CumulativeKpi() as kpi:
                if _known(kpi.of, place.at("of"), subject, found, report):
                    yield name, (kpi.of,)
            case DerivedKpi() as kpi:
                names = _derived_inputs(kpi, place.at("expr"), subject, report)
                known = [_known(part, place.at("expr"), subject, found, report) for part in names]
                if names and all(known):
                    yield name, names


def _derived_inputs(kpi: DerivedKpi, place: Place, subject: str, report: Report) -> tuple[str, ...]:
    try:
        names = parse_kpi_expression(kpi.expr).names
    except ExpressionError as error:
        report.add(place, f"{subject}: expr: {error}")
        return ()
    if not names:
        report.add(place, f"{subject}: expr '{kpi.expr}' names no KPI: it needs at least one")
    return tuple(dict.fromkeys(split_name(name)[0] for name in names))


def _known(name: str, place: Place, subject: str, found: Declarations, report: Report) -> bool:
    if name in found.kpis:
        return True
    report.unknown(place, subject, "input", name, found.kpis)
    return False


def _check_cycles(found: Declarations, inputs: dict[str, tuple[str, ...]], report: Report) -> None:
    settled: set[str] = set()
    for start in inputs:
        way: list[str] = []
        stack = [(start, 0)]
        while stack:
            name, depth = stack.pop()
            del way[depth:]
            if name in way:
                cycle = [*way[way.index(name) :], name]
                first = min(cycle, key=list(found.kpis).index)
                report.add(found.kpis[first].place, f"kpi '{first}': is computed from itself: {' -> '.join(cycle)}")
                settled.update(cycle)
            elif name not in settled:
                way.append(name)
                stack.extend((part, depth + 1) for part in reversed(inputs.get(name, ())))
        settled.add(start)


@lru_cache
def _zones() -> frozenset[str]:
    """Names of all time zones; finding them walks the file system."""
    return frozenset(available_timezones())


def _with_zone(kpi: Kpi, inputs: list[Kpi], place: Place, report: Report) -> Kpi | None:
    """The KPI in its time zone: one that is made of others has that of its inputs."""
    subject = f"kpi '{kpi.name}'"
    given = kpi.timezone if isinstance(kpi, Leaf) or "timezone" in kpi.model_fields_set else None
    if given is not None and given not in _zones():
        report.unknown(place.at("timezone"), subject, "time zone", given, _zones())
        return None
    zones = {part.timezone for part in inputs}
    if len(zones) > 1:
        listed = ", ".join(f"{part.name} {part.timezone}" for part in inputs)
        report.add(place, f"{subject}: its inputs follow different time zones: {listed}")
        return None
    if zones and given is not None and given not in zones:
        report.add(place.at("timezone"), f"{subject}: timezone {given} differs from that of its inputs, {zones.pop()}")
        return None
    return kpi.model_copy(update={"timezone": zones.pop()}) if zones else kpi


def _check_references(kpi: Kpi, place: Place, subject: str, found: Declarations, report: Report) -> None:
    if kpi.objective is not None and kpi.objective not in found.objectives:
        report.unknown(place.at("objective"), subject, "objective", kpi.objective, found.objectives)
    for index, name in enumerate(kpi.guardrails):
        where = place.at("guardrails", index)
        _check_other(name, kpi, found.kpis, place=where, subject=f"{subject}: guardrails", report=report)
    for index, drive in enumerate(kpi.drives):
        where = place.at("drives", index)
        _check_other(drive.kpi, kpi, found.kpis, place=where.at("kpi"), subject=f"{subject}: drives", report=report)
        low, _, high = drive.lag.partition("..")
        if parse_duration(low) > parse_duration(high or low):
            report.add(where.at("lag"), f"{subject}: drives: lag {drive.lag} ends before it begins")
        elif not parse_duration(high or low):
            report.add(where.at("lag"), f"{subject}: drives: lag {drive.lag} must be longer than nothing")


def _check_other(
    name: str, kpi: Kpi, kpis: dict[str, Declared[Kpi]], *, place: Place, subject: str, report: Report
) -> None:
    if name == kpi.name:
        report.add(place, f"{subject}: a KPI cannot name itself")
    elif name not in kpis:
        report.unknown(place, subject, "kpi", name, kpis)


def _check_targets(kpi: Kpi, dimensions: tuple[str, ...], place: Place, report: Report) -> None:
    seen: dict[tuple[str, tuple[tuple[str, str], ...]], int] = {}
    for index, target in enumerate(kpi.targets):
        where, subject = place.at("targets", index), f"kpi '{kpi.name}': target"
        for message in target_problems(kpi, target):
            report.add(where, f"{subject}: {message}")
        for name in target.by:
            if name not in dimensions:
                report.unknown(where.at("by", name), subject, "dimension", name, dimensions)
        series = (target.label, tuple(sorted(target.by.items())))
        if series in seen and (target.every or target.period):
            line = place.at("targets", seen[series]).line
            report.add(where, f"{subject}: a second one for {target.label}: the first is on line {line}")
        seen.setdefault(series, index)
    headlines = [index for index, target in enumerate(kpi.targets) if target.headline]
    for index in headlines[1:]:
        report.add(
            place.at("targets", index, "headline"), f"kpi '{kpi.name}': target: only one target can be the headline"
        )


def _check_units(kpi: DerivedKpi, catalog: Catalog, place: Place, report: Report) -> None:
    try:
        check_units(parse_kpi_expression(kpi.expr), {part.name: part.unit for part in catalog.inputs(kpi)})
    except ExpressionError as error:
        report.add(place.at("expr"), f"kpi '{kpi.name}': expr: {error}")


def _check_grains(kpi: Kpi, base: Grain, place: Place, report: Report) -> None:
    """A target's period can be no finer than the KPI's own windows."""
    for index, target in enumerate(kpi.targets):
        if (target.every or target.period) and target.grain.rank < base.rank:
            where = place.at("targets", index, "every" if target.every else "period")
            report.add(where, f"kpi '{kpi.name}': target: a {target.grain} is finer than the KPI's own windows, {base}")


def target_problems(kpi: Kpi, target: Target) -> Iterator[str]:
    """What is wrong with a target by itself."""
    if (target.every is None) == (target.period is None):
        yield "give either every (as in every: month) or period (as in period: 2026-12)"
    if target.increase is not None or target.over is not None:
        yield from increase_problems(kpi, target)
        return
    if kpi.direction == "in_range":
        yield from _range_problems(target)
        return
    if target.min is not None or target.max is not None:
        yield "min and max are for direction: in_range; give a value"
    elif target.value is None:
        yield "'value' is missing"
    elif target.value <= 0 and target.tolerance is None:
        yield f"a value of {target.value:g} needs a tolerance (a share of it means nothing), in the KPI's unit"
    if target.start is not None and target.start == target.value:
        yield "from and value are the same: nothing is left to reach"


def _range_problems(target: Target) -> Iterator[str]:
    if target.value is not None or target.start is not None:
        yield "direction in_range takes min and max, not value or from"
    if target.min is None or target.max is None:
        yield "direction in_range needs both min and max"
    elif target.min >= target.max:
        yield f"min {target.min:g} must be below max {target.max:g}"
    if target.tolerance is None:
        yield "direction in_range needs a tolerance, in the KPI's unit"
