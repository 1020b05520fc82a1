"""The rows that a leaf KPI is merged from, how they merge, and the value of what was merged, as SQL.

Rows have `window_start`, `revision`, a column `by_<dimension>` for each dimension asked for, and the leaf's own state
columns (`columns_of`). Every state column merges in one way, so that windows, partitions and dimensions may be merged
in any number of steps.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence

from onpace.config.kpi import Aggregation, SimpleKpi
from onpace.config.kpi_entities import BalanceKpi, ConversionKpi, Leaf, ReportedKpi, RetentionKpi
from onpace.processors.aggregates import BIN_OFFSET, GAMMA
from onpace.processors.entity_sql import balance_rows, conversion_rows, fact_dimensions, retention_rows
from onpace.processors.quoting import inner, quoted
from onpace.processors.report_sql import reported_rows

__all__ = [
    "STATE_COLUMNS",
    "columns_of",
    "leaf_dimensions",
    "leaf_fraction",
    "leaf_rows",
    "leaf_series",
    "leaf_value",
    "merged_state",
    "start_sql",
]

_LONGEST_POWER = math.log(sys.float_info.max)
STATE_COLUMNS: dict[str, str] = {
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
    "state": "arrayReduce('uniqCombined64State', emptyArrayUInt64())",
}
"""Every state column, and what stands in it where a leaf has none."""
_SUM = ("exact", "total", "compensation")
_EDGE = ("edge_time", "edge_source", "edge_id", "edge_value")
_COLUMNS: dict[Aggregation, tuple[str, ...]] = {
    "count": ("count",),
    "sum": _SUM,
    "avg": ("count", *_SUM),
    "min": ("minimum",),
    "max": ("maximum",),
    "count_distinct": ("state",),
    "percentile": ("bins", "bin_counts"),
    "first": _EDGE,
    "last": _EDGE,
}


def columns_of(leaf: Leaf) -> tuple[str, ...]:
    """The state columns that a leaf's value is made of."""
    match leaf:
        case SimpleKpi():
            return _COLUMNS[leaf.agg]
        case ConversionKpi(measure="median_time"):
            return ("bins", "bin_counts")
        case ConversionKpi() | RetentionKpi():
            return ("count", "exact")
        case BalanceKpi():
            return ("exact", "total")
        case ReportedKpi():
            return _EDGE if leaf.merge == "last" else ("count", "exact", "total")


def leaf_rows(leaf: Leaf, dims: Sequence[str], condition: str) -> str:
    """A SELECT of the leaf's rows for which the `condition` over `window_start` holds."""
    match leaf:
        case SimpleKpi():
            return _simple_rows(leaf, dims, condition)
        case ConversionKpi():
            return conversion_rows(leaf, dims, condition)
        case RetentionKpi():
            return retention_rows(leaf, dims, condition)
        case BalanceKpi():
            return balance_rows(leaf, dims, condition)
        case ReportedKpi():
            return reported_rows(leaf, dims, condition)


def leaf_dimensions(leaf: Leaf, dims: Sequence[str]) -> str:
    """A SELECT with every combination of the dimensions `dims` that the leaf's rows have, perhaps more than once."""
    if isinstance(leaf, ConversionKpi | BalanceKpi):  # each of their events has its row
        return fact_dimensions(leaf, dims)
    if isinstance(
        leaf, SimpleKpi
    ):  # older revisions of a row have the same ones: no need for FINAL, which takes longer
        return f"SELECT {', '.join(_places(leaf, dims))} FROM (SELECT DISTINCT dims {_counted(leaf, '')})"
    return leaf_rows(leaf, dims, "1")


def leaf_series(leaf: Leaf, dims: Sequence[str]) -> str:
    """The same, fast, but perhaps without what was rebuilt from the archive: what the stream was found to hold."""
    if not isinstance(leaf, SimpleKpi):
        return leaf_dimensions(leaf, dims)
    mine = f"kpi = {quoted(leaf.name)} AND definition = {leaf.definition} AND {_held(leaf)}"
    return f"SELECT {', '.join(_places(leaf, dims))} FROM (SELECT DISTINCT dims FROM series WHERE {mine})"


