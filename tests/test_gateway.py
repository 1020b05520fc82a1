"""The HTTP gateway against a submitter that remembers, and against a broker that is away."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry

from onpace.config.catalog import Catalog
from onpace.config.errors import BrokerUnavailable
from onpace.config.kpi import EventType
from onpace.config.settings import KafkaSettings
from onpace.ingest.embedded_broker import EmbeddedBroker, free_port
from onpace.ingest.event import Event
from onpace.ingest.gateway import EventSubmitter, GatewayLimits, Submitter, gateway_router
from onpace.ingest.topics import ensure_topics

CATALOG = Catalog(
    events={
        "order.placed": EventType(
            name="order.placed",
            description="Paid.",
            properties={"order_id": {"type": "string"}, "amount": {"type": "number", "minimum": 0, "decimal": 2}},
            required=("order_id", "amount"),
        ),
        "ping": EventType(name="ping"),
    }
)
NOW = datetime(2026, 10, 1, 12, tzinfo=UTC)
STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"


class Remembering:
    """Accepts everything, unless it is told that the broker is away."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.away = False

    async def submit(self, events: Sequence[Event]) -> None:
        if self.away:
            raise BrokerUnavailable("Kafka at nowhere does not answer")
        self.events += events


class Gateway:
    """A client, what it sent, and its metrics."""

    def __init__(self, submitter: Submitter | None = None, limits: GatewayLimits | None = None) -> None:
        self.kafka = Remembering()
        self.registry = CollectorRegistry()
        app = FastAPI()
        router = gateway_router(
            submitter or self.kafka, lambda: CATALOG, self.registry, limits=limits or GatewayLimits(), now=lambda: NOW
        )
        app.include_router(router)
        self.client = TestClient(app)

    def post(self, body: Any, media: str | None = STRUCTURED, headers: dict[str, str] | None = None) -> tuple[int, Any]:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {**({"content-type": media} if media else {}), **(headers or {})}
        answer = self.client.post("/v1/events", content=content, headers=sent)
        return answer.status_code, answer.json()


def order(**changes: Any) -> dict[str, Any]:
    """A good order; `...` removes an attribute."""
    event = {
        "specversion": "1.0",
        "id": "1",
        "source": "/shop",
        "type": "order.placed",
        "time": "2026-10-01T12:00:00Z",
        "subject": "user-7",
        "data": {"order_id": "o1", "amount": 12.5},
        **changes,
    }
    return {name: value for name, value in event.items() if value is not ...}


@pytest.fixture
def gateway() -> Gateway:
    """A gateway whose broker works."""
    return Gateway()


def test_one_event_is_accepted(gateway: Gateway) -> None:
    """Structured mode; the data keeps its text."""
    body = json.dumps(order()).replace("12.5", "12.50").encode()
    assert gateway.post(body) == (202, {"accepted": 1})
    [event] = gateway.kafka.events
    assert (event.id, event.key, event.data) == ("1", b"user-7", b'{"order_id": "o1", "amount": 12.50}')
    assert gateway.registry.get_sample_value("onpace_gateway_events_total", {"outcome": "accepted"}) == 1
    assert gateway.registry.get_sample_value("onpace_gateway_requests_total", {"code": "202"}) == 1


@pytest.mark.parametrize("media", [BATCH, "application/json; charset=utf-8"])
def test_a_batch_is_accepted(gateway: Gateway, media: str) -> None:
    """All of it."""
    assert gateway.post([order(id="1"), order(id="2", type="ping", data=...)], media) == (202, {"accepted": 2})
    assert [event.id for event in gateway.kafka.events] == ["1", "2"]


def test_plain_json_of_one_event_is_accepted(gateway: Gateway) -> None:
    """What curl users send."""
    assert gateway.post(order(), "application/json")[0] == 202


def test_binary_mode_is_accepted(gateway: Gateway) -> None:
    """Attributes as ce- headers, percent-decoded and unquoted."""
    headers = {"ce-id": "caf%C3%A9", "ce-source": '"/shop \\"A\\""', "ce-type": "ping", "ce-specversion": "1.0"}
    headers |= {"ce-time": "2026-10-01T12:00:00Z", "ce-traceparent": "00-1"}
    assert gateway.post(b'{"a":1}', "application/json", headers) == (202, {"accepted": 1})
    [event] = gateway.kafka.events
    assert (event.id, event.source, event.data, event.extensions) == (
        "café",
        '/shop "A"',
        b'{"a":1}',
        {"traceparent": "00-1"},
    )


