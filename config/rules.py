"""Alert rules and the channels that notifications go to."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from onpace.config.amounts import AmountInFile, Percentage
from onpace.config.calendar import Grain
from onpace.config.durations import Duration
from onpace.config.kpi import Model, Name, SlugName

__all__ = [
    "ActiveHours",
    "AnomalyRule",
    "AttainmentRule",
    "ChangeRule",
    "Channel",
    "Clear",
    "ForecastRule",
    "MinVolume",
    "NoDataRule",
    "PaceRule",
    "PeriodRule",
    "Rule",
    "Severity",
    "ThresholdRule",
    "WindowRule",
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


MAX_ALERTS = 20
"""Of so many series of a rule people are told unless it says otherwise."""


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
    keep: Duration = Field(default=timedelta(0), alias="keep_firing_for")
    """How long the alert stays firing after the condition has ended."""
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
    max_alerts: int = Field(default=MAX_ALERTS, ge=1, le=1000, strict=True)
    """People are told of so many series at a time, the worst first."""
    min_volume: MinVolume | None = None


class ChangeRule(RuleCommon):
    """Fires when a window's value is so much less or more than it was in an earlier one."""

    when: Literal["change"]
    against: Literal["previous", "same_weekday", "year_ago"]
    drop: AmountInFile | None = None
    rise: AmountInFile | None = None
    clear: AmountInFile | None = None
    """It ends once the drop or rise is at most this; half of it by default."""
    min_effect: float | None = Field(default=None, ge=0)
    """So much, in the KPI's unit, the difference must be as well."""
    grain: Grain = Grain.DAY
    by: tuple[Name, ...] = ()
    max_alerts: int = Field(default=MAX_ALERTS, ge=1, le=1000, strict=True)
    """People are told of so many series at a time, the worst first."""
    min_volume: MinVolume | None = None


class AnomalyRule(RuleCommon):
    """Fires when a window's value is not what the windows before it lead one to expect."""

    when: Literal["anomaly"]
    method: Literal["auto", "xmr", "seasonal"] = "auto"
    direction: Literal["both", "low", "high"] | None = None
    """Which way is of interest; the bad one by default."""
    baseline: int = Field(default=20, ge=12, le=100)
    """So many windows the XmR limits are learned from."""
    sensitivity: float = Field(default=4.0, ge=1, le=20)
    """So many standard deviations off is an anomaly, where there are seasons: the higher, the quieter."""
    min_effect: float | None = Field(default=None, ge=0)
    """So much, in the KPI's unit, the value must be off as well."""
    grain: Grain = Grain.DAY
    by: tuple[Name, ...] = ()
    max_alerts: int = Field(default=MAX_ALERTS, ge=1, le=1000, strict=True)
    """People are told of so many series at a time, the worst first."""
    min_volume: MinVolume | None = None


class PaceRule(RuleCommon):
    """Fires when the KPI's status against its target is `at` or worse."""

    when: Literal["pace"]
    at: Literal["at_risk", "off_track"] = "off_track"
    after: Share = 0.0
    """Share of the period that must have passed before the rule speaks."""


class AttainmentRule(RuleCommon):
    """Fires when the share of the headline target that is reached so far is below or above a bound."""

    when: Literal["attainment"]
    below: Percentage | None = None
    above: Percentage | None = None
    clear: Percentage | None = None
    """The attainment that ends it; 2 points past the bound by default."""
    after: Share = 0.0
    """Share of the period that must have passed before the rule speaks."""


class ForecastRule(RuleCommon):
    """Fires when the KPI will probably miss its target at the end of the period."""

    when: Literal["forecast"]
    probability: Percentage = 0.7
    """Of a miss, from which on it fires."""
    clear: Percentage | None = None
    """The probability at which it ends; 10 points less by default."""
    after: Share = 0.0
    """Share of the period that must have passed before the rule speaks."""


class NoDataRule(RuleCommon):
    """Fires when no event of the KPI's inputs has arrived for `after`, or a reported value is overdue."""

    when: Literal["no_data"]
    after: Duration = timedelta(0)
    """For KPIs that people report: how long it must be overdue already."""


WindowRule = ThresholdRule | ChangeRule | AnomalyRule
"""Rules that look at each complete window of a grain, per series."""

PeriodRule = PaceRule | AttainmentRule | ForecastRule
"""Rules that look at targets in their periods."""

Rule = WindowRule | PeriodRule | NoDataRule
