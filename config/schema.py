"""The JSON Schema of a KPI file, for editors and other tools.

It says what a file may hold; what must hold between declarations (names, cycles, kinds) only the loader can tell.
"""

from __future__ import annotations

from typing import Any, Literal

from onpace.config.declarations import Defaults
from onpace.config.kpi import DerivedKpi, EventType, Model, Name, Objective, RatioKpi, SimpleKpi, Sql, Waiver
from onpace.config.rules import Channel, Rule

__all__ = ["kpi_file_schema"]


class _SimpleInFile(SimpleKpi):
    """One aggregation over the events of one type."""

    dimensions: dict[Name, Sql] | tuple[str, ...] = ()  # type: ignore[assignment]


class _File(Model):
    """A KPI file of OnPace."""

    version: Literal[1]
    defaults: Defaults = Defaults()
    events: dict[str, EventType | None] | None = None
    objectives: tuple[Objective, ...] | None = None
    kpis: tuple[_SimpleInFile | RatioKpi | DerivedKpi, ...] | None = None
    channels: tuple[Channel, ...] | None = None
    rules: tuple[Rule, ...] | None = None
    waive: tuple[Waiver, ...] | None = None


def kpi_file_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of one KPI file, generated from the models."""
    schema = _File.model_json_schema(by_alias=True, mode="validation")
    definitions = schema["$defs"]
    event = definitions["EventType"]
    del event["properties"]["name"]  # the key of the mapping
    event["required"] = [name for name in event.get("required", []) if name != "name"]
    definitions["SimpleKpi"] = definitions.pop("_SimpleInFile") | {"title": "SimpleKpi"}
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "OnPace KPI file"}
    return {key: _renamed(value) for key, value in schema.items()}


def _renamed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _renamed(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_renamed(inner) for inner in value]
    return "#/$defs/SimpleKpi" if value == "#/$defs/_SimpleInFile" else value
