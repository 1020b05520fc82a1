"""KPI files drawn at random, with what every expression in them means in plain Python."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from entities_recount import Happened, Key, conversions, retentions
from hypothesis import strategies as st

from onpace.config.calendar import Grain, window_start
from onpace.config.kpi import SimpleKpi
from onpace.config.kpi_entities import ConversionKpi, RetentionKpi

__all__ = ["Drawn", "Meanings", "drawn_file", "recounted"]

Meaning = Callable[[Any], Any]
ZONES = ["UTC", "Europe/Berlin", "Asia/Kathmandu", "America/New_York"]
GRAINS = ["1min", "15min", "30min", "1h", "1d"]
PERIODS = ["day", "week", "month"]
NUMERIC = ["sum", "avg", "min", "max", "percentile", "first", "last"]
EVENT = {
    "properties": {
        "user_id": {"type": ["string", "null"]},
        "region": {"type": ["string", "null"]},
        "amount": {"type": ["number", "null"], "decimal": 2},
        "items": {"type": ["integer", "null"]},
        "score": {"type": ["number", "null"]},
    }
}
DIMENSIONS = {"region": "region", "who": "user_id", "tier": "if(amount > 100, 'big', 'small')"}


@dataclass(frozen=True, slots=True)
class Drawn:
    """An expression: its SQL, what it gives for an event's row, and how long that is: `bits` 0 is a float."""

    sql: str
    of: Meaning
    bits: int = 63
    scale: int = 0

    @property
    def exact(self) -> bool:
        """Whether sums of it are exact: as docs/kpi-format.md says, while 127 bits and nine digits will do."""
        return self.bits > 0 and self.scale <= 9


@dataclass
class Meanings:
    """SQL -> what it means, of everything drawn for one file."""

    known: dict[str, Drawn] = field(default_factory=dict)

    def row(self, data: dict[str, Any]) -> dict[str, Any]:
        """An event's properties, and the value of every expression and dimension."""
        plain = {name: data.get(name) for name in EVENT["properties"]}
        if plain["amount"] is not None:
            plain["amount"] = Fraction(str(plain["amount"]))
        plain["who"] = plain["user_id"]
        plain["tier"] = "big" if plain["amount"] is not None and plain["amount"] > 100 else "small"
        return plain | {sql: drawn.of(plain) for sql, drawn in self.known.items() if sql not in plain}

    def chosen(self, sql: str | None) -> Callable[[Happened], bool]:
        """Whether a filter lets an event through: null is false."""
        return lambda event: sql is None or event.row[sql] is True


