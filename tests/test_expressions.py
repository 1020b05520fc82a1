"""Expressions: what is allowed, and that polars and ClickHouse agree on what it means."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import clickhouse_connect
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onpace.config.expressions import (
    ExpressionError,
    expression_kind,
    parse_event_expression,
    parse_kpi_expression,
    quote_text,
    render_clickhouse,
)
from onpace.processors.expressions import Column, compile_polars

COLUMNS = {
    "a": Column("int"),
    "d": Column("int", 2),
    "f": Column("float"),
    "addr.city": Column("str"),
    "t": Column("bool"),
}
TEXTS = [None, "", "EU", "it's", "a\\b", "a%b_c", "ÄßÉ", "x\ny", "{p:Int8}", "back\\", "-- /* x */", "a-b c.d<e>&~#"]


def _rows(count: int) -> list[tuple[Any, ...]]:
    pick = random.Random(7).choice
    return [
        (
            pick([None, -3, 0, 1, 2, 7, 250]),
            pick([None, 0, 25, -150, 1000, 250, 1250]),
            pick([None, -2.5, 0.0, 0.5, 3.0, 1000.0]),
            pick(TEXTS),
            pick([None, True, False]),
        )
        for _ in range(count)
    ]


ROWS = _rows(120)
SCHEMA = {"a": pl.Int64, "d": pl.Int64, "f": pl.Float64, "addr.city": pl.String, "t": pl.Boolean}
FRAME = pl.DataFrame(ROWS, schema=SCHEMA, orient="row")
SNIPPETS = {"a": "a", "d": "d", "f": "coalesce(f, NULL)", "addr.city": "s", "t": "t"}


def polars_values(text: str, frame: pl.DataFrame = FRAME) -> list[Any]:
    """The expression over the frame, decimals as floats."""
    typed = compile_polars(parse_event_expression(text), COLUMNS)
    column = frame.with_columns(result=typed.expr)["result"].to_list()
    return [value / 10**typed.scale if typed.scale and value is not None else value for value in column]


def one(text: str, **values: Any) -> Any:
    """The expression over one row."""
    row = {name: values.get(name.split(".")[-1]) for name in SCHEMA}
    return polars_values(text, pl.DataFrame([row], schema=SCHEMA))[0]


@pytest.fixture(scope="module")
def clickhouse(engine_data: Path) -> Iterator[Callable[[str], list[Any]]]:
    """Evaluates an expression over the rows in the real engine."""
    client = clickhouse_connect.get_client(interface="chdb", path=str(engine_data / "clickhouse"))
    client.command(
        "CREATE TABLE expression_rows (i UInt32, a Nullable(Float64), d Nullable(Float64), f Nullable(Float64), "
        "s Nullable(String), t Nullable(Bool)) ENGINE = MergeTree ORDER BY i"
    )
    rows = [(i, a, None if d is None else d / 100, f, s, t) for i, (a, d, f, s, t) in enumerate(ROWS)]
    client.insert("expression_rows", rows, column_names=["i", "a", "d", "f", "s", "t"])

    def evaluate(text: str) -> list[Any]:
        sql = render_clickhouse(parse_event_expression(text), SNIPPETS)
        return [row[0] for row in client.query(f"SELECT {sql} FROM expression_rows ORDER BY i").result_rows]

    yield evaluate
    client.command("DROP TABLE expression_rows")
    client.close()


LITERALS = ["'" + text.replace("'", "''") + "'" for text in TEXTS if text is not None]
PATTERNS = ["%", "", "a%", "%b\\_c", "_U", "%\\%%", "%\\\\%", "it''s", "%.%<%", "ä%", "x_y", "%{%", "%-%"]
NUMBER_FORMS = [
    "({n} {arithmetic} {n})",
    "{unary}({n})",
    "round({n}, {digit})",
    "{pair}({n}, {n})",
    "if({c}, {n}, {n})",
    "case when {c} then {n} when {c} then {n} end",
    "case {n} when {n} then {n} else {n} end",
]
CONDITION_FORMS = [
    "{n} {compare} {n}",
    "{s} {compare} {s}",
    "{n} {maybe} in ({n}, {n})",
    "{s} {maybe} in ({s}, {s}, null)",
    "{s} {maybe} in ('EU', 'it''s', 'back\\')",
    "{n} {maybe} between {n} and {n}",
    "{s} {maybe} like '{pattern}'",
    "{n} is {maybe} null",
    "{s} is {maybe} null",
    "(({c}) {logic} ({c}))",
    "not ({c})",
]
CHOICES = {
    "{arithmetic}": ["+", "-", "*", "/", "%"],
    "{unary}": ["abs", "floor", "ceil", "round", "-"],
    "{digit}": ["0", "1", "2"],
    "{pair}": ["least", "greatest", "coalesce", "nullif"],
    "{compare}": ["=", "!=", "<", "<=", ">", ">="],
    "{maybe}": ["", "not"],
    "{logic}": ["and", "or"],
    "{pattern}": PATTERNS,
    "{s}": ["addr.city", "addr.city", "upper(addr.city)", "lower(addr.city)", "null", *LITERALS],
}
NUMBERS = ["a", "d", "f", "0", "1", "2", "0.5", "0.25", "100", "null", "length(addr.city)"]


@st.composite
def expressions(draw: st.DrawFn) -> str:
    """A random allowed expression over the columns of the frame."""

    def fill(form: str, depth: int) -> str:
        parts = re.split(r"(\{\w+\})", form)
        return "".join(choose(part, depth) if index % 2 else part for index, part in enumerate(parts))

    def choose(part: str, depth: int) -> str:
        if part == "{n}":
            return fill(draw(st.sampled_from(NUMBERS if depth == 0 else NUMBER_FORMS + NUMBERS)), depth - 1)
        if part == "{c}":
            return fill(draw(st.sampled_from(["t", "null"] if depth == 0 else CONDITION_FORMS)), depth - 1)
        return draw(st.sampled_from(CHOICES[part]))

    return fill(draw(st.sampled_from(["{n}", "{c}", "{s}"])), 3)


def _agree(left: Any, right: Any) -> bool:
    if left is None or right is None:
        return left is right
    if isinstance(left, str):
        return bool(left == right)
    return math.isclose(float(left), float(right), rel_tol=1e-9, abs_tol=1e-9)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(expressions())
def test_polars_and_clickhouse_give_the_same(clickhouse: Callable[[str], list[Any]], text: str) -> None:
    """Any allowed expression has one meaning, whether the stream or a view computes it."""
    here, there = polars_values(text), clickhouse(text)
    wrong = [(row, x, y) for row, x, y in zip(ROWS, here, there, strict=True) if not _agree(x, y)]
    assert not wrong, f"{text}: {wrong[0]}"


def test_the_deepest_allowed_expression_runs(clickhouse: Callable[[str], list[Any]]) -> None:
    """What the whitelist lets through, both engines can digest."""
    chain = " or ".join(f"a = {number}" for number in range(95))
    assert polars_values(chain)[:50] == [None if x is None else bool(x) for x in clickhouse(chain)[:50]]
    nested = "abs(" * 15 + "d" + ")" * 15
    assert polars_values(nested)[:50] == clickhouse(nested)[:50]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("sum(amount)", "aggregates"),
        ("cast(amount as int)", "is not allowed"),
        ("amount::int", "is not allowed"),
        ("(select 1)", "is not allowed"),
        ("select 1", "no statement"),
        ("md5(a)", "md5(a)"),
        ("a || b", "a || b"),
        ("a.*", "a.*"),
        ("a; drop table x", "is not allowed"),
        ("exists(select 1)", "is not allowed"),
        ("current_timestamp", "is not allowed"),
        ("{p:Int8}", "is not allowed"),
        ("a[1]", "is not allowed"),
        ("a in (select 1)", "IN needs a list"),
        ("a in ()", "IN needs a list"),
        ("a like b", "LIKE needs a text"),
        ("a like '\\x'", "backslash"),
        ("a is true", "IS goes with NULL"),
        ("floor(a, 2)", "more than is allowed"),
        ("round(a, b)", "0 to 9"),
        ("1e99", "too large"),
        ("offset(a, '1 year')", "derived KPI only"),
        ("it's", "quote is not closed"),
        ("a +", "something is missing"),
        ('"a.b"', "cannot hold a dot"),
        ("", "empty"),
        ("a" * 2001, "longer than 2000"),
        ("(" * 500 + "a" + ")" * 500, "nested too deeply"),
        ("+".join("a" * 200), "nested deeper"),
        ("%".join("a" * 12), "too complex"),
    ],
)
def test_what_is_not_on_the_whitelist_is_refused(text: str, part: str) -> None:
    """The message names the part at fault."""
    with pytest.raises(ExpressionError, match="(?i)" + re.escape(part)):
        parse_event_expression(text)


def test_names_are_distinct_dotted_paths_in_order() -> None:
    """Nested properties of any depth, reserved words in double quotes."""
    assert parse_event_expression('b.c + a * b.c + x.y.z.u.v + "from"').names == ("b.c", "a", "x.y.z.u.v", "from")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("a.b / c", "no dots"),
        ("revenue > 1", "must give a number"),
        ("'x'", "must give a number"),
        ("lower(a)", "a text"),
    ],
)
def test_a_kpi_expression_is_a_number_over_kpis(text: str, part: str) -> None:
    """Columns are KPIs, which are numbers."""
    with pytest.raises(ExpressionError, match=part):
        parse_kpi_expression(text)


@pytest.mark.parametrize(
    ("text", "kind"),
    [("n + 1", "number"), ("s", "text"), ("n > 1", "boolean"), ("coalesce(null, s)", "text"), ("null", "null")],
)
def test_the_kind_of_an_expression_is_known_before_it_runs(text: str, kind: str) -> None:
    """Kinds follow from the kinds of the columns."""
    assert expression_kind(parse_event_expression(text), {"n": "number", "s": "text"}) == kind


@pytest.mark.parametrize(
    "text", ["s + 1", "s > n", "n and b", "if(n, 1, 2)", "coalesce(n, s)", "b < b", "n in ('a')", "-s"]
)
def test_kinds_that_do_not_fit_are_refused(text: str) -> None:
    """A text is no number and a number no condition."""
    with pytest.raises(ExpressionError):
        expression_kind(parse_event_expression(text), {"n": "number", "s": "text", "b": "boolean"})


def test_a_text_cannot_leave_its_quotes_in_clickhouse() -> None:
    """Quotes, backslashes and braces are escaped."""
    assert quote_text("it's \\ {p:Int8}") == "'it\\'s \\\\ \\x7Bp:Int8\\x7D'"


def test_decimals_stay_exact() -> None:
    """0.1 + 0.2 = 0.3 holds for decimals and literals, and large amounts lose nothing."""
    assert one("d + 0.1 = 0.3", d=20)
    assert one("d = 0.07", d=7)
    assert one("d > 0.069", d=7)
    assert one("d * 3 = 0.21", d=7)
    assert one("d * a = 90071992547409930.07 * 1", d=9007199254740993007, a=1) is True
    typed = compile_polars(parse_event_expression("d * a - d"), COLUMNS)
    assert (typed.kind, typed.scale) == ("int", 2)


def test_products_beyond_64_bits_are_exact() -> None:
    """Int128 holds the product of two Int64."""
    typed = compile_polars(parse_event_expression("a * a"), COLUMNS)
    frame = pl.DataFrame({"a": [4_000_000_000_000_000_001]})
    assert frame.select(typed.expr).item() == 4_000_000_000_000_000_001**2


def test_more_than_128_bits_become_floats() -> None:
    """Never a silent overflow."""
    typed = compile_polars(parse_event_expression("a * a * a"), COLUMNS)
    assert typed.kind == "float"
    assert pl.DataFrame({"a": [10**18]}).select(typed.expr).item() == pytest.approx(1e54)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("round(2.5)", 3),
        ("round(-2.5)", -3),
        ("round(2.345, 2)", 2.35),
        ("round(f)", 1),
        ("-7 % 3", -1),
        ("7 % -3", 1),
        ("1 % 0", None),
        ("1 / 0", None),
        ("7 / 2", 3.5),
        ("least(1, null)", None),
        ("nullif(1, null)", 1),
        ("1 in (2, null)", None),
        ("null or true", True),
        ("null and true", None),
        ("if(null, 1, 2)", 2),
        ("case when false then 1 end", None),
        ("'' is null", False),
        ("length('äß')", 2),
    ],
)
def test_semantics_are_those_of_sql(text: str, expected: object) -> None:
    """Nulls propagate, three-valued logic, half away from zero, the remainder has the sign of its left side."""
    assert one(text, f=0.5) == expected


def test_a_missing_text_is_not_an_empty_one() -> None:
    """Null stays null."""
    assert one("addr.city = ''", city="") is True
    assert one("addr.city = ''") is None
