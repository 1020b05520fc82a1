"""The ceiling on a KPI's series: the first combinations keep rows of their own, whatever happens to the processor."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any

import polars as pl
import pytest
from conftest import empty
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as how
from hypothesis import strategies as st
from processors_fakes import (
    NEXT_LIFE,
    REGION,
    START,
    TIERS,
    Counted,
    Record,
    Sent,
    catalog_of,
    counted,
    dimension_of,
    log_of,
    order,
    ratio,
    read_log,
    selected,
    simple,
    value_of,
)
from processors_world import AFTER, BEFORE, Crash, drain, rebuild, world
from structlog.testing import capture_logs
from test_processor import STEPS, Cluster, drawn_step

from onpace.config.calendar import window_start
from onpace.config.catalog import Catalog
from onpace.config.kpi import MAX_SERIES, SimpleKpi
from onpace.processors.clickhouse import ClickHouse
from onpace.processors.migrate import migration_files
from onpace.processors.reader import Reader
from onpace.processors.series import OTHER, SeriesCeiling
from onpace.processors.windows import DimensionCodes, key_columns, pack_keys

LIMITED = catalog_of(
    simple("orders", "count", dimensions=REGION, filter="region != 'test'", grain="15min", max_series=2),
    simple("revenue", "sum", value="amount", dimensions=TIERS, grain="15min", max_series=4),
    simple("highest", "max", value="amount", dimensions=REGION, grain="1d", timezone="Europe/Berlin", max_series=1),
    simple("buyers", "count_distinct", value="user_id", dimensions=REGION, grain="1h", max_series=2),
    simple("roomy", "count", dimensions=REGION, grain="1h"),
    simple("total", "count", grain="1h"),
)
OTHERWISE = catalog_of(
    LIMITED.kpis["orders"],
    simple("revenue", "sum", value="amount", dimensions=TIERS, grain="15min", max_series=5),
    LIMITED.kpis["roomy"],
)
"""Some KPIs gone, one with a higher ceiling."""
REGIONS = ["EU", "US", "test", None, "", OTHER, "JP"]
Point = tuple[datetime, tuple[str | None, ...]]
Placed = tuple[int, int, Counted]
"""(partition, offset, accepted event)"""

drawn_order = st.tuples(
    st.sampled_from([0, 1, 15, 400, 1439, 1500]),
    st.sampled_from(REGIONS),
    st.one_of(st.none(), st.integers(0, 20_000)),
    st.integers(0, 5),
    st.booleans(),
)


def logs_of(drawn: Sequence[Any], partitions: int) -> list[list[Sent]]:
    """Events per partition; now and then one is sent twice."""
    logs: list[list[Sent]] = [[] for _ in range(partitions)]
    for at, (minutes, region, cents, user, twice) in enumerate(drawn):
        amount = {} if cents is None else {"amount": cents / 100}
        data = {"user_id": f"u{user}", "region": region} | amount
        logs[at % partitions].append(Sent(str(at), START + timedelta(minutes=minutes), data=data))
        if twice:
            logs[at % partitions].append(logs[at % partitions][0])
    return logs


def placed(sent: Sequence[Sequence[Sent]], logs: dict[int, list[Record]]) -> Iterator[Placed]:
    """Every accepted event with its place."""
    for partition, log in logs.items():
        found = read_log(sent[partition], log)
        kept = [record.offset for record in log if record.offset not in {*found.duplicate, *found.dead}]
        yield from ((partition, *pair) for pair in zip(kept, counted(found.accepted), strict=True))


def booked(kpi: SimpleKpi, events: Sequence[Placed], starts: dict[int, int]) -> dict[Point, list[Counted]]:
    """The events of every row, read one by one: the first combinations of a partition and segment keep their names."""
    known: dict[tuple[int, bool], set[tuple[str | None, ...]]] = defaultdict(set)
    rows: dict[Point, list[Counted]] = defaultdict(list)
    for partition, offset, event in events:
        if not list(selected(kpi, [event])):
            continue
        dims = tuple(dimension_of(text, event) for text in kpi.dimensions.values())
        mine, other = known[partition, offset < starts[partition]], (OTHER,) * len(dims)
        if dims not in mine and dims != other and len(mine) < kpi.max_series:
            mine.add(dims)
        start = window_start(kpi.base_grain, event.time, kpi.zone)
        rows[start, dims if dims in mine else other].append(event)
    return rows


def value(kpi: SimpleKpi, events: Sequence[Counted]) -> float:
    """The KPI's value over these events."""
    values = [value_of(kpi.value, event) for event in events] if kpi.value else events
    match kpi.agg:
        case "sum":
            return float(sum(values, Fraction()))
        case "max":
            return float(max(values))
        case "count_distinct":
            return float(len(set(values)))
        case _:
            return float(len(values))


