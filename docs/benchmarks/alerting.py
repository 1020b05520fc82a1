"""What an evaluation of the alert engine costs, in seconds on one core.

    .venv/bin/python docs/benchmarks/alerting.py [--series 10000] [--weeks 9] [--hours 6] [--kpis 300] [--targets 1000]

Pinned to one core, with the engine of the store on the same one. A KPI of so many series, with windows of an hour over
so many weeks, has three rules by series: threshold, change against the same weekday, anomaly. The first evaluation
steps through all of it; then a window an hour is added, of which every hundredth series is odd, and each is judged. All
writes are in it: alerts, transitions, messages. After that come many KPIs with two targets each, and one KPI with many.
"""

from __future__ import annotations

import argparse
import logging
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow as pa
import structlog

from onpace.alerts.engine import Engine
from onpace.alerts.evaluation import Evaluation
from onpace.alerts.history import ClickHouseHistory, ClickHouseOutbox
from onpace.alerts.notifications import Notification
from onpace.config.catalog import Catalog
from onpace.config.kpi import EventType, SimpleKpi
from onpace.config.rules import AnomalyRule, ChangeRule, Channel, Rule, ThresholdRule
from onpace.config.settings import ClickHouseSettings
from onpace.processors.clickhouse import ClickHouse
from onpace.processors.migrate import migrate
from onpace.processors.reader import Reader
from onpace.processors.views import view_statements

TOPIC = "events"
LIFE = "3fa85f64-5717-4562-b3fc-2c963f66afa6"
HOUR = timedelta(hours=1)
BEGIN = datetime(2026, 8, 3, tzinfo=UTC)
"""A Monday."""
EVENT = EventType(name="order.placed", properties={"shop": {"type": "string"}})
COMMON = {"kpi": "orders", "grain": "hour", "by": ["shop"], "notify": ["log"]}


def orders(name: str = "orders", **more: Any) -> SimpleKpi:
    """A count by shop, in windows of an hour."""
    given = {"event": EVENT.name, "agg": "count", "grain": "1h", "dimensions": {"shop": "shop"}, "max_series": 100_000}
    return SimpleKpi.model_validate(
        {"name": name, "unit": "orders", "direction": "higher_is_better", "role": "leading"} | given | more
    )


def catalog_of(kpis: Sequence[SimpleKpi], rules: Sequence[Rule] = ()) -> Catalog:
    """A catalog over these."""
    return Catalog(
        events={EVENT.name: EVENT},
        kpis={kpi.name: kpi for kpi in kpis},
        channels={"log": Channel(name="log", type="log")},
        rules={rule.name: rule for rule in rules},
    )


def rules() -> list[Rule]:
    """Three rules by series."""
    return [
        ThresholdRule.model_validate(COMMON | {"name": "low", "when": "threshold", "below": 12}),
        ChangeRule.model_validate(
            COMMON | {"name": "drop", "when": "change", "against": "same_weekday", "drop": "60%", "min_effect": 20}
        ),
        AnomalyRule.model_validate(COMMON | {"name": "odd", "when": "anomaly", "sensitivity": 6}),
    ]


