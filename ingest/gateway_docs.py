"""What the API documentation says about the gateway."""

from __future__ import annotations

from typing import Any

__all__ = ["DESCRIPTION", "REPORTS", "REPORT_BODY", "REQUEST_BODY", "RESPONSES"]

DESCRIPTION = """
Send one event or a batch as [CloudEvents 1.0](https://cloudevents.io) over HTTP.

* **Structured**: `application/cloudevents+json`, one event as a JSON object.
* **Batch**: `application/cloudevents-batch+json`, a JSON array. All events are accepted, or none.
* **Binary**: `application/json` with the attributes in `ce-id`, `ce-source`, `ce-type`, `ce-time`, `ce-specversion`
  and the body as `data`.

The answer is 202 only once Kafka has acknowledged every event. Sending an event again with the same `source` and `id`
is safe: it is counted once.
"""

REPORTS = """
Report one value of a KPI, or an array of them; all are accepted, or none. Each is dated now, and replaces what was
reported before for its period and dimension values: the earlier version is kept.
"""

REPORT = {
    "kpi": "nps",
    "period": "2026-10",
    "value": 42,
    "by": {"region": "EU"},
    "source": "Q3 survey",
    "note": "n=210",
}

REPORT_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["kpi", "period", "value"],
    "additionalProperties": False,
    "properties": {
        "kpi": {"type": "string", "description": "A KPI of type reported."},
        "period": {"type": "string", "description": "2026, 2026-Q4, 2026-10, 2026-W43 or 2026-10-05: as its cadence."},
        "value": {"type": "number"},
        "by": {"type": "object", "description": "Dimension values; without them it is the total."},
        "source": {"type": "string", "maxLength": 1000, "description": "Where the number is from."},
        "note": {"type": "string", "maxLength": 1000, "description": "What a reader should know about it."},
    },
}

REPORT_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"oneOf": [REPORT_SCHEMA, {"type": "array", "items": REPORT_SCHEMA}]},
                "example": REPORT,
            }
        },
    }
}

EVENT = {
    "specversion": "1.0",
    "id": "order-1001",
    "source": "/shop",
    "type": "order.placed",
    "time": "2026-10-01T12:00:00Z",
    "subject": "user-7",
    "data": {"order_id": "1001", "user_id": "user-7", "amount": 12.50, "region": "EU"},
}

EVENT_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["specversion", "id", "source", "type", "time"],
    "properties": {
        "specversion": {"const": "1.0"},
        "id": {"type": "string", "minLength": 1, "maxLength": 1024, "description": "Unique within the source."},
        "source": {"type": "string", "minLength": 1, "maxLength": 1024, "description": "Who sends it, such as /shop."},
        "type": {"type": "string", "minLength": 1, "maxLength": 1024, "description": "An event type of the KPI files."},
        "time": {"type": "string", "format": "date-time", "description": "When it happened: RFC 3339 with a zone."},
        "subject": {"type": "string", "description": "What it is about; the Kafka key unless partitionkey is set."},
        "partitionkey": {"type": "string", "description": "The Kafka key."},
        "data": {"description": "As declared for the type.", "type": "object"},
    },
}

REQUEST_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/cloudevents+json": {"schema": EVENT_SCHEMA, "example": EVENT},
            "application/cloudevents-batch+json": {
                "schema": {"type": "array", "items": EVENT_SCHEMA},
                "example": [EVENT],
            },
            "application/json": {"schema": {"type": "object"}, "example": EVENT["data"]},
        },
    }
}


def _errors(index: int | None, field: str, reason: str, message: str) -> dict[str, Any]:
    error = {"index": index, "field": field, "reason": reason, "message": message}
    return {"content": {"application/json": {"example": {"errors": [error]}}}}


RESPONSES: dict[int | str, dict[str, Any]] = {
    202: {"description": "Acknowledged by Kafka.", "content": {"application/json": {"example": {"accepted": 1}}}},
    400: {"description": "The body is no JSON.", **_errors(None, "", "malformed_json", "the body is no JSON: …")},
    413: {"description": "An event or the body is too large.", **_errors(0, "", "too_large", "the event has …")},
    415: {"description": "Unknown content type.", **_errors(None, "", "unsupported_content_type", "…")},
    422: {
        "description": "Events that are wrong, each with its index; none of the request was accepted.",
        **_errors(0, "data.amount", "schema_violation", "data.amount: -1 is less than the minimum of 0"),
    },
    503: {
        "description": "Kafka does not answer; try again after Retry-After seconds.",
        **_errors(None, "", "broker_unavailable", "Kafka did not acknowledge within 5 s"),
    },
}
