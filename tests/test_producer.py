"""The SDK and the topics, against the embedded broker."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from kafka import KafkaConsumer, TopicPartition

from onpace.config.errors import BrokerUnavailable, InvalidEvent, OnPaceError, PortBusy
from onpace.config.kpi import EventType
from onpace.config.settings import KafkaSettings
from onpace.ingest.bulk import BulkProducer
from onpace.ingest.codec import decode_envelopes
from onpace.ingest.embedded_broker import EmbeddedBroker, free_port
from onpace.ingest.event import Event
from onpace.ingest.producer import DeliveryFailed, EventProducer, Failure
from onpace.ingest.topics import (
    NO_TOPIC_ID,
    ensure_topics,
    grow_topic,
    partition_count,
    topic_id,
    wait_for_broker,
)

NOON = datetime(2026, 10, 1, 12, tzinfo=UTC)
SHORT = timedelta(milliseconds=300)


@pytest.fixture(scope="module")
def broker() -> Iterator[KafkaSettings]:
    """A broker with both topics."""
    with EmbeddedBroker() as running:
        settings = KafkaSettings(bootstrap=running.address)
        ensure_topics(settings)
        yield settings


def read(settings: KafkaSettings, topic: str, offsets: dict[int, int]) -> list[tuple[bytes, bytes]]:
    """(key, value) of every message below the offsets."""
    consumer = KafkaConsumer(bootstrap_servers=settings.bootstrap, enable_auto_commit=False, consumer_timeout_ms=5000)
    parts = [TopicPartition(topic, partition) for partition in offsets]
    consumer.assign(parts)
    consumer.seek_to_beginning(*parts)
    found: list[tuple[bytes, bytes]] = []
    while any(consumer.position(part) < offsets[part.partition] for part in parts):
        for records in consumer.poll(timeout_ms=500).values():
            found += [(record.key, record.value) for record in records]
    consumer.close()
    return found


def test_events_arrive_with_their_key(broker: KafkaSettings) -> None:
    """Id, time, exact decimals and key; the offsets say how far to read."""
    with EventProducer(broker, topic="arrive", source="/shop", clock=lambda: NOON) as producer:
        ensure_topics(broker.model_copy(update={"topic": "arrive"}))
        first = producer.send("order.placed", {"amount": Decimal("12.50")}, id="o-1", subject="user-7")
        producer.send("ping", partitionkey="p", time=NOON - timedelta(days=1))
        producer.flush(10)
        assert first.result(1)[1] >= 0
        offsets = producer.offsets
    messages = read(broker, "arrive", offsets)
    assert {key for key, _ in messages} == {b"user-7", b"p"}
    envelopes = decode_envelopes([(value, ()) for _, value in messages])
    assert not envelopes.bad
    row = envelopes.id.index("o-1")
    assert (envelopes.type[row], envelopes.data[row]) == ("order.placed", b'{"amount":12.50}')


def test_one_key_goes_to_one_partition_whoever_sends(broker: KafkaSettings) -> None:
    """EventProducer and BulkProducer agree (murmur2)."""
    keys = [f"key-{k}".encode() for k in range(50)]
    with EventProducer(broker) as producer:
        one_by_one = [producer.send_raw(b"x", key).result(10)[0] for key in keys]
    with BulkProducer(broker) as bulk:
        assert [bulk._partition(key) for key in keys] == one_by_one
    assert set(one_by_one) == {0, 1, 2, 3}


def test_the_bulk_producer_knows_its_offsets(broker: KafkaSettings) -> None:
    """Every message is there, once acknowledged; large ones too."""
    settings = broker.model_copy(update={"topic": "bulk"})
    ensure_topics(settings)
    with BulkProducer(settings) as bulk:
        for number in range(5000):
            bulk.send_raw(b'{"n":%d}' % number, b"%d" % (number % 7))
        bulk.send_raw(b"x" * 1_000_000, b"large", [("h", b"1")])
        bulk.flush()
        assert sum(bulk.offsets.values()) == 5001
        with pytest.raises(InvalidEvent, match="bytes"):
            bulk.send_raw(b"x" * 3_000_000, b"huge")
    assert len(read(settings, "bulk", bulk.offsets)) == 5001


def test_topics_are_made_once_and_have_an_identity(broker: KafkaSettings) -> None:
    """Repeating is safe; a missing topic has no id."""
    before = topic_id(broker, broker.topic)
    ensure_topics(broker)
    assert topic_id(broker, broker.topic) == before != NO_TOPIC_ID
    assert topic_id(broker, "nowhere") == NO_TOPIC_ID


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"source": None}, "missing_attribute"),
        ({"id": ""}, "invalid_attribute"),
        ({"id": "\ud800"}, "invalid_attribute"),
        ({"time": datetime.fromisoformat("2026-10-01")}, "invalid_time"),
        ({"data": {"a": [float("nan")]}}, "malformed_json"),
        ({"data": {"a": object()}}, "malformed_json"),
        ({"data": {"amount": "free"}}, "schema_violation"),
        ({"type": "order.place"}, "unknown_type"),
        ({"data": {"amount": 1, "note": "x" * 2000}}, "too_large"),
    ],
)
def test_a_wrong_event_is_refused_before_it_is_sent(changes: dict[str, object], reason: str) -> None:
    """No broker is needed to find out."""
    types = {"order.placed": EventType(name="order.placed", properties={"amount": {"type": "number"}})}
    producer = EventProducer("127.0.0.1:1", event_types=types, clock=lambda: NOON, max_event_bytes=1000)
    arguments: dict[str, object] = {"type": "order.placed", "data": {"amount": 1}, "source": "/s", **changes}
    with pytest.raises(InvalidEvent) as caught:
        producer.send(**arguments)  # type: ignore[arg-type]
    assert caught.value.reason == reason


def test_a_broker_that_is_away_is_named() -> None:
    """One line with the address, after a bounded wait."""
    settings = KafkaSettings(bootstrap=f"127.0.0.1:{free_port()}")
    with pytest.raises(BrokerUnavailable, match=str(settings.bootstrap)):
        EventProducer(settings, source="/s", max_block=SHORT).send("ping")
    with pytest.raises(BrokerUnavailable, match=str(settings.bootstrap)):
        BulkProducer(settings, timeout=0.3).connect()
    with pytest.raises(BrokerUnavailable, match=str(settings.bootstrap)):
        wait_for_broker(settings, 0.2)
    with pytest.raises(BrokerUnavailable, match="ONPACE_KAFKA__BOOTSTRAP"):
        ensure_topics(KafkaSettings())


def test_events_that_a_dying_broker_lost_are_reported() -> None:
    """By flush, by the delivery and by the callback; a full buffer blocks, then says so."""
    reported: list[Failure] = []
    with EmbeddedBroker() as running:
        ensure_topics(KafkaSettings(bootstrap=running.address))
        producer = EventProducer(
            running.address,
            source="/s",
            max_block=SHORT,
            delivery_timeout=timedelta(seconds=1),
            on_error=reported.append,
            buffer_bytes=500,
        )
        producer.send("ping", id="safe").result(10)
        running.kill()
        lost = producer.send("ping", id="lost")
        with pytest.raises(BrokerUnavailable, match="wait to be acknowledged"):
            producer.send("ping", {"note": "x" * 500})
        with pytest.raises(DeliveryFailed, match="lost: "):
            producer.flush(20)
        with pytest.raises(DeliveryFailed):
            lost.result(1)
        assert [failure.id for failure in reported] == ["lost"]
        producer.close(1)
        with pytest.raises(OnPaceError, match="closed"):
            producer.send("ping")


def test_a_taken_port_is_refused() -> None:
    """Instead of answering to somebody else's broker."""
    with EmbeddedBroker() as running:
        port = int(running.address.rpartition(":")[2])
        with pytest.raises(PortBusy, match=str(port)):
            EmbeddedBroker(port).start()
        assert running.pid is not None
    assert not running.running


