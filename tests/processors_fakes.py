"""What the processor's tests share: records, a catalog with every aggregation, and a recount in plain Python."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import UUID

from onpace.config.calendar import window_start
from onpace.config.catalog import Catalog
from onpace.config.kpi import DerivedKpi, EventType, RatioKpi, SimpleKpi
from onpace.config.kpi_entities import Kpi
from onpace.config.settings import ProcessorSettings

TOPIC = "events"
LIFE = UUID("3fa85f64-5717-4562-b3fc-2c963f66afa6")
NEXT_LIFE = UUID("11111111-2222-4333-8444-555555555555")
START = datetime(2026, 3, 28, tzinfo=UTC)  # daylight saving begins in Berlin the day after

ORDER = EventType(
    name="order.placed",
    properties={
        "user_id": {"type": "string"},
        "region": {"type": ["string", "null"]},
        "amount": {"type": "number", "decimal": 2},
        "items": {"type": "integer"},
        "score": {"type": "number"},
    },
    required=("user_id",),
)
VISIT = EventType(name="site.visited", properties={"region": {"type": "string"}})


@dataclass(slots=True)
class Record:
    """One record of the log, as a client library gives it."""

    offset: int
    timestamp: int
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()


@dataclass(frozen=True, slots=True)
class Sent:
    """An event as an application sent it; `bad` holds raw bytes that are no valid event."""

    id: str = ""
    time: datetime = START
    type: str = "order.placed"
    source: str = "shop"
    data: Mapping[str, Any] = field(default_factory=dict)
    bad: bytes | None = None

    @property
    def value(self) -> bytes:
        """The bytes on the wire."""
        if self.bad is not None:
            return self.bad
        event = {"specversion": "1.0", "id": self.id, "source": self.source, "type": self.type}
        return json.dumps(event | {"time": self.time.isoformat(), "data": dict(self.data)}).encode()


def order(id: str, time: datetime = START, **data: Any) -> Sent:
    """A valid order."""
    return Sent(id=id, time=time, data={"user_id": "u1"} | data)


def visit(id: str, time: datetime = START, **data: Any) -> Sent:
    """A valid visit."""
    return Sent(id=id, time=time, type=VISIT.name, data=data)


def log_of(sent: Iterable[Sent], arrival: datetime = START + timedelta(days=7), start: int = 0) -> list[Record]:
    """Records of consecutive offsets that arrive one second apart."""
    first = int(arrival.timestamp() * 1000)
    return [Record(at, first + 1000 * at, one.value) for at, one in enumerate(sent, start)]


def settings(**changes: Any) -> ProcessorSettings:
    """Settings of the processor; other than in production, any number of resident rows will do."""
    return ProcessorSettings.model_construct(**changes)


def simple(name: str, agg: str, **more: Any) -> SimpleKpi:
    """A simple KPI over orders."""
    given = {"event": ORDER.name, "direction": "higher_is_better", "role": "lagging"} | more
    return SimpleKpi.model_validate({"name": name, "agg": agg} | given)


def ratio(name: str, numerator: str, denominator: str, **more: Any) -> RatioKpi:
    """A ratio."""
    common = {"type": "ratio", "direction": "higher_is_better", "role": "leading"}
    return RatioKpi.model_validate({"name": name, "numerator": numerator, "denominator": denominator} | common | more)


def derived(name: str, expr: str, **more: Any) -> DerivedKpi:
    """A derived KPI."""
    common = {"type": "derived", "direction": "higher_is_better", "role": "leading"}
    return DerivedKpi.model_validate({"name": name, "expr": expr} | common | more)


def catalog_of(*kpis: Kpi, **events: Mapping[str, Any]) -> Catalog:
    """A catalog over orders and visits; `events` changes their declarations (`order={"expected_every": …}`)."""
    order_type = ORDER.model_copy(update=dict(events.get("order", {})))
    visit_type = VISIT.model_copy(update=dict(events.get("visit", {})))
    return Catalog(events={ORDER.name: order_type, VISIT.name: visit_type}, kpis={kpi.name: kpi for kpi in kpis})


REGION = {"region": "region"}
TIERS = {"region": "region", "tier": "if(amount > 100, 'big', 'small')"}
EVERYTHING = catalog_of(
    simple("orders", "count", dimensions=REGION, filter="region != 'test'", grain="15min"),
    simple("revenue", "sum", value="amount", dimensions=TIERS, grain="15min"),
    simple("gross", "sum", value="amount * items"),
    simple("score", "sum", value="score", dimensions=REGION, grain="30min"),
    simple("mean_score", "avg", value="score", grain="1h", timezone="Asia/Kathmandu"),
    simple("mean_items", "avg", value="items", grain="1d", timezone="America/New_York"),
    simple("lowest", "min", value="score", dimensions=REGION, grain="5min"),
    simple("highest", "max", value="amount", grain="1d", timezone="Europe/Berlin"),
    simple("buyers", "count_distinct", value="user_id", dimensions=REGION, grain="1h"),
    simple("median", "percentile", p=0.5, value="score", grain="1h"),
    simple("first_score", "first", value="score", grain="1d", timezone="Europe/Berlin"),
    simple("last_amount", "last", value="amount", grain="1h", dimensions=REGION),
    simple("visits", "count", event=VISIT.name, dimensions=REGION, grain="15min"),
    ratio("conversion", "orders", "visits"),
    ratio("big_conversion", "orders", "visits", min_denominator=2),
    derived("spread", "revenue / orders - gross"),
)
"""Every aggregation, with filters, dimensions, zones and base grains that differ."""

Row = dict[str, Any]
_VALUES: dict[str, Callable[[Row], Any]] = {
    "amount": lambda row: None if row["amount"] is None else Fraction(row["amount"]),
    "amount * items": lambda row: (
        None if None in (row["amount"], row["items"]) else Fraction(row["amount"]) * row["items"]
    ),
    "score": lambda row: None if row["score"] is None else float(row["score"]),
    "items": lambda row: None if row["items"] is None else Fraction(row["items"]),
    "user_id": lambda row: row["user_id"],
}
_FILTERS: dict[str | None, Callable[[Row], bool]] = {
    None: lambda row: True,
    "region != 'test'": lambda row: row["region"] is not None and row["region"] != "test",
}
_DIMENSIONS: dict[str, Callable[[Row], str | None]] = {
    "region": lambda row: row["region"],
    '"region"': lambda row: row["region"],
    TIERS["tier"]: lambda row: "big" if row["amount"] is not None and Fraction(row["amount"]) > 100 else "small",
}


@dataclass(frozen=True, slots=True)
class Counted:
    """One event that counts, as a plain row."""

    time: datetime
    source: str
    id: str
    type: str
    row: Row


def counted(sent: Iterable[Sent]) -> list[Counted]:
    """Accepted events as rows, numbers as the text that was sent."""
    names = ("user_id", "region", "amount", "items", "score")
    found = []
    for one in sent:
        data = json.loads(one.value, parse_float=Decimal)["data"]
        found.append(Counted(one.time, one.source, one.id, one.type, {name: data.get(name) for name in names}))
    return found


@dataclass(slots=True)
class Log:
    """What a plain reading of one partition's log, event by event, comes to."""

    accepted: list[Sent] = field(default_factory=list)
    duplicate: list[int] = field(default_factory=list)
    conflicts: int = 0
    dead: list[int] = field(default_factory=list)


