"""Faust apps as OnPace runs them: on the broker of the settings, without tables, a web server or folders."""

from __future__ import annotations

from typing import Any

import faust
from yarl import URL

from onpace.config.settings import KafkaSettings
from onpace.processors.fetching import credentials

__all__ = ["faust_app", "servers_of"]


def faust_app(kafka: KafkaSettings, group: str, **options: Any) -> Any:
    """An app in this consumer group; `options` are Faust's settings."""
    seconds = kafka.session_timeout.total_seconds()
    app = faust.App(
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
    # they are for tables, and where a process starts may be read-only; a subclass would log under our name, not Faust's
    app._create_directories = _nothing  # type: ignore[method-assign]
    return app


def _nothing() -> None: ...


def servers_of(kafka: KafkaSettings) -> list[URL]:
    """The broker's addresses, as Faust takes them."""
    return [URL(f"kafka://{server}") for server in (kafka.bootstrap or "").split(",")]
