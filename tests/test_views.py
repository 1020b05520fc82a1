"""The views that people read: they say what the reader says."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import chdb
import pytest
from conftest import empty
from processors_fakes import REGION, START, TIERS, TOPIC, Sent, catalog_of, derived, log_of, order, ratio, simple, visit
from processors_world import drain, world
from stacks import until

from onpace.config.calendar import Calendar, Grain, window_end, window_start
from onpace.config.kpi import CumulativeKpi, Target
from onpace.processors.calendar_sql import window_end_sql, window_start_sql
from onpace.processors.clickhouse import ClickHouse
from onpace.processors.reader import Reader
from onpace.processors.views import refresh_views, view_statements

ZONES = ["UTC", "Europe/Berlin", "Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe", "America/Asuncion"]
BERLIN = {"timezone": "Europe/Berlin"}
CATALOG = catalog_of(
    simple("orders", "count", dimensions=TIERS, grain="15min", **BERLIN),
    simple("revenue", "sum", value="amount", dimensions=REGION, grain="15min", **BERLIN),
    simple("mean", "avg", value="score", grain="1d", **BERLIN),
    simple("median", "percentile", p=0.5, value="score", grain="1h", **BERLIN),
    simple("buyers", "count_distinct", value="user_id", dimensions=REGION, grain="1h", **BERLIN),
    simple("last_score", "last", value="score", grain="1h", **BERLIN),
    simple("visits", "count", event="site.visited", dimensions=REGION, grain="5min", lateness="1h", **BERLIN),
    ratio("conversion", "orders", "visits", **BERLIN),
    derived("spread", "revenue / buyers", **BERLIN),
)
SO_FAR = {"name": "so_far", "type": "cumulative", "of": "orders", "to_date": "day", "direction": "higher_is_better"}
COMMON = ["value", "numerator", "denominator", "complete", "revision", "target", "attainment", "status"]


def random_events(seed: int = 1, count: int = 300) -> list[Sent]:
    """Orders and visits over ten days, across the change to daylight saving time."""
    rng = random.Random(seed)
    found: list[Sent] = []
    for at in range(count):
        time = START - timedelta(days=4) + timedelta(seconds=rng.randint(0, 10 * 86_400))
        region = rng.choice(["EU", "US", "", "it's"])
        if rng.random() < 0.3:
            found.append(visit(str(at), time, region=region))
        else:
            row = {"user_id": f"u{rng.randint(0, 9)}", "amount": rng.randint(0, 20_000) / 100, "score": rng.gauss(0, 5)}
            found.append(order(str(at), time, region=region, **row))
    return found


def test_views_say_what_the_reader_says(store: ClickHouse) -> None:
    """For every KPI and grain, by dimensions and in total, across a change of the clock."""
    sent = random_events()
    logs = {0: log_of(sent[::2]), 1: log_of(sent[1::2])}
    drain(world(store, CATALOG, logs), logs)
    views = dict(view_statements(CATALOG, TOPIC))
    reader = Reader(store, CATALOG)
    compared = 0
    for kpi in CATALOG.kpis.values():
        every = [grain for grain in Grain if f"kpi_{kpi.name}_{grain}" in views]
        for grain in every if kpi.name == "orders" else [every[0], Grain.DAY]:
            for by, suffix in ((CATALOG.dimensions(kpi), ""), ((), "_total")):
                name = f"kpi_{kpi.name}_{grain}{suffix}"
                store.command(f"CREATE OR REPLACE VIEW {name} AS {views[name]}")
                rows = store.query_dicts(f"SELECT * FROM {name}")
                series = reader.series(kpi.name, grain, START - timedelta(days=400), START + timedelta(days=400), by=by)
                points = {(dims, p.window_start): p for dims, part in series.items() for p in part}
                for row in rows:
                    assert list(row) == ["window_start", "window_end", *by, *COMMON]
                    point = points.pop((tuple(row[name] for name in by), row["window_start"]))
                    assert row["window_end"] == point.window_end
                    assert (row["numerator"], row["denominator"]) == (point.numerator, point.denominator)
                    assert (bool(row["complete"]), row["revision"]) == (point.complete, point.revision)
                    assert row["value"] == (point.value and pytest.approx(point.value, rel=1e-14))
                    compared += 1
                assert all(point.revision == 0 and not point.value for point in points.values())
    assert compared > 1000


@pytest.mark.parametrize("zone", ZONES)
def test_windows_in_sql_are_those_of_the_calendar(store: ClickHouse, zone: str) -> None:
    """For every grain, around the changes of the clock and where a day has no midnight, in any calendar."""
    rng = random.Random(zone)
    starts = [(rng.randint(1, 12), rng.randint(1, 28)) for _ in range(3)]
    calendars = [Calendar(ZoneInfo(zone), rng.randint(0, 6), start) for start in [(4, 1), (10, 1), *starts]]
    near = [
        datetime(2017, 10, 1, 4, tzinfo=UTC),
        datetime(2026, 4, 4, 15, tzinfo=UTC),
        datetime(2026, 3, 29, 1, tzinfo=UTC),
    ]
    instants = [at + timedelta(minutes=15 * step) for at in near for step in range(-200, 200)]
    instants += [
        datetime(1990, 1, 1, tzinfo=UTC) + timedelta(minutes=15 * rng.randint(0, 3_000_000)) for _ in range(500)
    ]
    store.command("CREATE OR REPLACE TABLE instants (at DateTime('UTC')) ENGINE = Memory")
    store.insert("instants", ["at"], [(at,) for at in instants])
    asked = [(grain, zone, ZoneInfo(zone)) for grain in Grain]
    own = (Grain.WEEK, Grain.FISCAL_QUARTER, Grain.FISCAL_YEAR)
    asked += [(grain, calendar, calendar) for calendar in calendars for grain in own]
    for grain, written, meant in asked:
        start = window_start_sql(grain, written, "at")
        for at, opened, closed in store.query(
            f"SELECT at, {start} AS opened, {window_end_sql(grain, written, 'opened')} FROM instants"
        ):
            assert opened == window_start(grain, at, meant), f"{grain} of {at} in {meant}"
            assert closed == window_end(grain, opened, meant), f"{grain} from {opened} in {meant}"
    store.command("DROP TABLE instants")


def test_a_row_shows_the_target_in_force_and_its_status(store: ClickHouse) -> None:
    """An explicit period beats `every`; a target for one dimension value is on that value's row."""
    revenue = simple(
        "revenue",
        "sum",
        value="amount",
        dimensions=REGION,
        timezone="Europe/Berlin",
        targets=[
            Target(every="month", value=100),
            Target.model_validate({"period": "2026-04", "value": 150}),
            Target(every="month", value=40, by={"region": "it's"}),
            Target.model_validate({"every": "day", "min": 1, "max": 9}),
        ],
    )
    catalog = catalog_of(revenue)
    months = [START, START + timedelta(days=20)]
    sent = [
        order(f"{at}{region}", time, region=region, amount=7)
        for at, time in enumerate(months)
        for region in ("it's", "EU")
    ]
    logs = {0: log_of(sent, arrival=START + timedelta(days=40))}
    drain(world(store, catalog, logs), logs)
    refresh_views(store, catalog, TOPIC)
    march = window_start(Grain.MONTH, START, ZoneInfo("Europe/Berlin"))
    keys = ["kpi", "target", "series", "period", "grain", "period_start", "evaluated_at", "status", "attainment"]
    rows = [("{}", "met", 1.25), ('{"region":"it\'s"}', "missed", 0.5)]
    for series, status, attainment in rows:
        for turn, said in enumerate(("at_risk", status)):
            at = START + timedelta(hours=turn)
            store.insert(
                "kpi_status",
                keys,
                [("revenue", "every month", series, "2026-03", "month", march, at, said, attainment)],
            )
    shown = "value, target, attainment, status"
    total = store.query(f"SELECT {shown} FROM kpi_revenue_month_total ORDER BY window_start")
    assert total == [(14, 100, 1.25, "met"), (14, 150, None, "")]
    parts = store.query(f"SELECT region, {shown} FROM kpi_revenue_month ORDER BY window_start, region")
    assert parts[:2] == [("EU", 7, None, None, ""), ("it's", 7, 40, 0.5, "missed")]
    assert store.query("SELECT DISTINCT target FROM kpi_revenue_day_total") == [(9,)]
    assert store.query("SELECT DISTINCT target, status FROM kpi_revenue_year") == [(None, "")]


