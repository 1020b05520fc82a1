"""Units in expressions over KPIs: EUR and orders are neither added nor compared."""

from __future__ import annotations

from collections.abc import Mapping

from sqlglot import exp

from onpace.config.expression_grammar import ExpressionError, children, column_name, shown
from onpace.config.expressions import Expression
from onpace.config.offsets import split_name

__all__ = ["check_units"]

Unit = str | int | None
"""A unit, 0 for a plain number (which goes with every unit), None for one that is not known."""

_SAME = (
    *(exp.Add, exp.Sub, exp.EQ, exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE, exp.In, exp.Between),
    *(exp.Coalesce, exp.Least, exp.Greatest, exp.Nullif, exp.Mod),
)
_KEEPS = (exp.Paren, exp.Neg, exp.Abs, exp.Floor, exp.Ceil, exp.Round)
_CONDITIONS = (exp.EQ, exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE, exp.In, exp.Between)


def check_units(expression: Expression, units: Mapping[str, str]) -> None:
    """Raise ExpressionError where values of different units meet. `units`: KPI -> unit, '' where none is declared."""
    _unit(expression.tree, units)


def _unit(node: exp.Expr, units: Mapping[str, str]) -> Unit:  # noqa: PLR0911 (one return a kind of node)
    if (name := column_name(node)) is not None:
        return units.get(split_name(name)[0]) or None
    if isinstance(node, exp.Literal | exp.Null | exp.Boolean):
        return 0
    if isinstance(node, exp.Mul | exp.Div):
        left, right = _unit(node.this, units), _unit(node.expression, units)
        return left if right == 0 else right if left == 0 and isinstance(node, exp.Mul) else None
    if isinstance(node, exp.Case | exp.If):
        return _choice(node, units)
    found = [(child, _unit(child, units)) for _, child in children(node)]
    if isinstance(node, _KEEPS):
        return found[0][1]
    if isinstance(node, _SAME):
        same = _same(node, found)
        return 0 if isinstance(node, _CONDITIONS) else same
    return 0


def _choice(node: exp.Case | exp.If, units: Mapping[str, str]) -> Unit:
    branches = [node] if isinstance(node, exp.If) else node.args["ifs"]
    for branch in branches:
        _unit(branch.this, units)
    results = [branch.args["true"] for branch in branches]
    results += [part for part in (node.args.get("false"), node.args.get("default")) if part is not None]
    return _same(node, [(result, _unit(result, units)) for result in results])


def _same(node: exp.Expr, parts: list[tuple[exp.Expr, Unit]]) -> Unit:
    """The one unit of the parts. Raises ExpressionError when there are two."""
    known = [(part, unit) for part, unit in parts if isinstance(unit, str)]
    for part, unit in known[1:]:
        first, wanted = known[0]
        if unit != wanted:
            raise ExpressionError(
                f"'{shown(node)}' mixes units: '{shown(first)}' is in {wanted}, '{shown(part)}' in {unit}"
            )
    if known:
        return known[0][1]
    return None if any(unit is None for _, unit in parts) else 0
