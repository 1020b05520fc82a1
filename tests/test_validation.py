"""Data against its schema: the batch path gives the verdict of JSON Schema and exact values."""

from __future__ import annotations

import json
import operator
from decimal import Decimal
from fractions import Fraction
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from onpace.config.errors import InvalidEvent
from onpace.config.kpi import EventType
from onpace.ingest.decimals import scaled
from onpace.ingest.validation import DataDecoder, EventValidator

ORDER = EventType(
    name="order.placed",
    properties={
        "order_id": {"type": "string", "minLength": 1},
        "amount": {"type": "number", "minimum": 0.1, "decimal": 2},
        "items": {"type": "integer", "minimum": 1},
        "weight": {"type": "number", "exclusiveMaximum": 100},
        "gift": {"type": "boolean"},
        "channel": {"enum": ["web", "app"], "type": "string"},
        "address": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "fee": {"type": "number", "decimal": 1}},
        },
        "note": {},
    },
    required=("order_id", "amount"),
)


def order(**changes: Any) -> bytes:
    """A valid order with some properties changed."""
    return json.dumps({"order_id": "o1", "amount": 12.5, **changes}).encode()


def test_each_kind_has_its_column() -> None:
    """String, exact decimal, Int64, Float64, Boolean, nested and untyped."""
    paths = ["order_id", "amount", "items", "weight", "gift", "address.city", "address.fee", "note", "address", "ghost"]
    decoder = DataDecoder(ORDER, paths)
    rows = [
        order(items=3, weight=1.5, gift=True, address={"city": "Köln", "fee": 1.5}, note=[1, {"a": "b"}], ghost="boo"),
        order(amount=0.1, note="text"),
    ]
    decoded = decoder.decode(rows)
    assert decoded.good == [0, 1]
    assert decoded.frame.rows() == [
        ("o1", 1250, 3, 1.5, True, "Köln", 15, '[1,{"a":"b"}]', '{"city":"K\\u00f6ln","fee":1.5}', "boo"),
        ("o1", 10, None, None, None, None, None, "text", None, None),
    ]
    dtypes = [
        pl.String,
        pl.Int64,
        pl.Int64,
        pl.Float64,
        pl.Boolean,
        pl.String,
        pl.Int64,
        pl.String,
        pl.String,
        pl.String,
    ]
    assert decoded.frame.dtypes == dtypes
    assert decoder.columns()["amount"] == ("int", 2)
    assert decoder.columns()["address.fee"] == ("int", 1)
    assert decoder.columns()["weight"] == ("float", 0)


@pytest.mark.parametrize(
    ("row", "field", "words"),
    [
        (b"null", "data.order_id", "data.amount: is required"),
        (b"[]", "data", "must be a JSON object"),
        (b"{}", "data.order_id", "data.amount: is required"),
        (order(amount="12.5"), "data.amount", "not of type 'number'"),
        (order(amount=None), "data.amount", "not of type 'number'"),
        (order(amount=0.09), "data.amount", "0.09 is less than the minimum of 0.1"),
        (order(amount=1.001), "data.amount", "more than 2 digits"),
        (order(amount=1e17), "data.amount", "out of range"),
        (order(items=0), "data.items", "less than the minimum"),
        (order(items=1.5), "data.items", "not of type 'integer'"),
        (order(items=True), "data.items", "not of type 'integer'"),
        (order(items=2**63), "data.items", "out of range"),
        (order(weight=100), "data.weight", "100"),
        (order(channel="phone"), "data.channel", "is not one of"),
        (order(address={"city": 7}), "data.address.city", "not of type 'string'"),
        (order().replace(b"12.5", b'12.5, "weight": -1e999'), "data.weight", "out of range"),
    ],
)
def test_a_violation_names_its_path_and_spares_its_batch(row: bytes, field: str, words: str) -> None:
    """Field, message, and good neighbours."""
    decoded = DataDecoder(ORDER, ["amount"]).decode([order(), row, order(amount=7)])
    [(position, problem)] = decoded.bad
    assert (position, problem.reason, problem.field) == (1, "schema_violation", field)
    assert words in str(problem)
    assert decoded.good == [0, 2]
    assert decoded.frame["amount"].to_list() == [1250, 700]


def test_a_row_that_only_the_exact_validator_accepts_keeps_its_place() -> None:
    """1.0 is an integer in JSON Schema; exponents are numbers."""
    rows = [order(items=1), order(items=2.0), order().replace(b"12.5", b"1.25e1"), order(items=3)]
    decoded = DataDecoder(ORDER, ["items", "amount"]).decode(rows)
    assert decoded.good == [0, 1, 2, 3]
    assert decoded.frame["items"].to_list() == [1, 2, None, 3]
    assert decoded.frame["amount"].to_list() == [1250] * 4


