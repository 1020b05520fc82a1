"""Where statuses, alerts and undelivered notifications are kept between evaluations and across restarts."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any, Literal, Protocol

from onpace.alerts.cells import cell, labels_of
from onpace.alerts.evaluation import Transition
from onpace.alerts.notifications import Notification
from onpace.alerts.states import Alert
from onpace.alerts.status import KpiStatus
from onpace.alerts.versions import TargetVersion
from onpace.config.calendar import Grain
from onpace.config.kpi import Status
from onpace.processors.clickhouse import ClickHouse

__all__ = ["ClickHouseHistory", "ClickHouseOutbox", "Outbox", "Settled", "StatusStore"]

Settled = Literal["delivered", "rejected"]


class StatusStore(Protocol):
    """Keeps the latest status per target and period, the latest state per alert, and every change of either.

    Saving the same again is harmless. Every method raises StoreUnavailable when the store does not answer.
    """

    def statuses(self) -> list[KpiStatus]:
        """The latest status of every target and period."""
        ...

    def alerts(self) -> list[Alert]:
        """The latest state of every alert."""
        ...

    def save_statuses(self, statuses: Sequence[KpiStatus], before: Sequence[Status | None]) -> None:
        """Keep these; `before` holds the status that each one replaces, and a change is recorded where they differ."""

    def save_alerts(self, alerts: Sequence[Alert], transitions: Sequence[Transition], now: datetime) -> None:
        """Keep these alerts, and record the transitions."""

    def targets(self) -> list[TargetVersion]:
        """Every version of every target."""
        ...

    def save_targets(self, versions: Sequence[TargetVersion]) -> None:
        """Keep these for good."""


class Outbox(Protocol):
    """Keeps notifications until they are settled, so that a restart loses none."""

    def waiting(self) -> list[Notification]:
        """What was put in and never settled, oldest first."""
        ...

    def known(self, keys: Collection[str]) -> dict[tuple[str, str], bool]:
        """Which messages of these keys were ever put in: channel and key, and whether it is settled."""
        ...

    def firing(self, channel: str) -> list[Notification]:
        """What the channel was last told to fire: for each set of labels the newest, where that is no end."""
        ...

    def put(self, notifications: Sequence[Notification]) -> None:
        """Keep these. The same key and channel again is one notification."""

    def settle(self, notification: Notification, outcome: Settled, at: datetime) -> None:
        """Never offer this one again."""


_STATUS = tuple(field.name for field in fields(KpiStatus))
_VERSION = tuple(field.name for field in fields(TargetVersion))
_ALERT = tuple(field.name for field in fields(Alert))
_CHANGE = (
    *("kpi", "target", "series", "period", "evaluated_at", "as_of"),
    *("status", "final", "actual", "expected", "target_value", "reason"),
)
_OUTBOX = ("key", "channel", "payload", "created_at", "delivered_at", "outcome", "settled")
_TRANSITION = ("rule", "kpi", "series", "period", "severity", "at", "before", "state", "value", "reason", "inputs")


class ClickHouseHistory:
    """A StatusStore in ClickHouse tables (migrations 0002 and 0005)."""

    def __init__(self, store: ClickHouse) -> None:
        self._store = store

    def statuses(self) -> list[KpiStatus]:
        """The latest status of every target and period."""
        rows = self._store.query_dicts(f"SELECT {', '.join(_STATUS)} FROM kpi_status FINAL ORDER BY evaluated_at")
        return [KpiStatus(**{**row, "series": labels_of(row["series"]), "grain": Grain(row["grain"])}) for row in rows]

    def alerts(self) -> list[Alert]:
        """The latest state of every alert."""
        rows = self._store.query_dicts(
            f"SELECT {', '.join(_ALERT)} FROM alerts FINAL ORDER BY rule, kpi, series, period"
        )
        return [Alert(**{**row, "series": labels_of(row["series"]), "prior": labels_of(row["prior"])}) for row in rows]

    def save_statuses(self, statuses: Sequence[KpiStatus], before: Sequence[Status | None]) -> None:
        """Keep these statuses and record the changes."""
        rows = [[cell(getattr(status, name)) for name in _STATUS] for status in statuses]
        changes = [
            [*(cell(getattr(status, name)) for name in _CHANGE), old or ""]
            for status, old in zip(statuses, before, strict=True)
            if status.status != old
        ]
        self._store.insert("kpi_status_changes", [*_CHANGE, "before"], changes)
        self._store.insert("kpi_status", _STATUS, rows)

    def save_alerts(self, alerts: Sequence[Alert], transitions: Sequence[Transition], now: datetime) -> None:
        """Keep these alerts and record the transitions."""
        self._store.insert("alert_transitions", _TRANSITION, [_transition_row(one) for one in transitions])
        rows = [[*(cell(getattr(alert, name)) for name in _ALERT), now] for alert in alerts]
        self._store.insert("alerts", [*_ALERT, "updated_at"], rows)

    def targets(self) -> list[TargetVersion]:
        """Every version of every target."""
        rows = self._store.query_dicts(f"SELECT {', '.join(_VERSION)} FROM target_versions FINAL ORDER BY first_seen")
        return [TargetVersion(**{**row, "series": labels_of(row["series"])}) for row in rows]

    def save_targets(self, versions: Sequence[TargetVersion]) -> None:
        """Keep these for good."""
        rows = [[cell(getattr(version, name)) for name in _VERSION] for version in versions]
        self._store.insert("target_versions", _VERSION, rows)


KEYS = 1000
"""So many are asked for at once: they are part of the query's address, which may not be longer than a megabyte."""


