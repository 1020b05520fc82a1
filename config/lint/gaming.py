"""Gaming: what is measured and rewarded gets done, also where it harms; a guardrail says what must not suffer."""

from __future__ import annotations

from collections.abc import Iterator

from onpace.config.kpi import RatioKpi, SimpleKpi
from onpace.config.kpi_entities import ConversionKpi, Kpi
from onpace.config.lint.findings import Finding
from onpace.config.lint.scope import Scope

__all__ = ["check_gaming"]

TIME_UNITS = {"s", "sec", "seconds", "min", "minutes", "h", "hours", "d", "days", "ms"}
SHARE_UNITS = {"ratio", "%", "percent", "share"}


def check_gaming(scope: Scope) -> Iterator[Finding]:
    """G701. A guardrail itself needs none."""
    for kpi in scope.catalog.kpis.values():
        how = _trick(kpi)
        if kpi.targets and not kpi.guardrails and how and kpi.name not in scope.guardrails:
            yield scope.kpi(
                "G701",
                kpi.name,
                f"has a target and no guardrails: {how}",
                "add guardrails: with the KPI that would suffer, as in guardrails: [refund_rate]",
            )


def _trick(kpi: Kpi) -> str:
    """How the number can be made better without anything getting better; '' where it hardly can."""
    conversion = isinstance(kpi, ConversionKpi) and kpi.measure == "rate"
    if isinstance(kpi, RatioKpi) or conversion or kpi.unit.lower() in SHARE_UNITS:
        return "a rate also gets better when the hard cases are left out, or sold at any price"
    takes_time = isinstance(kpi, ConversionKpi) and kpi.measure == "median_time"
    if kpi.direction == "lower_is_better" and (takes_time or kpi.unit.lower() in TIME_UNITS):
        return "a time also gets shorter when the work is done badly, or the slow cases are not counted"
    counts = isinstance(kpi, SimpleKpi) and kpi.agg in ("count", "count_distinct")
    if counts and kpi.role == "leading" and kpi.direction == "higher_is_better":
        return "a count of activity also rises when more is done that leads to nothing"
    return ""
