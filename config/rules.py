"""Alert rules and the channels that notifications go to."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from onpace.config.calendar import Grain
from onpace.config.durations import Duration
from onpace.config.kpi import Model, Name, SlugName

__all__ = [
    "ActiveHours",
    "Channel",
    "Clear",
    "MinVolume",
    "NoDataRule",
    "PaceRule",
    "Rule",
    "Severity",
    "ThresholdRule",
]

Severity = Literal["info", "ticket", "page"]


def _share(value: Any) -> Any:
    """`10%` -> 0.1."""
    if isinstance(value, str) and (match := re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", value)):
        return float(match[1]) / 100
    return value


Share = Annotated[
    float,
    BeforeValidator(_share),
    Field(ge=0, le=1),
    WithJsonSchema({"type": ["number", "string"], "minimum": 0, "maximum": 1, "pattern": r"^\d+(\.\d+)?\s*%$"}),
]


class Channel(Model):
    """Where notifications go."""

    name: SlugName
    type: Literal["log", "webhook", "alertmanager", "apprise"]
    url: str | None = Field(default=None, repr=False)
    """It may hold a secret, and is never shown."""
    owner: str = ""
    """Whose channel it is: the only ones that hear of an owner's individual KPIs."""


class Clear(Model):
    """The condition that ends a threshold alert; between it and the firing bound nothing changes."""

    above: float | None = None
    below: float | None = None


class MinVolume(Model):
    """A window counts only when this KPI reached at least this much in it."""

    kpi: Name
    at_least: float


class ActiveHours(Model):
    """When a rule may notify, in the KPI's time zone: `{days: mon-fri, hours: "07:00-23:00"}`."""

    days: str = Field(default="mon-sun", pattern=r"^(mon|tue|wed|thu|fri|sat|sun)(-(mon|tue|wed|thu|fri|sat|sun))?$")
    hours: str = Field(default="00:00-24:00", pattern=r"^\d{2}:\d{2}-\d{2}:\d{2}$")


class RuleCommon(Model):
    """What every rule has."""

    name: SlugName
    kpi: Name
    hold: Duration = Field(default=timedelta(0), alias="for")
    """How long the condition must hold before the alert fires."""
    severity: Severity = "ticket"
    notify: tuple[str, ...] = ()
    active: ActiveHours | None = None


class ThresholdRule(RuleCommon):
    """Fires when a window's value is below or above a bound."""

    when: Literal["threshold"]
    below: float | None = None
    above: float | None = None
    clear: Clear | None = None
    grain: Grain = Grain.HOUR
    by: tuple[Name, ...] = ()
    min_volume: MinVolume | None = None


class PaceRule(RuleCommon):
    """Fires when the KPI's status against its target is `at` or worse."""

    when: Literal["pace"]
    at: Literal["at_risk", "off_track"] = "off_track"
    after: Share = 0.0
    """Share of the period that must have passed before the rule speaks."""


class NoDataRule(RuleCommon):
    """Fires when no event of the KPI's inputs has arrived for `after`, or a reported value is overdue."""

    when: Literal["no_data"]
    after: Duration = timedelta(0)
    """For KPIs that people report: how long it must be overdue already."""


Rule = ThresholdRule | PaceRule | NoDataRule
