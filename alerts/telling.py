"""Which of a rule's many series people are told of: the worst, and of the rest how many they are. Pure.

A series that people were told of keeps its place until it ends, however others fare meanwhile; then the place goes to
the worst of those that still fire.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from itertools import groupby

from onpace.alerts.rules import Inputs
from onpace.alerts.states import Alert, AlertId
from onpace.config.catalog import Catalog
from onpace.config.rules import WindowRule

__all__ = ["gap_of", "held_back", "more_words"]


def held_back(catalog: Catalog, alerts: Iterable[Alert], speaks: Callable[[Alert], bool]) -> frozenset[AlertId]:
    """The firing alerts beyond the `max_alerts` of their rules, of which nobody is told for now.

    `speaks` says whether people may be told of an alert at all now: what is silenced, say, takes no place.
    """
    told: Counter[str] = Counter()
    waiting: list[Alert] = []
    for alert in alerts:
        if alert.state == "firing" and alert.series and not alert.period:
            if alert.heard == "firing":
                told[alert.rule] += 1
            elif isinstance(catalog.rules.get(alert.rule), WindowRule) and speaks(alert):
                waiting.append(alert)
    held: set[AlertId] = set()
    for name, some in groupby(sorted(waiting, key=_worst_first), key=lambda alert: alert.rule):
        rule = catalog.rules[name]
        room = max(0, rule.max_alerts - told[name]) if isinstance(rule, WindowRule) else 0
        held |= {alert.identity for alert in list(some)[room:]}
    return frozenset(held)


def _worst_first(alert: Alert) -> tuple[object, ...]:
    # null comes before all other values of a dimension
    series = [(value is not None, value or "") for _, value in alert.series]
    return alert.rule, -(alert.gap or 0.0), alert.fired_at, series


def more_words(count: int) -> str:
    """`And 37 more series`; '' for none."""
    return f"And {count:,} more series" if count else ""


def gap_of(inputs: Inputs, *, accumulates: bool) -> float | None:
    """How bad a window is: how far it is from the bound that it crossed, from what it is compared with, or from what is
    usual, in the KPI's unit. A level is weighted with its volume, if it has one: a point of much is worse.
    """
    value, volume = inputs.get("value"), inputs.get("volume")
    if not isinstance(value, float | int):
        return None
    weight = 1.0 if accumulates or not isinstance(volume, float | int) else abs(volume)
    return _off(value, inputs) * weight


def _off(value: float, inputs: Inputs) -> float:
    below, above = inputs.get("below"), inputs.get("above")
    if isinstance(below, float | int) and value < below:
        return below - value
    if isinstance(above, float | int) and value > above:
        return value - above
    middle = inputs.get("baseline", inputs.get("centre"))
    return abs(value - middle) if isinstance(middle, float | int) else 0.0
