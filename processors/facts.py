"""Rows of the table `facts`: events kept one by one, with their entity and the number that goes with it."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl
import pyarrow as pa

from onpace.processors.aggregates import MOST_EXACT
from onpace.processors.partials import Slot, decimals, described
from onpace.processors.plan import EXACT_SCALE, KpiPlan
from onpace.processors.windows import DimensionCodes

__all__ = ["fact_rows"]


def fact_rows(
    plan: KpiPlan, rows: pl.DataFrame, slots: Mapping[int, Slot], topic: str, dims: DimensionCodes
) -> pa.Table | None:
    """One row per row that `KpiFold.select` gave for a stream of facts; None when there is none.

    Nothing but the event and its place in the log decides a row: the stream, a rebuild and a zombie write the same.
    """
    if rows.is_empty():
        return None
    exact, total = _amounts(plan)
    frame = described(plan, rows.rename({"offset": "revision", "value": "entity"}), slots, topic, dims).select(
        "kpi",
        "definition",
        "topic",
        "incarnation",
        "partition",
        pl.col("revision").alias("offset"),
        "source",
        "id",
        "entity",
        "dims",
        total.alias("total"),
        exact.alias("exact"),
        pl.col("time_us").cast(pl.Datetime("us", "UTC")).alias("time"),
    )
    table = frame.drop("exact").to_arrow()
    return table.append_column("exact", decimals(frame["exact"]))


def _amounts(plan: KpiPlan) -> tuple[pl.Expr, pl.Expr]:
    """The amount, exact in units of 10^-9 or as a float: one of them is 0."""
    amount, nothing = pl.col("amount"), pl.lit(0, dtype=pl.Int128)
    if plan.amount is None:
        return nothing, pl.lit(0.0)
    if plan.scale is None:
        return nothing, amount
    units = amount * pl.lit(10 ** (EXACT_SCALE - plan.scale), dtype=pl.Int128)
    if not plan.wide:
        return units, pl.lit(0.0)
    fits = (amount <= pl.lit(MOST_EXACT, dtype=pl.Int128)) & (amount >= pl.lit(-MOST_EXACT, dtype=pl.Int128))
    total = amount.cast(pl.Float64) / float(10**plan.scale)
    return pl.when(fits).then(units).otherwise(nothing), pl.when(fits).then(0.0).otherwise(total)
