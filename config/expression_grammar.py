"""The whitelist that an expression in a KPI file must keep to, as sqlglot node types."""

from __future__ import annotations

import re
from collections.abc import Iterator

from sqlglot import exp

__all__ = ["ALLOWED", "ExpressionError", "check_grammar", "children", "column_name", "shown"]

ALLOWED = (
    "+ - * / %, comparisons, AND, OR, NOT, IN (…), BETWEEN, LIKE, IS NULL, CASE, if, coalesce, nullif, abs, round, "
    "floor, ceil, least, greatest, lower, upper, length, numbers, 'text', true, false and null"
)
MAX_DEPTH = 100
MAX_WEIGHT = 2000
"""Renderings repeat some operands (`b` of `a / b`); the expanded size stays below this."""

_BINARY = (exp.Add, exp.Sub, exp.Mul, exp.EQ, exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE, exp.And, exp.Or)
_UNARY = (exp.Paren, exp.Neg, exp.Not, exp.Abs, exp.Floor, exp.Ceil, exp.Lower, exp.Upper, exp.Length)

# node type -> {argument: how many times a rendering may repeat it}
_ARGUMENTS: dict[type[exp.Expr], dict[str, int]] = {
    **{node: {"this": 1, "expression": 1} for node in _BINARY},
    **{node: {"this": 1} for node in _UNARY},
    exp.Div: {"this": 1, "expression": 2},
    exp.Mod: {"this": 3, "expression": 3},
    exp.In: {"this": 2, "expressions": 1},
    exp.Between: {"this": 2, "low": 1, "high": 1},
    exp.Like: {"this": 1, "expression": 1},
    exp.Is: {"this": 1, "expression": 1},
    exp.Case: {"this": 2, "ifs": 1, "default": 1},
    exp.If: {"this": 1, "true": 1, "false": 1},
    exp.Coalesce: {"this": 3, "expressions": 3},
    exp.Nullif: {"this": 2, "expression": 1},
    exp.Round: {"this": 3, "decimals": 0},
    exp.Least: {"this": 3, "expressions": 3},
    exp.Greatest: {"this": 3, "expressions": 3},
    exp.Literal: {},
    exp.Boolean: {},
    exp.Null: {},
}


class ExpressionError(ValueError):
    """An expression says something that KPI files do not allow; the message names the part at fault."""


def shown(node: exp.Expr) -> str:
    """The part of an expression, as text for a message."""
    text = re.sub(r"\s+", " ", node.sql(comments=False, normalize_functions=False))
    text = re.sub(r'"(\w+)\|([^"]+)"', r"offset(\1, '\2')", text)  # as `onpace.config.offsets` names it
    return text if len(text) <= 60 else text[:57] + "..."


def children(node: exp.Expr) -> Iterator[tuple[str, exp.Expr]]:
    """The operands of a node with the argument each one is for, in order."""
    for key, value in node.args.items():
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, exp.Expr):
                yield key, item


def column_name(node: exp.Expr) -> str | None:
    """`address.city` for a column with a dotted path; None if the node is not a column."""
    if isinstance(node, exp.Dot):
        parts: list[object] = [column_name(node.this), node.expression]
    elif isinstance(node, exp.Column):
        parts = [node.args.get(key) for key in ("catalog", "db", "table", "this") if node.args.get(key)]
    else:
        return None
    if not all(isinstance(part, (exp.Identifier, str)) for part in parts):
        return None
    return ".".join(part if isinstance(part, str) else str(getattr(part, "this", "")) for part in parts)


def check_grammar(tree: exp.Expr) -> list[str]:
    """The distinct columns in order of appearance. Raises ExpressionError for anything off the whitelist."""
    names: dict[str, None] = {}
    if _weigh(tree, 1, names) > MAX_WEIGHT:
        raise ExpressionError("the expression is too complex: split it into several KPIs")
    return list(names)


def _weigh(node: exp.Expr, depth: int, names: dict[str, None]) -> int:
    if depth > MAX_DEPTH:
        raise ExpressionError(
            f"the expression is nested deeper than {MAX_DEPTH} levels; a long OR can be written as IN (…)"
        )
    if (name := column_name(node)) is not None:
        _check_name(node)
        names[name] = None
        return 1
    allowed = _ARGUMENTS.get(type(node))
    if allowed is None:
        raise ExpressionError(_refusal(node))
    _check_details(node)
    weight = 1
    for key, child in children(node):
        if key not in allowed:
            raise ExpressionError(f"'{shown(node)}' is more than is allowed; allowed are {ALLOWED}")
        repeats = _repeats(node) if key == "this" and allowed[key] == 2 else allowed[key]
        weight += repeats * _weigh(child, depth + 1, names)
    return weight


def _repeats(node: exp.Expr) -> int:
    """How often the subject of IN or of a simple CASE is repeated: once for each alternative."""
    return max(2, len(node.args.get("expressions") or node.args.get("ifs") or ()))


def _check_name(node: exp.Expr) -> None:
    for identifier in node.find_all(exp.Identifier):
        if "." in identifier.this or not identifier.this.isprintable():
            raise ExpressionError(f"'{shown(node)}': a name in quotes cannot hold a dot or control characters")


def _refusal(node: exp.Expr) -> str:
    if isinstance(node, exp.Anonymous) and str(node.this).lower() == "offset":
        return "offset(…) looks back at a KPI: it is for the expr of a derived KPI only"
    if isinstance(node, exp.AggFunc | exp.Window | exp.Filter):
        return f"'{shown(node)}' aggregates: the KPI's own `agg` or a derived KPI does that; allowed here are {ALLOWED}"
    return f"'{shown(node)}' is not allowed; allowed are {ALLOWED}"


def _check_details(node: exp.Expr) -> None:
    match node:
        case exp.In() if not node.expressions:
            raise ExpressionError(f"'{shown(node)}': IN needs a list of values, as in region IN ('EU', 'US')")
        case exp.Is() if not isinstance(node.expression, exp.Null):
            raise ExpressionError(f"'{shown(node)}': IS goes with NULL only; write x = true")
        case exp.Like():
            _check_pattern(node)
        case exp.Round() if (decimals := node.args.get("decimals")) is not None:
            if not (isinstance(decimals, exp.Literal) and decimals.this in list("0123456789")):
                raise ExpressionError(f"'{shown(node)}': the second argument of round is a digit, 0 to 9")
        case exp.Literal() if node.is_string:
            if "\0" in node.this:
                raise ExpressionError("a text cannot hold a NUL character")
        case exp.Literal():
            _check_number(node)


def _check_pattern(node: exp.Like) -> None:
    pattern = node.expression
    if not (isinstance(pattern, exp.Literal) and pattern.is_string):
        raise ExpressionError(f"'{shown(node)}': LIKE needs a text in quotes on its right")
    if re.sub(r"\\[%_\\]", "", pattern.this).count("\\"):
        raise ExpressionError(rf"'{shown(node)}': in a LIKE pattern a backslash is written \\ and escapes only % and _")


def _check_number(node: exp.Literal) -> None:
    if not re.fullmatch(r"(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,2})?", node.this) or len(node.this) > 40:
        raise ExpressionError(f"'{shown(node)}' is not a number that fits: write it as 1000, 0.25 or 1e6")
    if abs(float(node.this)) > 1e30:
        raise ExpressionError(f"'{shown(node)}' is too large: numbers go up to 1e30")
