"""A KPI over stretches of time in many slices at once, for one query instead of hundreds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial

from onpace.config.calendar import Calendar, Grain
from onpace.config.catalog import Catalog
from onpace.config.kpi_entities import Kpi
from onpace.config.terms import Term, span_of, terms_of, window_span
from onpace.processors.clickhouse import ClickHouse
from onpace.processors.placing import Spans
from onpace.processors.quoting import quoted
from onpace.processors.sql import merged_select

__all__ = ["read_slices", "spans_of", "spans_per_query", "window_spans"]

Span = tuple[datetime, datetime]
SLICES = 500
"""So many are named in one query."""


def spans_of(spans: Sequence[Span], calendar: Calendar, term: Term) -> list[Span]:
    """The stretches that a term looks at."""
    return [span_of(term, start, end, calendar) for start, end in spans]


def window_spans(starts: Sequence[datetime], grain: Grain, calendar: Calendar, term: Term) -> list[Span]:
    """The stretches that a term looks at in windows."""
    return [window_span(term, grain, start, calendar) for start in starts]


def spans_per_query(catalog: Catalog, kpi: Kpi) -> int:
    """So many that the text of the query stays well below what servers take."""
    return max(20, 4000 // len(list(terms_of(catalog, kpi))))


def read_slices(
    store: ClickHouse,
    catalog: Catalog,
    kpi: Kpi,
    spans: Sequence[Span],
    wheres: Sequence[Mapping[str, str]],
    *,
    nothing: Callable[[], Sequence[float | None]],
) -> list[list[float | None]]:
    """The values over each span, per slice; slices all name the same dimensions, in the same order.

    `nothing`: what a slice without any rows has in each span.
    """
    names, size = list(wheres[0]), spans_per_query(catalog, kpi)
    found: dict[tuple[tuple[str, ...], int], float | None] = {}
    for first in range(0, len(wheres), SLICES):
        wanted = ", ".join(f"({', '.join(map(quoted, one.values()))})" for one in wheres[first : first + SLICES])
        dims = ", ".join(f"ifNull(`{name}`, '')" for name in names)
        known = " AND ".join(f"`{name}` IS NOT NULL" for name in names)  # a null is none of them, and '' may be
        for at in range(0, len(spans), size):
            placement = Spans(partial(spans_of, list(spans[at : at + size]), kpi.calendar))
            select = merged_select(catalog, kpi, placement, names)
            for place, *rest in store.query(f"SELECT * FROM (\n{select}\n) WHERE {known} AND ({dims}) IN ({wanted})"):
                found[tuple(rest[: len(names)]), at + int(place) - 1] = rest[len(names)]
    empty = nothing() if len(found) < len(spans) * len(wheres) else ()
    return [
        [found[place] if (place := (tuple(one.values()), at)) in found else empty[at] for at in range(len(spans))]
        for one in wheres
    ]
