"""The Faust worker: Kafka's records in whole batches to the processor, its flushes to ClickHouse, then the commit.

Faust keeps what it is good at (group membership, rebalancing, timers); its per-event path is not used, because it costs
100 us an event and because an agent that raises loses its batch and commits past it.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

import structlog
from faust.types import TP

from onpace.config.catalog import Catalog
from onpace.config.errors import BrokerUnavailable, OnPaceError, StoreUnavailable
from onpace.config.settings import KafkaSettings, ProcessorSettings
from onpace.ingest.deadletters import DeadLetter
from onpace.processors.consumer import STOP_DEADLINE_SECONDS, BatchTransport
from onpace.processors.faust_apps import faust_app, servers_of
from onpace.processors.fetching import Fetched, seconds_passed
from onpace.processors.letters import LetterCopies
from onpace.processors.metrics import ProcessorMetrics
from onpace.processors.processor import Processor
from onpace.processors.rebuild import Background, Rebuilder
from onpace.processors.steady import SteadyTime
from onpace.processors.writer import StoreWriter

__all__ = ["TopicRecreated", "Worker"]

log = structlog.get_logger(__name__)
Result = TypeVar("Result")

_IDENTITY_CHECK = timedelta(seconds=5)
_METADATA_AGE = timedelta(seconds=30)  # how soon new partitions are noticed
_INTERVALS_BEHIND = 5  # a flush costs much the same for few rows as for many; who is behind is not up to date anyway
_GC_THRESHOLDS = (100_000, 50, 100)  # a batch is 20,000 records: with Python's own, a fifth of the time is spent there


class TopicRecreated(OnPaceError):
    """The topic was deleted and made again while it was read. A restart takes the new one over."""


class Worker:
    """Runs one processor in a Faust app. `start` and `stop` belong to one event loop."""

    def __init__(
        self,
        *,
        processor: Processor,
        writer: StoreWriter,
        kafka: KafkaSettings,
        settings: ProcessorSettings,
        metrics: ProcessorMetrics,
        clock: Callable[[], datetime],
        identity: Callable[[], UUID],
        dead_letters: Callable[[list[DeadLetter]], None],
        rebuilder: Rebuilder | None = None,
        live: bool = True,
    ) -> None:
        """`identity`: the topic's UUID now. `dead_letters`: publishes to the dead-letter topic. `rebuilder`: fills
        what the stream does not hold of new KPIs. `live`: an idle partition advances with the wall clock (a replay's
        clock is its events)."""
        self.topic = kafka.topic
        self.processor = processor
        self._writer = writer
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self._identity = identity
        self._letters = LetterCopies(dead_letters, metrics)
        self._live = live
        self._thread = ThreadPoolExecutor(1, "onpace-fold")
        self._flushing = asyncio.Lock()
        self._last_flush = self._checked_at = clock()
        self._time = SteadyTime(self._last_flush, seconds_passed())
        self._incarnation: UUID | None = None
        self._stopping = False
        self._next: tuple[Catalog, asyncio.Future[None]] | None = None
        self._background = Background(rebuilder, metrics)
        self._partition_count = 1
        self._uncommitted: dict[int, int] = {}
        """Partition -> offset that is in the store and not yet, as far as is known, in Kafka."""
        self.app = self._faust_app(kafka)

    def _faust_app(self, kafka: KafkaSettings) -> Any:
        app = faust_app(
            kafka,
            kafka.group,
            topic_disable_leader=True,
            topic_allow_declare=False,
            stream_wait_empty=True,
            consumer_auto_offset_reset="none",
            consumer_group_instance_id=kafka.instance,
            broker_max_poll_records=self._settings.poll_events,
            consumer_metadata_max_age_ms=_METADATA_AGE // timedelta(milliseconds=1),
        )
        transport = BatchTransport(servers_of(kafka), app)
        transport.worker = self
        app.transport = transport
        app.topics.add(app.topic(self.topic, value_type=bytes, value_serializer="raw"))
        return app

    async def start(self) -> None:
        """Join the group and begin."""
        gc.freeze()
        gc.set_threshold(*_GC_THRESHOLDS)
        await self.app.start()

    async def finish(self) -> datetime:
        """The input has ended: flush, declare the last windows complete, and return the time of the last event."""
        consumer = self.app.consumer
        await self.flush(consumer)
        end = await self._until_it_works("finish", self._writer.last_event_time)
        await self.flush(consumer, input_end=end)
        await self._rebuilt()
        return end

    async def settle(self) -> None:
        """Write everything taken so far, and wait until nothing is left to rebuild."""
        await self.flush(self.app.consumer)
        await self._rebuilt()

    async def _rebuilt(self) -> None:
        while not await self._background.wait():
            self._rebuild()
            await asyncio.sleep(0.1)

    async def adopt(self, catalog: Catalog) -> None:
        """Go on with other KPIs, from the next batch on. Returns when they are in force."""
        self._next = catalog, asyncio.get_running_loop().create_future()
        await self._next[1]

    async def _adopt(self, consumer: Any) -> None:
        assert self._next is not None
        catalog, adopted = self._next
        await self.flush(consumer)
        await self._until_it_works("adopt", lambda: self.processor.adopt(catalog, self._clock()))
        self._background.look_again(catalog)
        self._next = None
        if not adopted.done():
            adopted.set_result(None)

    async def stop(self) -> None:
        """Flush, leave the group and end, within about ten seconds."""
        self._stopping = True
        await asyncio.gather(self.app.stop(), self._background.stop(STOP_DEADLINE_SECONDS))
        self._thread.shutdown(wait=False, cancel_futures=True)

    @property
    def crashed(self) -> BaseException | None:
        """What ended the worker, if anything did."""
        reason: BaseException | None = self.app.crash_reason
        return reason

    async def take_over(self, partitions: set[int], known: int) -> dict[int, int | None]:
        """Load the checkpoints and ids of newly assigned partitions. Tries until ClickHouse and the broker answer.

        `known`: how many partitions the topic has, whoever reads them.
        """

        def load() -> dict[int, int | None]:
            self._incarnation = self._identity()
            self._partition_count = known
            self._background.look_again()
            if known:
                self._writer.record_incarnation(self._incarnation, known, self._clock())
            held = self.processor.positions
            resume = self.processor.assign(partitions, self._incarnation, self._clock())
            kept = {n: offset for n, offset in self._uncommitted.items() if n in held and held[n] == resume.get(n)}
            loaded = {n: offset for n, offset in resume.items() if offset is not None and held.get(n) != offset}
            self._uncommitted = kept | loaded  # whoever stored a checkpoint may have died before the commit
            return resume

        return await self._until_it_works("take over", load)

    def resume_offset(self, partition: int, checkpoint: int | None, earliest: int) -> int:
        """Where to seek: the checkpoint, or the beginning. Offsets that are gone are counted and logged."""
        if checkpoint is not None and checkpoint >= earliest:
            return checkpoint
        if partition in self.processor.waiting:
            return earliest
        if checkpoint is not None:
            self._metrics.offset_gap.inc(earliest - checkpoint)
            log.error(
                "offsets are gone: retention passed the checkpoint",
                partition=partition,
                checkpoint=checkpoint,
                earliest=earliest,
            )
        self.processor.seek(partition, earliest)
        return earliest

    async def take(self, consumer: Any, records: Mapping[TP, Fetched]) -> None:
        """Process one fetched batch, and flush when it is time."""
        now = self._clock()
        batch = {tp.partition: part for tp, part in records.items() if tp.topic == self.topic}
        for tp in records:
            self.app.monitor.stream_inbound_time[tp] = consumer.loop.time()
        for part in filter(None, batch.values()):
            self._time.arrived(part[-1].timestamp, seconds_passed())
        due = await self._due(consumer, batch)
        if due:
            await self._run(lambda: self._process(due))
        self._metrics.heartbeat.set(now.timestamp())
        full = self.processor.buffered >= self._settings.flush_events
        behind = max(self._lags(consumer).values(), default=0) > self._settings.poll_events
        interval = self._settings.flush_interval * (_INTERVALS_BEHIND if behind else 1)
        if full or abs(now - self._last_flush) >= interval:  # the clock may have been set back
            await self.flush(consumer)
            await self._open_waiting(consumer)
            self._rebuild()
        if self._next is not None:
            await self._adopt(consumer)

    def _rebuild(self) -> None:
        self._background.go_on(self.processor.starts, self._incarnation, self._partition_count)

    async def _open_waiting(self, consumer: Any) -> None:
        """Begin with partitions that had to wait for others."""
        while self.processor.waiting:
            open_one = partial(self.processor.open_waiting, self._caught_up(consumer), self._clock())
            opened = await self._until_it_works("take over", open_one)
            if not opened:
                break
            await consumer.go_on_at(opened)

    def _process(self, due: Mapping[int, Fetched]) -> None:
        self.processor.process(due)
        for number, part in due.items():
            self.processor.pass_over(number, part.end)

    async def _due(self, consumer: Any, batch: Mapping[int, Fetched]) -> dict[int, Fetched]:
        """What follows what was taken of the partitions held. Where a batch got lost (a rebalance may do that), the
        partition is fetched again from there."""
        positions, due = self.processor.positions, dict[int, Fetched]()
        for number, part in batch.items():
            position = positions.get(number)
            if position is None:
                continue
            if part.begin > position:
                log.warning("a fetched batch was lost: fetching again", partition=number, at=position, got=part.begin)
                await consumer._seek(TP(self.topic, number), position)
            else:
                due[number] = part
        return due

    async def flush(self, consumer: Any, *, input_end: datetime | None = None) -> None:
        """Write everything taken so far and commit it. Tries until ClickHouse answers; nothing is fetched meanwhile.

        May be cancelled at any point (Faust does, on a rebalance): what was prepared and not written then comes first
        next time.
        """
        async with self._flushing:
            now = self._clock()
            await self._check_identity(now)
            caught_up = self._caught_up(consumer)
            with self._metrics.flush_seconds.time():
                await self._until_it_works("flush", self._write)
                await self._until_it_works(
                    "fold", lambda: self.processor.prepare(now, caught_up if self._live else {}, input_end=input_end)
                )
                await self._until_it_works("flush", self._write)
            self._last_flush = now
            await self._commit(consumer)

    async def _commit(self, consumer: Any) -> None:
        """Commit what is in the store, also by a flush that was broken off before it came to this."""
        offsets = dict(self._uncommitted)
        if offsets and await consumer._commit({TP(self.topic, n): offset for n, offset in offsets.items()}):
            self._uncommitted = {n: at for n, at in self._uncommitted.items() if offsets.get(n) != at}

    def _write(self) -> None:
        flush = self.processor.unwritten
        if flush is None:
            return
        self._letters.publish(flush)
        self._metrics.flushed(self._writer.write(flush))
        self.processor.written()
        self._uncommitted |= {c.slot.partition: c.offset for c in flush.checkpoints}

    def _lags(self, consumer: Any) -> dict[TP, int]:
        """How many offsets are left to read of each partition, as far as the broker has said so."""
        kafka, positions = consumer._thread._ensure_consumer(), self.processor.positions
        highs = {tp: kafka.highwater(tp) for tp in consumer.assignment() if tp.topic == self.topic}
        return {tp: max(0, high - positions.get(tp.partition, 0)) for tp, high in highs.items() if high is not None}

    def _caught_up(self, consumer: Any) -> dict[int, datetime]:
        """Partition -> until when everything has been read, for those where nothing is left to read."""
        until: dict[int, datetime] = {}
        wall, at = self._clock(), seconds_passed()  # in this order: whoever is stopped in between says too little
        now = self._time.now(wall, at)
        # before the lags: an answer that another thread takes in meanwhile must not date what was known before it
        asked = {tp: consumer._thread.asked(tp) for tp in consumer.assignment()}
        for tp, lag in self._lags(consumer).items():
            self._metrics.lag.labels(self.topic, str(tp.partition)).set(lag)
            sent = asked.get(tp)
            if lag == 0 and sent is not None:
                until[tp.partition] = now - timedelta(seconds=max(0.0, at - sent))
        return until

    async def _check_identity(self, now: datetime) -> None:
        if abs(now - self._checked_at) < _IDENTITY_CHECK or self._incarnation is None or self._stopping:
            return
        self._checked_at = now
        try:
            found = await self._run(self._identity)
        except BrokerUnavailable:
            return  # cannot tell now; fetching fails as well
        if found != self._incarnation:
            raise TopicRecreated(
                f"topic '{self.topic}' was deleted and made again ({self._incarnation} -> {found}): "
                "restart to take it over"
            )

    async def _run(self, call: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    async def _until_it_works(self, operation: str, call: Callable[[], Result]) -> Result:
        wait = 0.1
        while True:
            try:
                return await self._run(call)
            except (StoreUnavailable, BrokerUnavailable) as exc:
                self._metrics.store_errors.labels(operation).inc()
                log.warning("trying again", operation=operation, reason=str(exc), wait_seconds=wait)
                await asyncio.sleep(wait)
                wait = min(wait * 2, 5.0)
