"""What messages say, in sentences that a manager understands. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime

from onpace.alerts.evaluation import Evaluation
from onpace.alerts.quantities import difference, in_period, local_time, period_name, quantity
from onpace.alerts.states import Alert
from onpace.alerts.status import KpiStatus, Labels
from onpace.config.calendar import Period
from onpace.config.catalog import Catalog
from onpace.config.kpi_entities import Kpi
from onpace.config.privacy import for_owner
from onpace.config.rules import Rule, ThresholdRule

__all__ = ["aim_words", "context", "description", "headline", "label_value", "leading_words", "series_words"]

UNPROVEN = "(link unproven)"
BY_NOW = "expected by now"


def series_words(series: Labels) -> str:
    """`region EU, channel web`; '' for the total."""
    return ", ".join(f"{name} {label_value(value)}" for name, value in series)


def label_value(value: str | None) -> str:
    """A dimension value as a label: null and '' differ, and to Alertmanager an empty label is a missing one."""
    return "(null)" if value is None else value or "(empty)"


def headline(alert: Alert, kpi: Kpi | None, rule: Rule | None, status: KpiStatus | None) -> str:
    """One sentence without a full stop: who, how it stands, against what."""
    title = (kpi.title or kpi.name) if kpi else "Pipeline"
    name = f"{title} ({series_words(alert.series)})" if alert.series else title
    over = "" if alert.state in ("firing", "met", "missed") else "Resolved: "
    told = None
    if kpi and status and _told(alert, status):
        told = _ended(name, kpi, alert, status) or _running(name, kpi, alert, status)
    elif kpi and isinstance(rule, ThresholdRule):
        told = _beyond(name, kpi, alert, rule)
    if told is None:
        when = f" {in_period(Period.parse(alert.period))}" if alert.period else ""
        told = f"{name}{when}: {alert.reason}"
    return over + _by_local_clock(told, kpi)


def _by_local_clock(text: str, kpi: Kpi | None) -> str:
    """Reasons tell times in UTC, people live by the KPI's clock."""

    def local(found: re.Match[str]) -> str:
        at = datetime.fromisoformat(found[1]).replace(tzinfo=UTC)
        return local_time(at, kpi.zone) if kpi else found[0]

    return re.sub(r"(\d{4}-\d\d-\d\d \d\d:\d\d)(?::\d\d)? UTC", local, text)


def context(alert: Alert, kpi: Kpi | None, status: KpiStatus | None) -> str:
    """What is expected by now, where the headline does not say so: it is about something else of the target."""
    if kpi is None or status is None or status.gap is None or alert.state != "firing" or _told(alert, status):
        return ""
    actual, expected = quantity(status.actual, kpi.unit), quantity(status.expected, kpi.unit)
    words = "wanted" if status.expected == status.target_value else BY_NOW
    return f"{actual} so far, {expected} {words} ({difference(status.gap, kpi.unit)})"


def _told(alert: Alert, status: KpiStatus) -> bool:
    """Whether the alert's reason is the status: as of pace rules, and of all once a period is over."""
    return alert.reason.startswith(_plain(status.status))


def _plain(status: str) -> str:
    return status.replace("_", " ")


def _running(name: str, kpi: Kpi, alert: Alert, status: KpiStatus) -> str | None:
    if status.status not in ("on_track", "at_risk", "off_track") or status.expected is None:
        return None
    again = " again" if alert.state != "firing" and status.status == "on_track" else ""
    when, actual = in_period(Period.parse(status.period)), quantity(status.actual, kpi.unit)
    gap = f" ({difference(status.gap, kpi.unit)})" if status.gap else ""
    aim = aim_words(status, kpi.unit)
    if BY_NOW in alert.reason:
        against = f"{actual} so far, {quantity(status.expected, kpi.unit)} {BY_NOW}{gap}, target {aim}"
    else:
        against = f"{actual} so far, {aim} wanted{gap}"
    return f"{name} is {_plain(status.status)}{again} {when}{status.remark}: {against}{_remarks(alert, status)}"


