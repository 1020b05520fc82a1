"""The event: CloudEvents 1.0 attributes and `data` as raw JSON text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Literal, get_args

import msgspec

from onpace.config.errors import InvalidEvent

__all__ = ["MAX_ATTRIBUTE", "REASONS", "Event", "Reason", "bare", "event_key", "format_time"]

MAX_ATTRIBUTE: Final = 1024
"""Longest id, source and type, in characters."""

Reason = Literal[
    "malformed_json",
    "not_an_object",
    "missing_attribute",
    "invalid_attribute",
    "invalid_time",
    "time_too_old",
    "time_in_future",
    "unknown_type",
    "schema_violation",
    "too_large",
    "empty",
]
"""Why an event became a dead letter. Bounded: it is a label of a metric."""

REASONS: Final[tuple[str, ...]] = get_args(Reason)

STRUCTURED: Final = "application/cloudevents+json"
ENCODER = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class Event:
    """One business event. Its identity is (`source`, `id`); `time` is when it happened, aware UTC.

    `data` is the JSON text of the payload, kept as it was sent: numbers never pass through a float.
    """

    id: str
    source: str
    type: str
    time: datetime
    data: bytes = b"null"
    subject: str | None = None
    partitionkey: str | None = None
    extensions: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Other CloudEvents attributes, such as `traceparent`."""

    @property
    def key(self) -> bytes:
        """The Kafka key: all retries of one event land in one partition."""
        return event_key(self.id, self.subject, self.partitionkey)

    def attributes(self) -> dict[str, str]:
        """Every CloudEvents attribute that is set, as text."""
        attributes = {
            "specversion": "1.0",
            "id": self.id,
            "source": self.source,
            "type": self.type,
            "time": format_time(self.time),
        }
        if self.subject is not None:
            attributes["subject"] = self.subject
        if self.partitionkey is not None:
            attributes["partitionkey"] = self.partitionkey
        return {**self.extensions, **attributes}

    def to_json(self) -> bytes:
        """The event in structured mode: one JSON object."""
        return ENCODER.encode({**self.attributes(), "data": msgspec.Raw(self.data)})

    def to_kafka(self) -> tuple[bytes, bytes, list[tuple[str, bytes]]]:
        """(key, value, headers) in Kafka's binary mode: the value is `data`, the attributes are `ce_` headers."""
        headers = [(f"ce_{name}", value.encode()) for name, value in self.attributes().items()]
        return self.key, self.data, [*headers, ("content-type", b"application/json")]


def event_key(event_id: str, subject: str | None, partitionkey: str | None) -> bytes:
    """`partitionkey`, else `subject`, else `id`, as UTF-8."""
    return (partitionkey or subject or event_id).encode()


def format_time(time: datetime) -> str:
    """RFC 3339 in UTC with a Z. Raises ValueError for a time without a zone."""
    if time.tzinfo is None:
        raise ValueError(f"time {time.isoformat()} has no time zone: use datetime.now(UTC) or attach a tzinfo")
    return time.astimezone(UTC).isoformat().removesuffix("+00:00") + "Z"


def bare(problem: InvalidEvent) -> InvalidEvent:
    """The problem without its traceback: kept in a list, that would keep the whole batch alive with it."""
    problem.__cause__ = problem.__context__ = None
    return problem.with_traceback(None)
