"""An expression as ClickHouse SQL. Every number in it is a Nullable(Float64), every text a Nullable(String)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from sqlglot import exp

from onpace.config.expression_grammar import column_name

__all__ = ["quote_text", "render_tree"]

_OPERATORS: dict[type[exp.Expr], str] = {
    exp.Add: "+",
    exp.Sub: "-",
    exp.Mul: "*",
    exp.EQ: "=",
    exp.NEQ: "!=",
    exp.LT: "<",
    exp.LTE: "<=",
    exp.GT: ">",
    exp.GTE: ">=",
    exp.And: "AND",
    exp.Or: "OR",
}
_FUNCTIONS: dict[type[exp.Expr], str] = {
    exp.Abs: "abs",
    exp.Floor: "floor",
    exp.Ceil: "ceil",
    exp.Lower: "lowerUTF8",
    exp.Upper: "upperUTF8",
    exp.Coalesce: "coalesce",
    exp.Nullif: "nullIf",
}
_ESCAPES = {"\\": "\\\\", "'": "\\'", "\n": "\\n", "\r": "\\r", "\t": "\\t", "{": "\\x7B", "}": "\\x7D"}


def quote_text(text: str) -> str:
    """A ClickHouse string literal. Braces are escaped too: clients look for `{name:Type}` even inside a text."""
    return "'" + "".join(_ESCAPES.get(char, char) for char in text) + "'"


def render_tree(node: exp.Expr, columns: Mapping[str, str]) -> str:
    """SQL for a checked tree, with each column replaced by its snippet."""
    if (name := column_name(node)) is not None:
        snippet = columns[name]
        return snippet if re.fullmatch(r"\w+(\.\w+)*", snippet) else f"({snippet})"
    if operator := _OPERATORS.get(type(node)):
        return f"({render_tree(node.this, columns)} {operator} {render_tree(node.expression, columns)})"
    if function := _FUNCTIONS.get(type(node)):
        return f"{function}({', '.join(render_tree(part, columns) for part in _operands(node))})"
    return _render_special(node, columns)


def _operands(node: exp.Expr) -> list[exp.Expr]:
    second = node.args.get("expression")
    return [node.this, *([second] if second is not None else []), *node.expressions]


def _render_special(node: exp.Expr, columns: Mapping[str, str]) -> str:  # noqa: PLR0911 (one return a node type)
    match node:
        case exp.Paren():
            return render_tree(node.this, columns)
        case exp.Literal():
            return quote_text(node.this) if node.is_string else repr(float(node.this))
        case exp.Null():
            return "NULL"
        case exp.Boolean():
            return "true" if node.this else "false"
        case exp.Neg():
            return f"(-{render_tree(node.this, columns)})"
        case exp.Not():
            return f"(NOT {render_tree(node.this, columns)})"
        case exp.Is():
            return f"isNull({render_tree(node.this, columns)})"
        case exp.Length():
            return f"toFloat64(lengthUTF8({render_tree(node.this, columns)}))"
        case exp.Case() | exp.If():
            return _render_choice(node, columns)
        case exp.In() | exp.Between() | exp.Like():
            return _render_test(node, columns)
        case _:
            return _render_arithmetic(node, columns)


def _render_arithmetic(node: exp.Expr, columns: Mapping[str, str]) -> str:
    match node:
        case exp.Div():
            return f"({render_tree(node.this, columns)} / nullIf({render_tree(node.expression, columns)}, 0))"
        case exp.Mod():
            left, right = render_tree(node.this, columns), render_tree(node.expression, columns)
            return f"({left} - trunc({left} / nullIf({right}, 0)) * {right})"
        case exp.Round():
            value, power = render_tree(node.this, columns), 10 ** int(getattr(node.args.get("decimals"), "this", 0))
            return f"(sign({value}) * floor(abs({value}) * {power} + 0.5) / {power})"
        case exp.Least() | exp.Greatest():
            parts = [render_tree(part, columns) for part in _operands(node)]
            missing = " OR ".join(f"isNull({part})" for part in parts)
            name = "least" if isinstance(node, exp.Least) else "greatest"
            return f"if({missing}, NULL, {name}({', '.join(parts)}))" if len(parts) > 1 else parts[0]
        case _:
            raise TypeError(f"{type(node).__name__} is on the whitelist but has no ClickHouse form")


def _render_test(node: exp.Expr, columns: Mapping[str, str]) -> str:
    subject = render_tree(node.this, columns)
    match node:
        case exp.Between():
            low, high = (render_tree(node.args[key], columns) for key in ("low", "high"))
            return f"({subject} >= {low} AND {subject} <= {high})"
        case exp.Like():
            test = f"({subject} LIKE {quote_text(node.expression.this)})"
            return f"(NOT {test})" if node.args.get("negate") else test
        case _:
            values = [render_tree(value, columns) for value in node.expressions]
            return "(" + " OR ".join(f"{subject} = {value}" for value in values) + ")"


def _render_choice(node: exp.Expr, columns: Mapping[str, str]) -> str:
    if isinstance(node, exp.If):
        branches, otherwise, subject = [node], node.args.get("false"), None
    else:
        branches, otherwise, subject = node.args["ifs"], node.args.get("default"), node.args.get("this")
    prefix = f"{render_tree(subject, columns)} = " if subject is not None else ""
    whens = "".join(
        f" WHEN {prefix}{render_tree(branch.this, columns)} THEN {render_tree(branch.args['true'], columns)}"
        for branch in branches
    )
    return f"(CASE{whens} ELSE {render_tree(otherwise, columns) if otherwise is not None else 'NULL'} END)"
