"""The mergeable aggregates: what a batch adds to each window, and how two partial aggregates become one.

A partial aggregate is a row: `key`, `revision` (offset of the last event in it), `count`, and the columns of its kind:

=========  ==============================================  ====================================================
kind       columns                                         aggregations
=========  ==============================================  ====================================================
count                                                      count
exact      exact (Int128, scaled)                          sum, avg of integers and decimals
wide       exact, total, compensation                      the same, of products that may pass 64 bits
float      total, compensation                             sum, avg of floats
extreme    minimum, maximum                                min, max
sketch     bins, bin_counts                                percentile
edge       edge_time, edge_source, edge_id, edge_value     first, last
=========  ==============================================  ====================================================
"""

from __future__ import annotations

import math
from typing import Literal

import polars as pl

__all__ = ["BIN_OFFSET", "GAMMA", "MOST_EXACT", "RELATIVE_ERROR", "Kind", "merge", "sketch_bin", "summarise"]

Kind = Literal["count", "exact", "wide", "float", "extreme", "sketch", "edge"]

RELATIVE_ERROR = 0.01
GAMMA = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)
BIN_OFFSET = 40_000
"""Bins of positive values are their logarithmic index + this, of negative ones its negative; 0 is zero itself."""
MOST_EXACT = 2**62
"""Longer unscaled values are summed as floats: a billion shorter ones, times 10^9, still fit a Decimal(38, 9)."""


def sketch_bin(value: pl.Expr) -> pl.Expr:
    """The DDSketch bin of a value: ceil(log_gamma |x|), signed (Masson, Rim, Lee: DDSketch, VLDB 2019, section 2.1)."""
    index = (value.abs().log() / math.log(GAMMA)).ceil().cast(pl.Int32, strict=False) + BIN_OFFSET
    return pl.when(value == 0).then(0).when(value < 0).then(-index).otherwise(index).cast(pl.Int32)


def summarise(rows: pl.DataFrame, kind: Kind, *, last: bool = False, scale: int = 0) -> pl.DataFrame:
    """Aggregate `rows` (key, offset, value and, for edges, time_us, source, id) to one partial aggregate per key.

    Values are finite and not null. `scale`: digits after the point of wide values. The order of rows does not matter.
    """
    value = pl.col("value")
    match kind:
        case "count":
            own = []
        case "exact":
            own = [value.sum().alias("exact")]
        case "extreme":
            own = [value.min().alias("minimum"), value.max().alias("maximum")]
        case "wide":
            own = _wide_sums(scale)
        case "float":
            return _sum_floats(rows)
        case "sketch":
            return _as_lists(rows.group_by("key", sketch_bin(value).alias("bin")).agg(_common()))
        case "edge":
            return _edges(rows, last=last)
    return rows.group_by("key").agg(*_common(), *own)


def _common() -> list[pl.Expr]:
    return [pl.col("offset").max().alias("revision"), pl.len().cast(pl.UInt64).alias("count")]


def _wide_sums(scale: int) -> list[pl.Expr]:
    value = pl.col("value")
    limit = pl.lit(MOST_EXACT, dtype=pl.Int128)
    fits = (value <= limit) & (value >= pl.lit(-MOST_EXACT, dtype=pl.Int128))
    return [
        value.filter(fits).sum().alias("exact"),
        (value.filter(~fits).cast(pl.Float64) / float(10**scale)).sum().alias("total"),
        pl.lit(0.0).alias("compensation"),
    ]


def _edges(rows: pl.DataFrame, *, last: bool) -> pl.DataFrame:
    ordered = rows.sort("time_us", "source", "id", "offset", descending=last).group_by("key", maintain_order=True)
    edges = {"edge_time": "time_us", "edge_source": "source", "edge_id": "id", "edge_value": "value"}
    return ordered.agg(*_common(), *(pl.col(name).first().alias(edge) for edge, name in edges.items()))


