"""From the records of one partition to accepted events, archive rows and dead letters."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import xxhash

from onpace.config.errors import InvalidEvent, did_you_mean
from onpace.ingest.codec import Envelopes, decode_envelopes
from onpace.ingest.deadletters import DeadLetter, make_dead_letter
from onpace.ingest.times import check_time
from onpace.processors.dedup import DedupIndex, Verdict
from onpace.processors.partials import Slot
from onpace.processors.plan import EventPlan
from onpace.processors.windows import LATEST_US

__all__ = ["Batch", "Intake", "Record", "archive_schema"]

Value = TypeVar("Value")
Integers = npt.NDArray[np.int64]


class Record(Protocol):
    """One record of the log as the client library gives it."""

    offset: int
    timestamp: int
    """Arrival time: Kafka's own timestamp, in milliseconds since 1970."""
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


@dataclass(slots=True)
class Batch:
    """What one batch of records came to."""

    frames: dict[str, list[pl.DataFrame]] = field(default_factory=dict)
    """Event type -> accepted events: the columns its KPIs use, and `onpace:slot`, `:offset`, `:time_us` and so on."""
    archive: pa.Table | None = None
    dead: list[DeadLetter] = field(default_factory=list)
    accepted: Counter[str] = field(default_factory=Counter)
    duplicates: Counter[str] = field(default_factory=Counter)
    conflicts: Counter[str] = field(default_factory=Counter)
    late: Counter[str] = field(default_factory=Counter)


archive_schema = pa.schema(
    [
        ("topic", pa.string()),
        ("incarnation", pa.string()),
        ("partition", pa.uint32()),
        ("offset", pa.uint64()),
        ("type", pa.string()),
        ("source", pa.string()),
        ("id", pa.string()),
        ("time", pa.timestamp("us", "UTC")),
        ("arrival", pa.timestamp("ms", "UTC")),
        ("data", pa.binary()),
        ("duplicate", pa.uint8()),
        ("id_hash", pa.binary()),
        ("data_hash", pa.uint64()),
    ]
)


@dataclass(slots=True)
class _Messages:
    """The well-formed events of a batch, with what their records say."""

    envelopes: Envelopes
    offset: Integers
    arrival_ms: Integers
    time_us: Integers

    def __len__(self) -> int:
        return len(self.envelopes)


