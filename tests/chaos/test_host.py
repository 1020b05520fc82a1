"""The host runs out of disk or memory, or sets its clock: no value changes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from brokers import TestKafka
from stacks import until

from chaos.arena import Arena
from chaos.calm import going_on, log_of, said, start_quietly, until_going_on, until_said
from chaos.host import Clock, SmallDisk, memory_limit, small_disk

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

RATE = 200


@pytest.fixture
def server_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A small disk for the ClickHouse server's data."""
    with small_disk(tmp_path / "server", 128) as disk:
        yield disk


def test_clickhouse_may_run_out_of_disk(
    tmp_path: Path, kafka: TestKafka, seed: int, server_disk: SmallDisk, times: Callable[[int, int], int]
) -> None:
    """The processor waits until there is room again."""
    with Arena(tmp_path, kafka, seed) as arena:
        with arena.feed.under_load(RATE):
            running = start_quietly(arena)
            for _ in range(times(5, 1)):
                before = len(said(running, "trying again"))
                server_disk.fill()
                arena.faults["disk full"] += 1
                until_said(running, "trying again", before + 1)
                goes_on = going_on(arena)
                server_disk.free()
                until_going_on(arena, goes_on)
        arena.drained()
        assert arena.stop("one") == 0, running.text[-3000:]
        arena.audit("10 ClickHouse's disk full")


@pytest.fixture
def data_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A small disk for the data folder of processor `one`."""
    with small_disk(tmp_path / "one", 128) as disk:
        yield disk


def test_a_data_folder_may_run_out_of_disk_or_be_read_only(arena: Arena, data_disk: SmallDisk) -> None:
    """Of a processor with the engine inside: it waits, or says in one line why it cannot start."""
    arena.server.kill()
    arena.feed.send(1000)
    data_disk.read_only()
    refused = arena.start_processor("one", LOG="info", CLICKHOUSE__URL=None)
    assert arena.until_ended("one") == 1, refused.text
    [line] = refused.text.splitlines()
    assert line.startswith("error: "), line
    assert "Read-only file system" in line, line
    data_disk.writable()
    arena.faults["read-only data folder"] += 1
    with arena.feed.under_load(RATE):
        running = start_quietly(arena, CLICKHOUSE__URL=None)
        data_disk.fill()
        arena.faults["disk full"] += 1
        until_said(running, "trying again", 1)
        goes_on = going_on(arena)
        data_disk.free()
        until_going_on(arena, goes_on)
    arena.drained()
    assert arena.stop("one") == 0, running.text[-3000:]
    log_of(running)
    serve(arena, arena.folder / "one")
    arena.audit("10 data folder full or read-only")


def serve(arena: Arena, data: Path) -> None:
    """Let the arena's server, which has ended, serve this folder, and the watcher look at it."""
    shutil.rmtree(arena.folder / "server", ignore_errors=True)
    (arena.folder / "server").symlink_to(data)
    arena.server.start()
    until(lambda: arena.watcher.polls, "a look at it")


def test_the_kernel_may_kill_it_for_want_of_memory(arena: Arena, times: Callable[[int, int], int]) -> None:
    """In a control group with too small a limit, while it folds a burst; the next one goes on."""
    for _ in range(times(5, 1)):
        running = start_quietly_after(arena)
        with memory_limit(2) as group:
            (group / "cgroup.procs").write_text(str(running.process.pid))
            arena.feed.send(2000)
            assert arena.until_ended("one") == -9, running.text[-3000:]
        arena.faults["out of memory"] += 1
        log_of(running)
    start_quietly_after(arena)
    arena.drained()
    arena.audit("10 killed for want of memory")


def start_quietly_after(arena: Arena) -> object:
    """Start a processor with something to do."""
    arena.feed.send(500)
    return start_quietly(arena)


def writes_ahead(arena: Arena, seconds: int) -> bool:
    """Whether the processor's last flush of some partition was so far ahead of this process's clock."""
    rows = arena.store().query(
        "SELECT argMax(written_at, offset) FROM checkpoints WHERE topic = {topic:String} GROUP BY partition",
        {"topic": arena.settings.topic},
    )
    due = datetime.now(UTC) + timedelta(seconds=seconds)
    return any(abs(at - due) < timedelta(minutes=10) for (at,) in rows)


def test_the_clock_may_be_set_an_hour_on_or_back(
    arena: Arena, monkeypatch: pytest.MonkeyPatch, times: Callable[[int, int], int]
) -> None:
    """Of the processor's host, in both directions and back again, under load."""
    clock = Clock(arena.folder)
    seen = [sys.executable, "-c", "import time; print(time.time())"]
    clock.set(3600)
    shown = subprocess.run(seen, env=os.environ | clock.environment, capture_output=True, text=True, check=True)
    assert float(shown.stdout) > datetime.now(UTC).timestamp() + 3000, "the clock cannot be set"
    clock.set(0)
    with arena.feed.under_load(RATE):
        with monkeypatch.context() as patched:
            for name, value in clock.environment.items():
                patched.setenv(name, value)
            running = start_quietly(arena)
        for _ in range(times(5, 1)):
            for seconds in (-3600, 0, 3600, 0):
                clock.set(seconds)
                arena.faults["clock set"] += 1
                until(lambda seconds=seconds: writes_ahead(arena, seconds), f"written {seconds} s ahead", 240)
    arena.drained()
    assert arena.stop("one") == 0, running.text[-3000:]
    log_of(running)
    arena.audit("10 clock set an hour on and back")
