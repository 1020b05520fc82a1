"""Settings from the environment: `ONPACE_KAFKA__BOOTSTRAP`, `ONPACE_CLICKHOUSE__URL`, …"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from onpace.config.dashboards import DashboardUrl
from onpace.config.durations import Duration

__all__ = ["ClickHouseSettings", "EngineSettings", "KafkaSettings", "ProcessorSettings", "Settings", "WebSettings"]


Port = Annotated[int, Field(ge=0, le=65535)]


class Group(BaseModel):
    """A group of settings."""

    model_config = ConfigDict(extra="forbid")


class KafkaSettings(Group):
    """The broker and its topics."""

    bootstrap: str | None = None
    """`host:port[,host:port]`; unset means the embedded broker."""
    embedded_port: Port | None = None
    """Of the embedded broker; unset means 9092, or any free one when that is taken."""
    topic: str = "events"
    dead_letter_topic: str = "events.dlq"
    partitions: int = Field(default=4, ge=1)
    replication: int = Field(default=1, ge=1)
    group: str = "onpace"
    instance: str | None = None
    """A name that stays the same over restarts of this process (static membership); no two processes may share it."""
    session_timeout: Duration = timedelta(seconds=30)
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str | None = None
    username: str | None = None
    password: SecretStr | None = None


class ClickHouseSettings(Group):
    """The store."""

    url: str | None = None
    """`http(s)://host:port`; unset means the embedded engine in the data folder."""
    database: str = "onpace"
    username: str = "default"
    password: SecretStr = SecretStr("")
    timeout: Annotated[Duration, Field(ge=timedelta(seconds=1))] = timedelta(seconds=60)
    """A server that is silent for so long counts as away."""


class ProcessorSettings(Group):
    """How the processor batches and how long it remembers."""

    flush_events: int = Field(default=100_000, ge=1)
    flush_interval: Duration = timedelta(seconds=1)
    poll_events: int = Field(default=20_000, ge=1)
    resident_rows: int = Field(default=500_000, ge=1000)
    """Window aggregates kept in memory; older windows are read back from ClickHouse."""
    dedup_horizon: Duration = timedelta(days=7)
    max_future: Duration = timedelta(days=1)
    """An event dated further ahead of its arrival is a dead letter."""
    max_event_bytes: int = Field(default=1_048_576, ge=1024)
    backfill: bool = True
    """Rebuild the history of new and redefined KPIs from the archive; without it they wait for `onpace rebuild`."""


class EngineSettings(Group):
    """The alert engine."""

    interval: Duration = timedelta(seconds=10)
    resend: Duration = timedelta(minutes=1)
    """How often a firing alert is sent again to Alertmanager."""
    behind: Duration = timedelta(minutes=5)
    """A pipeline that has not been caught up with the stream for longer than this is behind."""
    pipeline_hold: Duration = timedelta(minutes=2)
    """How long a source must be stale, or the pipeline behind, before people are told."""
    private_webhooks: bool = True
    """Whether webhooks may go to loopback and private addresses."""
    dashboard_url: DashboardUrl | None = None
    """What messages link to where the KPI has no `dashboard`; unset means the status page."""


class WebSettings(Group):
    """Where gateway, status page and metrics listen."""

    host: str = "127.0.0.1"
    port: Port = 8080
    clickhouse_port: Port | None = None
    """Of the embedded engine's SQL interface; unset means 8124, or any free one when that is taken."""


class Settings(BaseSettings):
    """All settings. Each may come from the environment; command line options win."""

    model_config = SettingsConfigDict(env_prefix="ONPACE_", env_nested_delimiter="__", extra="ignore")

    data: Path = Path("onpace-data")
    """The embedded engine's files. One process at a time holds the folder."""
    kpis: Path | None = None
    """Folder of KPI files; unset means those that the data folder was last used with, or else the simulated shop's."""
    log: Literal["debug", "info", "warning", "error"] = "info"
    """The least that is worth a line on standard error."""
    kafka: KafkaSettings = KafkaSettings()
    clickhouse: ClickHouseSettings = ClickHouseSettings()
    processor: ProcessorSettings = ProcessorSettings()
    engine: EngineSettings = EngineSettings()
    web: WebSettings = WebSettings()
