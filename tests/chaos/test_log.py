"""The log itself changes: it grows, has gaps, loses its beginning, and is read from the start again."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from aiokafka import AIOKafkaProducer
from kafka import KafkaConsumer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.structs import OffsetAndMetadata
from stacks import onpace, output, until

from chaos.arena import Arena
from chaos.feed import Feed, Mix
from chaos.recount import Lines, read_file
from onpace.ingest.bulk import BulkProducer

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]


def settings(arena: Arena) -> dict[str, str]:
    """What a command needs to find the arena's servers."""
    return {
        "ONPACE_KAFKA__BOOTSTRAP": arena.bootstrap,
        "ONPACE_KAFKA__TOPIC": arena.settings.topic,
        "ONPACE_CLICKHOUSE__URL": arena.clickhouse,
    }


def log_of(arena: Arena) -> dict[tuple[int, int], bytes]:
    """(partition, offset) -> value of all that is in the log and committed."""
    consumer = KafkaConsumer(
        bootstrap_servers=arena.kafka.address, isolation_level="read_committed", enable_auto_commit=False
    )
    try:
        tps = [TopicPartition(arena.settings.topic, number) for number in range(arena.settings.partitions)]
        consumer.assign(tps)
        consumer.seek_to_beginning(*tps)
        ends, found = consumer.end_offsets(tps), {}
        while any(consumer.position(tp) < end for tp, end in ends.items()):
            for tp, records in consumer.poll(1000).items():
                found.update({(tp.partition, record.offset): record.value for record in records})
        return found
    finally:
        consumer.close()


def ends_of(arena: Arena) -> dict[int, int]:
    """Partition -> offset after the last in the log, markers of transactions included."""
    consumer = KafkaConsumer(bootstrap_servers=arena.kafka.address)
    try:
        tps = [TopicPartition(arena.settings.topic, number) for number in range(arena.settings.partitions)]
        return {tp.partition: offset for tp, offset in consumer.end_offsets(tps).items()}
    finally:
        consumer.close()


def what_remains(arena: Arena, values: Sequence[bytes]) -> Lines:
    """Of the lines sent, those whose bytes are among these."""
    lines, kept = read_file(arena.feed.file), set(map(_identity, values))
    lines.events = [event for event in lines.events if (event.source, event.id) in kept]
    lines.malformed = [line for line in lines.malformed if line in values]
    lines.duplicates = len(values) - len(lines.events) - len(lines.malformed)
    return lines


def _identity(value: bytes) -> tuple[str, str]:
    try:
        event = json.loads(value)
        return event["source"], event["id"]
    except (ValueError, KeyError, TypeError):
        return "", ""


def metric(arena: Arena, name: str, number: str) -> float:
    """A counter of a running processor."""
    found = re.search(r'"url": "(http[^"]+)"', arena.running[name].text)
    assert found is not None, arena.running[name].text
    text = httpx.get(f"{found[1]}/metrics", timeout=30).text
    values = re.findall(rf"^{number}(?:{{.*}})? (\S+)$", text, re.MULTILINE)
    return sum(map(float, values))


