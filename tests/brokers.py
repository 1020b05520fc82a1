"""Which Kafka the tests run on: a given one, Docker's, Apache Kafka from Maven Central, or the embedded broker.

`ONPACE_TEST_KAFKA` is `host:port`, or one of `docker`, `apache`, `embedded` to ask for one and no other.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from choices import tell

from onpace.config.errors import OnPaceError
from onpace.deploy.local_kafka import LocalKafka
from onpace.ingest.embedded_broker import EmbeddedBroker


@dataclass(frozen=True)
class TestKafka:
    """A broker for tests. `server` is there when the tests may stop and start it; `durable` if it then remembers."""

    __test__ = False
    kind: str
    address: str
    durable: bool
    server: Any = None


@contextmanager
def some_kafka(folder: Path) -> Iterator[TestKafka]:
    """The first broker that can be had, with a line that says which and why not an earlier one."""
    wanted = os.environ.get("ONPACE_TEST_KAFKA", "")
    if ":" in wanted:
        yield _told(TestKafka("given", wanted, durable=True), [])
        return
    reasons: list[str] = []
    for kind, opened in (("docker", _docker), ("apache", _apache), ("embedded", _embedded)):
        if wanted not in ("", kind):
            continue
        try:
            context = opened(folder)
            kafka = context.__enter__()
        except Exception as exc:  # whatever it is, the next kind is tried and the reason printed
            reasons.append(f"{kind}: {str(exc).splitlines()[0][:120] if str(exc) else type(exc).__name__}")
            continue
        try:
            yield _told(kafka, reasons)
        finally:
            context.__exit__(None, None, None)
        return
    raise OnPaceError(f"no Kafka for the tests: {'; '.join(reasons)}")


def _told(kafka: TestKafka, reasons: list[str]) -> TestKafka:
    tell(f"tests ran on Kafka: {kafka.kind} at {kafka.address}" + "".join(f"\n  not {reason}" for reason in reasons))
    return kafka


@contextmanager
def _docker(_: Path) -> Iterator[TestKafka]:
    subprocess.run(["docker", "info"], check=True, capture_output=True, timeout=10)
    from testcontainers.kafka import KafkaContainer

    with KafkaContainer().with_kraft() as container:
        yield TestKafka("docker", container.get_bootstrap_server(), durable=True)


@contextmanager
def _apache(folder: Path) -> Iterator[TestKafka]:
    with LocalKafka(folder / "apache-kafka") as broker:
        yield TestKafka("apache", broker.address, durable=True, server=broker)


@contextmanager
def _embedded(folder: Path) -> Iterator[TestKafka]:
    with EmbeddedBroker(log=folder / "broker.log") as broker:
        yield TestKafka("embedded", broker.address, durable=False, server=broker)
