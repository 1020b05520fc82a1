"""Feeding a file of events into the broker, with a progress bar, losing no line."""

from __future__ import annotations

import threading
import zlib
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from uuid import UUID

from prometheus_client import CollectorRegistry
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from onpace.config.catalog import Catalog
from onpace.config.errors import InvalidEvent, OnPaceError
from onpace.config.settings import Settings
from onpace.deploy.running import in_thread
from onpace.deploy.stores import now
from onpace.ingest.bulk import BulkProducer
from onpace.ingest.deadletters import DeadLetter
from onpace.ingest.files import ReplayResult, replay
from onpace.processors.clickhouse import ClickHouse
from onpace.processors.partials import Slot
from onpace.processors.writer import Flush, StoreWriter

__all__ = ["Totals", "feed", "feed_file", "totals"]


@dataclass(frozen=True, slots=True)
class Totals:
    """What became of the events that a processor has taken."""

    accepted: int
    duplicates: int
    dead: int


def feed(
    path: Path,
    catalog: Catalog,
    settings: Settings,
    store: ClickHouse | None = None,
    stop: threading.Event | None = None,
) -> ReplayResult:
    """Send every line, and return what became of them. `stop` ends it with an OnPaceError.

    Lines too large for the broker go straight to the dead-letter table (when the store can be written from here).
    """
    rejected: list[DeadLetter] = []
    with BulkProducer(settings.kafka) as producer, _progress() as bar:
        task = bar.add_task(f"replaying {path.name}", total=None, events=0)

        def progress(lines: int, position: int, size: int) -> None:
            if stop is not None and stop.is_set():
                raise OnPaceError("stopped before the file was sent: run it again, what is in already is recognised")
            bar.update(task, completed=position, total=size, events=lines)

        result = replay(
            path,
            producer,
            event_types=catalog.events,
            progress=progress,
            reject=lambda line, raw, problem: rejected.append(_letter(path, line, raw, problem)),
            max_event_bytes=settings.processor.max_event_bytes,
        )
    if rejected and store is not None:
        slot = Slot(0, UUID(int=zlib.crc32(str(path.resolve()).encode())), 0)
        flush = Flush(dead=[(slot, letter) for letter in rejected], written_at=rejected[-1].arrival)
        StoreWriter(store, settings.kafka.topic).write(flush)
    return result


async def feed_file(path: Path, catalog: Catalog, settings: Settings, store: ClickHouse) -> ReplayResult:
    """`feed` in a thread of its own, ended early when this is cancelled."""
    stop = threading.Event()
    return await in_thread(feed, path, catalog, settings, store, stop, on_cancel=stop.set)


def totals(registry: CollectorRegistry) -> Totals:
    """From the metrics of the processor in this process."""

    def total(name: str) -> int:
        samples = (sample for family in registry.collect() for sample in family.samples if sample.name == name)
        return int(sum(sample.value for sample in samples))

    return Totals(
        accepted=total("onpace_events_total"),
        duplicates=total("onpace_duplicate_events_total"),
        dead=total("onpace_dead_letters_total"),
    )


def _letter(path: Path, line: int, raw: bytes, problem: InvalidEvent) -> DeadLetter:
    at: datetime = now()
    return DeadLetter(
        topic=f"file:{path.name}",
        partition=0,
        offset=line,
        arrival=at,
        reason=problem.reason,
        field=problem.field,
        message=str(problem),
        raw=raw,
    )


def _progress() -> Progress:
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[events]:,} events"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
