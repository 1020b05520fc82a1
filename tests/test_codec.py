"""CloudEvents in, columns out."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onpace.config.errors import InvalidEvent
from onpace.ingest.codec import decode_envelopes, parse_event
from onpace.ingest.event import REASONS, Event, event_key, format_time
from onpace.ingest.times import check_time, from_us, parse_time, parse_times, to_us

GOOD: dict[str, Any] = {
    "specversion": "1.0",
    "id": "e1",
    "source": "/shop",
    "type": "order.placed",
    "time": "2026-10-01T12:00:00.5+02:00",
    "subject": "user-7",
    "data": {"amount": 12.50},
}


def structured(**changes: Any) -> bytes:
    """The good event with some attributes changed; `...` removes one."""
    return json.dumps({name: value for name, value in {**GOOD, **changes}.items() if value is not ...}).encode()


def reason_of(value: bytes | None, headers: tuple[tuple[str, bytes], ...] = ()) -> str:
    """Why a message is bad, alone and in the middle of a batch."""
    alone = decode_envelopes([(value, headers)])
    among = decode_envelopes([(structured(), ()), (value, headers), (structured(), ())])
    [(position, problem)] = among.bad
    assert (position, among.index) == (1, [0, 2])
    assert [str(other) for _, other in alone.bad] == [str(problem)]
    assert problem.reason in REASONS
    return problem.reason


def test_a_structured_event_becomes_a_row() -> None:
    """Attributes, time in UTC microseconds, and data byte by byte as it was sent."""
    value = structured().replace(b"12.5", b"12.50")
    envelopes = decode_envelopes([(value, ())])
    assert (envelopes.id, envelopes.source, envelopes.type) == (["e1"], ["/shop"], ["order.placed"])
    assert envelopes.time_us == [to_us(datetime(2026, 10, 1, 10, 0, 0, 500_000, tzinfo=UTC))]
    assert envelopes.data == [b'{"amount": 12.50}']
    assert not envelopes.bad


def test_an_event_without_data_has_null_data() -> None:
    """`data` may be absent."""
    assert decode_envelopes([(structured(data=...), ())]).data == [b"null"]


def test_the_last_of_duplicate_keys_wins() -> None:
    """As in most JSON readers."""
    value = structured().replace(b'"id": "e1"', b'"id": "old", "id": "new"')
    assert decode_envelopes([(value, ())]).id == ["new"]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "empty"),
        (b"", "empty"),
        (b" \n", "empty"),
        (b"{", "malformed_json"),
        (b"{'id': 1}", "malformed_json"),
        (structured() + b"}", "malformed_json"),
        (structured(data=float("nan")), "malformed_json"),
        (structured(data=float("inf")), "malformed_json"),
        (structured(data="@").replace(b"@", b"\xff"), "malformed_json"),
        (structured(data="\ud800"), "malformed_json"),
        (structured(id="\udc00"), "malformed_json"),
        (structured(extra="\ud800x"), "malformed_json"),
        (b'{"a":' + b"[" * 100_000, "malformed_json"),
        (b"[]", "not_an_object"),
        (b'"event"', "not_an_object"),
        (b"null", "not_an_object"),
        (structured(id=...), "missing_attribute"),
        (structured(source=None), "missing_attribute"),
        (structured(specversion=...), "missing_attribute"),
        (structured(id=""), "invalid_attribute"),
        (structured(id=7), "invalid_attribute"),
        (structured(type="t" * 1025), "invalid_attribute"),
        (structured(specversion="0.3"), "invalid_attribute"),
        (structured(subject={}), "invalid_attribute"),
        (structured(data=..., data_base64="AAAA"), "invalid_attribute"),
        (structured(time=...), "invalid_time"),
        (structured(time=None), "invalid_time"),
        (structured(time=1790000000), "invalid_time"),
        (structured(time="yesterday"), "invalid_time"),
        (structured(time="2026-10-01T12:00:00"), "invalid_time"),
        (structured(time="2026-10-01"), "invalid_time"),
        (structured(time="2026-02-30T12:00:00Z"), "invalid_time"),
        (structured(time="2026-10-01T12:00Z"), "invalid_time"),
        (structured(time="2026-10-01T12:00:00+02"), "invalid_time"),
        (structured(time="1970-01-01T23:59:59Z"), "time_too_old"),
        (structured(time="0000-01-01T00:00:00Z"), "time_too_old"),
    ],
)
def test_a_bad_message_is_named_and_leaves_its_batch_alone(value: bytes | None, reason: str) -> None:
    """Every kind of bad message has its reason; its neighbours are decoded."""
    assert reason_of(value) == reason


def test_a_message_over_the_limit_is_too_large() -> None:
    """The limit is in bytes of the value and inclusive."""
    value = structured()
    assert decode_envelopes([(value, ())], max_bytes=len(value)).bad == []
    [(_, problem)] = decode_envelopes([(value, ())], max_bytes=len(value) - 1).bad
    assert problem.reason == "too_large"


def test_binary_mode_round_trips() -> None:
    """Attributes as ce_ headers, data as the value."""
    event = parse_event(structured(traceparent="00-ab", partitionkey="p", sampled=True))
    key, value, headers = event.to_kafka()
    assert key == b"p"
    assert parse_event(value, headers) == event
    envelopes = decode_envelopes([(value, headers), (structured(), [("traceparent", b"x")])])
    assert envelopes.id == ["e1", "e1"]
    assert envelopes.data[0] == value


def test_structured_mode_round_trips() -> None:
    """Encoding and decoding an event changes nothing."""
    event = Event(
        "1", "/s", "t", datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC), b'{"a":1.0}', extensions={"region": "eu"}
    )
    assert parse_event(event.to_json()) == event


def test_a_header_that_says_structured_beats_ce_headers() -> None:
    """`content-type: application/cloudevents+json` is structured mode whatever other headers say."""
    headers = (("content-type", b"application/cloudevents+json; charset=utf-8"), ("ce_id", b"other"))
    assert decode_envelopes([(structured(), headers)]).id == ["e1"]


@pytest.mark.parametrize(
    ("headers", "value", "reason"),
    [
        ({"ce_id": None}, b"{}", "missing_attribute"),
        ({"ce_source": b"\xff"}, b"{}", "invalid_attribute"),
        ({"content-type": b"application/xml"}, b"<a/>", "invalid_attribute"),
        ({"ce_time": b"2026-10-01T12:00:00"}, b"{}", "invalid_time"),
        ({}, b"{", "malformed_json"),
        ({}, b'"\xff"', "malformed_json"),
        ({}, None, "empty"),
    ],
)
def test_a_bad_binary_message_is_named(headers: dict[str, bytes | None], value: bytes | None, reason: str) -> None:
    """Binary mode has the same reasons."""
    good = {
        "ce_specversion": b"1.0",
        "ce_id": b"1",
        "ce_source": b"/s",
        "ce_type": b"t",
        "ce_time": b"2026-10-01T12:00:00Z",
        **headers,
    }
    assert reason_of(value, tuple((name, raw) for name, raw in good.items() if raw is not None)) == reason


def test_the_key_is_partitionkey_then_subject_then_id() -> None:
    """All retries of one event go to one partition."""
    assert event_key("i", "s", "p") == b"p"
    assert event_key("i", "s", None) == b"s"
    assert event_key("i", None, None) == b"i"


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("2026-10-01t12:00:00z", "2026-10-01T12:00:00Z"),
        ("2026-10-01 12:00:00Z", "2026-10-01T12:00:00Z"),
        ("2026-10-01T12:00:00.1234569Z", "2026-10-01T12:00:00.123456Z"),
        ("2026-10-01T12:00:00.123456789-05:30", "2026-10-01T17:30:00.123456Z"),
        ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z"),
        ("2016-12-31T23:59:60.9Z", "2017-01-01T00:00:00Z"),
        ("2026-10-01T12:00:00-00:00", "2026-10-01T12:00:00Z"),
    ],
)
def test_unusual_times_are_understood(text: str, same: str) -> None:
    """Lower case, leap seconds, nanoseconds and offsets, alone and in a column."""
    assert parse_time(text) == parse_time(same)
    assert parse_times([same, text]) == [parse_time(same)] * 2


TIMES = st.integers(-(10**12), 4 * 10**15).map(lambda time_us: format_time(from_us(time_us)))
ODD = st.from_regex(r"\A20[0-3]\d-[01]\d-[0-3]\d[Tt ][0-2]\d:[0-6]\d(:[0-6]\d)?(\.\d{1,9})?(Z|z|[+-]\d\d(:?\d\d)?)?\Z")


@given(st.lists(st.one_of(TIMES, ODD), max_size=80))
def test_a_column_of_times_reads_like_each_alone(texts: list[str]) -> None:
    """The vectorised path and the exact one agree on value and on refusal."""
    alone: list[int | None] = []
    for text in texts:
        try:
            alone.append(parse_time(text))
        except InvalidEvent:
            alone.append(None)
    assert parse_times(texts) == alone


def test_an_event_may_be_dated_ahead_only_within_the_bound() -> None:
    """The bound is inclusive and compared with the arrival."""
    arrival = datetime(2026, 10, 1, tzinfo=UTC)
    check_time(to_us(arrival + timedelta(days=1)), to_us(arrival), timedelta(days=1))
    with pytest.raises(InvalidEvent) as caught:
        check_time(to_us(arrival + timedelta(days=1)) + 1, to_us(arrival), timedelta(days=1))
    assert caught.value.reason == "time_in_future"
    assert from_us(to_us(arrival)) == arrival


def test_a_time_without_a_zone_cannot_be_encoded() -> None:
    """The SDK refuses it before it is sent."""
    with pytest.raises(ValueError, match="time zone"):
        Event("1", "/s", "t", datetime.fromisoformat("2026-01-01")).to_json()
