"""Every KPI value once more, in plain Python, from the lines that were sent. Nothing of the product is used here."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

GRAINS = {"minute": timedelta(minutes=1), "hour": timedelta(hours=1), "day": timedelta(days=1)}
Row = dict[str, Any]
Key = tuple[datetime, tuple[str | None, ...]]


@dataclass(frozen=True)
class Simple:
    """What a simple KPI of the catalog means."""

    name: str
    event: str
    agg: str
    value: str | None
    by: tuple[str, ...]
    grain: str = "minute"
    zone: str = "UTC"
    p: float = 0.0
    where: Callable[[Row], bool] = lambda row: True

    @property
    def leaves(self) -> tuple[Simple, ...]:
        """The simple KPIs that it is made of."""
        return (self,)


@dataclass(frozen=True)
class Ratio:
    """What a ratio of the catalog means."""

    name: str
    above: Simple
    below: Simple

    @property
    def by(self) -> tuple[str, ...]:
        """Dimensions."""
        return self.above.by

    @property
    def grain(self) -> str:
        """Base grain."""
        return self.above.grain

    @property
    def zone(self) -> str:
        """Time zone."""
        return self.above.zone

    @property
    def leaves(self) -> tuple[Simple, ...]:
        """The simple KPIs that it is made of."""
        return (self.above, self.below)


Kpi = Simple | Ratio
ORDER, VISIT = "order.placed", "site.visited"
ORDERS = Simple(
    "orders", ORDER, "count", None, ("region", "channel"), where=lambda r: r.get("region", "test") != "test"
)
VISITS = Simple("visits", VISIT, "count", None, ("region", "channel"))
KPIS: tuple[Kpi, ...] = (
    ORDERS,
    VISITS,
    Simple("revenue", ORDER, "sum", "amount", ("region", "channel")),
    Simple("score", ORDER, "sum", "score", ("region",)),
    Simple("mean_score", ORDER, "avg", "score", ("channel",), "hour", "Asia/Kathmandu"),
    Simple("lowest", ORDER, "min", "score", ("region",)),
    Simple("highest", ORDER, "max", "amount", ("region", "channel"), "hour"),
    Simple("buyers", ORDER, "count_distinct", "user_id", ("region",)),
    Simple("order_p90", ORDER, "percentile", "amount", ("region",), p=0.9),
    Simple("first_amount", ORDER, "first", "amount", ("region",)),
    Simple("last_score", ORDER, "last", "score", ("channel",), "hour"),
    Ratio("conversion", ORDERS, VISITS),
)
"""The catalog in `kpis/shop.yaml`, said once more."""


@dataclass(frozen=True)
class Counted:
    """An event that counts, with the number of the first line that held it."""

    line: int
    source: str
    id: str
    type: str
    time: datetime
    row: Row


@dataclass
class Lines:
    """What the lines of an input file come to."""

    events: list[Counted] = field(default_factory=list)
    duplicates: int = 0
    malformed: list[bytes] = field(default_factory=list)

    @property
    def sent(self) -> int:
        """Lines."""
        return len(self.events) + self.duplicates + len(self.malformed)


@dataclass(frozen=True)
class Wanted:
    """A value, and how far from it the KPI may be."""

    value: float | None
    room: float = 0.0

    def met_by(self, found: float | None) -> bool:
        """Whether a value is right."""
        if found is None or self.value is None:
            return found is self.value
        return abs(found - self.value) <= self.room


def read_lines(lines: Iterable[bytes]) -> Lines:
    """Judge every line: an event, one more copy of it, or no event at all."""
    found, known = Lines(), set[tuple[str, str]]()
    for number, line in enumerate(lines):
        event = _parsed(line)
        if event is None:
            found.malformed.append(line)
        elif (identity := (event["source"], event["id"])) in known:
            found.duplicates += 1
        else:
            known.add(identity)
            time = datetime.fromisoformat(event["time"]).astimezone(UTC)
            found.events.append(Counted(number, *identity, event["type"], time, event["data"]))
    return found


def read_file(path: Path) -> Lines:
    """The lines of an input file."""
    with path.open("rb") as file:
        return read_lines(line.rstrip(b"\n") for line in file)


def _parsed(line: bytes) -> Row | None:
    """The event in a line; None when it breaks a rule that its declaration or CloudEvents makes."""
    try:
        event = json.loads(line, parse_float=Decimal)
        names = [event[name] for name in ("source", "id", "type")]
        data, time = event["data"], datetime.fromisoformat(event["time"])
        right = (
            event["specversion"] == "1.0"
            and all(isinstance(name, str) and name for name in names)
            and event["type"] in (ORDER, VISIT)
            and time.tzinfo is not None
            and time < datetime(2080, 1, 1, tzinfo=UTC)
            and all(isinstance(data.get(name, ""), str) for name in ("user_id", "region", "channel"))
            and "user_id" in data
            and (event["type"] == VISIT or _is_order(data))
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return event if right else None


def _is_order(data: Row) -> bool:
    amount, score = data["amount"], data.get("score", 0)
    cents = Decimal(amount) * 100 if isinstance(amount, int | Decimal) else Decimal("NaN")
    return cents == cents.to_integral_value() and isinstance(score, int | Decimal)


def window(time: datetime, grain: str, zone: str = "UTC") -> datetime:
    """The start, in UTC, of the window that holds a time. Zones that never move their clocks only."""
    local = time.astimezone(ZoneInfo(zone)).replace(second=0, microsecond=0)
    local = local if grain == "minute" else local.replace(minute=0)
    return (local.replace(hour=0) if grain == "day" else local).astimezone(UTC)


def recount(events: Sequence[Counted], kpi: Kpi, grain: str, by: Sequence[str]) -> dict[Key, Wanted]:
    """The value in every window of `grain` and combination of dimensions in which there is anything to count."""
    groups = [_groups(events, leaf, grain, by) for leaf in kpi.leaves]
    if isinstance(kpi, Simple):
        return {key: _aggregate(kpi, found) for key, found in groups[0].items()}
    above, below = groups
    return {key: _fraction(len(above.get(key, ())), len(below.get(key, ()))) for key in above.keys() | below.keys()}


def _fraction(above: int, below: int) -> Wanted:
    return Wanted(above / below if below else None)


def _groups(events: Sequence[Counted], kpi: Simple, grain: str, by: Sequence[str]) -> dict[Key, list[Counted]]:
    groups: dict[Key, list[Counted]] = defaultdict(list)
    for event in _selected(events, kpi):
        dims = tuple(event.row.get(name) for name in by)
        groups[window(event.time, grain, kpi.zone), dims].append(event)
    return groups


def _selected(events: Sequence[Counted], kpi: Simple) -> Iterator[Counted]:
    for event in events:
        counts = event.type == kpi.event and kpi.where(event.row)
        if counts and (kpi.value is None or event.row.get(kpi.value) is not None):
            yield event


def _aggregate(kpi: Simple, events: Sequence[Counted]) -> Wanted:
    values = [event.row[kpi.value] for event in events] if kpi.value else []
    match kpi.agg:
        case "count":
            return Wanted(len(events))
        case "count_distinct":
            return Wanted(len(set(values)), 0.02 * len(set(values)))
        case "percentile":
            at_rank = float(sorted(values)[math.floor(kpi.p * (len(values) - 1))])
            return Wanted(at_rank, 0.01 * abs(at_rank) * (1 + 1e-9))
        case "min" | "max":
            return Wanted(float(min(values) if kpi.agg == "min" else max(values)))
        case "first" | "last":
            ordered = sorted(events, key=lambda event: (event.time, event.source, event.id))
            return Wanted(float(ordered[0 if kpi.agg == "first" else -1].row[kpi.value or ""]))
        case _:
            return _sum(values, 1 if kpi.agg == "sum" else len(values), exact=kpi.value == "amount")


def _sum(values: Sequence[Any], count: int, *, exact: bool) -> Wanted:
    if exact:
        return Wanted(float(sum(map(Decimal, values), Decimal(0))) / count)
    numbers = [float(value) for value in values]
    total = math.fsum(numbers) / count
    return Wanted(total, 1e-9 * abs(total) + 1e-12 * math.fsum(map(abs, numbers)) / count)
