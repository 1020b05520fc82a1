"""Rules on the unusual: XmR limits, and a robust residual where there are seasons. Pure.

**XmR** (individuals and moving range; Shewhart 1931, Wheeler, "Understanding Variation", 1993): centre = mean of the
last windows, limits = centre ± 2.66 x mean moving range, 2.66 being 3 / d2 with d2 = 1.128 for ranges of two. A window
beyond a limit is a signal, and so are eight in a row on one side of the centre.

**Seasonal**: a window is compared with the median of those in its slot (the weekday; for hours the hour of the week)
in the last eight weeks. How far off is usual is learned from the same windows, each against the median of the others
in its slot: 1.4826 x the median of their distances (MAD, made comparable with a standard deviation: Rousseeuw and
Croux 1993). Small counts have longer tails than that, so it is at least 1 / 1.645 of what nine in ten distances do not
exceed, which on a normal spread is the same; where both are 0, it is 1.2533 x the mean (Iglewicz and Hoaglin 1993).
What accumulates varies like counts do, by the root of its size: there distances are taken in roots of the median.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from statistics import fmean, median
from typing import Literal

from onpace.alerts.changes import bare, with_unit
from onpace.alerts.rules import NO_VALUE, Inputs, Verdict, too_little
from onpace.alerts.status import finite
from onpace.config.amounts import reached
from onpace.config.calendar import Calendar, Grain
from onpace.config.kpi import Direction
from onpace.config.rules import AnomalyRule

__all__ = [
    "MEAN_DEVIATION",
    "MEDIAN_DEVIATION",
    "MIN_WINDOWS",
    "NINE_IN_TEN",
    "RUN",
    "SMALLEST",
    "XMR",
    "Season",
    "Side",
    "Slot",
    "Usual",
    "anomaly_verdict",
    "side_of",
    "slot_of",
    "xmr",
]

MIN_WINDOWS = 12
"""Fewer windows say nothing about what is usual."""
RUN = 8
"""So many windows in a row on one side of the centre are a signal."""

XMR = 2.66
MEDIAN_DEVIATION, MEAN_DEVIATION = 1.4826, 1.2533
NINE_IN_TEN = 1.645
SMALLEST = 0.25
"""A slot's size is at least that of this share of the mean value: a quiet hour still has some luck."""

Slot = tuple[int, int]
"""Weekday (0 is Monday) and hour; for days the hour is 0."""
Side = Literal["low", "high", "both"]


@dataclass(frozen=True, slots=True)
class Usual:
    """What is nothing out of the ordinary: `low <= value <= high`."""

    centre: float
    low: float
    high: float
    words: str
    """What it was learned from."""
    before: tuple[float, ...] = ()
    """The values just before the window, where a run of them on one side counts."""

    def beyond(self, value: float, side: Side) -> bool:
        """Whether the value lies outside, on a side that is of interest."""
        return (side != "high" and not reached(value, self.low)) or (side != "low" and not reached(self.high, value))

    def run(self, value: float, side: Side) -> bool:
        """Whether it is one of so many in a row on one side of the centre."""
        values = (*self.before, value)
        if len(values) < RUN:
            return False
        low, high = (all(sign * (one - self.centre) > 0 for one in values) for sign in (-1, 1))
        return (low and side != "high") or (high and side != "low")


def xmr(values: Sequence[float], words: str) -> Usual:
    """XmR limits from consecutive windows, oldest first (at least two)."""
    centre = fmean(values)
    reach = XMR * fmean(abs(after - before) for before, after in pairwise(values))
    return Usual(centre, centre - reach, centre + reach, words, tuple(values[1 - RUN :]))


def slot_of(grain: Grain, start: datetime, calendar: Calendar) -> Slot:
    """The slot of the season that a window (a day or an hour) lies in, by the local clock."""
    local = start.astimezone(calendar.zone)
    return local.weekday(), local.hour if grain is Grain.HOUR else 0