def test_views_follow_the_catalog(store: ClickHouse) -> None:
    """Those of a KPI that is gone go; an unchanged one is left alone."""
    old = catalog_of(simple("a", "count", grain="1d"), simple("b", "count", grain="1h"))
    assert refresh_views(store, old, TOPIC) == len(dict(view_statements(old, TOPIC))) == 25
    shown = "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine = 'View'"
    made = dict(store.query(shown.replace("name", "name, metadata_modification_time")))
    refresh_views(store, old, TOPIC)
    assert dict(store.query(shown.replace("name", "name, metadata_modification_time"))) == made
    refresh_views(store, catalog_of(simple("a", "sum", value="amount", grain="1d")), TOPIC)
    names = {name for (name,) in store.query(shown)}
    assert "event_watermarks" in names
    assert {name for name in names if name.startswith("kpi_b")} == set()
    assert {name for name in names if name.startswith("kpi_a")} == {
        f"kpi_a_{grain}{suffix}" for grain in ("day", "week", "month", "quarter", "year") for suffix in ("", "_total")
    }


@pytest.mark.parametrize(("kpi", "looks"), [("orders", 1), ("each", 1), ("so_far", 1), ("so_far", 2)])
def test_a_flush_while_a_view_is_read_makes_no_old_value_complete(
    store: ClickHouse, engine_data: Path, kpi: str, looks: int
) -> None:
    """ClickHouse decides which rows of a table a query sees when it meets the name: watermarks are to be met first.

    Each look at the watermarks begins a second late here; before the last, another connection flushes. On a machine
    that is too busy to do so within the second, it is tried again.
    """
    for _ in range(10):
        empty(store)
        asks = f"SELECT value, complete FROM kpi_{kpi}_hour ORDER BY window_start LIMIT 1"
        seen = _seen_while_flushed(store, engine_data, asks, looks)
        if seen is not None:
            break
    assert seen not in (None, [(1, True)])
    [(_, complete)] = store.query(asks)
    assert complete


