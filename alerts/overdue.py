"""Reports that are late: what they say about statuses and rules. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Protocol

from onpace.alerts.rules import Inputs, Verdict
from onpace.alerts.status import KpiStatus
from onpace.config.catalog import Catalog
from onpace.config.durations import format_duration
from onpace.config.rules import NoDataRule
from onpace.processors.reports import Overdue

__all__ = ["Late", "ReportSource", "late_reports", "overdue_verdict", "with_reasons", "words"]

Late = Mapping[str, Sequence[Overdue]]
"""KPI -> the reported KPIs with overdue periods that it is made of, perhaps itself; only those that have some."""


class ReportSource(Protocol):
    """Knows what was reported. Raises StoreUnavailable when the store does not answer."""

    def overdue(self, now: datetime) -> Mapping[str, Overdue]:
        """The reported KPIs with periods that are overdue."""
        ...


def late_reports(catalog: Catalog, overdue: Mapping[str, Overdue]) -> dict[str, tuple[Overdue, ...]]:
    """The overdue reports under every KPI of the catalog."""
    if not overdue:
        return {}
    found = {
        kpi.name: tuple(overdue[leaf.name] for leaf in catalog.leaves(kpi) if leaf.name in overdue)
        for kpi in catalog.kpis.values()
    }
    return {name: late for name, late in found.items() if late}


def words(late: Sequence[Overdue]) -> str:
    """Which values are overdue, since when, and whose they are; empty when none is."""
    return "; ".join(one.reason for one in late)


def with_reasons(statuses: Iterable[KpiStatus], late: Late) -> list[KpiStatus]:
    """The statuses, where one without data says which report it waits for."""
    return [
        replace(status, reason=words(late[status.kpi]))
        if status.status == "no_data" and not status.stale and status.kpi in late
        else status
        for status in statuses
    ]


def overdue_verdict(rule: NoDataRule, late: Sequence[Overdue], now: datetime) -> Verdict:
    """Breached when a value is overdue (for longer than the rule's `after`)."""
    since = min((one.since for one in late), default=None)
    if since is None:
        return Verdict(False, "nothing is overdue")
    seconds = (now - since).total_seconds()
    inputs: Inputs = {"overdue_since": since.isoformat(), "overdue_seconds": seconds}
    if now - since < rule.after:
        return Verdict(False, f"{words(late)}, not longer than {format_duration(rule.after)}", seconds, inputs)
    return Verdict(True, words(late), seconds, inputs)
