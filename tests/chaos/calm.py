"""What is to be seen of a processor from outside while it meets a fault: that it goes on, and what it says."""

from __future__ import annotations

import json
from collections.abc import Callable

from kafka.errors import KafkaError
from stacks import Running, until

from chaos.arena import Arena

PATIENCE_SECONDS = 240
"""Machines that run this are busy."""


def start_quietly(arena: Arena, name: str = "one", **settings: object) -> Running:
    """Start a processor with the log that a user sees, and return once it has committed something more."""
    goes_on = going_on(arena)
    usual = {"LOG": "info", "PROCESSOR__FLUSH_EVENTS": 1000, "PROCESSOR__POLL_EVENTS": 500}
    running = arena.start_processor(name, **(usual | settings))
    until_going_on(arena, goes_on, name)
    return running


def going_on(arena: Arena) -> Callable[[], bool]:
    """A question: has anything been committed since?"""
    before = _committed(arena)
    return lambda: _committed(arena) > before


def _committed(arena: Arena) -> int:
    try:
        return sum(arena.committed().values())
    except (KeyError, KafkaError):  # the group is not there yet, or the broker is away
        return 0


def until_going_on(arena: Arena, goes_on: Callable[[], bool] | None = None, name: str = "one") -> None:
    """Return once a processor, under load, has committed something more."""
    process = arena.running[name].process
    goes_on = goes_on or going_on(arena)

    def done() -> bool:
        assert process.poll() is None, f"{name} ended:\n{arena.running[name].text[-3000:]}"
        return goes_on()

    try:
        until(done, "events are committed again", PATIENCE_SECONDS)
    except AssertionError:
        print(f"{name}:\n{arena.running[name].text[-3000:]}")  # noqa: T201
        raise


def until_said(running: Running, event: str, count: int, seconds: float = PATIENCE_SECONDS) -> None:
    """Return once a process has logged an event so often."""
    until(lambda: len(said(running, event)) >= count, f"{count} times {event!r}", seconds)


def said(running: Running, event: str) -> list[str]:
    """The reasons that a process has logged with an event."""
    return [str(entry.get("reason")) for entry in log_of(running) if entry.get("event") == event]


def log_of(running: Running) -> list[dict[str, object]]:
    """What a process has logged so far; fails at a line that is no log line, such as one of a traceback."""
    found = []
    for line in running.text.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            entry = None
        assert isinstance(entry, dict), f"not a log line: {line!r} in\n{running.text[-3000:]}"
        assert "exception" not in entry, f"a traceback: {entry['exception']}"
        found.append(entry)
    return found
