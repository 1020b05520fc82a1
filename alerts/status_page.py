"""The status of everything as rows: for `/api/status`, for the status page and for `onpace status`."""

from __future__ import annotations

from datetime import datetime
from importlib import resources
from typing import Any

from rich.table import Table
from rich.text import Text

from onpace.alerts.evaluation import Evaluation
from onpace.alerts.forecasts import LEVEL, forecast_words
from onpace.alerts.guardrails import guardrail_words
from onpace.alerts.notifications import series_words
from onpace.alerts.overdue import words
from onpace.alerts.silence_rows import quiet_cells, silence_rows
from onpace.alerts.status import KpiStatus, finite, format_value, target_series
from onpace.config.catalog import Catalog
from onpace.config.kpi_entities import Kpi
from onpace.config.privacy import for_owner, shown_to

__all__ = ["overdue_lines", "status_document", "status_page", "status_rows", "status_table"]

COLOURS = {
    "on_track": "green",
    "met": "green",
    "at_risk": "yellow",
    "off_track": "red",
    "missed": "red",
}

UNPROVEN = "link unproven"


def status_page() -> str:
    """The HTML page. It fetches `api/status` every five seconds and needs nothing else."""
    return resources.files("onpace.alerts").joinpath("status_page.html").read_text(encoding="utf-8")


def status_document(evaluation: Evaluation, catalog: Catalog, owner: str | None = None) -> dict[str, Any]:
    """What `/api/status` answers: firing alerts, stale sources and a row per KPI. All of it is JSON.

    Without an `owner` all that is not individual; with one, what is the owner's.
    """
    hidden = {name for name, kpi in catalog.kpis.items() if not shown_to(owner, kpi)}
    firing = [alert for alert in evaluation.alerts if alert.state == "firing" and alert.kpi not in hidden]
    return {
        "now": evaluation.now.isoformat(),
        "alerts": [
            {
                "rule": alert.rule,
                "kpi": alert.kpi,
                "title": _title(catalog.kpis[alert.kpi]) if alert.kpi in catalog.kpis else "Pipeline",
                "series": dict(alert.series),
                "period": alert.period,
                "severity": alert.severity,
                "since": _time(alert.active_since),
                "value": alert.value,
                "reason": alert.reason,
                **quiet_cells(alert, evaluation.quiet),
            }
            for alert in sorted(firing, key=lambda alert: (alert.severity != "page", str(alert.active_since)))
        ],
        "silences": silence_rows(evaluation, catalog, hidden),
        "stale_sources": [{"event_type": name, "reason": reason} for name, reason in evaluation.stale.items()],
        "kpis": status_rows(evaluation, catalog, owner),
    }


def status_rows(evaluation: Evaluation, catalog: Catalog, owner: str | None = None) -> list[dict[str, Any]]:
    """A row per KPI, in file order: headline target, other targets (`slices`), what leads it and how it ended last."""
    return [_row(kpi, evaluation, catalog) for kpi in catalog.kpis.values() if shown_to(owner, kpi)]


def _row(kpi: Kpi, evaluation: Evaluation, catalog: Catalog) -> dict[str, Any]:
    headline = evaluation.headline(kpi)
    leading = [
        {
            **_cells(other, evaluation.headline(other), evaluation),
            "link": UNPROVEN,
            "lag": drive.lag,
            "sign": drive.sign,
        }
        for other in catalog.leading(kpi)
        for drive in other.drives
        if drive.kpi == kpi.name and for_owner(kpi, other)
    ]
    return {
        **_cells(kpi, headline, evaluation),
        "role": kpi.role,
        "owner": kpi.owner,
        "description": kpi.description,
        "drives": [drive.kpi for drive in kpi.drives if drive.kpi in catalog.kpis],
        "slices": [_cells(kpi, status, evaluation) for status in _slices(kpi, headline, evaluation)],
        "leading": leading,
        "previous": _previous(headline, evaluation),
    }


def _slices(kpi: Kpi, headline: KpiStatus | None, evaluation: Evaluation) -> list[KpiStatus]:
    found = []
    for place in dict.fromkeys((target_series(target), target.grain) for target in kpi.targets):
        here = [s for s in evaluation.statuses if (s.kpi, s.series, s.grain) == (kpi.name, *place)]
        newest = max(here, key=lambda status: status.period_start, default=None)
        if newest is not None and newest != headline:
            found.append(newest)
    return found


def _previous(headline: KpiStatus | None, evaluation: Evaluation) -> dict[str, Any] | None:
    if headline is None:
        return None
    place = (headline.kpi, headline.series, headline.grain)
    past = [
        status
        for status in evaluation.statuses
        if (status.kpi, status.series, status.grain) == place and status.period_start < headline.period_start
    ]
    last = max(past, key=lambda status: status.period_start, default=None)
    if last is None:
        return None
    return {"period": last.period, "status": last.status, "final": last.final, "value": last.actual}


