"""Conversion, retention and balance counted from scratch in plain Python, straight from what the words mean."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any

from onpace.config.calendar import window_end, window_start
from onpace.config.kpi_entities import BalanceKpi, ConversionKpi, RetentionKpi

__all__ = ["Happened", "Share", "balances", "conversions", "retentions"]

Dims = tuple[str | None, ...]
Key = tuple[datetime, Dims]


@dataclass(frozen=True, slots=True)
class Happened:
    """One accepted event. `row` has its properties, numbers exact or as floats, None for what it lacks."""

    time: datetime
    source: str
    id: str
    row: Mapping[str, Any]

    @property
    def place(self) -> tuple[datetime, str, str]:
        """What events are ordered by."""
        return self.time, self.source, self.id


@dataclass(slots=True)
class Share:
    """How many there were, how many of them did what counts, and the seconds that each of these took."""

    count: int = 0
    did: int = 0
    seconds: Counter[float] = field(default_factory=Counter)


Chosen = Callable[[Any], Callable[[Happened], bool]]
"""What a filter in a KPI means."""


def _dims(event: Happened, names: Sequence[str]) -> Dims:
    return tuple(event.row[name] for name in names)


def conversions(kpi: ConversionKpi, events: Sequence[Happened], by: Sequence[str], chosen: Chosen) -> dict[Key, Share]:
    """Base window and dimension values -> the base events in it."""
    found: dict[Key, Share] = defaultdict(Share)
    counts, converts = chosen(kpi.base.filter), chosen(kpi.conversion.filter)
    for base in events:
        if not counts(base) or base.row[kpi.entity] is None:
            continue
        waits = [
            then.time - base.time
            for then in events
            if converts(then)
            and then.row[kpi.entity] == base.row[kpi.entity]
            and all(base.row[name] is not None and base.row[name] == then.row[name] for name in kpi.constant)
            and base.time <= then.time < base.time + kpi.window
            and (kpi.base.event != kpi.conversion.event or base.time < then.time)
        ]
        share = found[window_start(kpi.base_grain, base.time, kpi.zone), _dims(base, by)]
        share.count += 1
        if waits:
            share.did += 1
            share.seconds[min(waits) / timedelta(seconds=1)] += 1
    return dict(found)


def retentions(kpi: RetentionKpi, events: Sequence[Happened], by: Sequence[str], chosen: Chosen) -> dict[Key, Share]:
    """First period and dimension values -> the entities whose first start event lies there."""
    found: dict[Key, Share] = defaultdict(Share)
    starts, returns = chosen(kpi.start.filter), chosen(kpi.back.filter)
    firsts: dict[str, Happened] = {}
    for event in sorted(filter(starts, events), key=lambda event: event.place):
        if event.row[kpi.entity] is not None:
            firsts.setdefault(event.row[kpi.entity], event)
    for entity, first in firsts.items():
        begins = due = window_start(kpi.base_grain, first.time, kpi.zone)
        for _ in range(kpi.n):
            due = window_end(kpi.base_grain, due, kpi.zone)
        until = window_end(kpi.base_grain, due, kpi.zone)
        share = found[begins, _dims(first, by)]
        share.count += 1
        share.did += any(
            returns(event)
            and event.row[kpi.entity] == entity
            and due <= event.time
            and (kpi.kind == "rolling" or event.time < until)
            for event in events
        )
    return dict(found)


def balances(
    kpi: BalanceKpi, events: Sequence[Happened], by: Sequence[str], chosen: Chosen
) -> Iterator[tuple[datetime, dict[Dims, Fraction | float]]]:
    """Start of each base window with a change -> dimension values -> the balance at the window's end."""
    counts = chosen(kpi.filter)
    changes = [
        event
        for event in sorted(events, key=lambda event: event.place)
        if counts(event) and event.row[kpi.entity] is not None and event.row[kpi.value] is not None
    ]
    for start in sorted({window_start(kpi.base_grain, event.time, kpi.zone) for event in changes}):
        end = window_end(kpi.base_grain, start, kpi.zone)
        last = {event.row[kpi.entity]: event for event in changes if event.time < end}
        sums: dict[Dims, Fraction | float] = defaultdict(Fraction)
        for event in last.values():
            sums[_dims(event, by)] += event.row[kpi.value]
        yield start, dict(sums)
