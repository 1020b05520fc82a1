"""Expressions in KPI files: a small part of SQL, parsed with sqlglot and held to a whitelist.

Strings are in single quotes with a quote doubled (`'it''s'`); a name that is no plain word goes in double quotes. A
null operand gives null, division by zero gives null, `%` has the sign of its left side, `round` goes half away from
zero, and a condition that is null counts as false in `if` and CASE.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import sqlglot
from sqlglot import exp
from sqlglot.errors import ParseError, SqlglotError, TokenError

from onpace.config.expression_grammar import ALLOWED, ExpressionError, check_grammar
from onpace.config.expression_kinds import Kind, kind_of_tree
from onpace.config.expression_sql import quote_text, render_tree
from onpace.config.offsets import offsets_as_columns, split_name

__all__ = [
    "Expression",
    "ExpressionError",
    "Kind",
    "expression_kind",
    "parse_event_expression",
    "parse_kpi_expression",
    "quote_text",
    "render_clickhouse",
]

MAX_LENGTH = 2000


@dataclass(frozen=True, slots=True)
class Expression:
    """A checked expression: its text, its sqlglot tree (not to be changed) and the columns that it names."""

    text: str
    tree: exp.Expr
    names: tuple[str, ...]
    """Distinct columns in order of appearance; `address.city` for a nested property."""


@lru_cache(maxsize=4096)
def parse_event_expression(text: str) -> Expression:
    """An expression over an event's properties. Raises ExpressionError that names the part at fault."""
    return _checked(text)


@lru_cache(maxsize=4096)
def parse_kpi_expression(text: str) -> Expression:
    """An expression over KPIs, which must give a number. Raises ExpressionError that names the part at fault.

    `offset(kpi, '1 year')` is one of the names: see `onpace.config.offsets`.
    """
    expression = _checked(text, offsets_as_columns)
    for name in expression.names:
        if "." in split_name(name)[0]:
            raise ExpressionError(f"'{name}' is not a KPI: names of KPIs have no dots")
    if expression_kind(expression, dict.fromkeys(expression.names, "number")) not in ("number", "null"):
        raise ExpressionError(f"'{text}' must give a number, not a text or true/false")
    return expression


def expression_kind(expression: Expression, columns: Mapping[str, Kind]) -> Kind:
    """What the expression gives, when its columns are of these kinds. Raises ExpressionError where they do not fit."""
    return kind_of_tree(expression.tree, columns)


def render_clickhouse(expression: Expression, columns: Mapping[str, str]) -> str:
    """ClickHouse SQL in which each name is replaced by its snippet, which must be safe SQL.

    Snippets for numbers must be Float64, Nullable or not (wrap decimals and integers in toFloat64): ClickHouse finds no
    common type for them otherwise. The result is a (Nullable) Float64, String, or UInt8 for a condition.
    """
    return render_tree(expression.tree, columns)


def _checked(text: str, rewrite: Callable[[exp.Expr], exp.Expr] = lambda tree: tree) -> Expression:
    try:
        tree = rewrite(_parse(text))
        return Expression(text, tree, tuple(check_grammar(tree)))
    except RecursionError:
        raise ExpressionError("the expression is nested too deeply") from None


def _parse(text: str) -> exp.Expr:
    if not text.strip():
        raise ExpressionError("the expression is empty")
    if len(text) > MAX_LENGTH:
        raise ExpressionError(f"the expression is longer than {MAX_LENGTH} characters")
    try:
        return sqlglot.parse_one(text, into=exp.Condition)
    except TokenError:
        raise ExpressionError(
            f"cannot read '{text}': a quote is not closed (a quote inside a text is doubled: 'it''s')"
        ) from None
    except ParseError as error:
        raise ExpressionError(_explain(text, error)) from None
    except SqlglotError as error:
        raise ExpressionError(f"cannot read '{text}': {error}") from None


def _explain(text: str, error: ParseError) -> str:
    details = error.errors[0] if error.errors else {}
    near = details.get("highlight") or ""
    if near.lower() in ("select", "with", "drop", "insert", "alter", "create"):
        return f"'{near}' is not allowed: only an expression, no statement; allowed are {ALLOWED}"
    reason = str(details.get("description", "it is not an expression"))
    if "Unexpected token" in reason:
        reason = f"it goes wrong at '{near}'"
    elif "Required keyword" in reason:
        reason = f"something is missing at '{near}'"
    return f"cannot read '{text}': {reason} (a name that SQL reserves goes in double quotes)"
