"""What people are told: one message per alert, state and channel, from the alert and what it was judged on. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal
from zoneinfo import ZoneInfo

from onpace.alerts.evaluation import Evaluation
from onpace.alerts.forecasts import forecast_words
from onpace.alerts.guardrails import guardrail_words
from onpace.alerts.message_text import (
    aim_words,
    context,
    description,
    headline,
    label_value,
    leading_words,
    series_words,
)
from onpace.alerts.quantities import difference, local_time, quantity
from onpace.alerts.states import Alert
from onpace.alerts.status import KpiStatus
from onpace.alerts.telling import more_words
from onpace.config.catalog import Catalog
from onpace.config.rules import NoDataRule

__all__ = ["Notification", "compose", "leading_words", "message_key", "series_words", "with_note"]

UTC = ZoneInfo("UTC")


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


def compose(
    alert: Alert, channel: str, catalog: Catalog, evaluation: Evaluation, evidence: Mapping[str, str] | None = None
) -> Notification:
    """The message about the alert as it is now: firing, or resolved when it is anything else.

    `evidence`: further annotations, such as which segments explain the gap.
    """
    state: Literal["firing", "resolved"] = "firing" if alert.state == "firing" else "resolved"
    ended = alert.resolved_at or alert.evaluated_to or evaluation.now
    return Notification(
        key=message_key(alert, channel, evaluation.now),
        channel=channel,
        state=state,
        labels=_labels(alert, catalog),
        annotations=_annotations(alert, catalog, evaluation, evidence or {}),
        starts_at=alert.active_since or alert.fired_at or evaluation.now,
        ends_at=None if state == "firing" else ended,
        created_at=evaluation.now,
    )


def message_key(alert: Alert, channel: str, now: datetime) -> str:
    """The key of the message about the alert as it is, the same each time; `now` is for want of any other moment."""
    state = "firing" if alert.state == "firing" else "resolved"
    ended = alert.resolved_at or alert.evaluated_to or now
    moment = alert.fired_at if state == "firing" else ended
    parts = [alert.rule, alert.kpi, json.dumps(alert.series), alert.period, state, _moment(alert, moment), channel]
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:32]


def _moment(alert: Alert, at: datetime | None) -> str:
    """What tells the states of an alert apart: when, and what was corrected since, for that may come to the same."""
    return f"{at}#{alert.corrections}" if alert.corrections else str(at)


def with_note(one: Notification, note: str) -> Notification:
    """The message with what is to be said of a silence or an acknowledgement."""
    if not note:
        return one
    words = f"{note[0].upper()}{note[1:]}"
    link = f" Dashboard: {one.annotations['dashboard']}" if "dashboard" in one.annotations else ""
    text = f"{one.annotations.get('description', '').removesuffix(link)} {words}.{link}".strip()
    said = {"note": words, "description": text}
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
    return labels | {f"dim_{name}": label_value(value) for name, value in alert.series}


def _annotations(alert: Alert, catalog: Catalog, evaluation: Evaluation, evidence: Mapping[str, str]) -> dict[str, str]:
    kpi, rule = catalog.kpis.get(alert.kpi), catalog.rules.get(alert.rule)
    status = evaluation.status_of(alert.kpi, alert.series, alert.period) if alert.period else None
    unit, zone = (kpi.unit, kpi.zone) if kpi else ("", UTC)
    ended = None if alert.state == "firing" else alert.resolved_at or alert.evaluated_to or evaluation.now
    measured = alert.value is not None and not isinstance(rule, NoDataRule)  # there it is how long nothing came
    found = {
        "summary": headline(alert, kpi, rule, status),
        "since": local_time(alert.active_since, zone) if alert.active_since else "",
        "until": local_time(ended, zone) if ended else "",
        "unit": unit,
        "value": quantity(alert.value, unit) if measured else "",
        "leading": leading_words(catalog, evaluation, alert.kpi),
        "more": more_words(evaluation.held.get(alert.rule, 0)) if alert.state == "firing" else "",
        **evidence,
    }
    if status:
        expected, gap = quantity(status.expected, unit), difference(status.gap, unit)
        found |= {"target": aim_words(status, unit), "expected": expected, "gap": gap}
        found["guardrails"] = guardrail_words(status)
        found["forecast"] = _forecast(status, evaluation, unit)
    found["description"] = description(found, context(alert, kpi, status))
    return {name: text for name, text in found.items() if text}


def _forecast(status: KpiStatus, evaluation: Evaluation, unit: str) -> str:
    forecast = evaluation.forecasts.get(status.key)
    return forecast_words(forecast, status, unit) if forecast and forecast.median is not None else ""
