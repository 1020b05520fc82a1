"""Sending reports: through a running stack, or through one that is started for them and stops again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack

from prometheus_client import CollectorRegistry

from onpace.config.catalog import Catalog
from onpace.config.errors import OnPaceError
from onpace.config.reporting import ReportedValue
from onpace.config.settings import KafkaSettings, Settings
from onpace.deploy.data_folder import DataFolder
from onpace.deploy.running import in_thread, run
from onpace.deploy.stack import Stack, start_processor
from onpace.deploy.stores import now
from onpace.ingest.producer import EventProducer
from onpace.ingest.reporting import PlannedReport, plan_reports
from onpace.processors.clickhouse import ClickHouse
from onpace.processors.inheritance import inherit
from onpace.processors.reports import Reports

__all__ = ["report_alone", "report_through"]

PATIENCE_SECONDS = 20.0
"""How long a running processor may take to write what was sent."""


def report_through(
    kafka: KafkaSettings, store: ClickHouse, catalog: Catalog, reports: Sequence[ReportedValue]
) -> list[PlannedReport]:
    """Send what is new to a system that runs, and return once it is in the store. Raises OnPaceError."""
    planned, _ = _send(kafka, store, catalog, reports)
    waiting = {one.event.id for one in planned if one.event}
    deadline = time.monotonic() + PATIENCE_SECONDS
    while waiting := waiting - {version.id for version in Reports(store, catalog).versions()}:
        if time.monotonic() > deadline:
            raise OnPaceError(
                f"{len(waiting)} of {len(planned)} reports are sent and not processed yet: is the processor running, "
                "with the same KPI files? They are not lost; `onpace report --list` will show them"
            )
        time.sleep(0.1)
    return planned


def report_alone(settings: Settings, catalog: Catalog, reports: Sequence[ReportedValue]) -> list[PlannedReport]:
    """Start a stack on the data folder, send what is new, process it and stop. Raises OnPaceError.

    How far everything else has come stays as it was: that nothing was sent to a stack that did not run says nothing.
    """

    async def main(held: AsyncExitStack) -> list[PlannedReport]:
        held.enter_context(DataFolder(settings.data, kpis=settings.kpis))
        stack = await start_processor(held, settings, catalog, CollectorRegistry(), live=False)
        await _until(stack, lambda: bool(stack.worker.processor.positions))
        await stack.worker.settle()
        if settings.kafka.bootstrap is None:
            await in_thread(inherit, stack.store, settings.kafka.topic)
        kafka = stack.settings.kafka
        planned, offsets = await in_thread(_send, kafka, stack.store, catalog, reports)
        await _until(stack, lambda: _reached(stack, offsets))
        await stack.worker.settle()
        return planned

    done = run(main)
    if done is None:
        raise OnPaceError("stopped before everything was reported: report it again, nothing counts twice")
    return done


def _reached(stack: Stack, offsets: Mapping[int, int]) -> bool:
    positions = stack.worker.processor.positions
    return all(positions.get(partition, 0) >= offset for partition, offset in offsets.items())


async def _until(stack: Stack, condition: Callable[[], bool]) -> None:
    while not condition():
        if reason := stack.failure():
            raise OnPaceError(reason)
        await asyncio.sleep(0.05)


def _send(
    kafka: KafkaSettings, store: ClickHouse, catalog: Catalog, reports: Sequence[ReportedValue]
) -> tuple[list[PlannedReport], dict[int, int]]:
    """What was planned, and the offset of each partition that has to be reached."""
    planned = plan_reports(reports, Reports(store, catalog).current(), now())
    events = [one.event for one in planned if one.event]
    if not events:
        return planned, {}
    with EventProducer(kafka, event_types=catalog.events) as producer:
        for event in events:
            producer.send_event(event)
        producer.flush(30)
        return planned, producer.offsets
