"""Which of a rule's many series people are told of: the worst ones, and of the rest how many they are. Pure."""

from __future__ import annotations

from onpace.alerts.rules import Inputs

__all__ = ["gap_of"]


def gap_of(inputs: Inputs) -> float | None:
    """How far a value is from the bound that it crossed, from what it is compared with, or from what is usual."""
    value = inputs.get("value")
    if not isinstance(value, float | int):
        return None
    below, above = inputs.get("below"), inputs.get("above")
    if isinstance(below, float | int) and value < below:
        return below - value
    if isinstance(above, float | int) and value > above:
        return value - above
    middle = inputs.get("baseline", inputs.get("centre"))
    return abs(value - middle) if isinstance(middle, float | int) else 0.0