def _null(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same, but null if any operand is."""
    return lambda *values: None if None in values else function(*values)


def _property(name: str, bits: int = 63, scale: int = 0) -> Drawn:
    return Drawn(name, lambda row: row[name], bits, scale)


def _sized(template: str, parts: Sequence[Drawn]) -> tuple[int, int]:
    """Bits and scale of what comes out; (0, 0) where that is a float."""
    if not all(part.bits for part in parts):
        return 0, 0
    if "*" in template:
        bits, scale = sum(part.bits for part in parts), sum(part.scale for part in parts)
    else:
        scale = max(part.scale for part in parts)
        factors = [10 ** (scale - part.scale) for part in parts]
        widths = [
            part.bits + (factor.bit_length() if factor > 1 else 0) for part, factor in zip(parts, factors, strict=True)
        ]
        bits = max(widths) + ("+" in template or "-" in template)
    return (bits, scale) if bits <= 127 and scale <= 18 else (0, 0)


def _combined(template: str, function: Callable[..., Any], *parts: Drawn) -> Drawn:
    bits, scale = _sized(template, parts)

    def of(row: Any) -> Any:
        values = [part.of(row) for part in parts]
        return function(*(value if bits or value is None else float(value) for value in values))

    return Drawn(template.format(*(part.sql for part in parts)), of, bits, scale)


_leaf = st.sampled_from(
    [
        _property("amount", scale=2),
        _property("items"),
        _property("score", bits=0),
        Drawn("3", lambda _: Fraction(3), bits=2),
    ]
)


def _larger(inner: st.SearchStrategy[Drawn]) -> st.SearchStrategy[Drawn]:
    two = st.tuples(inner, inner)
    return st.one_of(
        two.map(lambda ab: _combined("({} + {})", _null(lambda a, b: a + b), *ab)),
        two.map(lambda ab: _combined("({} - {})", _null(lambda a, b: a - b), *ab)),
        two.map(lambda ab: _combined("({} * {})", _null(lambda a, b: a * b), *ab)),
        inner.map(lambda a: _combined("abs({})", _null(abs), a)),
        inner.map(lambda a: _combined("coalesce({}, 0)", lambda value: Fraction(0) if value is None else value, a)),
    )


number = st.one_of(_leaf, _larger(_leaf), _larger(st.one_of(_leaf, _larger(_leaf))))

_test = st.sampled_from(
    [
        Drawn("region != 'test'", _null(lambda region: region != "test")),
        Drawn("region in ('EU', 'US')", _null(lambda region: region in ("EU", "US"))),
        Drawn("items > 2", _null(lambda items: items > 2)),
        Drawn("amount >= 50.5", _null(lambda amount: amount >= Fraction("50.5"))),
        Drawn("score < 0", _null(lambda score: score < 0)),
    ]
).map(lambda test: Drawn(test.sql, lambda row: test.of(row[test.sql.split()[0]])))


def _and(a: bool | None, b: bool | None) -> bool | None:
    return False if False in (a, b) else None if None in (a, b) else True


def _or(a: bool | None, b: bool | None) -> bool | None:
    return True if True in (a, b) else None if None in (a, b) else False


condition = st.one_of(
    _test,
    _test.map(lambda a: _combined("not ({})", _null(lambda value: not value), a)),
    st.tuples(_test, _test).map(lambda ab: _combined("{} and {}", _and, *ab)),
    st.tuples(_test, _test).map(lambda ab: _combined("{} or {}", _or, *ab)),
    st.just(Drawn("region is null", lambda row: row["region"] is None)),
)


@st.composite
def drawn_file(draw: st.DrawFn) -> tuple[str, Meanings]:
    """The text of a KPI file, and what its expressions mean."""
    meanings = Meanings()
    zone = draw(st.sampled_from(ZONES))

    def known(drawn: Drawn) -> str:
        meanings.known[drawn.sql] = drawn
        return drawn.sql

    def filtered() -> dict[str, str]:
        return {"filter": known(draw(condition))} if draw(st.booleans()) else {}

    def simple() -> dict[str, Any]:
        agg = draw(st.sampled_from([*NUMERIC, "count", "count_distinct"]))
        kpi = {"type": "simple", "event": "order", "agg": agg, "grain": draw(st.sampled_from(GRAINS))} | filtered()
        if agg == "count_distinct":
            kpi["value"] = draw(st.sampled_from(["user_id", "region"]))
        elif agg != "count":
            kpi["value"] = known(draw(number))
        return kpi | ({"p": draw(st.sampled_from([0, 0.25, 0.5, 1]))} if agg == "percentile" else {})

    def conversion() -> dict[str, Any]:
        constant = draw(st.sampled_from([[], ["region"]]))
        measure = draw(st.sampled_from(["rate", "count", "median_time"]))
        both = {part: {"event": "order"} | filtered() for part in ("base", "conversion")}
        window = draw(st.sampled_from(["5min", "1h", "1d", "1w"]))
        grain = draw(st.sampled_from(GRAINS))
        return {"type": "conversion", "entity": "user_id", "window": window, "constant": constant} | {
            "measure": measure,
            "grain": grain,
            **both,
        }

    def retention() -> dict[str, Any]:
        both = {part: {"event": "order"} | filtered() for part in ("start", "return")}
        kind, period = draw(st.sampled_from(["exact", "rolling"])), draw(st.sampled_from(PERIODS))
        return {"type": "retention", "entity": "user_id", "period": period, "n": draw(st.integers(1, 3))} | {
            "kind": kind,
            **both,
        }

    def balance() -> dict[str, Any]:
        value, grain = known(draw(number)), draw(st.sampled_from(["1h", "1d"]))  # it has a value in every window
        return {"type": "balance", "event": "order", "entity": "user_id", "value": value, "grain": grain} | filtered()

    kinds = [*draw(st.lists(st.just(simple), min_size=2, max_size=3)), conversion, retention, balance]
    kpis = []
    for at, kind in enumerate(kinds):
        names = draw(st.lists(st.sampled_from(sorted(DIMENSIONS)), unique=True, max_size=2))
        common = {"name": f"k{at}", "direction": "higher_is_better", "role": "leading", "timezone": zone}
        kpis.append(common | {"dimensions": {name: DIMENSIONS[name] for name in names}} | kind())
    return json.dumps({"version": 1, "events": {"order": EVENT}, "kpis": kpis}), meanings


@dataclass(frozen=True, slots=True)
class Value:
    """What a KPI should be, and how far it may be off."""

    value: float | None
    room: float = 0.0

    def holds(self, found: float | None) -> bool:
        """Whether that is near enough."""
        if found is None or self.value is None:
            return found is self.value
        return abs(found - self.value) <= self.room


def recounted(kpi: Any, events: Sequence[Happened], by: Sequence[str], meanings: Meanings) -> dict[Key, Value]:
    """A simple KPI, conversion or retention per base window and dimension values, counted from scratch."""
    match kpi:
        case SimpleKpi():
            return _simple(kpi, events, by, meanings)
        case ConversionKpi():
            found = conversions(kpi, events, by, meanings.chosen)
            if kpi.measure == "median_time":
                return {key: _near_rank(sorted(share.seconds.elements()), 0.5) for key, share in found.items()}
            divisor = {key: share.count if kpi.measure == "rate" else 1 for key, share in found.items()}
            return {key: Value(share.did / divisor[key]) for key, share in found.items()}
        case RetentionKpi():
            shares = retentions(kpi, events, by, meanings.chosen)
            return {key: Value(share.did / share.count) for key, share in shares.items()}
    raise AssertionError(kpi)


def _simple(kpi: SimpleKpi, events: Sequence[Happened], by: Sequence[str], meanings: Meanings) -> dict[Key, Value]:
    groups: dict[Key, list[Happened]] = defaultdict(list)
    for event in filter(meanings.chosen(kpi.filter), events):
        if kpi.value is None or event.row[kpi.value] is not None:
            at = window_start(Grain(kpi.base_grain), event.time, kpi.zone)
            groups[at, tuple(event.row[name] for name in by)].append(event)
    exact = kpi.value is None or kpi.value not in meanings.known or meanings.known[kpi.value].exact
    return {key: _aggregate(kpi, group, exact=exact) for key, group in groups.items()}


def _aggregate(kpi: SimpleKpi, events: Sequence[Happened], *, exact: bool) -> Value:
    if kpi.value is None:
        return Value(float(len(events)))
    values = [event.row[kpi.value] for event in sorted(events, key=lambda event: event.place)]
    if kpi.agg == "count_distinct":
        return Value(float(len(set(values))))
    room = 0.0 if exact else 1e-12 * float(sum(map(abs, values)))
    match kpi.agg:
        case "sum":
            return Value(float(sum(map(Fraction, values))), room)
        case "avg":
            return Value(float(sum(map(Fraction, values))) / len(values), room)
        case "percentile":
            return _near_rank(sorted(map(float, values)), kpi.p or 0.0)
    picked = {"min": min(values), "max": max(values), "first": values[0], "last": values[-1]}
    return Value(float(picked[kpi.agg]), room)


def _near_rank(values: Sequence[float], p: float) -> Value:
    """The value at rank floor(p (n - 1)), within 1 %."""
    if not values:
        return Value(None)
    value = values[math.floor(p * (len(values) - 1))]
    return Value(value, 0.0101 * abs(value))