class Shops:
    """The window aggregates of a KPI, as a processor would have written them, and how far they are complete."""

    def __init__(self, store: ClickHouse, kpi: SimpleKpi, series: int) -> None:
        self._store, self._kpi, self._series = store, kpi, series
        store.command(
            "INSERT INTO series (kpi, definition, topic, incarnation, partition, segment, dims) "
            f"SELECT '{kpi.name}', {kpi.definition}, '{TOPIC}', toUUID('{LIFE}'), 0, 'stream:0', "
            f"concat('[\"shop-', toString(number), '\"]') FROM numbers({series})"
        )

    def fill(self, first: datetime, hours: int, *, revision: int = 1, odd: int = 0, shops: int = 0) -> None:
        """Windows of an hour; every `odd`-th shop sells a tenth in its turn of the hours; only the first `shops`."""
        start, each = int(first.timestamp()), shops or self._series
        rows = f"numbers({hours * each})"
        hour = f"({start} + intDiv(number, {each}) * 3600)"
        shop = f"(number % {each})"
        level = f"(40 + 160 * (sipHash64('s', {shop}) % 1000) / 1000)"
        season = f"(1 + 0.5 * sin(2 * pi() * ({hour} % 86400) / 86400))"
        noise = f"(0.9 + 0.2 * (sipHash64('n', {shop}, {hour}, {revision}) % 1000) / 1000)"
        share = f"if({odd} > 0 AND sipHash64('o', {shop}, {hour}) % {max(odd, 1)} = 0, 0.1, 1)"
        self._store.command(
            "INSERT INTO partials (kpi, definition, window_start, dims, topic, incarnation, partition, segment, "
            f"revision, count) SELECT '{self._kpi.name}', {self._kpi.definition}, toDateTime({hour}, 'UTC'), "
            f"concat('[\"shop-', toString({shop}), '\"]'), '{TOPIC}', toUUID('{LIFE}'), 0, 'stream:0', {revision}, "
            f"toUInt64({level} * {season} * {noise} * {share}) FROM {rows}"
        )

    def complete(self, until: datetime) -> None:
        """The processor has caught up with everything before `until`."""
        at = int((until + self._kpi.lateness).timestamp())
        self._store.command(
            "INSERT INTO watermarks (topic, incarnation, partition, event_type, max_event_time, last_arrival, "
            f"caught_up_at) SELECT '{TOPIC}', toUUID('{LIFE}'), 0, kind, if(kind = '', 0, {at} - 1), {at}, "
            f"if(kind = '', {at}, 0) FROM (SELECT arrayJoin(['', '{EVENT.name}']) AS kind)"
        )


