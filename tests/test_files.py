"""Files of events, their replay, and the dead letters that come of it."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from onpace.config.errors import InvalidEvent, OnPaceError
from onpace.config.kpi import EventType
from onpace.ingest.codec import decode_envelopes, parse_event
from onpace.ingest.deadletters import DeadLetter, key_of_raw, make_dead_letter, parse_change, repair
from onpace.ingest.files import EventFile, read_events, replay
from onpace.ingest.validation import DataDecoder

ORDER = b'{"specversion":"1.0","id":"1","source":"/s","type":"t","time":"2026-10-01T12:00:00Z","data":{"a":1.50,"b":2}}'
AT = datetime(2026, 10, 1, tzinfo=UTC)


class Log:
    """A producer that keeps what it is given."""

    def __init__(self) -> None:
        self.messages: list[tuple[bytes, bytes]] = []

    def send_raw(self, value: bytes, key: bytes, headers: Sequence[tuple[str, bytes]] = ()) -> None:
        assert not headers
        self.messages.append((key, value))

    def flush(self, timeout: float | None = None) -> None:
        pass

    @property
    def offsets(self) -> dict[int, int]:
        return {0: len(self.messages)}


def test_json_lines_are_read_with_their_numbers(tmp_path: Path) -> None:
    """BOM and blank lines are tolerated; gzip is recognised by its name."""
    content = b"\xef\xbb\xbf" + ORDER + b"\r\n\n  \nnot json\n" + ORDER
    (tmp_path / "e.jsonl").write_bytes(content)
    (tmp_path / "e.ndjson.gz").write_bytes(gzip.compress(content))
    expected = [(1, ORDER), (4, b"not json"), (5, ORDER)]
    assert list(read_events(tmp_path / "e.jsonl")) == expected
    assert list(read_events(tmp_path / "e.ndjson.gz")) == expected


@pytest.mark.parametrize(
    ("content", "count"),
    [(b"[" + ORDER + b",\n" + ORDER + b"]", 2), (b"{\n}", 1), (ORDER + b"\n" + ORDER, 2), (b"", 0)],
)
def test_a_json_file_is_an_array_an_object_or_lines(tmp_path: Path, content: bytes, count: int) -> None:
    """Whatever people call .json."""
    (tmp_path / "e.json").write_bytes(content)
    assert len(list(read_events(tmp_path / "e.json"))) == count


def test_a_csv_becomes_typed_events(tmp_path: Path) -> None:
    """Cells take the type that the catalog declares; numbers keep their digits; an empty cell is missing."""
    event_type = EventType(
        name="order.placed",
        properties={
            "amount": {"type": "number", "decimal": 2},
            "count": {"type": "integer"},
            "gift": {"type": "boolean"},
            "zip": {"type": "string"},
            "address": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    )
    path = tmp_path / "orders.csv"
    path.write_text(
        "type,time,amount,count,gift,zip,address.city\n"
        'order.placed,2026-10-01T12:00:00Z,12.50,3,TRUE,01234,"Köln, Mitte"\n'
        "order.placed,2026-10-01T12:00:00Z,free,,,,\n",
        encoding="utf-8",
    )
    types = {"order.placed": event_type}
    rows = list(read_events(path, types))
    assert [number for number, _ in rows] == [2, 3]
    envelopes = decode_envelopes([(raw, ()) for _, raw in rows])
    assert (
        envelopes.data[0].decode()
        == '{"amount":12.50,"count":3,"gift":true,"zip":"01234","address":{"city":"Köln, Mitte"}}'
    )
    assert envelopes.source == ["/orders.csv"] * 2
    assert len(set(envelopes.id)) == 2
    assert list(read_events(path, types)) == rows
    [(position, problem)] = DataDecoder(event_type, []).decode(envelopes.data).bad
    assert (position, problem.field) == (1, "data.amount")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("missing.jsonl", None, "No such file"),
        ("broken.jsonl.gz", gzip.compress(ORDER * 1000)[:-20], "cannot be read"),
        ("no.jsonl.gz", b"plain", "cannot be read"),
        ("e.csv", b"a,b\n1,2\n", "type and time"),
        ("latin.csv", b"type,time,a\nt,2026-10-01T12:00:00Z,\xff\n", "cannot be read"),
    ],
)
def test_an_unreadable_file_is_one_clear_line(tmp_path: Path, name: str, content: bytes | None, words: str) -> None:
    """The message names the file."""
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(OnPaceError, match=words) as caught:
        list(EventFile(path))
    assert name in str(caught.value)


def test_a_replay_sends_every_line(tmp_path: Path) -> None:
    """Malformed lines too, keyed by their bytes; what is too large goes to `reject`."""
    subject = ORDER.replace(b'"id":"1"', b'"id":"2","subject":"u"')
    path = tmp_path / "e.jsonl"
    path.write_bytes(b"\n".join([ORDER, subject, b"{broken", b"[]", b'"' + b"x" * 2000 + b'"']))
    log, rejected, steps = Log(), list[tuple[int, str]](), list[tuple[int, int, int]]()
    result = replay(
        path,
        log,
        max_event_bytes=1000,
        reject=lambda line, raw, problem: rejected.append((line, problem.reason)),
        progress=lambda *step: steps.append(step),
    )
    assert [key for key, _ in log.messages[:2]] == [b"1", b"u"]
    assert [value for _, value in log.messages] == [ORDER, subject, b"{broken", b"[]"]
    assert [key_of_raw(value) for _, value in log.messages] == [key for key, _ in log.messages]
    assert rejected == [(5, "too_large")]
    assert (result.lines, result.sent, result.failed, result.offsets) == (5, 4, 1, {0: 4})
    assert steps[-1] == (5, path.stat().st_size, path.stat().st_size)


def test_a_dead_letter_round_trips() -> None:
    """Raw bytes untouched, reason and place in headers, identity read from the bytes where possible."""
    problem = InvalidEvent("schema_violation", "data.a: Köln is not a number", "data.a")
    letter = make_dead_letter(ORDER, (), problem, topic="events", partition=3, offset=42, arrival=AT)
    assert (letter.event_type, letter.source, letter.id) == ("t", "/s", "1")
    _, value, headers = letter.to_kafka()
    assert value == ORDER
    assert dict(headers)["onpace_reason"] == b"schema_violation"
    assert DeadLetter.from_kafka(value, headers) == letter
    broken = make_dead_letter(b"\xff", (), problem, topic="events", partition=0, offset=0, arrival=AT)
    assert (broken.raw, broken.id) == (b"\xff", None)
    with pytest.raises(OnPaceError, match="not a dead letter"):
        DeadLetter.from_kafka(b"", [])


def test_a_binary_event_keeps_its_attributes_as_a_dead_letter() -> None:
    """They travel as headers, so its bytes alone would lose them."""
    _, value, headers = parse_event(ORDER).to_kafka()
    problem = InvalidEvent("schema_violation", "x")
    letter = make_dead_letter(value, headers, problem, topic="events", partition=0, offset=0, arrival=AT)
    assert parse_event(letter.raw) == parse_event(ORDER)
    torn = make_dead_letter(b"{", headers, problem, topic="events", partition=0, offset=0, arrival=AT)
    assert json.loads(torn.raw)["data"] == "{"


def test_a_repair_changes_only_what_it_is_told() -> None:
    """Numbers elsewhere keep their text, the id stays."""
    changes = dict(
        parse_change(text) for text in ["data.b=12.50", "time=2026-10-02T00:00:00Z", "data.c.d=x", "subject=null"]
    )
    repaired = repair(ORDER, changes)
    event = parse_event(repaired)
    assert event.data == b'{"a":1.50,"b":12.50,"c":{"d":"x"}}'
    assert (event.id, event.time.day, event.subject) == ("1", 2, None)
    assert parse_event(repair(ORDER.replace(b'"id":"1",', b""), {"id": "9"})).id == "9"


@pytest.mark.parametrize(
    ("raw", "change", "words"),
    [
        (ORDER, "id=2", "cannot be changed"),
        (b"{", "data.a=1", "no JSON object"),
        (ORDER, "type.name=1", "not an object"),
        (ORDER, "nonsense", "write field=value"),
    ],
)
def test_an_impossible_repair_says_so(raw: bytes, change: str, words: str) -> None:
    """One line, no traceback for the user."""
    with pytest.raises(OnPaceError, match=words):
        repair(raw, dict([parse_change(change)]))
