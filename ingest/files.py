"""Events from files: JSON lines (also gzipped), JSON arrays and CSV, and their replay into Kafka."""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol, cast

import msgspec
import xxhash

from onpace.config.errors import InvalidEvent, OnPaceError
from onpace.config.kpi import EventType
from onpace.ingest.deadletters import hash_key
from onpace.ingest.event import event_key
from onpace.ingest.schema import types_of

__all__ = ["EventFile", "RawSender", "ReplayResult", "read_events", "replay"]

BOM = b"\xef\xbb\xbf"
PROGRESS_EVERY = 2000
ATTRIBUTES = ("id", "source", "type", "time", "subject", "partitionkey")
NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")


class RawSender(Protocol):
    """What a replay needs of a producer; EventProducer and the faster BulkProducer both have it."""

    def send_raw(self, value: bytes, key: bytes, headers: Sequence[tuple[str, bytes]] = ()) -> object:
        """Queue one message."""

    def flush(self, timeout: float | None = None) -> None:
        """Wait for the acknowledgements."""

    @property
    def offsets(self) -> dict[int, int]:
        """Partition -> highest acknowledged offset + 1."""
        ...


class Key(msgspec.Struct, gc=False):
    """The part of an event that decides its partition."""

    id: str
    subject: str | None = None
    partitionkey: str | None = None


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """What a replay did. `offsets` is partition -> offset that a consumer must reach to have seen all of it."""

    sent: int
    lines: int
    failed: int
    """Lines too large for the topic; they went to `reject`."""
    offsets: dict[int, int]


class EventFile:
    """A file of events. Iterating gives (line number from 1, bytes); `position` of `size` bytes are read.

    `.jsonl` and `.ndjson`: one event a line. `.json`: the same, or one array, or one object. `.csv`: columns id,
    source, type, time, subject, partitionkey; every other column is a property of data (`address.city` is nested),
    typed by `event_types`; an empty cell is a missing property; without an id the row's number and content make one,
    so that a second replay counts nothing twice. Any of them may end in `.gz`. Blank lines are skipped.
    """

    def __init__(self, path: Path | str, event_types: Mapping[str, EventType] | None = None) -> None:
        self._path = Path(path)
        self._event_types = event_types or {}
        self._file: IO[bytes] | None = None
        try:
            self.size = self._path.stat().st_size
        except OSError as exc:
            raise OnPaceError(f"{self._path}: cannot be read: {exc.strerror}") from exc

    @property
    def position(self) -> int:
        """Bytes read so far, of the file as it is on disk."""
        return self._file.tell() if self._file is not None and not self._file.closed else self.size

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        suffixes = [suffix.lower() for suffix in self._path.suffixes]
        zipped = suffixes[-1:] == [".gz"]
        kind = (suffixes[:-1] if zipped else suffixes)[-1:]
        try:
            with ExitStack() as files:
                self._file = files.enter_context(self._path.open("rb"))
                stream: IO[bytes] = self._file
                if zipped:
                    stream = cast("IO[bytes]", files.enter_context(gzip.open(self._file)))
                match kind:
                    case [".csv"]:
                        yield from self._csv_rows(stream)
                    case [".json"]:
                        yield from _json_values(stream.read())
                    case _:
                        yield from _lines(stream)
        except (OSError, EOFError, zlib.error) as exc:
            raise OnPaceError(f"{self._path}: cannot be read: {exc}") from exc

    def _csv_rows(self, stream: IO[bytes]) -> Iterator[tuple[int, bytes]]:
        rows = csv.DictReader(io.TextIOWrapper(stream, encoding="utf-8-sig", newline=""), restval="")
        try:
            if not {"type", "time"} <= set(rows.fieldnames or ()):
                raise OnPaceError(f"{self._path}:1: a CSV of events needs at least the columns type and time")
            for row in rows:
                yield rows.line_num, self._csv_event(rows.line_num, row)
        except (UnicodeDecodeError, csv.Error) as exc:
            raise OnPaceError(f"{self._path}:{rows.line_num + 1}: cannot be read: {exc}") from exc

    def _csv_event(self, number: int, row: dict[str, Any]) -> bytes:
        row.pop(None, None)  # type: ignore[call-overload] # cells beyond the header
        event: dict[str, Any] = {name: row[name] for name in ATTRIBUTES if row.get(name)}
        event.setdefault("source", f"/{self._path.name}")
        if "id" not in event:
            content_hash = xxhash.xxh3_64_hexdigest(msgspec.json.encode(row))
            event["id"] = f"{self._path.name}-{number}-{content_hash}"
        declared = self._event_types.get(event.get("type", ""))
        schema = declared.json_schema if declared else {}
        content: dict[str, Any] = {}
        for name, cell in row.items():
            if name not in ATTRIBUTES and cell != "":
                _put(content, name, cell, schema)
        return msgspec.json.encode({"specversion": "1.0", **event, "data": content})


