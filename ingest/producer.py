"""The Python SDK: send business events to OnPace.

    from onpace.ingest.producer import EventProducer

    with EventProducer("localhost:9092", source="/shop") as producer:
        producer.send("order.placed", {"order_id": "o-1", "amount": Decimal("12.50")}, subject="user-7")

Leaving the block waits until everything is acknowledged and raises DeliveryFailed if something was not.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any
from uuid import uuid4

import msgspec
from kafka import KafkaProducer
from kafka.errors import KafkaError, MessageSizeTooLargeError

from onpace.config.errors import BrokerUnavailable, InvalidEvent, OnPaceError, did_you_mean
from onpace.config.kpi import EventType
from onpace.config.settings import KafkaSettings
from onpace.ingest.codec import parse_attributes
from onpace.ingest.event import Event
from onpace.ingest.topics import MAX_MESSAGE_BYTES, kafka_options, reason_of
from onpace.ingest.validation import EventValidator

__all__ = ["METADATA_AGE", "Delivery", "DeliveryFailed", "EventProducer", "Failure", "encode_data"]

ENCODER = msgspec.json.Encoder(decimal_format="number")
SHOWN_FAILURES = 5
METADATA_AGE = timedelta(minutes=1)
"""How soon a topic that has grown is noticed."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One event that was not delivered: its id ('' for raw bytes) and why."""

    id: str
    reason: str


class DeliveryFailed(OnPaceError):
    """Events that the broker has not acknowledged. Sending them again with the same ids is safe."""

    def __init__(self, failures: Sequence[Failure]) -> None:
        self.failures = tuple(failures)
        shown = "; ".join(f"{failure.id or 'raw'}: {failure.reason}" for failure in self.failures[:SHOWN_FAILURES])
        more = len(self.failures) - SHOWN_FAILURES
        count = len(self.failures)
        events = "event was" if count == 1 else "events were"
        super().__init__(f"{count} {events} not delivered ({shown}{f'; and {more} more' if more > 0 else ''})")


class Delivery:
    """What became of one event; `result` waits for the broker."""

    __slots__ = ("_future", "event_id", "size")

    def __init__(self, event_id: str, size: int) -> None:
        self.event_id = event_id
        self.size = size
        self._future: Any = None

    def result(self, timeout: float | None = None) -> tuple[int, int]:
        """(partition, offset) once acknowledged. Raises DeliveryFailed, also when `timeout` seconds pass first."""
        try:
            metadata = self._future.get(timeout)
        except KafkaError as exc:
            raise DeliveryFailed([Failure(self.event_id, reason_of(exc))]) from exc
        return metadata.partition, metadata.offset

    def when_done(self, callback: Callable[[BaseException | None], None]) -> None:
        """Call back with None or the error, from the sending thread; at once when it is already decided."""
        self._future.add_callback(lambda _metadata: callback(None))
        self._future.add_errback(callback)


