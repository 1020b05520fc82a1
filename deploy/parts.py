"""One part of OnPace as a process of its own, for production: `onpace gateway`, `onpace process`, `onpace alert`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any

import structlog
from fastapi import APIRouter
from prometheus_client import CollectorRegistry

from onpace.config.catalog import Catalog
from onpace.config.errors import BrokerUnavailable, OnPaceError
from onpace.config.settings import KafkaSettings, Settings
from onpace.deploy.data_folder import DataFolder
from onpace.deploy.reloading import LiveCatalog
from onpace.deploy.running import at_end, background, in_thread, run, until_failed
from onpace.deploy.silence_router import silence_router
from onpace.deploy.silencing import desk_over
from onpace.deploy.sockets import web_socket
from onpace.deploy.stack import adopters, alerting, election_of, evaluate_for_ever, start_processor, start_store
from onpace.deploy.stores import now
from onpace.deploy.web import WebServer, close_submitter, web_app
from onpace.deploy.wiring import AlertPart
from onpace.ingest.gateway import EventSubmitter, gateway_router
from onpace.ingest.topics import ensure_topics

__all__ = ["run_alert", "run_gateway", "run_processor"]

log = structlog.get_logger(__name__)


def run_processor(settings: Settings, catalog: Catalog) -> None:
    """Fold events until stopped. Serves `/metrics` and `/healthz`."""
    _need_broker(settings)

    async def main(held: AsyncExitStack) -> None:
        registry = CollectorRegistry()
        _hold_folder(held, settings)
        web = held.enter_context(web_socket(settings.web))
        stack = await start_processor(held, settings, catalog, registry, live=True)
        server = WebServer(web_app(registry, healthy=stack.failure), web)
        following = LiveCatalog(settings, catalog, registry).follow(
            *adopters(settings, stack.store, stack.worker, None)
        )
        await _serve(held, server, [background(held, following, "KPI files")], stack.failure)

    run(main)


def run_gateway(settings: Settings, catalog: Catalog) -> None:
    """Take events over HTTP until stopped. Starts even while the broker is away, and answers 503 then."""
    _need_broker(settings)

    async def main(held: AsyncExitStack) -> None:
        registry = CollectorRegistry()
        web = held.enter_context(web_socket(settings.web))
        submitter = EventSubmitter.connect(settings.kafka)
        at_end(held, lambda: close_submitter(submitter))
        topics = background(held, _make_topics(settings.kafka), "topics")
        live = LiveCatalog(settings, catalog, registry)
        router = gateway_router(submitter, lambda: live.current, registry)
        following = background(held, live.follow(), "KPI files")
        await _serve(held, WebServer(_app(registry, [router]), web), [topics, following])

    run(main)


def run_alert(settings: Settings, catalog: Catalog) -> None:
    """Evaluate KPIs and rules until stopped. Serves the status page and the KPI metrics."""

    async def main(held: AsyncExitStack) -> None:
        registry = CollectorRegistry()
        _hold_folder(held, settings)
        web = held.enter_context(web_socket(settings.web))
        store = await start_store(held, settings, catalog)
        election = election_of(held, settings)
        alerts = alerting(held, settings, catalog, store, registry)
        engine = background(held, evaluate_for_ever(alerts, election, settings.engine.interval), "engine")
        live = LiveCatalog(settings, catalog, registry)
        following = background(held, live.follow(*adopters(settings, store, None, alerts)), "KPI files")
        silences = silence_router(desk_over(store, lambda: alerts.catalog), now)
        await _serve(held, WebServer(_app(registry, [silences], alerts), web), [engine, following])

    run(main)


def _app(registry: CollectorRegistry, routers: Sequence[APIRouter], alerts: AlertPart | None = None) -> Any:
    return web_app(registry, alerts=alerts, routers=routers, healthy=lambda: None)


def _need_broker(settings: Settings) -> None:
    if settings.kafka.bootstrap is None:
        raise OnPaceError("no Kafka: set ONPACE_KAFKA__BOOTSTRAP=host:port (or run `onpace up`, which brings its own)")


def _hold_folder(held: AsyncExitStack, settings: Settings) -> None:
    if settings.clickhouse.url is None:
        held.enter_context(DataFolder(settings.data, kpis=settings.kpis))


async def _make_topics(kafka: KafkaSettings) -> None:
    """Make the topics where they are missing, once the broker answers."""
    while True:
        try:
            return await in_thread(ensure_topics, kafka)
        except BrokerUnavailable as exc:
            log.warning("events are refused until Kafka answers", reason=str(exc))
        await asyncio.sleep(2)


async def _serve(
    held: AsyncExitStack,
    server: WebServer,
    tasks: Sequence[asyncio.Task[Any]],
    failure: Callable[[], str | None] = lambda: None,
) -> None:
    held.push_async_callback(server.stop)
    await server.start()
    log.info("serving", url=server.url)
    await until_failed(tasks, failure)
