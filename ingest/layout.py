"""A JSON Schema as a msgspec struct that checks and decodes a row in C.

The struct accepts only what the schema accepts. What msgspec cannot express stays raw and is checked value by value;
a schema that cannot be split that way is `whole`: every row goes to the exact validator.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
from jsonschema import Draft202012Validator

from onpace.ingest.decimals import INT64, bound_above, bound_below
from onpace.ingest.schema import FORMATS, types_of

__all__ = ["ABSENT", "Field", "Kind", "Layout", "build_layout", "column_kind"]

Kind = Literal["str", "int", "float", "bool"]
ABSENT = msgspec.Raw(b"")
"""Stands for a missing raw value; no JSON value is empty."""

NOTES = frozenset(
    {"type", "title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "$comment"}
)
NUMERIC = NOTES | {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "decimal"}
TEXTUAL = NOTES | {"minLength", "maxLength", "pattern"}
NESTED = NOTES | {"properties", "required", "additionalProperties"}
REFERENCES = ('"$ref"', '"$dynamicRef"', '"$id"', '"$defs"')
EXACT_FLOAT = 2**53


@dataclass(frozen=True, slots=True)
class Field:
    """Where a property stands in the struct, and what is left to check once the row is decoded."""

    attributes: tuple[str, ...]
    """Struct attributes to follow, outermost first."""
    stored: Literal["value", "decimal", "raw"]
    scale: int = 0
    bounds: tuple[int | None, int | None] = (None, None)
    """Scaled bounds of a decimal, inclusive."""
    validator: Draft202012Validator | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """The struct of one event type's data and its fields by path; `whole` means that it must not be used."""

    struct: type[msgspec.Struct]
    fields: Mapping[tuple[str, ...], Field]
    whole: bool


def column_kind(schema: Mapping[str, Any]) -> tuple[Kind, int]:
    """The kind and decimal scale of a property's column; what is no single scalar type is text."""
    match [name for name in types_of(schema) if name != "null"]:
        case ["integer"]:
            return "int", 0
        case ["number"]:
            return ("int", int(schema["decimal"])) if "decimal" in schema else ("float", 0)
        case ["boolean"]:
            return "bool", 0
        case _:
            return "str", 0


def build_layout(schema: Mapping[str, Any]) -> Layout:
    """Turn the schema of an object into a struct."""
    referring = any(word in json.dumps(schema, default=str) for word in REFERENCES)
    builder = _Builder(referring or not schema.keys() <= NESTED)
    struct = builder.struct(schema, ())
    return Layout(struct, builder.fields, builder.whole)


