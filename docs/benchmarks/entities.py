"""How long it takes to read conversion, retention and balance KPIs over a million facts a stream, in seconds.

    .venv/bin/python docs/benchmarks/entities.py [--facts 1000000] [--entities 50000]

Facts of a year, in ten inserts, of entities that are drawn at random. The best of five runs, and in brackets the CPU
that the cheapest took; each over the whole year in total, in days by region, and for one month of it.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from onpace.config.kpi_entities import BalanceKpi, ConversionKpi, EntityKpi, RetentionKpi, streams_of
from onpace.config.settings import ClickHouseSettings
from onpace.processors.clickhouse import ClickHouse
from onpace.processors.entity_sql import balance_rows, conversion_rows, retention_rows
from onpace.processors.migrate import migrate

COMMON = {"direction": "higher_is_better", "role": "leading", "entity": "user_id", "dimensions": {"region": "region"}}
ORDER = {"event": "order.placed"}
CONVERSION = {"type": "conversion", "base": {"event": "visit"}, "conversion": ORDER, "window": "7d"} | COMMON
RETENTION = {"type": "retention", "start": ORDER, "return": ORDER, "period": "week", "n": 4} | COMMON
BALANCE = {"type": "balance", "event": "changed", "value": "mrr"} | COMMON
MONTH = "window_start >= toDateTime(1780272000, 'UTC') AND window_start < toDateTime(1782864000, 'UTC')"  # June
Rows = Callable[[Sequence[str], str], str]


def kpis() -> list[tuple[EntityKpi, Rows]]:
    """Each KPI with what reads it."""
    rate = ConversionKpi.model_validate(CONVERSION | {"name": "rate"})
    median = ConversionKpi.model_validate(CONVERSION | {"name": "median", "measure": "median_time"})
    exact = RetentionKpi.model_validate(RETENTION | {"name": "exact"})
    rolling = RetentionKpi.model_validate(RETENTION | {"name": "rolling", "kind": "rolling"})
    mrr = BalanceKpi.model_validate(BALANCE | {"name": "mrr"})
    return [
        (rate, lambda dims, condition: conversion_rows(rate, dims, condition)),
        (median, lambda dims, condition: conversion_rows(median, dims, condition)),
        (exact, lambda dims, condition: retention_rows(exact, dims, condition)),
        (rolling, lambda dims, condition: retention_rows(rolling, dims, condition)),
        (mrr, lambda dims, condition: balance_rows(mrr, dims, condition)),
    ]


def fill(store: ClickHouse, kpi: EntityKpi, facts: int, entities: int) -> None:
    """So many facts for each of its streams."""
    for stream in streams_of(kpi):
        for part in range(10):
            store.command(
                f"INSERT INTO facts SELECT '{stream.name}', {stream.definition}, "
                f"toDateTime64('2026-01-01 00:00:00', 6, 'UTC') + toIntervalSecond({part} * 3153600 + "
                f"sipHash64('t', number, {part}, '{stream.name}') % 3153600), 'events', "
                f"toUUID('3fa85f64-5717-4562-b3fc-2c963f66afa6'), number % 4, {part * facts} + number, 'shop', "
                f"concat('order-', toString(sipHash64(number, {part}))), "
                f"concat('user-', toString(sipHash64('e', number, {part}, '{stream.name}') % {entities})), "
                f"concat('[\"', ['EU', 'US', 'APAC', 'LATAM', 'MEA'][1 + sipHash64('d', number) % 5], '\"]'), "
                f"toDecimal128(number % 100000, 2) / 100, 0 FROM numbers({facts // 10})"
            )


def timed(store: ClickHouse, rows: Rows, by: Sequence[str], condition: str) -> str:
    """The best of five runs, in seconds and in seconds of CPU."""
    state = "count(), sum(exact), max(revision)"
    if "bins" in rows(by, condition):
        state += ", sumMap(bins, bin_counts)"
    sql = f"SELECT toStartOfDay(window_start) AS day, {state} FROM ({rows(by, condition)}) GROUP BY day"
    sql += "".join(f", by_{name}" for name in by)
    seconds, worked = [], []
    for _ in range(5):
        began, used = time.perf_counter(), time.process_time()
        store.query(sql)
        seconds.append(time.perf_counter() - began)
        worked.append(time.process_time() - used)  # the engine's threads are ours
    return f"{min(seconds):.2f} s ({min(worked):.2f} s)"


def main() -> None:
    """Fill a store and time every KPI."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--facts", type=int, default=1_000_000, help="of each stream")
    parser.add_argument("--entities", type=int, default=50_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = ClickHouse.connect(ClickHouseSettings(), Path(folder))
        migrate(store)
        print("| kpi | year, total | year, by region | one month |\n|---|---|---|---|")
        for kpi, rows in kpis():
            fill(store, kpi, given.facts, given.entities)
            figures = [
                timed(store, rows, by, condition) for by, condition in [([], "1"), (["region"], "1"), ([], MONTH)]
            ]
            print(f"| {kpi.name} | {' | '.join(figures)} |", flush=True)
        store.close()


if __name__ == "__main__":
    main()
