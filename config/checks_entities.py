"""What must hold for KPIs that follow entities, for reported ones, and for those that look back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta

from onpace.config.catalog import Catalog
from onpace.config.checks_events import (
    ANY,
    MAX_DIMENSIONS,
    RESERVED_DIMENSIONS,
    check_dimensions,
    check_expression,
)
from onpace.config.expressions import Kind
from onpace.config.kpi import CumulativeKpi, EventType
from onpace.config.kpi_entities import BalanceKpi, ConversionKpi, EntityKpi, ReportedKpi, RetentionKpi
from onpace.config.offsets import Shift
from onpace.config.properties import property_kinds
from onpace.config.reports import Report
from onpace.config.terms import reach_of, terms_of
from onpace.config.yaml_lines import Place

__all__ = ["check_cumulative", "check_entity", "check_reported"]

REPORT_COLUMNS = {"kpi", "period", "source", "note"}


def check_entity(kpi: EntityKpi, declared: Mapping[str, EventType | None], place: Place, report: Report) -> None:
    """Report what is wrong with it; `declared` holds every declared event, None for one that is itself wrong."""
    subject = f"kpi '{kpi.name}'"
    match kpi:
        case ConversionKpi():
            _check_conversion(kpi, declared, place, subject, report)
            choices = {("base",): kpi.base, ("conversion",): kpi.conversion}
        case RetentionKpi():
            choices = {("start",): kpi.start, ("return",): kpi.back}
        case BalanceKpi():
            _check_balance(kpi, declared, place, subject, report)
            return
    for keys, choice in choices.items():
        event = _event(choice.event, declared, place.at(*keys, "event"), subject, report)
        check_expression(kpi.entity, event, ANY, place=place.at("entity"), subject=f"{subject}: entity", report=report)
        if choice.filter is not None:
            where, named = place.at(*keys, "filter"), f"{subject}: {keys[0]}: filter"
            check_expression(choice.filter, event, ("boolean",), place=where, subject=named, report=report)
    first = next(iter(choices.values()))
    check_dimensions(kpi.dimensions, declared.get(first.event), place, subject, report)


def _event(
    name: str, declared: Mapping[str, EventType | None], place: Place, subject: str, report: Report
) -> EventType | None:
    if name not in declared:
        report.unknown(place, subject, "event", name, declared)
    return declared.get(name)


def _check_balance(
    kpi: BalanceKpi, declared: Mapping[str, EventType | None], place: Place, subject: str, report: Report
) -> None:
    event = _event(kpi.event, declared, place.at("event"), subject, report)
    number: tuple[Kind, ...] = ("number",)
    for key, text, wanted in (("entity", kpi.entity, ANY), ("value", kpi.value, number)):
        check_expression(text, event, wanted, place=place.at(key), subject=f"{subject}: {key}", report=report)
    if kpi.filter is not None:
        where = place.at("filter")
        check_expression(kpi.filter, event, ("boolean",), place=where, subject=f"{subject}: filter", report=report)
    check_dimensions(kpi.dimensions, event, place, subject, report)


def _check_conversion(
    kpi: ConversionKpi, declared: Mapping[str, EventType | None], place: Place, subject: str, report: Report
) -> None:
    if kpi.window <= timedelta(0):
        report.add(place.at("window"), f"{subject}: window must be longer than 0s")
    for choice in (kpi.base, kpi.conversion):
        event = declared.get(choice.event)
        for index, name in enumerate(kpi.constant if event else ()):
            kinds = property_kinds(event) if event else {}
            if kinds.get(name) is None:
                where = place.at("constant", index)
                report.unknown(where, subject, f"property of event '{choice.event}' in constant:", name, kinds)


def check_reported(kpi: ReportedKpi, place: Place, report: Report) -> None:
    """Report too many dimensions, those that are given twice, and names that views and reports need."""
    subject = f"kpi '{kpi.name}'"
    if len(kpi.dimensions) > MAX_DIMENSIONS:
        report.add(place.at("dimensions"), f"{subject}: {len(kpi.dimensions)} dimensions; at most {MAX_DIMENSIONS}")
    for index, name in enumerate(kpi.dimensions):
        where = place.at("dimensions", index)
        if name in kpi.dimensions[:index]:
            report.add(where, f"{subject}: dimension '{name}' is given twice")
        elif name in RESERVED_DIMENSIONS:
            report.add(where, f"{subject}: dimension '{name}' is named like a column of the KPI's views")
        elif name in REPORT_COLUMNS:
            report.add(where, f"{subject}: dimension '{name}' is named like a column of reports: name it otherwise")


def check_cumulative(kpi: CumulativeKpi, catalog: Catalog, place: Place, report: Report) -> None:
    """Report what cannot be accumulated. `catalog` holds the KPIs that are sound."""
    subject = f"kpi '{kpi.name}'"
    if kpi.to_date and kpi.window:
        report.add(place.at("window"), f"{subject}: give either to_date or window; neither is a running total")
    elif kpi.window is not None and kpi.window <= timedelta(0):
        report.add(place.at("window"), f"{subject}: window must be longer than 0s")
    for problem in dict.fromkeys(_cannot_reach(kpi, catalog)):
        report.add(place.at("of"), f"{subject}: {problem}")


def _cannot_reach(kpi: CumulativeKpi, catalog: Catalog) -> Iterator[str]:
    of = catalog.kpi(kpi.of)
    for term in terms_of(catalog, of):
        if isinstance(term.leaf, BalanceKpi):
            yield f"'{of.name}' is a balance, which holds all that came before: it cannot be accumulated"
        elif any(isinstance(step, Shift) for step in term.steps):
            yield f"'{of.name}' looks back with offset(…): accumulate first, and look back at that KPI"
        elif term.steps:
            yield f"'{of.name}' is cumulative itself: name what that one accumulates"
    base = catalog.base_grain(of)
    window = reach_of(kpi).window
    if window and base.step and window % base.step:
        yield f"window must be a multiple of the windows of '{of.name}', {base}"
    elif window and not base.step and window % timedelta(days=1):
        yield f"'{of.name}' has windows of a {base}: window must be whole days"
