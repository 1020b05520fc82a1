"""A topic that grows: a key's earlier ids go where the key goes, and nothing is complete before they are there."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from processors_fakes import EVERYTHING, LIFE, NEXT_LIFE, START, Record, Sent, counted, order, settings
from processors_world import NOW, Crash, Worker, world, wrong_values
from structlog.testing import capture_logs

from onpace.processors.clickhouse import ClickHouse
from onpace.processors.growth import Growth, origins
from onpace.processors.reader import Reader

SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)
SETTLE = timedelta(minutes=10)
LATER = START + timedelta(days=1)


@given(st.integers(0, 10**9), st.integers(1, 6), st.lists(st.integers(2, 4), max_size=4))
def test_the_origins_of_a_partition_are_where_its_keys_were(key: int, first: int, factors: list[int]) -> None:
    """The latest first, each up to the time when the next count held everywhere."""
    counts = [first]
    for factor in factors:
        counts.append(counts[-1] * factor)
    times = [START + number * HOUR for number in range(len(counts))]
    growths = [
        Growth(before, after, at, at + SETTLE) for before, after, at in zip(counts, counts[1:], times, strict=False)
    ]
    wanted = []
    for growth in reversed(growths):
        if key % growth.before != key % growth.after:
            wanted.append((key % growth.before, growth.settled_at))
    assert [(origin.partition, origin.until) for origin in origins(key % counts[-1], growths)] == wanted


class Topic:
    """A topic whose records arrive one a second; an event's id, a number, is its key too."""

    def __init__(self, partitions: int, now: datetime = LATER) -> None:
        self.logs: dict[int, list[Record]] = {number: [] for number in range(partitions)}
        self.sent: list[Sent] = []
        self.now = now

    def send(self, ids: Sequence[int], *, stale: int | None = None) -> None:
        """Send these. `stale`: the number of partitions that the producer knows."""
        for id in ids:
            self.now += SECOND
            event = order(str(id), START + timedelta(minutes=id), amount=id, region="EU", score=id / 7)
            log = self.logs[id % (stale or len(self.logs))]
            log.append(Record(len(log), int(self.now.timestamp() * 1000), event.value))
            self.sent.append(event)

    def grow(self, worker: Worker, partitions: int, settle: timedelta = SETTLE) -> datetime:
        """As the command does; returns until when producers may be stale."""
        growth = Growth(len(self.logs), partitions, self.now, self.now + settle)
        worker.writer.record_growth(LIFE, growth)
        self.logs.update({number: [] for number in range(len(self.logs), partitions)})
        worker.writer.record_incarnation(LIFE, partitions, NOW)
        return growth.settled_at

    def read(self, worker: Worker) -> None:
        """Everything that may be read now."""
        while True:
            for number in worker.processor.positions:
                worker.take(number, 1000)
            worker.flush(caught_up=dict.fromkeys(self.logs, self.now))
            if not worker.processor.open_waiting({}, NOW):
                return

    def once(self) -> list[Sent]:
        """Each event once."""
        return list({event.id: event for event in self.sent}.values())


def process(store: ClickHouse, topic: Topic) -> Worker:
    """A fresh process that holds every partition."""
    worker = Worker(store, EVERYTHING, topic.logs, settings())
    worker.assign(set(topic.logs))
    return worker


def test_a_topic_that_grows_twice_counts_every_event_once(store: ClickHouse) -> None:
    """From 2 to 4 to 12, by producers that know the old, the present, or an even older number; with restarts."""
    topic = Topic(2)
    worker = world(store, EVERYTHING, topic.logs)
    topic.send(range(100))
    topic.read(worker)
    topic.grow(worker, 4)
    topic.send(range(50, 130), stale=2)
    topic.send(range(90, 160))
    topic.send(range(140, 200), stale=2)
    worker = process(store, topic)
    topic.read(worker)
    assert sorted(worker.processor.waiting) == [2, 3]
    topic.grow(worker, 12)
    topic.send(range(180, 230), stale=4)
    topic.send(range(150, 260))
    topic.send(range(240, 300), stale=4)
    topic.send(range(120, 140), stale=2)
    topic.now += SETTLE
    worker = process(store, topic)
    topic.send(range(300))
    topic.read(worker)
    assert not worker.processor.waiting
    for number in range(3):
        worker = process(store, topic)
        topic.send(range(number * 100, number * 100 + 130))
        topic.read(worker)
    assert not wrong_values(store, EVERYTHING, counted(topic.once()))
    assert store.query("SELECT count(), uniqExact(id) FROM events FINAL WHERE NOT duplicate") == [(330, 330)]


