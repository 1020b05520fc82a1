"""Targets as growth: `increase: 20%` of a baseline, or `increase: 2` in the KPI's unit, and what must hold for them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, WithJsonSchema

if TYPE_CHECKING:
    from onpace.config.kpi import Target
    from onpace.config.kpi_entities import Kpi

__all__ = ["Increase", "IncreaseInFile", "Over", "increase_problems"]

Over = Literal["previous", "year_ago"]


@dataclass(frozen=True, slots=True)
class Increase:
    """How much more (less, where negative) than the baseline is wanted."""

    amount: float
    """In percent of the baseline's size where `relative`, else in the KPI's unit."""
    relative: bool

    def over(self, baseline: float) -> float:
        """The value wanted. A share is one of the baseline's size, so that 20% is up from a negative baseline too."""
        return baseline + (abs(baseline) * self.amount / 100 if self.relative else self.amount)

    def in_file(self) -> float | str:
        """As it is written in a KPI file."""
        return f"{self.amount!r}%" if self.relative else self.amount

    def __str__(self) -> str:
        return f"{self.amount:+g}%" if self.relative else f"{self.amount:+g}"


def _increase(value: Any) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Increase(float(value), relative=False)
    if isinstance(value, str) and (match := re.fullmatch(r"([+-]?\d+(?:\.\d+)?)\s*%", value.strip())):
        return Increase(float(match[1]), relative=True)
    if isinstance(value, Increase):
        return value
    raise ValueError("must be a number in the KPI's unit, as in 2, or a share of the baseline, as in 20%")


IncreaseInFile = Annotated[
    Increase,
    BeforeValidator(_increase),
    WithJsonSchema({"type": ["number", "string"], "pattern": r"^[+-]?\d+(\.\d+)?\s*%$", "examples": ["20%", 2]}),
]


def increase_problems(kpi: Kpi, target: Target) -> Iterator[str]:
    """What is wrong with a target that has `increase` or `over`."""
    if target.increase is None:
        yield "over needs an increase: say how much more is wanted, as in increase: 20%"
        return
    if kpi.direction == "in_range":
        yield "direction in_range takes min and max, not an increase"
        return
    if target.over is None:
        yield "increase needs over: previous (the period before) or over: year_ago (the same one a year ago)"
    given = {"value": target.value, "min": target.min, "max": target.max, "from": target.start}
    if extra := [name for name, value in given.items() if value is not None]:
        yield f"increase makes the value, and the way begins at its baseline: leave {' and '.join(extra)} out"
    if target.increase.amount == 0:
        yield "an increase of 0 leaves nothing to reach"
    if target.increase.relative and target.increase.amount <= -100 and target.tolerance is None:
        yield f"an increase of {target.increase} ends at 0 or below: that needs a tolerance, in the KPI's unit"
    if kpi.unit == "ratio" and not target.increase.relative and abs(target.increase.amount) >= 1:
        points = f"{target.increase.amount / 100:g} for {target.increase.amount:g} percentage points"
        yield f"an increase of {target.increase.amount:g} in a ratio is {target.increase.amount * 100:g} points: " + (
            f"write {points}, or {target.increase.amount:g}% for a share of the baseline"
        )
