"""A wall clock that jumps ahead does not hurry windows along."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from onpace.processors.steady import SteadyTime

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def at(seconds: float) -> datetime:
    """So long after the start."""
    return START + timedelta(seconds=seconds)


def ms(time: datetime) -> int:
    """As Kafka has it."""
    return int(time.timestamp() * 1000)


def test_a_steady_clock_is_believed() -> None:
    """Also one that gains a little all the time."""
    time = SteadyTime(START, 0)
    for second in range(1, 3600):
        assert time.now(at(second * 1.01), second) == at(second * 1.01)


def test_a_jump_ahead_is_not_believed() -> None:
    """Time goes on from before it, and the clock is believed again once it is right again."""
    time = SteadyTime(START, 100)
    assert time.now(at(10) + HOUR, 110) == at(10)
    assert time.now(at(20) + HOUR, 120) == at(20)
    assert time.now(at(30), 130) == at(30)


def test_a_jump_that_arrivals_confirm_is_believed() -> None:
    """The clock was set right, or the machine slept; older arrivals confirm nothing."""
    time = SteadyTime(START, 0)
    time.arrived(ms(at(-5)), 0)
    assert time.now(at(1) + HOUR, 1) == at(1)
    time.arrived(ms(at(1.5) + HOUR), 2)
    assert time.now(at(2) + HOUR, 2) == at(2) + HOUR


def test_going_back_is_believed() -> None:
    """And the way on again as soon as an event has arrived."""
    time = SteadyTime(START, 0)
    assert time.now(at(1) - HOUR, 1) == at(1) - HOUR
    assert time.now(at(2), 2) == at(2) - HOUR
    time.arrived(ms(at(2)), 3)
    assert time.now(at(3), 3) == at(3)


def test_an_arrival_that_cannot_be_is_no_harm() -> None:
    """Time is never after the wall clock."""
    time = SteadyTime(START, 0)
    time.arrived(2**62, 1)
    assert time.now(at(2), 2) == at(2)
    assert time.now(at(3) + HOUR, 3) == at(3)