def test_duplicates_stay_duplicates_when_the_topic_grows(arena: Arena) -> None:
    """From 4 to 8 partitions under load: sent before and after, by producers that know and some that do not yet."""
    grown = arena.settings.model_copy(update={"partitions": 8})
    arena.feed = Feed(
        arena.settings,
        arena.feed.file,
        f"{arena.seed}/feed",
        lambda: BulkProducer(arena.settings, timeout=10, metadata_age=timedelta(seconds=1)).connect(),
    )
    stale = Feed(
        arena.settings,
        arena.folder / "stale.jsonl",
        f"{arena.seed}/stale",
        lambda: BulkProducer(arena.settings, timeout=10, metadata_age=timedelta(hours=1)).connect(),
    )
    before, meanwhile, fresh_first = (arena.feed.some_lines(count, Mix(malformed=0)) for count in (300, 150, 150))
    arena.start_processor("one")
    arena.start_processor("two")
    arena.feed.send_lines(before)
    stale.send_lines(before[:10])
    with arena.feed.under_load(rate=200):
        arena.until_working("one")
        arena.until_working("two")
        answer = onpace("topics", "grow", 6, cwd=arena.folder, **settings(arena))
        assert (answer.returncode, "choose 8" in answer.stderr) == (1, True)
        assert "has 8 partitions now" in output(
            "topics", "grow", 8, "--settle", "30s", cwd=arena.folder, **settings(arena)
        )
        settled = time.monotonic() + 30
        arena.faults["growth"] += 1
        arena.settings = grown
        stale.send_lines(meanwhile)
        until(lambda: {4, 5, 6, 7} <= arena.feed.offsets.keys(), "the feed notices", 30)
        arena.feed.send_lines([*meanwhile, *fresh_first, *before[:150]])
        stale.send_lines(fresh_first)
        assert time.monotonic() < settled - 2, "the machine is too slow for this settling time"
        arena.kill("one")  # the next one asks for metadata and finds the new partitions
        arena.start_processor("one")

        def all_read() -> bool:
            text = arena.running["one"].text + arena.running["two"].text
            return all(
                re.search(rf'^(?=.*"partition taken over")(?=.*"partition": {number}\b)', text, re.MULTILINE)
                for number in range(8)
            )

        until(all_read, "all eight are read", 75)
        assert "a new partition waits" in arena.running["one"].text + arena.running["two"].text
        arena.kill("two")
        arena.start_processor("two")
        arena.feed.send_lines([*before, *meanwhile, *fresh_first])
    for partition, offset in stale.offsets.items():
        arena.feed.offsets[partition] = max(offset, arena.feed.offsets.get(partition, 0))
    stale.close()
    arena.drained()
    assert "without `onpace topics grow`" not in arena.running["one"].text + arena.running["two"].text
    arena.audit("12 growth from 4 to 8 partitions")


def test_an_aborted_transaction_never_happened(arena: Arena) -> None:
    """Its events count nowhere; the offsets that it and the markers take up are passed over, not fetched again."""
    arena.start_processor("one")
    arena.until_working("one")
    for number in range(6):
        asyncio.run(_transaction(arena, arena.feed.some_lines(40), commit=False))
        arena.faults["aborted transaction"] += 1
        kept = arena.feed.some_lines(40)
        asyncio.run(_transaction(arena, kept, commit=True))
        _written_down(arena, kept)
        arena.feed.send(100)
        if number == 3:
            arena.kill("one")
            arena.start_processor("one")
    asyncio.run(_transaction(arena, arena.feed.some_lines(40), commit=False))
    _read_to_the_end(arena)
    assert "fetching again" not in arena.running["one"].text
    arena.audit("12 aborted transactions", gaps=True)


def _written_down(arena: Arena, lines: Collection[tuple[bytes, bytes]]) -> None:
    """As the feed does with lines that it sends itself."""
    with arena.feed.file.open("ab") as file:
        file.writelines(value + b"\n" for _, value in lines)
    arena.feed.lines += len(lines)
    arena.feed.acknowledged.append((arena.feed.lines, datetime.now(UTC)))


async def _transaction(arena: Arena, lines: Collection[tuple[bytes, bytes]], *, commit: bool) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=arena.kafka.address, transactional_id=arena.settings.topic)
    await producer.start()
    try:
        await producer.begin_transaction()
        for key, value in lines:
            await producer.send(arena.settings.topic, value, key)
        await producer.flush()
        await (producer.commit_transaction() if commit else producer.abort_transaction())
    finally:
        await producer.stop()


def test_compaction_leaves_gaps_that_are_passed_over(arena: Arena) -> None:
    """Records that are gone before they are read count nowhere; those that are left count once each."""
    arena.start_processor("one", KAFKA__INSTANCE=None)
    arena.until_working("one")
    arena.feed.send(200)
    arena.drained()
    arena.stop("one")
    before = log_of(arena)
    _configure(arena, {"cleanup.policy": "compact", "segment.ms": "100", "min.cleanable.dirty.ratio": "0.001"})
    for _ in range(10):
        arena.feed.send(100)
        time.sleep(0.2)  # segments have to grow old: the first record after that begins another
    until(lambda: len(log_of(arena)) < len(before) + 800, "compacted", 120)
    _configure(arena, {"cleanup.policy": "delete", "retention.ms": "-1"})
    until(lambda: log_of(arena).keys() == log_of(arena).keys(), "no longer compacted")
    left = before | log_of(arena)
    arena.faults["compacted record"] += len(before) + 1000 - len(left)
    arena.start_processor("one", KAFKA__INSTANCE=None)
    _read_to_the_end(arena)
    assert "fetching again" not in arena.running["one"].text
    arena.watcher.stop()
    arena.audit("12 compacted gaps", lines=what_remains(arena, list(left.values())), gaps=True)


