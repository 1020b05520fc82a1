"""Reading the archive of raw events back in the order in which they arrived, for a backtest.

What is needed is copied to a file first: the engine in process can have only one folder open at a time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from onpace.deploy.world import Arrival
from onpace.ingest.event import Event
from onpace.processors.clickhouse import ClickHouse
from onpace.processors.writer import EPOCH

__all__ = ["Archive", "Arrivals", "copy_archive", "first_event"]

_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Archive:
    """A copy of some event types of the archive."""

    path: Path
    events: int
    first_arrival: datetime | None
    """None: there is no event of these types."""
    last_arrival: datetime | None
    first_time: datetime | None
    """The earliest time of an event."""


def copy_archive(
    store: ClickHouse, topic: str, types: Sequence[str], until: datetime, path: Path, *, punctual: bool = False
) -> Archive:
    """Copy what arrived up to `until`, in order of arrival, without duplicates. Raises StoreUnavailable.

    `punctual`: every event counts as having arrived when it happened, for histories that were loaded long after.
    """
    arrived = "fromUnixTimestamp64Milli(intDiv(toUnixTimestamp64Micro(time) + 999, 1000))" if punctual else "arrival"
    blocks = store.stream_arrow(
        "SELECT toString(type) AS type, toString(source) AS source, id, toUnixTimestamp64Micro(time) AS time_us, "
        f"toUnixTimestamp64Milli({arrived}) AS arrival_ms, data FROM events FINAL "
        "WHERE topic = {topic:String} AND duplicate = 0 AND type IN {types:Array(String)} "
        f"AND {arrived} <= fromUnixTimestamp64Milli({{until:Int64}}) "
        "ORDER BY arrival_ms, events.arrival, incarnation, partition, offset",
        {"topic": topic, "types": list(types), "until": (until - EPOCH) // timedelta(milliseconds=1)},
    )
    events, first, last, earliest = 0, math.inf, -math.inf, math.inf
    writer = None
    with path.open("wb") as file:
        for block in blocks:
            if not block.num_rows:
                continue
            writer = writer or pa.ipc.new_stream(file, block.schema)
            writer.write(block)
            arrivals = block.column("arrival_ms")
            events, last = events + block.num_rows, arrivals[-1].as_py()
            first = min(first, arrivals[0].as_py())
            earliest = min(earliest, int(block.column("time_us").to_numpy().min()))
        if writer:
            writer.close()
    if not events:
        return Archive(path, 0, None, None, None)
    return Archive(path, events, _from_ms(first), _from_ms(last), EPOCH + int(earliest) * _MICROSECOND)


def first_event(store: ClickHouse, topic: str, types: Sequence[str]) -> datetime | None:
    """When the first event of these types happened; None where there is none. Raises StoreUnavailable."""
    [(count, first)] = store.query(
        "SELECT count(), min(toUnixTimestamp64Milli(time)) FROM events "
        "WHERE topic = {topic:String} AND type IN {types:Array(String)}",
        {"topic": topic, "types": list(types)},
    )
    return _from_ms(first) if count else None


class Arrivals:
    """The events of a copy, in order. Takes no more memory than a block of it."""

    def __init__(self, archive: Archive) -> None:
        self._blocks = _blocks(archive) if archive.events else iter(())
        self._block: list[tuple[Any, ...]] = []
        self._at = 0
        self._offset = 0
        self.taken = 0
        """How many were taken so far."""

    def until(self, now: datetime) -> Iterator[list[Arrival]]:
        """What has arrived by `now` and was not taken yet, in parts."""
        limit = (now - EPOCH) // timedelta(milliseconds=1)
        while self._fill():
            end = self._at
            while end < len(self._block) and self._block[end][4] <= limit:
                end += 1
            if end > self._at:
                yield [self._arrival(row) for row in self._block[self._at : end]]
                self.taken += end - self._at
                self._at = end
            if end < len(self._block):
                return

    def _fill(self) -> bool:
        """Whether there is anything left."""
        while self._at >= len(self._block):
            block = next(self._blocks, None)
            if block is None:
                return False
            self._block, self._at = block, 0
        return True

    def _arrival(self, row: tuple[Any, ...]) -> Arrival:
        kind, source, name, time_us, arrival_ms, data = row
        event = Event(name, source, kind, EPOCH + time_us * _MICROSECOND, data or b"null")
        offset, self._offset = self._offset, self._offset + 1
        return Arrival(offset, arrival_ms, event.to_json(), time_us, kind)


def _blocks(archive: Archive) -> Iterator[list[tuple[Any, ...]]]:
    with archive.path.open("rb") as file:
        for batch in pa.ipc.open_stream(file):
            columns = [column.to_pylist() for column in batch.columns[:5]]
            columns.append(batch.column(5).cast(pa.binary()).to_pylist())
            yield list(zip(*columns, strict=True))


def _from_ms(milliseconds: float) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
