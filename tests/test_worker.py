"""The worker between Kafka and the processor: nothing fetched gets lost, nothing prepared stays unwritten."""

# ruff: noqa: ARG002

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import NoOffsetForPartitionError, OffsetOutOfRangeError
from faust.types import TP
from processors_fakes import LIFE, START, TOPIC, Record, settings
from prometheus_client import CollectorRegistry

from onpace.config.catalog import Catalog
from onpace.config.errors import BrokerUnavailable, OnPaceError, StoreUnavailable
from onpace.config.settings import KafkaSettings
from onpace.ingest.deadletters import DeadLetter
from onpace.ingest.producer import DeliveryFailed, Failure
from onpace.processors import worker as worker_module
from onpace.processors.consumer import BatchConsumer, BatchTransport
from onpace.processors.fetching import BatchThread, Fetched, seconds_passed
from onpace.processors.metrics import ProcessorMetrics
from onpace.processors.partials import Slot
from onpace.processors.steady import SteadyTime
from onpace.processors.worker import Worker
from onpace.processors.writer import Checkpoint, Flush

NOW = datetime(2026, 5, 1, tzinfo=UTC)
SLOT = Slot(0, LIFE, 0)
LETTER = DeadLetter(TOPIC, 0, 1, START, "empty", "", "", b"")


class FakeProcessor:
    """Remembers what it was given; a flush brings the position as a checkpoint."""

    def __init__(self) -> None:
        self.positions = {0: 10}
        self.buffered = 0
        self.taken: list[int] = []
        self.sought: list[tuple[int, int]] = []
        self.unwritten: Flush | None = None
        self.adopted: list[tuple[Catalog, int]] = []
        self.waiting: dict[int, object] = {}
        self.flushed = -1
        self.resume: dict[int, int | None] = {}
        self.caught_up: dict[int, datetime] = {}

    def pass_over(self, partition: int, offset: int) -> None:
        """Nothing is left before this offset."""
        self.positions[partition] = offset

    def open_waiting(self, caught_up: Mapping[int, datetime], now: datetime) -> dict[int, int | None]:
        """One that waits."""
        return {self.waiting.popitem()[0]: None} if self.waiting else {}

    def assign(self, partitions: set[int], incarnation: object, now: datetime) -> dict[int, int | None]:
        """As told."""
        return self.resume

    def process(self, records: Mapping[int, list[Record]]) -> None:
        """Take everything."""
        for partition, part in records.items():
            self.taken += [record.offset for record in part]
            if part:
                self.positions[partition] = part[-1].offset + 1

    def prepare(self, now: datetime, caught_up: object = None, *, input_end: object = None) -> Flush:
        """A flush up to here."""
        assert self.unwritten is None
        self.caught_up = caught_up if isinstance(caught_up, dict) else {}
        moved = self.positions[0] != self.flushed
        self.flushed = self.positions[0]
        checkpoints = [Checkpoint(SLOT, self.positions[0], 0)] if moved else []
        self.unwritten = Flush(checkpoints=checkpoints, dead=[(SLOT, LETTER)])
        return self.unwritten

    def written(self) -> None:
        """It is."""
        self.unwritten = None

    @property
    def starts(self) -> dict[Any, dict[str, int]]:
        """One partition."""
        return {(LIFE, 0): {}}

    def adopt(self, catalog: Catalog, now: datetime) -> None:
        """Everything taken has been written by then."""
        assert self.unwritten is None
        self.adopted.append((catalog, self.positions[0]))

    def seek(self, partition: int, offset: int) -> None:
        """Go on there."""
        self.sought.append((partition, offset))


class FakeWriter:
    """Keeps the offsets of the flushes; fails as often as told."""

    def __init__(self) -> None:
        self.offsets: list[int] = []
        self.failures = 0
        self.gate = threading.Event()
        self.gate.set()

    def record_incarnation(self, *_: object) -> None:
        """Not kept."""

    def write(self, flush: Flush) -> dict[str, int]:
        """Keep one."""
        self.gate.wait()
        if self.failures:
            self.failures -= 1
            raise StoreUnavailable("away")
        self.offsets += [checkpoint.offset for checkpoint in flush.checkpoints]
        return {"partials": 1}


