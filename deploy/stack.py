"""What every way of running shares: broker, store and processor, started in this order and ended in the reverse."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta

import structlog
from prometheus_client import CollectorRegistry

from onpace.alerts.apprise_sender import check_apprise
from onpace.config.catalog import Catalog
from onpace.config.errors import BrokerUnavailable, OnPaceError, PortBusy, StoreUnavailable
from onpace.config.settings import KafkaSettings, Settings
from onpace.deploy.reloading import Adopt
from onpace.deploy.running import at_end, background, in_thread, until_available
from onpace.deploy.stores import prepare_store
from onpace.deploy.wiring import AlertPart, dead_letter_topic, worker_of
from onpace.ingest.embedded_broker import EmbeddedBroker
from onpace.ingest.producer import EventProducer
from onpace.ingest.topics import ensure_topics, wait_for_broker
from onpace.processors.clickhouse import ClickHouse
from onpace.processors.election import Alone, Election, KafkaElection
from onpace.processors.worker import Worker

__all__ = [
    "Stack",
    "adopters",
    "alerting",
    "close_producer",
    "election_of",
    "evaluate_for_ever",
    "start_broker",
    "start_processor",
    "start_store",
    "watch_broker",
]

log = structlog.get_logger(__name__)

PATIENCE_SECONDS = 30.0
"""How long Kafka and ClickHouse may take to answer at the start; supervisors start everything at once."""

LETTERS_TIMEOUT = timedelta(seconds=5)
"""A flush waits for the dead-letter topic no longer than this."""

STAND_BY_PAUSE = timedelta(seconds=1)
"""How often an engine that stands by looks whether it has been elected."""

BROKER_PORT = 9092

SESSION_TIMEOUT = timedelta(seconds=6)
"""Of the embedded broker: what a restart after a crash would have to wait for at most."""


@dataclass(frozen=True, slots=True)
class Stack:
    """A processor that runs, and what it stands on."""

    settings: Settings
    store: ClickHouse
    worker: Worker
    failure: Callable[[], str | None]
    """Why it cannot go on; None while it can."""


async def start_broker(held: AsyncExitStack, settings: Settings) -> tuple[KafkaSettings, EmbeddedBroker | None]:
    """How to reach the broker, with the topics made: the one that is named, or else an embedded one."""
    kafka, broker = settings.kafka, None
    if kafka.bootstrap is None:
        broker = await _embedded_broker(held, settings)
        embedded = {"bootstrap": broker.address, "instance": "onpace-up", "session_timeout": SESSION_TIMEOUT}
        kafka = kafka.model_copy(update=embedded)
    log.debug("broker answers", address=kafka.bootstrap)
    await until_available(lambda: ensure_topics(kafka), PATIENCE_SECONDS)
    return kafka, broker


async def _embedded_broker(held: AsyncExitStack, settings: Settings) -> EmbeddedBroker:
    """On the port asked for; else the usual one, so that applications find it again; any, if that is taken."""
    wanted, log_file = settings.kafka.embedded_port, settings.data / "broker.log"
    if wanted is None:
        with contextlib.suppress(PortBusy):
            return await _started(held, EmbeddedBroker(BROKER_PORT, log=log_file))
    return await _started(held, EmbeddedBroker(wanted or None, log=log_file))


async def _started(held: AsyncExitStack, broker: EmbeddedBroker) -> EmbeddedBroker:
    at_end(held, broker.stop)
    await in_thread(broker.start)
    return broker


async def start_store(held: AsyncExitStack, settings: Settings, catalog: Catalog) -> ClickHouse:
    """ClickHouse with the tables and views of the catalog."""
    store = await until_available(lambda: ClickHouse.connect(settings.clickhouse, settings.data), PATIENCE_SECONDS)
    at_end(held, store.close)
    log.debug("store answers", address=store.address)
    await until_available(lambda: prepare_store(store, catalog, settings.kafka.topic), PATIENCE_SECONDS)
    log.debug("store is ready")
    return store


async def start_processor(
    held: AsyncExitStack, settings: Settings, catalog: Catalog, registry: CollectorRegistry, *, live: bool
) -> Stack:
    """Broker, store and worker. The data folder, if any is used, is held by the caller."""
    kafka, broker = await start_broker(held, settings)
    settings = settings.model_copy(update={"kafka": kafka})
    store = await start_store(held, settings, catalog)
    letters = EventProducer(
        kafka, topic=kafka.dead_letter_topic, max_block=LETTERS_TIMEOUT, delivery_timeout=LETTERS_TIMEOUT
    )
    at_end(held, lambda: close_producer(letters))
    worker = worker_of(settings, catalog, store, registry, dead_letters=dead_letter_topic(letters), live=live)
    held.push_async_callback(_stop, worker, broker)
    await worker.start()
    background(held, watch_broker(lambda: wait_for_broker(kafka, 2.0)), "broker watch")
    log.debug("processor runs")

    def failure() -> str | None:
        if worker.crashed:
            return f"the processor ended: {worker.crashed}"
        gone = broker is not None and not broker.running
        return f"the embedded broker ended: see {settings.data}/broker.log, then start again" if gone else None

    return Stack(settings, store, worker, failure)


async def watch_broker(ask: Callable[[], None], every: timedelta = timedelta(seconds=5)) -> None:
    """Say when Kafka stops answering and when it answers again: those who fetch try again in silence."""
    away = False
    while True:
        await asyncio.sleep(every.total_seconds())
        try:
            await in_thread(ask)
        except BrokerUnavailable as exc:
            if not away:
                log.warning("Kafka does not answer: waiting for it", reason=str(exc))
            away = True
        else:
            if away:
                log.info("Kafka answers again")
            away = False


async def _stop(worker: Worker, broker: EmbeddedBroker | None) -> None:
    """A worker that still joins its group would wait for the broker's answer for seconds; it has taken nothing."""
    if broker is not None and not worker.processor.positions:
        await in_thread(broker.stop)
    await worker.stop()


