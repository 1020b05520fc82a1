"""Validation of `data`, a batch at a time: typed columns for the good rows, a reason for each bad one."""

# pyarrow.compute makes its functions when it is imported:
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from operator import attrgetter
from typing import Any

import msgspec
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from onpace.config.errors import InvalidEvent
from onpace.config.kpi import EventType
from onpace.ingest.decimals import scaled, scaled_column
from onpace.ingest.event import bare
from onpace.ingest.layout import ABSENT, Field, Kind, build_layout, column_kind
from onpace.ingest.schema import EventValidator, JsonNumber, load_json

__all__ = ["DataDecoder", "Decoded", "EventValidator"]

DTYPES: Mapping[Kind, type[pl.DataType]] = {"str": pl.String, "int": pl.Int64, "float": pl.Float64, "bool": pl.Boolean}
OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
Row = msgspec.Struct


@dataclass(slots=True)
class Decoded:
    """The columns of the good rows, in order, and the bad rows with their position."""

    frame: pl.DataFrame
    good: list[int]
    bad: list[tuple[int, InvalidEvent]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Column:
    """One requested path: where its value stands and what kind it is. `field` is None when it is not declared."""

    name: str
    path: tuple[str, ...]
    kind: Kind
    scale: int
    field: Field | None


class DataDecoder:
    """Validates and decodes `data` of one event type into the columns that its KPIs need.

    The verdict on a row is that of JSON Schema, whatever batch it comes in. Columns: string is String, integer
    Int64, number Float64, number with `decimal: n` Int64 scaled by 10**n (exact), boolean Boolean, anything else its
    JSON text; missing and null are null. Null data is an object without properties.
    """

    def __init__(self, event_type: EventType, paths: Sequence[str]) -> None:
        self._validator = EventValidator(event_type)
        self._layout = build_layout(event_type.json_schema)
        self._decode = msgspec.json.Decoder(self._layout.struct).decode
        self._columns = [self._column(path, event_type.json_schema) for path in paths]
        fields = self._layout.fields.values()
        self._checks = [(_getter(field), field.validator) for field in fields if field.validator is not None]
        self._decimals = [field for field in fields if field.stored == "decimal"]

    def columns(self) -> dict[str, tuple[str, int]]:
        """Kind ('int', 'float', 'str', 'bool') and decimal scale of each column."""
        return {column.name: (column.kind, column.scale) for column in self._columns}

    def decode(self, rows: Sequence[bytes]) -> Decoded:
        """Decode JSON texts. Nothing raises: what is wrong with a row stands in `bad`."""
        structs, fast, suspects = self._decode_rows(rows)
        decimals, odd = self._decode_decimals(structs)
        if odd:
            suspects = sorted([*suspects, *(fast[k] for k in odd)])
            kept = [k for k in range(len(structs)) if k not in odd]
            structs, fast = [structs[k] for k in kept], [fast[k] for k in kept]
            decimals = {field_: column.take(pa.array(kept, pa.int64())) for field_, column in decimals.items()}
        frame = pl.DataFrame([self._series(column, structs, fast, rows, decimals) for column in self._columns])
        if not suspects:
            return Decoded(frame, fast)
        return self._join_suspects(frame, fast, suspects, rows)

    def _decode_rows(self, rows: Sequence[bytes]) -> tuple[list[Row], list[int], list[int]]:
        """Structs, their positions, and the positions of rows that need the exact validator."""
        if self._layout.whole:
            return [], [], list(range(len(rows)))
        structs: list[Row] = []
        fast: list[int] = []
        suspects: list[int] = []
        decode, passes = self._decode, self._passes if self._checks else None
        for position, row in enumerate(rows):
            try:
                struct = decode(b"{}" if row == b"null" else row)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                suspects.append(position)
                continue
            if passes is None or passes(struct):
                structs.append(struct)
                fast.append(position)
            else:
                suspects.append(position)
        return structs, fast, suspects

    def _passes(self, struct: Row) -> bool:
        """Whether the values that msgspec left raw hold against their own schemas."""
        try:
            return all(
                (raw := get(struct)) is ABSENT or validator.is_valid(load_json(bytes(raw)))
                for get, validator in self._checks
            )
        except (InvalidEvent, ArithmeticError, RecursionError):
            return False

    def _decode_decimals(self, structs: list[Row]) -> tuple[dict[Field, pa.Array], set[int]]:
        """Exact integers of each decimal property, and the rows whose text does not convert or is out of bounds."""
        columns: dict[Field, pa.Array] = {}
        odd: set[int] = set()
        for field_ in self._decimals if structs else ():
            raws = list(map(_getter(field_), structs))
            column = scaled_column(raws, field_.scale)
            if column.null_count:
                nulls = pc.indices_nonzero(column.is_null()).to_pylist()
                odd.update(k for k in nulls if raws[k] is not ABSENT)
            for bound, outside in zip(field_.bounds, (pc.less, pc.greater), strict=True):
                if bound is not None:
                    odd.update(pc.indices_nonzero(outside(column, pa.scalar(bound, pa.int64()))).to_pylist())
            columns[field_] = column
        return columns, odd

    def _series(
        self,
        column: Column,
        structs: list[Row],
        fast: list[int],
        rows: Sequence[bytes],
        decimals: Mapping[Field, pa.Array],
    ) -> pl.Series:
        where = column.field
        if where is None:
            return pl.Series(column.name, [_text_at(rows[k], column.path) for k in fast], pl.String)
        if where.stored == "decimal":
            values = decimals.get(where, pa.array([], pa.int64()))
            return pl.Series(column.name, values, pl.Int64)
        found = list(map(_getter(where), structs))
        if where.stored == "raw":
            return pl.Series(column.name, [_text(raw) for raw in found], DTYPES[column.kind])
        return pl.Series(column.name, found, DTYPES[column.kind], strict=True)

    def _join_suspects(
        self, frame: pl.DataFrame, fast: list[int], suspects: list[int], rows: Sequence[bytes]
    ) -> Decoded:
        """Give each suspect its exact verdict; those that are valid after all take their place among the others."""
        bad: list[tuple[int, InvalidEvent]] = []
        saved: list[int] = []
        values: list[list[Any]] = []
        for position in suspects:
            try:
                instance = self._validator.load(rows[position])
            except InvalidEvent as problem:
                bad.append((position, bare(problem)))
                continue
            saved.append(position)
            values.append([_value_at(column, instance, rows[position]) for column in self._columns])
        good = fast
        if saved:
            order = sorted(range(len(fast) + len(saved)), key=[*fast, *saved].__getitem__)
            good = [[*fast, *saved][k] for k in order]
            schema = {column.name: DTYPES[column.kind] for column in self._columns}
            if schema:
                frame = pl.concat([frame, pl.DataFrame(values, schema=schema, orient="row")])[order]
        return Decoded(frame, good, bad)

    def _column(self, name: str, schema: Mapping[str, Any]) -> Column:
        path, found = _resolve(name, schema)
        kind, scale = column_kind({} if found is None else found)
        return Column(name, path, kind, scale, self._layout.fields.get(path))


def _resolve(name: str, schema: Mapping[str, Any]) -> tuple[tuple[str, ...], Mapping[str, Any] | None]:
    """The path of a dotted name and its schema (None: not declared). A property may have dots in its own name."""
    properties = schema.get("properties", {})
    if name in properties:
        return (name,), properties[name]
    for own, inner in properties.items():
        if name.startswith(f"{own}."):
            path, found = _resolve(name[len(own) + 1 :], inner)
            return (own, *path), found
    return tuple(name.split(".")), None


def _getter(where: Field) -> Callable[[Row], Any]:
    """Follow the struct's attributes; a missing object on the way is a missing value."""
    if len(where.attributes) == 1:
        return attrgetter(where.attributes[0])
    absent = None if where.stored == "value" else ABSENT

    def follow(struct: Row) -> Any:
        value: Any = struct
        for attribute in where.attributes:
            value = getattr(value, attribute)
            if value is None:
                return absent
        return value

    return follow


def _text(raw: msgspec.Raw) -> str | None:
    """A raw value as a column of text: a string as it is, null as null, anything else as compact JSON."""
    text = bytes(raw)
    if text in (b"", b"null"):
        return None
    if text[:1] == b'"':
        return msgspec.json.decode(text, type=str)
    return msgspec.json.format(text, indent=-1).decode()


def _text_at(row: bytes, path: tuple[str, ...]) -> str | None:
    raw = msgspec.Raw(row)
    for name in path:
        if bytes(raw)[:1] != b"{":
            return None
        raw = OBJECT.decode(raw).get(name, ABSENT)
    return _text(raw)


def _value_at(column: Column, instance: dict[str, Any], row: bytes) -> Any:
    """The column's value in a row that the exact validator has accepted."""
    if column.kind == "str":
        return _text_at(row, column.path)
    value: Any = instance
    for name in column.path:
        value = value.get(name) if isinstance(value, dict) else None
    match value:
        case Decimal():
            return scaled(str(value), column.scale)
        case JsonNumber():
            return float(value)
        case int() if column.kind == "float":
            return float(value)
        case _:
            return value
