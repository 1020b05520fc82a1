"""What to compute for each event type: KPI definitions compiled to column expressions, once per catalog."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import cast

import polars as pl

from onpace.config.catalog import Catalog
from onpace.config.expressions import Expression, parse_event_expression
from onpace.config.kpi import EventType, SimpleKpi
from onpace.config.kpi_entities import FactStream
from onpace.ingest.validation import DataDecoder
from onpace.processors.expressions import Column, ColumnKind, compile_polars, unscaled

__all__ = ["EXACT_SCALE", "EventPlan", "KpiPlan", "plan_events"]

EXACT_SCALE = 9
"""Digits after the point of an exact sum, as stored."""


@dataclass(frozen=True, slots=True)
class KpiPlan:
    """One simple KPI, ready to fold."""

    kpi: SimpleKpi
    predicate: pl.Expr | None
    value: pl.Expr | None
    """Exact KPIs: an integer scaled by 10^`scale`; else a float, or text for count_distinct."""
    scale: int | None
    """None: the values are floats (or text)."""
    wide: bool = False
    """Exact values may be longer than 64 bits; those that are go into a float sum beside the exact one."""
    amount: pl.Expr | None = None
    """Of facts: the number that `scale` and `wide` are about; their `value` is the entity, as text."""


@dataclass(frozen=True, slots=True)
class EventPlan:
    """One event type: how its data becomes columns, and the KPIs that are folded from them."""

    event: EventType
    decoder: DataDecoder
    kpis: tuple[KpiPlan, ...]
    dimensions: dict[tuple[tuple[str, str], ...], tuple[pl.Expr, ...]]
    """Every distinct set of dimensions (name, expression) -> the columns it needs, as text."""
    lateness: timedelta
    ordered: bool
    """Whether a KPI (first, last, facts) needs the events' source and id."""


def plan_events(catalog: Catalog) -> dict[str, EventPlan]:
    """A plan for every declared event type; types that no KPI uses are still validated and archived."""
    return {
        name: _plan(event, [kpi for kpi in catalog.simple_kpis() if kpi.event == name])
        for name, event in catalog.events.items()
    }


def _plan(event: EventType, kpis: list[SimpleKpi]) -> EventPlan:
    texts = [text for kpi in kpis for text in (*_values(kpi), kpi.filter, *kpi.dimensions.values()) if text]
    names = dict.fromkeys(name for text in texts for name in parse_event_expression(text).names)
    decoder = DataDecoder(event, list(names))
    columns = {name: Column(cast("ColumnKind", kind), scale) for name, (kind, scale) in decoder.columns().items()}
    return EventPlan(
        event=event,
        decoder=decoder,
        kpis=tuple(_plan_kpi(kpi, columns) for kpi in kpis),
        dimensions={
            tuple(kpi.dimensions.items()): tuple(
                _text(parse_event_expression(t), columns).alias(n) for n, t in kpi.dimensions.items()
            )
            for kpi in kpis
        },
        lateness=max((kpi.lateness for kpi in kpis), default=timedelta()),
        ordered=any(isinstance(kpi, FactStream) or kpi.agg in ("first", "last") for kpi in kpis),
    )


def _values(kpi: SimpleKpi) -> tuple[str | None, ...]:
    return (kpi.value, kpi.amount) if isinstance(kpi, FactStream) else (kpi.value,)


def _plan_kpi(kpi: SimpleKpi, columns: Mapping[str, Column]) -> KpiPlan:
    predicate = (
        compile_polars(parse_event_expression(kpi.filter), columns).expr.fill_null(False) if kpi.filter else None
    )
    if kpi.agg == "count" or kpi.value is None:
        return KpiPlan(kpi, predicate, None, None)
    expression = parse_event_expression(kpi.value)
    if kpi.agg == "count_distinct":
        return KpiPlan(kpi, predicate, _text(expression, columns), None)
    if isinstance(kpi, FactStream):
        entity = _text(expression, columns)
        amount = _amount(parse_event_expression(kpi.amount), columns, exact=True) if kpi.amount else (None, None, False)
        return KpiPlan(kpi, predicate, entity, amount[1], wide=amount[2], amount=amount[0])
    value, scale, wide = _amount(expression, columns, exact=kpi.agg in ("sum", "avg"))
    return KpiPlan(kpi, predicate, value, scale, wide)


def _amount(expression: Expression, columns: Mapping[str, Column], *, exact: bool) -> tuple[pl.Expr, int | None, bool]:
    """A number as a column, its scale (None: floats), and whether it is wide: see `KpiPlan`."""
    typed = compile_polars(expression, columns)
    if exact and typed.kind == "int" and typed.scale <= EXACT_SCALE:
        return typed.expr.cast(pl.Int128), typed.scale, typed.bits > 63
    number = _number(typed.expr, typed.scale if typed.kind == "int" else 0)
    return pl.when(number.is_finite()).then(number), None, False  # an overflow is null, as 1/0 is


def _number(expr: pl.Expr, scale: int) -> pl.Expr:
    return unscaled(expr.cast(pl.Float64, strict=False), scale)


def _text(expression: Expression, columns: Mapping[str, Column]) -> pl.Expr:
    """A dimension's or distinct value as text; a decimal as its shortest digits."""
    typed = compile_polars(expression, columns)
    if typed.kind == "int" and typed.scale:
        return _number(typed.expr, typed.scale).cast(pl.String)
    return typed.expr.cast(pl.String)