def read_log(sent: Sequence[Sent], records: Sequence[Record], horizon: timedelta = timedelta(days=7)) -> Log:
    """Judge every event of one partition by the definition: duplicate, dead letter or accepted."""
    found, first, newest = Log(), dict[tuple[str, str], tuple[int, str]](), 0
    for one, record in zip(sent, records, strict=True):
        if one.bad is not None:
            found.dead.append(record.offset)
            continue
        newest = max(newest, record.timestamp)
        known = first.get((one.source, one.id))
        data = json.dumps(dict(one.data))
        if known and known[0] >= newest - horizon / timedelta(milliseconds=1):
            found.duplicate.append(record.offset)
            found.conflicts += known[1] != data
        else:
            first[one.source, one.id] = (record.timestamp, data)
            found.accepted.append(one)
    return found


def value_of(expression: str, event: Counted) -> Any:
    """An event's value: a fraction where it is exact, a float, a text, or None."""
    return _VALUES[expression](event.row)


def dimension_of(expression: str, event: Counted) -> str | None:
    """An event's value of a dimension."""
    return _DIMENSIONS[expression](event.row)


Key = tuple[datetime, tuple[str | None, ...]]


def recount(catalog: Catalog, events: Sequence[Counted], kpi: Kpi, by: Sequence[str]) -> dict[Key, float | None]:
    """The KPI's value per base window and dimension values, counted from scratch."""
    grain = catalog.base_grain(kpi)
    groups: dict[str, dict[Key, list[Counted]]] = {}
    for leaf in catalog.leaves(kpi):
        own = groups.setdefault(leaf.name, defaultdict(list))
        for event in selected(leaf, events):
            dims = tuple(dimension_of(leaf.dimensions[name], event) for name in by)
            base = window_start(leaf.base_grain, event.time, leaf.calendar)
            own[window_start(grain, base, kpi.calendar), dims].append(event)
    keys = {key for own in groups.values() for key in own}
    return {key: _value(catalog, kpi, {name: own.get(key, []) for name, own in groups.items()}) for key in keys}