def _sum_floats(rows: pl.DataFrame) -> pl.DataFrame:
    """Sums split so that the larger part adds up without rounding (Rump, Ogita, Oishi: Accurate floating-point
    summation, 2008, ExtractVector): the error is far below 1e-12 of the sum of absolute values, in any order of rows.
    """
    value = pl.col("value")
    bound = (value.abs().max() * pl.len()).over("key")
    sigma = pl.lit(2.0).pow((bound.log(2).ceil() + 1).clip(-1000, 1023))
    high = (value + sigma) - sigma
    split = rows.with_columns(pl.when(high.is_finite()).then(high).otherwise(value).alias("high"))
    low = (value - pl.col("high")).sum()
    return split.group_by("key").agg(*_common(), pl.col("high").sum().alias("total"), low.alias("compensation"))


def merge(older: pl.DataFrame, newer: pl.DataFrame, kind: Kind, *, last: bool = False) -> pl.DataFrame:
    """One partial aggregate per key of `newer`, with what `older` holds for it added in. Columns as in `newer`.

    `older` holds the earlier offsets.
    """
    if older.is_empty():
        return newer
    if kind in ("sketch", "edge"):
        known = older.join(newer.select("key"), on="key", how="semi").select(newer.columns)
        return _merge_sketches(pl.concat([known, newer])) if kind == "sketch" else _merge_edges(known, newer, last=last)
    joined = newer.join(older, on="key", how="left", suffix="_old")
    common = [
        pl.col("key"),
        pl.max_horizontal("revision", "revision_old").alias("revision"),
        (pl.col("count") + _old("count")).alias("count"),
    ]
    match kind:
        case "exact":
            common.append(_merged_exact())
        case "wide":
            common += [_merged_exact(), *_merged_floats()]
        case "float":
            common += _merged_floats()
        case "extreme":
            common += [
                pl.min_horizontal("minimum", "minimum_old").alias("minimum"),
                pl.max_horizontal("maximum", "maximum_old").alias("maximum"),
            ]
    return joined.select(common)


def _old(name: str) -> pl.Expr:
    return pl.col(f"{name}_old").fill_null(0)


def _merged_exact() -> pl.Expr:
    return (pl.col("exact") + pl.col("exact_old").fill_null(pl.lit(0, dtype=pl.Int128))).alias("exact")


def _merged_floats() -> list[pl.Expr]:
    total = pl.col("total") + _old("total")
    seen = total - pl.col("total")  # Knuth's two-sum: the rounding error of `total`, exactly
    error = (pl.col("total") - (total - seen)) + (_old("total") - seen)
    known = pl.when(total.is_finite()).then(error).otherwise(0.0)
    return [total.alias("total"), (pl.col("compensation") + _old("compensation") + known).alias("compensation")]


def _as_lists(bins: pl.DataFrame) -> pl.DataFrame:
    return bins.group_by("key").agg(
        pl.col("revision").max(),
        pl.col("count").sum(),
        pl.col("bin").alias("bins"),
        pl.col("count").alias("bin_counts"),
    )


def _merge_sketches(both: pl.DataFrame) -> pl.DataFrame:
    renamed = both.select("key", "revision", pl.col("bins").alias("bin"), pl.col("bin_counts").alias("count"))
    long = renamed.explode("bin", "count")
    summed = long.group_by("key", "bin").agg(pl.col("revision").max(), pl.col("count").sum())
    return _as_lists(summed).select(both.columns)


def _merge_edges(older: pl.DataFrame, newer: pl.DataFrame, *, last: bool) -> pl.DataFrame:
    edges = ["edge_time", "edge_source", "edge_id"]
    firsts = [pl.col(name).first() for name in [*edges, "edge_value"]]
    both = pl.concat([newer, older] if last else [older, newer])  # of equal ones the outermost offset counts
    grouped = both.sort(edges, descending=last, maintain_order=True).group_by("key", maintain_order=True)
    return grouped.agg(pl.col("revision").max(), pl.col("count").sum(), *firsts).select(newer.columns)
