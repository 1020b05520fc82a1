"""Rebuilding the history of new and redefined KPIs from the raw archive, beside the stream.

The stream holds a KPI from a recorded offset on (`starts` in each checkpoint). What was archived below that offset is
folded here, once, under a segment of its own; values add up over both, and are complete when this is done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

import structlog
from prometheus_client import CollectorRegistry

from onpace.config.catalog import Catalog
from onpace.config.errors import StoreUnavailable
from onpace.config.settings import ProcessorSettings
from onpace.processors.clickhouse import ClickHouse
from onpace.processors.metrics import ProcessorMetrics
from onpace.processors.partials import Slot
from onpace.processors.processor import Processor
from onpace.processors.views import rebuilds_sql
from onpace.processors.writer import StoreWriter

__all__ = ["NEVER_STREAMED", "Background", "Gap", "Rebuilder", "due"]

log = structlog.get_logger(__name__)

NEVER_STREAMED = 2**64 - 1
"""The start of a KPI that the latest checkpoint does not know."""

Life = tuple[UUID, int]
"""(incarnation, partition)"""


@dataclass(frozen=True, slots=True)
class Gap:
    """What is missing of some KPIs: everything archived below `start` in one life of a partition."""

    incarnation: UUID
    partition: int
    start: int
    kpis: tuple[str, ...]

    def only(self, names: Collection[str]) -> Gap | None:
        """The same for these KPIs only; None if there is nothing for them."""
        kpis = tuple(name for name in self.kpis if name in names)
        return replace(self, kpis=kpis) if kpis else None


def due(
    gaps: Collection[Gap],
    held: Mapping[Life, Mapping[str, int]],
    live: UUID | None,
    known: int,
    keys: Mapping[str, str],
) -> list[Gap]:
    """The gaps that the holder of `held` (life -> key of each KPI -> start) is to fill now.

    Its own, once its checkpoint says the same as its memory; those of dead lives of its partitions; and, for the holder
    of partition 0, those of partitions that the topic no longer has (it has `known`). `keys`: KPI name -> key.
    """
    partitions = {partition for _, partition in held}
    found = []
    for gap in gaps:
        if gap.incarnation == live:
            starts = held.get((gap.incarnation, gap.partition), {})
            part = gap.only([name for name in gap.kpis if starts.get(keys[name]) == gap.start])
            found += [part] if part else []
        elif gap.partition in partitions or (gap.partition >= known and 0 in partitions):
            found.append(gap)
    return found


class Rebuilder:
    """Finds gaps and fills them. Every method raises StoreUnavailable, and may then be repeated."""

    def __init__(
        self,
        store: ClickHouse,
        catalog: Catalog,
        topic: str,
        settings: ProcessorSettings,
        clock: Callable[[], datetime],
    ) -> None:
        self.catalog = catalog
        self._store = store
        self._topic = topic
        self._settings = settings
        self._clock = clock

    def gaps(self) -> list[Gap]:
        """Everything that is missing, with the KPIs that lack the same events together."""
        rows = self._store.query(
            f"SELECT incarnation, partition, start, groupArray(kpi) FROM ({rebuilds_sql(self.catalog)}) "
            "WHERE topic = {topic:String} GROUP BY incarnation, partition, start ORDER BY partition, start",
            {"topic": self._topic},
        )
        return [Gap(life, int(partition), int(start), tuple(sorted(kpis))) for life, partition, start, kpis in rows]

    def lives(self, gap: Gap) -> bool:
        """Whether the gap is in the present life of the topic, to which more may come at any time."""
        rows = self._store.query(
            "SELECT argMax(incarnation, first_seen) FROM incarnations WHERE topic = {topic:String}",
            {"topic": self._topic},
        )
        return rows == [(gap.incarnation,)]

    def fill_due(
        self, held: Mapping[Life, Mapping[str, int]], live: UUID | None, known: int, stop: Callable[[], bool]
    ) -> bool:
        """Fill the gaps that are this process's to fill (see `due`). False when it should look again later."""
        gaps = self.gaps()
        keys = {kpi.name: kpi.key for kpi in self.catalog.simple_kpis()}
        mine = due(gaps, held, live, known, keys)
        if not all(self.fill(gap, stop) for gap in mine):
            return False
        return all(
            gap.incarnation != live or (gap.incarnation, gap.partition) not in held for gap in gaps if gap not in mine
        )

    def fill(self, gap: Gap, stop: Callable[[], bool] = lambda: False) -> bool:
        """Fold the archive for one gap and record that it is filled. False when `stop` said so before the end."""
        part = replace(self.catalog, kpis={kpi.name: kpi for kpi in self.catalog.simple_kpis() if kpi.name in gap.kpis})
        writer = StoreWriter(self._store, self._topic)
        processor = Processor(part, writer, self._settings, ProcessorMetrics(CollectorRegistry()))
        events = processor.rebuild(Slot(0, gap.incarnation, gap.partition), gap.start, stop)
        if events is None:
            return False
        self._store.insert(
            "rebuilds",
            ["kpi", "definition", "topic", "incarnation", "partition", "start", "events", "finished_at"],
            [
                (k.name, k.definition, self._topic, gap.incarnation, gap.partition, gap.start, events, self._clock())
                for k in part.simple_kpis()
            ],
        )
        log.info("rebuilt from the archive", kpis=", ".join(gap.kpis), partition=gap.partition, events=events)
        return True


class Background:
    """Rebuilds beside the stream, one thing at a time, whenever there may be something to rebuild."""

    def __init__(self, rebuilder: Rebuilder | None, metrics: ProcessorMetrics) -> None:
        self._rebuilder = rebuilder
        self._metrics = metrics
        self._task: asyncio.Task[None] | None = None
        self._done = False
        self._stopping = False

    def look_again(self, catalog: Catalog | None = None) -> None:
        """Other partitions are held now, or another catalog is in force: there may be new gaps."""
        self._done = False
        if catalog is not None and self._rebuilder is not None:
            self._rebuilder.catalog = catalog

    def go_on(self, held: Mapping[Life, Mapping[str, int]], live: UUID | None, known: int) -> None:
        """Fill what is due (see `due`), unless that is under way or done. Returns at once."""
        running = self._task is not None and not self._task.done()
        if self._rebuilder is not None and not (self._done or running or self._stopping):
            self._task = asyncio.get_running_loop().create_task(self._fill(self._rebuilder, held, live, known))

    async def wait(self, seconds: float | None = None) -> bool:
        """Wait for what is under way; return whether everything is rebuilt."""
        if self._task is not None:
            await asyncio.wait([self._task], timeout=seconds)
        return self._done or self._rebuilder is None

    async def stop(self, seconds: float) -> None:
        """Break off what is under way; the next process does it again."""
        self._stopping = True
        await self.wait(seconds)

    async def _fill(
        self, rebuilder: Rebuilder, held: Mapping[Life, Mapping[str, int]], live: UUID | None, known: int
    ) -> None:
        self._done, catalog = True, rebuilder.catalog

        def interrupted() -> bool:
            return self._stopping or rebuilder.catalog is not catalog

        try:
            self._done &= await asyncio.to_thread(rebuilder.fill_due, held, live, known, interrupted)
        except StoreUnavailable as exc:
            self._done = False
            self._metrics.store_errors.labels("rebuild").inc()
            log.warning("rebuilt later", reason=str(exc))
