"""The flights example: its events, their times, its recount and its dirt."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from flights_example import EXAMPLE, script, sdist

clock, tables, convert, recount, dirty = (script(name) for name in ("clock", "tables", "convert", "recount", "dirty"))
NEW_YORK = ZoneInfo("America/New_York")


def utc(*parts: int) -> datetime:
    """An instant in UTC."""
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type, misc]


def flight(**changes: Any) -> Any:
    """A flight on time from JFK to San Juan, but for `changes`."""
    row = tables.Flight(
        day=date(2013, 1, 1),
        carrier="B6",
        flight=725,
        tailnum="N804JB",
        origin="JFK",
        dest="SJU",
        sched_dep_time=2300,
        dep_time=2300,
        dep_delay=0,
        sched_arr_time=400,
        arr_time=400,
        arr_delay=0,
        air_time=190,
        distance=1598,
    )
    return row._replace(**changes)


def times(row: Any, zone: str = "America/Puerto_Rico") -> dict[str, datetime]:
    """What happened to a flight and when."""
    return {event.type.removeprefix("flight."): event.time for event in convert.flight_events(row, ZoneInfo(zone))}


@pytest.fixture(scope="module")
def source() -> Any:
    """The real tables."""
    return tables.Tables(sdist())


@pytest.fixture(scope="module")
def march(source: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first 3,000 flights of March as an event file."""
    path = tmp_path_factory.mktemp("flights") / "march.jsonl"
    convert.write(path, convert.events(source, [3], 3000))
    return path


def test_the_skipped_hour_is_read_with_the_offset_before_it() -> None:
    """02:30 does not exist on the day summer time begins in New York; 03:00 comes right after 01:59."""
    assert clock.instant(date(2013, 3, 10), 230, NEW_YORK) == utc(2013, 3, 10, 7, 30)
    assert clock.instant(date(2013, 3, 10), 159, NEW_YORK) == utc(2013, 3, 10, 6, 59)
    assert clock.instant(date(2013, 3, 10), 300, NEW_YORK) == utc(2013, 3, 10, 7)


def test_the_repeated_hour_is_the_first_of_the_two() -> None:
    """01:30 comes twice on the day summer time ends in New York."""
    assert clock.instant(date(2013, 11, 3), 130, NEW_YORK) == utc(2013, 11, 3, 5, 30)


def test_2400_is_the_end_of_the_day() -> None:
    """And so the first instant of the next one."""
    assert clock.instant(date(2013, 6, 30), 2400, NEW_YORK) == clock.instant(date(2013, 7, 1), 0, NEW_YORK)


def test_a_delay_past_midnight_moves_the_departure_to_the_next_day() -> None:
    """Delays are elapsed minutes, also over the night in which the clocks change."""
    assert times(flight(dep_time=100, dep_delay=120, arr_time=600))["departed"] == utc(2013, 1, 2, 6)
    changing = flight(day=date(2013, 3, 9), dep_time=400, dep_delay=240, arr_time=800)
    assert times(changing)["departed"] == clock.instant(date(2013, 3, 10), 400, NEW_YORK)


def test_an_arrival_is_in_the_destinations_zone() -> None:
    """San Juan is an hour ahead of New York in winter and level with it in summer."""
    assert times(flight())["arrived"] == utc(2013, 1, 2, 8)
    assert times(flight(day=date(2013, 7, 1)))["arrived"] == utc(2013, 7, 2, 8)
    assert times(flight(), "America/Los_Angeles")["arrived"] == utc(2013, 1, 2, 12)


def test_a_cancelled_flight_stands_at_its_scheduled_time() -> None:
    """It neither departed nor arrived."""
    cancelled = flight(dep_time=None, dep_delay=None, arr_time=None, arr_delay=None, air_time=None)
    assert times(cancelled) == {"scheduled": utc(2013, 1, 2, 4), "cancelled": utc(2013, 1, 2, 4)}


def test_a_flight_without_an_arrival_is_diverted_when_it_should_have_arrived() -> None:
    """An arrival time alone is no arrival: 717 diverted flights have one."""
    diverted = times(flight(dep_delay=30, dep_time=2330, arr_delay=None))
    assert diverted == {
        "scheduled": utc(2013, 1, 2, 4),
        "departed": utc(2013, 1, 2, 4, 30),
        "diverted": utc(2013, 1, 2, 8, 30),
    }


def test_a_missing_tail_number_is_left_out_of_the_event() -> None:
    """Absent, not null and not 'NA'."""
    events = list(convert.flight_events(flight(tailnum=None), NEW_YORK))
    assert all("tailnum" not in event.data for event in events)


def test_every_destination_has_a_zone(source: Any) -> None:
    """The four that the airport table lacks are on Puerto Rico's time."""
    zones = source.zones()
    assert {row.dest for row in source.flights()} <= set(zones)
    assert {zones[name].key for name in ("BQN", "SJU", "STT", "PSE")} == {"America/Puerto_Rico"}


def test_the_whole_year_is_converted_in_order_with_unique_ids(source: Any) -> None:
    """Every row becomes its events, once."""
    counts: Counter[str] = Counter()
    ids: set[str] = set()
    last, in_order = utc(2013, 1, 1), True
    for event in convert.events(source):
        counts[event.type] += 1
        ids.add(event.id)
        in_order, last = in_order and event.time >= last, event.time
    assert counts == {
        "flight.scheduled": 336_776,
        "flight.departed": 328_521,
        "flight.arrived": 327_346,
        "flight.cancelled": 8_255,
        "flight.diverted": 1_175,
        "weather.observed": 26_115,
    }
    assert in_order
    assert len(ids) == counts.total()


