"""Faust apps as OnPace runs them: on the broker of the settings, without tables, a web server or folders."""

from __future__ import annotations

from typing import Any

import faust
from yarl import URL

from onpace.config.settings import KafkaSettings
from onpace.processors.fetching import credentials

__all__ = ["faust_app", "servers_of"]


class _App(faust.App):
    def _create_directories(self) -> None:
        """None: they are for tables, and where a process starts may be read-only."""


def faust_app(kafka: KafkaSettings, group: str, **options: Any) -> Any:
    """An app in this consumer group; `options` are Faust's settings."""
    seconds = kafka.session_timeout.total_seconds()
    return _App(
        group,
        broker=servers_of(kafka),
        store="memory://",
        web_enabled=False,
        broker_session_timeout=seconds,
        broker_heartbeat_interval=seconds / 3,
        broker_request_timeout=max(90.0, seconds),
        broker_max_poll_interval=900.0,
        broker_credentials=credentials(kafka),
        loghandlers=[],
        **options,
    )


def servers_of(kafka: KafkaSettings) -> list[URL]:
    """The broker's addresses, as Faust takes them."""
    return [URL(f"kafka://{server}") for server in (kafka.bootstrap or "").split(",")]