def read(store: ClickHouse, catalog: Catalog, name: str, by: Sequence[str]) -> dict[Point, float | None]:
    """A KPI's value in every base window with events."""
    kpi = catalog.kpis[name]
    series = Reader(store, catalog).series(name, catalog.base_grain(kpi), BEFORE, AFTER, by=by)
    return {
        (point.window_start, dims): point.value for dims, points in series.items() for point in points if point.revision
    }


def by_region(store: ClickHouse, catalog: Catalog, name: str = "orders") -> dict[str | None, float | None]:
    """A KPI's value per region over all windows."""
    kpi = catalog.kpis[name]
    series = Reader(store, catalog).series(name, catalog.base_grain(kpi), BEFORE, AFTER, by=["region"])
    return {region: sum(point.value or 0 for point in points) for (region,), points in series.items()}


@how(max_examples=8, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(
    drawn=st.lists(drawn_order, min_size=25, max_size=45),
    steps=st.lists(drawn_step, min_size=10, max_size=18),
    partitions=st.integers(1, 3),
    resident=st.sampled_from([1, 20, 500_000]),
)
def test_the_same_combinations_keep_their_rows_whatever_happens(
    engine: ClickHouse, drawn: list[Any], steps: list[tuple[str, int, int]], partitions: int, resident: int
) -> None:
    """Crashes, zombies, moves, tiny memories, other KPIs in between, rebuilds: values are those of a plain reading."""
    empty(engine)
    sent = logs_of(drawn, partitions)
    logs = {at: log_of(log, start=1) for at, log in enumerate(sent)}
    cluster = Cluster(engine, logs, {"resident_rows": resident}, catalog=LIMITED, other=OTHERWISE)
    cluster.start()
    for step in steps:
        cluster.step(*step)
    cluster.finish()
    events = list(placed(sent, logs))
    held = {p: starts for worker in cluster.workers for (_, p), starts in worker.processor.starts.items()}
    redefined = any(what == "adopt" for what, _, _ in steps)
    for kpi in LIMITED.simple_kpis():
        starts = {partition: held[partition][kpi.key] for partition in logs}
        rows = booked(kpi, events, starts)
        if kpi.agg != "count_distinct" or not redefined:  # the union keeps what an earlier segment booked
            wanted = {point: value(kpi, part) for point, part in rows.items()}
            assert read(engine, LIMITED, kpi.name, list(kpi.dimensions)) == wanted, kpi.name
        whole: dict[Point, list[Counted]] = defaultdict(list)
        for (start, _), part in rows.items():
            whole[start, ()] += part
        assert read(engine, LIMITED, kpi.name, []) == {point: value(kpi, part) for point, part in whole.items()}


@given(
    codes=st.lists(st.integers(0, 9), max_size=60),
    limit=st.integers(1, 6),
    chunk=st.integers(1, 60),
    resumed=st.integers(0, 60),
    more=st.sets(st.integers(0, 9)),
)
def test_whoever_goes_on_admits_the_same_combinations(
    codes: list[int], limit: int, chunk: int, resumed: int, more: set[int]
) -> None:
    """In batches of any size, and from what is stored at a checkpoint with any part of what a zombie has added."""
    texts = [f'["{code}"]' for code in codes]
    first = list(dict.fromkeys(texts))[:limit]
    before = [text for text in dict.fromkeys(texts[:resumed]) if text in first]
    ceiling, dims, found = (
        SeriesCeiling(simple("x", "count", dimensions=REGION, max_series=limit)),
        DimensionCodes(),
        [],
    )
    ceiling.open(3, [*before, *(text for text in first if int(text[2]) in more)])
    for begin in range(resumed, len(texts), chunk):
        part = [dims.code(text) for text in texts[begin : begin + chunk]]
        frame = pl.DataFrame({"dims": part, "offset": range(begin, begin + len(part))})
        rows = frame.select(pack_keys(pl.lit(7), pl.col("dims"), pl.lit(3)), "offset")
        booked_rows = ceiling.book(rows, [(code << 12) + 3 for code in set(part)], dims)
        keys = key_columns(booked_rows["key"])
        assert set(keys["minutes"]) == {7}
        assert set(keys["slot"]) == {3}
        found += dims.texts(keys["dims"].to_list())
    assert found == [text if text in first else f'["{OTHER}"]' for text in texts[resumed:]]


@pytest.mark.parametrize("table", STEPS[1:])
def test_a_flush_that_ends_anywhere_changes_no_series(store: ClickHouse, table: str) -> None:
    """Whoever goes on at a checkpoint finds every combination that was admitted before it."""
    catalog = catalog_of(
        simple("orders", "count", dimensions=REGION, grain="1d", max_series=2),
        simple("buyers", "count_distinct", value="user_id", dimensions=REGION, grain="1d", max_series=2),
    )
    regions = ["EU", "US", "JP", "JP", "BR", "EU", "US", "JP", "US", "EU", "EU"]
    sent = [order(str(at), region=region, user_id=f"u{at}") for at, region in enumerate(regions)]
    for count in (1, 3, 4):
        worker = world(store, catalog, logs := {0: log_of(sent)})
        worker.take(0, count)
        worker.crash_at = table
        with pytest.raises(Crash):
            worker.flush()
    drain(world(store, catalog, logs), logs)
    wanted = {"EU": 4, "US": 3, OTHER: 4}
    assert by_region(store, catalog) == by_region(store, catalog, "buyers") == wanted


def test_what_is_beyond_the_ceiling_is_counted_and_told_once(store: ClickHouse) -> None:
    """The metric names the KPI, the log says what to do; below the ceiling nothing is said."""
    sent = [order(str(at), region=f"r{at % 5}") for at in range(20)]
    worker = world(store, LIMITED, logs := {0: log_of(sent)})
    with capture_logs() as logs_said:
        for _ in range(4):
            worker.take(0, 5)
            worker.flush()
    drain(worker, logs)
    said = [line["event"] for line in logs_said if line["log_level"] == "warning" and "'orders'" in line["event"]]
    assert said == [
        "kpi 'orders': more than 2 combinations of region: further ones are counted under __other__; "
        "drop the dimension or raise max_series"
    ]
    assert worker.count("onpace_series_overflow_events_total", kpi="orders") == 12
    assert worker.count("onpace_series_overflow_events_total", kpi="roomy") == 0
    assert by_region(store, LIMITED) == {"r0": 4, "r1": 4, OTHER: 12}
    assert by_region(store, LIMITED, "roomy") == dict.fromkeys(["r0", "r1", "r2", "r3", "r4"], 4)


def test_a_nearly_unique_dimension_fills_neither_tables_nor_memory(store: ClickHouse) -> None:
    """There are as many rows as the ceiling says, and one more, for each window."""
    kpi = simple("users", "count", dimensions={"region": "region"}, grain="1d", max_series=10)
    sent = [order(str(at), region=f"r{at}") for at in range(3000)]
    worker = world(store, catalog_of(kpi), logs := {0: log_of(sent)}, resident_rows=100)
    for _ in range(6):
        worker.take(0, 500)
        worker.flush()
    drain(worker, logs)
    assert store.query("SELECT count(), sum(count) FROM partials FINAL") == [(11, 3000)]
    assert store.query("SELECT count() FROM series FINAL") == [(10,)]
    assert len(worker.processor._dims) <= 511  # those of one flush, and those of the ceiling


def test_what_a_dead_life_archived_is_booked_as_it_would_have_been(store: ClickHouse) -> None:
    """Each life of a partition has a ceiling of its own."""
    catalog = catalog_of(simple("orders", "count", dimensions=REGION, grain="1d", max_series=1))
    sent = [order(str(at), region=region) for at, region in enumerate(["EU", "US", "EU", "US", "EU", "JP"])]
    first = world(store, catalog, {0: log_of(sent[:3])})
    first.take(0, 1)
    first.flush()
    first.take(0, 2)
    first.crash_at = "events"
    with pytest.raises(Crash):
        first.flush()
    drain(world(store, catalog, logs := {0: log_of(sent[3:])}, life=NEXT_LIFE), logs)
    assert by_region(store, catalog) == {"EU": 2, "US": 1, OTHER: 3}


def test_another_ceiling_is_another_definition_whose_history_is_rebuilt(store: ClickHouse) -> None:
    """What was under `__other__` gets its name."""
    low, high = (
        catalog_of(simple("orders", "count", dimensions=REGION, grain="1d", max_series=limit)) for limit in (2, 4)
    )
    sent = [order(str(at), region=f"r{at % 4}") for at in range(12)]
    worker = world(store, low, logs := {0: log_of(sent)})
    drain(worker, logs)
    assert by_region(store, low) == {"r0": 3, "r1": 3, OTHER: 6}
    worker.adopt(high)
    worker.flush()
    assert rebuild(store, high) == 1
    assert by_region(store, high) == {"r0": 3, "r1": 3, "r2": 3, "r3": 3}


def test_a_ceiling_that_is_not_given_leaves_the_definition_as_it_was() -> None:
    """Nor does the default, said aloud, change it; values stored before are found."""
    plain = simple("orders", "count", dimensions=REGION)
    assert plain.definition == 1393651102759670396
    assert simple("orders", "count", dimensions=REGION, max_series=MAX_SERIES).definition == plain.definition
    assert simple("orders", "count", dimensions=REGION, max_series=9).definition != plain.definition


def test_combinations_that_had_rows_before_there_was_a_ceiling_keep_them(store: ClickHouse) -> None:
    """The migration takes them over, also when it is repeated, and however many there are."""
    catalog = catalog_of(simple("orders", "count", dimensions=REGION, grain="1d", max_series=3))
    old = [order(str(at), region=f"r{at}") for at in range(3)]
    sent = [*old, *(order(f"n{at}", region=f"r{at}") for at in range(6))]
    drain(world(store, catalog, logs := {0: log_of(old)}), logs)
    store.command("TRUNCATE TABLE series")
    store.command("INSERT INTO partials SELECT * REPLACE ('[\"r3\"]' AS dims) FROM partials LIMIT 1")
    for _ in range(2):
        for statement in next(parts for _, name, parts in migration_files() if name == "0008_series.sql"):
            store.command(statement)
    drain(world(store, catalog, logs := {0: log_of(sent)}), logs)
    assert by_region(store, catalog) == {"r0": 2, "r1": 2, "r2": 2, "r3": 2, OTHER: 2}


def test_an_event_may_say_other_itself(store: ClickHouse) -> None:
    """It takes no place, and shares the row of what is beyond the ceiling."""
    sent = [order(str(at), region=region) for at, region in enumerate([OTHER, "EU", OTHER, "US", "JP", "JP"])]
    worker = world(store, LIMITED, logs := {0: log_of(sent)})
    drain(worker, logs)
    assert by_region(store, LIMITED) == {OTHER: 4, "EU": 1, "US": 1}
    assert by_region(store, LIMITED, "roomy") == {OTHER: 2, "EU": 1, "US": 1, "JP": 2}
    assert worker.count("onpace_series_overflow_events_total", kpi="orders") == 2


def test_a_ratio_of_capped_series_stays_exact_in_total(store: ClickHouse) -> None:
    """A ratio is one of sums, under `__other__` as well."""
    catalog = catalog_of(
        simple("revenue", "sum", value="amount", dimensions=REGION, grain="1d", max_series=1),
        simple("orders", "count", dimensions=REGION, grain="1d", max_series=1),
        ratio("aov", "revenue", "orders"),
    )
    sent = [order(str(at), region=f"r{at}", amount=at + 1) for at in range(4)]
    drain(world(store, catalog, logs := {0: log_of(sent)}), logs)
    reader, day = Reader(store, catalog), (START, START + timedelta(days=1))
    assert reader.value("aov", *day) == 2.5
    assert reader.value("aov", *day, {"region": "r0"}) == 1
    assert reader.value("aov", *day, {"region": OTHER}) == 3
    assert reader.value("aov", *day, {"region": "r1"}) is None
