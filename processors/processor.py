"""The processor: records in, flushes out. Synchronous and free of Kafka, so that one thread owns all of its state."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import polars as pl
import structlog

from onpace.config.catalog import Catalog
from onpace.config.kpi_entities import REPORT
from onpace.config.settings import ProcessorSettings
from onpace.processors.dedup import DedupIndex
from onpace.processors.facts import fact_rows
from onpace.processors.fold import KpiFold
from onpace.processors.intake import Batch, Intake, Record
from onpace.processors.keys import read_back, select_rows
from onpace.processors.metrics import ProcessorMetrics
from onpace.processors.newcomers import Newcomers
from onpace.processors.overflow import Overflow
from onpace.processors.partials import Slot, distinct_rows, partial_rows
from onpace.processors.plan import plan_events
from onpace.processors.windows import MAX_SLOTS, DimensionCodes
from onpace.processors.writer import EPOCH, Checkpoint, Flush, Stored, StoreWriter, Watermark

__all__ = ["Processor"]

log = structlog.get_logger(__name__)

_BEGINNING = Stored(0, 0, {})


@dataclass(slots=True)
class Partition:
    """What the processor holds of one partition."""

    slot: Slot
    intake: Intake
    position: int
    """Next offset to read."""
    flushed: int
    """Position of the last prepared flush."""
    starts: dict[str, int]
    """Key of each KPI -> the offset from which on the stream holds it."""


class Processor:
    """Folds the records of its partitions into KPI aggregates and prepares flushes. Not thread-safe: one thread only.

    A flush stays in `unwritten` until `written` says that it is in the store; nothing may be folded before that, since
    memory has gone on already and no later flush would bring its rows.
    """

    def __init__(
        self, catalog: Catalog, writer: StoreWriter, settings: ProcessorSettings, metrics: ProcessorMetrics
    ) -> None:
        self._plans = plan_events(catalog)
        self._folds = {name: [KpiFold(plan) for plan in event.kpis] for name, event in self._plans.items()}
        self._kpi_count = max(1, sum(len(folds) for folds in self._folds.values()))
        self._writer = writer
        self._settings = settings
        self._metrics = metrics
        self._dims = DimensionCodes()
        self._partitions: dict[int, Partition] = {}
        self._slots: dict[int, Slot] = {}
        self._batches: list[tuple[Slot, Batch]] = []
        self._buffered = 0
        self._catalog = catalog
        self._segment = "stream"
        self._newcomers = Newcomers(writer)
        self._overflow = Overflow(metrics)
        self.unwritten: Flush | None = None
        """The last flush prepared, until it is known to be written."""

    @property
    def buffered(self) -> int:
        """Records taken since the last flush was prepared."""
        return self._buffered

    @property
    def positions(self) -> dict[int, int]:
        """Partition -> next offset to read."""
        return {number: partition.position for number, partition in list(self._partitions.items())}

    @property
    def starts(self) -> dict[tuple[UUID, int], Mapping[str, int]]:
        """(incarnation, partition) -> key of each KPI -> the offset from which on the stream holds it."""
        held = list(self._partitions.values())
        return {(partition.slot.incarnation, partition.slot.partition): partition.starts for partition in held}

    @property
    def waiting(self) -> Collection[int]:
        """Partitions that are assigned but not read yet: see `Newcomers`."""
        return self._newcomers.waiting

    def assign(self, partitions: Collection[int], incarnation: UUID, now: datetime) -> dict[int, int | None]:
        """Take over exactly these partitions, and return where each goes on (None: at its beginning).

        A partition already held stays as it is in memory, unless another process has come further with it since. One
        that the topic grew by may have to wait (`waiting`).
        """
        for number in [n for n in self._partitions if n not in partitions]:
            self._release(number)
        self._newcomers.learn(partitions, incarnation)
        for number in self._newcomers.beyond:
            self._fold_dead_lives(number, incarnation, self._writer.checkpoints(number))
        resume: dict[int, int | None] = {}
        for number in sorted(partitions):
            checkpoints = self._writer.checkpoints(number)
            stored = checkpoints.get(incarnation, _BEGINNING)
            held = self._partitions.get(number)
            if held and held.slot.incarnation == incarnation and held.position >= stored.offset:
                resume[number] = held.position if held.position or incarnation in checkpoints else None
                continue
            if held:
                self._release(number)
            wait = self._newcomers.has_to_wait(number, incarnation, checkpoints)
            resume[number] = None if wait else self._take_over(number, incarnation, checkpoints, now)
        return resume

    def open_waiting(self, caught_up: Mapping[int, datetime], now: datetime) -> dict[int, int | None]:
        """Take over one partition of those that need not wait any longer, and return where it goes on, as `assign`.

        `caught_up`: partition -> the time up to which everything is in the store.
        """
        for number, incarnation in self._newcomers.waiting.items():
            checkpoints = self._writer.checkpoints(number)
            if not self._newcomers.has_to_wait(number, incarnation, checkpoints, caught_up):
                resume = {number: self._take_over(number, incarnation, checkpoints, now)}
                del self._newcomers.waiting[number]
                return resume
        return {}

    def _take_over(
        self, number: int, incarnation: UUID, checkpoints: Mapping[UUID, Stored], now: datetime
    ) -> int | None:
        if self._fold_dead_lives(number, incarnation, checkpoints):
            checkpoints = self._writer.checkpoints(number)
        stored = checkpoints.get(incarnation, _BEGINNING)
        slot = Slot(self._free_slot(), incarnation, number)
        self._open(slot, stored, self._known_ids(slot, stored.offset, checkpoints), now)
        return stored.offset if incarnation in checkpoints else None

    def adopt(self, catalog: Catalog, now: datetime) -> None:
        """Go on with other KPIs. Everything taken must have been written. Raises StoreUnavailable, changing nothing.

        A KPI that is new begins here; what was archived before is rebuilt under a segment of its own.
        """
        assert not self._buffered, "flush before another catalog is adopted"
        plans = plan_events(catalog)
        folds = {name: [KpiFold(plan) for plan in event.kpis] for name, event in plans.items()}
        starts = {}
        for number, partition in self._partitions.items():
            stored = Stored(partition.position, partition.intake.dedup.max_arrival_ms, partition.starts)
            starts[number] = self._open_folds(folds, partition.slot, stored, now)
        self._catalog, self._plans, self._folds = catalog, plans, folds
        self._kpi_count = max(1, sum(map(len, folds.values())))
        self._dims = DimensionCodes()
        for number, partition in self._partitions.items():
            partition.starts, partition.intake.plans = starts[number], plans

    def seek(self, partition: int, offset: int) -> None:
        """The partition goes on at `offset` (its log begins later than the checkpoint, or it has no checkpoint)."""
        self._partitions[partition].position = offset

    def _known_ids(self, slot: Slot, offset: int, checkpoints: Mapping[UUID, Stored]) -> DedupIndex:
        """The ids accepted before `offset` for the keys of a partition."""
        horizon_ms = self._settings.dedup_horizon // timedelta(milliseconds=1)
        newest_ms = max((one.max_arrival_ms for one in checkpoints.values()), default=0)
        since_ms, origins = self._newcomers.known_elsewhere(
            slot.partition, slot.incarnation, checkpoints, newest_ms - horizon_ms, horizon_ms
        )
        dedup = DedupIndex(horizon_ms)
        dedup.load(self._writer.accepted_ids(slot, offset, since_ms, origins))
        dedup.max_arrival_ms = newest_ms  # its own running maximum, not that of where its keys come from
        return dedup

    def _open(self, slot: Slot, stored: Stored, dedup: DedupIndex, now: datetime) -> Partition:
        intake = Intake(
            self._writer.topic,
            slot,
            self._plans,
            dedup,
            max_future=self._settings.max_future,
            max_bytes=self._settings.max_event_bytes,
        )
        intake.max_event_us = self._writer.event_times(slot)
        starts = self._open_folds(self._folds, slot, stored, now)
        self._slots[slot.number] = slot
        partition = Partition(slot, intake, stored.offset, stored.offset, starts)
        self._partitions[slot.partition] = partition
        log.debug(
            "partition taken over",
            topic=self._writer.topic,
            partition=slot.partition,
            offset=stored.offset,
            ids=len(dedup),
        )
        return partition

    def _open_folds(
        self, folds: Mapping[str, Sequence[KpiFold]], slot: Slot, stored: Stored, now: datetime
    ) -> dict[str, int]:
        """Open a slot in every fold, and return from which offset on each holds the stream.

        What is new begins at the checkpoint, which says so before anything else is written.
        """
        frontiers, series = self._writer.frontiers(slot), self._writer.series(slot)
        starts: dict[str, int] = {}
        for fold in itertools.chain.from_iterable(folds.values()):
            key = fold.plan.kpi.key
            starts[key] = stored.starts.get(key, stored.offset)
            segment = f"{self._segment}:{starts[key]}"
            fold.open(slot.number, frontiers.get((key, segment)), segment, series.get((key, segment), ()))
        if stored.offset and starts != stored.starts:
            checkpoint = Checkpoint(slot, stored.offset, stored.max_arrival_ms, starts)
            self._writer.write(Flush(checkpoints=[checkpoint], written_at=now))
        return starts

    def _release(self, number: int) -> None:
        slot = self._partitions.pop(number).slot
        self._batches = [(owner, batch) for owner, batch in self._batches if owner != slot]
        for fold in self._all_folds():
            fold.close(slot.number)
        del self._slots[slot.number]

    def _free_slot(self) -> int:
        return next(number for number in range(MAX_SLOTS) if number not in self._slots)

    def _all_folds(self) -> Iterable[KpiFold]:
        return (fold for folds in self._folds.values() for fold in folds)

    def _fold_dead_lives(self, number: int, incarnation: UUID, checkpoints: Mapping[UUID, Stored]) -> bool:
        """Fold what earlier lives of the topic archived past their last checkpoint: their log is gone, the archive is
        not. Returns whether there was any."""
        found = False
        for life, last in self._writer.archived_lives(number).items():
            stored = checkpoints.get(life, _BEGINNING)
            if life == incarnation or last < stored.offset:
                continue
            log.warning(
                "folding archived events of a topic that is gone", partition=number, incarnation=str(life), last=last
            )
            # a processor of its own, so that a store that fails in between leaves this one as it was
            successor = Processor(self._catalog, self._writer, self._settings, self._metrics)
            successor.fold_archive(Slot(0, life, number), stored)
            found = True
        return found

    def fold_archive(self, slot: Slot, stored: Stored) -> None:
        """Fold the archive of a dead life from its last checkpoint on, and write a checkpoint behind it."""
        dedup = DedupIndex(0)  # what is a duplicate was decided when the tail was archived
        partition = self._open(slot, stored, dedup, EPOCH)
        for rows in self._writer.archived(slot, stored.offset):
            dedup.max_arrival_ms = max(
                dedup.max_arrival_ms, stored.max_arrival_ms, int(rows["arrival_ms"].to_numpy().max())
            )
            self._batches.append((slot, partition.intake.take_archived(rows)))
            partition.position = int(rows["offset"].to_numpy()[-1]) + 1
            self._writer.write(self.prepare(EPOCH))
            self.written()

    def rebuild(self, slot: Slot, start: int, stop: Callable[[], bool]) -> int | None:
        """Fold everything archived below the offset `start` into the segment `rebuild:<start>`; return how many events.

        None if `stop` said so in between. May be done again: what is there already is skipped.
        """
        self._segment = "rebuild"
        partition = self._open(
            slot, Stored(0, 0, {kpi.key: start for kpi in self._catalog.simple_kpis()}), DedupIndex(0), EPOCH
        )
        used = [name for name, folds in self._folds.items() if folds]
        events = 0
        for rows in self._writer.archived(slot, 0, start, used):
            if stop():
                return None
            self._batches.append((slot, partition.intake.take_archived(rows)))
            flush = self.prepare(EPOCH)
            # no series: a rebuild that is done again begins at the beginning again
            self._writer.write(Flush(facts=flush.facts, distinct=flush.distinct, partials=flush.partials))
            self.written()
            events += rows.height
        return events

    def pass_over(self, partition: int, offset: int) -> None:
        """The partition has no more records before `offset`."""
        held = self._partitions.get(partition)
        if held:
            held.position = max(held.position, offset)

    def process(self, records: Mapping[int, Sequence[Record]]) -> None:
        """Take in records, each partition's in the order of its offsets. Records before the position are ignored."""
        for number, part in records.items():
            partition = self._partitions.get(number)
            if partition is None:
                continue
            fresh: Sequence[Record] = part
            if part and part[0].offset < partition.position:
                fresh = [record for record in part if record.offset >= partition.position]
            if not fresh:
                continue
            batch = partition.intake.take(fresh)
            partition.position = fresh[-1].offset + 1
            self._batches.append((partition.slot, batch))
            self._buffered += len(fresh)
            self._metrics.took(batch)

    def prepare(
        self, now: datetime, caught_up: Mapping[int, datetime] | None = None, *, input_end: datetime | None = None
    ) -> Flush:
        """Fold everything taken since the last time, and return what is to be written. Reads late windows back first.

        Raises StoreUnavailable before anything has changed. A flush that is still unwritten is written first.

        `caught_up`: partition -> the time up to which nothing is left to read. `input_end`: the input is finished; its
        last event was at this time.
        """
        if self.unwritten is not None:
            self._writer.write(self.unwritten)
            self.written()
        folded = self._select_rows()
        flush = Flush(written_at=now, archive=[], dead=[(slot, d) for slot, b in self._batches for d in b.dead])
        flush.archive = [batch.archive for _, batch in self._batches if batch.archive is not None]
        changed = []
        for fold, rows in folded:
            if fold.distinct:
                table = distinct_rows(fold.plan, rows, self._slots, self._writer.topic, self._dims)
                flush.distinct += [table] if table is not None else []
            elif fold.facts:
                table = fact_rows(fold.plan, rows, self._slots, self._writer.topic, self._dims)
                flush.facts += [table] if table is not None else []
            else:
                changed.append((fold, fold.fold(rows)))
        flush.partials = partial_rows(changed, self._slots, self._writer.topic, self._dims)
        flush.series = self._overflow.note([fold for fold, _ in folded], self._slots, self._writer.topic)
        self._mark_progress(flush, now, caught_up or {}, input_end)
        self._batches.clear()
        self._buffered = 0
        self.unwritten = flush
        self._free_memory()
        return flush

    def written(self) -> None:
        """The last flush prepared is in the store."""
        self.unwritten = None

    def _free_memory(self) -> None:
        crowded = len(self._dims) > 2 * self._settings.resident_rows  # dimension values that no window holds any more
        for fold in self._all_folds():
            if crowded:
                fold.forget()
            else:
                fold.evict(self._settings.resident_rows // self._kpi_count)
        if crowded:
            self._dims = DimensionCodes()
        for partition in self._partitions.values():
            partition.intake.dedup.evict()

    def _mark_progress(
        self, flush: Flush, now: datetime, caught_up: Mapping[int, datetime], input_end: datetime | None
    ) -> None:
        for number, partition in self._partitions.items():
            slot, at = partition.slot, caught_up.get(number, EPOCH)
            if partition.position > partition.flushed:
                arrival_ms = partition.intake.dedup.max_arrival_ms
                flush.checkpoints.append(Checkpoint(slot, partition.position, arrival_ms, partition.starts))
                flush.watermarks += [
                    Watermark(
                        slot,
                        name,
                        EPOCH + timedelta(microseconds=latest),
                        EPOCH + timedelta(milliseconds=partition.intake.last_arrival_ms.get(name, 0)),
                    )
                    for name, latest in partition.intake.max_event_us.items()
                    if name != REPORT  # when somebody writes a number down says nothing about the stream
                ]
                partition.flushed = partition.position
            if input_end is not None:
                flush.watermarks.append(Watermark(slot, "", input_end=input_end, finished_at=now))
            else:
                flush.watermarks.append(Watermark(slot, "", caught_up_at=at))

    def _select_rows(self) -> list[tuple[KpiFold, pl.DataFrame]]:
        """The rows that each KPI is to fold, with every key they touch resident."""
        selected: list[tuple[KpiFold, pl.DataFrame]] = []
        for name, folds in self._folds.items():
            frames = [frame for _, batch in self._batches for frame in batch.frames.get(name, []) if frame.height]
            if not frames or not folds:
                continue
            selected += select_rows(folds, pl.concat(frames), self._plans[name], self._dims)
        read_back(selected, self._slots, self._writer, self._dims)
        return selected