class FakeRebuilder:
    """Always finds something more to do until it has run often enough; fails as often as told."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.filled: list[Catalog] = []
        self.failures = 0
        self.unready = 0

    def fill_due(self, *_: object) -> bool:
        """Whether there is no need to look again."""
        if self.failures:
            self.failures -= 1
            raise StoreUnavailable("away")
        self.filled.append(self.catalog)
        self.unready -= 1
        return self.unready < 0


class FakeConsumer:
    """A consumer whose log is at its end."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.sought: list[tuple[int, int]] = []
        self.committed: list[dict[Any, int]] = []
        self.resumed: list[Mapping[int, int | None]] = []
        self._thread = self
        self.accepts = True
        self.high = 20
        """The offset after the last one in the log."""
        self.seconds_ago = 0.0
        """How long it took the broker to say so."""
        self.answers_meanwhile = False
        """The broker's next answer comes just after somebody looked where the log ends."""

    async def _seek(self, tp: Any, offset: int) -> None:
        self.sought.append((tp.partition, offset))

    async def go_on_at(self, resume: Mapping[int, int | None]) -> None:
        """Partitions that are read from now on."""
        self.resumed.append(resume)

    async def _commit(self, offsets: dict[Any, int]) -> bool:
        self.committed.append(offsets)
        return self.accepts

    def _ensure_consumer(self) -> FakeConsumer:
        return self

    def assignment(self) -> set[Any]:
        """One partition."""
        return {TP(TOPIC, 0)}

    def highwater(self, tp: Any) -> int:
        """Where the log ends."""
        if self.answers_meanwhile:
            self.seconds_ago = 0.0
        return self.high

    def asked(self, tp: Any) -> float | None:
        """When the broker was asked where the log ends."""
        return seconds_passed() - self.seconds_ago


class Stage:
    """A worker with fakes around it."""

    def __init__(self, *, dead_letters: Callable[[Any], None] = lambda _: None) -> None:
        self.processor, self.writer, self.consumer = FakeProcessor(), FakeWriter(), FakeConsumer()
        self.registry = CollectorRegistry()
        self.now = NOW
        self.rebuilder = FakeRebuilder(Catalog())
        self.worker = Worker(
            processor=self.processor,  # type: ignore[arg-type]
            writer=self.writer,  # type: ignore[arg-type]
            kafka=KafkaSettings(bootstrap="localhost:1"),
            settings=settings(flush_interval=timedelta(days=1), poll_events=100),
            metrics=ProcessorMetrics(self.registry),
            clock=lambda: self.now,
            identity=lambda: LIFE,
            dead_letters=dead_letters,
            rebuilder=self.rebuilder,  # type: ignore[arg-type]
        )

    async def take(self, first: int, count: int, partition: int = 0, *, begin: int | None = None) -> None:
        """Hand over a batch. `begin`: from which offset on there is nothing before it, if not from the first."""
        records = [Record(offset, 0, b"") for offset in range(first, first + count)]
        fetched = Fetched(records, first if begin is None else begin, first + count)
        await self.worker.take(self.consumer, {TP(TOPIC, partition): fetched})

    def count(self, name: str, **labels: str) -> float:
        """A counter's value."""
        return self.registry.get_sample_value(name, labels) or 0.0


def staged(scene: Callable[[Stage], Awaitable[None]], **more: Any) -> None:
    """Run a scene in an event loop of its own."""

    async def run() -> None:
        await scene(Stage(**more))

    asyncio.run(run())


def test_a_batch_after_one_that_got_lost_is_fetched_again() -> None:
    """From where the lost one began."""

    async def scene(stage: Stage) -> None:
        await stage.take(15, 5)
        assert (stage.processor.taken, stage.consumer.sought) == ([], [(0, 10)])
        await stage.take(10, 10)
        assert stage.processor.taken == list(range(10, 20))
        assert stage.consumer.sought == [(0, 10)]

    staged(scene)


def test_offsets_without_a_record_are_passed_over() -> None:
    """An aborted transaction, a marker or compaction leaves them; at the end of the log too, where nothing is left to
    read then."""

    async def scene(stage: Stage) -> None:
        await stage.take(15, 3, begin=10)
        await stage.take(20, 0, begin=18)
        await stage.worker.flush(stage.consumer)
        assert (stage.processor.taken, stage.consumer.sought) == ([15, 16, 17], [])
        assert stage.writer.offsets == [20]
        assert stage.count("onpace_consumer_lag_events", topic=TOPIC, partition="0") == 0

    staged(scene)


