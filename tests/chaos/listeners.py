"""Who is told: a webhook receiver, and Prometheus with Alertmanager over the files of deploy/, as real processes."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import watchdogs

__all__ = ["Receiver", "Told", "Watchdogs"]

Told = tuple[str, str, str]
"""Alert name, the dimension or KPI that tells it from others, state."""


class Receiver(watchdogs.Receiver):
    """Takes what OnPace itself tells under `/hook`, and Alertmanager under the names of its receivers."""

    def from_engine(self) -> list[Told]:
        """Each message of OnPace's own webhook channel."""
        return [_told(body["labels"], body["state"]) for body in self.bodies("/hook")]

    def from_alertmanager(self) -> list[Told]:
        """Each alert and state that Alertmanager told of, once however often."""
        alerts = [alert for path, body in list(self.taken) if path != "/hook" for alert in body["alerts"]]
        return list(dict.fromkeys(_told(alert["labels"], alert["status"]) for alert in alerts))


def _told(labels: Mapping[str, str], state: str) -> Told:
    return labels["alertname"], labels.get("dim_event_type") or labels.get("kpi", ""), state


class Watchdogs:
    """Prometheus and Alertmanager with the shipped rules, every duration in them a tenth."""

    def __init__(self, folder: Path, receiver: str, targets: Mapping[str, int]) -> None:
        """`targets`: job -> port."""
        self._outside = watchdogs.Alertmanager(folder / "alertmanager", receiver, group_wait="3s", group_interval="5s")
        self.alertmanager = self._outside.url
        self._prometheus = watchdogs.Prometheus(
            folder / "prometheus", self.alertmanager, targets, rules=watchdogs.in_a_tenth
        )
        self._held = ExitStack()

    @staticmethod
    def missing() -> list[str]:
        """What is not installed."""
        return watchdogs.missing("prometheus", "alertmanager")

    def __enter__(self) -> Watchdogs:
        self._held.enter_context(self._outside)
        return self

    def watch(self) -> None:
        """Start Prometheus, and return once every target answers."""
        self._held.enter_context(self._prometheus)
        self._prometheus.until_all_up()

    def __exit__(self, *_: object) -> None:
        self._held.close()
