"""The engine's own metrics, in the registry that it is given."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

__all__ = ["EngineMetrics", "Outcome"]

Outcome = Literal["delivered", "rejected", "failed"]
"""What became of one attempt to deliver."""


class EngineMetrics:
    """How the engine is doing. The heartbeat is the watchdog: a rule outside OnPace fires when it stands still."""

    def __init__(self, registry: CollectorRegistry, version: str = "") -> None:
        self.heartbeat = Gauge(
            "onpace_engine_heartbeat_timestamp_seconds", "When the alert engine last evaluated.", registry=registry
        )
        self.leader = Gauge(
            "onpace_engine_leader", "1 on the engine that evaluates, 0 on those that stand by.", registry=registry
        )
        self.evaluation = Histogram(
            "onpace_engine_evaluation_seconds", "How long one evaluation took.", registry=registry
        )
        self.notifications = Counter(
            "onpace_notifications_total",
            "Notifications by channel and outcome: delivered, failed (tried again) or rejected (given up).",
            ["channel", "outcome"],
            registry=registry,
        )
        if version:
            build = Gauge("onpace_build_info", "The version that runs; always 1.", ["version"], registry=registry)
            build.labels(version).set(1)

    def expect(self, channels: Iterable[str]) -> None:
        """Show these channels from now on: Prometheus misses the first step of a counter that it has not seen."""
        for channel in channels:
            for outcome in get_args(Outcome):
                self.notifications.labels(channel, outcome)
