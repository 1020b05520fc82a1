"""What a flush says of series: the rows of the table `series`, and events that are over a KPI's ceiling."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import polars as pl
import pyarrow as pa
import structlog

from onpace.processors.fold import KpiFold
from onpace.processors.metrics import ProcessorMetrics
from onpace.processors.partials import Slot

__all__ = ["Overflow"]

log = structlog.get_logger(__name__)


class Overflow:
    """Counts events over the ceilings of one processor's KPIs, and warns once of each KPI."""

    def __init__(self, metrics: ProcessorMetrics) -> None:
        self._metrics = metrics
        self._warned: set[str] = set()

    def note(self, folded: Iterable[KpiFold], slots: Mapping[int, Slot], topic: str) -> list[pa.Table]:
        """The rows of `series` for what these folds have newly admitted; counts what they did not. Once per flush."""
        tables = []
        for fold in folded:
            if fold.ceiling is None:
                continue
            tables += [_rows(fold, slots[number], topic, texts) for number, texts in fold.ceiling.unwritten().items()]
            if fold.ceiling.overflowed:
                self._metrics.series_overflow.labels(fold.plan.kpi.name).inc(fold.ceiling.overflowed)
                self._warn(fold)
        return tables

    def _warn(self, fold: KpiFold) -> None:
        kpi = fold.plan.kpi
        if kpi.key in self._warned:
            return
        self._warned.add(kpi.key)
        log.warning(
            f"kpi '{kpi.name}': more than {kpi.max_series:,} combinations of {', '.join(kpi.dimensions)}: "
            "further ones are counted under __other__; drop the dimension or raise max_series"
        )


def _rows(fold: KpiFold, slot: Slot, topic: str, texts: list[str]) -> pa.Table:
    return (
        pl.DataFrame({"dims": texts}, schema={"dims": pl.String})
        .select(
            pl.lit(fold.plan.kpi.name).alias("kpi"),
            pl.lit(fold.plan.kpi.definition, dtype=pl.UInt64).alias("definition"),
            pl.lit(topic).alias("topic"),
            pl.lit(str(slot.incarnation)).alias("incarnation"),
            pl.lit(slot.partition, dtype=pl.UInt32).alias("partition"),
            pl.lit(fold.segments[slot.number]).alias("segment"),
            "dims",
        )
        .to_arrow()
    )