def _simple_rows(leaf: SimpleKpi, dims: Sequence[str], condition: str) -> str:
    selected = ", ".join(["window_start", "revision", *columns_of(leaf), *_places(leaf, dims)])
    final = "" if leaf.agg == "count_distinct" else " FINAL"
    return f"SELECT {selected}\n    {_counted(leaf, final)} AND ({condition})"


def _places(leaf: SimpleKpi, dims: Sequence[str]) -> list[str]:
    order = list(leaf.dimensions)
    return [f"JSONExtract(dims, {order.index(name) + 1}, 'Nullable(String)') AS {inner(name)}" for name in dims]


def _counted(leaf: SimpleKpi, final: str) -> str:
    """Everything of a SELECT but its columns, of the rows that count for a leaf."""
    distinct = leaf.agg == "count_distinct"
    held = "" if distinct else f" AND {_held(leaf)}"
    return (
        f"FROM {'partials_distinct' if distinct else 'partials'}{final}\n"
        f"    WHERE kpi = {quoted(leaf.name)} AND definition = {leaf.definition}{held}"
    )


def start_sql(key: str) -> str:
    """SQL over `partition_starts`: from which offset on the stream holds a KPI; the largest number if it never did.

    `key`: SQL for the KPI's key.
    """
    return f"if(mapContains(starts, {key}), starts[{key}], toUInt64(18446744073709551615))"


def _held(leaf: SimpleKpi) -> str:
    """Which rows count for a leaf. The first flush of a partition writes watermarks before the checkpoint that says
    where its segment begins: until then it is the beginning, or the values would lack what they are complete with."""
    unsaid = "(topic, incarnation, partition) NOT IN (SELECT topic, incarnation, partition FROM partition_starts)"
    known = f"(topic, incarnation, partition, segment) IN ({_segments(leaf)})"
    return f"({known} OR (segment = 'stream:0' AND {unsaid}))"


def _segments(leaf: SimpleKpi) -> str:
    """A SELECT of the segments that count for a leaf: what the stream holds, and what was rebuilt of before."""
    start = f"toString({start_sql(quoted(leaf.key))})"
    both = f"arrayJoin([concat('stream:', {start}), concat('rebuild:', {start})])"
    return f"SELECT topic, incarnation, partition, {both} FROM partition_starts"


def merged_state(leaf: Leaf) -> list[str]:
    """SQL that merges a leaf's rows into one state, each column under its own name (and `revision`)."""
    own = columns_of(leaf)
    merged = [f"sum(s.{name}) AS {name}" for name in ("count", "exact") if name in own]
    merged += [f"sumKahan(s.{name}) AS {name}" for name in ("total", "compensation") if name in own]
    merged += [f"{how}(s.{name}) AS {name}" for how, name in (("min", "minimum"), ("max", "maximum")) if name in own]
    if "edge_time" in own:
        order = "(s.edge_time, s.edge_source, s.edge_id)"
        last = not (isinstance(leaf, SimpleKpi) and leaf.agg == "first")
        values = ", ".join(f"s.{name}" for name in _EDGE)
        edge = f"{'argMaxIf' if last else 'argMinIf'}(({values}), {order}, s.edge_value IS NOT NULL)"
        merged += [f"{edge}.{at} AS {name}" for at, name in enumerate(_EDGE, 1)]
    if "bins" in own:
        merged += [f"sumMap(s.bins, s.bin_counts).{at} AS {name}" for at, name in ((1, "bins"), (2, "bin_counts"))]
    if "state" in own:
        merged.append("uniqCombined64MergeState(s.state) AS state")
    return [*merged, "max(s.revision) AS revision"]


