"""Reported KPIs, and reports of them, for tests."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from processors_fakes import Sent

from onpace.config.catalog import Catalog
from onpace.config.kpi_entities import REPORT, Kpi, ReportedKpi
from onpace.config.reporting import with_reports

REPORTED_AT = datetime(2026, 4, 2, tzinfo=UTC)


def reported(name: str, cadence: str = "month", **more: Any) -> ReportedKpi:
    """A KPI that people report."""
    common = {"type": "reported", "direction": "higher_is_better", "role": "leading"}
    return ReportedKpi.model_validate({"name": name, "cadence": cadence} | common | more)


def reporting(*kpis: Kpi) -> Catalog:
    """A catalog of these KPIs, with the event that reports arrive as."""
    return Catalog(events=with_reports({}, kpis), kpis={kpi.name: kpi for kpi in kpis})


def report(
    id: str, kpi: str, period: str, value: Any, *, at: int = 0, by: Mapping[str, str] | None = None, **more: Any
) -> Sent:
    """A report, made `at` minutes after `REPORTED_AT`."""
    data = {"kpi": kpi, "period": period, "value": value, **({"by": dict(by)} if by else {}), **more}
    return Sent(id=id, time=REPORTED_AT + timedelta(minutes=at), type=REPORT, source="/t", data=data)
