"""Fetching from Kafka: committed records only, as they are in the log, with what part of the log they cover."""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from typing import Any

import faust
from aiokafka.consumer.fetcher import FetchResult
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread
from faust.types import TP

from onpace.config.settings import KafkaSettings

__all__ = ["BatchThread", "Fetched", "credentials"]


class Fetched(list[Any]):
    """Consecutive records of one partition: all that there are from offset `begin` up to (not including) `end`.

    There may be none: an aborted transaction, the marker that ends one and compaction leave offsets without a record.
    """

    def __init__(self, records: Iterable[Any], begin: int, end: int) -> None:
        super().__init__(records)
        self.begin = begin
        self.end = end


class BatchThread(AIOKafkaConsumerThread):
    """Faust's fetching thread, with three differences: an event of an aborted transaction never happened; an object of
    eleven fields for each record would cost as much as decoding it; and gaps in the log are told from lost batches."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._isolation_level = "read_committed"  # Faust's own setting makes its producers transactional as well
        return consumer

    async def _fetch_records(
        self, consumer: Any, active_partitions: Any, timeout: float | None = None, max_records: int | None = None
    ) -> dict[TP, Fetched]:
        for fetched in list(consumer._fetcher._records.values()):
            records = fetched._partition_records if isinstance(fetched, FetchResult) else None
            if records is not None:
                records._consumer_record = _as_it_is
        assignment, before = _positions(consumer)
        found = await super()._fetch_records(consumer, active_partitions, timeout, max_records)
        now_assigned, after = _positions(consumer)
        if now_assigned is not assignment:
            return {}  # a rebalance: what was fetched is missed, and fetched again
        return {
            tp: Fetched(found.get(tp, ()), before[tp], end)
            for tp, end in after.items()
            if tp in before and (tp in found or end > before[tp])
        }


def credentials(kafka: KafkaSettings) -> Any:
    """What aiokafka needs to log in; None for a plain connection."""
    if kafka.security_protocol == "PLAINTEXT":
        return None
    context = ssl.create_default_context() if "SSL" in kafka.security_protocol else None
    if kafka.username is None or kafka.password is None:
        return faust.SSLCredentials(context)
    return faust.SASLCredentials(
        username=kafka.username,
        password=kafka.password.get_secret_value(),
        mechanism=kafka.sasl_mechanism or "PLAIN",
        ssl_context=context,
    )


def _positions(consumer: Any) -> tuple[Any, dict[TP, int]]:
    """The assignment, and the next offset to fetch of each of its partitions where it is known."""
    subscription = consumer._subscription.subscription
    assignment = subscription.assignment if subscription is not None else None
    if assignment is None:
        return None, {}
    states = ((tp, assignment.state_value(tp)) for tp in assignment.tps)
    return assignment, {
        TP(tp.topic, tp.partition): state.position for tp, state in states if state and state.has_valid_position
    }


def _as_it_is(_: TP, record: Any) -> Any:
    """Has offset, timestamp, value and headers, as `intake.Record` wants."""
    return record
