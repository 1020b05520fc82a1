"""The JSON Schema of a KPI file, for editors and other tools.

It says what a file may hold; what must hold between declarations (names, cycles, kinds) only the loader can tell.
"""

from __future__ import annotations

from typing import Any, Literal

from onpace.config.calendars import CalendarRules
from onpace.config.declarations import Defaults
from onpace.config.kpi import (
    CumulativeKpi,
    DerivedKpi,
    EventType,
    Model,
    Name,
    Objective,
    RatioKpi,
    SimpleKpi,
    Sql,
    Waiver,
)
from onpace.config.kpi_entities import BalanceKpi, ConversionKpi, ReportedKpi, RetentionKpi
from onpace.config.rule_tests import SuiteFile
from onpace.config.rules import Channel, Rule
from onpace.config.scorecard_reports import ScorecardReport
from onpace.config.silences import PlannedSilence
from onpace.config.uses_schema import LibraryKpi

__all__ = ["kpi_file_schema", "rule_test_schema"]


Dimensions = dict[Name, Sql] | tuple[str, ...]


class _SimpleInFile(SimpleKpi):
    """One aggregation over the events of one type."""

    dimensions: Dimensions = ()  # type: ignore[assignment]


class _ConversionInFile(ConversionKpi):
    """How many base events are followed by a conversion event of the same entity within a window."""

    dimensions: Dimensions = ()  # type: ignore[assignment]


class _RetentionInFile(RetentionKpi):
    """The share of a cohort that comes back: entities by the period of their first start event ever."""

    dimensions: Dimensions = ()  # type: ignore[assignment]


class _BalanceInFile(BalanceKpi):
    """The last value of each entity at a window's end, summed over entities."""

    dimensions: Dimensions = ()  # type: ignore[assignment]


_OfEvents = _SimpleInFile | _ConversionInFile | _RetentionInFile | _BalanceInFile


class _File(Model):
    """A KPI file of OnPace."""

    version: Literal[1]
    defaults: Defaults = Defaults()
    calendars: tuple[CalendarRules, ...] | None = None
    events: dict[str, EventType | None] | None = None
    objectives: tuple[Objective, ...] | None = None
    kpis: tuple[LibraryKpi | _OfEvents | RatioKpi | DerivedKpi | CumulativeKpi | ReportedKpi, ...] | None = None
    channels: tuple[Channel, ...] | None = None
    rules: tuple[Rule, ...] | None = None
    silences: tuple[PlannedSilence, ...] | None = None
    reports: tuple[ScorecardReport, ...] | None = None
    waive: tuple[Waiver, ...] | None = None


def kpi_file_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of one KPI file, generated from the models."""
    schema = _File.model_json_schema(by_alias=True, mode="validation")
    definitions = schema["$defs"]
    event = definitions["EventType"]
    del event["properties"]["name"]  # the key of the mapping
    event["required"] = [name for name in event.get("required", []) if name != "name"]
    for name in [name for name in definitions if name.endswith("InFile")]:
        definitions[_public(name)] = definitions.pop(name) | {"title": _public(name)}
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "OnPace KPI file"}
    return {key: _renamed(value) for key, value in schema.items()}


def rule_test_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of one file of rule tests."""
    schema = SuiteFile.model_json_schema(by_alias=True, mode="validation")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "OnPace rule tests"}


def _public(name: str) -> str:
    return name.removeprefix("_").replace("InFile", "Kpi")


def _renamed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _renamed(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_renamed(inner) for inner in value]
    if isinstance(value, str) and value.startswith("#/$defs/_"):
        return "#/$defs/" + _public(value.removeprefix("#/$defs/"))
    return value