def selected(leaf: SimpleKpi, events: Sequence[Counted]) -> Iterator[Counted]:
    """The events that a KPI counts: of its type, through its filter, and not null."""
    for event in events:
        if event.type != leaf.event or not _FILTERS[leaf.filter](event.row):
            continue
        if leaf.value is None or _VALUES[leaf.value](event.row) is not None:
            yield event


def _value(catalog: Catalog, kpi: Kpi, groups: Mapping[str, Sequence[Counted]]) -> float | None:
    match kpi:
        case SimpleKpi():
            return _aggregate(kpi, groups[kpi.name])
        case RatioKpi():
            above, below = (_value(catalog, part, groups) for part in catalog.inputs(kpi))
            if above is None or not below or below < (kpi.min_denominator or 0):
                return None
            return above / below
        case DerivedKpi():  # `spread`, the only one
            values = {part.name: _value(catalog, part, groups) for part in catalog.inputs(kpi)}
            if None in values.values() or not values["orders"]:
                return None
            return values["revenue"] / values["orders"] - values["gross"]  # type: ignore[operator]


def _aggregate(kpi: SimpleKpi, events: Sequence[Counted]) -> float | None:
    values = [_VALUES[kpi.value](event.row) for event in events] if kpi.value else []
    empty = {"count": float(len(events)), "count_distinct": float(len(set(values))), "sum": _total(values)}
    if kpi.agg in empty or not values:
        return empty.get(kpi.agg)
    match kpi.agg:
        case "avg":
            value = _total(values) / len(values)
        case "min":
            value = min(values)
        case "max":
            value = max(values)
        case "percentile":
            value = sorted(values)[math.floor((kpi.p or 0) * (len(values) - 1))]
        case _:
            pick = min if kpi.agg == "first" else max
            value = values[pick(range(len(events)), key=lambda k: (events[k].time, events[k].source, events[k].id))]
    return float(value)


def _total(values: Sequence[Any]) -> float:
    """The exact sum, rounded once; texts have none."""
    return math.nan if values and isinstance(values[0], str) else float(sum(map(Fraction, values)))


def same(kpi: Kpi, found: float | None, wanted: float | None, events: Sequence[Counted] = ()) -> bool:
    """Whether a value is as right as its kind promises."""
    if found is None or wanted is None:
        return found is wanted
    if isinstance(kpi, SimpleKpi) and kpi.agg == "percentile":
        return math.isclose(found, wanted, rel_tol=0.0101)
    if isinstance(kpi, DerivedKpi):
        return math.isclose(found, wanted, rel_tol=1e-9, abs_tol=1e-9)
    if isinstance(kpi, SimpleKpi) and kpi.value == "score" and kpi.agg in ("sum", "avg"):
        room = 1e-12 * sum(abs(float(event.row["score"] or 0)) for event in events)
        return abs(found - wanted) <= room
    return found == wanted
