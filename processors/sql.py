"""KPI values as SQL over the aggregates: one SELECT per KPI, whatever it is made of.

Every leaf (simple KPI) is one branch of a UNION ALL with the same columns; one GROUP BY merges partitions, lives,
segments, windows and dimensions; the KPI's own formula stands on top of the merged leaves, never under them.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from onpace.config.catalog import Catalog
from onpace.config.expressions import parse_kpi_expression, render_clickhouse
from onpace.config.kpi import Aggregation, DerivedKpi, RatioKpi, SimpleKpi
from onpace.config.kpi_entities import Kpi
from onpace.processors.aggregates import BIN_OFFSET, GAMMA

__all__ = ["Grouping", "dimension_select", "merged_select", "quoted", "start_sql"]

_LONGEST_POWER = math.log(sys.float_info.max)
_EMPTY_STATE = "arrayReduce('uniqCombined64State', emptyArrayUInt64())"
_UNION = "\n  UNION ALL\n"
_COLUMNS: dict[str, str] = {
    "count": "toUInt64(0)",
    "exact": "toDecimal128(0, 9)",
    "total": "toFloat64(0)",
    "compensation": "toFloat64(0)",
    "minimum": "CAST(NULL, 'Nullable(Float64)')",
    "maximum": "CAST(NULL, 'Nullable(Float64)')",
    "edge_time": "toDateTime64(0, 6, 'UTC')",
    "edge_source": "''",
    "edge_id": "''",
    "edge_value": "CAST(NULL, 'Nullable(Float64)')",
    "bins": "emptyArrayInt32()",
    "bin_counts": "emptyArrayUInt64()",
    "state": _EMPTY_STATE,
}
_NEEDS: dict[str, tuple[str, ...]] = {
    "count": ("count",),
    "sum": ("exact", "total", "compensation"),
    "avg": ("count", "exact", "total", "compensation"),
    "min": ("minimum",),
    "max": ("maximum",),
    "count_distinct": ("state",),
    "percentile": ("bins", "bin_counts"),
    "first": ("edge_time", "edge_source", "edge_id", "edge_value"),
    "last": ("edge_time", "edge_source", "edge_id", "edge_value"),
}


def quoted(text: str) -> str:
    """A SQL string literal."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


@dataclass(frozen=True, slots=True)
class Grouping:
    """What one row of the result is: `columns` maps an alias to SQL over `window_start`; then dimensions."""

    columns: Mapping[str, str]
    by: Sequence[str] = ()
    condition: str = "1"
    """A condition over `window_start`, which the primary key can use."""
    where: Sequence[str] = ()
    """Dimensions compared with the query parameters `where_<name>`."""
    array_join: str = ""
    """`expression AS alias`: repeats each row, for spans that overlap."""


def merged_select(catalog: Catalog, kpi: Kpi, grouping: Grouping) -> str:
    """A SELECT with the grouping's columns, its dimensions (`by`), value, numerator, denominator and revision."""
    keys = [*grouping.columns, *(f"{_inner(name)} AS `{name}`" for name in grouping.by)]
    numbers = {leaf.name: f"v{at}" for at, leaf in enumerate(catalog.leaves(kpi))}
    numerator, denominator = _fraction(catalog, kpi, numbers)
    value = _value(catalog, kpi, numbers)
    return f"""SELECT {"".join(f"{key}, " for key in keys)}CAST({value}, 'Nullable(Float64)') AS value,
  CAST({numerator}, 'Nullable(Float64)') AS numerator, CAST({denominator}, 'Nullable(Float64)') AS denominator, revision
FROM (
{_merged_leaves(catalog, kpi, grouping)}
)"""


def dimension_select(catalog: Catalog, kpi: Kpi, by: Sequence[str], where: Sequence[str] = ()) -> str:
    """A SELECT with every combination of the dimensions `by` that the KPI has ever had."""
    dims = list(dict.fromkeys([*by, *where]))
    branches = [_branch(0, leaf, needed=(), dims=dims, condition="1") for leaf in catalog.leaves(kpi)]
    return (
        f"SELECT DISTINCT {', '.join(map(_inner, by))} FROM (\n{_UNION.join(branches)}\n) WHERE {_comparisons(where)}"
    )


def _inner(dimension: str) -> str:
    """A dimension's name among the other columns of a subquery: a dimension may be called `count`."""
    return f"`by_{dimension}`"


def _comparisons(where: Sequence[str]) -> str:
    return " AND ".join(f"{_inner(name)} = {{where_{name}:String}}" for name in where) or "1"


def _merged_leaves(catalog: Catalog, kpi: Kpi, grouping: Grouping) -> str:
    """A SELECT with the value of every leaf (v0, v1, …), merged by the grouping's columns and dimensions."""
    leaves = catalog.leaves(kpi)
    needed = list(dict.fromkeys(column for leaf in leaves for column in _NEEDS[leaf.agg]))
    dims = list(dict.fromkeys([*grouping.by, *grouping.where]))
    branches = _UNION.join(
        _branch(at, leaf, needed=needed, dims=dims, condition=grouping.condition) for at, leaf in enumerate(leaves)
    )
    keys = [*grouping.columns, *map(_inner, grouping.by)]
    merged = ",\n    ".join(
        [
            *(f"{expression} AS {alias}" for alias, expression in grouping.columns.items() if expression != alias),
            *(alias for alias, expression in grouping.columns.items() if expression == alias),
            *map(_inner, grouping.by),
            *(f"{_leaf_value(leaf, at)} AS v{at}" for at, leaf in enumerate(leaves)),
            "max(revision) AS revision",
        ]
    )
    array_join = f"\n  ARRAY JOIN {grouping.array_join}" if grouping.array_join else ""
    group_by = f"\n  GROUP BY {', '.join(keys)}" if keys else "\n  HAVING max(branch_rows) > 0"
    return f"""  SELECT {merged}
  FROM (
{branches}
  ){array_join}
  WHERE {_comparisons(grouping.where)}{group_by}"""


