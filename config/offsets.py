"""Looking back in time in expressions over KPIs: `offset(revenue, '1 year')`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from sqlglot import exp

from onpace.config.expression_grammar import ExpressionError, column_name, shown

__all__ = ["Shift", "offsets_as_columns", "parse_shift", "split_name"]

Unit = Literal["minute", "hour", "day", "week", "month", "quarter", "year"]
_UNITS: dict[str, Unit] = {
    **dict.fromkeys(("minute", "minutes", "min"), "minute"),
    **dict.fromkeys(("hour", "hours", "h"), "hour"),
    **dict.fromkeys(("day", "days", "d"), "day"),
    **dict.fromkeys(("week", "weeks", "w"), "week"),
    **dict.fromkeys(("month", "months"), "month"),
    **dict.fromkeys(("quarter", "quarters"), "quarter"),
    **dict.fromkeys(("year", "years", "y"), "year"),
}


@dataclass(frozen=True, slots=True)
class Shift:
    """So many units of the calendar back: days and longer by the date, hours and minutes by the clock's run."""

    count: int
    unit: Unit

    def __str__(self) -> str:
        return f"{self.count} {self.unit}"


def parse_shift(text: str) -> Shift:
    """`'1 year'`, `'3 months'`, `'4w'`. Raises ValueError with the accepted units."""
    match = re.fullmatch(r"(\d{1,4})\s*([a-z]+)", text.strip())
    if not match or match[2] not in _UNITS or not int(match[1]):
        known = ", ".join(dict.fromkeys(_UNITS.values()))
        raise ValueError(f"'{text}' is no offset: write a number and one of {known}, as in '1 year'")
    return Shift(int(match[1]), _UNITS[match[2]])


def split_name(name: str) -> tuple[str, Shift | None]:
    """The KPI and the shift of a column that `offsets_as_columns` made; a plain name has none."""
    kpi, bar, shift = name.partition("|")
    return kpi, parse_shift(shift) if bar else None


def offsets_as_columns(tree: exp.Expr) -> exp.Expr:
    """The tree with each `offset(kpi, '…')` as one column, named by both. Raises ExpressionError for a wrong one."""
    return tree.transform(_as_column)


def _as_column(node: exp.Expr) -> exp.Expr:
    if not (isinstance(node, exp.Anonymous) and str(node.this).lower() == "offset"):
        return node
    arguments = node.expressions
    name = column_name(arguments[0]) if arguments else None
    if len(arguments) != 2 or name is None or not (isinstance(arguments[1], exp.Literal) and arguments[1].is_string):
        raise ExpressionError(f"'{shown(node)}': write offset(kpi, '1 year'): a KPI's name, and how far back in quotes")
    try:
        shift = parse_shift(arguments[1].this)
    except ValueError as error:
        raise ExpressionError(f"'{shown(node)}': {error}") from None
    return exp.column(exp.to_identifier(f"{name}|{shift}", quoted=True))
