"""The HTTP gateway: CloudEvents over HTTP in; 202 once Kafka has acknowledged them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol
from urllib.parse import unquote_to_bytes

import msgspec
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from prometheus_client import CollectorRegistry, Counter

from onpace.config.catalog import Catalog
from onpace.config.errors import BrokerUnavailable, InvalidEvent, did_you_mean
from onpace.config.kpi_entities import REPORT
from onpace.config.settings import KafkaSettings
from onpace.ingest.codec import parse_event
from onpace.ingest.event import STRUCTURED, Event
from onpace.ingest.gateway_docs import DESCRIPTION, REPORT_BODY, REPORTS, REQUEST_BODY, RESPONSES
from onpace.ingest.gateway_reports import report_events
from onpace.ingest.producer import DeliveryFailed, EventProducer
from onpace.ingest.times import check_time, to_us
from onpace.ingest.validation import DataDecoder

__all__ = ["EventSubmitter", "GatewayLimits", "Submitter", "gateway_router"]

BATCH = "application/cloudevents-batch+json"
JSON = ("application/json", "text/json")
QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')


class Submitter(Protocol):
    """Where accepted events go."""

    async def submit(self, events: Sequence[Event]) -> None:
        """Return once all are acknowledged. Raises BrokerUnavailable or DeliveryFailed."""


class EventSubmitter:
    """An EventProducer for asyncio: waits for acknowledgements without blocking the loop."""

    def __init__(self, producer: EventProducer, timeout: timedelta = timedelta(seconds=5)) -> None:
        self._producer = producer
        self._timeout_seconds = timeout.total_seconds()

    @classmethod
    def connect(cls, settings: KafkaSettings, timeout: timedelta = timedelta(seconds=5)) -> EventSubmitter:
        """A submitter with a producer of its own that gives up after `timeout`. The broker need not be there yet."""
        return cls(EventProducer(settings, max_block=timeout, delivery_timeout=timeout), timeout)

    @property
    def offsets(self) -> dict[int, int]:
        """Partition -> highest acknowledged offset + 1."""
        return self._producer.offsets

    async def submit(self, events: Sequence[Event]) -> None:
        """Send and wait. What is still under way after the timeout may arrive later: a retry is counted once."""
        loop = asyncio.get_running_loop()
        decided: asyncio.Future[None] = loop.create_future()
        waiting = len(events)

        def one_done(error: BaseException | None) -> None:
            nonlocal waiting
            waiting -= 1
            if decided.done() or (error is None and waiting):
                return
            if error is None:
                decided.set_result(None)
            else:
                decided.set_exception(BrokerUnavailable(f"not acknowledged: {error}"))

        def report(error: BaseException | None) -> None:
            loop.call_soon_threadsafe(one_done, error)

        def send_all() -> None:
            for delivery in [self._producer.send_event(event) for event in events]:
                delivery.when_done(report)

        try:
            async with asyncio.timeout(self._timeout_seconds):
                await asyncio.to_thread(send_all)
                await decided
        except TimeoutError as exc:
            raise BrokerUnavailable(f"Kafka did not acknowledge within {self._timeout_seconds:g} s") from exc

    def close(self) -> None:
        """Flush and disconnect. Safe to repeat."""
        self._producer.close(self._timeout_seconds)


@dataclass(frozen=True, slots=True)
class GatewayLimits:
    """What the gateway takes."""

    event_bytes: int = 1_048_576
    body_bytes: int = 8 * 1_048_576
    max_future: timedelta = timedelta(days=1)
    retry_after: timedelta = timedelta(seconds=5)


class Refusal(Exception):
    """A request that is answered with an error."""

    def __init__(self, code: int, errors: Sequence[Mapping[str, Any]]) -> None:
        super().__init__(code)
        self.code = code
        self.errors = list(errors)


def gateway_router(
    submit: Submitter,
    catalog: Callable[[], Catalog],
    registry: CollectorRegistry,
    *,
    limits: GatewayLimits = GatewayLimits(),
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> APIRouter:
    """Routes for POST and GET /v1/events and for POST /v1/reports.

    `catalog` is asked at every request, so a reload takes effect at once.
    """
    router = APIRouter(tags=["events"])
    gateway = Gateway(submit, catalog, registry, limits, now)

    @router.post(
        "/v1/events",
        status_code=202,
        summary="Send events",
        description=DESCRIPTION,
        responses=RESPONSES,
        openapi_extra=REQUEST_BODY,
    )
    async def send_events(request: Request) -> JSONResponse:
        return await gateway.answer(request)

    @router.post(
        "/v1/reports",
        status_code=202,
        summary="Report values",
        description=REPORTS,
        responses=RESPONSES,
        openapi_extra=REPORT_BODY,
    )
    async def report_values(request: Request) -> JSONResponse:
        return await gateway.answer(request, reports=True)

    @router.get("/v1/events", summary="What this gateway accepts")
    async def describe() -> dict[str, Any]:
        return gateway.describe()

    return router


class Gateway:
    """Reads, checks and submits the events of one request at a time."""

    def __init__(
        self,
        submit: Submitter,
        catalog: Callable[[], Catalog],
        registry: CollectorRegistry,
        limits: GatewayLimits,
        now: Callable[[], datetime],
    ) -> None:
        self._submit = submit
        self._catalog = catalog
        self._limits = limits
        self._now = now
        self._checked: Catalog | None = None
        self._decoders: dict[str, DataDecoder] = {}
        self._requests = Counter("onpace_gateway_requests", "Requests by status code.", ["code"], registry=registry)
        self._events = Counter("onpace_gateway_events", "Events by outcome.", ["outcome"], registry=registry)

    async def answer(self, request: Request, *, reports: bool = False) -> JSONResponse:
        """202, or an error that names what is wrong. `reports`: the body holds reported values, not events."""
        headers: dict[str, str] = {}
        content: dict[str, Any]
        try:
            body = await self._body(request)
            events = self._read_reports(request.headers, body) if reports else self._read(request.headers, body)
            await self._submit.submit(events)
            code, content = 202, {"accepted": len(events)}
            self._events.labels("accepted").inc(len(events))
        except Refusal as refusal:
            code, content = refusal.code, {"errors": refusal.errors}
            self._events.labels("rejected").inc(len(refusal.errors))
        except (BrokerUnavailable, DeliveryFailed) as exc:
            code, content = 503, {"errors": [_error(None, "broker_unavailable", str(exc))]}
            headers["Retry-After"] = str(max(1, int(self._limits.retry_after.total_seconds())))
        self._requests.labels(str(code)).inc()
        return JSONResponse(content, code, headers)

    def describe(self) -> dict[str, Any]:
        """The content types and event types that are accepted."""
        return {
            "accepts": [STRUCTURED, BATCH, "application/json with ce-* headers (binary mode)"],
            "event_types": {name: kind.description for name, kind in self._catalog().events.items()},
            "limits": {"event_bytes": self._limits.event_bytes, "body_bytes": self._limits.body_bytes},
        }

    async def _body(self, request: Request) -> bytes:
        """The body, given up as soon as it is too large."""
        if request.headers.get("content-encoding", "identity") != "identity":
            raise Refusal(415, [_error(None, "unsupported_encoding", "send the body uncompressed")])
        limit = self._limits.body_bytes
        chunks: list[bytes] = []
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
            if size > limit:
                raise Refusal(
                    413, [_error(None, "too_large", f"the body is larger than {limit:,} bytes: send less at once")]
                )
            chunks.append(chunk)
        return b"".join(chunks)

    def _read(self, headers: Mapping[str, str], body: bytes) -> list[Event]:
        """Every event of the request, or a Refusal naming every bad one."""
        checked: list[tuple[int, Event]] = []
        errors: dict[int, dict[str, Any]] = {}
        for index, (value, attributes) in enumerate(_split(headers, body)):
            if len(value) > self._limits.event_bytes:
                message = f"the event has {len(value):,} bytes; at most {self._limits.event_bytes:,} are accepted"
                raise Refusal(413, [_error(index, "too_large", message)])
            try:
                event = parse_event(value, attributes)
                self._check(event)
                checked.append((index, event))
            except InvalidEvent as problem:
                errors[index] = _error(index, problem.reason, str(problem), problem.field)
        return self._passed(checked, errors)

    def _read_reports(self, headers: Mapping[str, str], body: bytes) -> list[Event]:
        """An event for every reported value, or a Refusal naming every bad one."""
        media = headers.get("content-type", "").split(";")[0].strip().lower()
        if media not in JSON:
            wanted = "send application/json"
            raise Refusal(415, [_error(None, "unsupported_content_type", f"'{media}' is not supported: {wanted}")])
        try:
            events = list(enumerate(report_events(body, self._now())))
        except ValueError as exc:
            raise Refusal(400, [_error(None, "malformed_json", f"the body is no JSON: {exc}")]) from exc
        if REPORT not in self._catalog().events:
            raise Refusal(422, [_error(None, "unknown_type", "no KPI of the KPI files is of type reported", "kpi")])
        return self._passed(events, {})

    def _passed(self, checked: Sequence[tuple[int, Event]], errors: dict[int, dict[str, Any]]) -> list[Event]:
        """The events whose data is right as well. Raises Refusal when there are errors by now."""
        errors = errors | self._check_data(checked)
        if errors:
            raise Refusal(422, [errors[index] for index in sorted(errors)])
        return [event for _, event in checked]

    def _check(self, event: Event) -> None:
        known = self._catalog().events
        if event.type not in known:
            message = f"unknown event type '{event.type}'{did_you_mean(event.type, known)}"
            raise InvalidEvent("unknown_type", message, "type")
        check_time(to_us(event.time), to_us(self._now()), self._limits.max_future)

    def _check_data(self, events: Sequence[tuple[int, Event]]) -> dict[int, dict[str, Any]]:
        """Errors by index; the events of one type are checked together."""
        errors: dict[int, dict[str, Any]] = {}
        for name in {event.type for _, event in events}:
            indices = [index for index, event in events if event.type == name]
            decoded = self._decoder(name).decode([event.data for _, event in events if event.type == name])
            for k, problem in decoded.bad:
                errors[indices[k]] = _error(indices[k], problem.reason, str(problem), problem.field)
        return errors

    def _decoder(self, name: str) -> DataDecoder:
        catalog = self._catalog()
        if catalog is not self._checked:
            self._checked, self._decoders = catalog, {}
        if name not in self._decoders:
            self._decoders[name] = DataDecoder(catalog.events[name], [])
        return self._decoders[name]


def _split(headers: Mapping[str, str], body: bytes) -> list[tuple[bytes, list[tuple[str, bytes]]]]:
    """The Kafka-style (value, headers) of each event in a request. Raises Refusal."""
    media = headers.get("content-type", "").split(";")[0].strip().lower()
    binary = "ce-id" in headers or "ce-specversion" in headers
    if media not in (STRUCTURED, BATCH, *JSON) and not (binary and (not media or media.endswith("+json"))):
        wanted = f"send {STRUCTURED}, {BATCH}, or application/json with ce-* headers"
        raise Refusal(415, [_error(None, "unsupported_content_type", f"'{media}' is not supported: {wanted}")])
    try:
        body.decode()
        whole = msgspec.json.decode(body, type=msgspec.Raw) if body.strip() or not binary else msgspec.Raw(b"null")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        if not body.strip():
            raise Refusal(400, [_error(None, "empty", "the body is empty")]) from exc
        raise Refusal(400, [_error(None, "malformed_json", f"the body is no JSON: {exc}")]) from exc
    if (media in JSON and binary) or media not in (STRUCTURED, BATCH, *JSON):
        return [(bytes(whole), _attributes(headers))]
    is_array = bytes(whole)[:1] == b"["
    if media == BATCH and not is_array:
        raise Refusal(422, [_error(None, "not_an_array", "a batch is a JSON array of events")])
    if media == STRUCTURED or not is_array:
        return [(bytes(whole), [])]
    values = msgspec.json.decode(whole, type=list[msgspec.Raw])
    if not values:
        raise Refusal(422, [_error(None, "empty", "the batch is empty")])
    return [(bytes(value), []) for value in values]


def _attributes(headers: Mapping[str, str]) -> list[tuple[str, bytes]]:
    """`ce-` headers as Kafka's: unquoted, then percent-decoded (CloudEvents HTTP binding 1.0.2, section 3.1.3.2)."""
    return [(f"ce_{name[3:]}", _header_value(text)) for name, text in headers.items() if name.startswith("ce-")]


def _header_value(text: str) -> bytes:
    quoted = QUOTED.fullmatch(text.strip())
    return unquote_to_bytes(re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else text)


def _error(index: int | None, reason: str, message: str, field: str = "") -> dict[str, Any]:
    return {"index": index, "field": field, "reason": reason, "message": message}