def test_a_partition_that_waited_is_read_once_it_is_open() -> None:
    """It is asked for after each flush."""

    async def scene(stage: Stage) -> None:
        stage.processor.waiting = {4: LIFE, 5: LIFE}
        await stage.take(10, 1)
        assert stage.consumer.resumed == []
        stage.now += timedelta(days=2)
        await stage.take(11, 1)
        assert stage.consumer.resumed == [{5: None}, {4: None}]

    staged(scene)


def test_records_of_a_partition_that_is_not_held_are_not_due() -> None:
    """They came before a rebalance."""

    async def scene(stage: Stage) -> None:
        await stage.take(0, 5, partition=3)
        assert (stage.processor.taken, stage.consumer.sought) == ([], [])

    staged(scene)


def test_a_flush_is_committed_after_it_is_written() -> None:
    """The offset is for lag displays."""

    async def scene(stage: Stage) -> None:
        await stage.take(10, 5)
        await stage.worker.flush(stage.consumer)
        assert stage.writer.offsets == [15]
        assert stage.consumer.committed == [{TP(TOPIC, 0): 15}]
        assert stage.count("onpace_flushed_rows_total", table="partials") == 1
        assert stage.count("onpace_consumer_lag_events", topic=TOPIC, partition="0") == 5

    staged(scene)


def test_who_is_behind_flushes_less_often() -> None:
    """Each flush costs much the same, and nobody can see recent values yet."""

    async def scene(stage: Stage) -> None:
        stage.consumer.high = 10_000
        stage.now += timedelta(days=2)
        await stage.take(10, 5)
        assert stage.writer.offsets == []
        stage.now += timedelta(days=4)
        await stage.take(15, 5)
        assert stage.writer.offsets == [20]
        stage.consumer.high = 30
        stage.now += timedelta(days=2)
        await stage.take(20, 5)
        assert stage.writer.offsets == [20, 25]

    staged(scene)


def test_another_catalog_is_adopted_between_two_batches() -> None:
    """After everything taken has been written, and from the next batch on."""

    async def scene(stage: Stage) -> None:
        await stage.take(10, 5)
        changed = Catalog()
        adopting = asyncio.ensure_future(stage.worker.adopt(changed))
        await asyncio.sleep(0)
        await stage.take(15, 5)
        await asyncio.wait_for(adopting, 5)
        assert stage.processor.adopted == [(changed, 20)]
        assert stage.writer.offsets == [20]
        assert stage.rebuilder.catalog is changed

    staged(scene)


def test_what_is_to_be_rebuilt_is_looked_for_until_all_is_done() -> None:
    """And again when the KPIs change, but not after every flush."""

    async def scene(stage: Stage) -> None:
        stage.rebuilder.failures, stage.rebuilder.unready = 1, 1
        for at in range(10, 15):
            stage.now += timedelta(days=6)
            await stage.take(at, 1)
            await stage.worker._background.wait()
        assert len(stage.rebuilder.filled) == 2
        assert stage.count("onpace_store_errors_total", operation="rebuild") == 1
        adopting = asyncio.ensure_future(stage.worker.adopt(Catalog()))
        await asyncio.sleep(0)
        for at in (15, 16):
            stage.now += timedelta(days=6)
            await stage.take(at, 1)
        await adopting
        await stage.worker._background.wait()
        assert len(stage.rebuilder.filled) == 3

    staged(scene)


def test_a_store_that_is_away_is_tried_until_it_is_back() -> None:
    """And counted."""

    async def scene(stage: Stage) -> None:
        stage.writer.failures = 2
        await stage.worker.flush(stage.consumer)
        assert stage.writer.offsets == [10]
        assert stage.count("onpace_store_errors_total", operation="flush") == 2

    staged(scene)


def test_a_flush_broken_off_before_it_was_written_comes_first_next_time() -> None:
    """Faust cancels whatever runs when partitions move; what was prepared is in no later flush."""

    async def scene(stage: Stage) -> None:
        stage.writer.failures = 1_000_000
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(stage.worker.flush(stage.consumer), 0.05)
        assert stage.processor.unwritten is not None
        stage.writer.failures = 0
        await stage.take(10, 5)
        await stage.worker.flush(stage.consumer)
        assert stage.writer.offsets == [10, 15]
        assert stage.processor.unwritten is None

    staged(scene)


