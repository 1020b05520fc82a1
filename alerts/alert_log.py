"""Reads what became of alerts: their transitions, the messages about them, and what changed at their KPIs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from onpace.alerts.cells import instant_text, labels_of, utc
from onpace.alerts.status import Labels
from onpace.alerts.why import Place, Step, Told
from onpace.processors.clickhouse import ClickHouse

__all__ = ["AlertLog", "ClickHouseAlertLog", "StatusChange", "label_place"]

LAST = 8
"""So many transitions of an alert are told."""


@dataclass(frozen=True, slots=True)
class StatusChange:
    """A KPI went to another status."""

    series: Labels
    period: str
    at: datetime
    before: str
    status: str
    reason: str


class AlertLog(Protocol):
    """What was recorded of alerts. Raises StoreUnavailable when the store does not answer."""

    def steps(self, rule: str, at: datetime) -> list[Step]:
        """The last transitions of each of its alerts up to `at`, and the first one after it; in order of time."""
        ...

    def told(self, rule: str) -> list[Told]:
        """All messages about its alerts, in order of time."""
        ...

    def changes(self, kpi: str, at: datetime) -> list[StatusChange]:
        """The last changes of status in each period up to `at`, in order of time."""
        ...

    def last_seen(self, event_types: Sequence[str], at: datetime) -> dict[str, datetime]:
        """When each event type had last said anything, of what had arrived by `at`."""
        ...


class ClickHouseAlertLog:
    """An AlertLog in ClickHouse tables (migrations 0001 and 0002)."""

    def __init__(self, store: ClickHouse) -> None:
        self._store = store

    def steps(self, rule: str, at: datetime) -> list[Step]:
        """The last ones up to `at` and the first after it."""
        asked = {"rule": rule, "at": instant_text(at)}
        columns = "series, period, at, before, state, value, reason"
        each = f"SELECT DISTINCT {columns} FROM alert_transitions WHERE rule = {{rule:String}} AND at"
        until = "parseDateTime64BestEffort({at:String}, 6, 'UTC')"
        up_to = self._store.query(f"{each} <= {until} ORDER BY at DESC LIMIT {LAST} BY series, period", asked)
        after = self._store.query(f"{each} > {until} ORDER BY at LIMIT 1 BY series, period", asked)
        return _chained([_step(row) for row in [*reversed(up_to), *after]])

    def told(self, rule: str) -> list[Told]:
        """What the outbox has, settled or not."""
        rows = self._store.query(
            "SELECT payload, outcome, delivered_at FROM notifications FINAL "
            "WHERE JSONExtractString(payload, 'labels', 'alertname') = {rule:String} ORDER BY created_at, channel",
            {"rule": rule},
        )
        return [_told(json.loads(payload), outcome, settled) for payload, outcome, settled in rows]

    def changes(self, kpi: str, at: datetime) -> list[StatusChange]:
        """The last ones of each period."""
        rows = self._store.query(
            "SELECT DISTINCT series, period, evaluated_at, before, status, reason FROM kpi_status_changes "
            "WHERE kpi = {kpi:String} AND evaluated_at <= parseDateTime64BestEffort({at:String}, 6, 'UTC') "
            f"ORDER BY evaluated_at DESC LIMIT {LAST} BY series, period",
            {"kpi": kpi, "at": instant_text(at)},
        )
        return [
            StatusChange(labels_of(series), period, utc(when), *rest) for series, period, when, *rest in reversed(rows)
        ]

    def last_seen(self, event_types: Sequence[str], at: datetime) -> dict[str, datetime]:
        """From the archive: as late events break a silence too, their arrival counts."""
        rows = self._store.query(
            "SELECT type, max(greatest(time, toDateTime64(arrival, 6, 'UTC'))) FROM events "
            "WHERE type IN {types:Array(String)} AND arrival <= parseDateTime64BestEffort({at:String}, 6, 'UTC') "
            "GROUP BY type",
            {"types": list(event_types), "at": instant_text(at)},
        )
        return {name: min(utc(seen), at) for name, seen in rows}


def label_place(labels: Mapping[str, str]) -> tuple[Labels, str]:
    """Dimension values and period from a message's labels."""
    series = [(name.removeprefix("dim_"), value) for name, value in labels.items() if name.startswith("dim_")]
    null = {"(null)": None, "(empty)": ""}
    return tuple((name, null.get(value, value)) for name, value in series), labels.get("period", "")


def _told(payload: Mapping[str, object], outcome: str, settled: datetime | None) -> Told:
    labels = payload["labels"]
    assert isinstance(labels, dict)
    starts, created = (datetime.fromisoformat(str(payload[name])) for name in ("starts_at", "created_at"))
    at = utc(settled) if settled else None
    return Told(label_place(labels), str(payload["channel"]), str(payload["state"]), starts, created, outcome, at)


def _step(row: Sequence[Any]) -> Step:
    series, period, at, *rest = row
    return Step((labels_of(series), period), utc(at), *rest)


def _chained(steps: Sequence[Step]) -> list[Step]:
    """In order of time, and within one instant, in which late events correct what was judged, as one led to another."""
    found: list[Step] = []
    state: dict[Place, str] = {}
    waiting = sorted(steps, key=lambda step: step.at)
    while waiting:
        now = [step for step in waiting if step.at == waiting[0].at]
        chosen = next((step for step in now if step.before == state.get(step.place, step.before)), now[0])
        state[chosen.place] = chosen.state
        waiting.remove(chosen)
        found.append(chosen)
    return found
