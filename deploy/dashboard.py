"""The Grafana dashboard of a catalog: a row of statuses, a chart per KPI and a row about the pipeline. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from onpace.config.calendar import Grain
from onpace.config.catalog import Catalog
from onpace.config.kpi_entities import Kpi
from onpace.config.privacy import shared_kpis

__all__ = ["PanelQuery", "dashboard", "panel_queries", "render"]

Json = dict[str, Any]
PROMETHEUS: Json = {"type": "prometheus", "uid": "onpace-prometheus"}
CLICKHOUSE: Json = {"type": "grafana-clickhouse-datasource", "uid": "onpace-clickhouse"}
COLUMNS = 24
CHART_GRAINS = (Grain.HOUR, Grain.DAY)
UNITS = {"EUR": "currencyEUR", "USD": "currencyUSD", "GBP": "currencyGBP", "ratio": "percentunit", "min": "m", "s": "s"}
STATUSES: tuple[tuple[str, str, str], ...] = (
    ("no data", "text", "no_data"),
    ("off track", "red", "off_track|missed"),
    ("at risk", "orange", "at_risk"),
    ("on track", "green", "on_track|met"),
)
"""What a status code (the position here) is called, its colour, and the statuses it stands for."""

PIPELINE: tuple[tuple[str, str, str, str], ...] = (
    ("Events", "sum by (event_type) (rate(onpace_events_total[5m]))", "{{event_type}}", "eps"),
    ("Consumer lag", "sum by (topic, partition) (onpace_consumer_lag_events)", "{{topic}}/{{partition}}", "short"),
    ("Dead letters", "sum by (reason) (rate(onpace_dead_letters_total[5m]))", "{{reason}}", "eps"),
    ("Duplicates", "sum by (event_type) (rate(onpace_duplicate_events_total[5m]))", "{{event_type}}", "eps"),
    ("Late events", "sum by (event_type) (rate(onpace_late_events_total[5m]))", "{{event_type}}", "eps"),
    (
        "Age of the latest event",
        "time() - max by (event_type) (onpace_watermark_timestamp_seconds)",
        "{{event_type}}",
        "s",
    ),
    (
        "Flush time, p95",
        "histogram_quantile(0.95, sum by (le) (rate(onpace_flush_duration_seconds_bucket[5m])))",
        "p95",
        "s",
    ),
    ("Gateway requests", "sum by (code) (rate(onpace_gateway_requests_total[5m]))", "{{code}}", "reqps"),
)


@dataclass(frozen=True, slots=True)
class PanelQuery:
    """One query of one panel, as written: SQL still has Grafana's `$__timeFilter(column)` in it."""

    panel: str
    language: Literal["sql", "promql"]
    text: str


def dashboard(catalog: Catalog) -> Json:
    """The dashboard as Grafana's JSON model. The same catalog gives the same dashboard."""
    rows = [
        ("Targets", 4, [_status(kpi) for kpi in shared_kpis(catalog).values() if kpi.headline], 4),
        ("KPIs", 8, [_chart(catalog, kpi) for kpi in shared_kpis(catalog).values()], 7),
        ("Pipeline", 6, [_alerts(), _heartbeats(), *(_pipeline(*about) for about in PIPELINE)], 6),
    ]
    return {
        "uid": "onpace",
        "title": "OnPace",
        "description": "Generated from the KPI files by `onpace dashboards`; edit those, not this.",
        "tags": ["onpace"],
        "schemaVersion": 39,
        "editable": False,
        "refresh": "30s",
        "time": {"from": "now-24h", "to": "now"},
        "timezone": "",
        "panels": list(_laid_out(rows)),
    }


def render(catalog: Catalog) -> str:
    """The dashboard as the text of the file that Grafana reads."""
    return json.dumps(dashboard(catalog), indent=2, ensure_ascii=False) + "\n"


def panel_queries(model: Json) -> list[PanelQuery]:
    """Every query of a dashboard, in the order of its panels."""
    found = []
    for panel in model["panels"]:
        for target in panel.get("targets", ()):
            language: Literal["sql", "promql"] = "sql" if "rawSql" in target else "promql"
            found.append(PanelQuery(panel["title"], language, target.get("rawSql") or target["expr"]))
    return found


