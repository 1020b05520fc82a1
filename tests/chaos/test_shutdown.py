"""SIGTERM while events flow: what was taken is written and committed, and the group knows."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing

import pytest
from kafka import KafkaConsumer, TopicPartition

from chaos.arena import Arena
from chaos.recount import Lines, read_lines

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]

PROMISED_SECONDS = 10


def committed_lines(arena: Arena) -> Lines:
    """The records of the log before the committed offsets."""
    lines = []
    with closing(KafkaConsumer(bootstrap_servers=arena.kafka.address)) as consumer:
        for number, end in arena.committed().items():
            at = TopicPartition(arena.settings.topic, number)
            consumer.assign([at])
            consumer.seek(at, 0)
            while consumer.position(at) < end:
                batch = consumer.poll(timeout_ms=1000).get(at, [])
                lines += [record.value for record in batch if record.offset < end]
    return read_lines(lines)


def test_a_processor_that_is_told_to_stop_leaves_nothing_behind(arena: Arena, times: Callable[[int, int], int]) -> None:
    """Exit code 0 within ten seconds, nobody left in the group, and values that are those of the committed offsets."""
    slowest = 0.0
    with arena.feed.under_load(rate=80):
        for number in range(times(6, 2)):
            arena.start_processor("one", KAFKA__INSTANCE=None, PROCESSOR__FLUSH_EVENTS=1000)
            arena.until_working("one")
            before = arena.committed()
            arena.until(lambda before=before: arena.committed() != before, "something committed")
            time.sleep(arena.rng.random())  # the moment is what is random here
            told = time.monotonic()
            assert arena.stop("one") == 0, arena.running["one"].text[-3000:]
            slowest = max(slowest, time.monotonic() - told)
            arena.faults["SIGTERM"] += 1
            assert arena.members() == []
            arena.audit(f"13 SIGTERM under load, stop {number + 1}", lines=committed_lines(arena))
        arena.start_processor("one", KAFKA__INSTANCE=None)
    arena.drained()
    arena.audit(f"13 SIGTERM under load (the slowest took {slowest:.1f} s)")
    assert slowest <= PROMISED_SECONDS
