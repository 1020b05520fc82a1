"""Copies: by producers that retry, and by applications that send again, hours later."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from brokers import TestKafka
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from stacks import until

from chaos.arena import Arena
from chaos.feed import Mix
from onpace.config.settings import KafkaSettings

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]

COPIES = 10


class PlainProducer:
    """kafka-python's own producer, without idempotence: a retry writes its batch again."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self.at: datetime | None = None
        """What its records are dated with; the clock's time by default."""
        self.offsets: dict[int, int] = {}
        self._topic = kafka.topic
        self._pending: list[Any] = []
        self._producer = KafkaProducer(
            bootstrap_servers=kafka.bootstrap,
            enable_idempotence=False,
            acks="all",
            retries=100,
            request_timeout_ms=1000,
            delivery_timeout_ms=60_000,
            linger_ms=20,
        )

    def send_raw(self, value: bytes, key: bytes) -> object:
        """Queue one record."""
        dated = int(self.at.timestamp() * 1000) if self.at else None
        self._pending.append(self._producer.send(self._topic, value, key=key, timestamp_ms=dated))
        return self._pending[-1]

    def flush(self, timeout: float | None = None) -> None:
        """Wait for every acknowledgement."""
        self._producer.flush(timeout)
        for future in self._pending:
            metadata = future.get(60)
            self.offsets[metadata.partition] = max(metadata.offset + 1, self.offsets.get(metadata.partition, 0))
        self._pending.clear()

    def close(self) -> None:
        """Disconnect."""
        self._producer.close()


@pytest.fixture
def producers() -> list[PlainProducer]:
    """The producers that a feed has made."""
    return []


@pytest.fixture
def dated(tmp_path: Path, kafka: TestKafka, seed: int, producers: list[PlainProducer]) -> Iterator[Arena]:
    """An arena whose producer dates the records: what OnPace takes for arrival time is hours apart."""

    def connect(settings: KafkaSettings) -> PlainProducer:
        producers.append(PlainProducer(settings))
        return producers[-1]

    config = {"message.timestamp.type": "CreateTime"}
    with Arena(tmp_path, kafka, seed, connect=connect, topic_config=config) as made:
        yield made


def end_offsets(arena: Arena) -> dict[int, int]:
    """Partition -> how many records its log holds."""
    partitions = [TopicPartition(arena.settings.topic, number) for number in range(arena.settings.partitions)]
    with closing(KafkaConsumer(bootstrap_servers=arena.kafka.address)) as consumer:
        return {tp.partition: offset for tp, offset in consumer.end_offsets(partitions).items()}


def test_copies_hours_apart_count_once(
    dated: Arena, producers: list[PlainProducer], times: Callable[[int, int], int]
) -> None:
    """Up to ten copies of an event, an hour between each two, while the processor is killed, stopped and started."""
    begin = datetime.now(UTC) - timedelta(hours=COPIES + 2)
    first = dated.feed.some_lines(times(4000, 600), Mix(duplicates=0))
    dated.feed.send(1)  # connects
    dated.start_processor("one")
    for copy in range(COPIES):
        producers[-1].at = begin + timedelta(hours=copy)
        again = [line for number, line in enumerate(first) if number % COPIES >= copy]
        dated.rng.shuffle(again)
        dated.feed.send_lines(again)
        dated.feed.send(times(500, 100))
        dated.faults["hour passed"] += 1
        if copy % 3 == 1:
            dated.drained()
            dated.kill("one")
            dated.start_processor("one")
        elif copy % 3 == 2:
            dated.until_working("one")
            assert dated.stop("one") == 0, dated.running["one"].text[-3000:]
            dated.faults["SIGTERM"] += 1
            dated.start_processor("one")
    dated.until_working("one")
    dated.drained()
    figures = dated.audit("6 copies hours apart")
    rows = dated.store().query("SELECT sum(duplicate) FROM events FINAL")
    assert rows == [(sum(end_offsets(dated).values()) - figures.events - figures.malformed,)]
    [(hours,)] = dated.store().query("SELECT dateDiff('hour', min(arrival), max(arrival)) FROM events WHERE duplicate")
    assert hours >= COPIES - 2


def test_what_producers_repeat_counts_once(
    tmp_path: Path, kafka: TestKafka, seed: int, times: Callable[[int, int], int]
) -> None:
    """The broker stands still until the producer sends its batches once more; then it takes both."""
    pid = getattr(kafka.server, "pid", None)
    if pid is None:
        pytest.skip(f"NO KAFKA THAT MAY BE STOPPED (only {kafka.kind})")
    with Arena(tmp_path, kafka, seed, connect=PlainProducer) as arena:
        arena.feed.mix = Mix(malformed=0)  # what is no event has no identity: each copy of it is a dead letter
        arena.start_processor("one")
        with arena.feed.under_load(rate=200):
            arena.until_working("one")
            for _ in range(times(8, 2)):
                time.sleep(1 + arena.rng.random())  # the moment is what is random here
                os.kill(pid, signal.SIGSTOP)
                time.sleep(3)  # longer than the producer waits for an answer, shorter than a session
                os.kill(pid, signal.SIGCONT)
                arena.faults["broker stood still"] += 1
            arena.kill("one")
            arena.start_processor("one")
        records = sum(end_offsets(arena).values())
        arena.until_working("one")
        arena.drained()
        until(lambda: sum(arena.committed().values()) >= records, "copies read as well", 60)
        arena.faults["records repeated by the producer"] = records - arena.feed.lines
        arena.audit("6 producer retries")
        assert records > arena.feed.lines, "the producer has repeated nothing"
