"""Reported values as SQL, against Python's calendar and a recount in plain Python."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from itertools import combinations
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reports_fakes import reported

from onpace.config.calendar import Grain, Period, period_containing
from onpace.config.kpi_entities import ReportedKpi, streams_of
from onpace.processors.clickhouse import ClickHouse
from onpace.processors.report_sql import period_start_sql, reported_rows, reported_since, reported_until

CADENCES = ("day", "week", "month", "quarter", "year")
ZONES = ("UTC", "Europe/Berlin", "America/Sao_Paulo", "Asia/Kathmandu", "Asia/Beirut", "Africa/Cairo", "America/Havana")
AT = datetime(2026, 4, 1, tzinfo=UTC)

Report = tuple[str, Mapping[str, str], str]
"""(period, dimension values, number as text); later ones of a list are reported later."""


def put(store: ClickHouse, leaf: ReportedKpi, reports: Sequence[Report], first: int = 0) -> None:
    """Write reports as the processor does, a minute apart."""
    (stream,) = streams_of(leaf)
    columns = ["kpi", "definition", "time", "topic", "incarnation", "partition", "offset", "source", "id"]
    rows = []
    for at, (period, by, number) in enumerate(reports, first):
        place = ("events", UUID(int=1), 0, at)
        dims = json.dumps([by.get(name) for name in leaf.dimensions], separators=(",", ":"))
        key = (stream.name, stream.definition, AT + timedelta(minutes=at))
        rows.append((*key, *place, "/t", str(at), period, dims, 0, float(number)))
    store.insert("facts", [*columns, "entity", "dims", "exact", "total"], rows)


def found(store: ClickHouse, leaf: ReportedKpi, dims: Sequence[str] = (), condition: str = "1") -> dict[Any, Any]:
    """(day of the start in the KPI's zone, *dimension values) -> (exact value, revision)."""
    names = ", ".join(f"`by_{name}`" for name in dims)
    rows = store.query(
        f"SELECT window_start, [{names}] AS dims, toString(exact), total, revision, edge_value, "
        "edge_time = window_start, count "
        f"FROM ({reported_rows(leaf, dims, condition)})"
    )
    assert all(row[6] and row[7] == 1 for row in rows)
    assert all(row[5] == pytest.approx(float(row[2]) + row[3], rel=1e-15) for row in rows)
    return {
        (row[0].astimezone(leaf.zone).date(), *row[1]): (Fraction(row[2]) + Fraction(row[3]), row[4]) for row in rows
    }


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("cadence", CADENCES)
def test_a_period_begins_where_the_calendar_says(engine: ClickHouse, cadence: str, zone: str) -> None:
    """Every period of a century and a quarter, in zones that skip midnight too."""
    leaf = reported("k", cadence, timezone=zone)
    periods, period = (
        [],
        Period.parse(str(period_containing(Grain(cadence), datetime(1971, 6, 1, tzinfo=UTC), leaf.zone))),
    )
    while period.first_day < date(2095, 1, 1):
        periods.append(period)
        period = period.next()
    rows = engine.query(
        f"SELECT p, toUnixTimestamp({period_start_sql(leaf, 'p')}) "
        "FROM (SELECT arrayJoin({periods:Array(String)}) AS p)",
        {"periods": [str(period) for period in periods]},
    )
    starts = dict(rows)
    wrong = [(str(p), starts[str(p)]) for p in periods if starts[str(p)] != p.bounds(leaf.zone)[0].timestamp()]
    assert wrong == []


def test_the_latest_report_of_a_period_counts(store: ClickHouse) -> None:
    """A correction may come months later, and be corrected itself."""
    leaf = reported("nps")
    put(store, leaf, [("2026-01", {}, "40"), ("2026-02", {}, "41.5"), ("2026-01", {}, "42"), ("2026-01", {}, "-42.25")])
    assert found(store, leaf) == {
        (date(2026, 1, 1),): (Fraction("-42.25"), 3),
        (date(2026, 2, 1),): (Fraction("41.5"), 1),
    }
    january = "window_start >= toDateTime('2026-01-01', 'UTC') AND window_start < toDateTime('2026-02-01', 'UTC')"
    assert list(found(store, leaf, condition=january)) == [(date(2026, 1, 1),)]


def test_numbers_are_exact_as_far_as_fifteen_digits(store: ClickHouse) -> None:
    """Beyond that, and beyond nine digits after the point, they are the nearest float."""
    leaf = reported("k", "year", merge="sum")
    numbers = ["0.1", "0.2", "12345678901234.5", "1e-9", "1e-10", "1e25", "-3.3333333333333335", "0"]
    put(store, leaf, [(str(2000 + at), {}, text) for at, text in enumerate(numbers)])
    values = {start.year - 2000: value for (start,), (value, _) in found(store, leaf).items()}
    exact = (0, 1, 2, 3, 7)
    assert {at: values[at] for at in exact} == {at: Fraction(numbers[at]) for at in exact}
    assert {at: values[at] for at in (4, 5, 6)} == {at: Fraction(float(numbers[at])) for at in (4, 5, 6)}


def test_a_score_is_only_what_was_reported_as_such(store: ClickHouse) -> None:
    """A total of scores would want weights: that of regions is not the mean of them."""
    leaf = reported("nps", dimensions=["region", "channel"])
    reports: list[Report] = [
        ("2026-01", {"region": "EU"}, "10"),
        ("2026-01", {"region": "US"}, "20"),
        ("2026-02", {}, "30"),
        ("2026-02", {"region": "EU", "channel": "web"}, "40"),
        ("2026-02", {"channel": "web"}, "50"),
    ]
    put(store, leaf, reports)
    january, february = date(2026, 1, 1), date(2026, 2, 1)
    assert found(store, leaf) == {(february,): (30, 1)}
    assert found(store, leaf, ["region"]) == {(january, "EU"): (10, 1), (january, "US"): (20, 1)}
    assert found(store, leaf, ["channel"]) == {(february, "web"): (50, 1)}
    assert found(store, leaf, ["channel", "region"]) == {(february, "web", "EU"): (40, 1)}


def test_amounts_of_regions_add_up_unless_the_total_was_reported(store: ClickHouse) -> None:
    """For its period, the total beats them; a correction of it as well."""
    leaf = reported("revenue", merge="sum", dimensions=["region"])
    reports: list[Report] = [
        ("2026-01", {"region": "EU"}, "0.1"),
        ("2026-01", {"region": "US"}, "0.2"),
        ("2026-02", {"region": "EU"}, "5"),
        ("2026-02", {}, "7"),
        ("2026-02", {}, "8"),
        ("2026-01", {"region": "EU"}, "0.3"),
    ]
    put(store, leaf, reports)
    january, february = date(2026, 1, 1), date(2026, 2, 1)
    assert found(store, leaf) == {(january,): (Fraction("0.5"), 3), (february,): (8, 2)}
    assert found(store, leaf, ["region"]) == {
        (january, "EU"): (Fraction("0.3"), 2),
        (january, "US"): (Fraction("0.2"), 1),
        (february, "EU"): (5, 1),
    }


def test_an_amount_counts_once_however_it_is_divided(store: ClickHouse) -> None:
    """What lies beneath a counted report is part of it; two ways to divide the same are not two amounts."""
    leaf = reported("revenue", merge="sum", dimensions=["region", "channel"])
    reports: list[Report] = [
        ("2026-01", {"region": "EU"}, "10"),
        ("2026-01", {"region": "EU", "channel": "web"}, "6"),
        ("2026-01", {"region": "US", "channel": "web"}, "3"),
        ("2026-01", {"region": "US", "channel": "shop"}, "1"),
        ("2026-02", {"region": "EU"}, "10"),
        ("2026-02", {"channel": "web"}, "7"),
        ("2026-02", {"channel": "shop"}, "3"),
    ]
    put(store, leaf, reports)
    january, february = date(2026, 1, 1), date(2026, 2, 1)
    assert found(store, leaf) == {(january,): (14, 3), (february,): (10, 1)}
    assert found(store, leaf, ["region"]) == {
        (january, "EU"): (10, 1),
        (january, "US"): (4, 2),
        (february, "EU"): (10, 1),
    }
    assert found(store, leaf, ["channel"]) == {
        (january, "web"): (9, 2),
        (january, "shop"): (1, 1),
        (february, "web"): (7, 1),
        (february, "shop"): (3, 1),
    }


def test_reports_of_another_cadence_are_no_periods(store: ClickHouse) -> None:
    """A KPI that was monthly and is quarterly now begins anew; the months stay where they are."""
    put(store, reported("k"), [("2026-01", {}, "1"), ("2026-02", {}, "2")])
    leaf = reported("k", "quarter")
    put(store, leaf, [("2026-Q1", {}, "4")], first=2)
    assert found(store, leaf) == {(date(2026, 1, 1),): (4, 1)}
    assert len(found(store, reported("k"))) == 2


@pytest.mark.parametrize("cadence", CADENCES)
def test_how_far_it_is_reported_is_the_end_of_the_latest_period(store: ClickHouse, cadence: str) -> None:
    """In the KPI's zone; 1970 when nothing is."""
    leaf = reported("k", cadence, timezone="America/New_York")
    assert store.query(reported_until(leaf)) == [(datetime(1970, 1, 1, tzinfo=UTC),)]
    latest = period_containing(leaf.base_grain, AT, leaf.zone)
    put(store, leaf, [(str(latest), {}, "1"), (str(latest.previous()), {}, "1")])
    assert store.query(reported_until(leaf)) == [(latest.bounds(leaf.zone)[1],)]
    assert store.query(reported_since(leaf)) == [(latest.previous().bounds(leaf.zone)[0],)]


def recount(leaf: ReportedKpi, reports: Sequence[Report], dims: Sequence[str]) -> dict[Any, tuple[Fraction, int]]:
    """What `reported_rows` should give, step by step."""
    versions: dict[tuple[str, tuple[tuple[str, str], ...]], list[str]] = defaultdict(list)
    for period, by, number in reports:
        versions[period, tuple((name, by[name]) for name in leaf.dimensions if name in by)].append(number)
    groups: dict[Any, list[tuple[dict[str, str], Fraction, int]]] = defaultdict(list)
    for (period, labels), numbers in versions.items():
        by = dict(labels)
        if set(by) == set(dims) or (leaf.merge == "sum" and set(by) >= set(dims)):
            key = (Period.parse(period).first_day, *(by[name] for name in dims))
            groups[key].append((by, Fraction(numbers[-1]), len(numbers)))
    return {key: added(leaf, group) for key, group in groups.items()}


def added(leaf: ReportedKpi, group: Sequence[tuple[dict[str, str], Fraction, int]]) -> tuple[Fraction, int]:
    """The sum of those that no other one stands in for."""
    order = [set(names) for size in range(9) for names in combinations(leaf.dimensions, size)]

    def beats(above: dict[str, str], by: dict[str, str]) -> bool:
        if set(above) <= set(by):
            return set(above) < set(by) and all(by[name] == value for name, value in above.items())
        return not set(by) <= set(above) and order.index(set(above)) < order.index(set(by))

    kept = [one for one in group if not any(beats(other[0], one[0]) for other in group)]
    return sum((value for _, value, _ in kept), Fraction()), sum(count for *_, count in kept)


def some_reports(dimensions: Sequence[str]) -> st.SearchStrategy[list[Report]]:
    """Few periods and values, so that corrections and overlaps are common."""
    values = {name: st.sampled_from(["EU", "US", ""]) for name in dimensions}
    by = st.fixed_dictionaries({}, optional={name: part.filter(bool) for name, part in values.items()})
    number = st.decimals(-1000, 1000, places=3, allow_nan=False).map(lambda value: f"{value:.3f}")
    return st.lists(st.tuples(st.sampled_from(["2026-01", "2026-02", "2026-03"]), by, number), max_size=14)


def slices(dimensions: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Every set of them."""
    for size in range(len(dimensions) + 1):
        yield from combinations(dimensions, size)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(reports=some_reports(("region", "channel")), merge=st.sampled_from(["last", "sum", "avg"]))
def test_reports_in_any_order_give_what_a_recount_gives(engine: ClickHouse, reports: list[Report], merge: str) -> None:
    """Over every set of dimensions, to the digit."""
    engine.command("TRUNCATE TABLE facts")
    leaf = reported("k", merge=merge, dimensions=["region", "channel"], timezone="Europe/Berlin")
    if reports:
        put(engine, leaf, reports)
    for dims in slices(leaf.dimensions):
        assert found(engine, leaf, dims) == recount(leaf, reports, dims)