class Intake:
    """Decodes, validates and deduplicates the records of one partition, in the order of their offsets."""

    def __init__(
        self,
        topic: str,
        slot: Slot,
        plans: Mapping[str, EventPlan],
        dedup: DedupIndex,
        *,
        max_future: timedelta,
        max_bytes: int,
    ) -> None:
        self.topic = topic
        self.slot = slot
        self.dedup = dedup
        self.max_event_us: dict[str, int] = {}
        """Event type -> latest event time seen, never beyond its arrival."""
        self.last_arrival_ms: dict[str, int] = {}
        """Event type -> arrival of its latest accepted event or duplicate."""
        self.plans = plans
        """What is computed from each event type."""
        self._max_future = max_future
        self._max_bytes = max_bytes

    def take(self, records: Sequence[Record]) -> Batch:
        """Judge every record. Each ends in the archive (accepted or duplicate) or among the dead letters."""
        envelopes = decode_envelopes([(r.value, r.headers) for r in records], self._max_bytes)
        arrival_ms = _arrivals(records)
        index = np.array(envelopes.index, np.int64)
        messages = _Messages(
            envelopes,
            offset=np.array([r.offset for r in records], np.int64)[index],
            arrival_ms=arrival_ms[index],
            time_us=np.array(envelopes.time_us, np.int64),
        )
        refused = self._refused(messages)
        bad = dict(envelopes.bad) | {envelopes.index[at]: exc for at, exc in refused.items()}
        rows = _by_type(envelopes.type, refused)
        frames: dict[str, pl.DataFrame] = {}
        for name, positions in rows.items():
            decoded = self.plans[name].decoder.decode(_pick(envelopes.data, positions))
            frames[name] = decoded.frame
            if decoded.bad:
                bad.update((envelopes.index[positions[row]], exc) for row, exc in decoded.bad)
                rows[name] = [positions[row] for row in decoded.good]
        batch = Batch()
        batch.dead = [self._dead_letter(records[k], int(arrival_ms[k]), exc) for k, exc in sorted(bad.items())]
        self._accept(batch, messages, rows, frames)
        return batch

    def take_archived(self, rows: pl.DataFrame) -> Batch:
        """Archived rows of a life that ended before they were folded, as accepted events once more."""
        batch = Batch()
        for (name, duplicate), part in rows.group_by("type", "duplicate", maintain_order=True):
            if duplicate or name not in self.plans:
                continue
            decoded = self.plans[str(name)].decoder.decode(
                [bytes(data) for data in part["data"].cast(pl.Binary).to_list()]
            )
            columns = part.select(
                pl.col("offset").cast(pl.Int64).alias("onpace:offset"),
                (pl.col("arrival_ms").cast(pl.Int64) * 1000).alias("onpace:arrival_us"),
                pl.col("time_us").cast(pl.Int64).alias("onpace:time_us"),
                pl.lit(self.slot.number, dtype=pl.Int64).alias("onpace:slot"),
                pl.col("source").cast(pl.String).alias("onpace:source"),
                pl.col("id").cast(pl.String).alias("onpace:id"),
            )[decoded.good]
            frame = columns.with_columns(*decoded.frame)
            self._advance(str(name), frame)
            batch.frames.setdefault(str(name), []).append(frame)
        return batch

    def _refused(self, messages: _Messages) -> dict[int, InvalidEvent]:
        """Position -> what is wrong, of the events that are impossible in time or of no declared type."""
        ahead_us = self._max_future // timedelta(microseconds=1)
        wrong = (messages.time_us >= LATEST_US) | (messages.time_us - messages.arrival_ms * 1000 > ahead_us)
        if unknown := set(messages.envelopes.type) - self.plans.keys():
            wrong |= np.array([name in unknown for name in messages.envelopes.type], bool)
        return {at: self._problem(messages, at) for at in np.flatnonzero(wrong).tolist()}

    def _problem(self, messages: _Messages, at: int) -> InvalidEvent:
        name, time_us = messages.envelopes.type[at], int(messages.time_us[at])
        try:
            check_time(time_us, int(messages.arrival_ms[at]) * 1000, self._max_future)
        except InvalidEvent as exc:
            return exc.with_traceback(None)
        if time_us >= LATEST_US:
            return InvalidEvent("time_in_future", "time is 2096 or later", "time")
        hint = did_you_mean(name, self.plans)
        return InvalidEvent("unknown_type", f"event type '{name}' is not declared{hint}", "type")

    def _dead_letter(self, record: Record, arrival_ms: int, exc: InvalidEvent) -> DeadLetter:
        return make_dead_letter(
            record.value,
            record.headers,
            exc,
            topic=self.topic,
            partition=self.slot.partition,
            offset=record.offset,
            arrival=datetime.fromtimestamp(arrival_ms / 1000, UTC),
        )

    def _accept(
        self,
        batch: Batch,
        messages: _Messages,
        rows: Mapping[str, list[int]],
        frames: Mapping[str, pl.DataFrame],
    ) -> None:
        order = _merged(rows.values())
        if not order:
            return
        envelopes = messages.envelopes
        digest = xxhash.xxh3_128_digest
        digests = [
            digest(f"{len(source)} {source} {name}".encode())  # the length: no pair of texts can pass for another
            for source, name in zip(_pick(envelopes.source, order), _pick(envelopes.id, order), strict=True)
        ]
        hashes = list(map(xxhash.xxh3_64_intdigest, _pick(envelopes.data, order)))
        verdicts = self.dedup.check_all(digests, _at(messages.arrival_ms, order).tolist(), hashes)
        batch.archive = self._archive_rows(messages, order, verdicts, digests, hashes)
        clean = verdicts.count("new") == len(verdicts)
        verdict_at = {} if clean else dict(zip(order, verdicts, strict=True))
        for name, positions in rows.items():
            judged = [] if clean else [verdict_at[at] for at in positions]
            new = len(positions) if clean else judged.count("new")
            batch.accepted[name] += new
            batch.conflicts[name] += judged.count("conflict")
            batch.duplicates[name] += len(positions) - new
            frame = self._frame(name, messages, positions, frames[name])
            batch.late[name] += self._advance(name, frame)
            if new < len(positions):
                frame = frame.filter(pl.Series([verdict == "new" for verdict in judged]))
            batch.frames.setdefault(name, []).append(frame)

    def _frame(self, name: str, messages: _Messages, positions: list[int], data: pl.DataFrame) -> pl.DataFrame:
        columns = [
            pl.Series("onpace:offset", _at(messages.offset, positions)),
            pl.Series("onpace:arrival_us", _at(messages.arrival_ms, positions) * 1000),
            pl.Series("onpace:time_us", _at(messages.time_us, positions)),
            pl.Series("onpace:slot", np.full(len(positions), self.slot.number, np.int64)),
        ]
        if self.plans[name].ordered:
            columns += [
                pl.Series("onpace:source", _pick(messages.envelopes.source, positions), dtype=pl.String),
                pl.Series("onpace:id", _pick(messages.envelopes.id, positions), dtype=pl.String),
            ]
        return pl.DataFrame(columns).with_columns(*data)  # `data` may have no columns

    def _advance(self, name: str, frame: pl.DataFrame) -> int:
        """Move a type's latest event time forward; return how many events came later than its lateness allows."""
        if frame.is_empty():
            return 0
        seen = frame.select(pl.min_horizontal("onpace:time_us", "onpace:arrival_us")).to_series()
        before = self.max_event_us.get(name, 0)
        running = seen.cum_max().clip(lower_bound=before)
        self.max_event_us[name] = int(running[-1])
        arrived = int(frame["onpace:arrival_us"].to_numpy().max()) // 1000
        self.last_arrival_ms[name] = max(self.last_arrival_ms.get(name, 0), arrived)
        lateness_us = self.plans[name].lateness // timedelta(microseconds=1)
        return int((frame["onpace:time_us"] < running - lateness_us).sum())

    def _archive_rows(
        self,
        messages: _Messages,
        order: list[int],
        verdicts: Sequence[Verdict],
        digests: Sequence[bytes],
        hashes: Sequence[int],
    ) -> pa.Table:
        count, envelopes = len(order), messages.envelopes
        repeated = [verdict != "new" for verdict in verdicts] if verdicts.count("new") < count else [False] * count
        columns = [
            pa.repeat(self.topic, count),
            pa.repeat(str(self.slot.incarnation), count),
            pa.repeat(pa.scalar(self.slot.partition, pa.uint32()), count),
            pa.array(_at(messages.offset, order), pa.uint64()),
            _texts(_pick(envelopes.type, order)),
            _texts(_pick(envelopes.source, order)),
            pa.array(_pick(envelopes.id, order), pa.string()),
            pa.array(_at(messages.time_us, order), pa.timestamp("us", "UTC")),
            pa.array(_at(messages.arrival_ms, order), pa.timestamp("ms", "UTC")),
            _binary(_pick(envelopes.data, order)),
            pa.array(np.array(repeated, np.uint8)),
            _binary(digests),
            pa.array(np.array(hashes, np.uint64)),
        ]
        return pa.Table.from_arrays(columns, schema=archive_schema)


