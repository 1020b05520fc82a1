"""Kafka is killed and comes back with its log, is slow, silent, or away at the start: no value changes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from brokers import TestKafka
from stacks import Running, free_port

from chaos.arena import Arena
from chaos.calm import PATIENCE_SECONDS, going_on, log_of, start_quietly, until_going_on, until_said
from chaos.faults import Proxy
from chaos.feed import Mix
from onpace.config.errors import OnPaceError
from onpace.deploy.local_kafka import LocalKafka

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

RATE = 200
WELL_FORMED = Mix(malformed=0)
"""While the application cannot be sure of a delivery: what it sends again is known by its id, if it has one."""


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKafka]:
    """A broker that may be killed, whose `forwarded` clients may be sent through a proxy."""
    made = LocalKafka(tmp_path_factory.mktemp("mortal-kafka"))
    with Proxy(made.forwarded) as proxy:
        made.advertised = proxy.address
        try:
            made.start(PATIENCE_SECONDS)
        except OnPaceError as exc:
            pytest.skip(f"NO KAFKA THAT MAY BE KILLED: {exc}")
        made.proxy = proxy  # type: ignore[attr-defined]
        yield made
        made.stop()


@pytest.fixture
def proxy(broker: LocalKafka) -> Proxy:
    """Between the processors and the broker; everybody else goes straight there."""
    between: Proxy = broker.proxy  # type: ignore[attr-defined]
    between.heal()
    return between


@pytest.fixture
def arena(tmp_path: Path, broker: LocalKafka, proxy: Proxy, seed: int) -> Iterator[Arena]:
    """A world on that broker."""
    kafka = TestKafka("apache", broker.address, durable=True, server=broker)
    with Arena(tmp_path, kafka, seed) as made:
        made.bootstrap = proxy.address
        yield made


def test_a_broker_may_be_killed_and_come_back(
    arena: Arena, broker: LocalKafka, times: Callable[[int, int], int]
) -> None:
    """With its log; the application sends again what was not acknowledged."""
    arena.feed.send(300)
    running = start_quietly(arena)
    with arena.feed.under_load(RATE, WELL_FORMED):
        for _ in range(times(5, 1)):
            until_going_on(arena)
            goes_on = going_on(arena)
            broker.kill()
            arena.faults["broker kill -9"] += 1
            time.sleep(arena.rng.random() * times(20, 3))  # how long it is away is the fault
            broker.start(PATIENCE_SECONDS)
            until_going_on(arena, goes_on)
    arena.drained()
    assert arena.stop("one") == 0, running.text[-3000:]
    log_of(running)
    arena.audit("5 broker killed")


def test_a_broker_may_be_slow_or_silent(arena: Arena, proxy: Proxy, times: Callable[[int, int], int]) -> None:
    """Slow answers, a thin line, resets, and silence past the session timeout: lag grows, nothing else."""
    faults: list[tuple[str, Callable[[], None], int]] = [
        ("broker answers late", lambda: proxy.delay(0.5), times(20, 3)),
        ("thin line to the broker", lambda: proxy.throttle(30_000), times(20, 3)),
        ("connections reset", proxy.reset, 0),
        ("broker silent", proxy.stall, times(15, 8)),
        ("broker unreachable", proxy.cut, times(30, 1)),
    ]
    with arena.feed.under_load(RATE):
        running = start_quietly(arena)
        for name, fault, seconds in faults:
            fault()
            arena.faults[name] += 1
            time.sleep(seconds)  # how long it lasts is the fault
            if fault == proxy.cut:
                until_said(running, "Kafka does not answer: waiting for it", 1)
            goes_on = going_on(arena)
            proxy.heal()
            until_going_on(arena, goes_on)
    arena.drained()
    assert arena.stop("one") == 0, running.text[-3000:]
    log_of(running)
    arena.audit("5 broker slow or silent")


def test_a_broker_may_be_away_at_the_start(arena: Arena, proxy: Proxy) -> None:
    """Waited for; one that never comes is one line and an exit code, for a supervisor to try again."""
    arena.feed.send(1000)
    never = Running(
        *("process", "--data", arena.folder / "never", "--kpis", arena.catalog, "--port", free_port()),
        ONPACE_KAFKA__BOOTSTRAP=f"127.0.0.1:{free_port()}",
        ONPACE_CLICKHOUSE__URL=arena.clickhouse,
    )
    proxy.cut()
    running = arena.start_processor("one", LOG="debug")
    running.until_printed("waiting")
    arena.faults["broker away at start"] += 1
    goes_on = going_on(arena)
    proxy.heal()
    until_going_on(arena, goes_on)
    arena.drained()
    try:
        assert never.process.wait(PATIENCE_SECONDS) == 1
        [line] = never.text.splitlines()
        assert line.startswith("error: Kafka at 127.0.0.1:"), line
    finally:
        never.end()
    arena.audit("5 broker away at start")
