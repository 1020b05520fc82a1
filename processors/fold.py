"""Folding accepted events into the absolute aggregates of one KPI.

The aggregates held in memory are a cache over ClickHouse. A key is resident when it is in memory, or when its window is
newer than anything stored that is not (`floor`). Events for any other key wait for its row to be read back first; only
the keys that events ask for are, since a window may have a hundred thousand of them.
"""

from __future__ import annotations

from collections.abc import Collection
from zoneinfo import ZoneInfo

import polars as pl

from onpace.config.calendar import Grain
from onpace.config.kpi_entities import FactStream
from onpace.processors.aggregates import Kind, merge, summarise
from onpace.processors.plan import KpiPlan
from onpace.processors.series import SeriesCeiling
from onpace.processors.windows import DIMS_BITS, SLOT_BITS, key_columns, pack_keys

__all__ = ["STATE_COLUMNS", "KpiFold", "Window", "window_column"]

Window = tuple[int, int]
"""(slot, start in minutes since 1970)"""

_KINDS: dict[str, Kind] = {
    "count": "count",
    "min": "extreme",
    "max": "extreme",
    "percentile": "sketch",
    "first": "edge",
    "last": "edge",
}


def _sum_kind(plan: KpiPlan) -> Kind:
    if plan.scale is None:
        return "float"
    return "wide" if plan.wide else "exact"


def window_column(grain: Grain, zone: ZoneInfo) -> str:
    """The name of the column that holds base window starts, shared by all KPIs of one grain and zone."""
    fine = grain in (Grain.MINUTE, Grain.FIVE_MINUTES, Grain.FIFTEEN_MINUTES)
    return f"onpace:{grain}" if fine else f"onpace:{grain} {zone.key}"