def leaf_value(leaf: Leaf, mine: str) -> str:
    """SQL for the value (Nullable Float64) of all rows for which the condition `mine` holds."""
    match leaf:
        case SimpleKpi():
            return _simple_value(leaf, mine)
        case ConversionKpi(measure="median_time"):
            return _percentile(f"sumMapIf(bins, bin_counts, {mine})", 0.5)
        case ConversionKpi(measure="count"):
            return f"toFloat64(sumIf(exact, {mine}))"
        case ConversionKpi() | RetentionKpi():
            return _share(mine)
        case BalanceKpi():
            return _finite(f"if(countIf({mine}) = 0, NULL, {_plain_total(mine)})")
        case ReportedKpi():
            return _reported_value(leaf, mine)


def leaf_fraction(leaf: Leaf, mine: str) -> tuple[str, str]:
    """SQL for what a mean or a share is divided from and by, over the same rows."""
    if isinstance(leaf, SimpleKpi):
        return _finite(f"({_plain_total(mine)} + sumKahanIf(compensation, {mine}))"), f"toFloat64(sumIf(count, {mine}))"
    return f"toFloat64(sumIf(exact, {mine}))", f"toFloat64(sumIf(count, {mine}))"


def _share(mine: str) -> str:
    return f"if(sumIf(count, {mine}) = 0, NULL, toFloat64(sumIf(exact, {mine})) / sumIf(count, {mine}))"


def _reported_value(leaf: ReportedKpi, mine: str) -> str:
    if leaf.merge == "last":
        return _edge("argMaxIf", mine)
    total = f"({_plain_total(mine)})" + (f" / sumIf(count, {mine})" if leaf.merge == "avg" else "")
    return f"if(sumIf(count, {mine}) = 0, NULL, {total})"


def _simple_value(leaf: SimpleKpi, mine: str) -> str:
    total = f"({_plain_total(mine)} + sumKahanIf(compensation, {mine}))"
    match leaf.agg:
        case "sum":
            return _finite(total)
        case "avg":
            return _finite(f"if(sumIf(count, {mine}) = 0, NULL, {total} / sumIf(count, {mine}))")
        case "percentile":
            return _percentile(f"sumMapIf(bins, bin_counts, {mine})", leaf.p or 0.0)
        case "first":
            return _edge("argMinIf", mine)
        case "last":
            return _edge("argMaxIf", mine)
    plain: dict[Aggregation, str] = {
        "count": f"toFloat64(sumIf(count, {mine}))",
        "min": f"minIf(minimum, {mine})",
        "max": f"maxIf(maximum, {mine})",
        "count_distinct": f"toFloat64(uniqCombined64MergeIf(state, {mine}))",
    }
    return plain[leaf.agg]


def _plain_total(mine: str) -> str:
    # as text: a number of 38 digits becomes the float that is next to it in one rounding, as in any recount
    return f"toFloat64(toString(sumIf(exact, {mine}))) + sumKahanIf(total, {mine})"


def _finite(value: str) -> str:
    return f"if(isFinite({value}), {value}, NULL)"


def _edge(which: str, mine: str) -> str:
    return f"{which}(edge_value, (edge_time, edge_source, edge_id), {mine} AND edge_value IS NOT NULL)"


def _percentile(bins: str, p: float) -> str:
    """The value at rank floor(p (n - 1)) of the sorted values, from DDSketch bins: 2 gamma^i / (gamma + 1)."""
    count = f"toFloat64(arraySum(({bins}).2))"
    rank = f"floor({p!r} * ({count} - 1))"
    place = f"arrayFirstIndex(c -> c > {rank}, arrayCumSum(({bins}).2))"
    index = f"({bins}).1[{place}]"
    power = f"(abs({index}) - {BIN_OFFSET}) * {math.log(GAMMA)!r} + {math.log(2 / (GAMMA + 1))!r}"
    size = f"exp(least({power}, {_LONGEST_POWER!r}))"
    return f"if(empty(({bins}).1), NULL, if({index} = 0, 0, sign({index}) * {size}))"
