"""Partitions that move between processors, and processors that do not know that theirs have moved."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from chaos.arena import TAKEN_OVER, Arena

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]


def test_partitions_move_under_load(arena: Arena, times: Callable[[int, int], int]) -> None:
    """Of two processors one is killed or told to stop, and a third joins, over and over."""
    alive = ["first", "second"]
    with arena.feed.under_load(rate=150):
        for name in alive:
            arena.start_processor(name, KAFKA__INSTANCE=None)
            arena.until_working(name)
        for number in range(times(20, 3)):
            leaver, joiner = alive.pop(arena.rng.randrange(2)), f"joiner-{number}"
            if arena.rng.random() < 0.6:
                arena.kill(leaver)
            else:
                assert arena.stop(leaver) == 0, arena.running[leaver].text[-3000:]
                arena.faults["SIGTERM"] += 1
            arena.start_processor(joiner, KAFKA__INSTANCE=None)
            arena.until_working(joiner)
            alive.append(joiner)
            arena.faults["rebalance"] += 1
    arena.drained()
    arena.faults["partitions taken over"] = sum(run.text.count(TAKEN_OVER) for run in arena.running.values())
    arena.audit("2 rebalances under load")


@pytest.mark.parametrize("instance", ["fixed", "any"])
def test_a_zombie_writes_late(arena: Arena, times: Callable[[int, int], int], instance: str) -> None:
    """Paused past its session with much in memory, while another goes on from the checkpoint; then it wakes up."""
    zombie, other = "first", "second"
    lazy = {"PROCESSOR__FLUSH_INTERVAL": "4s", "PROCESSOR__FLUSH_EVENTS": 100_000}
    members = {} if instance == "fixed" else {"KAFKA__INSTANCE": None}
    with arena.feed.under_load(rate=150):
        arena.start_processor(zombie, **lazy, **members)
        arena.until_working(zombie, 4)
        arena.store().command("SYSTEM STOP MERGES events")  # so that what is written twice can be counted
        for _ in range(times(5, 1)):
            time.sleep(3 + arena.rng.random() * 3)  # the moment is what is random here
            arena.pause(zombie)
            arena.start_processor(other, **lazy, **members)
            arena.until_working(other, 4)
            before = arena.committed()
            arena.until(lambda before=before: all(arena.committed()[p] > at for p, at in before.items()), "others on")
            arena.resume(zombie)
            known = arena.running[zombie].text.count(TAKEN_OVER)
            arena.until(lambda known=known: arena.running[zombie].text.count(TAKEN_OVER) > known, "it is back")
            assert arena.stop(other) == 0
    arena.drained()
    arena.faults["rows written twice"] = written_twice(arena)
    arena.audit(f"3 zombie writes late ({instance} member)")
    assert arena.faults["rows written twice"], "the zombie has written nothing late"


def written_twice(arena: Arena) -> int:
    """Archive rows that are there more than once."""
    ((count,),) = arena.store().query("SELECT count() - uniqExact(partition, offset) FROM events")
    return int(count)