class ClickHouseOutbox:
    """An Outbox in a ClickHouse table (migration 0002)."""

    def __init__(self, store: ClickHouse) -> None:
        self._store = store

    def waiting(self) -> list[Notification]:
        """What was never settled, oldest first."""
        rows = self._store.query("SELECT payload FROM notifications FINAL WHERE settled = 0 ORDER BY created_at, key")
        return [Notification.from_json(payload) for (payload,) in rows]

    def known(self, keys: Collection[str]) -> dict[tuple[str, str], bool]:
        """By channel and key."""
        asked = sorted(keys)
        rows = [
            row
            for first in range(0, len(asked), KEYS)
            for row in self._store.query(
                "SELECT channel, key, max(settled) FROM notifications WHERE key IN {keys:Array(String)}"
                " GROUP BY channel, key",
                {"keys": asked[first : first + KEYS]},
            )
        ]
        return {(channel, key): bool(settled) for channel, key, settled in rows}

    def firing(self, channel: str) -> list[Notification]:
        """By the newest message for each set of labels that was not refused."""
        rows = self._store.query(
            "SELECT payload FROM notifications FINAL WHERE channel = {channel:String} AND outcome != 'rejected'"
            " ORDER BY created_at DESC, key LIMIT 1 BY JSONExtractRaw(payload, 'labels')",
            {"channel": channel},
        )
        return [one for (payload,) in rows if (one := Notification.from_json(payload)).state == "firing"]

    def put(self, notifications: Sequence[Notification]) -> None:
        """Keep these until they are settled."""
        self._store.insert("notifications", _OUTBOX, [_outbox_row(one, None, "waiting") for one in notifications])

    def settle(self, notification: Notification, outcome: Settled, at: datetime) -> None:
        """Never offer this one again."""
        self._store.insert("notifications", _OUTBOX, [_outbox_row(notification, at, outcome)])


def _outbox_row(one: Notification, at: datetime | None, outcome: str) -> list[Any]:
    delivered = at if outcome == "delivered" else None
    return [one.key, one.channel, one.to_json(), one.created_at, delivered, outcome, int(outcome != "waiting")]


def _transition_row(one: Transition) -> list[Any]:
    alert = one.alert
    known = [alert.rule, alert.kpi, cell(alert.series), alert.period, alert.severity]
    return [*known, one.at, one.before, alert.state, alert.value, alert.reason, json.dumps(dict(one.inputs))]