def test_a_number_too_long_for_arrow_does_not_wrap_around() -> None:
    """Arrow reads this one as 0.01."""
    row = order().replace(b"12.5", b"34028236692093846346337460743176821145.61")
    assert DataDecoder(ORDER, ["amount"]).decode([row]).bad[0][1].field == "data.amount"


def test_several_problems_are_reported_together() -> None:
    """One message, every path."""
    with pytest.raises(InvalidEvent, match=r"data\.channel: .*; data\.items: ") as caught:
        EventValidator(ORDER).check(order(channel="x", items=0))
    assert caught.value.reason == "schema_violation"


def test_keywords_beyond_the_fast_path_are_checked() -> None:
    """format, const, oneOf, items and multipleOf."""
    event_type = EventType(
        name="x",
        properties={
            "at": {"type": "string", "format": "date-time"},
            "id": {"type": "string", "format": "uuid"},
            "tags": {"type": "array", "items": {"type": "string"}},
            "either": {"oneOf": [{"type": "string"}, {"type": "integer"}]},
        },
    )
    rows: list[dict[str, Any]] = [
        {"at": "2026-01-01T00:00:00Z", "tags": ["a"], "either": 1},
        {"at": "2026-01-01T00:00:00"},
    ]
    rows += [{"tags": [1]}, {"either": 1.5}, {"id": "no"}, {}]
    decoded = DataDecoder(event_type, ["either", "tags"]).decode([json.dumps(row).encode() for row in rows])
    assert decoded.good == [0, 5]
    assert decoded.frame.rows() == [("1", '["a"]'), (None, None)]


def test_additional_properties_can_be_forbidden() -> None:
    """`additionalProperties: false` in the file."""
    event_type = EventType(name="x", properties={"a": {"type": "string"}}, additionalProperties=False)
    decoded = DataDecoder(event_type, ["a"]).decode([b'{"a":"x"}', b'{"a":"x","b":1}'])
    assert decoded.good == [0]
    assert "'b' was unexpected" in str(decoded.bad[0][1])


def test_missing_data_is_an_empty_object() -> None:
    """A type that requires nothing may be sent without data."""
    assert DataDecoder(EventType(name="ping"), ["a"]).decode([b"null"]).frame.rows() == [(None,)]
    EventValidator(EventType(name="ping")).check(b"null")


def test_no_columns_and_no_rows_are_fine() -> None:
    """A count needs no column; a poll may be empty."""
    assert DataDecoder(ORDER, []).decode([order(), b"{}", order(items=1.0)]).good == [0, 2]
    assert DataDecoder(ORDER, ["amount", "note"]).decode([]).frame.height == 0


@given(st.decimals(allow_nan=False, allow_infinity=False, places=3) | st.integers().map(Decimal), st.integers(0, 4))
def test_scaled_is_exact(number: Decimal, scale: int) -> None:
    """Against integer arithmetic on the same text."""
    exact = int(f"{number:f}".replace(".", "")) * 10**scale
    places = len(f"{number:f}".partition(".")[2])
    fits = exact % 10**places == 0 and -(2**63) <= exact // 10**places < 2**63
    try:
        assert (scaled(str(number), scale), fits) == (exact // 10**places, True)
    except ValueError:
        assert not fits


NAMES = ["a", "b", "class", "user-id", "ü"]
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**53 + 1, 10**40]),
    st.sampled_from([0.1, 0.5, 1.0, 2.5, 1.25, 1.001, -2.0, 1e22, 1e-7, 9007199254740993.0]),
    st.sampled_from(["", "a", "b", "abc", "web", "😀😀"]),
)
VALUES = st.one_of(SCALARS, st.lists(SCALARS, max_size=2), st.dictionaries(st.sampled_from(NAMES), SCALARS, max_size=2))
BOUNDS = st.sampled_from([-2, 0, 0.1, 0.5, 1, 2, 2.5, 2**53, 2**63])


def limits(*names: str) -> st.SearchStrategy[dict[str, Any]]:
    """Some numeric keywords with bounds."""
    return st.dictionaries(st.sampled_from(names), BOUNDS, max_size=2)