def _ended(name: str, kpi: Kpi, alert: Alert, status: KpiStatus) -> str | None:
    if status.status not in ("met", "missed"):
        return None
    gap = f" ({difference(status.gap, kpi.unit)})" if status.status == "missed" and status.gap else ""
    reached = f"{quantity(status.actual, kpi.unit)} of {aim_words(status, kpi.unit)}{gap}"
    period = period_name(Period.parse(status.period))
    return f"{name} {status.status} its target for {period}{status.remark}: {reached}{_remarks(alert, status)}"


def _remarks(alert: Alert, status: KpiStatus) -> str:
    """What the reason adds in brackets: where a target comes from, a correction, until when it fires."""
    plain = alert.reason.replace(status.remark, "", 1) if status.remark else alert.reason
    return "".join(re.findall(r" \(.*\)$", plain))


def _beyond(name: str, kpi: Kpi, alert: Alert, rule: ThresholdRule) -> str | None:
    for bound, word, sign in ((rule.below, "below", -1), (rule.above, "above", 1)):
        if bound is not None and alert.value is not None and (alert.value - bound) * sign > 0:
            kept = "".join(re.findall(r" \(fires until .*\)$", alert.reason))
            return f"{name} is at {quantity(alert.value, kpi.unit)}, {word} {quantity(bound, kpi.unit)}{kept}"
    return None


def aim_words(status: KpiStatus, unit: str) -> str:
    """The target: a value, or `90 to 110 EUR`; an open side is `any`."""
    if status.target_value is not None or (status.target_min is None and status.target_max is None):
        return quantity(status.target_value, unit)
    low, high = (
        quantity(bound, unit) if bound is not None else "any" for bound in (status.target_min, status.target_max)
    )
    return f"{low} to {high}"


def leading_words(catalog: Catalog, evaluation: Evaluation, kpi: str) -> str:
    """The KPIs that claim to drive this one, how they stand, and that nobody has proven the claim."""
    if kpi not in catalog.kpis:
        return ""
    about = catalog.kpi(kpi)
    leading = [one for one in catalog.leading(about) if for_owner(about, one)]
    return "; ".join(f"{_leading(evaluation, one)} {UNPROVEN}" for one in leading)


def _leading(evaluation: Evaluation, leading: Kpi) -> str:
    name, status = leading.title or leading.name, evaluation.headline(leading)
    if status is None:
        reading = evaluation.readings.get(leading.name)
        value = (
            f", {quantity(reading.value, leading.unit)} {_when(reading.period)}"
            if reading and reading.value is not None
            else ""
        )
        return f"{name} has no target{value}"
    stale = ", its source is stale" if status.stale else ""
    aim = aim_words(status, leading.unit)
    match status.status:
        case "no_data":
            return f"{name} has no data{stale}"
        case "met" | "missed":
            return f"{name} {status.status} its target: {quantity(status.actual, leading.unit)} of {aim}{stale}"
    wanted = f"{aim} wanted"
    if BY_NOW in status.reason:
        wanted = f"{quantity(status.expected, leading.unit)} {BY_NOW}"
    return f"{name} is {_plain(status.status)}: {quantity(status.actual, leading.unit)}, {wanted}{stale}"


def _when(period: str) -> str:
    return period if period == "today" else in_period(Period.parse(period))


def description(found: Mapping[str, str], more: str = "") -> str:
    """All that a message says, in sentences, from its annotations; `more` comes after the summary."""
    summary = found.get("summary", "")
    sentences = [summary, more, found.get("segments", "")]
    if found.get("forecast") and found["forecast"] not in summary:
        sentences.append(f"Forecast: {found['forecast']}")
    if found.get("leading"):
        sentences.append(f"Leading: {found['leading']}")
    if found.get("since"):
        until = f" until {found['until']}" if found.get("until") else ""
        sentences.append(f"Since {found['since']}{until}")
    sentences.append(found.get("more", ""))
    text = " ".join(f"{sentence}." for sentence in sentences if sentence)
    return f"{text} Dashboard: {found['dashboard']}" if found.get("dashboard") else text