def _seen_while_flushed(store: ClickHouse, engine_data: Path, asks: str, looks: int) -> list[Any] | None:
    """What a query saw that looked at the watermarks so often, the last time after a flush; None if it was quicker."""
    catalog = catalog_of(
        simple("orders", "count", grain="1h"),
        simple("all", "count", grain="1h"),
        CumulativeKpi.model_validate(SO_FAR | {"role": "lagging"}),
        ratio("each", "orders", "all"),
    )
    logs = {0: log_of([order("a", START, user_id="u1")])}
    drain(world(store, catalog, logs), logs)
    refresh_views(store, catalog, TOPIC)
    store.command(f"CREATE VIEW prompt AS {dict(view_statements(catalog, TOPIC))['event_watermarks']}")
    store.command(
        "CREATE OR REPLACE VIEW event_watermarks AS WITH (SELECT sleep(1)) AS n SELECT * FROM prompt WHERE n=0"
    )
    its = f"query LIKE '{asks[:40]}%' AND elapsed > 0.1 AND ProfileEvents['SleepFunctionCalls'] >= {looks - 1}"
    with closing(chdb.connect(str(engine_data / "clickhouse"))) as other, ThreadPoolExecutor(1) as pool:

        def said(sql: str) -> str:
            return str(other.query(sql, "CSV").data()).strip()

        asked = pool.submit(store.query, asks)
        looking = f"SELECT count() FROM system.processes WHERE {its}"
        until(lambda: asked.done() or said(looking) == "1", "it looks")
        later = {
            "partials": "revision + 1 AS revision, count + (kpi = 'orders') AS count",
            "watermarks": "now64(3) AS caught_up_at",
        }
        for table, columns in later.items():
            said(f"INSERT INTO onpace.{table} SELECT * REPLACE ({columns}) FROM onpace.{table}")
        return None if asked.done() else asked.result()
