"""Dead letters: events that were refused, with the reason, the raw bytes and where they stood in the log."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
import xxhash

from onpace.config.errors import InvalidEvent, OnPaceError
from onpace.ingest.codec import Headers
from onpace.ingest.event import STRUCTURED, event_key

__all__ = ["DeadLetter", "evidence", "hash_key", "key_of_raw", "make_dead_letter", "parse_change", "repair"]

LONGEST_MESSAGE = 1000
OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One refused event. (`topic`, `partition`, `offset`) is its place in the log and its identity."""

    topic: str
    partition: int
    offset: int
    """-1 when it never reached the log: a line of a replayed file that is too large for the broker."""
    arrival: datetime
    reason: str
    field: str
    message: str
    raw: bytes
    """The value as it arrived; an event in binary mode as structured JSON."""
    event_type: str | None = None
    source: str | None = None
    id: str | None = None

    def to_kafka(self) -> tuple[bytes, bytes, list[tuple[str, bytes]]]:
        """(key, value, headers) for the dead-letter topic; the value is `raw`, untouched."""
        headers = {
            "onpace_reason": self.reason,
            "onpace_field": self.field,
            "onpace_message": self.message,
            "onpace_topic": self.topic,
            "onpace_partition": str(self.partition),
            "onpace_offset": str(self.offset),
            "onpace_arrival": self.arrival.astimezone(UTC).isoformat(),
        }
        key = f"{self.topic}/{self.partition}/{self.offset}".encode()
        return key, self.raw, [(name, text.encode("utf-8", "replace")) for name, text in headers.items()]

    @classmethod
    def from_kafka(cls, value: bytes | None, headers: Headers) -> DeadLetter:
        """Read a message of the dead-letter topic back. Raises OnPaceError when it was not written by OnPace."""
        texts = {name: raw.decode("utf-8", "replace") for name, raw in headers}
        try:
            return make_dead_letter(
                value or b"",
                (),
                InvalidEvent(texts["onpace_reason"], texts["onpace_message"], texts.get("onpace_field", "")),
                topic=texts["onpace_topic"],
                partition=int(texts["onpace_partition"]),
                offset=int(texts["onpace_offset"]),
                arrival=datetime.fromisoformat(texts["onpace_arrival"]),
            )
        except (KeyError, ValueError) as exc:
            raise OnPaceError(f"not a dead letter: header {exc} is missing or wrong") from exc


def make_dead_letter(
    value: bytes | None,
    headers: Headers,
    problem: InvalidEvent,
    *,
    topic: str,
    partition: int,
    offset: int,
    arrival: datetime,
) -> DeadLetter:
    """The dead letter of one message; type, source and id are read from it as far as it can be read."""
    raw = evidence(value, headers)
    known = _attributes(raw)
    return DeadLetter(
        topic=topic,
        partition=partition,
        offset=offset,
        arrival=arrival,
        reason=problem.reason,
        field=problem.field,
        message=str(problem)[:LONGEST_MESSAGE],
        raw=raw,
        event_type=known.get("type"),
        source=known.get("source"),
        id=known.get("id"),
    )


def evidence(value: bytes | None, headers: Headers) -> bytes:
    """What to keep of a message: its value; in binary mode one JSON object, so that the attributes are not lost."""
    attributes = {name.lower()[3:]: raw for name, raw in headers if name.lower().startswith("ce_")}
    structured = any(name.lower() == "content-type" and raw.startswith(STRUCTURED.encode()) for name, raw in headers)
    if structured or not attributes:
        return value or b""
    event: dict[str, Any] = {name: raw.decode("utf-8", "replace") for name, raw in attributes.items()}
    if value:
        try:
            value.decode()
            event["data"] = msgspec.json.decode(value, type=msgspec.Raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            event["data"] = value.decode("utf-8", "replace")
    return msgspec.json.encode(event)


def key_of_raw(raw: bytes) -> bytes:
    """The key to send raw bytes with: that of the event in them, else a hash of the bytes."""
    known = _attributes(raw)
    if not known.get("id"):
        return hash_key(raw)
    return event_key(known["id"], known.get("subject"), known.get("partitionkey"))


def hash_key(raw: bytes) -> bytes:
    """A key for bytes without an event in them: the same bytes always get the same one."""
    digest: str = xxhash.xxh3_64_hexdigest(raw)
    return digest.encode()


def parse_change(text: str) -> tuple[str, msgspec.Raw]:
    """`data.amount=12.50` as (path, JSON text). What is not JSON is a string: `time=2026-10-01T12:00:00Z`."""
    path, equals, value = text.partition("=")
    if not path or not equals:
        raise OnPaceError(f"'{text}' is not a change: write field=value, such as data.amount=12.50")
    try:
        return path, msgspec.json.decode(value.encode(), type=msgspec.Raw)
    except msgspec.DecodeError:
        return path, msgspec.Raw(msgspec.json.encode(value))


def repair(raw: bytes, changes: Mapping[str, Any]) -> bytes:
    """The event with some fields set (dotted paths; missing objects are made); everything else keeps its exact text.

    The id stays: the repaired event is the same event. Raises OnPaceError when that is not possible.
    """
    try:
        raw.decode()
        event = OBJECT.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise OnPaceError(f"the dead letter is no JSON object ({exc}): it cannot be repaired field by field") from exc
    if "id" in changes and isinstance(_attributes(raw).get("id"), str):
        raise OnPaceError("the id cannot be changed: a repaired event is still the same event")
    for path, value in changes.items():
        _set(event, path.split("."), path, value)
    return msgspec.json.encode(event)


def _set(target: dict[str, Any], names: list[str], path: str, value: Any) -> None:
    first, *rest = names
    if not rest:
        target[first] = value
        return
    inner = target.get(first, {})
    if isinstance(inner, msgspec.Raw):
        try:
            inner = OBJECT.decode(inner)
        except msgspec.ValidationError as exc:
            raise OnPaceError(f"'{path}' cannot be set: '{first}' is not an object") from exc
    _set(inner, rest, path, value)
    target[first] = inner


def _attributes(raw: bytes) -> dict[str, str]:
    """The text attributes that can be read, whatever else is wrong."""
    names = ("type", "source", "id", "subject", "partitionkey")
    try:
        event = json.loads(raw)
        texts = (
            {name: event[name] for name in names if isinstance(event.get(name), str)} if isinstance(event, dict) else {}
        )
        for text in texts.values():
            text.encode()
    except (ValueError, RecursionError):
        return {}
    return texts
