"""Topics and client options: the seam to Kafka's admin API."""

# The published stubs of kafka-python are those of version 2:
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportCallIssue=false

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from kafka import KafkaAdminClient
from kafka.errors import IncompatibleBrokerVersion, KafkaError, TopicAlreadyExistsError, UnknownTopicOrPartitionError

from onpace.config.errors import BrokerUnavailable, OnPaceError
from onpace.config.settings import KafkaSettings

__all__ = [
    "MAX_MESSAGE_BYTES",
    "NO_TOPIC_ID",
    "ensure_topics",
    "grow_topic",
    "kafka_options",
    "partition_count",
    "reason_of",
    "topic_id",
    "wait_for_broker",
]

NO_TOPIC_ID = UUID(int=0)
"""What a broker without topic ids answers."""

MAX_MESSAGE_BYTES = 2 * 1024 * 1024
"""Room for the largest event with its key and headers; Kafka's own default is just short of 1 MiB with them."""

TOPIC_CONFIG = {"message.timestamp.type": "LogAppendTime", "max.message.bytes": str(MAX_MESSAGE_BYTES)}
"""Kafka's own timestamp is arrival time; event time there makes retention delete late events unseen."""

ANSWER_MS = 10_000


def kafka_options(settings: KafkaSettings) -> dict[str, Any]:
    """Keyword arguments that every kafka-python client takes: address and security."""
    options: dict[str, Any] = {
        "bootstrap_servers": _address(settings).split(","),
        "security_protocol": settings.security_protocol,
    }
    if settings.sasl_mechanism:
        options["sasl_mechanism"] = settings.sasl_mechanism
    if settings.username:
        options["sasl_plain_username"] = settings.username
    if settings.password:
        options["sasl_plain_password"] = settings.password.get_secret_value()
    return options


def ensure_topics(settings: KafkaSettings) -> None:
    """Create the events and dead-letter topics where they are missing. Safe to repeat. Raises BrokerUnavailable."""
    with _admin(settings) as admin:
        present = set(admin.list_topics())
        wanted = {settings.topic: settings.partitions, settings.dead_letter_topic: 1}
        missing = {name: count for name, count in wanted.items() if name not in present}
        for name, count in missing.items():
            _create(admin, name, count, settings.replication)
        if missing:
            admin.wait_for_topics(list(missing), timeout_ms=ANSWER_MS)


def topic_id(bootstrap: str | KafkaSettings, topic: str) -> UUID:
    """The UUID of a topic's present life; NO_TOPIC_ID from a broker that has none, or when the topic is missing."""
    settings = KafkaSettings(bootstrap=bootstrap) if isinstance(bootstrap, str) else bootstrap
    with _admin(settings) as admin:
        [described] = admin.describe_topics([topic])
        found = described.get("topic_id") or NO_TOPIC_ID
        return found if isinstance(found, UUID) else UUID(str(found))


def partition_count(settings: KafkaSettings) -> int:
    """How many partitions the events topic has. Raises BrokerUnavailable, or OnPaceError when there is no such one."""
    with _admin(settings) as admin:
        try:
            [described] = admin.describe_topics([settings.topic])
        except UnknownTopicOrPartitionError:
            described = {"error_code": UnknownTopicOrPartitionError.errno}
        if described.get("error_code"):
            raise OnPaceError(f"there is no topic '{settings.topic}' at {_address(settings)} yet")
        return len(described["partitions"])


def grow_topic(settings: KafkaSettings, partitions: int, *, only_ask: bool = False) -> None:
    """Give the events topic so many partitions, or `only_ask` whether the broker would.

    Raises BrokerUnavailable, or OnPaceError with the broker's reason when it refuses.
    """
    with _admin(settings) as admin:
        try:
            admin.create_partitions({settings.topic: partitions}, timeout_ms=ANSWER_MS, validate_only=only_ask)
        except IncompatibleBrokerVersion as exc:
            raise OnPaceError(
                f"the broker at {_address(settings)} cannot add partitions. That of `onpace up` makes its topic anew "
                f"at every start: stop it, set ONPACE_KAFKA__PARTITIONS={partitions}, and start it again"
            ) from exc
        except KafkaError as exc:
            raise OnPaceError(f"Kafka does not grow '{settings.topic}' to {partitions}: {reason_of(exc)}") from exc


def wait_for_broker(settings: KafkaSettings, timeout: float, *, alive: Callable[[], bool] = lambda: True) -> None:
    """Return once the broker answers; BrokerUnavailable after `timeout` seconds, or once `alive` is False."""
    began = time.monotonic()
    while True:
        waited = time.monotonic() - began
        left = timeout - waited
        patience = min(left, 1 + waited / 10)  # a busy machine may take longer than a second to answer
        try:
            with _admin(settings, timeout_ms=max(100, int(patience * 1000))) as admin:
                admin.list_topics()
            return
        except BrokerUnavailable:
            if left <= 0 or not alive():
                raise


def _create(admin: KafkaAdminClient, name: str, partitions: int, replication: int) -> None:
    """With arrival timestamps where the broker takes the setting, else without."""
    spec: dict[str, Any] = {"num_partitions": partitions, "replication_factor": replication, "configs": TOPIC_CONFIG}
    try:
        admin.create_topics({name: spec}, timeout_ms=ANSWER_MS)
    except TopicAlreadyExistsError:
        return
    except KafkaError:
        try:
            admin.create_topics({name: {**spec, "configs": {}}}, timeout_ms=ANSWER_MS)
        except TopicAlreadyExistsError:
            return


@contextmanager
def _admin(settings: KafkaSettings, timeout_ms: int = ANSWER_MS) -> Iterator[KafkaAdminClient]:
    """An admin client whose errors name the broker's address."""
    admin = None
    try:
        admin = KafkaAdminClient(**kafka_options(settings), bootstrap_timeout_ms=timeout_ms)
        yield admin
    except (KafkaError, OSError) as exc:
        raise BrokerUnavailable(f"Kafka at {_address(settings)} does not answer: {reason_of(exc)}") from exc
    finally:
        if admin is not None:
            admin.close()


def reason_of(error: BaseException) -> str:
    """One line about a driver error."""
    words = " ".join(str(error).split())
    name = type(error).__name__
    return words if words.startswith(name) else f"{name}: {words}" if words else name


def _address(settings: KafkaSettings) -> str:
    if settings.bootstrap is None:
        raise BrokerUnavailable("no broker address: set ONPACE_KAFKA__BOOTSTRAP=host:port")
    return settings.bootstrap
