"""Kinds of values in expressions: what is a number, a text or true/false, checked before anything runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from sqlglot import exp

from onpace.config.expression_grammar import ExpressionError, column_name, shown

__all__ = ["Kind", "kind_of_tree"]

Kind = Literal["number", "text", "boolean", "null"]
_WORDS: dict[Kind, str] = {"number": "a number", "text": "a text", "boolean": "true or false", "null": "null"}

_ARITHMETIC = (
    exp.Add,
    exp.Sub,
    exp.Mul,
    exp.Div,
    exp.Mod,
    exp.Neg,
    exp.Abs,
    exp.Floor,
    exp.Ceil,
    exp.Least,
    exp.Greatest,
)
_COMPARISONS = (exp.EQ, exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE)


def kind_of_tree(node: exp.Expr, columns: Mapping[str, Kind]) -> Kind:  # noqa: PLR0911 (one return a node type)
    """The kind of the value; `columns` gives the kind of each column. Raises ExpressionError on a mismatch."""
    if (name := column_name(node)) is not None:
        return columns[name]
    match node:
        case exp.Literal():
            return "text" if node.is_string else "number"
        case exp.Boolean():
            return "boolean"
        case exp.Null():
            return "null"
        case exp.Paren():
            return kind_of_tree(node.this, columns)
        case exp.Is():
            kind_of_tree(node.this, columns)
            return "boolean"
        case exp.Case() | exp.If():
            return _choice(node, columns)
        case exp.Coalesce() | exp.Nullif():
            return _same(node, _parts(node), columns)
    return _operation(node, columns)


def _operation(node: exp.Expr, columns: Mapping[str, Kind]) -> Kind:  # noqa: PLR0911 (one return a node type)
    if isinstance(node, exp.Round):
        return _need("number", [node.this], columns)
    if isinstance(node, _ARITHMETIC):
        return _need("number", _parts(node), columns)
    if isinstance(node, exp.And | exp.Or | exp.Not):
        return _need("boolean", _parts(node), columns)
    if isinstance(node, exp.Lower | exp.Upper):
        return _need("text", _parts(node), columns)
    if isinstance(node, exp.Length):
        _need("text", [node.this], columns)
        return "number"
    if isinstance(node, exp.Like):
        _need("text", _parts(node), columns)
        return "boolean"
    if _same(node, _parts(node), columns) == "boolean" and not isinstance(node, exp.EQ | exp.NEQ | exp.In):
        raise ExpressionError(f"'{shown(node)}': true and false have no order")
    return "boolean"


def _parts(node: exp.Expr) -> list[exp.Expr]:
    named = [node.args.get(key) for key in ("this", "expression", "low", "high")]
    return [part for part in [*named, *node.expressions] if isinstance(part, exp.Expr)]


def _need(wanted: Kind, parts: Iterable[exp.Expr], columns: Mapping[str, Kind]) -> Kind:
    for part in parts:
        found = kind_of_tree(part, columns)
        if found not in (wanted, "null"):
            raise ExpressionError(f"'{shown(part)}' is {_WORDS[found]}, but {_WORDS[wanted]} is needed there")
    return wanted


def _same(node: exp.Expr, parts: Iterable[exp.Expr], columns: Mapping[str, Kind]) -> Kind:
    first: tuple[exp.Expr, Kind] | None = None
    for part in parts:
        found = kind_of_tree(part, columns)
        if found == "null":
            continue
        if first is None:
            first = (part, found)
        elif found != first[1]:
            raise ExpressionError(
                f"'{shown(node)}' mixes kinds: '{shown(first[0])}' is {_WORDS[first[1]]}, "
                f"'{shown(part)}' is {_WORDS[found]}"
            )
    return first[1] if first else "null"


def _choice(node: exp.Expr, columns: Mapping[str, Kind]) -> Kind:
    branches = [node] if isinstance(node, exp.If) else node.args["ifs"]
    otherwise = node.args.get("false") or node.args.get("default")
    conditions = [branch.this for branch in branches]
    if isinstance(node, exp.Case) and isinstance(node.this, exp.Expr):
        _same(node, [node.this, *conditions], columns)
    else:
        _need("boolean", conditions, columns)
    results = [branch.args["true"] for branch in branches]
    return _same(node, [*results, *([otherwise] if otherwise is not None else [])], columns)
