"""Where to look further: the address of the dashboard that a message links to. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta

from onpace.alerts.evaluation import Evaluation
from onpace.alerts.states import Alert
from onpace.config.calendar import Grain
from onpace.config.catalog import Catalog
from onpace.config.dashboards import dashboard_link
from onpace.config.rules import WindowRule

__all__ = ["dashboard_of"]

BACK = 48
"""So many windows before the first bad one are shown."""
DAY, LONG = timedelta(days=1), timedelta(days=31)


def dashboard_of(catalog: Catalog, alert: Alert, evaluation: Evaluation, default: str | None) -> str:
    """The KPI's dashboard, else the one for all, over the alert's period or the time around it; '' without any."""
    kpi = catalog.kpis.get(alert.kpi)
    template = (kpi.dashboard if kpi else None) or default
    if not template:
        return ""
    start, end = _range(catalog, alert, evaluation)
    values = {"kpi": alert.kpi, "rule": alert.rule, "period": alert.period}
    return dashboard_link(template, values | {"from": _milliseconds(start), "to": _milliseconds(end)})


def _range(catalog: Catalog, alert: Alert, evaluation: Evaluation) -> tuple[datetime, datetime]:
    """The same for as long as nothing changes, so that the address is."""
    status = evaluation.status_of(alert.kpi, alert.series, alert.period) if alert.period else None
    if status:
        return status.period_start, status.period_end
    rule = catalog.rules.get(alert.rule)
    grain = rule.grain if isinstance(rule, WindowRule) else Grain.HOUR
    begun, seen = alert.active_since or evaluation.now, alert.evaluated_to or alert.resolved_at or evaluation.now
    return begun - (grain.step or (DAY if grain is Grain.DAY else LONG)) * BACK, max(seen, begun)


def _milliseconds(at: datetime) -> str:
    return str(round(at.timestamp() * 1000))