def test_of_brokers_started_at_once_on_one_port_one_runs() -> None:
    """The others do not take the answers of the one that won for their own."""
    port = free_port()

    def started() -> EmbeddedBroker | None:
        try:
            return EmbeddedBroker(port).start()
        except PortBusy:
            return None

    with ThreadPoolExecutor(4) as pool:
        found = [one for one in pool.map(lambda _: started(), range(4)) if one]
    try:
        assert len(found) == 1
        assert found[0].running
    finally:
        for one in found:
            one.stop()
    with EmbeddedBroker(port) as again:
        assert again.running


def test_an_event_keeps_its_identity_through_the_producer(broker: KafkaSettings) -> None:
    """`send_event` changes neither id nor time."""
    event = Event("e-9", "/s", "ping", NOON, b"{}")
    with EventProducer(broker) as producer:
        assert producer.send_event(event).result(10)[1] >= 0


def test_a_broker_that_cannot_grow_a_topic_says_what_to_do_instead(broker: KafkaSettings) -> None:
    """The embedded one makes its topic anew at every start; a topic that is not there is said to be missing."""
    assert partition_count(broker) == 4
    for only_ask in (True, False):
        with pytest.raises(OnPaceError, match="stop it, set ONPACE_KAFKA__PARTITIONS=8, and start it again"):
            grow_topic(broker, 8, only_ask=only_ask)
    with pytest.raises(OnPaceError, match="no topic 'nothing'"):
        partition_count(broker.model_copy(update={"topic": "nothing"}))


def test_what_is_not_delivered_when_it_is_closed_is_said_in_our_words() -> None:
    """Not in the driver's, whose own closing fails as well."""
    with EmbeddedBroker() as running:
        settings = KafkaSettings(bootstrap=running.address)
        ensure_topics(settings)
        producer = EventProducer(settings, source="/shop")
        producer.send("ping").result(10)
        running.kill()
        producer.send("ping", subject="user-1")
        with pytest.raises(DeliveryFailed):
            producer.close(0.3)
        assert producer._producer is not None
        assert producer._producer._closed
        assert not producer._producer._sender.is_alive()