def test_a_new_partition_is_read_when_the_one_its_keys_come_from_was_read_up_to_the_growth(store: ClickHouse) -> None:
    """Or when that has nothing left to read then; it says once that it waits."""
    topic = Topic(2)
    worker = world(store, EVERYTHING, topic.logs)
    topic.send(range(10))
    topic.read(worker)
    settled = topic.grow(worker, 4)
    topic.send([2, 3, 14, 15])
    with capture_logs() as logs:
        assert worker.assign(set(topic.logs)) == {0: 5, 1: 5, 2: None, 3: None}
        worker.flush(caught_up={0: settled, 1: settled})
        assert worker.processor.open_waiting({}, NOW) == {}
        worker.flush(caught_up={1: settled + SECOND})
        assert worker.processor.open_waiting({}, NOW) == {3: None}
        assert worker.processor.open_waiting({}, NOW) == {}
        assert worker.processor.open_waiting({0: settled + SECOND}, NOW) == {2: None}
    waits = [line["partition"] for line in logs if line["event"].startswith("a new partition waits")]
    assert waits == [2, 3]
    topic.read(worker)
    assert store.query("SELECT id, duplicate FROM events FINAL WHERE partition > 1 ORDER BY toInt32(id)") == [
        ("2", 1),
        ("3", 1),
        ("14", 0),
        ("15", 0),
    ]


def test_nothing_becomes_complete_past_a_growth_before_the_new_partitions_are_read(store: ClickHouse) -> None:
    """Nor does what is complete become incomplete; partitions that were only announced count for nothing."""
    topic = Topic(2)
    worker = world(store, EVERYTHING, topic.logs)
    topic.send(range(10))
    topic.read(worker)
    before = topic.now

    def watermark() -> datetime | None:
        return Reader(store, EVERYTHING).sources()["order.placed"].watermark

    assert watermark() == before
    worker.writer.record_growth(LIFE, Growth(2, 4, before, before + SETTLE))
    worker.flush(caught_up=dict.fromkeys(range(2), before + HOUR))
    assert watermark() == before + HOUR
    topic.grow(worker, 4)
    assert watermark() == before
    worker.assign(set(topic.logs))
    topic.read(worker)
    assert watermark() == before
    topic.now += 2 * HOUR
    topic.read(worker)
    topic.read(worker)
    assert watermark() == before + 2 * HOUR


def test_a_topic_grown_without_the_command_is_read_at_once_with_a_warning(store: ClickHouse) -> None:
    """Which names the command; once for each new partition, and not again."""
    topic = Topic(2)
    worker = world(store, EVERYTHING, topic.logs)
    topic.send(range(10))
    topic.read(worker)
    topic.logs.update({2: [], 3: []})
    worker.writer.record_incarnation(LIFE, 4, NOW)
    topic.send(range(10, 20))
    for warned in ([2, 3], []):
        with capture_logs() as logs:
            worker = process(store, topic)
        topic.read(worker)
        warnings = [line for line in logs if line["log_level"] == "warning"]
        assert [line["partition"] for line in warnings] == warned
        assert all("onpace topics grow" in line["event"] for line in warnings)
    assert store.query("SELECT countIf(duplicate), count() FROM events FINAL") == [(0, 20)]


@pytest.mark.parametrize(("before", "after"), [(2, 4), (4, 2), (4, 6), (1, 3)])
def test_a_topic_made_again_with_another_number_of_partitions_knows_its_ids(
    store: ClickHouse, before: int, after: int
) -> None:
    """As the embedded broker does when ONPACE_KAFKA__PARTITIONS changes."""
    topic = Topic(before)
    worker = world(store, EVERYTHING, topic.logs)
    topic.send(range(60))
    topic.read(worker)
    again = Topic(after, topic.now)
    again.send(range(100))
    second = world(store, EVERYTHING, again.logs, life=NEXT_LIFE)
    again.read(second)
    assert not wrong_values(store, EVERYTHING, counted(again.once()))
    assert store.query("SELECT countIf(NOT duplicate), uniqExact(id) FROM events FINAL") == [(100, 100)]


def test_only_ids_within_the_horizon_of_the_growth_are_loaded(store: ClickHouse) -> None:
    """A new partition has nothing that arrived before it was there."""
    topic = Topic(1)
    worker = world(store, EVERYTHING, topic.logs)
    topic.send([1])
    topic.now += timedelta(days=8)
    topic.send([3])
    topic.read(worker)
    topic.grow(worker, 2)
    topic.now += 2 * SETTLE
    topic.read(worker)
    with capture_logs() as logs:
        process(store, topic)
    loaded = {line["partition"]: line["ids"] for line in logs if line["event"] == "partition taken over"}
    assert loaded == {0: 1, 1: 1}


def test_a_topic_made_again_with_fewer_partitions_loses_nothing_of_the_others(store: ClickHouse) -> None:
    """What they archived past their checkpoints is folded by whoever holds the first."""
    topic = Topic(4)
    worker = world(store, EVERYTHING, topic.logs)
    topic.send(range(20))
    topic.read(worker)
    topic.send(range(20, 40))
    for number in topic.logs:
        worker.take(number, 100)
    worker.crash_at = "events"
    with pytest.raises(Crash):
        worker.flush()
    world(store, EVERYTHING, Topic(2).logs, life=NEXT_LIFE)
    assert not wrong_values(store, EVERYTHING, counted(topic.sent))
