"""What people are told: one message per alert, state and channel, from the alert and what it was judged on. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from onpace.alerts.evaluation import Evaluation
from onpace.alerts.forecasts import forecast_words
from onpace.alerts.guardrails import guardrail_words
from onpace.alerts.states import Alert
from onpace.alerts.status import KpiStatus, Labels, format_value
from onpace.alerts.telling import more_words
from onpace.config.catalog import Catalog
from onpace.config.privacy import for_owner

__all__ = ["Notification", "compose", "leading_words", "series_words", "with_note"]


@dataclass(frozen=True, slots=True)
class Notification:
    """One message for one channel. Sending it twice is harmless: `key` is the same each time."""

    key: str
    channel: str
    state: Literal["firing", "resolved", "report"]
    """Of the alert that it is about; `report` is about none."""
    labels: Mapping[str, str]
    """Who the alert is, the same for firing and resolved; or which report it is."""
    annotations: Mapping[str, str]
    starts_at: datetime
    ends_at: datetime | None
    created_at: datetime

    def to_json(self) -> str:
        """All of it, for the outbox and for webhooks."""
        times = {"starts_at": self.starts_at, "ends_at": self.ends_at, "created_at": self.created_at}
        return json.dumps(
            {
                "key": self.key,
                "channel": self.channel,
                "state": self.state,
                "labels": dict(self.labels),
                "annotations": dict(self.annotations),
                **{name: at.isoformat() if at else None for name, at in times.items()},
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Notification:
        """The inverse of `to_json`."""
        raw = json.loads(text)
        for name in ("starts_at", "ends_at", "created_at"):
            raw[name] = datetime.fromisoformat(raw[name]) if raw[name] else None
        return cls(**raw)


def series_words(series: Labels) -> str:
    """`region EU, channel web`; '' for the total."""
    return ", ".join(f"{name} {_label(value)}" for name, value in series)


def _label(value: str | None) -> str:
    # Alertmanager treats an empty label as a missing one; null and '' are different series.
    return "(null)" if value is None else value or "(empty)"


def leading_words(catalog: Catalog, evaluation: Evaluation, kpi: str) -> str:
    """The KPIs that claim to drive this one, with their statuses: `Checkout conversion: at risk (link unproven)`."""
    if kpi not in catalog.kpis:
        return ""
    words = []
    about = catalog.kpi(kpi)
    for leading in [one for one in catalog.leading(about) if for_owner(about, one)]:
        status = evaluation.headline(leading)
        state = status.status.replace("_", " ") if status else "no target"
        words.append(f"{leading.title or leading.name}: {state} (link unproven)")
    return "; ".join(words)


def compose(alert: Alert, channel: str, catalog: Catalog, evaluation: Evaluation) -> Notification:
    """The message about the alert as it is now: firing, or resolved when it is anything else."""
    state: Literal["firing", "resolved"] = "firing" if alert.state == "firing" else "resolved"
    ended = alert.resolved_at or alert.evaluated_to or evaluation.now
    moment = alert.fired_at if state == "firing" else ended
    parts = [alert.rule, alert.kpi, json.dumps(alert.series), alert.period, state, _moment(alert, moment), channel]
    return Notification(
        key=hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:32],
        channel=channel,
        state=state,
        labels=_labels(alert, catalog),
        annotations=_annotations(alert, catalog, evaluation),
        starts_at=alert.active_since or alert.fired_at or evaluation.now,
        ends_at=None if state == "firing" else ended,
        created_at=evaluation.now,
    )


def _moment(alert: Alert, at: datetime | None) -> str:
    """What tells the states of an alert apart: when, and what was corrected since, for that may come to the same."""
    return f"{at}#{alert.corrections}" if alert.corrections else str(at)


def with_note(one: Notification, note: str) -> Notification:
    """The message with what is to be said of a silence or an acknowledgement."""
    if not note:
        return one
    words = f"{note[0].upper()}{note[1:]}"
    said = {"note": words, "description": f"{one.annotations.get('description', '')} {words}.".strip()}
    return replace(one, annotations={**one.annotations, **said})


def _labels(alert: Alert, catalog: Catalog) -> dict[str, str]:
    kpi = catalog.kpis.get(alert.kpi)
    labels = {
        "alertname": alert.rule,
        "service": "onpace",
        "severity": alert.severity,
        "kpi": alert.kpi,
        "owner": kpi.owner if kpi else "",
        "period": alert.period,
    }
    labels = {name: value for name, value in labels.items() if value}
    return labels | {f"dim_{name}": _label(value) for name, value in alert.series}


def _annotations(alert: Alert, catalog: Catalog, evaluation: Evaluation) -> dict[str, str]:
    kpi = catalog.kpis.get(alert.kpi)
    status = _status(alert, evaluation)
    since = alert.active_since.strftime("%Y-%m-%d %H:%M UTC") if alert.active_since else ""
    about = [(kpi.title or kpi.name) if kpi else "Pipeline", series_words(alert.series), alert.period]
    outcome = "" if alert.state in ("firing", "met", "missed") else "resolved: "
    found = {
        "summary": f"{' / '.join(part for part in about if part)}: {outcome}{alert.reason}",
        "since": since,
        "unit": kpi.unit if kpi else "",
        "value": format_value(alert.value) if alert.value is not None else "",
        "leading": leading_words(catalog, evaluation, alert.kpi),
        "more": more_words(evaluation.held.get(alert.rule, 0)) if alert.state == "firing" else "",
    }
    if status:
        aim = _aim(status)
        found |= {"target": aim, "expected": format_value(status.expected), "gap": format_value(status.gap)}
        found["guardrails"] = guardrail_words(status)
        found["forecast"] = _forecast(status, evaluation)
    found["description"] = _sentence(found)
    return {name: text for name, text in found.items() if text}


def _forecast(status: KpiStatus, evaluation: Evaluation) -> str:
    forecast = evaluation.forecasts.get(status.key)
    return forecast_words(forecast, status) if forecast and forecast.median is not None else ""


def _aim(status: KpiStatus) -> str:
    if status.target_value is not None or (status.target_min is None and status.target_max is None):
        return format_value(status.target_value)
    return f"{_bound(status.target_min)} to {_bound(status.target_max)}"


def _bound(value: float | None) -> str:
    return "any" if value is None else format_value(value)


def _sentence(found: Mapping[str, str]) -> str:
    unit = f" {found['unit']}" if found["unit"] else ""
    sentences = [found["summary"]]
    if "target" in found:
        sentences.append(f"Target {found['target']}{unit}, expected by now {found['expected']}, gap {found['gap']}")
    if found.get("forecast") and found["forecast"] not in found["summary"]:
        sentences.append(f"Forecast: {found['forecast']}")
    if found["since"]:
        sentences.append(f"Since {found['since']}")
    if found["leading"]:
        sentences.append(f"Leading: {found['leading']}")
    if found["more"]:
        sentences.append(found["more"])
    return ". ".join(sentences) + "."


def _status(alert: Alert, evaluation: Evaluation) -> KpiStatus | None:
    key = (alert.kpi, alert.series, alert.period)
    return next((status for status in evaluation.statuses if alert.period and status.key == key), None)
