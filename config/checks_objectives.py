"""What must hold for objectives: their key results name KPIs, and there is a way from start to value."""

from __future__ import annotations

from collections.abc import Iterator

from onpace.config.catalog import Catalog
from onpace.config.declarations import Declarations
from onpace.config.kpi import KeyResult
from onpace.config.kpi_entities import Kpi
from onpace.config.reports import Report
from onpace.config.yaml_lines import Place

__all__ = ["check_objectives"]


def check_objectives(found: Declarations, catalog: Catalog, report: Report) -> None:
    """Report key results that cannot be measured; `catalog` holds the KPIs that are sound."""
    for name, declared in found.objectives.items():
        seen: dict[tuple[str, tuple[tuple[str, str], ...]], Place] = {}
        for index, result in enumerate(declared.model.key_results if declared.model else ()):
            place, subject = declared.place.at("key_results", index), f"objective '{name}'"
            if result.kpi not in found.kpis:
                report.unknown(place.at("kpi"), subject, "kpi", result.kpi, found.kpis)
            series = result.kpi, tuple(sorted(result.by.items()))
            if series in seen:
                line = seen[series].line
                report.add(place, f"{subject}: a second key result for kpi '{result.kpi}': the first is on line {line}")
            seen.setdefault(series, place)
            kpi = catalog.kpis.get(result.kpi)
            for message in _way_problems(result, kpi):
                report.add(place, f"{subject}: kpi '{result.kpi}' {message}")
            dimensions = catalog.dimensions(kpi) if kpi else tuple(result.by)
            for dimension in result.by:
                if dimension not in dimensions:
                    report.unknown(place.at("by", dimension), subject, "dimension", dimension, dimensions)


def _way_problems(result: KeyResult, kpi: Kpi | None) -> Iterator[str]:
    """What is wrong with the way from start to value; without the KPI only what shows by itself."""
    if result.start == result.value:
        yield "starts at its value: nothing is left to reach"
        return
    if kpi is None:
        return
    if kpi.direction == "in_range":
        yield (
            "is in_range, which a value cannot say: leave the key result out and name the objective in the KPI; "
            "its headline target counts then"
        )
        return
    lower = kpi.direction == "lower_is_better"
    if result.start is None:
        if result.value <= 0:
            yield f"has a value of {result.value:g}: say from where, for a share of that means nothing"
    elif (result.start < result.value) == lower:
        side = "below" if lower else "above"
        yield f"is {kpi.direction}: from {result.start:g} is already {side} its value of {result.value:g}"
