"""Silences and acknowledgements as rows and lines: for `/api/status`, the status page and `onpace status`. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from onpace.alerts.evaluation import Evaluation
from onpace.alerts.silences import Acknowledgement, Quiet, moment_words
from onpace.alerts.states import Alert
from onpace.config.catalog import Catalog
from onpace.config.privacy import shown_to
from onpace.config.silences import Silence, series_text

__all__ = [
    "acknowledgement_of",
    "acknowledgement_row",
    "alert_words",
    "quiet_cells",
    "quiet_lines",
    "silence_of",
    "silence_row",
    "silence_rows",
]


def silence_row(silence: Silence, now: datetime) -> dict[str, Any]:
    """One silence as JSON."""
    return {
        "id": silence.id,
        "state": silence.state(now),
        "matchers": silence.matchers.model_dump(exclude_none=True, exclude_defaults=True),
        "by": silence.by,
        "why": silence.why,
        "from": silence.start.isoformat() if silence.start else None,
        "until": silence.until.isoformat(),
        "ended_at": silence.ended_at.isoformat() if silence.ended_at else None,
        "ended_by": silence.ended_by,
        "declared": silence.declared,
    }


def silence_of(row: Mapping[str, Any]) -> Silence:
    """The inverse of `silence_row`."""
    given = {name: value for name, value in row.items() if name not in ("state", "from")}
    return Silence.model_validate({**given, "start": row["from"]})


def acknowledgement_row(known: Acknowledgement) -> dict[str, Any]:
    """One acknowledgement as JSON."""
    return {
        "rule": known.rule,
        "kpi": known.kpi,
        "series": dict(known.series),
        "period": known.period,
        "fired_at": known.fired_at.isoformat(),
        "by": known.by,
        "why": known.why,
        "at": known.at.isoformat(),
    }


def acknowledgement_of(row: Mapping[str, Any]) -> Acknowledgement:
    """The inverse of `acknowledgement_row`."""
    times = {name: datetime.fromisoformat(row[name]) for name in ("fired_at", "at")}
    return Acknowledgement(**{**row, "series": tuple(row["series"].items()), **times})


def silence_rows(evaluation: Evaluation, catalog: Catalog, hidden: Collection[str]) -> list[dict[str, Any]]:
    """Those that hold and those that are yet to begin, but for what is about a `hidden` KPI by name."""
    quiet = evaluation.quiet
    rules = {rule.name for rule in catalog.rules.values() if rule.kpi in hidden}
    shown = [
        one
        for one in (*quiet.active(), *quiet.pending())
        if one.matchers.kpi not in hidden and one.matchers.rule not in rules
    ]
    return [silence_row(one, evaluation.now) for one in shown]


def quiet_cells(alert: Alert, quiet: Quiet) -> dict[str, Any]:
    """What keeps an alert quiet: `silenced` and `acknowledged`, each None where it is not."""
    silence, known = quiet.silencing(alert), quiet.acknowledgement(alert)
    return {
        "silenced": {
            "id": silence.id,
            "until": silence.until.isoformat(),
            "by": silence.by,
            "why": silence.why,
        }
        if silence
        else None,
        "acknowledged": {"by": known.by, "why": known.why, "at": known.at.isoformat()} if known else None,
    }


def quiet_lines(evaluation: Evaluation, catalog: Catalog, owner: str | None = None) -> list[str]:
    """A line for each firing alert that is silenced or acknowledged, to stand beneath the table of KPIs."""
    hidden = {name for name, kpi in catalog.kpis.items() if not shown_to(owner, kpi)}
    lines = []
    for alert in evaluation.alerts:
        if alert.state != "firing" or alert.kpi in hidden:
            continue
        silence, known = evaluation.quiet.silencing(alert), evaluation.quiet.acknowledgement(alert)
        said = [f"silenced until {moment_words(silence.until)} by {silence.words}"] if silence else []
        said += [f"acknowledged by {known.by}{f' ({known.why})' if known.why else ''}"] if known else []
        if said:
            lines.append(f"{alert_words(alert)} fires: {'; '.join(said)}")
    return lines


def alert_words(alert: Alert | Acknowledgement) -> str:
    """Which alert: `orders-low, region EU, 2026-11`."""
    series = [f"{name} {value}" for name, value in series_text(dict(alert.series)).items()]
    return ", ".join(part for part in (alert.rule, *series, alert.period) if part)