class KpiFold:
    """The resident aggregates of one KPI over all slots (partitions) of this process."""

    def __init__(self, plan: KpiPlan) -> None:
        self.plan = plan
        self.kind: Kind = _KINDS.get(plan.kpi.agg, _sum_kind(plan))
        self.distinct = plan.kpi.agg == "count_distinct"
        self.facts = isinstance(plan.kpi, FactStream)  # kept one by one: nothing of them is resident
        self.ceiling = SeriesCeiling(plan.kpi) if plan.kpi.dimensions and not self.facts else None
        self._last = plan.kpi.agg == "last"
        self._state: pl.DataFrame | None = None
        self.segments: dict[int, str] = {}
        """slot -> the segment that its rows belong to."""
        self._floors: dict[int, int] = {}
        self._revisited: dict[int, int] = {}  # slot -> highest revision among rows read back

    def __len__(self) -> int:
        return 0 if self._state is None else self._state.height

    def open(self, slot: int, frontier: int | None, segment: str, series: Collection[str] = ()) -> None:
        """Take over a slot. `frontier`: start (minutes) of the newest window stored in `segment`, or None.

        `series`: the combinations of dimension values admitted in `segment`.
        """
        self.close(slot)
        if self.ceiling:
            self.ceiling.open(slot, series)
        self.segments[slot] = segment
        self._floors[slot] = 0 if frontier is None else frontier + 1

    def close(self, slot: int) -> None:
        """Forget a slot."""
        if self.ceiling:
            self.ceiling.close(slot)
        self.segments.pop(slot, None)
        self._floors.pop(slot, None)
        self._revisited.pop(slot, None)
        if self._state is not None:
            self._state = self._state.filter(pl.col("key") % (1 << SLOT_BITS) != slot)

    def select(self, frame: pl.DataFrame, dims: str) -> pl.DataFrame:
        """The rows of `frame` that this KPI counts: key, offset, value, and a fact's amount (nulls left out)."""
        kpi = self.plan.kpi
        if self.plan.predicate is not None:
            frame = frame.filter(self.plan.predicate)
        minutes = pl.col(window_column(kpi.base_grain, kpi.zone))
        columns = [pack_keys(minutes, pl.col(dims), pl.col("onpace:slot")), pl.col("onpace:offset").alias("offset")]
        if self.kind == "edge" or self.facts:
            columns += [
                pl.col("onpace:time_us").alias("time_us"),
                pl.col("onpace:source").alias("source"),
                pl.col("onpace:id").alias("id"),
            ]
        if self.plan.value is None:
            return frame.select(columns)
        columns.append(self.plan.value.alias("value"))
        if self.plan.amount is None:
            return frame.select(columns).drop_nulls("value")
        return frame.select(*columns, self.plan.amount.alias("amount")).drop_nulls(["value", "amount"])

    def missing(self, rows: pl.DataFrame) -> pl.Series:
        """Keys of `rows` that are not resident and must be read back before `fold`."""
        if self.distinct or self.facts or rows.is_empty() or not any(self._floors.values()):
            return pl.Series("key", [], dtype=pl.UInt64)
        keys = rows["key"].unique()
        places = key_columns(keys)
        floors = places["slot"].replace_strict(list(self._floors), list(self._floors.values()), return_dtype=pl.Int64)
        old = keys.filter(places["minutes"] < floors)
        return old if self._state is None or old.is_empty() else old.filter(~old.is_in(self._state["key"].implode()))

    def absorb(self, rows: pl.DataFrame) -> None:
        """Take in the rows stored for `missing` keys; those without one begin at nothing. Columns as `summarise`'s."""
        if rows.is_empty():
            return
        self._state = rows if self._state is None else pl.concat([self._state, rows.select(self._state.columns)])
        slots = key_columns(rows["key"])["slot"]
        for slot, revision in rows.select(slots, "revision").group_by("slot").agg(pl.col("revision").max()).iter_rows():
            self._revisited[slot] = max(self._revisited.get(slot, -1), revision)

    def fold(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Fold `rows` in; return the aggregates that changed, absolute. Rows that they already hold are skipped."""
        if self._state is not None and self._revisited:
            rows = self._unseen(rows)
        if rows.is_empty():
            return rows
        delta = summarise(rows, self.kind, last=self._last, scale=self.plan.scale or 0)
        if self._state is None:
            self._state = delta
            return delta
        changed = merge(self._state, delta, self.kind, last=self._last)
        self._state = pl.concat(
            [self._state.join(changed.select("key"), on="key", how="anti"), changed.select(self._state.columns)]
        )
        return changed

    def _unseen(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Leave out rows that a window read back already holds: a crash or a zombie wrote it past the checkpoint."""
        assert self._state is not None
        slot = (pl.col("key") % (1 << SLOT_BITS)).cast(pl.Int64).alias("slot")
        for number, first in rows.group_by(slot).agg(pl.col("offset").min()).iter_rows():
            if first > self._revisited.get(number, first):
                del self._revisited[number]  # a slot's offsets only grow: nothing read back so far holds later ones
        if not self._revisited:
            return rows
        seen = self._state.select("key", pl.col("revision").alias("_seen"))
        joined = rows.join(seen, on="key", how="left")
        return joined.filter(pl.col("_seen").is_null() | (pl.col("offset") > pl.col("_seen"))).drop("_seen")

    def forget(self) -> None:
        """Drop everything, and the codes of dimension values; what is needed again is read back."""
        if self.ceiling:
            self.ceiling.forget_codes()
        if self._state is None:
            return
        newest = key_columns(self._state["key"]).group_by("slot").agg(pl.col("minutes").max())
        for slot, minute in newest.iter_rows():
            self._floors[slot] = max(self._floors[slot], minute + 1)
        self._state = None
        self._revisited.clear()

    def evict(self, budget: int) -> None:
        """Drop the oldest windows until at most `budget` rows stay (or only one window)."""
        if self._state is None or self._state.height <= budget:
            return
        minutes = pl.col("key") // (1 << (DIMS_BITS + SLOT_BITS))
        starts = self._state.select(minutes.alias("minutes")).to_series().sort(descending=True)
        floor = int(starts[budget // 2]) if starts[budget // 2] < starts[0] else int(starts[0])
        self._state = self._state.filter(minutes >= floor)
        self._floors = {slot: max(known, floor) for slot, known in self._floors.items()}


STATE_COLUMNS: dict[Kind, tuple[str, ...]] = {
    "count": (),
    "exact": ("exact",),
    "wide": ("exact", "total", "compensation"),
    "float": ("total", "compensation"),
    "extreme": ("minimum", "maximum"),
    "sketch": ("bins", "bin_counts"),
    "edge": ("edge_time", "edge_source", "edge_id", "edge_value"),
}