def close_producer(producer: EventProducer) -> None:
    """Deliver what is waiting, for two seconds at most."""
    try:
        producer.close(2.0)
    except OnPaceError as exc:
        log.warning("not delivered before the end", reason=str(exc))


def alerting(
    held: AsyncExitStack, settings: Settings, catalog: Catalog, store: ClickHouse, registry: CollectorRegistry
) -> AlertPart:
    """The alert engine; its notifications are under way, while it leads, until the end."""
    check_apprise(catalog.channels.values())
    alerts = AlertPart(settings, catalog, store, registry)
    at_end(held, alerts.stand_by)
    return alerts


def election_of(held: AsyncExitStack, settings: Settings) -> Election:
    """Which engine evaluates. Where a data folder is held by this process, or no Kafka is named, it is this one."""
    if settings.clickhouse.url is None or settings.kafka.bootstrap is None:
        return Alone()
    election = KafkaElection(settings.kafka, "engine")
    background(held, election.run(), "election")
    return election


async def evaluate_for_ever(alerts: AlertPart, election: Election, interval: timedelta) -> None:
    """Evaluate every `interval` and after every change, or stand by; a store that is away is tried again next time."""
    while True:
        alerts.changed.clear()
        try:
            await in_thread(lambda: alerts.turn(election.won))
        except StoreUnavailable as exc:
            log.warning("not evaluated", reason=str(exc))
        pause = min(interval, STAND_BY_PAUSE) if alerts.standing_by else interval
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(alerts.changed.wait(), pause.total_seconds())


def adopters(settings: Settings, store: ClickHouse, worker: Worker | None, alerts: AlertPart | None) -> list[Adopt]:
    """What a new catalog goes through, in order: views, processor, engine."""

    async def views(catalog: Catalog) -> None:
        await in_thread(prepare_store, store, catalog, settings.kafka.topic)

    async def engine(catalog: Catalog) -> None:
        if alerts is not None:
            await in_thread(alerts.adopt, catalog)
            alerts.changed.set()

    return [views, *([worker.adopt] if worker else []), engine]
