"""What a rule asks for, in a sentence. Pure."""

from __future__ import annotations

from onpace.alerts.changes import with_unit
from onpace.alerts.status import format_value
from onpace.config.amounts import Amount
from onpace.config.durations import format_duration
from onpace.config.rules import (
    AnomalyRule,
    AttainmentRule,
    ChangeRule,
    ForecastRule,
    NoDataRule,
    PaceRule,
    PeriodRule,
    Rule,
    ThresholdRule,
    WindowRule,
)

__all__ = ["asks", "rule_words"]


def rule_words(rule: Rule, title: str, unit: str) -> str:
    """`Orders: fires at a drop of 30 % or more against the same weekday, each hour, by region, for 1h`."""
    parts = [f"fires {_when(rule, unit)}"]
    if grain := getattr(rule, "grain", None):
        parts.append(f"each {grain.value.replace('_', ' ')}")
    if by := getattr(rule, "by", ()):
        parts.append(f"by {', '.join(by)}")
    if rule.hold:
        parts.append(f"for {format_duration(rule.hold)}")
    if after := getattr(rule, "after", None):
        parts.append(f"after {after:.0%} of the period" if isinstance(after, float) else "")
    return f"{title}: {', '.join(part for part in parts if part)}"


def asks(rule: Rule, unit: str) -> str:
    """When it fires, to stand behind what it saw: `it fires below 0.5`."""
    return "" if isinstance(rule, AnomalyRule) else f"it fires {_when(rule, unit)}"


def _when(rule: Rule, unit: str) -> str:
    return _of_window(rule, unit) if isinstance(rule, WindowRule) else _of_the_rest(rule)


def _of_window(rule: WindowRule, unit: str) -> str:
    match rule:
        case ThresholdRule():
            return _beyond(rule.below, rule.above, unit)
        case ChangeRule():
            word, amount = ("drop", rule.drop) if rule.drop else ("rise", rule.rise)
            effect = f" and {with_unit(rule.min_effect, unit)}" if rule.min_effect else ""
            return f"at a {word} of {_amount(amount, unit)}{effect} or more against {_AGAINST[rule.against]}"
        case AnomalyRule():
            return "on what is not usual"


def _of_the_rest(rule: PeriodRule | NoDataRule) -> str:
    match rule:
        case PaceRule():
            return "when off track" if rule.at == "off_track" else "when at risk or off track"
        case AttainmentRule():
            side, bound = ("below", rule.below) if rule.below is not None else ("above", rule.above)
            return f"{side} {(bound or 0.0) * 100:.4g} % of the target"
        case ForecastRule():
            return f"from a probability to miss of {rule.probability * 100:.4g} % on"
        case NoDataRule():
            return f"after {format_duration(rule.after)} of silence" if rule.after else "when a report is overdue"


_AGAINST = {"previous": "the one before", "same_weekday": "the same weekday", "year_ago": "a year ago"}


def _beyond(below: float | None, above: float | None, unit: str) -> str:
    found = [
        f"{side} {with_unit(bound, unit)}" for side, bound in (("below", below), ("above", above)) if bound is not None
    ]
    return " or ".join(found)


def _amount(amount: Amount | None, unit: str) -> str:
    if amount is None:
        return "?"
    return f"{format_value(amount.number)} %" if amount.relative else with_unit(amount.number, unit)