class EventProducer:
    """Sends events to Kafka. Thread-safe; one instance per process is enough.

    Connects at the first `send`. Delivery is at least once: a retry with the same `id` and `source` is counted once.
    Memory is bounded by `buffer_bytes`: `send` then blocks, for at most `max_block`, and raises BrokerUnavailable.
    With `event_types` (from a catalog) every event is validated before it is sent.
    """

    def __init__(
        self,
        bootstrap: str | KafkaSettings,
        *,
        topic: str | None = None,
        source: str | None = None,
        event_types: Mapping[str, EventType] | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        on_error: Callable[[Failure], None] | None = None,
        max_block: timedelta = timedelta(seconds=30),
        delivery_timeout: timedelta = timedelta(seconds=60),
        linger: timedelta = timedelta(milliseconds=5),
        buffer_bytes: int = 32 * 1024 * 1024,
        max_event_bytes: int = 1_048_576,
        compression: str | None = None,
    ) -> None:
        self._settings = KafkaSettings(bootstrap=bootstrap) if isinstance(bootstrap, str) else bootstrap
        self._topic = topic or self._settings.topic
        self._source = source
        self._validators = None if event_types is None else {k: EventValidator(v) for k, v in event_types.items()}
        self._clock = clock
        self._on_error = on_error
        self._max_block_seconds = max_block.total_seconds()
        self._max_event_bytes = max_event_bytes
        self._buffer_bytes = buffer_bytes
        delivery_ms = int(delivery_timeout.total_seconds() * 1000)
        linger_ms = int(linger.total_seconds() * 1000)
        self._options = {
            **kafka_options(self._settings),
            "acks": "all",
            "linger_ms": linger_ms,
            "batch_size": 131_072,
            "compression_type": compression,
            "max_request_size": MAX_MESSAGE_BYTES,
            "max_block_ms": int(self._max_block_seconds * 1000),
            "bootstrap_timeout_ms": int(self._max_block_seconds * 1000),
            "delivery_timeout_ms": delivery_ms,
            "request_timeout_ms": max(100, min(30_000, (delivery_ms - linger_ms) // 2)),
            "allow_auto_create_topics": False,
            "metadata_max_age_ms": METADATA_AGE // timedelta(milliseconds=1),
            "metrics_enabled": False,
        }
        self._connecting = threading.Lock()
        self._producer: Any = None
        self._state = threading.Condition()
        self._pending_bytes = 0
        self._failures: list[Failure] = []
        self._offsets: dict[int, int] = {}
        self._closed = False

    def send(
        self,
        type: str,
        data: Mapping[str, Any] | None = None,
        *,
        id: str | None = None,
        time: datetime | None = None,
        subject: str | None = None,
        partitionkey: str | None = None,
        source: str | None = None,
        extensions: Mapping[str, str] | None = None,
    ) -> Delivery:
        """Queue one event; returns at once unless the buffer is full.

        `id` defaults to a new UUID: pass a stable one (an order number, say) so that a retry after a crash counts
        once. `time` is when it happened, with a zone; now by default. Raises InvalidEvent for an event that
        cannot be right, BrokerUnavailable when Kafka does not answer within `max_block`.
        """
        source = source or self._source
        if not source:
            raise InvalidEvent("missing_attribute", "'source' is missing: pass EventProducer(source=…)", "source")
        try:
            event = Event(
                id=str(uuid4()) if id is None else id,
                source=source,
                type=type,
                time=time or self._clock(),
                data=encode_data(data),
                subject=subject,
                partitionkey=partitionkey,
                extensions=extensions or {},
            )
            encoded = event.to_json()
        except UnicodeEncodeError as exc:
            raise InvalidEvent("invalid_attribute", f"an attribute is not valid Unicode: {exc.reason}") from exc
        except ValueError as exc:
            raise InvalidEvent("invalid_time", str(exc), "time") from exc
        parse_attributes(encoded)
        return self._send_event(event, encoded)

    def send_event(self, event: Event) -> Delivery:
        """Queue an event that exists already, keeping its id and time."""
        return self._send_event(event, event.to_json())

    def send_raw(self, value: bytes, key: bytes, headers: Sequence[tuple[str, bytes]] = ()) -> Delivery:
        """Queue bytes as they are, unchecked: for replays, where what is malformed has to become a dead letter."""
        return self._queue("", value, key, headers)

    @property
    def offsets(self) -> dict[int, int]:
        """Partition -> highest acknowledged offset + 1: what a consumer has to reach to have seen everything."""
        with self._state:
            return dict(self._offsets)

    def connect(self) -> None:
        """Connect now instead of at the first `send`. Raises BrokerUnavailable."""
        self._connected()

    def flush(self, timeout: float | None = None) -> None:
        """Wait until everything sent so far is decided. Raises DeliveryFailed with all failures since the last one."""
        if self._producer is not None:
            try:
                self._producer.flush(timeout)
            except KafkaError as exc:
                raise DeliveryFailed([*self._take_failures(), Failure("", reason_of(exc))]) from exc
        failures = self._take_failures()
        if failures:
            raise DeliveryFailed(failures)

    def close(self, timeout: float | None = 30.0) -> None:
        """Flush, then disconnect. Safe to repeat. Raises DeliveryFailed."""
        if self._closed:
            return
        self._closed = True
        try:
            self.flush(timeout)
        finally:
            if self._producer is not None:
                _close(self._producer)

    def __enter__(self) -> EventProducer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except DeliveryFailed:
            if error is None:
                raise

    def _send_event(self, event: Event, encoded: bytes) -> Delivery:
        if self._validators is not None:
            if event.type not in self._validators:
                message = f"unknown event type '{event.type}'{did_you_mean(event.type, self._validators)}"
                raise InvalidEvent("unknown_type", message, "type")
            self._validators[event.type].check(event.data)
        if len(encoded) > self._max_event_bytes:
            message = f"the event has {len(encoded):,} bytes; at most {self._max_event_bytes:,} are accepted"
            raise InvalidEvent("too_large", message)
        return self._queue(event.id, encoded, event.key)

    def _queue(self, event_id: str, value: bytes, key: bytes, headers: Sequence[tuple[str, bytes]] = ()) -> Delivery:
        producer = self._connected()
        delivery = Delivery(event_id, len(value) + len(key))
        self._reserve(delivery.size)
        try:
            future = producer.send(self._topic, value, key, list(headers))
        except MessageSizeTooLargeError as exc:
            self._release(delivery.size)
            raise InvalidEvent("too_large", reason_of(exc)) from exc
        except KafkaError as exc:
            self._release(delivery.size)
            raise self._unavailable(exc) from exc
        delivery._future = future
        future.add_callback(self._acknowledged, delivery)
        future.add_errback(self._failed, delivery)
        return delivery

    def _connected(self) -> Any:
        if self._closed:
            raise OnPaceError("the producer is closed: make a new EventProducer")
        if self._producer is not None:
            return self._producer
        if not self._connecting.acquire(timeout=self._max_block_seconds):
            raise BrokerUnavailable(f"Kafka at {self._settings.bootstrap} does not answer: still connecting")
        try:
            if self._producer is None:
                self._producer = KafkaProducer(**self._options)
        except (KafkaError, OSError) as exc:
            raise self._unavailable(exc) from exc
        finally:
            self._connecting.release()
        return self._producer

    def _unavailable(self, error: Exception) -> BrokerUnavailable:
        address = self._settings.bootstrap
        return BrokerUnavailable(f"Kafka at {address} does not take events for '{self._topic}': {reason_of(error)}")

    def _reserve(self, size: int) -> None:
        with self._state:
            room = self._state.wait_for(
                lambda: not self._pending_bytes or self._pending_bytes + size <= self._buffer_bytes,
                self._max_block_seconds,
            )
            if not room:
                waiting = f"{self._pending_bytes:,} bytes wait to be acknowledged"
                raise BrokerUnavailable(f"Kafka at {self._settings.bootstrap} is too slow: {waiting}")
            self._pending_bytes += size

    def _release(self, size: int) -> None:
        with self._state:
            self._pending_bytes -= size
            self._state.notify()

    def _acknowledged(self, delivery: Delivery, metadata: Any) -> None:
        with self._state:
            self._offsets[metadata.partition] = max(self._offsets.get(metadata.partition, 0), metadata.offset + 1)
        self._release(delivery.size)

    def _failed(self, delivery: Delivery, error: BaseException) -> None:
        failure = Failure(delivery.event_id, reason_of(error))
        with self._state:
            self._failures.append(failure)
        self._release(delivery.size)
        if self._on_error is not None:
            self._on_error(failure)

    def _take_failures(self) -> list[Failure]:
        with self._state:
            failures, self._failures = self._failures, []
            return failures


def encode_data(data: Mapping[str, Any] | None) -> bytes:
    """JSON text of an event's data; Decimals are numbers. Raises InvalidEvent for NaN, Infinity and foreign objects."""
    try:
        _refuse_non_finite(data, "data")
        return ENCODER.encode(data)
    except (TypeError, UnicodeEncodeError, RecursionError) as exc:
        raise InvalidEvent("malformed_json", f"data cannot be written as JSON: {exc}", "data") from exc


def _refuse_non_finite(value: Any, path: str) -> None:
    """The encoder would write NaN as null: a wrong number silently turned into a missing one."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            _refuse_non_finite(inner, f"{path}.{name}")
    elif isinstance(value, list | tuple):
        for position, inner in enumerate(value):
            _refuse_non_finite(inner, f"{path}[{position}]")
    elif isinstance(value, float) and not math.isfinite(value):
        raise InvalidEvent("malformed_json", f"{path} is {value}: JSON has no such number", path)


def _close(producer: Any) -> None:
    """Disconnect, whatever is not delivered by now: it has been said. The driver's own closing stops half-way then, and
    would be tried again, with an error that nobody can catch, when it is garbage."""
    try:
        producer.close(timeout=1.0)
    except KafkaError:
        producer._sender.force_close()
        producer._sender.join(5.0)
        with suppress(KafkaError):
            producer.close(timeout=1.0)