def _texts(values: Sequence[str]) -> pa.Array:
    """A column of texts that are often all the same."""
    return pa.repeat(values[0], len(values)) if len(set(values)) == 1 else pa.array(values, pa.string())


def _binary(values: Sequence[bytes]) -> pa.Array:
    """A column of bytes, several times as fast as one value after the other."""
    ends = np.cumsum(np.fromiter(map(len, values), np.int64, len(values)))
    offsets = np.concatenate([[0], ends]).astype(np.int32)
    return pa.Array.from_buffers(
        pa.binary(), len(values), [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(values))]
    )


def _arrivals(records: Sequence[Record]) -> Integers:
    """Arrival times in ms, kept within what the store can hold (a producer may set any timestamp)."""
    return np.clip(np.array([r.timestamp or 0 for r in records], np.int64), 0, LATEST_US // 1000)


def _by_type(types: Sequence[str], refused: Collection[int]) -> dict[str, list[int]]:
    """Event type -> positions that are not refused."""
    if not refused and len(set(types)) == 1:
        return {types[0]: list(range(len(types)))}
    rows: dict[str, list[int]] = {}
    for at, name in enumerate(types):
        if at not in refused:
            rows.setdefault(name, []).append(at)
    return rows


def _merged(rows: Collection[list[int]]) -> list[int]:
    """All positions, ascending, of several ascending lists."""
    return next(iter(rows)) if len(rows) == 1 else sorted(itertools.chain.from_iterable(rows))


def _at(values: Integers, positions: list[int]) -> Integers:
    """The values at ascending positions."""
    return values if len(positions) == len(values) else values[positions]


def _pick(values: list[Value], positions: list[int]) -> list[Value]:
    """The values at ascending positions."""
    return values if len(positions) == len(values) else [values[at] for at in positions]
