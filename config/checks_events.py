"""What must hold for the schema of an event and for the expressions over it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from onpace.config.declarations import Declarations
from onpace.config.errors import did_you_mean
from onpace.config.expressions import ExpressionError, Kind, expression_kind, parse_event_expression
from onpace.config.kpi import EventType, SimpleKpi
from onpace.config.kpi_entities import REPORT
from onpace.config.properties import property_kinds
from onpace.config.reports import Report
from onpace.config.yaml_lines import Place

__all__ = [
    "ANY",
    "MAX_DIMENSIONS",
    "RESERVED_DIMENSIONS",
    "check_dimensions",
    "check_events",
    "check_expression",
    "check_simple",
]

MAX_DIMENSIONS = 8
VIEW_COLUMNS = {"window_start", "window_end", "value", "numerator", "denominator", "complete", "revision", "start"}
RESERVED_DIMENSIONS = VIEW_COLUMNS | {"target", "attainment", "status"}

ANY: tuple[Kind, ...] = ("number", "text", "boolean")
NUMERIC = ("sum", "avg", "min", "max", "percentile", "first", "last")


def check_events(found: Declarations, report: Report) -> dict[str, EventType]:
    """Report event schemas that are no JSON Schema; return the events whose schema is one."""
    return {
        name: declared.model
        for name, declared in found.events.items()
        if declared.model and _check_event(declared.model, declared.place, f"event '{name}'", report)
    }


def _check_event(event: EventType, place: Place, subject: str, report: Report) -> bool:
    if event.name == REPORT:
        report.add(place, f"{subject}: is declared by itself where KPIs are reported: leave it out")
        return False
    if event.expected_every == timedelta(0):
        report.add(place.at("expected_every"), f"{subject}: expected_every must be longer than 0s")
    for index, name in enumerate(event.required):
        if name not in event.properties:
            report.unknown(place.at("required", index), subject, "property in required:", name, event.properties)
    try:
        Draft202012Validator.check_schema(event.json_schema)
    except SchemaError as error:
        keys = tuple(error.absolute_path)
        report.add(place.at(*keys), f"{subject}: {'.'.join(map(str, keys))}: not valid JSON Schema: {error.message}")
        return False
    for keys, schema in _schemas(event.properties, ("properties",)):
        if "decimal" in schema:
            _check_decimal(schema, place.at(*keys, "decimal"), f"{subject}: {keys[-1]}", report)
    return True


def _schemas(value: Any, keys: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], dict[str, Any]]]:
    """Every property's schema, nested ones too, with the way to it."""
    for name, schema in value.items():
        if isinstance(schema, dict):
            yield (*keys, name), schema
            if isinstance(schema.get("properties"), dict):
                yield from _schemas(schema["properties"], (*keys, name, "properties"))


def _check_decimal(schema: dict[str, Any], place: Place, subject: str, report: Report) -> None:
    digits = schema["decimal"]
    if type(digits) is not int or not 0 <= digits <= 9:
        report.add(place, f"{subject}: decimal is the number of digits after the point, 0 to 9")
    if schema.get("type") not in ("number", ["number", "null"], ["null", "number"]):
        report.add(place, f"{subject}: decimal goes with type: number only")


def check_simple(kpi: SimpleKpi, event: EventType | None, place: Place, report: Report) -> None:
    """Report what is wrong with a simple KPI; `event` is None when it is unknown or itself wrong."""
    subject = f"kpi '{kpi.name}'"
    _check_aggregation(kpi, place, subject, report)
    if kpi.value is not None and kpi.agg != "count":
        wanted = ("number",) if kpi.agg in NUMERIC else ANY
        check_expression(kpi.value, event, wanted, place=place.at("value"), subject=f"{subject}: value", report=report)
    if kpi.filter is not None:
        check_expression(
            kpi.filter, event, ("boolean",), place=place.at("filter"), subject=f"{subject}: filter", report=report
        )
    check_dimensions(kpi.dimensions, event, place, subject, report)
    if not kpi.dimensions and "max_series" in kpi.model_fields_set:
        report.add(place.at("max_series"), f"{subject}: max_series is for KPIs with dimensions: add some, or drop it")


def check_dimensions(
    dimensions: Mapping[str, str], event: EventType | None, place: Place, subject: str, report: Report
) -> None:
    """Report too many dimensions, names that views need, and expressions that the event does not allow."""
    if len(dimensions) > MAX_DIMENSIONS:
        report.add(place.at("dimensions"), f"{subject}: {len(dimensions)} dimensions; at most {MAX_DIMENSIONS}")
    for position, (name, text) in enumerate(dimensions.items()):
        where = place.at("dimensions", name)
        if where.keys not in place.document.lines:
            where = place.at("dimensions", position)
        if name in RESERVED_DIMENSIONS:
            report.add(where, f"{subject}: dimension '{name}' is named like a column of the KPI's views")
        check_expression(text, event, ANY, place=where, subject=f"{subject}: dimension {name}", report=report)


def _check_aggregation(kpi: SimpleKpi, place: Place, subject: str, report: Report) -> None:
    if kpi.agg == "count" and kpi.value is not None:
        report.add(place.at("value"), f"{subject}: agg count takes no value: use a filter, or agg count_distinct")
    if kpi.agg != "count" and kpi.value is None:
        report.add(place.at("agg"), f"{subject}: agg {kpi.agg} needs a value, as in value: amount")
    if kpi.agg == "percentile" and kpi.p is None:
        report.add(place.at("agg"), f"{subject}: agg percentile needs p, from 0 to 1, as in p: 0.9")
    if kpi.agg != "percentile" and kpi.p is not None:
        report.add(place.at("p"), f"{subject}: p is for agg percentile only")


def check_expression(
    text: str, event: EventType | None, wanted: tuple[Kind, ...], *, place: Place, subject: str, report: Report
) -> None:
    """Report an expression that cannot be read, names what the event lacks or gives no value of a wanted kind."""
    try:
        expression = parse_event_expression(text)
        if event is None:
            return
        kinds = property_kinds(event)
        usable: dict[str, Kind] = {name: kind for name, kind in kinds.items() if kind is not None}
        unknown = [name for name in expression.names if name not in usable]
        for name in unknown:
            why = (
                "is an object or a list: name one value in it, as in address.city"
                if name in kinds
                else f"is no property of event '{event.name}'{_suggest(name, usable)}"
            )
            report.add(place, f"{subject}: '{name}' {why}")
        if not unknown and (kind := expression_kind(expression, usable)) not in wanted:
            report.add(place, f"{subject}: '{text}' {_mismatch(kind, wanted)}")
    except ExpressionError as error:
        report.add(place, f"{subject}: {error}")


def _suggest(name: str, known: dict[str, Kind]) -> str:
    nested = [path for path in known if path.rpartition(".")[2] == name]
    return f" (did you mean '{nested[0]}'?)" if nested else did_you_mean(name, known)


def _mismatch(kind: Kind, wanted: tuple[Kind, ...]) -> str:
    if kind == "null":
        return "is always null"
    return "must be true or false for each event" if wanted == ("boolean",) else "must give a number"