@dataclass(frozen=True, slots=True)
class Season:
    """What is usual in each slot."""

    slots: Mapping[Slot, float]
    """The median of each slot that was seen at least twice."""
    sizes: Mapping[Slot, float]
    """What a distance is measured in."""
    scale: float | None
    """A standard deviation, in sizes; None where too few windows were seen."""

    @classmethod
    def learned(cls, seen: Mapping[Slot, Sequence[float]], *, accumulates: bool) -> Season:
        """From the values of each slot."""
        slots = {slot: median(values) for slot, values in seen.items() if len(values) > 1}
        sizes = _sizes(slots, seen) if accumulates else {}
        distances = [
            abs(value - median([*seen[slot][:at], *seen[slot][at + 1 :]])) / sizes.get(slot, 1.0)
            for slot in slots
            for at, value in enumerate(seen[slot])
        ]
        if len(distances) < MIN_WINDOWS:
            return cls(slots, sizes, None)
        return cls(slots, sizes, _scale(sorted(distances)))

    def usual(self, slot: Slot, sensitivity: float, words: str) -> Usual | None:
        """What is usual in a slot; None where too little was seen of it."""
        if self.scale is None or slot not in self.slots:
            return None
        reach = sensitivity * self.scale * self.sizes.get(slot, 1.0)
        return Usual(self.slots[slot], self.slots[slot] - reach, self.slots[slot] + reach, words)


def _sizes(slots: Mapping[Slot, float], seen: Mapping[Slot, Sequence[float]]) -> dict[Slot, float]:
    values = [value for found in seen.values() for value in found]
    if min(values, default=0) < 0:
        return {}
    smallest = SMALLEST * fmean(values) if values else 0.0
    return {slot: math.sqrt(max(value, smallest)) or 1.0 for slot, value in slots.items()}


def _scale(distances: Sequence[float]) -> float:
    """A standard deviation, from distances in order."""
    nine_in_ten = distances[-(-9 * len(distances) // 10) - 1]
    return max(MEDIAN_DEVIATION * median(distances), nine_in_ten / NINE_IN_TEN) or MEAN_DEVIATION * fmean(distances)


def side_of(rule: AnomalyRule, direction: Direction) -> Side:
    """Which way is of interest: what the rule says, else the bad one."""
    if rule.direction:
        return rule.direction
    return {"higher_is_better": "low", "lower_is_better": "high", "in_range": "both"}[direction]  # type: ignore[return-value]


def anomaly_verdict(
    rule: AnomalyRule,
    value: float | None,
    volume: float | None,
    usual: Usual | str,
    *,
    side: Side,
    firing: bool,
    unit: str = "",
) -> Verdict:
    """One complete window of one series against what is usual, or why that is not known.

    Breached beyond the limits, or in a run, when the value is also off the centre by at least `min_effect`. A firing
    alert ends inside the limits, or at half of `min_effect`.
    """
    value, known = finite(value), usual if isinstance(usual, Usual) else None
    inputs: Inputs = {
        "value": value,
        "centre": known.centre if known else None,
        "low": known.low if known else None,
        "high": known.high if known else None,
        "learned_from": known.words if known else None,
        "volume": finite(volume),
    }
    if value is None or too_little(rule.min_volume, volume):
        return Verdict(None, too_little(rule.min_volume, volume) or NO_VALUE, value, inputs)
    if isinstance(usual, str):
        return Verdict(None, usual, value, inputs)
    beyond = usual.beyond(value, side)
    signal, effect = beyond or usual.run(value, side), rule.min_effect or 0.0
    reason = _sentence(value, usual, beyond=beyond, run=signal and not beyond, unit=unit)
    off = abs(value - usual.centre)
    if not signal:
        return Verdict(False, reason, value, inputs)
    if reached(off, effect):
        return Verdict(True, reason, value, inputs)
    if firing and off > effect / 2:
        return Verdict(None, f"{reason}: not near enough yet", value, inputs)
    return Verdict(False, f"{reason}: off by less than {with_unit(effect, unit)}", value, inputs)


def _sentence(value: float, usual: Usual, *, beyond: bool, run: bool, unit: str) -> str:
    side = "below" if value < usual.centre else "above"
    if run:
        return f"{with_unit(value, unit)}: {RUN} in a row {side} {bare(usual.centre, unit)}, the mean of {usual.words}"
    place = side if beyond else "within"
    spread = f"the usual {bare(usual.low, unit)} to {bare(usual.high, unit)}"
    return f"{with_unit(value, unit)}, {place} {spread} of {usual.words} (around {bare(usual.centre, unit)})"