def test_a_flush_broken_off_while_it_was_written_is_committed_next_time() -> None:
    """Faust cancels the fetcher first when it stops; by the next flush there is nothing new."""

    async def scene(stage: Stage) -> None:
        stage.writer.gate.clear()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(stage.worker.flush(stage.consumer), 0.05)
        stage.writer.gate.set()
        await stage.worker.flush(stage.consumer)
        assert (stage.writer.offsets, stage.consumer.committed) == ([10], [{TP(TOPIC, 0): 10}])
        await stage.worker.flush(stage.consumer)
        assert len(stage.consumer.committed) == 1

    staged(scene)


def test_a_clock_that_was_set_back_does_not_hold_flushes_up() -> None:
    """Nor does one that was set forward."""

    async def scene(stage: Stage) -> None:
        stage.now -= timedelta(days=3)
        await stage.take(10, 5)
        assert stage.writer.offsets == [15]
        stage.now += timedelta(days=3)
        await stage.take(15, 5)
        assert stage.writer.offsets == [15, 20]

    staged(scene)


def test_a_commit_that_the_group_refuses_is_made_again() -> None:
    """Its generation was over; the offset is in the store all the same."""

    async def scene(stage: Stage) -> None:
        stage.consumer.accepts = False
        await stage.worker.flush(stage.consumer)
        stage.consumer.accepts = True
        await stage.worker.flush(stage.consumer)
        await stage.worker.flush(stage.consumer)
        assert stage.consumer.committed == [{TP(TOPIC, 0): 10}] * 2

    staged(scene)


@pytest.mark.parametrize(("resume", "committed"), [(12, 12), (10, None), (None, None)])
def test_a_checkpoint_whose_writer_died_before_the_commit_is_committed(
    resume: int | None, committed: int | None
) -> None:
    """By whoever takes the partition over; what a process still holds is past what it has stored."""

    async def scene(stage: Stage) -> None:
        stage.processor.flushed = stage.processor.positions[0]
        stage.processor.resume = {0: resume}
        await stage.worker.take_over({0}, 1)
        await stage.worker.flush(stage.consumer)
        assert stage.consumer.committed == ([] if committed is None else [{TP(TOPIC, 0): committed}])

    staged(scene)


def test_dead_letters_are_published_once_however_often_the_store_is_tried() -> None:
    """It may be away for hours."""
    published: list[object] = []

    async def scene(stage: Stage) -> None:
        stage.writer.failures = 3
        await stage.worker.flush(stage.consumer)
        await stage.worker.flush(stage.consumer)
        assert published == [[LETTER], [LETTER]]

    staged(scene, dead_letters=published.append)


@pytest.mark.parametrize("error", [BrokerUnavailable("away"), DeliveryFailed([Failure("", "too large")])])
def test_a_dead_letter_topic_that_does_not_take_them_stops_nothing(error: OnPaceError) -> None:
    """The table holds the letters all the same."""

    def away(_: object) -> None:
        raise error

    async def scene(stage: Stage) -> None:
        await stage.worker.flush(stage.consumer)
        assert stage.writer.offsets == [10]
        assert stage.count("onpace_store_errors_total", operation="dead_letter_topic") == 1

    staged(scene, dead_letters=away)


@pytest.mark.parametrize(
    ("checkpoint", "earliest", "resumes", "gap"), [(None, 0, 0, 0), (None, 7, 7, 0), (9, 7, 9, 0), (3, 7, 7, 4)]
)
def test_offsets_that_are_gone_are_counted(checkpoint: int | None, earliest: int, resumes: int, gap: int) -> None:
    """A checkpoint before the log's beginning is a loss; no checkpoint is none."""

    async def scene(stage: Stage) -> None:
        assert stage.worker.resume_offset(0, checkpoint, earliest) == resumes
        assert stage.count("onpace_offset_gap_events_total") == gap
        assert stage.processor.sought == ([] if checkpoint == resumes else [(0, resumes)])

    staged(scene)


class FakeFetching:
    """A consumer whose next fetch fails."""

    def __init__(self, error: Exception, positions: dict[int, int], earliest: dict[int, int]) -> None:
        self.transport = BatchTransport.__new__(BatchTransport)
        self.transport.worker = SimpleNamespace(topic=TOPIC, processor=SimpleNamespace(positions=positions))  # type: ignore[assignment]
        self.error, self.earliest = error, earliest
        self.sought: Mapping[int, int | None] = {}

    async def _wait_next_records(self, timeout: float) -> Any:
        raise self.error

    async def earliest_offsets(self, *tps: Any) -> dict[Any, int]:
        """Where the log begins."""
        return {tp: self.earliest[tp.partition] for tp in tps}

    async def go_on_at(self, resume: Mapping[int, int | None]) -> None:
        """Seek."""
        self.sought = resume