def test_departures_and_arrivals_agree_with_all_clock_columns(source: Any) -> None:
    """The two ways to each time, over the two months in which clocks change."""
    zones = source.zones()
    for row in source.flights([3, 11]):
        found = times(row, zones[row.dest].key)
        if "departed" in found:
            shown = found["departed"].astimezone(NEW_YORK)
            assert 100 * shown.hour + shown.minute == row.dep_time % 2400
        if "arrived" in found:
            due = clock.first_at_or_after(found["scheduled"], row.sched_arr_time, zones[row.dest])
            assert found["arrived"] == due + timedelta(minutes=row.arr_delay)


def recounted_from(path: Path) -> Counter[tuple[str, str, str, str]]:
    """Departures and arrivals by day, origin and carrier, from an event file."""
    found: Counter[tuple[str, str, str, str]] = Counter()
    for line in path.read_text().splitlines():
        event = json.loads(line)
        day = datetime.fromisoformat(event["time"]).astimezone(NEW_YORK).replace(hour=0, minute=0)
        start = f"{day.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
        if event["type"] == "flight.departed":
            found["departures", start, event["data"]["origin"], event["data"]["carrier"]] += 1
        if event["type"] == "flight.arrived":
            found["flown_miles", start, event["data"]["origin"], event["data"]["carrier"]] += event["data"]["distance"]
    return found


def test_the_recount_finds_the_same_days_as_the_events(source: Any, march: Path) -> None:
    """Though it gets to them another way."""
    values = recount.recount(source, [3], 3000)
    expected = {
        (kpi, start, origin, carrier): value
        for (kpi, grain, start, origin, carrier), value in values.items()
        if kpi in ("departures", "flown_miles") and grain == "day" and origin and carrier and value
    }
    assert recounted_from(march) == expected


def test_the_recount_of_a_month_adds_up(source: Any) -> None:
    """January, counted by hand."""
    values = recount.recount(source, [1])
    january = {
        key[0]: value for key, value in values.items() if key[1:] == ("month", "2013-01-01T05:00:00Z", None, None)
    }
    assert (january["scheduled"], january["cancelled"]) == (27_004, 521)
    assert january["cancellation_rate"] == pytest.approx(521 / 27_004, rel=1e-15)
    assert set(january) == set(recount.KPIS)


@pytest.mark.parametrize(("arrivals", "rank"), [(1, 0), (2, 0), (20, 18), (21, 19), (22, 19), (100, 94)])
def test_the_percentile_is_the_value_at_its_rank(arrivals: int, rank: int) -> None:
    """Rank floor(0.95 (n - 1)) of the sorted delays, without rounding errors of 0.95."""
    cell = recount.Cell(arrival_delays=list(reversed(range(arrivals))))
    assert cell.values()["p95_arrival_delay"] == rank
    assert cell.values()["mean_arrival_delay"] == (arrivals - 1) / 2


def test_dirt_is_deterministic_and_listed(march: Path, tmp_path: Path) -> None:
    """Duplicates are whole lines, malformed lines are in the sidecar, and nothing is lost."""
    options = {"seed": 7, "duplicates": 0.05, "disorder": 50, "malformed": 200}
    dirt = dirty.write(march, tmp_path / "a.jsonl", **options)
    dirty.write(march, tmp_path / "b.jsonl.gz", **options)
    lines = (tmp_path / "a.jsonl").read_bytes().splitlines()
    clean = set(march.read_bytes().splitlines())
    listed = json.loads((tmp_path / "a.malformed.json").read_text())
    malformed = [base64.b64decode(entry["line"]) for entry in listed["lines"]]
    assert Counter(line for line in lines if line not in clean) == Counter(malformed)
    assert {line for line in lines if line in clean} == clean
    assert len(lines) == dirt.events + dirt.near_duplicates + dirt.far_duplicates + 200
    assert 0.04 < (dirt.near_duplicates + dirt.far_duplicates) / dirt.events < 0.06
    assert min(dirt.near_duplicates, dirt.far_duplicates) > 0.4 * max(dirt.near_duplicates, dirt.far_duplicates)
    assert (tmp_path / "b.malformed.json").read_text() == (tmp_path / "a.malformed.json").read_text()


def test_the_commands_of_the_readme_run(tmp_path: Path) -> None:
    """convert, dirty and recount from the command line, on a small part."""
    part = ["--source", str(sdist()), "--months", "3", "--limit", "500"]
    clean, untidy = str(tmp_path / "flights.jsonl.gz"), str(tmp_path / "dirty.jsonl.gz")

    def run(*command: str) -> str:
        return subprocess.run([sys.executable, *command], check=True, capture_output=True, text=True).stdout

    assert "500 flight.scheduled" in run(str(EXAMPLE / "convert.py"), clean, *part)
    assert json.loads(run(str(EXAMPLE / "dirty.py"), clean, untidy, "--malformed", "23"))["malformed"] == 23
    rows = json.loads(run(str(EXAMPLE / "recount.py"), *part, "--kpi", "scheduled"))
    assert sum(row["value"] for row in rows if row["grain"] == "day" and row["origin"] and row["carrier"]) == 500