def read_events(path: Path | str, event_types: Mapping[str, EventType] | None = None) -> Iterator[tuple[int, bytes]]:
    """(line number, raw bytes) of each event in a file. Raises OnPaceError when it cannot be read."""
    return iter(EventFile(path, event_types))


def replay(
    path: Path | str,
    producer: RawSender,
    *,
    event_types: Mapping[str, EventType] | None = None,
    progress: Callable[[int, int, int], None] = lambda _lines, _position, _size: None,
    reject: Callable[[int, bytes, InvalidEvent], None] = lambda _line, _raw, _problem: None,
    max_event_bytes: int = 1_048_576,
) -> ReplayResult:
    """Send every event of a file and wait for the acknowledgements.

    Lines that are no valid events are sent too: they end up as dead letters, with their bytes. Only those above
    `max_event_bytes` cannot be sent; `reject(line, raw, problem)` gets them. `progress(lines, position, size)` is
    called now and then and at the end. Repeating a replay is safe: events keep their ids. Raises DeliveryFailed.
    """
    events = EventFile(path, event_types)
    lines = sent = 0
    decode = msgspec.json.Decoder(Key).decode
    send = producer.send_raw
    for number, raw in events:
        lines += 1
        if len(raw) > max_event_bytes:
            message = f"line {number} has {len(raw):,} bytes; at most {max_event_bytes:,} are accepted"
            reject(number, raw, InvalidEvent("too_large", message))
            continue
        try:
            found = decode(raw)
            key = event_key(found.id, found.subject, found.partitionkey) or hash_key(raw)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            key = hash_key(raw)
        send(raw, key)
        sent += 1
        if lines % PROGRESS_EVERY == 0:
            progress(lines, events.position, events.size)
    producer.flush()
    progress(lines, events.size, events.size)
    return ReplayResult(sent=sent, lines=lines, failed=lines - sent, offsets=producer.offsets)


def _lines(stream: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    for number, line in enumerate(stream, 1):
        raw = (line.removeprefix(BOM) if number == 1 else line).strip()
        if raw:
            yield number, raw


def _json_values(text: bytes) -> Iterator[tuple[int, bytes]]:
    """The items of one array, or one object over several lines; else JSON lines."""
    body = text.removeprefix(BOM).strip()
    try:
        if body.startswith(b"["):
            raws = msgspec.json.decode(body, type=list[msgspec.Raw])
            return ((number, bytes(raw)) for number, raw in enumerate(raws, 1))
        if body:
            msgspec.json.decode(body, type=msgspec.Raw)
            return iter([(1, body)])
    except (msgspec.DecodeError, RecursionError):
        pass
    return _lines(io.BytesIO(text))


def _put(target: dict[str, Any], name: str, cell: str, schema: Mapping[str, Any]) -> None:
    """Set one cell as the JSON value that its property declares; what does not fit stays text and is refused later."""
    properties = schema.get("properties", {})
    outer, dot, inner = name.partition(".")
    if name not in properties and dot and outer:
        nested = target.setdefault(outer, {})
        if isinstance(nested, dict):
            _put(nested, inner, cell, properties.get(outer, {}))
        return
    types = types_of(properties.get(name, {}))
    if {"number", "integer"} & set(types) and NUMBER.fullmatch(cell):
        target[name] = msgspec.Raw(cell.encode())
    elif "boolean" in types and cell.lower() in ("true", "false"):
        target[name] = cell.lower() == "true"
    else:
        target[name] = _nested_json(cell) if {"object", "array"} & set(types) else cell


def _nested_json(cell: str) -> Any:
    try:
        return msgspec.json.decode(cell.encode(), type=msgspec.Raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return cell