def next_records(consumer: FakeFetching) -> Any:
    """Of the consumer that the worker uses."""
    return asyncio.run(BatchConsumer._next_records(consumer))  # type: ignore[arg-type]


def test_a_fetch_before_the_first_seek_is_tried_again() -> None:
    """The client asks the group for an offset then, and there is none: two processors that join at once may do that."""
    consumer = FakeFetching(NoOffsetForPartitionError(TP(TOPIC, 0)), {0: 0}, {0: 0})
    assert (next_records(consumer), consumer.sought) == ({}, {})


def test_a_log_that_lost_its_beginning_is_read_from_what_is_left() -> None:
    """Where the position is gone; an offset out of range for another reason is an error."""
    consumer = FakeFetching(OffsetOutOfRangeError({}), {0: 5, 1: 5}, {0: 9, 1: 0})
    assert (next_records(consumer), consumer.sought) == ({}, {0: 5})
    with pytest.raises(OffsetOutOfRangeError):
        next_records(FakeFetching(OffsetOutOfRangeError({}), {0: 5}, {0: 0}))


def test_a_partition_is_read_until_when_the_broker_was_asked_not_until_it_answered() -> None:
    """An answer that was long on its way says nothing of what reached the log meanwhile."""

    async def scene(stage: Stage) -> None:
        stage.consumer.seconds_ago = 60
        await stage.take(10, 10)
        await stage.worker.flush(stage.consumer)
        assert abs(stage.processor.caught_up[0] - (NOW - timedelta(seconds=60))) < timedelta(seconds=1)

    staged(scene)


def test_an_answer_that_comes_while_the_lag_is_looked_at_does_not_date_the_one_before() -> None:
    """Another thread takes it in: what it told of the log's end may not have been seen."""

    async def scene(stage: Stage) -> None:
        await stage.take(10, 10)
        stage.consumer.seconds_ago, stage.consumer.answers_meanwhile = 60, True
        await stage.worker.flush(stage.consumer)
        assert abs(stage.processor.caught_up[0] - (NOW - timedelta(seconds=60))) < timedelta(seconds=1)

    staged(scene)


def test_a_processor_stopped_between_two_looks_at_the_time_says_too_little_rather_than_too_much(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Such as a paused one: its clocks go on together, but are read one after the other."""

    async def scene(stage: Stage) -> None:
        passed = 0.0

        def later() -> datetime:
            nonlocal passed
            passed += 4  # stopped just before it reads the wall clock
            return NOW + timedelta(seconds=passed)

        monkeypatch.setattr(worker_module, "seconds_passed", lambda: passed)
        monkeypatch.setattr(stage.consumer, "asked", lambda _: 0.0)
        stage.worker._clock, stage.worker._time = later, SteadyTime(NOW, 0.0)
        await stage.take(10, 10)
        await stage.worker.flush(stage.consumer)
        assert stage.processor.caught_up[0] <= NOW

    staged(scene)


def test_the_fetching_thread_notes_when_the_answered_request_was_sent() -> None:
    """For the partitions that the answer is about; one that was discarded changes nothing."""
    one, other = TP(TOPIC, 0), TP(TOPIC, 1)
    states = {one: SimpleNamespace(timestamp=None), other: SimpleNamespace(timestamp=None)}
    assignment = SimpleNamespace(tps=set(states), state_value=states.get)
    request = SimpleNamespace(topics=[(TOPIC, [(0, 5, 100), (1, 7, 100)])])
    thread = BatchThread.__new__(BatchThread)
    thread._asked = {}

    async def answers_late(*_: object) -> bool:
        await asyncio.sleep(0.2)
        states[one].timestamp = 1
        return True

    async def never_answers(*_: object) -> bool:
        return False

    sent = seconds_passed()
    assert asyncio.run(thread._fetch_noting_when(answers_late, assignment, 1, request))
    asked = thread.asked(one)
    assert asked is not None
    assert sent <= asked < sent + 0.1
    assert thread.asked(other) is None
    assert not asyncio.run(thread._fetch_noting_when(never_answers, assignment, 1, request))
    assert thread.asked(one) == asked
