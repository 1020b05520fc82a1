"""Everything the processor reads from and writes to ClickHouse.

A flush goes in this order: archive and dead letters, facts, series, aggregates, watermarks, checkpoint. Only then may
Kafka's offset be committed. Every step may be repeated.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

import polars as pl
import pyarrow as pa

from onpace.config.kpi import SimpleKpi
from onpace.ingest.deadletters import DeadLetter
from onpace.processors.clickhouse import ClickHouse
from onpace.processors.fold import Window
from onpace.processors.growth import Growth, Origin
from onpace.processors.partials import READ_BACK_COLUMNS, Slot

__all__ = ["EPOCH", "Checkpoint", "Flush", "StoreWriter", "Stored", "Watermark"]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_IDS_PER_BATCH = 500_000
_ARCHIVE_ROWS = 100_000
_WINDOWS_PER_QUERY = 500  # parameters travel in the address, which servers limit


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where one slot goes on: `offset` is the next to read."""

    slot: Slot
    offset: int
    max_arrival_ms: int
    starts: Mapping[str, int] = field(default_factory=dict)
    """Key of each KPI that is folded -> the offset from which on the stream holds it."""


@dataclass(frozen=True, slots=True)
class Stored:
    """The latest checkpoint of one life of a partition."""

    offset: int
    max_arrival_ms: int
    starts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Watermark:
    """How far a slot has come for one event type ('' is the slot itself). EPOCH stands for nothing."""

    slot: Slot
    event_type: str
    max_event_time: datetime = EPOCH
    last_arrival: datetime = EPOCH
    caught_up_at: datetime = EPOCH
    input_end: datetime = EPOCH
    finished_at: datetime = EPOCH


@dataclass(slots=True)
class Flush:
    """One flush, ready to be written (and written again, should it fail halfway)."""

    archive: list[pa.Table] = field(default_factory=list)
    dead: list[tuple[Slot, DeadLetter]] = field(default_factory=list)
    facts: list[pa.Table] = field(default_factory=list)
    series: list[pa.Table] = field(default_factory=list)
    distinct: list[pa.Table] = field(default_factory=list)
    partials: pa.Table | None = None
    watermarks: list[Watermark] = field(default_factory=list)
    checkpoints: list[Checkpoint] = field(default_factory=list)
    written_at: datetime = EPOCH