class _Builder:
    """Collects the fields of a schema while its structs are made."""

    def __init__(self, whole: bool) -> None:
        self.whole = whole
        self.fields: dict[tuple[str, ...], Field] = {}
        self._attributes: dict[tuple[str, ...], tuple[str, ...]] = {(): ()}

    def struct(self, schema: Mapping[str, Any], path: tuple[str, ...]) -> type[msgspec.Struct]:
        properties = dict(schema.get("properties", {}))
        required = set(schema.get("required", ()))
        closed = schema.get("additionalProperties", True) is False
        self.whole = self.whole or (closed and not required <= properties.keys())
        properties.update({name: {} for name in required - properties.keys()})
        members: list[tuple[str, Any] | tuple[str, Any, Any]] = []
        for number, (name, inner) in enumerate(sorted(properties.items(), key=lambda item: item[0] not in required)):
            attribute = f"f{number}"
            self.whole = self.whole or json.dumps(name, ensure_ascii=False) != f'"{name}"'
            self._attributes[(*path, name)] = (*self._attributes[path], attribute)
            annotation = self._annotation(inner, (*path, name))
            absent = ABSENT if annotation is msgspec.Raw else None
            members.append((attribute, annotation) if name in required else (attribute, annotation, absent))
        names = sorted(properties, key=lambda name: name not in required)
        return msgspec.defstruct(
            "Row",
            members,
            rename=None if self.whole else {f"f{number}": name for number, name in enumerate(names)},
            gc=False,
            forbid_unknown_fields=closed,
        )

    def _annotation(self, schema: Any, path: tuple[str, ...]) -> Any:
        """The msgspec type of a property; its Field is noted on the way."""
        if not isinstance(schema, dict):
            self.whole = self.whole or schema is not True
            return self._note(path, msgspec.Raw, "raw")
        declared = types_of(schema)
        nullable = "null" in declared and len(declared) == 2
        types = [name for name in declared if name != "null"]
        annotation = None
        if types == ["object"] and _is_plain_object(schema):
            annotation = self.struct(schema, path)
        elif types == ["number"] and "decimal" in schema and not nullable:
            return self._decimal(schema, path)
        elif len(types) == 1 and (annotation := _scalar_type(types[0], schema)) is not None:
            self._note(path, annotation)
        if annotation is not None:
            return annotation | None if nullable else annotation
        self.whole = self.whole or not {"number", "integer", "object"}.isdisjoint(types)
        validator = Draft202012Validator(schema, format_checker=FORMATS) if schema.keys() - (NOTES - {"type"}) else None
        return self._note(path, msgspec.Raw, "raw", validator=validator)

    def _decimal(self, schema: dict[str, Any], path: tuple[str, ...]) -> Any:
        """An exact number stays raw; its bounds are checked on the column."""
        scale = int(schema["decimal"])
        below, above = bound_below(schema, scale), bound_above(schema, scale)
        inside = all(bound is None or bound in INT64 for bound in (below, above))
        self.whole = self.whole or not inside or not schema.keys() <= NUMERIC
        return self._note(path, msgspec.Raw, "decimal", scale=scale, bounds=(below, above) if inside else (None, None))

    def _note(
        self, path: tuple[str, ...], annotation: Any, stored: Literal["value", "decimal", "raw"] = "value", **more: Any
    ) -> Any:
        self.fields[path] = Field(self._attributes[path], stored, **more)
        return annotation


def _is_plain_object(schema: Mapping[str, Any]) -> bool:
    return schema.keys() <= NESTED and isinstance(schema.get("additionalProperties", True), bool)


def _scalar_type(name: str, schema: Mapping[str, Any]) -> Any:
    """The msgspec type that accepts exactly what the schema does, or None when there is no such type."""
    match name:
        case "string":
            return _text_type(schema)
        case "boolean":
            return bool if schema.keys() <= NOTES else None
        case "integer":
            return _integer_type(schema)
        case "number":
            return _float_type(schema)
        case _:
            return None


def _text_type(schema: Mapping[str, Any]) -> Any:
    if "enum" in schema:
        words = schema["enum"]
        plain = schema.keys() <= NOTES | {"enum"} and words and all(isinstance(word, str) for word in words)
        return Literal[tuple(dict.fromkeys(words))] if plain else None
    if not schema.keys() <= TEXTUAL:
        return None
    names = {"minLength": "min_length", "maxLength": "max_length", "pattern": "pattern"}
    limits = {names[key]: value for key, value in schema.items() if key in names}
    return Annotated[str, msgspec.Meta(**limits)] if limits else str


def _integer_type(schema: Mapping[str, Any]) -> Any:
    if not schema.keys() <= NUMERIC - {"decimal"}:
        return None
    below, above = bound_below(schema, 0), bound_above(schema, 0)
    lowest = INT64[0] if below is None else max(below, INT64[0])
    highest = INT64[-1] if above is None else min(above, INT64[-1])
    return Annotated[int, msgspec.Meta(ge=lowest, le=highest)] if lowest <= highest else None


def _float_type(schema: Mapping[str, Any]) -> Any:
    """Bounds from 2**53 on are left to the validator: rounding an integer to a float could pass them there."""
    names = {"minimum": "ge", "exclusiveMinimum": "gt", "maximum": "le", "exclusiveMaximum": "lt"}
    limits: dict[str, Any] = {names[key]: schema[key] for key in names if key in schema}
    conflict = {"ge", "gt"} <= limits.keys() or {"le", "lt"} <= limits.keys()
    if (
        not schema.keys() <= NUMERIC - {"decimal"}
        or conflict
        or any(abs(bound) >= EXACT_FLOAT for bound in limits.values())
    ):
        return None
    return Annotated[float, msgspec.Meta(**limits)] if limits else float
