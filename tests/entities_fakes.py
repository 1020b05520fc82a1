"""KPIs that follow entities, and what the table `facts` should hold of them, counted in plain Python."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from fractions import Fraction
from typing import Any

from processors_fakes import EVERYTHING, ORDER, Counted, catalog_of, dimension_of, selected, value_of

from onpace.config.catalog import Catalog
from onpace.config.kpi_entities import BalanceKpi, ConversionKpi, EntityKpi, FactStream, RetentionKpi, streams_of
from onpace.processors.clickhouse import ClickHouse

__all__ = ["FOLLOWED", "balance", "conversion", "facts_of", "retention", "wrong_facts"]

_COMMON = {"direction": "higher_is_better", "role": "leading", "entity": "user_id"}


def conversion(name: str, base: dict[str, Any], then: dict[str, Any], window: str, **more: Any) -> ConversionKpi:
    """A conversion of users."""
    given = {"type": "conversion", "name": name, "base": base, "conversion": then, "window": window}
    return ConversionKpi.model_validate(_COMMON | given | more)


def retention(name: str, start: dict[str, Any], back: dict[str, Any], period: str, n: int, **more: Any) -> RetentionKpi:
    """A retention of users."""
    given = {"type": "retention", "name": name, "start": start, "return": back, "period": period, "n": n}
    return RetentionKpi.model_validate(_COMMON | given | more)


def balance(name: str, event: str, value: str, **more: Any) -> BalanceKpi:
    """A balance of users."""
    return BalanceKpi.model_validate(_COMMON | {"type": "balance", "name": name, "event": event, "value": value} | more)


_ORDER = {"event": ORDER.name}
FOLLOWED = catalog_of(
    *EVERYTHING.kpis.values(),
    conversion("again", _ORDER | {"filter": "region != 'test'"}, _ORDER, "6h", constant=["region"]),
    retention("back", _ORDER, _ORDER, "day", 1, dimensions={"region": "region"}),
    balance("stock", ORDER.name, "items", dimensions={"region": "region"}),
    balance("credit", ORDER.name, "score", filter="region != 'test'"),
)
"""Every aggregation, and one KPI of each kind that follows users."""

Fact = tuple[str, datetime, str, str, str, str, Fraction, float]
"""(stream, time, source, id, entity, dims, exact, total)"""


def facts_of(stream: FactStream, events: Sequence[Counted]) -> Iterator[Fact]:
    """What of the events is to be kept for one stream."""
    for event in selected(stream, events):
        amount = value_of(stream.amount, event) if stream.amount else 0
        if amount is None:
            continue
        dims = json.dumps(
            [dimension_of(expression, event) for expression in stream.dimensions.values()],
            ensure_ascii=False,
            separators=(",", ":"),
        )
        exact, total = (Fraction(0), amount) if isinstance(amount, float) else (Fraction(amount), 0.0)
        entity = value_of(stream.value, event)
        yield stream.name, event.time, event.source, event.id, entity, dims, exact, total


def wrong_facts(store: ClickHouse, catalog: Catalog, events: Sequence[Counted]) -> list[str]:
    """Facts that are missing, and facts that should not be there, each once."""
    streams = [stream for kpi in catalog.kpis.values() if isinstance(kpi, EntityKpi) for stream in streams_of(kpi)]
    wanted = sorted(fact for stream in streams if isinstance(stream, FactStream) for fact in facts_of(stream, events))
    rows = store.query(
        "SELECT kpi, time, source, id, entity, dims, toString(exact), total FROM facts FINAL "
        "WHERE (kpi, definition) IN {streams:Array(Tuple(String, UInt64))}",
        {"streams": [(stream.name, stream.definition) for stream in streams]},
    )
    found = sorted((*row[:6], Fraction(row[6]), row[7]) for row in rows)
    if found == wanted:
        return []
    return [f"not kept: {fact}" for fact in wanted if fact not in found] + [
        f"kept too much: {fact}" for fact in found if fact not in wanted
    ] or [f"{len(found)} instead of {len(wanted)}"]
