"""Expressions as polars columns, exact where they can be.

A `decimal: n` property stands in the frame as an Int64 of 10^-n units, and stays an integer through `+ - * %`,
comparisons, rounding and choices; a division, or a float operand, makes it Float64.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import reduce
from typing import Literal

import polars as pl
from sqlglot import exp

from onpace.config.expression_grammar import column_name
from onpace.config.expressions import Expression

__all__ = ["Column", "ColumnKind", "Typed", "compile_polars"]

ColumnKind = Literal["int", "float", "str", "bool"]
MAX_BITS = 127
"""What an Int128 holds; a result that may be longer becomes Float64."""
MAX_SCALE = 18


@dataclass(frozen=True, slots=True)
class Column:
    """How a property stands in the frame: `int` with scale n is an Int64 of 10^-n units."""

    kind: ColumnKind
    scale: int = 0


@dataclass(frozen=True, slots=True)
class Typed:
    """A compiled expression. `int` results are Int64 (up to 63 `bits`) or Int128 of 10^-scale units."""

    expr: pl.Expr
    kind: ColumnKind
    scale: int = 0
    bits: int = 63
    """Upper bound of the length of an integer result, sign aside."""
    null: bool = False
    """Nothing but null: it takes the kind of whatever it meets."""


def compile_polars(expression: Expression, columns: Mapping[str, Column]) -> Typed:
    """The expression over a frame whose columns are named by their dotted paths. Its kinds must have been checked.

    A null condition stays null: the caller treats it as false. Without columns the result is one value, to be repeated.
    """
    return _compile(expression.tree, columns)


def _compile(node: exp.Expr, columns: Mapping[str, Column]) -> Typed:
    if (name := column_name(node)) is not None:
        column = columns[name]
        return Typed(pl.col(name), column.kind, column.scale)
    typed = _HANDLERS[type(node)](node, columns)
    return typed if isinstance(node, exp.Literal | exp.Null) else replace(typed, expr=_fold(typed.expr))


def _fold(part: pl.Expr) -> pl.Expr:
    """A part without columns as one literal, since polars does not broadcast all that it computes from literals."""
    if part.meta.root_names():
        return part
    result = pl.select(part).to_series()
    return pl.lit(result.item(), result.dtype)


def _operands(node: exp.Expr, columns: Mapping[str, Column]) -> list[Typed]:
    second = node.args.get("expression")
    parts = [node.this, *([second] if second is not None else []), *node.expressions]
    return [_compile(part, columns) for part in parts]


# --- numbers: literals, alignment


def _literal(node: exp.Expr, _: Mapping[str, Column]) -> Typed:
    if node.is_string:
        return Typed(pl.lit(node.this, pl.String), "str")
    number = Decimal(node.this)
    exponent = number.as_tuple().exponent
    scale = max(0, -exponent) if isinstance(exponent, int) else 0
    unscaled = int(number.scaleb(scale))
    bits = unscaled.bit_length()
    if scale > MAX_SCALE or bits > MAX_BITS:
        return Typed(pl.lit(float(number), pl.Float64), "float")
    return Typed(pl.lit(unscaled, _integer(bits)), "int", scale, bits)


def _integer(bits: int) -> pl.DataType:
    return pl.Int64() if bits <= 63 else pl.Int128()


def _widen(value: Typed, bits: int) -> pl.Expr:
    """An integer in the type that holds `bits`; a cast only where it is needed."""
    return value.expr if _integer(bits) == _integer(value.bits) else value.expr.cast(_integer(bits))


def _null(_: exp.Expr, __: Mapping[str, Column]) -> Typed:
    return Typed(pl.lit(None, pl.Float64), "float", null=True)


def _to_float(value: Typed) -> Typed:
    if value.kind != "int":
        return value
    return Typed(unscaled(value.expr.cast(pl.Float64), value.scale), "float")


def unscaled(number: pl.Expr, scale: int) -> pl.Expr:
    """A scaled integer (as floats) divided by 10^`scale`, correctly rounded: 190 / 100 is 1.9."""
    return number / _spread(pl.lit(float(10**scale)), number) if scale else number


def _spread(constant: pl.Expr, over: pl.Expr) -> pl.Expr:
    """A constant as a column: polars divides by a constant by multiplying with its reciprocal, often one bit off."""
    return over * 0.0 + constant


def _rescale(value: Typed, scale: int) -> Typed:
    if scale == value.scale:
        return value
    factor = 10 ** (scale - value.scale)
    bits = value.bits + factor.bit_length()
    return Typed(_widen(value, bits) * pl.lit(factor, _integer(bits)), "int", scale, bits)


def _align(values: Sequence[Typed], spare: int = 0) -> list[Typed]:
    """All of one kind and scale; `spare` bits of room are asked for above the longest."""
    kinds: set[ColumnKind] = {value.kind for value in values if not value.null}
    if not kinds:
        return list(values)
    if kinds == {"int"}:
        scale = max(value.scale for value in values if not value.null)
        aligned = [_typed_null("int", scale) if value.null else _rescale(value, scale) for value in values]
        bits = max(value.bits for value in aligned) + spare
        if bits <= MAX_BITS:
            return [replace(value, expr=_widen(value, bits), bits=bits) for value in aligned]
    if kinds <= {"int", "float"}:
        return [_typed_null("float", 0) if value.null else _to_float(value) for value in values]
    kind = kinds.pop()
    return [_typed_null(kind, 0) if value.null else value for value in values]


def _typed_null(kind: ColumnKind, scale: int) -> Typed:
    dtypes: dict[ColumnKind, pl.DataType] = {
        "int": pl.Int64(),
        "float": pl.Float64(),
        "str": pl.String(),
        "bool": pl.Boolean(),
    }
    return Typed(pl.lit(None, dtypes[kind]), kind, scale, bits=1)


def _as(value: Typed, kind: ColumnKind) -> pl.Expr:
    return _typed_null(kind, 0).expr if value.null else value.expr


# --- arithmetic


def _sum(node: exp.Expr, columns: Mapping[str, Column]) -> Typed:
    left, right = _align(_operands(node, columns), spare=1)
    result = left.expr + right.expr if isinstance(node, exp.Add) else left.expr - right.expr
    return replace(left, expr=result)


def _product(node: exp.Expr, columns: Mapping[str, Column]) -> Typed:
    left, right = _operands(node, columns)
    bits, scale = left.bits + right.bits, left.scale + right.scale
    exact = left.kind == right.kind == "int" and bits <= MAX_BITS and scale <= MAX_SCALE
    if not exact:
        left, right = _to_float(left), _to_float(right)
        return Typed(left.expr * right.expr, "float", null=left.null and right.null)
    return Typed(_widen(left, bits) * _widen(right, bits), "int", scale, bits)


def _quotient(node: exp.Expr, columns: Mapping[str, Column]) -> Typed:
    left, right = (_to_float(value) for value in _operands(node, columns))
    divisor = right.expr if node.expression.find(exp.Column) else _spread(right.expr, left.expr)
    return Typed(left.expr / pl.when(right.expr != 0).then(divisor), "float")


def _remainder(node: exp.Expr, columns: Mapping[str, Column]) -> Typed:
    left, right = _align(_operands(node, columns))
    divisor = pl.when(right.expr != 0).then(right.expr)
    if left.kind == "float":
        return Typed(left.expr - (left.expr / divisor).truncate() * right.expr, "float")
    return replace(left, expr=(left.expr.abs() % divisor.abs()) * left.expr.sign())


def _negative(node: exp.Expr, columns: Mapping[str, Column]) -> Typed:
    value = _compile(node.this, columns)
    return replace(value, expr=_minus(value))


def _minus(value: Typed) -> pl.Expr:
    """A subtraction, since polars cannot negate an Int128; -0.0 keeps the sign of a zero."""
    return (pl.lit(0, _integer(value.bits)) if value.kind == "int" else pl.lit(-0.0, pl.Float64)) - value.expr


def _absolute(node: exp.Expr, columns: Mapping[str, Column]) -> Typed:
    value = _compile(node.this, columns)
    return replace(value, expr=value.expr.abs())


def _whole(node: exp.Expr, columns: Mapping[str, Column]) -> Typed:
    value = _compile(node.this, columns)
    if value.kind == "float":
        return replace(value, expr=value.expr.floor() if isinstance(node, exp.Floor) else value.expr.ceil())
    unit = pl.lit(10**value.scale, _integer(value.bits))
    if isinstance(node, exp.Floor):
        return Typed(value.expr // unit, "int", 0, value.bits)
    return Typed(_minus(replace(value, expr=_minus(value) // unit)), "int", 0, value.bits)


def _round(node: exp.Expr, columns: Mapping[str, Column]) -> Typed:
    """Half away from zero."""
    value, places = _compile(node.this, columns), int(getattr(node.args.get("decimals"), "this", 0))
    if value.kind == "float":
        power = float(10**places)
        magnitude = (value.expr.abs() * power + 0.5).floor() / power
        return replace(value, expr=value.expr.sign() * magnitude)
    if value.scale <= places:
        return value
    unit = 10 ** (value.scale - places)
    bits = max(value.bits, unit.bit_length()) + 1
    exact, dtype = _widen(value, bits), _integer(bits)
    magnitude = (exact.abs() + pl.lit(unit // 2, dtype)) // pl.lit(unit, dtype)
    return Typed(magnitude * exact.sign(), "int", places, bits)


def _extreme(node: exp.Expr, columns: Mapping[str, Column]) -> Typed:
    values = _align(_operands(node, columns))
    present = reduce(lambda all_of, one: all_of & one, (value.expr.is_not_null() for value in values))
    pick = pl.min_horizontal if isinstance(node, exp.Least) else pl.max_horizontal
    return replace(values[0], expr=pl.when(present).then(pick(*(value.expr for value in values))))


# --- conditions


_COMPARISONS: dict[type[exp.Expr], Callable[[pl.Expr, pl.Expr], pl.Expr]] = {
    exp.EQ: lambda a, b: a == b,
    exp.NEQ: lambda a, b: a != b,
    exp.LT: lambda a, b: a < b,
    exp.LTE: lambda a, b: a <= b,
    exp.GT: lambda a, b: a > b,
    exp.GTE: lambda a, b: a >= b,
}
_MIRRORED: dict[type[exp.Expr], type[exp.Expr]] = {exp.LT: exp.GT, exp.LTE: exp.GTE, exp.GT: exp.LT, exp.GTE: exp.LTE}


def _compare(left: Typed, right: Typed, comparison: type[exp.Expr]) -> pl.Expr:
    """A constant goes to the right: with one on the left, polars cuts the result to one row where the right side
    turns out to be the same in all rows (`0 == when(false).then(…).otherwise(0)`)."""
    if left.null or right.null:
        return pl.lit(None, pl.Boolean)
    one, other = _align([left, right])
    if not one.expr.meta.root_names():
        one, other, comparison = other, one, _MIRRORED.get(comparison, comparison)
    return _fold(_COMPARISONS[comparison](one.expr, other.expr))


def _comparison(node: exp.Expr, columns: Mapping[str, Column]) -> Typed:
    left, right = _operands(node, columns)
    return Typed(_compare(left, right, type(node)), "bool")


def _logic(node: exp.Expr, columns: Mapping[str, Column]) -> Typed:
    left, right = (_as(value, "bool") for value in _operands(node, columns))
    return Typed(_join(left, right, absorbing=isinstance(node, exp.Or)), "bool")


def _join(left: pl.Expr, right: pl.Expr, absorbing: bool) -> pl.Expr:
    """OR (true absorbs) or AND (false absorbs). Constants are settled here, for the reason that `_compare` gives."""
    if not left.meta.root_names():
        left, right = right, left
    if not right.meta.root_names() and (value := pl.select(right).item()) is not None:
        return right if value is absorbing else left
    return left | right if absorbing else left & right


def _not(node: exp.Expr, columns: Mapping[str, Column]) -> Typed:
    return Typed(~_as(_compile(node.this, columns), "bool"), "bool")


def _is_null(node: exp.Expr, columns: Mapping[str, Column]) -> Typed:
    return Typed(_compile(node.this, columns).expr.is_null(), "bool")


def _in(node: exp.Expr, columns: Mapping[str, Column]) -> Typed:
    if all(isinstance(value, exp.Literal) and value.is_string for value in node.expressions):
        subject = _as(_compile(node.this, columns), "str")
        return Typed(subject.is_in([value.this for value in node.expressions]), "bool")
    return _in_any(*_operands(node, columns))


def _in_any(subject: Typed, *values: Typed) -> Typed:
    tests = [_compare(subject, value, exp.EQ) for value in values]
    return Typed(reduce(lambda any_of, one: _join(any_of, one, absorbing=True), tests), "bool")


def _between(node: exp.Expr, columns: Mapping[str, Column]) -> Typed:
    subject, low, high = (_compile(node.args[key], columns) for key in ("this", "low", "high"))
    above = _compare(subject, low, exp.GTE)
    below = _compare(subject, high, exp.LTE)
    return Typed(_join(above, below, absorbing=False), "bool")


def _like(node: exp.Expr, columns: Mapping[str, Column]) -> Typed:
    found = _as(_compile(node.this, columns), "str").str.contains(_like_pattern(node.expression.this))
    return Typed(~found if node.args.get("negate") else found, "bool")


def _like_pattern(pattern: str) -> str:
    """The regular expression of a LIKE pattern: `%` any text, `_` one character, a backslash escapes them."""
    parts = re.findall(r"\\[%_\\]|.", pattern, flags=re.DOTALL)
    wild = {"%": ".*", "_": "."}
    return r"(?s)\A" + "".join(wild.get(part) or re.escape(part[-1]) for part in parts) + r"\z"


# --- choices


def _case(node: exp.Expr, columns: Mapping[str, Column]) -> Typed:
    branches = node.args["ifs"] if isinstance(node, exp.Case) else [node]
    otherwise = node.args.get("default") or node.args.get("false")
    conditions = [_compile(branch.this, columns) for branch in branches]
    results = [_compile(branch.args["true"], columns) for branch in branches]
    if isinstance(node, exp.Case) and node.this is not None:
        subject = _compile(node.this, columns)
        conditions = [Typed(_compare(subject, one, exp.EQ), "bool") for one in conditions]
    *results, last = _align([*results, _compile(otherwise, columns) if otherwise is not None else _null(node, columns)])
    chosen = last.expr
    for condition, result in zip(reversed(conditions), reversed(results), strict=True):
        chosen = pl.when(_as(condition, "bool")).then(result.expr).otherwise(chosen)
    return replace(last, expr=chosen)


def _coalesce(node: exp.Expr, columns: Mapping[str, Column]) -> Typed:
    values = _align(_operands(node, columns))
    *first, chosen = (value.expr for value in values)
    for value in reversed(first):  # pl.coalesce gives one row when its first argument is a constant
        chosen = pl.when(value.is_not_null()).then(value).otherwise(chosen)
    return replace(values[0], expr=chosen)


def _nullif(node: exp.Expr, columns: Mapping[str, Column]) -> Typed:
    value, other = _operands(node, columns)
    equal = _compare(value, other, exp.EQ)
    empty = _typed_null(value.kind, value.scale).expr
    return replace(value, expr=pl.when(equal).then(empty).otherwise(value.expr))


# --- text


def _change_case(node: exp.Expr, columns: Mapping[str, Column]) -> Typed:
    text = _as(_compile(node.this, columns), "str").str
    return Typed(text.to_lowercase() if isinstance(node, exp.Lower) else text.to_uppercase(), "str")


def _length(node: exp.Expr, columns: Mapping[str, Column]) -> Typed:
    text = _as(_compile(node.this, columns), "str")
    return Typed(text.str.len_chars().cast(pl.Int64), "int", bits=32)


_HANDLERS: dict[type[exp.Expr], Callable[[exp.Expr, Mapping[str, Column]], Typed]] = {
    exp.Literal: _literal,
    exp.Null: _null,
    exp.Boolean: lambda node, _: Typed(pl.lit(bool(node.this), pl.Boolean), "bool"),
    exp.Paren: lambda node, columns: _compile(node.this, columns),
    exp.Add: _sum,
    exp.Sub: _sum,
    exp.Mul: _product,
    exp.Div: _quotient,
    exp.Mod: _remainder,
    exp.Neg: _negative,
    exp.Abs: _absolute,
    exp.Floor: _whole,
    exp.Ceil: _whole,
    exp.Round: _round,
    exp.Least: _extreme,
    exp.Greatest: _extreme,
    **dict.fromkeys(_COMPARISONS, _comparison),
    exp.And: _logic,
    exp.Or: _logic,
    exp.Not: _not,
    exp.Is: _is_null,
    exp.In: _in,
    exp.Between: _between,
    exp.Like: _like,
    exp.Case: _case,
    exp.If: _case,
    exp.Coalesce: _coalesce,
    exp.Nullif: _nullif,
    exp.Lower: _change_case,
    exp.Upper: _change_case,
    exp.Length: _length,
}
