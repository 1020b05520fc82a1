"""Faust's consumer and transport, handing whole batches to the worker instead of single events to agents."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Protocol

import structlog
from aiokafka.errors import NoOffsetForPartitionError, OffsetOutOfRangeError
from faust.transport.drivers.aiokafka import Consumer, Transport
from faust.types import TP

from onpace.config.errors import OnPaceError
from onpace.processors.fetching import BatchThread, Fetched
from onpace.processors.processor import Processor

__all__ = ["STOP_DEADLINE_SECONDS", "BatchConsumer", "BatchTransport"]

log = structlog.get_logger(__name__)

_REVOKE_DEADLINE_SECONDS = 20.0
STOP_DEADLINE_SECONDS = 8.0
"""How long a last flush may take when the process is told to stop."""


class Taker(Protocol):
    """Who takes the batches: the worker."""

    topic: str
    processor: Processor

    async def take_over(self, partitions: set[int], known: int) -> dict[int, int | None]: ...

    def resume_offset(self, partition: int, checkpoint: int | None, earliest: int) -> int: ...

    async def take(self, consumer: Any, records: Mapping[TP, Fetched]) -> None: ...

    async def flush(self, consumer: Any) -> None: ...


class BatchConsumer(Consumer):
    """Hands whole fetched batches to the worker instead of single events to agents."""

    async def perform_seek(self) -> None:
        """Go on where ClickHouse says, whatever offset Kafka has committed. Runs after assignment, before the flow."""
        worker = _worker_of(self)
        tps = {tp for tp in self.assignment() if tp.topic == worker.topic}
        known = self._thread._ensure_consumer().partitions_for_topic(worker.topic) or ()
        await self.go_on_at(await worker.take_over({tp.partition for tp in tps}, len(known)))
        self.pause_partitions({tp for tp in tps if tp.partition in worker.processor.waiting})

    async def go_on_at(self, resume: Mapping[int, int | None]) -> None:
        """Seek each partition to its checkpoint, or to its beginning (None, or where offsets are gone)."""
        worker = _worker_of(self)
        tps = {TP(worker.topic, partition) for partition in resume}
        earliest = await self.earliest_offsets(*tps) if tps else {}
        for tp in tps:
            offset = worker.resume_offset(tp.partition, resume[tp.partition], int(earliest.get(tp) or 0))
            await self._seek(tp, offset)
            self._read_offset[tp] = offset or None
            self._committed_offset[tp] = offset or None
        self.resume_partitions(tps)

    async def commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:  # noqa: ARG002
        """Nothing: only a flush commits."""
        return False

    async def wait_empty(self) -> None:
        """Called before partitions are given up and before stopping: flush, but not for ever."""
        worker = _worker_of(self)
        deadline = STOP_DEADLINE_SECONDS if self.app.should_stop else _REVOKE_DEADLINE_SECONDS
        try:
            await asyncio.wait_for(worker.flush(self), deadline)
        except TimeoutError:
            log.warning("gave partitions up before the flush was written; they will be read again")

    def _new_consumer_thread(self) -> BatchThread:
        return BatchThread(self, loop=self.loop, beacon=self.beacon)

    async def _drain_messages(self, fetcher: Any) -> None:
        worker = _worker_of(self)
        try:
            while not (self.should_stop or fetcher.should_stop):
                records = await self._next_records()
                while not (self.flow_active or self.should_stop or fetcher.should_stop):
                    await asyncio.sleep(0.05)  # a rebalance: afterwards the offsets tell whether these are still due
                await worker.take(self, records)
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            if not self.app.should_stop:
                raise
        except (OnPaceError, MemoryError) as exc:
            log.error("the processor stops: a restart is safe", reason=str(exc) or type(exc).__name__)
            raise
        except Exception:
            log.exception("the processor stops: a restart is safe")
            raise

    async def _next_records(self) -> dict[TP, Fetched]:
        worker = _worker_of(self)
        records: Any = None
        try:
            records, _ = await self._wait_next_records(0.2)
        except NoOffsetForPartitionError as exc:  # aiokafka had no position before `perform_seek` gave it one
            log.debug("fetched too early", reason=str(exc))
            await asyncio.sleep(0.1)
        except OffsetOutOfRangeError:
            positions = worker.processor.positions
            earliest = await self.earliest_offsets(*(TP(worker.topic, partition) for partition in positions))
            gone = {tp.partition for tp, offset in earliest.items() if offset and offset > positions[tp.partition]}
            if not gone:
                raise
            await self.go_on_at({partition: positions[partition] for partition in gone})
        return records or {}


def _worker_of(consumer: Consumer) -> Taker:
    transport = consumer.transport
    assert isinstance(transport, BatchTransport)
    return transport.worker


class BatchTransport(Transport):
    """Kafka through aiokafka, in batches."""

    Consumer = BatchConsumer
    worker: Taker
