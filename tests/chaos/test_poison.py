"""A fifth of the stream is poison, and the dead-letter topic is away: the good events count, the bad ones are kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from kafka import KafkaAdminClient
from kafka.errors import KafkaError
from stacks import until

from chaos.arena import Arena
from chaos.calm import log_of, start_quietly, until_going_on, until_said
from chaos.feed import Mix
from chaos.recount import Lines, read_lines

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

RATE = 200
MOST_BYTES = 4096


def poison(number: int) -> list[bytes]:
    """One of each kind; each has a number, so that no two are the same."""
    event = {
        "specversion": "1.0",
        "id": f"poison-{number}",
        "source": "/shop",
        "type": "order.placed",
        "time": datetime.now(UTC).isoformat(),
    }

    def order(**data: object) -> bytes:
        return json.dumps(event | {"data": {"user_id": "u", "amount": 1, **data}}).encode()

    deep = json.dumps(event).encode()[:-1]
    return [
        f"\x00{number}".encode(),
        f"{number} \xff\xfe".encode("latin-1"),
        f"[{number}, null, true]".encode(),
        f'"{number}"'.encode(),
        order(amount=True),
        order(amount=None),
        order(amount=[1]),
        order(amount={"value": 1}),
        order(amount="1.00"),
        order(amount=float("nan")),
        order(amount=10**400),
        order(user_id=7),
        order(region={"EU": 1}),
        order(channel="x" * MOST_BYTES),
        json.dumps(event | {"data": "text"}).encode(),
        json.dumps(event | {"data": [number]}).encode(),
        json.dumps(event | {"id": number, "data": {"user_id": "u", "amount": 1}}).encode(),
        json.dumps(event | {"time": f"yesterday {number}", "data": {"user_id": "u", "amount": 1}}).encode(),
        json.dumps(event | {"time": "2026-01-01T00:00:00", "data": {"user_id": "u", "amount": 1}}).encode(),
        json.dumps(event | {"specversion": "0.3", "data": {"user_id": "u", "amount": 1}}).encode(),
        deep + b', "data": ' + b"[" * 1500 + b"]" * 1500 + b"}",
        deep + b', "data": {"user_id": "u", "amount": 1e999999}}',
        deep + b', "data": {"user_id": "u", "amount": 1}',
        order() + b" " + order(),
    ]


def lines_of(arena: Arena, bad: set[bytes]) -> Lines:
    """What was sent, with these lines known to be bad."""
    with arena.feed.file.open("rb") as file:
        raw = [line.rstrip(b"\n") for line in file]
    lines = read_lines(b"" if line in bad else line for line in raw)
    lines.malformed = [line for line in lines.malformed if line] + [line for line in raw if line in bad]
    return lines


def test_poison_becomes_dead_letters_and_nothing_else(arena: Arena, times: Callable[[int, int], int]) -> None:
    """Whatever it is: one letter each, with the bytes as they came."""
    bad: set[bytes] = set()
    with arena.feed.under_load(RATE, Mix(malformed=0.2)):
        running = start_quietly(arena, PROCESSOR__MAX_EVENT_BYTES=MOST_BYTES)
        for number in range(times(50, 8)):
            lines = poison(number)
            arena.rng.shuffle(lines)
            bad.update(lines)
            arena.feed.send_lines([(f"cart-{k}".encode(), line) for k, line in enumerate(lines)])
            arena.faults["poison events"] += len(lines)
        until_going_on(arena)
    arena.drained()
    assert arena.stop("one") == 0, running.text[-3000:]
    log_of(running)
    arena.watcher.stop()
    arena.audit("8 poison", lines=lines_of(arena, bad))


def test_a_dead_letter_topic_may_be_gone_or_refuse(arena: Arena) -> None:
    """Deleted, then there but for letters of one byte at most, then well again: the table has every letter."""
    name = arena.settings.dead_letter_topic
    with arena.feed.under_load(RATE, Mix(malformed=0.2)):
        running = start_quietly(arena)
        admin = arena.admin()
        try:
            admin.delete_topics([name])
            arena.faults["dead-letter topic deleted"] += 1
            until_said(running, "dead-letter topic not written: the table dead_letters has them all", 1)
            until_going_on(arena)
            until(lambda: created(admin, name), f"{name} made again")
            arena.faults["dead-letter topic refuses"] += 1
            until_going_on(arena)
        finally:
            admin.close()
    arena.drained()
    assert arena.stop("one") == 0, running.text[-3000:]
    log_of(running)
    arena.audit("8 dead-letter topic gone")


def created(admin: KafkaAdminClient, name: str) -> bool:
    """Whether the topic could be made, one that takes nothing."""
    spec = {"num_partitions": 1, "replication_factor": 1, "configs": {"max.message.bytes": "1"}}
    try:
        admin.create_topics({name: spec})
    except KafkaError:
        return False
    return True
