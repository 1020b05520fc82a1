"""A world of partitions, processors, crashes and zombies over one real store, moved by hand."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from processors_fakes import LIFE, START, TOPIC, Counted, Record, recount, same, settings
from prometheus_client import CollectorRegistry

from onpace.config.catalog import Catalog
from onpace.config.settings import ProcessorSettings
from onpace.processors.clickhouse import ClickHouse
from onpace.processors.metrics import ProcessorMetrics
from onpace.processors.processor import Processor
from onpace.processors.reader import Reader
from onpace.processors.rebuild import Rebuilder
from onpace.processors.views import view_statements
from onpace.processors.writer import StoreWriter

NOW = datetime(2026, 5, 1, tzinfo=UTC)
BEFORE, AFTER = START - timedelta(days=30), START + timedelta(days=60)

_ticks = itertools.count()


def tick() -> datetime:
    """A clock that never says the same twice."""
    return NOW + timedelta(milliseconds=next(_ticks))


class Crash(Exception):
    """The process ends here."""


class Worker:
    """One process: it holds partitions, reads their logs and flushes. It may crash at a table of a flush."""

    def __init__(
        self, store: ClickHouse, catalog: Catalog, logs: Mapping[int, Sequence[Record]], chosen: ProcessorSettings
    ) -> None:
        self.crash_at: str | None = None
        self.registry = CollectorRegistry()
        self.writer = StoreWriter(store, TOPIC, self._crash_point)
        self.processor = Processor(catalog, self.writer, chosen, ProcessorMetrics(self.registry))
        self._logs = logs

    def _crash_point(self, step: str) -> None:
        if step == self.crash_at:
            raise Crash(step)

    def assign(self, partitions: set[int], life: UUID = LIFE) -> dict[int, int | None]:
        """Take over exactly these partitions, and go on where the store says."""
        resume = self.processor.assign(partitions, life, tick())
        for partition, offset in resume.items():
            if offset is None and self._logs[partition] and partition not in self.processor.waiting:
                self.processor.seek(partition, self._logs[partition][0].offset)
        return resume

    def take(self, partition: int, count: int) -> None:
        """Read the next `count` records of one partition, if it is held."""
        position = self.processor.positions.get(partition)
        if position is not None:
            log = self._logs[partition]
            first = log[0].offset if log else 0
            self.processor.process({partition: log[position - first : position - first + count]})

    def flush(self, *, input_end: datetime | None = None, caught_up: Mapping[int, datetime] | None = None) -> None:
        """Write everything taken."""
        self.writer.write(self.processor.prepare(tick(), caught_up, input_end=input_end))
        self.processor.written()

    def adopt(self, catalog: Catalog) -> None:
        """Write everything taken, and go on with other KPIs."""
        self.flush()
        self.processor.adopt(catalog, tick())

    def count(self, name: str, **labels: str) -> float:
        """A counter's value."""
        return self.registry.get_sample_value(name, labels) or 0.0


def world(
    store: ClickHouse,
    catalog: Catalog,
    logs: Mapping[int, Sequence[Record]],
    *,
    life: UUID = LIFE,
    **changes: object,
) -> Worker:
    """A fresh process that holds every partition."""
    for name, select in itertools.islice(view_statements(catalog, TOPIC), 3):  # all that a reader needs
        store.command(f"CREATE OR REPLACE VIEW {name} AS {select}")
    worker = Worker(store, catalog, logs, settings(**changes))
    worker.writer.record_incarnation(life, len(logs), NOW)
    worker.assign(set(logs), life)
    return worker


def drain(worker: Worker, logs: Mapping[int, Sequence[Record]]) -> None:
    """Read everything that is left and flush."""
    for partition, log in logs.items():
        worker.take(partition, len(log))
    worker.flush()


def rebuild(store: ClickHouse, catalog: Catalog) -> int:
    """Fill every gap, and return how many there were."""
    rebuilder = Rebuilder(store, catalog, TOPIC, settings(resident_rows=1000), lambda: NOW)
    gaps = rebuilder.gaps()
    assert all(rebuilder.fill(gap) for gap in gaps)
    assert rebuilder.gaps() == []
    return len(gaps)


def wrong_values(store: ClickHouse, catalog: Catalog, events: Sequence[Counted]) -> list[str]:
    """Every KPI value, by dimensions and in total, that is not what a recount gives."""
    reader = Reader(store, catalog)
    wrong = []
    for kpi in catalog.kpis.values():
        for by in dict.fromkeys([catalog.dimensions(kpi), ()]):
            wanted = recount(catalog, events, kpi, by)
            found = reader.series(kpi.name, catalog.base_grain(kpi), BEFORE, AFTER, by=by)
            points = {(point.window_start, dims): point for dims, part in found.items() for point in part}
            values = {
                key: point.value for key, point in points.items() if point.revision or point.value or key in wanted
            }
            for key in wanted.keys() | values.keys():
                if not same(kpi, values.get(key, math.nan), wanted.get(key, math.inf), events):
                    wrong.append(f"{kpi.name} {key}: {values.get(key)} instead of {wanted.get(key)}")
    return wrong


Step = Callable[[], None]
