"""How much a value differs, as rules write it: `30%` of what it is compared with, or `50` in the KPI's unit."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

__all__ = ["Amount", "AmountInFile", "Percentage", "reached"]

_ROUNDING = 1e-9
_MOST = 10
"""A share above this is taken for a percentage whose sign was forgotten."""


def reached(value: float, bound: float) -> bool:
    """Whether a value is at least a bound; 1e-9 of it (relative) is rounding."""
    return value >= bound or math.isclose(value, bound, rel_tol=_ROUNDING)


@dataclass(frozen=True, slots=True)
class Amount:
    """A difference without a sign; in percent of the size of what it is compared with where `relative`."""

    number: float
    relative: bool

    def of(self, baseline: float) -> float:
        """What it comes to in the KPI's unit."""
        return abs(baseline) * self.number / 100 if self.relative else self.number

    def half(self) -> Amount:
        """Half of it."""
        return Amount(self.number / 2, self.relative)

    def __str__(self) -> str:
        return f"{self.number:g}%" if self.relative else f"{self.number:g}"


def _amount(value: Any) -> Any:
    if isinstance(value, Amount):
        return value
    found = None
    if isinstance(value, int | float) and not isinstance(value, bool):
        found = Amount(float(value), relative=False)
    elif isinstance(value, str) and (match := re.fullmatch(r"([+-]?\d+(?:\.\d+)?)\s*%", value.strip())):
        found = Amount(float(match[1]), relative=True)
    if found is None or not math.isfinite(found.number):
        raise ValueError(f"'{value}' is no amount: write 30% for a share, or a number in the KPI's unit, as in 50")
    if found.number < 0:
        raise ValueError(f"{found} must be 0 or more: the key says which way it goes")
    return found


AmountInFile = Annotated[
    Amount,
    BeforeValidator(_amount),
    WithJsonSchema(
        {"type": ["number", "string"], "minimum": 0, "pattern": r"^\+?\d+(\.\d+)?\s*%$", "examples": ["30%", 50]}
    ),
]


def _percentage(value: Any) -> Any:
    """`80%` -> 0.8; `0.8` is the same."""
    if isinstance(value, str) and (match := re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", value.strip())):
        return float(match[1]) / 100
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
        raise ValueError(f"'{value}' is no share: write it as 80%")
    if value > _MOST:
        raise ValueError(f"{value:g} is {value * 100:g} %: write {value:g}% with its sign")
    return float(value)


Percentage = Annotated[
    float,
    BeforeValidator(_percentage),
    WithJsonSchema(
        {"type": ["number", "string"], "minimum": 0, "maximum": _MOST, "pattern": r"^\d+(\.\d+)?\s*%$"},
    ),
]
