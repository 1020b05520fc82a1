"""Fixtures of the fault suite: a durable Kafka, an arena per test, and the seed."""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from brokers import TestKafka, some_kafka

from chaos.arena import Arena

for noisy in ("clickhouse_connect", "aiokafka"):  # what matters in them is raised
    logging.getLogger(noisy).setLevel(logging.CRITICAL)


@pytest.fixture(scope="session")
def seed() -> int:
    """`ONPACE_CHAOS_SEED`, or any; printed, so that a run can be repeated."""
    chosen = int(os.environ.get("ONPACE_CHAOS_SEED") or random.SystemRandom().randrange(10**6))
    print(f"\nchaos seed: repeat this run with ONPACE_CHAOS_SEED={chosen}", flush=True)  # noqa: T201
    return chosen


@pytest.fixture(scope="session")
def times() -> Callable[[int, int], int]:
    """How often: (in full, in the short form that `ONPACE_CHAOS=short` asks for)."""
    short = os.environ.get("ONPACE_CHAOS") == "short"
    return lambda full, few: few if short else full


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestKafka]:
    """A Kafka that remembers, shared by all scenarios that do not end it."""
    with some_kafka(tmp_path_factory.mktemp("kafka")) as found:
        if not found.durable:
            pytest.skip(f"NO DURABLE KAFKA (only {found.kind}): install Java 17 and Maven, or Docker")
        yield found


@pytest.fixture
def arena(tmp_path: Path, kafka: TestKafka, seed: int) -> Iterator[Arena]:
    """A world of its own for one scenario."""
    with Arena(tmp_path, kafka, seed) as made:
        yield made
