"""ClickHouse goes away, falls silent, or answers nothing to an insert that it has made: no value changes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from chaos.arena import Arena
from chaos.calm import going_on, log_of, said, start_quietly, until_going_on, until_said
from chaos.faults import Proxy

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

TABLES = ["events", "dead_letters", "partials_distinct", "partials", "watermarks", "checkpoints"]
RATE = 200


@pytest.fixture
def proxy(arena: Arena) -> Iterator[Proxy]:
    """Between the processors and ClickHouse."""
    with Proxy(arena.server.address) as between:
        arena.clickhouse = f"http://{between.address}"
        yield between


def test_clickhouse_may_be_away_for_a_minute(arena: Arena, proxy: Proxy, times: Callable[[int, int], int]) -> None:
    """Unreachable, then dead: the processor waits, holds its partitions, and goes on."""
    with arena.feed.under_load(RATE):
        running = start_quietly(arena)
        for fault, cure in ((proxy.cut, proxy.heal), (arena.server.kill, arena.server.start)):
            fault()
            arena.faults["ClickHouse away"] += 1
            time.sleep(times(60, 5))  # how long it is away is the fault
            goes_on = going_on(arena)
            cure()
            until_going_on(arena, goes_on)
    arena.drained()
    reasons = said(running, "trying again")
    assert reasons
    assert all("does not answer" in reason for reason in reasons), reasons
    assert arena.stop("one") == 0, running.text[-3000:]
    arena.audit("4 ClickHouse away")


def test_an_insert_may_be_made_and_its_answer_lost(
    arena: Arena, proxy: Proxy, times: Callable[[int, int], int]
) -> None:
    """Into each table in turn: the insert is made again."""
    with arena.feed.under_load(RATE):
        running = start_quietly(arena, CLICKHOUSE__TIMEOUT="1s")
        for _ in range(times(5, 1)):
            for table in TABLES:
                proxy.swallow_answers(to=rb"INSERT.INTO.(`|%60)" + table.encode() + b"(`|%60)")
                until_said(running, "trying again", 1 + len(said(running, "trying again")))
                assert proxy.swallowed, "it was another insert"
                proxy.swallowed = 0
                goes_on = going_on(arena)
                proxy.heal()
                arena.faults[f"answer lost: {table}"] += 1
                until_going_on(arena, goes_on)
    arena.drained()
    assert arena.stop("one") == 0, running.text[-3000:]
    arena.audit("4 inserts that were made and not answered")


def test_a_silent_clickhouse_is_noticed_and_what_it_got_late_changes_nothing(
    arena: Arena, proxy: Proxy, times: Callable[[int, int], int]
) -> None:
    """Half-open connections: given up after `timeout`; the old insert may arrive after those that replaced it."""
    with arena.feed.under_load(RATE):
        running = start_quietly(arena, CLICKHOUSE__TIMEOUT="1s")
        for number in range(times(10, 1)):
            proxy.stall()
            until_said(running, "trying again", 2 * (number + 1))
            goes_on = going_on(arena)
            proxy.heal()
            arena.faults["half-open"] += 1
            until_going_on(arena, goes_on)
    arena.drained()
    proxy.stall()
    arena.feed.send(200)
    assert arena.stop("one") == 0, "a silent ClickHouse must not keep it from ending"
    proxy.heal()
    start_quietly(arena)
    arena.drained()
    log_of(running)
    arena.audit("4 half-open connections")
