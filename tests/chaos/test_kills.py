"""Kill -9 at random moments, and between each two steps of a flush."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from chaos.arena import Arena

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]

STEPS = ["events", "dead_letters", "facts", "partials_distinct", "partials", "watermarks", "checkpoints"]


def test_a_processor_may_be_killed_at_any_moment(arena: Arena, times: Callable[[int, int], int]) -> None:
    """While it starts, reads, folds or writes, under load; the last one finishes the work of all."""
    kills = times(50, 6)
    with arena.feed.under_load(rate=100):
        for number in range(kills):
            arena.start_processor("one")
            if number % 3:
                arena.until_working("one")
            time.sleep(arena.rng.random() * 2)  # the moment is what is random here
            arena.kill("one")
        arena.start_processor("one")
        arena.until_working("one")
    arena.drained()
    arena.audit("1 kill -9 at random moments")


def test_a_processor_may_die_between_any_two_steps_of_a_flush(arena: Arena, times: Callable[[int, int], int]) -> None:
    """After the write of each table in turn; what was half written is written again by the next."""
    with arena.feed.under_load(rate=100):
        for _ in range(times(4, 1)):
            for step in STEPS:
                flush = arena.rng.randint(1, 4)
                arena.start_processor("one", CRASH_AT=f"{step}:{flush}")
                assert arena.until_ended("one") == 137, arena.running["one"].text[-3000:]
                arena.faults[f"end after {step}"] += 1
        arena.start_processor("one")
        arena.until_working("one")
    arena.drained()
    arena.audit("1 crash points inside a flush")
