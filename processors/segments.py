"""Reads what each value of a dimension counts for: amounts that add up, or numerators and denominators that do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial

from onpace.config.additivity import adds_up, fraction_of
from onpace.config.calendar import Calendar
from onpace.config.catalog import Catalog
from onpace.config.kpi_entities import Kpi
from onpace.config.terms import Term, span_of
from onpace.processors.clickhouse import ClickHouse
from onpace.processors.placing import Spans
from onpace.processors.sql import merged_select

__all__ = ["NAMED", "Portions", "read_segments"]

Span = tuple[datetime, datetime]
Portions = dict[tuple[str | None, ...], tuple[float, float]]
"""(dimension value,) -> amount and what it is divided by (0 where it adds up by itself); () is the rest."""
NAMED = 500
"""So many values of a dimension are told apart, the largest of them; the others are one."""


def read_segments(
    store: ClickHouse,
    catalog: Catalog,
    kpi: Kpi,
    spans: Sequence[Span],
    *,
    dimension: str,
    where: Mapping[str, str | None],
) -> list[Portions]:
    """Per half-open span of base windows, in one query; values that occur in no span are left out.

    Raises StoreUnavailable when the store does not answer.
    """
    found: list[Portions] = [{} for _ in spans]
    if not any(start < end for start, end in spans):
        return found
    given = {name: value for name, value in where.items() if value is not None}
    nulls = [name for name in where if name not in given]
    sql = _segments_sql(catalog, kpi, spans, [dimension, *nulls], list(given))
    parameters: dict[str, object] = {f"where_{name}": value for name, value in given.items()}
    for place, named, segment, amount, divisor in store.query(sql, parameters):
        found[int(place) - 1][(segment,) if named else ()] = (float(amount), float(divisor))
    return found


def _segments_sql(catalog: Catalog, kpi: Kpi, spans: Sequence[Span], by: Sequence[str], where: Sequence[str]) -> str:
    """By the first dimension of `by`, where the others are null."""
    fraction, adds = fraction_of(catalog, kpi), adds_up(catalog, kpi)
    placement = Spans(partial(_spans_of, spans, kpi.calendar))
    merged = merged_select(catalog, fraction or kpi, placement, by, where, leaf_parts=not (adds or fraction))
    amount, divisor = ("value", "0") if adds else ("numerator", "denominator")
    only = " AND ".join(f"isNull(`{name}`)" for name in by[1:]) or "1"
    # capital letters: no dimension can have such a name
    return f"""SELECT Span, Place <= {NAMED} AS Named, if(Named, Segment, NULL) AS Shown, sum(Amount), sum(Divisor)
FROM (
  SELECT Span, Segment, Amount, Divisor, dense_rank() OVER (ORDER BY Size DESC, Segment) AS Place
  FROM (
    SELECT *, max(greatest(abs(Amount), abs(Divisor))) OVER (PARTITION BY Segment) AS Size
    FROM (
      SELECT Span, `{by[0]}` AS Segment, ifNull({amount}, 0.) AS Amount, toFloat64(ifNull({divisor}, 0)) AS Divisor
      FROM ({merged})
      WHERE {only}
    )
  )
)
GROUP BY Span, Named, Shown"""


def _spans_of(spans: Sequence[Span], calendar: Calendar, term: Term) -> list[Span]:
    return [span_of(term, start, end, calendar) for start, end in spans]
