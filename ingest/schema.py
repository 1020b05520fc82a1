"""The exact judge of one event's data: JSON Schema (2020-12), exact decimals and 64-bit integers."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

import msgspec
from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import ValidationError

from onpace.config.errors import InvalidEvent
from onpace.config.kpi import EventType
from onpace.config.reporting import PERIOD_FORMATS, is_period_of
from onpace.ingest.decimals import scaled
from onpace.ingest.times import parse_time

__all__ = ["FORMATS", "EventValidator", "JsonNumber", "load_json", "types_of"]

BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "const")
MAX_PROBLEMS = 10
LONGEST_MESSAGE = 240

FORMATS = FormatChecker()
"""`format` is checked, not just noted: date, date-time (RFC 3339 with a zone), email, ipv4, ipv6, uuid, regex."""


@FORMATS.checks("date-time", raises=InvalidEvent)
def _is_date_time(value: object) -> bool:
    return not isinstance(value, str) or parse_time(value) >= 0


def _allow_periods(name: str) -> None:
    @FORMATS.checks(name)
    def is_period(value: object) -> bool:
        return not isinstance(value, str) or is_period_of(PERIOD_FORMATS[name], value)


for _name in PERIOD_FORMATS:
    _allow_periods(_name)


class JsonNumber(float):
    """A JSON number with a fraction or an exponent that remembers its text."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __new__(cls, text: str) -> JsonNumber:
        return super().__new__(cls, text)

    def __repr__(self) -> str:
        return self.text


class EventValidator:
    """Checks `data` of one event type. Stateless after construction, so it may be shared between threads."""

    def __init__(self, event_type: EventType) -> None:
        self._properties = event_type.properties
        schema = exact_bounds(event_type.json_schema)
        self._validator = Draft202012Validator(schema, format_checker=FORMATS)

    def check(self, data: bytes) -> None:
        """Raise InvalidEvent('schema_violation') naming the JSON path and every problem; `field` is the first one.

        Data is optional in CloudEvents: null counts as an object without properties.
        """
        self.load(data)

    def load(self, data: bytes) -> dict[str, Any]:
        """`check`, then the data as Python values; decimals are `decimal.Decimal`, other fractions JsonNumber."""
        instance = load_json(data)
        if instance is None:
            instance = {}
        if not isinstance(instance, dict):
            raise InvalidEvent("schema_violation", "data: must be a JSON object", "data")
        problems: list[tuple[str, str]] = []
        exact = _exact_numbers(self._properties, instance, "data", problems)
        try:
            problems = problems or list(self._schema_problems(exact))
        except (ArithmeticError, RecursionError) as exc:
            problems = [
                ("data", "a number is out of range" if isinstance(exc, ArithmeticError) else "nested too deeply")
            ]
        if problems:
            shown = "; ".join(f"{path}: {message}" for path, message in problems[:MAX_PROBLEMS])
            raise InvalidEvent("schema_violation", shown, problems[0][0])
        return exact

    def _schema_problems(self, instance: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        for error in sorted(self._validator.iter_errors(instance), key=lambda error: list(map(str, error.path))):
            yield _field(error), _message(error)


def load_json(data: bytes) -> Any:
    """Strict JSON (no NaN, no lone surrogates); fractions become JsonNumber. Raises InvalidEvent('malformed_json')."""
    try:
        text = data.decode()
        msgspec.json.decode(data, type=msgspec.Raw)
        return json.loads(text, parse_float=JsonNumber)
    except (ValueError, msgspec.DecodeError) as exc:
        raise InvalidEvent("malformed_json", str(exc)[:LONGEST_MESSAGE], "data") from exc
    except RecursionError as exc:
        raise InvalidEvent("malformed_json", "the JSON is nested too deeply", "data") from exc


def types_of(schema: Mapping[str, Any]) -> tuple[str, ...]:
    """The JSON types that a property declares; none when it does not say."""
    declared = schema.get("type", ())
    return (declared,) if isinstance(declared, str) else tuple(declared)


def exact_bounds(schema: Any) -> Any:
    """The schema with the bounds of `decimal` numbers as Decimals: 0.1 there means 0.1, not the nearest float."""
    if not isinstance(schema, dict):
        return schema
    changed = dict(schema)
    if "properties" in schema:
        changed["properties"] = {name: exact_bounds(inner) for name, inner in schema["properties"].items()}
    if "decimal" in schema:
        changed.update({name: _decimal(schema[name]) for name in BOUNDS if name in schema})
        if "enum" in schema:
            changed["enum"] = [_decimal(value) for value in schema["enum"]]
    return changed


def _decimal(value: Any) -> Any:
    return Decimal(repr(value)) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _exact_numbers(
    properties: Mapping[str, dict[str, Any]], instance: dict[str, Any], path: str, problems: list[tuple[str, str]]
) -> dict[str, Any]:
    """The instance with declared decimals made exact; numbers that the columns cannot hold become problems."""
    exact = dict(instance)
    for name, schema in properties.items():
        value = instance.get(name) if isinstance(schema, dict) else None
        here = f"{path}.{name}"
        if isinstance(value, dict) and isinstance(schema.get("properties"), dict):
            exact[name] = _exact_numbers(schema["properties"], value, here, problems)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            try:
                exact[name] = _exact_number(schema, value)
            except ValueError as exc:
                problems.append((here, f"{_shorten(str(value))} {exc}"))
    return exact


def _exact_number(schema: Mapping[str, Any], value: int | float) -> Any:
    text = value.text if isinstance(value, JsonNumber) else str(value)
    types = types_of(schema)
    if "decimal" in schema and "number" in types:
        scaled(text, schema["decimal"])
        return Decimal(text)
    if isinstance(value, float) and not math.isfinite(value) and ("number" in types or "integer" in types):
        raise ValueError("is out of range")
    if "integer" in types and "number" not in types and value == int(value):
        return scaled(text, 0)
    if "number" in types and isinstance(value, int):
        try:
            float(value)
        except OverflowError as exc:
            raise ValueError("is out of range") from exc
    return value


def _field(error: ValidationError) -> str:
    path = "data" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path)
    if error.validator == "required" and isinstance(error.validator_value, list):
        missing = [name for name in error.validator_value if error.message.startswith(repr(name))]
        return f"{path}.{missing[0]}" if missing else path
    return path


def _message(error: ValidationError) -> str:
    if error.validator == "required":
        return "is required"
    return _shorten(re.sub(r"Decimal\('([^']*)'\)", r"\1", error.message))


def _shorten(text: str) -> str:
    return text if len(text) <= LONGEST_MESSAGE else f"{text[: LONGEST_MESSAGE - 20]}…{text[-19:]}"
