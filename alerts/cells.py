"""How dimension values and instants stand in ClickHouse tables, and come back. Pure."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from onpace.alerts.status import Labels

__all__ = ["cell", "instant_text", "labels_of", "utc"]


def cell(value: Any) -> Any:
    """A value as it is stored: labels as ClickHouse's toJSONString(map(…)) writes them, for views join on that."""
    return json.dumps(dict(value), separators=(",", ":"), ensure_ascii=False) if isinstance(value, tuple) else value


def labels_of(text: str) -> Labels:
    """The inverse of `cell`, of labels."""
    return tuple(json.loads(text).items())


def instant_text(at: datetime) -> str:
    """An instant as a parameter of a query."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


def utc(at: datetime) -> datetime:
    """An instant as it comes out of a query: without a zone it is in UTC."""
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
