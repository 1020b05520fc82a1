"""What a KPI file may say beside `use: library/…`, for the published JSON Schema."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from onpace.config.durations import Duration
from onpace.config.kpi import Direction, Name, Sql, StreamedKpi
from onpace.config.kpi_entities import EventChoice

__all__ = ["LibraryKpi"]

LibraryKey = Annotated[str, Field(pattern=r"^library/[a-z]+\.[a-z][a-z0-9_]*$", examples=["library/saas.mrr"])]
OwnEvent = str | dict[str, Sql]
"""The name of an own event; or `event`, and an expression over it for each property of the library's event."""


class LibraryKpi(StreamedKpi):
    """A KPI of the library over one's own events; every key given here replaces the library's."""

    use: LibraryKey
    map: dict[str, OwnEvent] | None = None
    inputs: dict[Name, Name] | None = None
    currency: str | None = None
    direction: Direction | None = None  # type: ignore[assignment]
    role: Literal["leading", "lagging"] | None = None  # type: ignore[assignment]
    dimensions: dict[Name, Sql] | tuple[str, ...] = ()  # type: ignore[assignment]
    value: Sql | None = None
    p: float | None = None
    filter: Sql | None = None
    entity: Sql | None = None
    base: EventChoice | None = None
    conversion: EventChoice | None = None
    start: EventChoice | None = None
    back: EventChoice | None = Field(default=None, alias="return")
    window: Duration | None = None
    constant: tuple[str, ...] = ()
    measure: Literal["rate", "count", "median_time"] | None = None
    period: Literal["day", "week", "month", "quarter", "year"] | None = None
    n: int | None = None
    kind: Literal["exact", "rolling"] | None = None
    min_denominator: float | None = None
    to_date: Literal["day", "week", "month", "quarter", "year"] | None = None
    cadence: Literal["day", "week", "month", "quarter", "year"] | None = None
    due: Duration | None = None
    merge: Literal["last", "sum", "avg"] | None = None
    type: Any = None