COMPARE = {
    "minimum": operator.ge,
    "maximum": operator.le,
    "exclusiveMinimum": operator.gt,
    "exclusiveMaximum": operator.lt,
}
NUMERIC = tuple(COMPARE)
TEXT = st.fixed_dictionaries(
    {"type": st.sampled_from(["string", ["string", "null"]])},
    optional={
        "minLength": st.integers(0, 2),
        "maxLength": st.integers(0, 3),
        "pattern": st.sampled_from(["b", "^a", "^$"]),
    },
)
SCHEMAS = st.one_of(
    st.just({}),
    TEXT,
    st.just({"type": "string", "enum": ["web", "a"]}),
    st.just({"enum": [1, "a", None]}),
    st.just({"type": "boolean"}),
    st.just({"type": "array", "items": {"type": "integer"}}),
    st.just({"type": "integer", "multipleOf": 2}),
    st.just({"type": ["integer", "string"]}),
    st.builds(lambda more: {"type": "integer", **more}, limits(*NUMERIC)),
    st.builds(lambda more: {"type": ["number", "null"], **more}, limits(*NUMERIC)),
    st.builds(lambda more: {"type": "number", **more}, limits(*NUMERIC)),
)
DECIMALS = st.builds(lambda n, more: {"type": "number", "decimal": n, **more}, st.integers(0, 3), limits(*NUMERIC))
NESTED = st.builds(
    lambda inner, required, open_: {
        "type": "object",
        "properties": inner,
        "required": required,
        "additionalProperties": open_,
    },
    st.dictionaries(st.sampled_from(NAMES), SCHEMAS | DECIMALS, max_size=2),
    st.lists(st.sampled_from(NAMES), max_size=1),
    st.booleans(),
)
TYPES = st.builds(
    lambda properties, required, open_: EventType(
        name="t", properties=properties, required=tuple(required), additionalProperties=open_
    ),
    st.dictionaries(st.sampled_from(NAMES), SCHEMAS | DECIMALS | NESTED, max_size=4),
    st.lists(st.sampled_from(NAMES), max_size=2, unique=True),
    st.booleans(),
)
ROWS = st.lists(st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=4), min_size=1, max_size=8)


def expected_verdict(event_type: EventType, row: dict[str, Any]) -> bool:
    """jsonschema's verdict, with exact numbers and the width of columns judged here by fractions."""
    return Draft202012Validator(loosened(event_type.json_schema)).is_valid(row) and fits(event_type.json_schema, row)


def loosened(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema without the bounds of exact numbers."""
    if "decimal" in schema:
        return {"type": "number"}
    return {**schema, "properties": {name: loosened(inner) for name, inner in schema.get("properties", {}).items()}}


def fits(schema: dict[str, Any], row: dict[str, Any]) -> bool:
    """Exact numbers within their digits and bounds, integers within 64 bits."""
    for name, inner in schema.get("properties", {}).items():
        value = row.get(name)
        if isinstance(value, dict):
            if not fits(inner, value):
                return False
        elif isinstance(value, int | float) and not isinstance(value, bool):
            exact = Fraction(repr(value))
            scale = exact * 10 ** inner.get("decimal", 0)
            narrow = "decimal" in inner or "integer" in inner.get("type", ())
            if narrow and not -(2**63) <= scale < 2**63:
                return False
            bounds = [COMPARE[key](exact, Fraction(repr(inner[key]))) for key in NUMERIC if key in inner]
            if "decimal" in inner and not (scale.denominator == 1 and all(bounds)):
                return False
    return True


@settings(max_examples=300, deadline=None)
@given(TYPES, ROWS)
def test_the_batch_path_gives_the_verdict_of_json_schema(event_type: EventType, rows: list[dict[str, Any]]) -> None:
    """Verdict and values, for generated schemas and data."""
    decoder = DataDecoder(event_type, NAMES)
    texts = [json.dumps(row, ensure_ascii=False).encode() for row in rows]
    decoded = decoder.decode(texts)
    assert decoded.good == [k for k, row in enumerate(rows) if expected_verdict(event_type, row)]
    assert sorted([*decoded.good, *(k for k, _ in decoded.bad)]) == list(range(len(rows)))
    for name, (kind, scale) in decoder.columns().items():
        values = decoded.frame[name].to_list() if decoded.frame.width else []
        assert values == [expected_value(rows[k].get(name), kind, scale) for k in decoded.good]


def expected_value(value: Any, kind: str, scale: int) -> Any:
    """What the column should hold."""
    if value is None or (kind == "str" and isinstance(value, str)):
        return value
    if kind == "str":
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    if kind == "float":
        return float(value)
    if kind == "int":
        return int(Decimal(str(value)) * 10**scale)
    return value
