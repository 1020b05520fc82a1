"""The keys that events are folded under, and the rows of ClickHouse that must be in memory before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

import polars as pl

from onpace.processors.fold import KpiFold, Window, window_column
from onpace.processors.partials import Slot, from_store
from onpace.processors.plan import EventPlan
from onpace.processors.series import pairs_in
from onpace.processors.windows import DimensionCodes, key_columns, window_minutes
from onpace.processors.writer import StoreWriter

__all__ = ["read_back", "select_rows"]


def select_rows(
    folds: Sequence[KpiFold], frame: pl.DataFrame, plan: EventPlan, dims: DimensionCodes
) -> list[tuple[KpiFold, pl.DataFrame]]:
    """The rows of `frame` (accepted events of one type) that each KPI is to fold, under the series they count in."""
    frame = _with_keys(frame, plan, dims)
    present: dict[str, list[int]] = {}
    selected = []
    for fold in folds:
        column = _dims_name(tuple(fold.plan.kpi.dimensions.items()))
        rows = fold.select(frame, column)
        if fold.ceiling:
            if column not in present:  # once for all KPIs of these dimensions: most bring nothing new
                present[column] = pairs_in(frame[column], frame["onpace:slot"])
            rows = fold.ceiling.book(rows, present[column], dims)
        selected.append((fold, rows))
    return selected


def _with_keys(frame: pl.DataFrame, plan: EventPlan, dims: DimensionCodes) -> pl.DataFrame:
    """Add one column per window spec and one per dimension set, shared by all KPIs that use it."""
    for kpi in (p.kpi for p in plan.kpis):
        column = window_column(kpi.base_grain, kpi.zone)
        if column not in frame.columns:
            frame = frame.with_columns(window_minutes(frame["onpace:time_us"], kpi.base_grain, kpi.zone).alias(column))
    for spec, columns in plan.dimensions.items():
        values = frame.select("onpace:offset", *columns) if spec else frame  # as many rows, even of constants
        codes = dims.encode(values, [dim for dim, _ in spec]) if spec else None
        code = pl.lit(dims.code("[]"), dtype=pl.Int64) if codes is None else codes
        frame = frame.with_columns(code.alias(_dims_name(spec)))
    return frame


def _dims_name(spec: tuple[tuple[str, str], ...]) -> str:
    return f"onpace:dims {spec!r}"


def read_back(
    selected: Sequence[tuple[KpiFold, pl.DataFrame]],
    slots: Mapping[int, Slot],
    writer: StoreWriter,
    dims: DimensionCodes,
) -> None:
    """Make every key of the rows to be folded resident. Raises StoreUnavailable before anything has changed."""
    wanted = {fold: keys for fold, rows in selected if (keys := fold.missing(rows)).len()}
    if not wanted:
        return
    by_life: dict[UUID, set[Window]] = {}
    for number, minute in key_columns(pl.concat(wanted.values())).select("slot", "minutes").unique().iter_rows():
        slot = slots[number]
        by_life.setdefault(slot.incarnation, set()).add((slot.partition, minute))
    segments = {segment for fold in wanted for segment in fold.segments.values()}
    found: dict[KpiFold, list[pl.DataFrame]] = {fold: [] for fold in wanted}
    for life, windows in by_life.items():
        slot_of = {s.partition: n for n, s in slots.items() if s.incarnation == life}
        for table in writer.read_back([fold.plan.kpi for fold in wanted], segments, life, windows):
            for fold, keys in wanted.items():
                rows = from_store(table, fold, slot_of, dims)
                if rows.height:
                    found[fold].append(rows.filter(pl.col("key").is_in(keys.implode())))
    for fold, parts in found.items():  # not before everything has been read
        fold.absorb(pl.concat(parts) if parts else pl.DataFrame())
