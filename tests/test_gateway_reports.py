"""Reported values over HTTP, as plain JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from processors_world import NOW
from prometheus_client import CollectorRegistry
from reports_fakes import reported, reporting

from onpace.config.catalog import Catalog
from onpace.config.kpi_entities import REPORT
from onpace.ingest.event import Event
from onpace.ingest.gateway import gateway_router

CATALOG = reporting(reported("nps", dimensions=["region"]), reported("cash", "day"))


class Remembering:
    """Accepts everything."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    async def submit(self, events: Sequence[Event]) -> None:
        self.events += events


def post(body: bytes, catalog: Catalog = CATALOG, media: str = "application/json") -> tuple[int, Any, list[Event]]:
    """Status, answer, and what was handed on."""
    kafka, app = Remembering(), FastAPI()
    app.include_router(gateway_router(kafka, lambda: catalog, CollectorRegistry(), now=lambda: NOW))
    answer = TestClient(app).post("/v1/reports", content=body, headers={"content-type": media})
    return answer.status_code, answer.json(), kafka.events


def test_a_report_becomes_an_event_of_now() -> None:
    """With its digits, and the KPI as its subject."""
    status, answer, [event] = post(b'{"kpi": "nps", "period": "2026-03", "value": 41.50, "by": {"region": "EU"}}')
    assert (status, answer) == (202, {"accepted": 1})
    assert (event.type, event.time, event.subject) == (REPORT, NOW, "nps")
    assert b"41.50" in event.data


def test_several_are_taken_together_or_not_at_all() -> None:
    """Each bad one is named by its place."""
    good = {"kpi": "cash", "period": "2026-03-01", "value": 1}
    status, _, events = post(msgspec.json.encode([good, good | {"period": "2026-03-02"}]))
    assert (status, len(events), len({event.id for event in events})) == (202, 2, 2)
    status, answer, events = post(msgspec.json.encode([good, good | {"period": "2026-03"}, good | {"kpi": "nsp"}]))
    assert (status, events) == (422, [])
    assert [(one["index"], one["field"]) for one in answer["errors"]] == [(1, "data.period"), (2, "data.kpi")]


@pytest.mark.parametrize(
    ("body", "media", "status", "reason"),
    [
        (b"{", "application/json", 400, "malformed_json"),
        (b"", "application/json", 400, "malformed_json"),
        (b'{"kpi": "\xff"}', "application/json", 400, "malformed_json"),
        (b"1", "application/json", 422, "schema_violation"),
        (b'{"kpi": ""}', "application/json", 422, "schema_violation"),
        (b"{}", "text/csv", 415, "unsupported_content_type"),
    ],
)
def test_what_is_no_report_is_refused(body: bytes, media: str, status: int, reason: str) -> None:
    """With the reasons that events are refused with."""
    found, answer, events = post(body, media=media)
    assert (found, answer["errors"][0]["reason"], events) == (status, reason, [])


def test_a_catalog_without_reported_kpis_takes_none() -> None:
    """And says so."""
    status, answer, _ = post(b'{"kpi": "nps", "period": "2026-03", "value": 1}', Catalog())
    assert (status, answer["errors"][0]["message"]) == (422, "no KPI of the KPI files is of type reported")