def _branch(at: int, leaf: SimpleKpi, *, needed: Sequence[str], dims: Sequence[str], condition: str) -> str:
    distinct = leaf.agg == "count_distinct"
    table = "partials_distinct" if distinct else "partials FINAL"
    own = _NEEDS[leaf.agg]
    columns = [
        f"{column if column in own else default} AS {column}"
        for column, default in _COLUMNS.items()
        if column in needed
    ]
    order = list(leaf.dimensions)
    places = [f"JSONExtract(dims, {order.index(name) + 1}, 'Nullable(String)') AS {_inner(name)}" for name in dims]
    selected = ", ".join([f"{at} AS leaf", "1 AS branch_rows", "window_start", "revision", *columns, *places])
    return (
        f"    SELECT {selected}\n    FROM {table}\n"
        f"    WHERE kpi = {quoted(leaf.name)} AND definition = {leaf.definition} AND ({condition})"
        + ("" if distinct else f"\n      AND (topic, incarnation, partition, segment) IN ({_segments(leaf)})")
    )


def start_sql(key: str) -> str:
    """SQL over `partition_starts`: from which offset on the stream holds a KPI; the largest number if it never did.

    `key`: SQL for the KPI's key.
    """
    return f"if(mapContains(starts, {key}), starts[{key}], toUInt64(18446744073709551615))"


def _segments(leaf: SimpleKpi) -> str:
    """A SELECT of the segments that count for a leaf: what the stream holds, and what was rebuilt of before."""
    start = f"toString({start_sql(quoted(leaf.key))})"
    both = f"arrayJoin([concat('stream:', {start}), concat('rebuild:', {start})])"
    return f"SELECT topic, incarnation, partition, {both} FROM partition_starts"


def _leaf_value(leaf: SimpleKpi, at: int) -> str:
    mine = f"leaf = {at}"
    value = _VALUES[leaf.agg].replace("{mine}", mine).replace("{total}", _TOTAL.replace("{mine}", mine))
    if leaf.agg == "percentile":
        return _percentile(value, leaf.p or 0.0)
    return f"if(isFinite({value}), {value}, NULL)" if leaf.agg in ("sum", "avg") else value


_TOTAL = (
    # as text: a number of 38 digits becomes the float that is next to it in one rounding, as in any recount
    "(toFloat64(toString(sumIf(exact, {mine}))) + sumKahanIf(total, {mine}) + sumKahanIf(compensation, {mine}))"
)
_EDGE = "(edge_value, (edge_time, edge_source, edge_id), {mine} AND edge_value IS NOT NULL)"
_VALUES: dict[Aggregation, str] = {
    "count": "toFloat64(sumIf(count, {mine}))",
    "sum": "{total}",
    "avg": "if(sumIf(count, {mine}) = 0, NULL, {total} / sumIf(count, {mine}))",
    "min": "minIf(minimum, {mine})",
    "max": "maxIf(maximum, {mine})",
    "count_distinct": "toFloat64(uniqCombined64MergeIf(state, {mine}))",
    "percentile": "sumMapIf(bins, bin_counts, {mine})",
    "first": f"argMinIf{_EDGE}",
    "last": f"argMaxIf{_EDGE}",
}


def _percentile(bins: str, p: float) -> str:
    """The value at rank floor(p (n - 1)) of the sorted values, from DDSketch bins: 2 gamma^i / (gamma + 1)."""
    count = f"toFloat64(arraySum(({bins}).2))"
    rank = f"floor({p!r} * ({count} - 1))"
    place = f"arrayFirstIndex(c -> c > {rank}, arrayCumSum(({bins}).2))"
    index = f"({bins}).1[{place}]"
    power = f"(abs({index}) - {BIN_OFFSET}) * {math.log(GAMMA)!r} + {math.log(2 / (GAMMA + 1))!r}"
    size = f"exp(least({power}, {_LONGEST_POWER!r}))"
    return f"if(empty(({bins}).1), NULL, if({index} = 0, 0, sign({index}) * {size}))"


def _value(catalog: Catalog, kpi: Kpi, numbers: Mapping[str, str]) -> str:
    match kpi:
        case SimpleKpi():
            return numbers[kpi.name]
        case RatioKpi():
            numerator, denominator = _fraction(catalog, kpi, numbers)
            least = f" OR {denominator} < {kpi.min_denominator!r}" if kpi.min_denominator is not None else ""
            return f"if({denominator} = 0 OR {denominator} IS NULL{least}, NULL, {numerator} / {denominator})"
        case DerivedKpi():
            inputs = {part.name: f"({_value(catalog, part, numbers)})" for part in catalog.inputs(kpi)}
            return f"({render_clickhouse(parse_kpi_expression(kpi.expr), inputs)})"


def _fraction(catalog: Catalog, kpi: Kpi, numbers: Mapping[str, str]) -> tuple[str, str]:
    if not isinstance(kpi, RatioKpi):
        return "NULL", "NULL"
    return (
        f"({_value(catalog, catalog.kpi(kpi.numerator), numbers)})",
        f"({_value(catalog, catalog.kpi(kpi.denominator), numbers)})",
    )
