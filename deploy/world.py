"""A world in which events arrive over time and the engine evaluates under a clock that is moved by hand.

It is made of the real parts: processor, store (the engine in process, over a folder of its own), reader and alert
engine. Only Kafka is left out, and nobody is notified.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from uuid import UUID

from prometheus_client import CollectorRegistry

from onpace.alerts.engine import Engine
from onpace.alerts.evaluation import Evaluation
from onpace.alerts.in_memory import Memory, Nobody
from onpace.alerts.staleness import Patience
from onpace.config.catalog import Catalog
from onpace.config.settings import ClickHouseSettings, Settings
from onpace.ingest.deadletters import DeadLetter
from onpace.processors.clickhouse import ClickHouse
from onpace.processors.metrics import ProcessorMetrics
from onpace.processors.migrate import migrate
from onpace.processors.processor import Processor
from onpace.processors.reader import Reader
from onpace.processors.reports import Reports
from onpace.processors.views import view_statements
from onpace.processors.writer import StoreWriter

__all__ = ["Arrival", "World", "emptied", "temporary_store"]

LIFE = UUID("5b3a1f0e-0000-4000-8000-6f6e70616365")
TOPIC = "events"
FLUSH = 50_000
"""Events taken between two flushes."""
KEPT = 10_000
"""So many events that could not be used are kept, to be shown."""
READ_BY_ENGINE = 3
"""So many of the views, the first ones, are all that the reader and the engine need."""


@dataclass(slots=True)
class Arrival:
    """One event as it came off the log."""

    offset: int
    timestamp: int
    """Arrival, milliseconds since 1970."""
    value: bytes | None
    """A CloudEvent in JSON."""
    time_us: int
    """When it happened, microseconds since 1970."""
    type: str
    headers: Sequence[tuple[str, bytes]] = ()


@contextmanager
def temporary_store() -> Iterator[ClickHouse]:
    """The engine in process over a folder that is gone afterwards. One at a time in a process."""
    with tempfile.TemporaryDirectory(prefix="onpace-", ignore_cleanup_errors=True) as folder:
        store = ClickHouse.connect(ClickHouseSettings(), Path(folder))
        try:
            store.command("SET max_threads = 1, max_insert_threads = 1")  # what is asked here is small
            migrate(store)
            yield store
        finally:
            store.close()


def emptied(store: ClickHouse) -> ClickHouse:
    """The same store with nothing in its tables, for the next world."""
    tables = store.query(
        "SELECT name FROM system.tables WHERE database = currentDatabase() AND total_rows > 0 "
        "AND name != 'schema_migrations'"
    )
    for (name,) in tables:
        store.command(f"TRUNCATE TABLE `{name}`")
    return store


class World:
    """One partition, its processor and an engine, over an empty store. Time only goes forward."""

    def __init__(self, store: ClickHouse, catalog: Catalog, settings: Settings, begin: datetime) -> None:
        self._store = store
        self._settings = settings
        self.memory = Memory()
        """What the engine keeps; who knows of earlier versions of targets puts them here before the first look."""
        self.dead: list[DeadLetter] = []
        """Events that could not be used, the first of them."""
        self.refused = 0
        """So many could not be used."""
        for name, select in islice(view_statements(catalog, TOPIC), READ_BY_ENGINE):
            store.command(f"CREATE OR REPLACE VIEW `{name}` AS {select}")
        self._writer = StoreWriter(store, TOPIC)
        self._writer.record_incarnation(LIFE, 1, begin)
        self._processor = Processor(catalog, self._writer, settings.processor, ProcessorMetrics(CollectorRegistry()))
        self._processor.assign({0}, LIFE, begin)
        self.adopt(catalog)

    def adopt(self, catalog: Catalog) -> None:
        """Judge by other targets and rules from now on; what is made of events must be the same."""
        self.catalog = catalog
        self.reader = Reader(self._store, catalog)
        patience = Patience(self._settings.engine.behind, self._settings.engine.pipeline_hold)
        reports = Reports(self._store, catalog)
        self.engine = Engine(catalog, self.reader, self.memory, Nobody(), patience=patience, reports=reports)

    def arrive(self, events: Sequence[Arrival]) -> None:
        """These come off the log, in the order of their offsets."""
        for at in range(0, len(events), FLUSH):
            part = events[at : at + FLUSH]
            self._processor.process({0: part})
            if self._processor.buffered >= FLUSH:
                self._flush(datetime.fromtimestamp(part[-1].timestamp / 1000, UTC))

    def caught_up(self, now: datetime) -> None:
        """There is nothing left to read at `now`."""
        self._flush(now, {0: now})

    def look(self, now: datetime) -> Evaluation:
        """Evaluate at `now`, as a live engine does, with everything read that has arrived."""
        self.caught_up(now)
        return self.engine.evaluate(now, notify=True)

    def _flush(self, now: datetime, caught_up: dict[int, datetime] | None = None) -> None:
        flush = self._processor.prepare(now, caught_up)
        flush.archive = []  # nothing here is ever recounted
        self.refused += len(flush.dead)
        self.dead += [letter for _, letter in flush.dead[: max(KEPT - len(self.dead), 0)]]
        flush.dead = []
        self._writer.write(flush)
        self._processor.written()
