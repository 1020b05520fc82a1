"""Prometheus metrics of the KPIs themselves, from the latest evaluation. A value that does not exist has no sample."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import get_args

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from onpace.alerts.alerting import PIPELINE_RULES
from onpace.alerts.evaluation import Evaluation
from onpace.alerts.states import AlertState
from onpace.config.catalog import Catalog
from onpace.config.kpi import Status
from onpace.config.kpi_entities import Kpi, ReportedKpi
from onpace.config.privacy import shared_kpis

__all__ = ["KpiCollector"]


FORECAST = "What the value will be at the end of the current period: low to high holds it in 4 of 5 cases."


class KpiCollector:
    """Give it to a CollectorRegistry. A KPI stands for its headline target; without a target, for its value today.

    KPIs of level `individual` are left out, and so are the alerts of their rules.
    """

    def __init__(self, catalog: Callable[[], Catalog], latest: Callable[[], Evaluation | None]) -> None:
        self._catalog = catalog
        self._latest = latest

    def collect(self) -> Iterator[Metric]:
        """All families; empty ones before the first evaluation."""
        evaluation = self._latest()
        families = _families()
        if evaluation is not None:
            catalog = self._catalog()
            for kpi in shared_kpis(catalog).values():
                _add_kpi(families, kpi, evaluation)
            _add_alerts(families["alerts"], catalog, evaluation)
            _add_quiet(families, evaluation)
        return iter(families.values())

    def describe(self) -> Iterable[Metric]:
        """The families without samples, so that registering does not evaluate anything."""
        return _families().values()


def _families() -> dict[str, GaugeMetricFamily]:
    def gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
        return GaugeMetricFamily(name, text, labels=labels or ("kpi",))

    return {
        "value": gauge("onpace_kpi_value", "Value in the current period, over everything complete."),
        "target": gauge("onpace_kpi_target", "Target of the current period."),
        "expected": gauge("onpace_kpi_expected", "What the value should be by now."),
        "attainment": gauge("onpace_kpi_attainment_ratio", "Share of the target that is reached."),
        "status": gauge("onpace_kpi_status", "1 for the status that holds, 0 for the others.", "kpi", "status"),
        "complete": gauge("onpace_kpi_complete_timestamp_seconds", "Everything before this instant is complete."),
        "stale": gauge("onpace_kpi_stale", "1 when a source of the KPI is silent or behind."),
        "overdue": gauge("onpace_report_overdue", "Ended periods whose reported value is missing although it is due."),
        "forecast": gauge("onpace_kpi_forecast", FORECAST, "kpi", "bound"),
        "miss": gauge("onpace_kpi_miss_probability_ratio", "Probability to miss the target of the current period."),
        "scored": gauge("onpace_kpi_forecast_scored_periods", "Past periods that the forecast was scored on."),
        "calibrated": gauge("onpace_kpi_forecast_calibrated", "1 when nothing in them speaks against the forecast."),
        "alerts": gauge("onpace_alerts", "Alerts by state.", "rule", "kpi", "severity", "state"),
        "silences": gauge("onpace_silences", "Silences that hold (active) or are yet to begin (pending).", "state"),
        "suppressed": gauge(
            "onpace_alerts_suppressed", "Firing alerts that are silenced or acknowledged (not both).", "reason"
        ),
    }


def _add_kpi(families: dict[str, GaugeMetricFamily], kpi: Kpi, evaluation: Evaluation) -> None:
    def add(family: str, value: float | None) -> None:
        if value is not None:
            families[family].add_metric([kpi.name], value)

    if isinstance(kpi, ReportedKpi):
        add("overdue", sum(len(late.periods) for late in evaluation.late.get(kpi.name, ())))
    if status := evaluation.headline(kpi):
        add("value", status.actual)
        add("target", status.target_value)
        add("expected", status.expected)
        add("attainment", status.attainment)
        add("complete", status.as_of.timestamp() if status.as_of else None)
        add("stale", float(status.stale))
        if forecast := evaluation.forecasts.get(status.key):
            add("miss", forecast.probability)
            add("scored", float(forecast.score.periods))
            add("calibrated", float(forecast.score.calibrated))
            for bound in ("low", "median", "high"):
                if (end := getattr(forecast, bound)) is not None:
                    families["forecast"].add_metric([kpi.name, bound], end)
        for name in get_args(Status):
            families["status"].add_metric([kpi.name, name], float(name == status.status))
    elif reading := evaluation.readings.get(kpi.name):
        add("value", reading.value)
        add("complete", reading.as_of.timestamp() if reading.as_of else None)
        add("stale", float(reading.stale))


def _add_quiet(families: dict[str, GaugeMetricFamily], evaluation: Evaluation) -> None:
    quiet = evaluation.quiet
    families["silences"].add_metric(["active"], len(quiet.active()))
    families["silences"].add_metric(["pending"], len(quiet.pending()))
    reasons = Counter(quiet.reason(alert) for alert in evaluation.alerts if alert.state == "firing")
    for reason in ("silenced", "acknowledged"):
        families["suppressed"].add_metric([reason], reasons[reason])


def _add_alerts(family: GaugeMetricFamily, catalog: Catalog, evaluation: Evaluation) -> None:
    hidden = catalog.kpis.keys() - shared_kpis(catalog).keys()
    rules = {(rule.name, rule.kpi, rule.severity) for rule in catalog.rules.values() if rule.kpi not in hidden}
    rules |= {(rule, "", "ticket") for rule in PIPELINE_RULES}
    alerts = [alert for alert in evaluation.alerts if alert.kpi not in hidden]
    counts = Counter((alert.rule, alert.kpi, alert.severity, alert.state) for alert in alerts)
    known = rules | {(rule, kpi, severity) for rule, kpi, severity, _ in counts}
    for rule, kpi, severity in sorted(known):
        for state in get_args(AlertState):
            family.add_metric([rule, kpi, severity, state], counts[rule, kpi, severity, state])