class StoreWriter:
    """The processor's side of the store. Every method raises StoreUnavailable, and may then be repeated."""

    def __init__(self, store: ClickHouse, topic: str, crash_point: Callable[[str], None] = lambda _: None) -> None:
        self._store = store
        self.topic = topic
        self._crash_point = crash_point  # tests end the process between two steps here

    def write(self, flush: Flush) -> dict[str, int]:
        """Write a flush, and return the rows written per table."""
        rows: dict[str, int] = {}

        def arrow(table: str, parts: Sequence[pa.Table]) -> None:
            if parts:
                whole = pa.concat_tables(parts)
                self._store.insert_arrow(table, whole)
                rows[table] = whole.num_rows
            self._crash_point(table)

        arrow("events", flush.archive)
        self._write_dead(flush.dead)
        rows["dead_letters"] = len(flush.dead)
        arrow("facts", flush.facts)
        arrow("series", flush.series)
        arrow("partials_distinct", flush.distinct)
        arrow("partials", [] if flush.partials is None else [flush.partials])
        self._write_watermarks(flush.watermarks)
        self._write_checkpoints(flush)
        return rows

    def _write_dead(self, dead: Sequence[tuple[Slot, DeadLetter]]) -> None:
        columns = [
            "topic",
            "incarnation",
            "partition",
            "offset",
            "arrival",
            "reason",
            "field",
            "message",
            "raw",
            "event_type",
            "source",
            "id",
        ]
        self._store.insert(
            "dead_letters",
            columns,
            [
                (
                    d.topic,
                    s.incarnation,
                    d.partition,
                    d.offset,
                    d.arrival,
                    d.reason,
                    d.field,
                    d.message,
                    d.raw,
                    d.event_type or "",
                    d.source or "",
                    d.id or "",
                )
                for s, d in dead
            ],
        )
        self._crash_point("dead_letters")

    def _write_watermarks(self, watermarks: Sequence[Watermark]) -> None:
        columns = [
            "topic",
            "incarnation",
            "partition",
            "event_type",
            "max_event_time",
            "last_arrival",
            "caught_up_at",
            "input_end",
            "finished_at",
        ]
        self._store.insert(
            "watermarks",
            columns,
            [
                (
                    self.topic,
                    w.slot.incarnation,
                    w.slot.partition,
                    w.event_type,
                    w.max_event_time,
                    w.last_arrival,
                    w.caught_up_at,
                    w.input_end,
                    w.finished_at,
                )
                for w in watermarks
            ],
        )
        self._crash_point("watermarks")

    def _write_checkpoints(self, flush: Flush) -> None:
        self._store.insert(
            "checkpoints",
            ["topic", "incarnation", "partition", "offset", "max_arrival", "written_at", "starts"],
            [
                (
                    self.topic,
                    c.slot.incarnation,
                    c.slot.partition,
                    c.offset,
                    EPOCH + timedelta(milliseconds=c.max_arrival_ms),
                    flush.written_at,
                    dict(c.starts),
                )
                for c in flush.checkpoints
            ],
        )
        self._crash_point("checkpoints")

    def record_incarnation(self, incarnation: UUID, partitions: int, now: datetime) -> None:
        """Note that the topic lives (now) under this UUID with so many partitions."""
        known = self._store.query(
            "SELECT incarnation, partitions FROM incarnations WHERE topic = {topic:String} "
            "ORDER BY first_seen DESC LIMIT 1",
            {"topic": self.topic},
        )
        if known != [(incarnation, partitions)]:
            self._store.insert(
                "incarnations",
                ["topic", "incarnation", "partitions", "first_seen"],
                [(self.topic, incarnation, partitions, now)],
            )

    def record_growth(self, incarnation: UUID, growth: Growth) -> None:
        """Note that the topic is about to grow. Until its new partitions are read, watermarks stay where they are."""
        self._store.insert(
            "growths",
            ["topic", "incarnation", "partitions_before", "partitions_after", "grown_at", "settled_at"],
            [(self.topic, incarnation, growth.before, growth.after, growth.grown_at, growth.settled_at)],
        )
        slots = [Slot(0, incarnation, number) for number in range(growth.before, growth.after)]
        self._write_watermarks([Watermark(slot, "", caught_up_at=growth.grown_at) for slot in slots])

    def growths(self, incarnation: UUID) -> list[Growth]:
        """How the topic has grown in this life, through `onpace topics grow`."""
        rows = self._store.query(
            "SELECT partitions_before, partitions_after, grown_at, settled_at FROM growths FINAL "
            "WHERE topic = {topic:String} AND incarnation = {incarnation:UUID}",
            {"topic": self.topic, "incarnation": str(incarnation)},
        )
        return [Growth(*row) for row in rows]

    def partition_counts(self, incarnation: UUID | None = None) -> set[int]:
        """How many partitions the topic has and had, in one life or in all."""
        rows = self._store.query(
            "SELECT DISTINCT partitions FROM incarnations WHERE topic = {topic:String}"
            + (" AND incarnation = {incarnation:UUID}" if incarnation else ""),
            {"topic": self.topic, "incarnation": str(incarnation)},
        )
        return {int(count) for (count,) in rows}

    def partitions_beyond(self, count: int) -> list[int]:
        """Partitions with archived events whose number is not below `count`."""
        rows = self._store.query(
            "SELECT DISTINCT partition FROM events "
            "WHERE topic = {topic:String} AND partition >= {count:UInt32} ORDER BY partition",
            {"topic": self.topic, "count": count},
        )
        return [int(number) for (number,) in rows]

    def read_until(self, incarnation: UUID, partition: int) -> datetime:
        """The arrival time up to which a partition has been read and archived."""
        where = "topic = {topic:String} AND incarnation = {incarnation:UUID} AND partition = {partition:UInt32}"
        rows = self._store.query(
            f"SELECT greatest((SELECT max(max_arrival) FROM checkpoints WHERE {where}), "
            f"(SELECT max(caught_up_at) FROM watermarks WHERE {where} AND event_type = ''))",
            {"topic": self.topic, "incarnation": str(incarnation), "partition": partition},
        )
        latest: datetime = rows[0][0]
        return latest

    def record_definitions(self, kpis: Iterable[SimpleKpi], now: datetime) -> None:
        """Note what each definition means, for those who read the tables."""
        known = set(self._store.query("SELECT DISTINCT kpi, definition FROM kpi_definitions"))
        new = [(k.name, k.definition, k.model_dump_json(), now) for k in kpis if (k.name, k.definition) not in known]
        self._store.insert("kpi_definitions", ["kpi", "definition", "spec", "seen_at"], new)

    def checkpoints(self, partition: int) -> dict[UUID, Stored]:
        """Incarnation -> latest checkpoint of one partition, for every life of the topic."""
        rows = self._store.query(
            "SELECT incarnation, max(offset), toUnixTimestamp64Milli(max(max_arrival)), "
            "argMax(starts, (offset, written_at)) FROM checkpoints "
            "WHERE topic = {topic:String} AND partition = {partition:UInt32} GROUP BY incarnation",
            {"topic": self.topic, "partition": partition},
        )
        return {life: Stored(int(offset), int(arrival), starts) for life, offset, arrival, starts in rows}

    def event_times(self, slot: Slot) -> dict[str, int]:
        """Event type -> latest event time seen (microseconds) in one slot."""
        rows = self._store.query(
            "SELECT event_type, toUnixTimestamp64Micro(max(max_event_time)) FROM watermarks "
            "WHERE topic = {topic:String} AND incarnation = {incarnation:UUID} AND partition = {partition:UInt32} "
            "AND event_type != '' GROUP BY event_type",
            self._slot(slot),
        )
        return {name: int(latest) for name, latest in rows}

    def accepted_ids(
        self, slot: Slot, before: int, since_ms: int, origins: Sequence[Origin] = ()
    ) -> Iterator[tuple[bytes, int, int]]:
        """(digest, arrival ms, data hash) of the ids accepted for a partition's keys over all lives of the topic.

        Oldest first. `origins`: where its keys were earlier in the life `slot`.
        Of the life `slot` only offsets below `before` count: what follows will be read again. Other lives may have had
        another number of partitions: there a key is in any whose number agrees modulo the greatest common divisor.
        """
        shared = math.gcd(*self.partition_counts()) or 1
        earlier = "".join(
            f" OR (incarnation = {{incarnation:UUID}} AND partition = {int(origin.partition)} "
            f"AND arrival <= fromUnixTimestamp64Milli({(origin.until - EPOCH) // timedelta(milliseconds=1)}))"
            for origin in origins
        )
        table = self._store.query_arrow(
            "SELECT id_hash, toUnixTimestamp64Milli(arrival) AS ms, data_hash FROM events "
            "WHERE topic = {topic:String} AND duplicate = 0 AND arrival >= fromUnixTimestamp64Milli({since:Int64}) "
            "AND ((incarnation = {incarnation:UUID} AND partition = {partition:UInt32} AND offset < {before:UInt64}) "
            "OR (incarnation != {incarnation:UUID} AND partition % {shared:UInt32} = {partition:UInt32} % "
            f"{{shared:UInt32}}){earlier}) ORDER BY arrival, offset",
            {**self._slot(slot), "before": before, "since": max(0, since_ms), "shared": shared},
        )
        for part in table.to_batches(max_chunksize=_IDS_PER_BATCH):
            digests, arrivals, hashes = (part.column(k) for k in range(3))
            yield from zip(digests.cast(pa.binary()).to_pylist(), arrivals.to_pylist(), hashes.to_pylist(), strict=True)

    def last_event_time(self) -> datetime:
        """The time of the latest event of any type, over all lives of the topic; EPOCH when there is none."""
        rows = self._store.query(
            "SELECT max(max_event_time) FROM watermarks WHERE topic = {topic:String}", {"topic": self.topic}
        )
        latest = rows[0][0]
        return latest if isinstance(latest, datetime) else EPOCH

    def frontiers(self, slot: Slot) -> dict[tuple[str, str], int]:
        """(key of a KPI, segment) -> start (minutes since 1970) of the newest window stored for a slot."""
        rows = self._store.query(
            "SELECT kpi, definition, segment, intDiv(toUnixTimestamp(max(window_start)), 60) FROM partials "
            "WHERE topic = {topic:String} AND incarnation = {incarnation:UUID} AND partition = {partition:UInt32} "
            "GROUP BY kpi, definition, segment",
            self._slot(slot),
        )
        return {(f"{kpi}/{definition}", segment): int(minute) for kpi, definition, segment, minute in rows}

    def series(self, slot: Slot) -> dict[tuple[str, str], list[str]]:
        """(key of a KPI, segment) -> the combinations of dimension values admitted in a slot: see `SeriesCeiling`."""
        rows = self._store.query(
            "SELECT kpi, definition, segment, groupUniqArray(dims) FROM series WHERE topic = {topic:String} "
            "AND incarnation = {incarnation:UUID} AND partition = {partition:UInt32} GROUP BY kpi, definition, segment",
            self._slot(slot),
        )
        return {(f"{kpi}/{definition}", segment): dims for kpi, definition, segment, dims in rows}

    def read_back(
        self, kpis: Collection[SimpleKpi], segments: Collection[str], incarnation: UUID, windows: Collection[Window]
    ) -> Iterator[pa.Table]:
        """The stored rows of `kpis` in `windows` (slots given as partitions), perhaps with those of other windows.

        Block by block: a window may have any number of rows.
        """
        starts = sorted({minute for _, minute in windows})
        parameters = {
            "kpis": [kpi.name for kpi in kpis],
            "topic": self.topic,
            "incarnation": str(incarnation),
            "segments": sorted(segments),
            "partitions": sorted({partition for partition, _ in windows}),
        }
        for k in range(0, len(starts), _WINDOWS_PER_QUERY):
            yield from self._store.stream_arrow(
                f"SELECT {READ_BACK_COLUMNS} FROM partials FINAL WHERE kpi IN {{kpis:Array(String)}} "
                "AND topic = {topic:String} AND incarnation = {incarnation:UUID} "
                "AND partition IN {partitions:Array(UInt32)} AND segment IN {segments:Array(String)} "
                "AND window_start IN {starts:Array(DateTime('UTC'))}",
                parameters | {"starts": [EPOCH + timedelta(minutes=at) for at in starts[k : k + _WINDOWS_PER_QUERY]]},
            )

    def archived(
        self, slot: Slot, first: int, end: int = 2**64 - 1, types: Collection[str] = ()
    ) -> Iterator[pl.DataFrame]:
        """Archived rows of one slot with offsets in `[first, end)`, in order and in parts; of `types`, or of all."""
        while True:
            table = self._store.query_arrow(
                "SELECT offset, type, source, id, toUnixTimestamp64Micro(time) AS time_us, "
                "toUnixTimestamp64Milli(arrival) AS arrival_ms, data, duplicate FROM events FINAL "
                "WHERE topic = {topic:String} AND incarnation = {incarnation:UUID} AND partition = {partition:UInt32} "
                "AND offset >= {first:UInt64} AND offset < {end:UInt64} "
                "AND (empty({types:Array(String)}) OR type IN {types:Array(String)}) "
                f"ORDER BY offset LIMIT {_ARCHIVE_ROWS}",
                {**self._slot(slot), "first": first, "end": end, "types": list(types)},
            )
            rows = pl.DataFrame(pl.from_arrow(table))
            if rows.is_empty():
                return
            yield rows
            first = int(rows["offset"].to_numpy()[-1]) + 1

    def archived_lives(self, partition: int) -> dict[UUID, int]:
        """Incarnation -> highest archived offset of one partition."""
        rows = self._store.query(
            "SELECT incarnation, max(offset) FROM events "
            "WHERE topic = {topic:String} AND partition = {partition:UInt32} GROUP BY incarnation",
            {"topic": self.topic, "partition": partition},
        )
        return {incarnation: int(offset) for incarnation, offset in rows}

    def _slot(self, slot: Slot) -> dict[str, object]:
        return {"topic": self.topic, "incarnation": str(slot.incarnation), "partition": slot.partition}
