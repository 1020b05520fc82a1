"""`onpace up`: the whole system in one process, with an embedded broker and engine unless real ones are named."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import structlog
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from onpace.config.catalog import Catalog
from onpace.config.errors import BrokerUnavailable, OnPaceError
from onpace.config.settings import Settings
from onpace.deploy.clickhouse_http import ClickHouseHttp
from onpace.deploy.data_folder import DataFolder
from onpace.deploy.dead_letters import DeadLetters
from onpace.deploy.demo import run_shop
from onpace.deploy.reloading import LiveCatalog
from onpace.deploy.replaying import Totals, feed_file, totals
from onpace.deploy.running import at_end, background, in_thread, run, until_failed
from onpace.deploy.silence_router import silence_router
from onpace.deploy.silencing import desk_over
from onpace.deploy.sockets import clickhouse_socket, web_socket
from onpace.deploy.stack import (
    Stack,
    adopters,
    alerting,
    close_producer,
    election_of,
    evaluate_for_ever,
    start_processor,
)
from onpace.deploy.stores import now
from onpace.deploy.web import WebServer, close_submitter, dead_letter_router, web_app
from onpace.deploy.wiring import AlertPart
from onpace.ingest.event import Event
from onpace.ingest.files import ReplayResult
from onpace.ingest.gateway import EventSubmitter, gateway_router
from onpace.ingest.producer import DeliveryFailed, EventProducer
from onpace.processors.writer import EPOCH

__all__ = ["Replayed", "Urls", "replay_and_exit", "up"]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Urls:
    """Where a started stack answers."""

    web: str
    clickhouse: str
    kafka: str


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of a replay."""

    result: ReplayResult
    totals: Totals
    kpis: int
    """How many were evaluated."""


def up(
    settings: Settings,
    catalog: Catalog,
    *,
    demo: bool,
    replay: Path | None,
    ready: Callable[[Urls], None],
    replayed: Callable[[ReplayResult], None],
) -> None:
    """Run until SIGINT or SIGTERM. `demo`: also run the simulated shop. Raises OnPaceError."""

    async def main(held: AsyncExitStack) -> None:
        registry = CollectorRegistry()
        folder = held.enter_context(DataFolder(settings.data, kpis=settings.kpis))
        web = held.enter_context(web_socket(settings.web))
        sql = None if settings.clickhouse.url else held.enter_context(clickhouse_socket(settings.web))
        stack = await start_processor(held, settings, catalog, registry, live=True)
        clickhouse = stack.settings.clickhouse.url or ""
        if sql is not None:
            service = await in_thread(ClickHouseHttp, settings.data, settings.clickhouse.database, sql)
            at_end(held, service.close)
            clickhouse = service.url
        election = election_of(held, settings)
        alerts = alerting(held, stack.settings, catalog, stack.store, registry)
        live = LiveCatalog(settings, catalog, registry)
        server = WebServer(_app(held, stack, live, registry, alerts), web)
        held.push_async_callback(server.stop)
        await server.start()
        urls = Urls(server.url, clickhouse, stack.settings.kafka.bootstrap or "")
        folder.publish(clickhouse=urls.clickhouse, web=urls.web, kafka=urls.kafka)
        tasks = [background(held, evaluate_for_ever(alerts, election, settings.engine.interval), "engine")]
        following = live.follow(*adopters(stack.settings, stack.store, stack.worker, alerts))
        tasks.append(background(held, following, "KPI files"))
        if demo:
            tasks.append(background(held, run_shop(_sender(_producer(held, stack)), now), "shop"))
        ready(urls)
        if replay:
            tasks.append(background(held, _replay_into(replay, catalog, stack, replayed), "replay"))
        await until_failed(tasks, stack.failure)

    run(main)


def replay_and_exit(settings: Settings, catalog: Catalog, file: Path) -> Replayed:
    """Start, feed the file, drain, evaluate as of its last event, stop. Nobody is notified. Raises OnPaceError."""

    async def main(held: AsyncExitStack) -> Replayed:
        registry = CollectorRegistry()
        held.enter_context(DataFolder(settings.data, kpis=settings.kpis))
        stack = await start_processor(held, settings, catalog, registry, live=False)
        alerts = AlertPart(stack.settings, catalog, stack.store, registry)
        await in_thread(lambda: alerts.engine.record_targets(alerts.replay_now(EPOCH)))
        feeding = background(held, feed_file(file, catalog, stack.settings, stack.store), "replay")
        while not (feeding.done() and _drained(stack, feeding.result())):
            await asyncio.wait([feeding], timeout=0.05)
            await asyncio.sleep(0.05)
            if reason := stack.failure():
                raise OnPaceError(reason)
        last = await stack.worker.finish()
        await in_thread(lambda: alerts.engine.evaluate(alerts.replay_now(last), notify=False))
        return Replayed(feeding.result(), totals(registry), len(catalog.kpis))

    done = run(main)
    if done is None:
        raise OnPaceError("stopped before the replay was finished: run it again, what is in already is recognised")
    return done


def _drained(stack: Stack, result: ReplayResult) -> bool:
    positions = stack.worker.processor.positions
    return all(positions.get(partition, 0) >= offset for partition, offset in result.offsets.items())


def _app(
    held: AsyncExitStack, stack: Stack, live: LiveCatalog, registry: CollectorRegistry, alerts: AlertPart
) -> FastAPI:
    submitter = EventSubmitter.connect(stack.settings.kafka)
    at_end(held, lambda: close_submitter(submitter))
    routers = [gateway_router(submitter, lambda: live.current, registry), dead_letter_router(DeadLetters(stack.store))]
    routers.append(silence_router(desk_over(stack.store, lambda: alerts.catalog), now))
    return web_app(registry, alerts=alerts, routers=routers, healthy=stack.failure)


async def _replay_into(file: Path, catalog: Catalog, stack: Stack, replayed: Callable[[ReplayResult], None]) -> None:
    replayed(await feed_file(file, catalog, stack.settings, stack.store))


def _producer(held: AsyncExitStack, stack: Stack) -> EventProducer:
    producer = EventProducer(stack.settings.kafka)
    at_end(held, lambda: close_producer(producer))
    return producer


def _sender(producer: EventProducer) -> Callable[[Sequence[Event]], Awaitable[None]]:
    def deliver(events: Sequence[Event]) -> None:
        for event in events:
            producer.send_event(event)
        producer.flush(30)

    async def send(events: Sequence[Event]) -> None:
        while True:
            try:
                return await in_thread(deliver, events)
            except (BrokerUnavailable, DeliveryFailed) as exc:
                log.warning("the shop tries again", reason=str(exc))
            await asyncio.sleep(1)

    return send
