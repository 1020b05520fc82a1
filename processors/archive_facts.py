"""What the archive says about the fields that KPIs use: how many events carry them, and how many a filter lets through.

KPIs' expressions are evaluated over the archived JSON as they are in views: nothing is pasted, texts are quoted.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil

from onpace.config.catalog import Catalog
from onpace.config.expressions import parse_event_expression, quote_text, render_clickhouse
from onpace.config.kpi import EventType, SimpleKpi
from onpace.config.kpi_entities import FactStream
from onpace.config.lint.evidence import FieldFacts, ReportFacts
from onpace.config.properties import property_kinds
from onpace.processors.clickhouse import ClickHouse
from onpace.processors.reports import Reports, ReportVersion

__all__ = ["arrived_events", "field_facts", "report_facts"]

SAMPLE = 1_000_000
"""Events of one type that are looked at; of more, every n-th."""
_READERS = {"number": "Float64", "text": "String", "boolean": "UInt8"}


def arrived_events(store: ClickHouse) -> dict[str, int]:
    """Events in the archive by type, duplicates left out."""
    rows = store.query("SELECT type, count() FROM events FINAL WHERE duplicate = 0 GROUP BY type")
    return {str(name): int(count) for name, count in rows}


def field_facts(store: ClickHouse, catalog: Catalog, arrived: Mapping[str, int]) -> dict[str, FieldFacts]:
    """By what is taken from the stream (KPIs, and parts of those that follow entities) and whose events have arrived.

    One query for each event type.
    """
    found: dict[str, FieldFacts] = {}
    for name in catalog.events:
        kpis = [kpi for kpi in catalog.simple_kpis() if kpi.event == name]
        if kpis and arrived.get(name):
            found |= _facts_of_event(store, catalog.events[name], kpis, arrived[name])
    return found


def report_facts(store: ClickHouse, catalog: Catalog) -> dict[str, ReportFacts]:
    """By reported KPI that has values."""
    found: dict[str, list[ReportVersion]] = {}
    for one in Reports(store, catalog).current().values():
        found.setdefault(one.kpi, []).append(one)
    return {
        name: ReportFacts(
            len(values),
            sum(not one.source for one in values),
            sum(not one.note for one in values),
            max((one.period for one in values if not (one.source and one.note)), default=""),
        )
        for name, values in found.items()
    }


def _facts_of_event(store: ClickHouse, event: EventType, kpis: list[SimpleKpi], arrived: int) -> dict[str, FieldFacts]:
    columns = {name: _reader(name, kind) for name, kind in property_kinds(event).items() if kind is not None}
    counts = [sql for kpi in kpis for sql in _counts(kpi, columns)]
    step = ceil(arrived / SAMPLE)
    sample = f" AND offset % {step} = 0" if step > 1 else ""
    rows = store.query(
        f"SELECT count(), {', '.join(counts)} FROM events FINAL WHERE type = {{type:String}} AND duplicate = 0{sample}",
        {"type": event.name},
    )
    events, *numbers = map(int, rows[0])
    facts: dict[str, FieldFacts] = {}
    for kpi in kpis:
        matched, filter_null, value_null, amount_null, *nulls = numbers[: 4 + len(kpi.dimensions)]
        del numbers[: 4 + len(kpi.dimensions)]
        by_dimension = dict(zip(kpi.dimensions, nulls, strict=True))
        facts[kpi.name] = FieldFacts(events, matched, filter_null, value_null, by_dimension, amount_null)
    return facts


def _counts(kpi: SimpleKpi, columns: Mapping[str, str]) -> list[str]:
    """SQL for: matched, filter is null, value is null, amount is null, each dimension is null."""
    condition = _sql(kpi.filter, columns) if kpi.filter else "1"
    matched = f"ifNull({condition}, 0)"
    amount = kpi.amount if isinstance(kpi, FactStream) else None
    needed = [kpi.value or "1", amount or "1", *kpi.dimensions.values()]
    return [
        f"countIf({matched})",
        f"countIf(isNull({condition}))",
        *(f"countIf({matched} AND isNull({_sql(text, columns)}))" for text in needed),
    ]


def _sql(text: str, columns: Mapping[str, str]) -> str:
    return render_clickhouse(parse_event_expression(text), columns)


def _reader(path: str, kind: str) -> str:
    """SQL for a property of the archived data; null where it is absent, null or of another type."""
    keys = ", ".join(quote_text(key) for key in path.split("."))
    return f"JSONExtract(data, {keys}, 'Nullable({_READERS.get(kind, 'String')})')"
