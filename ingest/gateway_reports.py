"""Reported values over HTTP: plain JSON in, an event for each."""

from __future__ import annotations

from datetime import datetime
from uuid import uuid4

import msgspec

from onpace.config.kpi_entities import REPORT
from onpace.ingest.event import Event

__all__ = ["report_events"]

SOURCE = "/onpace/gateway"


class _About(msgspec.Struct):
    kpi: str


def report_events(body: bytes, now: datetime) -> list[Event]:
    """An event for each report of a body that holds one, or an array of them. What they say is not checked here.

    Sent twice, a report is two versions of the same value. Raises ValueError when the body is no JSON.
    """
    try:
        body.decode()
        whole = msgspec.json.decode(body, type=msgspec.Raw)
        raws = msgspec.json.decode(whole, type=list[msgspec.Raw]) if bytes(whole)[:1] == b"[" else [whole]
    except (msgspec.DecodeError, RecursionError) as exc:
        raise ValueError(str(exc)) from exc
    return [
        Event(id=str(uuid4()), source=SOURCE, type=REPORT, time=now, data=bytes(raw), subject=_subject(raw))
        for raw in raws
    ]


def _subject(raw: msgspec.Raw) -> str | None:
    """All reports of a KPI land in one partition; one without a KPI is refused later."""
    try:
        return msgspec.json.decode(raw, type=_About).kpi or None
    except (msgspec.DecodeError, RecursionError):
        return None