def _cells(kpi: Kpi, status: KpiStatus | None, evaluation: Evaluation) -> dict[str, Any]:
    cells: dict[str, Any] = {"kpi": kpi.name, "title": _title(kpi), "unit": kpi.unit, "direction": kpi.direction}
    overdue = words(evaluation.late.get(kpi.name, ()))
    cells["overdue"] = overdue
    if status is None:
        reading = evaluation.readings.get(kpi.name)
        return cells | {
            "series": {},
            "period": reading.period if reading else "today",
            "value": finite(reading.value) if reading else None,
            **dict.fromkeys(("target", "target_min", "target_max", "expected", "gap", "attainment", "baseline")),
            "status": "no_target",
            "stale": reading.stale if reading else False,
            "final": False,
            "complete_until": _time(reading.as_of) if reading else None,
            "reason": overdue or "no target",
            "guardrails": "",
            "forecast": None,
        }
    return cells | {
        "series": dict(status.series),
        "period": status.period,
        "value": status.actual,
        "target": status.target_value,
        "target_min": status.target_min,
        "target_max": status.target_max,
        "expected": status.expected,
        "gap": status.gap,
        "attainment": status.attainment,
        "status": status.status,
        "stale": status.stale,
        "final": status.final,
        "complete_until": _time(status.as_of),
        "reason": status.reason,
        "baseline": status.baseline,
        "guardrails": guardrail_words(status),
        "forecast": _forecast(status, evaluation, kpi.unit),
    }


def _forecast(status: KpiStatus, evaluation: Evaluation, unit: str) -> dict[str, Any] | None:
    forecast = evaluation.forecasts.get(status.key)
    if forecast is None:
        return None
    return {
        "words": forecast_words(forecast, status, unit),
        "probability": forecast.probability,
        "median": forecast.median,
        "low": forecast.low,
        "high": forecast.high,
        "level": LEVEL,
        "method": forecast.method,
        "past_periods": forecast.past,
        "scored_periods": forecast.score.periods,
        "calibrated": forecast.score.calibrated,
        "reason": forecast.reason or forecast.score.problem,
    }


def _title(kpi: Kpi) -> str:
    return kpi.title or kpi.name


def _time(at: datetime | None) -> str | None:
    return at.isoformat() if at else None


def status_table(evaluation: Evaluation, catalog: Catalog, owner: str | None = None) -> Table:
    """The same for a terminal of 100 columns: leading KPIs are indented beneath the ones that they claim to drive."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", title_justify="left", caption_justify="left")
    table.title = f"OnPace, {evaluation.now:%Y-%m-%d %H:%M} UTC"
    for name in ("KPI", "Value", "Target", "Gap", "Status", "Period", "Complete to"):
        right = name in ("Value", "Target", "Gap")
        table.add_column(name, justify="right" if right else "left", no_wrap=name == "KPI")
    rows = status_rows(evaluation, catalog, owner)
    beneath = {leading["kpi"] for row in rows for leading in row["leading"]}
    for row in rows:
        if row["kpi"] in beneath and row["role"] == "leading":
            continue
        _add_line(table, row, row["title"])
        for part in row["slices"]:
            _add_line(table, part, f"  {series_words(tuple(part['series'].items())) or row['title']}")
        for leading in row["leading"]:
            _add_line(table, leading, f"  ↳ {leading['title']}")
            table.caption = f"Gap: to what is expected by now. ↳ leads the KPI above it: {UNPROVEN}."
    return table


def overdue_lines(evaluation: Evaluation, catalog: Catalog, owner: str | None = None) -> list[str]:
    """A line for each KPI that waits for a report, to stand beneath the table."""
    rows = status_rows(evaluation, catalog, owner)
    return list(dict.fromkeys(row["overdue"] for row in rows if row["overdue"]))


def _add_line(table: Table, cells: dict[str, Any], title: str) -> None:
    said = cells["status"].replace("_", " ") + (", stale" if cells["stale"] else "")
    said += ", overdue" if cells["overdue"] else ""
    said += f", {cells['guardrails']}" if cells["guardrails"] else ""
    until = datetime.fromisoformat(cells["complete_until"]).strftime("%m-%d %H:%M") if cells["complete_until"] else "–"
    table.add_row(
        f"{title}{f' [{unit}]' if (unit := cells['unit']) and unit != 'ratio' else ''}".replace("[", r"\["),
        format_value(cells["value"], cells["unit"]),
        _target_words(cells),
        _gap_words(cells),
        Text(said, style=COLOURS.get(cells["status"], "dim")),
        cells["period"],
        until,
    )


def _gap_words(cells: dict[str, Any]) -> str:
    """Of ratios in points, as on the page."""
    if cells["gap"] is None or cells["unit"] != "ratio":
        return format_value(cells["gap"])
    return f"{format_value(cells['gap'] * 100)} pts"


def _target_words(cells: dict[str, Any]) -> str:
    if cells["target"] is not None or (cells["target_min"] is None and cells["target_max"] is None):
        return format_value(cells["target"], cells["unit"])
    low, high = (
        format_value(cells[name], cells["unit"]) if cells[name] is not None else ""
        for name in ("target_min", "target_max")
    )
    return f"{low}–{high}" if low and high else f"≥ {low}" if low else f"≤ {high}"
