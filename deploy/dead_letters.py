"""The dead-letter table: find, read, and note what was replayed."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from onpace.config.errors import OnPaceError
from onpace.processors.clickhouse import ClickHouse

__all__ = ["DeadLetters", "Place", "StoredLetter"]

_PLACE = ("topic", "incarnation", "partition", "offset")
_LETTER = ("arrival", "reason", "field", "message", "raw", "event_type", "source", "id")
_COLUMNS = ", ".join((*_PLACE, *_LETTER, "replayed")).replace(" raw,", " base64Encode(raw),")


@dataclass(frozen=True, slots=True)
class Place:
    """Where an event stood in the log: its name on the command line is `topic/incarnation/partition/offset`."""

    topic: str
    incarnation: UUID
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.incarnation.hex[-12:]}/{self.partition}/{self.offset}"

    @classmethod
    def parse(cls, text: str) -> tuple[str, str, int, int]:
        """(topic, end of the incarnation, partition, offset). Raises OnPaceError."""
        parts = text.rsplit("/", 3)
        if len(parts) != 4 or not parts[2].isdigit() or not parts[3].isdigit():
            raise OnPaceError(f"'{text}' is not a dead letter's name: `onpace dlq list` prints them")
        return parts[0], parts[1], int(parts[2]), int(parts[3])


@dataclass(frozen=True, slots=True)
class StoredLetter:
    """One dead letter as stored."""

    place: Place
    arrival: datetime
    reason: str
    field: str
    message: str
    event_type: str
    source: str
    id: str
    replayed: bool
    raw: bytes

    def as_json(self) -> dict[str, Any]:
        """For printing; `raw` is text with broken bytes escaped."""
        return {
            "letter": str(self.place),
            "arrival": self.arrival.isoformat(),
            "reason": self.reason,
            "field": self.field,
            "message": self.message,
            "type": self.event_type,
            "source": self.source,
            "id": self.id,
            "replayed": self.replayed,
            "raw": self.raw.decode("utf-8", "backslashreplace"),
        }


class DeadLetters:
    """Reads and marks the rows of `dead_letters`."""

    def __init__(self, store: ClickHouse) -> None:
        self._store = store

    def find(self, *, reason: str | None, limit: int, waiting: bool = False) -> list[StoredLetter]:
        """The newest letters; `waiting` leaves out those already replayed."""
        conditions = ["1", *(["reason = {reason:String}"] if reason else []), *(["replayed = 0"] if waiting else [])]
        rows = self._store.query(
            f"SELECT {_COLUMNS} FROM dead_letters FINAL WHERE {' AND '.join(conditions)} "
            "ORDER BY arrival DESC, topic, partition, offset DESC LIMIT {limit:UInt64}",
            {"limit": limit, **({"reason": reason} if reason else {})},
        )
        return [_letter(row) for row in rows]

    def count(self, reason: str | None = None) -> int:
        """How many there are."""
        where, parameters = ("WHERE reason = {reason:String}", {"reason": reason}) if reason else ("", {})
        return int(self._store.query(f"SELECT count() FROM dead_letters FINAL {where}", parameters)[0][0])

    def get(self, name: tuple[str, str, int, int]) -> StoredLetter | None:
        """One letter by the parts of its name."""
        topic, life, partition, offset = name
        rows = self._store.query(
            f"SELECT {_COLUMNS} FROM dead_letters FINAL WHERE topic = {{topic:String}} "
            "AND partition = {partition:UInt32} AND offset = {offset:UInt64} "
            "AND endsWith(replaceAll(toString(incarnation), '-', ''), {life:String})",
            {"topic": topic, "partition": partition, "offset": offset, "life": life},
        )
        return _letter(rows[0]) if rows else None

    def mark_replayed(self, letters: Sequence[StoredLetter]) -> None:
        """Note that these were sent again. Safe to repeat."""
        rows = [
            (*(getattr(letter.place, name) for name in _PLACE), *(getattr(letter, name) for name in _LETTER), 1)
            for letter in letters
        ]
        self._store.insert("dead_letters", [*_PLACE, *_LETTER, "replayed"], rows)


def _letter(row: tuple[Any, ...]) -> StoredLetter:
    named = dict(zip([*_PLACE, *_LETTER, "replayed"], row, strict=True))
    place = Place(named["topic"], named["incarnation"], int(named["partition"]), int(named["offset"]))
    named["raw"] = base64.b64decode(named["raw"])
    return StoredLetter(place, **{name: named[name] for name in _LETTER}, replayed=bool(named["replayed"]))