def test_a_bad_event_refuses_its_whole_batch(gateway: Gateway) -> None:
    """422 with an error per bad index; nothing is sent."""
    batch = [
        order(),
        order(data={"order_id": "o1", "amount": -1}),
        order(time="2026-10-01T12:00:00"),
        order(type="order.place"),
        order(time="2036-10-01T12:00:00Z"),
        order(id=...),
        7,
    ]
    code, answer = gateway.post(batch, BATCH)
    assert code == 422
    found = [(error["index"], error["field"], error["reason"]) for error in answer["errors"]]
    assert found == [
        (1, "data.amount", "schema_violation"),
        (2, "time", "invalid_time"),
        (3, "type", "unknown_type"),
        (4, "time", "time_in_future"),
        (5, "id", "missing_attribute"),
        (6, "", "not_an_object"),
    ]
    assert "did you mean 'order.placed'" in answer["errors"][2]["message"]
    assert gateway.kafka.events == []
    assert gateway.registry.get_sample_value("onpace_gateway_events_total", {"outcome": "rejected"}) == 6


@pytest.mark.parametrize(
    ("body", "media", "code", "reason"),
    [
        (b"{", STRUCTURED, 400, "malformed_json"),
        (b"", STRUCTURED, 400, "empty"),
        (b'{"id": NaN}', "application/json", 400, "malformed_json"),
        (b'{"id": "\xff"}', "application/json", 400, "malformed_json"),
        (b"[]", BATCH, 422, "empty"),
        (b"{}", BATCH, 422, "not_an_array"),
        (b"[]", STRUCTURED, 422, "not_an_object"),
        (b"<a/>", "application/xml", 415, "unsupported_content_type"),
        (b"{}", None, 415, "unsupported_content_type"),
        (b"{}", "application/cloudevents+avro", 415, "unsupported_content_type"),
    ],
)
def test_a_bad_request_says_why(gateway: Gateway, body: bytes, media: str | None, code: int, reason: str) -> None:
    """Status code and reason."""
    answered, answer = gateway.post(body, media)
    assert (answered, answer["errors"][0]["reason"]) == (code, reason)
    assert gateway.kafka.events == []


def test_large_events_and_bodies_are_refused() -> None:
    """413 for an event above its limit, and for a body above its own, whatever Content-Length says."""
    gateway = Gateway(limits=GatewayLimits(event_bytes=400, body_bytes=1000))
    assert gateway.post(order(subject="s" * 400))[0] == 413
    answer = gateway.client.post(
        "/v1/events", content=(b"x" * 100 for _ in range(20)), headers={"content-type": STRUCTURED}
    )
    assert answer.status_code == 413
    assert gateway.post([order(id=str(k)) for k in range(3)], BATCH)[0] == 202


def test_a_broker_that_is_away_gives_503(gateway: Gateway) -> None:
    """With Retry-After; the client keeps its events."""
    gateway.kafka.away = True
    answer = gateway.client.post("/v1/events", json=order(), headers={"content-type": STRUCTURED})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert answer.json()["errors"][0]["reason"] == "broker_unavailable"


def test_a_real_producer_without_a_broker_gives_503_in_bounded_time() -> None:
    """The submitter gives up after its timeout instead of blocking the request."""
    settings = KafkaSettings(bootstrap=f"127.0.0.1:{free_port()}")
    submitter = EventSubmitter.connect(settings, timedelta(milliseconds=300))
    assert Gateway(submitter).post(order())[0] == 503
    submitter.close()


def test_an_accepted_event_is_in_the_log() -> None:
    """202 only after the broker's acknowledgement."""
    with EmbeddedBroker() as broker:
        settings = KafkaSettings(bootstrap=broker.address)
        ensure_topics(settings)
        submitter = EventSubmitter.connect(settings)
        gateway = Gateway(submitter)
        assert gateway.post([order(id=str(k)) for k in range(50)], BATCH) == (202, {"accepted": 50})
        assert sum(submitter.offsets.values()) == 50
        submitter.close()


def test_the_gateway_describes_itself(gateway: Gateway) -> None:
    """GET lists the event types; the API documentation has an example."""
    description = gateway.client.get("/v1/events").json()
    assert description["event_types"] == {"order.placed": "Paid.", "ping": ""}
    operation = gateway.client.get("/openapi.json").json()["paths"]["/v1/events"]["post"]
    assert STRUCTURED in operation["requestBody"]["content"]
    assert {"202", "400", "413", "415", "422", "503"} <= set(operation["responses"])
    assert gateway.client.get("/docs").status_code == 200
