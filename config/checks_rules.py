"""What must hold for alert rules and the channels that they notify."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from urllib.parse import urlsplit

from onpace.config.addresses import UnreadableAddress, can_read_addresses, read_address
from onpace.config.catalog import Catalog
from onpace.config.checks_rule_kinds import (
    Complaint,
    anomaly_problems,
    attainment_problems,
    change_problems,
    forecast_problems,
    threshold_problems,
)
from onpace.config.declarations import Declarations
from onpace.config.errors import did_you_mean
from onpace.config.kpi_entities import REPORT, Kpi
from onpace.config.networks import is_private
from onpace.config.reports import Report
from onpace.config.rules import (
    AnomalyRule,
    AttainmentRule,
    ChangeRule,
    ForecastRule,
    NoDataRule,
    PeriodRule,
    Rule,
    ThresholdRule,
    WindowRule,
)
from onpace.config.yaml_lines import Place

__all__ = ["check_channels", "check_rules"]

PURPOSE = {"pace": "to be on pace for", "attainment": "to attain", "forecast": "to miss"}


def check_channels(found: Declarations, report: Report, *, private_webhooks: bool = True) -> None:
    """Report channels without an address. The address itself may be a secret and is never shown."""
    for name, declared in found.channels.items():
        channel, place = declared.model, declared.place
        if channel is None:
            continue
        if channel.type == "log":
            if channel.url is not None:
                report.add(place.at("url"), f"channel '{name}': type log takes no url")
        elif channel.url is None:
            report.add(place, f"channel '{name}': type {channel.type} needs a url")
        elif channel.type == "apprise":
            if wrong := _unreadable(channel.url):
                report.add(place.at("url"), f"channel '{name}': {wrong}")
        elif not re.fullmatch(r"https?://[^\s/]+\S*", channel.url):
            report.add(place.at("url"), f"channel '{name}': url must begin with http:// or https://")
        elif channel.type == "webhook" and not private_webhooks and is_private(_host(channel.url)):
            allow = "set ONPACE_ENGINE__PRIVATE_WEBHOOKS=true to allow it"
            report.add(place.at("url"), f"channel '{name}': url is a private address: {allow}")


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _unreadable(url: str) -> str:
    """Why apprise cannot use the address. A host that only validates may do so without apprise, and knows less."""
    if not can_read_addresses():
        return ""
    try:
        read_address(url)
    except UnreadableAddress as exc:
        return str(exc)
    return ""


def check_rules(found: Declarations, catalog: Catalog, report: Report) -> None:
    """Report rules that name what does not exist or that can never work; `catalog` holds the KPIs that are sound."""
    for name, declared in found.rules.items():
        rule, place, subject = declared.model, declared.place, f"rule '{name}'"
        if rule is None:
            continue
        if rule.kpi not in found.kpis:
            report.unknown(place.at("kpi"), subject, "kpi", rule.kpi, found.kpis)
        for index, channel in enumerate(rule.notify):
            if channel not in found.channels:
                report.unknown(place.at("notify", index), subject, "channel", channel, found.channels)
        _check_hours(rule, place, subject, report)
        _check_kind(rule, catalog, place, subject, report)
        if isinstance(rule, PeriodRule) and rule.kpi in found.kpis and not _has_targets(found.kpis[rule.kpi].place):
            report.add(place, f"{subject}: kpi '{rule.kpi}' has no targets {PURPOSE[rule.when]}")
        if isinstance(rule, WindowRule) and rule.min_volume and rule.min_volume.kpi not in found.kpis:
            report.unknown(place.at("min_volume", "kpi"), subject, "kpi", rule.min_volume.kpi, found.kpis)


def _has_targets(kpi: Place) -> bool:
    """Whether the file gives any, right or wrong."""
    return kpi.at("targets", 0).keys in kpi.document.lines


def _check_kind(rule: Rule, catalog: Catalog, place: Place, subject: str, report: Report) -> None:
    kpi = catalog.kpis.get(rule.kpi)
    for key, message in _kind_problems(rule, kpi, catalog):
        report.add(place.at(key) if key else place, f"{subject}: {message}")
    if isinstance(rule, WindowRule) and kpi:
        _check_windows(rule, kpi, catalog, place=place, subject=subject, report=report)


def _kind_problems(rule: Rule, kpi: Kpi | None, catalog: Catalog) -> Iterator[Complaint]:
    match rule:
        case ThresholdRule():
            yield from threshold_problems(rule, kpi)
        case ChangeRule():
            yield from change_problems(rule, kpi)
        case AnomalyRule():
            yield from anomaly_problems(rule, kpi)
        case AttainmentRule():
            yield from attainment_problems(rule, kpi)
        case ForecastRule():
            yield from forecast_problems(rule)
        case NoDataRule() if kpi and rule.after == timedelta(0) and not _only_reported(kpi, catalog):
            wrong = "must be longer than 0s" if "after" in rule.model_fields_set else "is missing, as in after: 2h"
            yield "after", f"after {wrong}"


def _only_reported(kpi: Kpi, catalog: Catalog) -> bool:
    """Whether no machine sends what it is made of."""
    return set(catalog.event_types(kpi)) == {REPORT}


def _check_windows(rule: WindowRule, kpi: Kpi, catalog: Catalog, *, place: Place, subject: str, report: Report) -> None:
    """The grain and the dimensions of a rule must be there in its KPI and in its volume."""
    volume = catalog.kpis.get(rule.min_volume.kpi) if rule.min_volume else None
    for other in [kpi, volume] if volume else [kpi]:
        base = catalog.base_grain(other)
        if rule.grain.rank < base.rank:
            report.add(
                place.at("grain"), f"{subject}: grain {rule.grain} is finer than that of kpi '{other.name}', {base}"
            )
        dimensions = catalog.dimensions(other)
        for index, name in enumerate(rule.by):
            if name not in dimensions:
                hint = did_you_mean(name, dimensions)
                report.add(place.at("by", index), f"{subject}: '{name}' is no dimension of kpi '{other.name}'{hint}")
    if "max_alerts" in rule.model_fields_set and not rule.by:
        report.add(place.at("max_alerts"), f"{subject}: max_alerts is for rules with `by`: add dimensions, or drop it")
    if volume and volume.calendar.frame != kpi.calendar.frame:
        differs = "follows another time zone" if volume.timezone != kpi.timezone else "has other weeks or fiscal years"
        report.add(place.at("min_volume"), f"{subject}: kpi '{volume.name}' {differs} than '{kpi.name}'")


def _check_hours(rule: Rule, place: Place, subject: str, report: Report) -> None:
    if rule.active:
        for text in rule.active.hours.split("-"):
            hour, minute = map(int, text.split(":"))
            if hour > 24 or minute > 59 or (hour == 24 and minute):
                report.add(place.at("active", "hours"), f"{subject}: active: hours: {text} is no time of day")
