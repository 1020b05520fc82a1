"""Reports as events: what of them is new, and their identity. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from typing import Protocol

import msgspec

from onpace.config.kpi_entities import REPORT
from onpace.config.reporting import ReportedValue
from onpace.ingest.event import Event

__all__ = ["Known", "PlannedReport", "ReportKey", "key_of", "plan_reports", "report_of"]

SOURCE = "/onpace/report"
_MICROSECOND = timedelta(microseconds=1)

ReportKey = tuple[str, str, tuple[tuple[str, str], ...]]
"""What a report is for: KPI, period, dimension values."""


class Known(Protocol):
    """A report that is in the store."""

    @property
    def value(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def note(self) -> str: ...
    @property
    def reported_at(self) -> datetime: ...
    @property
    def sender(self) -> str: ...
    @property
    def id(self) -> str: ...


@dataclass(frozen=True, slots=True)
class PlannedReport:
    """A report, the event that carries it (None: the same is in force already), and the value that it replaces."""

    report: ReportedValue
    event: Event | None
    before: str | None

    @property
    def sentence(self) -> str:
        """`nps 2026-10: 42 (was 40, kept as an earlier version)`."""
        said = f"{self.report.subject}: {self.report.value}"
        if self.event is None:
            return f"{said}, as reported already: nothing changed"
        if self.before is None:
            return said
        if _same_number(self.before, self.report.value):
            return f"{said} (with another source or note; the earlier version is kept)"
        return f"{said} (was {self.before}, kept as an earlier version)"


def key_of(report: ReportedValue) -> ReportKey:
    """What the report is for."""
    return report.kpi.name, str(report.period), report.by


def plan_reports(
    reports: Iterable[ReportedValue], known: Mapping[ReportKey, Known], now: datetime
) -> list[PlannedReport]:
    """What is to be sent, given what is in force. Of one key there is at most one report.

    An event's id follows from its content and from the version that it replaces: sending it again counts once, and a
    value that returns to an earlier one is a version of its own. It is dated after what it replaces.
    """
    planned = []
    for at, report in enumerate(reports):
        before = known.get(key_of(report))
        if before and _same_number(before.value, report.value) and (before.source, before.note) == _words(report):
            planned.append(PlannedReport(report, None, before.value))
            continue
        time = now + at * _MICROSECOND
        if before:
            time = max(time, before.reported_at + _MICROSECOND)
        planned.append(PlannedReport(report, report_of(report, time, before), before.value if before else None))
    return planned


def report_of(report: ReportedValue, time: datetime, before: Known | None) -> Event:
    """The event that carries a report."""
    content = {
        "kpi": report.kpi.name,
        "period": str(report.period),
        "value": msgspec.Raw(report.value.encode()),
        **({"by": dict(report.by)} if report.by else {}),
        **({"source": report.source} if report.source else {}),
        **({"note": report.note} if report.note else {}),
    }
    data = msgspec.json.encode(content)
    replaced = [before.sender, before.id] if before else []
    identity = sha256(json.dumps([data.decode(), replaced]).encode()).hexdigest()[:32]
    return Event(id=identity, source=SOURCE, type=REPORT, time=time, data=data, subject=report.kpi.name)


def _words(report: ReportedValue) -> tuple[str, str]:
    return report.source, report.note


def _same_number(one: str, other: str) -> bool:
    return Decimal(one) == Decimal(other)