def _configure(arena: Arena, settings: dict[str, str]) -> None:
    admin = arena.admin()
    try:
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, arena.settings.topic, settings)])
    finally:
        admin.close()


def _read_to_the_end(arena: Arena) -> None:
    """Return once Kafka has the very end of the log committed, whatever stands there."""
    ends = ends_of(arena)
    until(lambda: all(arena.committed().get(number, 0) >= end for number, end in ends.items()), f"read to {ends}", 120)


def test_what_retention_took_before_it_was_read_is_a_loud_and_counted_gap(arena: Arena) -> None:
    """Whether the processor was stopped then, or only held up; everything else counts."""
    arena.start_processor("one")
    arena.until_working("one")
    arena.feed.send(500)
    arena.drained()
    arena.stop("one")
    checkpoints = arena.committed()
    arena.feed.send(600)
    log = log_of(arena)
    cut = {number: offset + 60 for number, offset in checkpoints.items()}
    _delete_before(arena, cut)
    arena.start_processor("one")
    arena.drained()
    gap = metric(arena, "one", "onpace_offset_gap_events_total")
    assert gap == 60 * len(checkpoints)
    assert "offsets are gone" in arena.running["one"].text
    arena.pause("one")
    arena.feed.send(8000)  # more than it has fetched already
    log |= log_of(arena)
    later = {number: end - 20 for number, end in ends_of(arena).items()}
    _delete_before(arena, later)
    arena.resume("one")
    arena.drained()
    rows = arena.store().query(
        "SELECT partition, offset FROM events FINAL UNION ALL SELECT partition, offset FROM dead_letters FINAL"
    )
    stored = {(int(partition), int(offset)) for partition, offset in rows}
    lost = log.keys() - stored
    assert len(lost) > gap
    assert metric(arena, "one", "onpace_offset_gap_events_total") == len(lost)
    assert all(offset < later[number] for number, offset in lost)
    arena.watcher.stop()
    lines = what_remains(arena, [value for place, value in log.items() if place in stored])
    arena.audit("12 retention passed the checkpoint", lines=lines, gaps=True)


def _delete_before(arena: Arena, offsets: Mapping[int, int]) -> None:
    admin = arena.admin()
    try:
        admin.delete_records({TopicPartition(arena.settings.topic, n): at for n, at in offsets.items()})
    finally:
        admin.close()
    arena.faults["partition cut off"] += len(offsets)


def test_offsets_that_are_reset_or_deleted_change_nothing(arena: Arena) -> None:
    """The checkpoint in ClickHouse is where a processor goes on, whatever Kafka has committed.

    Without static membership, so that a stopped processor leaves the group at once: Kafka resets empty groups only.
    """
    arena.start_processor("one", KAFKA__INSTANCE=None)
    arena.until_working("one")
    arena.feed.send(400)
    arena.drained()
    arena.stop("one")
    admin, group = arena.admin(), arena.settings.group
    try:
        tps = [TopicPartition(arena.settings.topic, number) for number in range(arena.settings.partitions)]
        admin.alter_group_offsets(group, {tp: OffsetAndMetadata(0, "", -1) for tp in tps})
        arena.faults["reset to earliest"] += 1
        assert set(arena.committed().values()) == {0}
        arena.start_processor("one", KAFKA__INSTANCE=None)
        arena.until_working("one")
        arena.feed.send(400)
        arena.drained()
        arena.stop("one")
        admin.delete_groups([group])
        arena.faults["group deleted"] += 1
        assert arena.committed() == {}
    finally:
        admin.close()
    arena.start_processor("one", KAFKA__INSTANCE=None)
    arena.feed.send(400)
    arena.drained()
    duplicates = read_file(arena.feed.file).duplicates
    [(archived,)] = arena.store().query("SELECT countIf(duplicate) FROM events FINAL")
    assert archived == duplicates
    arena.audit("12 offsets reset to earliest, group deleted")