def _laid_out(rows: Sequence[tuple[str, int, Sequence[Json], int]]) -> Iterator[Json]:
    """Place the panels of each row (title, width, panels, height) from left to right and number them."""
    number, y = 0, 0
    for title, width, panels, height in rows:
        number += 1
        yield {"id": number, "type": "row", "title": title, "collapsed": False, "gridPos": _grid(0, y, COLUMNS, 1)}
        y += 1
        per_line = COLUMNS // width
        for at, panel in enumerate(panels):
            number += 1
            yield {
                "id": number,
                **panel,
                "gridPos": _grid(at % per_line * width, y + at // per_line * height, width, height),
            }
        y += -(-len(panels) // per_line) * height


def _grid(x: int, y: int, width: int, height: int) -> dict[str, int]:
    return {"x": x, "y": y, "w": width, "h": height}


def _status(kpi: Kpi) -> Json:
    """The KPI's value against its headline target, over the colour of its status."""
    name = f'kpi="{kpi.name}"'
    code = " + ".join(
        f'{at} * max(onpace_kpi_status{{{name},status=~"{statuses}"}})'
        for at, (_, _, statuses) in enumerate(STATUSES)
        if at
    )
    options = {str(at): {"text": text, "color": color, "index": at} for at, (text, color, _) in enumerate(STATUSES)}
    coloured = [
        {"id": "mappings", "value": [{"type": "value", "options": options}]},
        {"id": "thresholds", "value": {"mode": "absolute", "steps": _steps(color for _, color, _ in STATUSES)}},
        {"id": "unit", "value": "none"},
    ]
    return {
        "type": "stat",
        "title": kpi.title or kpi.name,
        "description": kpi.description,
        "datasource": PROMETHEUS,
        "targets": [
            _promql("A", f"max(onpace_kpi_value{{{name}}})", "value", instant=True),
            _promql("B", f"max(onpace_kpi_target{{{name}}})", "target", instant=True),
            _promql("C", code, "status", instant=True),
        ],
        "fieldConfig": {
            "defaults": {"unit": _unit(kpi), "color": {"mode": "fixed", "fixedColor": "text"}},
            "overrides": [
                {
                    "matcher": {"id": "byName", "options": "status"},
                    "properties": [*coloured, {"id": "color", "value": {"mode": "thresholds"}}],
                }
            ],
        },
        "options": {
            "reduceOptions": {"calcs": ["lastNotNull"]},
            "colorMode": "value",
            "graphMode": "none",
            "textMode": "auto",
        },
    }


def _steps(colors: Iterator[str]) -> list[Json]:
    return [{"color": color, "value": at or None} for at, color in enumerate(colors)]


def _chart(catalog: Catalog, kpi: Kpi) -> Json:
    """The KPI over time, complete windows only; for a level the headline target is a line."""
    grain = next(grain for grain in CHART_GRAINS if grain.rank >= catalog.base_grain(kpi).rank)
    sql = (
        f"SELECT window_start AS time, value AS {kpi.name} FROM kpi_{kpi.name}_{grain}_total "
        "WHERE $__timeFilter(window_start) AND complete ORDER BY time"
    )
    defaults: Json = {"unit": _unit(kpi), "custom": {"drawStyle": "line", "fillOpacity": 10, "spanNulls": False}}
    if lines := [] if catalog.accumulates(kpi) else _bounds(kpi):
        steps = [{"color": "transparent", "value": None}, *({"color": "blue", "value": line} for line in lines)]
        defaults["thresholds"] = {"mode": "absolute", "steps": steps}
        defaults["custom"]["thresholdsStyle"] = {"mode": "dashed"}
    elif catalog.accumulates(kpi):
        defaults["custom"] |= {"drawStyle": "bars", "fillOpacity": 60}
    return {
        "type": "timeseries",
        "title": f"{kpi.title or kpi.name} ({grain})",
        "description": kpi.description,
        "datasource": CLICKHOUSE,
        "targets": [_sql("A", sql)],
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": {"legend": {"showLegend": False}, "tooltip": {"mode": "single"}},
    }


def _bounds(kpi: Kpi) -> list[float]:
    target = kpi.headline
    return [bound for bound in (target.min, target.value, target.max) if bound is not None] if target else []


def _pipeline(title: str, promql: str, legend: str, unit: str) -> Json:
    return {
        "type": "timeseries",
        "title": title,
        "datasource": PROMETHEUS,
        "targets": [_promql("A", promql, legend)],
        "fieldConfig": {"defaults": {"unit": unit}, "overrides": []},
        "options": {"legend": {"showLegend": True, "displayMode": "list", "placement": "bottom"}},
    }


def _alerts() -> Json:
    query = 'sum by (rule, kpi, state) (onpace_alerts{state=~"pending|firing"}) > 0'
    return {
        "type": "stat",
        "title": "Alerts",
        "datasource": PROMETHEUS,
        "targets": [_promql("A", query, "{{rule}} {{kpi}} {{state}}", instant=True)],
        "fieldConfig": {
            "defaults": {"noValue": "none", "color": {"mode": "fixed", "fixedColor": "orange"}},
            "overrides": [],
        },
        "options": {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value", "graphMode": "none"},
    }


def _heartbeats() -> Json:
    """How long ago each part was last seen alive; red from two minutes on, as the watchdog rule has it."""
    steps = [{"color": "green", "value": None}, {"color": "red", "value": 120}]
    return {
        "type": "stat",
        "title": "Last heartbeat",
        "datasource": PROMETHEUS,
        "targets": [
            _promql("A", "time() - max(onpace_engine_heartbeat_timestamp_seconds)", "engine", instant=True),
            _promql(
                "B", "time() - onpace_processor_heartbeat_timestamp_seconds", "processor {{instance}}", instant=True
            ),
        ],
        "fieldConfig": {"defaults": {"unit": "s", "thresholds": {"mode": "absolute", "steps": steps}}, "overrides": []},
        "options": {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "background", "graphMode": "none"},
    }


def _promql(ref: str, query: str, legend: str, *, instant: bool = False) -> Json:
    how = {"instant": True, "range": False} if instant else {"instant": False, "range": True}
    return {"refId": ref, "datasource": PROMETHEUS, "expr": query, "legendFormat": legend, "editorMode": "code", **how}


def _sql(ref: str, query: str) -> Json:
    plugin = {"editorType": "sql", "queryType": "timeseries", "format": 0}
    return {"refId": ref, "datasource": CLICKHOUSE, "rawSql": query, **plugin}


def _unit(kpi: Kpi) -> str:
    return UNITS.get(kpi.unit, f"suffix: {kpi.unit}" if kpi.unit else "short")
