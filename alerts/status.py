"""Status of a KPI against a target: on_track, at_risk, off_track, no_data, met or missed. Pure.

| direction | on_track | at_risk | else |
|---|---|---|---|
| higher_is_better | A >= E | A >= at_risk x E, or A >= E - tolerance | off_track |
| lower_is_better | A <= E | A <= E x (2 - at_risk), or A <= E + tolerance | off_track |
| in_range | min <= A <= max | within tolerance outside | off_track |

A is the actual value, E the expected one. Once the period has ended, A is compared with the target itself: met or
missed. A value within 1e-9 (relative) of a bound counts as having reached it: that much is rounding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime

from onpace.config.calendar import Grain
from onpace.config.kpi import Direction, Status, Target

__all__ = [
    "KpiStatus",
    "Labels",
    "Wanted",
    "attainment",
    "finite",
    "format_value",
    "judge",
    "judge_final",
    "target_series",
]

Labels = tuple[tuple[str, str | None], ...]
"""Dimension names and values; () is the total."""

ROUNDING = 1e-9


def target_series(target: Target) -> Labels:
    """The dimension values that a target is narrowed to, by name."""
    return tuple(sorted(target.by.items()))


def finite(value: float | None) -> float | None:
    """The value, or None for None, NaN and the infinities."""
    return float(value) if value is not None and math.isfinite(value) else None


@dataclass(frozen=True, slots=True)
class Wanted:
    """The values that would do: `low <= value <= high`, either of them infinite when that side is open."""

    low: float
    high: float

    @classmethod
    def of(cls, target: Target, direction: Direction) -> Wanted:
        """What the target asks for at the end of its period."""
        return cls.asked(target.min, target.max, target.value, direction)

    @classmethod
    def asked(cls, low: float | None, high: float | None, value: float | None, direction: Direction) -> Wanted:
        """The range where there is one, else the value and all that is better."""
        if low is None and high is None:
            low = None if direction == "lower_is_better" else value
            high = None if direction == "higher_is_better" else value
        return cls(-math.inf if low is None else low, math.inf if high is None else high)

    def due(self, begin: float, share: float) -> Wanted:
        """What is expected once `share` of the way from `begin` is due."""
        if share == 1:
            return self
        low, high = (
            begin + (bound - begin) * share if math.isfinite(bound) else bound for bound in (self.low, self.high)
        )
        return Wanted(low, high)

    def widened(self, margin: float) -> Wanted:
        """The same with `margin` more on both sides."""
        return Wanted(self.low - margin, self.high + margin)

    def holds(self, value: float) -> bool:
        """Whether the value will do."""
        return (value >= self.low or math.isclose(value, self.low, rel_tol=ROUNDING)) and (
            value <= self.high or math.isclose(value, self.high, rel_tol=ROUNDING)
        )

    def nearest(self, value: float | None) -> float | None:
        """The number to compare `value` with: the bound when there is one, else the closest value of the range."""
        if math.isinf(self.low) or math.isinf(self.high):
            return finite(self.high if math.isinf(self.low) else self.low)
        return None if value is None else min(max(value, self.low), self.high)

    def words(self, unit: str = "") -> str:
        """`20`, `20 to 30`; of ratios `20 %`."""
        if math.isinf(self.low) or math.isinf(self.high):
            return format_value(self.nearest(None), unit)
        return f"{format_value(self.low, unit)} to {format_value(self.high, unit)}"


@dataclass(frozen=True, slots=True)
class KpiStatus:
    """One target of one KPI in one period, as judged at `evaluated_at` on everything complete before `as_of`."""

    kpi: str
    target: str
    """The target's label: its period, or how often it comes."""
    series: Labels
    period: str
    grain: Grain
    """The length of the period."""
    period_start: datetime
    period_end: datetime
    evaluated_at: datetime
    as_of: datetime | None
    """W, at most the period's end; None when nothing is complete."""
    actual: float | None
    target_value: float | None
    target_min: float | None
    target_max: float | None
    expected: float | None
    attainment: float | None
    gap: float | None
    """Actual less expected, in the KPI's unit."""
    status: Status
    final: bool
    stale: bool
    reason: str
    baseline: float | None = None
    """Where the way to the target begins: its `from`, or what it is an increase over."""
    remark: str = ""
    """The part of the reason that is about guardrails."""

    @property
    def key(self) -> tuple[str, Labels, str]:
        """A KPI, series and period have one target in force, and so one status."""
        return self.kpi, self.series, self.period


def judge(actual: float | None, expected: Wanted, direction: Direction, target: Target) -> Status:
    """The status while the period runs."""
    value = finite(actual)
    if value is None:
        return "no_data"
    if expected.holds(value):
        return "on_track"
    if target.tolerance is not None:
        margin = expected.widened(target.tolerance)
    elif direction == "higher_is_better":
        margin = Wanted(expected.low * target.at_risk, math.inf)
    elif direction == "lower_is_better":
        margin = Wanted(-math.inf, expected.high * (2 - target.at_risk))
    else:
        return "off_track"
    return "at_risk" if margin.holds(value) else "off_track"


def judge_final(actual: float | None, wanted: Wanted) -> Status:
    """The status once the period has ended."""
    value = finite(actual)
    if value is None:
        return "no_data"
    return "met" if wanted.holds(value) else "missed"


def attainment(actual: float | None, target: Target, share: float = 1.0) -> float | None:
    """A / value, or (A - from) / (value - from) where `from` is given; None where that divides by zero or lacks one.

    With the `share` of both that is due by now it is the share of the way that the period ends with at this pace.
    """
    value, begin = finite(actual), target.start or 0.0
    if target.start is None:
        share = 1.0
    if value is None or target.value is None or target.value == begin or not share:
        return None
    return (value - begin * share) / ((target.value - begin) * share)


def format_value(value: float | None, unit: str = "") -> str:
    """For people: thousands separated, four significant digits below a thousand, an en dash for nothing.

    A ratio is in percent, with its sign; other units are not said.
    """
    if value is None:
        return "–"
    if unit == "ratio":
        return f"{format_value(value * 100)} %"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"
