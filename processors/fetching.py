"""Fetching from Kafka: committed records only, as they are in the log, with what part of the log they cover."""

from __future__ import annotations

import ssl
import sys
import time
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any

import faust
from aiokafka.consumer.fetcher import FetchResult
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread
from faust.types import TP

from onpace.config.settings import KafkaSettings

__all__ = ["BatchThread", "Fetched", "credentials", "seconds_passed"]


def seconds_passed() -> float:
    """Seconds of a clock that nobody sets and that goes on while the machine sleeps, where the system has one."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if sys.platform == "linux" else time.monotonic()


class Fetched(list[Any]):
    """Consecutive records of one partition: all that there are from offset `begin` up to (not including) `end`.

    There may be none: an aborted transaction, the marker that ends one and compaction leave offsets without a record.
    """

    def __init__(self, records: Iterable[Any], begin: int, end: int) -> None:
        super().__init__(records)
        self.begin = begin
        self.end = end


class BatchThread(AIOKafkaConsumerThread):
    """Faust's fetching thread, with four differences: an event of an aborted transaction never happened; an object of
    eleven fields for each record would cost as much as decoding it; gaps in the log are told from lost batches; and it
    knows when the broker was asked what it last said of a partition, for the answer may have been long on its way."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._asked: dict[TP, float] = {}

    def asked(self, tp: TP) -> float | None:
        """When the fetch was sent (`seconds_passed`) whose answer told the partition's high watermark; None before one.

        Whatever reached the log before that is below the high watermark.
        """
        return self._asked.get(tp)

    async def on_start(self) -> None:
        """Called when the consumer starts."""
        await super().on_start()
        fetcher: Any = self._ensure_consumer()._fetcher
        fetcher._proc_fetch_request = partial(self._fetch_noting_when, fetcher._proc_fetch_request)

    async def _fetch_noting_when(
        self, fetch: Callable[[Any, int, Any], Awaitable[bool]], assignment: Any, node_id: int, request: Any
    ) -> bool:
        sent = seconds_passed()
        partitions = [TP(topic, number) for topic, parts in request.topics for number, *_ in parts]
        before = {tp: _answered(assignment, tp) for tp in partitions}
        woken = await fetch(assignment, node_id, request)
        for tp in partitions:
            if _answered(assignment, tp) != before[tp]:
                self._asked[tp] = sent
        return woken

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


def _answered(assignment: Any, tp: TP) -> int | None:
    """When the last answer about a partition was taken in; None when it is assigned no longer."""
    state = assignment.state_value(tp) if tp in assignment.tps else None
    return state.timestamp if state else None


def _as_it_is(_: TP, record: Any) -> Any:
    """Has offset, timestamp, value and headers, as `intake.Record` wants."""
    return record
