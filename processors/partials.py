"""Rows of the tables `partials` and `partials_distinct`: from folded aggregates, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import polars as pl
import pyarrow as pa
import xxhash

from onpace.processors.fold import STATE_COLUMNS, KpiFold
from onpace.processors.plan import EXACT_SCALE, KpiPlan
from onpace.processors.windows import DimensionCodes, key_columns, pack_keys

__all__ = ["READ_BACK_COLUMNS", "Slot", "decimals", "described", "distinct_rows", "from_store", "partial_rows"]

READ_BACK_COLUMNS = """kpi, definition, toUnixTimestamp(window_start) AS seconds, dims, partition, segment, revision,
 count, toString(exact) AS exact, total, compensation, minimum, maximum, toUnixTimestamp64Micro(edge_time) AS edge_time,
 edge_source, edge_id, edge_value, bins, bin_counts"""


@dataclass(frozen=True, slots=True)
class Slot:
    """One life of one partition, with its small number within this process."""

    number: int
    incarnation: UUID
    partition: int


_DEFAULTS: dict[str, pl.Expr] = {
    "exact": pl.lit(0, dtype=pl.Int128),
    "total": pl.lit(0.0),
    "compensation": pl.lit(0.0),
    "minimum": pl.lit(None, dtype=pl.Float64),
    "maximum": pl.lit(None, dtype=pl.Float64),
    "edge_time": pl.lit(0, dtype=pl.Int64),
    "edge_source": pl.lit(""),
    "edge_id": pl.lit(""),
    "edge_value": pl.lit(None, dtype=pl.Float64),
    "bins": pl.lit([], dtype=pl.List(pl.Int32)),
    "bin_counts": pl.lit([], dtype=pl.List(pl.UInt64)),
}


def described(
    plan: KpiPlan, frame: pl.DataFrame, slots: Mapping[int, Slot], topic: str, dims: DimensionCodes
) -> pl.DataFrame:
    """`frame` (key, revision, …) with the columns of the table that its packed keys and the KPI stand for."""
    keys = key_columns(frame["key"])
    numbers = list(slots)
    partition = [slots[n].partition for n in numbers]
    incarnation = [str(slots[n].incarnation) for n in numbers]
    return frame.with_columns(
        pl.lit(plan.kpi.name).alias("kpi"),
        pl.lit(plan.kpi.definition, dtype=pl.UInt64).alias("definition"),
        (keys["minutes"] * 60).cast(pl.UInt32).alias("window_start"),
        pl.Series("dims", dims.texts(keys["dims"].to_list()), dtype=pl.String),
        pl.lit(topic).alias("topic"),
        keys["slot"].replace_strict(numbers, partition, return_dtype=pl.UInt32).alias("partition"),
        keys["slot"].replace_strict(numbers, incarnation, return_dtype=pl.String).alias("incarnation"),
        pl.col("revision").cast(pl.UInt64),
    )


def partial_rows(
    changed: Sequence[tuple[KpiFold, pl.DataFrame]], slots: Mapping[int, Slot], topic: str, dims: DimensionCodes
) -> pa.Table | None:
    """One Arrow table for `partials` of everything that changed; None when nothing did."""
    parts = []
    for fold, frame in changed:
        if frame.is_empty():
            continue
        segments = fold.segments
        complete = described(fold.plan, frame, slots, topic, dims).with_columns(
            key_columns(frame["key"])["slot"]
            .replace_strict(list(segments), list(segments.values()), return_dtype=pl.String)
            .alias("segment")
        )
        own = STATE_COLUMNS[fold.kind]
        columns = [pl.col(name) if name in own else default.alias(name) for name, default in _DEFAULTS.items()]
        if "exact" in own:
            unit = pl.lit(10 ** (EXACT_SCALE - (fold.plan.scale or 0)), dtype=pl.Int128)
            columns[0] = (pl.col("exact") * unit).alias("exact")
        parts.append(
            complete.select(
                "kpi",
                "definition",
                "window_start",
                "dims",
                "topic",
                "incarnation",
                "partition",
                "segment",
                "revision",
                "count",
                *columns,
            )
        )
    if not parts:
        return None
    rows = pl.concat(parts)
    table = rows.drop("exact").to_arrow()
    edge_time = rows["edge_time"].cast(pl.Datetime("us", "UTC")).to_arrow()
    table = table.set_column(table.column_names.index("edge_time"), "edge_time", edge_time)
    return table.append_column("exact", decimals(rows["exact"]))


def decimals(values: pl.Series) -> pa.Array:
    """128-bit integers that count units of 10^-9 as decimals of 9 digits: the same bytes under another type."""
    wide = values.cast(pl.Decimal(38, 0)).to_arrow()
    wide = wide.combine_chunks() if isinstance(wide, pa.ChunkedArray) else wide
    return pa.Array.from_buffers(
        pa.decimal128(38, EXACT_SCALE), len(wide), [None, wide.buffers()[1]], offset=wide.offset
    )


def distinct_rows(
    plan: KpiPlan, rows: pl.DataFrame, slots: Mapping[int, Slot], topic: str, dims: DimensionCodes
) -> pa.Table | None:
    """Rows of `partials_distinct`: per window the hashes (xxh3, 64 bits) of the values in `rows`."""
    if rows.is_empty():
        return None
    once = rows.group_by("key", "value").agg(pl.col("offset").max())
    values = once["value"].unique().to_list()
    hashes = [xxhash.xxh3_64_intdigest(value.encode()) for value in values]
    hashed = once.with_columns(pl.col("value").replace_strict(values, hashes, return_dtype=pl.UInt64).alias("hash"))
    grouped = hashed.group_by("key").agg(pl.col("offset").max().alias("revision"), pl.col("hash").alias("hashes"))
    complete = described(plan, grouped, slots, topic, dims)
    return complete.select("kpi", "definition", "window_start", "dims", "revision", "hashes").to_arrow()


def from_store(table: pa.Table, fold: KpiFold, slot_of: Mapping[int, int], dims: DimensionCodes) -> pl.DataFrame:
    """Rows read back for one KPI, of the segments that it folds into, in the columns that `KpiFold.absorb` takes.

    `slot_of`: partition -> slot number. Rows of dimension values that no event has brought to `dims` are left out:
    nobody waits for them.
    """
    rows = pl.DataFrame(pl.from_arrow(table)).filter(
        (pl.col("kpi") == fold.plan.kpi.name) & (pl.col("definition") == fold.plan.kpi.definition)
    )
    mine = {"partition": list(slot_of), "segment": [fold.segments[slot] for slot in slot_of.values()]}
    wanted = pl.DataFrame(mine, schema={"partition": pl.Int64, "segment": pl.String})
    rows = rows.cast({"partition": pl.Int64, "segment": pl.String}).join(wanted, on=list(mine), how="semi")
    known = dims.known(rows["dims"].unique().to_list())
    rows = rows.filter(pl.col("dims").is_in(list(known)))
    partitions = list(slot_of)
    codes = pl.col("dims").replace_strict(list(known), list(known.values()), return_dtype=pl.Int64)
    slots = pl.col("partition").replace_strict(partitions, [slot_of[p] for p in partitions], return_dtype=pl.Int64)
    if rows.is_empty():
        return pl.DataFrame()
    keyed = rows.with_columns(
        pack_keys(pl.col("seconds").cast(pl.Int64) // 60, codes, slots),
        pl.col("revision").cast(pl.Int64),
        pl.col("count").cast(pl.UInt64),
    )
    if "exact" in STATE_COLUMNS[fold.kind]:
        digits = 10 ** (EXACT_SCALE - (fold.plan.scale or 0))
        exact = [int(text.replace(".", "")) for text in _fixed(rows["exact"])]
        keyed = keyed.with_columns(pl.Series("exact", [value // digits for value in exact], dtype=pl.Int128))
    return keyed.select("key", "revision", "count", *STATE_COLUMNS[fold.kind])


def _fixed(texts: pl.Series) -> list[str]:
    """Decimal text with exactly nine digits after the point: `-1.5` -> `-1.500000000`."""
    parts = [text.partition(".") for text in texts.to_list()]
    return [f"{whole}.{fraction:0<{EXACT_SCALE}}" for whole, _, fraction in parts]