class Counting(ClickHouse):
    """Counts what the engine asks and what it writes."""

    def __init__(self, client: Any, address: str) -> None:
        super().__init__(client, address)
        self.reads = 0
        self.written: list[str] = []

    def query(self, sql: str, parameters: Mapping[str, object] | None = None) -> list[tuple[Any, ...]]:
        """Count it."""
        self.reads += 1
        return super().query(sql, parameters)

    def query_arrow(self, sql: str, parameters: Mapping[str, object] | None = None) -> pa.Table:
        """Count it."""
        self.reads += 1
        return super().query_arrow(sql, parameters)

    def insert(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Note the table and how many rows."""
        if rows:
            self.written.append(f"{table} {len(rows):,}")
        super().insert(table, columns, rows)


class Kept:
    """A notifier that keeps messages in the outbox, and delivers none."""

    def __init__(self, store: ClickHouse) -> None:
        self._outbox = ClickHouseOutbox(store)

    def submit(self, notifications: Sequence[Notification]) -> None:
        """Keep them."""
        self._outbox.put(notifications)

    def refresh(self, firing: Sequence[Notification], now: datetime) -> None:
        """Nothing forgets here."""


@contextmanager
def opened(catalog: Catalog) -> Iterator[Counting]:
    """A new store, with the views of the catalog."""
    with tempfile.TemporaryDirectory(prefix="onpace-bench-") as folder:
        store = Counting.connect(ClickHouseSettings(), Path(folder))
        assert isinstance(store, Counting)
        migrate(store)
        store.command(
            f"INSERT INTO incarnations SELECT '{TOPIC}', toUUID('{LIFE}'), 1, "
            "toDateTime64('2026-01-01 00:00:00', 3, 'UTC')"
        )
        for name, select in view_statements(catalog, TOPIC):
            if not name.startswith("kpi_") or name == "kpi_rebuilds":  # the others are for people
                store.command(f"CREATE VIEW `{name}` AS {select}")
        yield store
        store.close()


def timed(store: Counting, engine: Engine, now: datetime, words: str) -> tuple[float, Evaluation]:
    """Evaluate once, and print a line of the table."""
    store.reads, store.written = 0, []
    began, used = time.perf_counter(), time.process_time()
    found = engine.evaluate(now, notify=True)
    seconds, worked = time.perf_counter() - began, time.process_time() - used
    wrote = ", ".join(store.written) or "nothing"
    print(f"| {words} | {seconds:.2f} | {worked:.2f} | {store.reads} | {wrote} |", flush=True)
    return seconds, found


def engine_of(store: ClickHouse, catalog: Catalog) -> Engine:
    """An engine as it is when it has just started."""
    return Engine(catalog, Reader(store, catalog), ClickHouseHistory(store), Kept(store))


def many_series(series: int, weeks: int, hours: int) -> None:
    """One KPI, three rules, so many series."""
    kpi = orders()
    catalog = catalog_of([kpi], rules())
    with opened(catalog) as store:
        shops, at = Shops(store, kpi, series), BEGIN
        for _ in range(weeks):
            shops.fill(at, 24 * 7)
            at += timedelta(weeks=1)
        at += 21 * HOUR  # the hours that follow go over midnight
        shops.fill(at - 21 * HOUR, 21)
        shops.complete(at)
        print(HEADER, flush=True)
        engine = engine_of(store, catalog)
        timed(store, engine, at, f"first: {weeks} weeks of {series:,} series")
        steady = []
        for _ in range(hours):
            shops.fill(at, 1, odd=100)
            at += HOUR
            shops.complete(at)
            took, _ = timed(store, engine, at, f"one new window, {at:%H:%M}")
            steady.append(took)
        timed(store, engine, at + timedelta(seconds=10), "nothing new, 10 s later")
        timed(store, engine, at + timedelta(seconds=70), "nothing new, a minute later")
        shops.fill(at - HOUR, 1, revision=2, shops=series // 100)
        shops.complete(at + timedelta(seconds=1))
        timed(store, engine, at + timedelta(seconds=140), "late events in every hundredth series")
        engine = engine_of(store, catalog)
        timed(store, engine, at + timedelta(seconds=210), "the engine started anew")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"\none new window: median {median(steady):.2f} s, most {max(steady):.2f} s; peak memory {peak:,.0f} MiB\n"
        )


def many_targets(kpis: Sequence[SimpleKpi], series: int, words: str) -> None:
    """KPIs with targets, and no rules."""
    catalog = catalog_of(kpis)
    with opened(catalog) as store:
        at = BEGIN + timedelta(weeks=9)
        for kpi in kpis:
            Shops(store, kpi, series).fill(BEGIN, 24 * 7 * 9)
        progress = Shops(store, kpis[0], 0)
        progress.complete(at)
        engine = engine_of(store, catalog)
        timed(store, engine, at, f"{words}: first")
        for words_after, after in (("10 s later", timedelta(seconds=10)), ("an hour later", HOUR)):
            progress.complete(at + after)
            timed(store, engine, at + after, f"{words}: {words_after}")


def target(**more: Any) -> dict[str, Any]:
    """A target of a week."""
    return {"every": "week", "value": 100_000} | more


HEADER = "| evaluation | seconds | CPU | queries | rows written |\n|---|---|---|---|---|"


def main() -> None:
    """Read the command line, go to one core and measure."""
    parser = argparse.ArgumentParser(description="What an evaluation of the alert engine costs.")
    parser.add_argument("--series", type=int, default=10_000)
    parser.add_argument("--weeks", type=int, default=9)
    parser.add_argument("--hours", type=int, default=6)
    parser.add_argument("--kpis", type=int, default=300, help="KPIs with two targets each; 0: none")
    parser.add_argument("--targets", type=int, default=1000, help="targets of one KPI, each of one series; 0: none")
    given = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    print(f"one core of {os.cpu_count()}, Python {sys.version.split()[0]}\n", flush=True)
    if given.series:
        many_series(given.series, given.weeks, given.hours)
    if given.kpis:
        two = [target(), {"every": "month", "value": 400_000}]
        print(HEADER, flush=True)
        many_targets(
            [orders(f"orders_{at}", targets=two) for at in range(given.kpis)], 5, f"{given.kpis} KPIs, 2 targets"
        )
    if given.targets:
        each = [target(by={"shop": f"shop-{at}"}) for at in range(given.targets)]
        print("" if given.kpis else HEADER, flush=True)
        many_targets([orders(targets=[target(), *each])], given.targets, f"1 KPI, {given.targets} targets")


if __name__ == "__main__":
    main()
