"""What became of scheduled reports, and what fired between two of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol

from onpace.alerts.cells import instant_text, labels_of, utc
from onpace.alerts.report_text import Fired, Standing
from onpace.processors.clickhouse import ClickHouse

__all__ = ["ClickHouseReportLog", "ReportLog", "ReportRow"]

ReportOutcome = Literal["begun", "sent", "skipped"]
Told = tuple[str, str, str, str, str]
"""An alert that a report has named: rule, KPI, series, period and when it fired."""


@dataclass(frozen=True, slots=True)
class ReportRow:
    """What became of a report at one of its times."""

    report: str
    schedule: str
    due: datetime
    outcome: ReportOutcome
    made_at: datetime
    statuses: Mapping[str, Standing] = field(default_factory=dict)
    """What it said, by KPI."""
    told: tuple[Told, ...] = ()
    """The alerts that it named."""


class ReportLog(Protocol):
    """Keeps what became of reports. Saving the same again is harmless. Raises StoreUnavailable."""

    def last(self, report: str, *, sent: bool = False) -> ReportRow | None:
        """What became of it at its latest time; `sent`: the latest one that was sent."""
        ...

    def save(self, row: ReportRow) -> None:
        """Keep this."""

    def submitted(self, keys: Sequence[str]) -> set[str]:
        """Those keys of messages that were handed to the outbox already."""
        ...

    def fired(self, since: datetime) -> list[Fired]:
        """Every firing of an alert from `since` on, in order of time; `still` is left False."""
        ...


_COLUMNS = ("report", "schedule", "due", "outcome", "made_at", "statuses", "told")


class ClickHouseReportLog:
    """A ReportLog in ClickHouse tables (migrations 0002 and 0012)."""

    def __init__(self, store: ClickHouse) -> None:
        self._store = store

    def last(self, report: str, *, sent: bool = False) -> ReportRow | None:
        """The latest row."""
        only = "AND outcome = 'sent' " if sent else ""
        rows = self._store.query(
            f"SELECT {', '.join(_COLUMNS)} FROM scorecard_reports FINAL WHERE report = {{report:String}} {only}"
            "ORDER BY due DESC, made_at DESC LIMIT 1",
            {"report": report},
        )
        return _row(*rows) if rows else None

    def save(self, row: ReportRow) -> None:
        """One row."""
        statuses, told = json.dumps(dict(row.statuses), ensure_ascii=False), json.dumps(row.told, ensure_ascii=False)
        cells = [row.report, row.schedule, row.due, row.outcome, row.made_at, statuses, told]
        self._store.insert("scorecard_reports", _COLUMNS, [cells])

    def submitted(self, keys: Sequence[str]) -> set[str]:
        """Settled or not."""
        rows = self._store.query(
            "SELECT DISTINCT key FROM notifications WHERE key IN {keys:Array(String)}", {"keys": list(keys)}
        )
        return {key for (key,) in rows}

    def fired(self, since: datetime) -> list[Fired]:
        """From the transitions."""
        rows = self._store.query(
            "SELECT DISTINCT rule, kpi, series, period, at FROM alert_transitions WHERE state = 'firing' "
            "AND at >= parseDateTime64BestEffort({since:String}, 6, 'UTC') ORDER BY at, rule, series, period",
            {"since": instant_text(since)},
        )
        return [
            Fired(rule, kpi, labels_of(series), period, utc(at), still=False) for rule, kpi, series, period, at in rows
        ]


def _row(cells: Sequence[Any]) -> ReportRow:
    report, schedule, due, outcome, made_at, statuses, told = cells
    said = {kpi: (word, period) for kpi, (word, period) in json.loads(statuses).items()}
    named = tuple((rule, kpi, series, period, at) for rule, kpi, series, period, at in json.loads(told))
    return ReportRow(report, schedule, utc(due), outcome, utc(made_at), said, named)
