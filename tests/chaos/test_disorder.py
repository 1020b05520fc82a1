"""Events in no order of time, partitions that fall silent or behind, and memory too small for any of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from chaos.arena import Arena
from chaos.feed import Mix

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]


def until_complete(arena: Arena) -> None:
    """Return once every window that ended before now is complete."""
    store, now = arena.store(), datetime.now(UTC)
    for kpi in arena.kpis:
        view = f"kpi_{kpi.name}_{kpi.grain}"
        arena.until(
            lambda view=view: (
                store.query(
                    f"SELECT count() FROM {view} WHERE NOT complete AND window_end <= {{now:DateTime64(6, 'UTC')}}",
                    {"now": now},
                )
                == [(0,)]
            ),
            f"{view} complete up to {now}",
        )


def test_events_shuffled_by_days_and_windows_that_left_memory(arena: Arena, times: Callable[[int, int], int]) -> None:
    """More windows than rows fit into memory, each of them revisited, also by the next processor."""
    mix = Mix(past=0.9, days=9, moments=times(2000, 150), duplicates=0.1)
    small = {"PROCESSOR__RESIDENT_ROWS": 1000}
    arena.start_processor("one", **small)
    for _ in range(2):
        arena.feed.send(times(15_000, 1500), mix)
        arena.drained(seconds=600)
        arena.kill("one")
        arena.feed.send(times(5000, 500), mix)
        arena.start_processor("one", **small)
    arena.drained(seconds=600)
    arena.audit("7 shuffled by days, windows that left memory")


def test_a_partition_falls_idle_and_one_is_a_day_behind(arena: Arena, times: Callable[[int, int], int]) -> None:
    """Windows become complete without the idle one; what comes a day late still counts."""
    count = times(6000, 600)
    arena.start_processor("one")
    arena.feed.send(count, Mix(past=0))
    arena.feed.send(count, Mix(past=0, weights=[1, 1, 0, 1]))
    arena.faults["partition idle"] += 1
    arena.drained()
    until_complete(arena)
    arena.feed.send(count, Mix(past=0.1, behind={1: timedelta(days=1)}, weights=[2, 1, 0, 2]))
    arena.faults["partition a day behind"] += 1
    arena.drained()
    arena.kill("one")
    arena.feed.send(count, Mix(past=0.1, behind={1: timedelta(days=1)}))
    arena.start_processor("one")
    arena.drained()
    until_complete(arena)
    arena.audit("7 a partition idle, one a day behind")
