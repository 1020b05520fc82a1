"""What an engine keeps, in memory: for backtests and rule tests, which nobody restarts and which tell nobody."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from onpace.alerts.evaluation import Transition
from onpace.alerts.notifications import Notification
from onpace.alerts.states import Alert, AlertId
from onpace.alerts.status import KpiStatus
from onpace.alerts.versions import TargetVersion
from onpace.config.kpi import Status

__all__ = ["Memory", "Nobody"]


class Memory:
    """A StatusStore that ends with the process."""

    def __init__(self) -> None:
        self._statuses: dict[tuple[object, ...], KpiStatus] = {}
        self._alerts: dict[AlertId, Alert] = {}
        self._targets: list[TargetVersion] = []

    def statuses(self) -> list[KpiStatus]:
        """The latest status of every target and period."""
        return list(self._statuses.values())

    def alerts(self) -> list[Alert]:
        """The latest state of every alert."""
        return list(self._alerts.values())

    def save_statuses(self, statuses: Sequence[KpiStatus], before: Sequence[Status | None]) -> None:  # noqa: ARG002
        """Keep the latest of each."""
        self._statuses |= {(one.kpi, one.target, one.series, one.period): one for one in statuses}

    def save_alerts(self, alerts: Sequence[Alert], transitions: Sequence[Transition], now: datetime) -> None:  # noqa: ARG002
        """Keep the alerts; whoever wants the transitions has them from the evaluation."""
        self._alerts |= {alert.identity: alert for alert in alerts}

    def targets(self) -> list[TargetVersion]:
        """Every version of every target."""
        return list(self._targets)

    def save_targets(self, versions: Sequence[TargetVersion]) -> None:
        """Keep these for good."""
        self._targets += [version for version in versions if version not in self._targets]


class Nobody:
    """A notifier that tells nobody."""

    def submit(self, notifications: Sequence[Notification]) -> None:
        """Drop them."""

    def refresh(self, firing: Sequence[Notification], now: datetime) -> None:
        """Drop them."""
