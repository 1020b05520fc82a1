"""The properties of an event that expressions can name, and what kind of value each holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from onpace.config.expressions import Kind
from onpace.config.kpi import EventType

__all__ = ["property_kinds"]

_KINDS: dict[str, Kind] = {"integer": "number", "number": "number", "boolean": "boolean", "string": "text"}


def property_kinds(event: EventType) -> dict[str, Kind | None]:
    """Dotted path -> kind of every declared property, nested ones too.

    None marks what holds no single value (an object, a list). A property without one definite type counts as text.
    """
    return dict(_walk(event.properties, ""))


def _walk(properties: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Kind | None]]:
    for name, schema in properties.items():
        path = f"{prefix}{name}"
        yield path, _kind(schema)
        inner = schema.get("properties") if isinstance(schema, dict) else None
        if isinstance(inner, dict):
            yield from _walk(inner, f"{path}.")


def _kind(schema: Any) -> Kind | None:
    declared = schema.get("type", []) if isinstance(schema, dict) else []
    types = {str(name) for name in ([declared] if isinstance(declared, str) else declared)} - {"null"}
    if types & {"object", "array"}:
        return None
    return _KINDS.get(types.pop(), "text") if len(types) == 1 else "text"
