"""Fakes for the alert engine: a reader over raw events in memory, a store, an outbox and a notifier that remember."""

# ruff: noqa: ARG002

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import accumulate

from onpace.alerts.evaluation import Transition
from onpace.alerts.history import Settled
from onpace.alerts.notifications import Notification
from onpace.alerts.reading import SeriesKey, Span
from onpace.alerts.states import Alert, AlertId
from onpace.alerts.status import KpiStatus
from onpace.alerts.versions import TargetVersion
from onpace.config.calendar import Grain, window_end, window_start, windows
from onpace.config.catalog import Catalog
from onpace.config.errors import StoreUnavailable
from onpace.config.kpi import EventType, RatioKpi, SimpleKpi, Status
from onpace.config.kpi_entities import Kpi
from onpace.config.rules import Channel, Rule
from onpace.processors.window_tables import WindowTable, fill_table, placed_points


def at(text: str) -> datetime:
    """`'2026-11-01 12:00'` in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def catalog_of(
    kpis: Sequence[Kpi],
    rules: Sequence[Rule] = (),
    *,
    expected_every: timedelta | None = None,
    channels: Sequence[Channel] = (),
) -> Catalog:
    """A catalog over exactly these; their event types are declared as needed."""
    names = {kpi.event for kpi in kpis if isinstance(kpi, SimpleKpi)}
    return Catalog(
        events={name: EventType(name=name, expected_every=expected_every) for name in sorted(names)},
        kpis={kpi.name: kpi for kpi in kpis},
        channels={channel.name: channel for channel in channels},
        rules={rule.name: rule for rule in rules},
    )


def simple(name: str = "revenue", **more: object) -> SimpleKpi:
    """A KPI that sums `amount` over orders, hourly."""
    given = {"event": "order.placed", "agg": "sum", "value": "amount", "grain": "1h"} | more
    return SimpleKpi.model_validate({"name": name, "direction": "higher_is_better", "role": "lagging"} | given)


@dataclass(frozen=True, slots=True)
class Event:
    """One raw event: when, its dimension values and its number."""

    time: datetime
    dims: Mapping[str, str] = field(default_factory=dict)
    value: float = 1.0


@dataclass(frozen=True, slots=True)
class Point:
    """One window of one series."""

    window_start: datetime
    window_end: datetime
    value: float | None
    complete: bool


@dataclass(slots=True)
class Source:
    """How far an event type has come."""

    last_event_time: datetime | None = None
    last_arrival: datetime | None = None
    caught_up_at: datetime | None = None


class FakeReader:
    """Recounts every answer from the raw events; counts the questions. Events after `clock` have not happened yet."""

    def __init__(self, catalog: Catalog, events: Mapping[str, Sequence[Event]], clock: datetime) -> None:
        self.catalog = catalog
        self.events = {name: list(found) for name, found in events.items()}
        self.clock = clock
        self.lateness = timedelta()
        self.caught_up_at: datetime | None = None
        self.unfinished: set[str] = set()
        """KPIs whose history is being rebuilt."""
        self.broken_segments = False
        """Whether the store fails when it is asked for segments."""
        self.queries: list[str] = []
        self.windows_read = 0
        """How many windows the last table had."""
        self._indexes: dict[tuple[object, ...], tuple[list[datetime], list[float]]] = {}

    def values(self, kpi: str, spans: Sequence[Span], where: Mapping[str, str] = {}) -> list[float | None]:
        """A recount over each span."""
        self.queries.append(f"values {kpi}")
        return [self._value(self.catalog.kpi(kpi), start, end, where) for start, end in spans]

    def series(
        self,
        kpi: str,
        grain: Grain,
        start: datetime,
        end: datetime,
        *,
        by: Sequence[str] = (),
        where: Mapping[str, str] = {},
    ) -> dict[SeriesKey, list[Point]]:
        """A recount per window and series."""
        self.queries.append(f"series {kpi}")
        return self._windows(kpi, grain, start, end, by)

    def table(
        self, kpi: str, grain: Grain, spans: Sequence[Span], *, by: Sequence[str] = (), every: bool = True
    ) -> WindowTable:
        """The same in columns, of several spans at once."""
        self.queries.append(f"series {kpi}")
        found: dict[SeriesKey, list[tuple[datetime, float | None]]] = {}
        for start, end in spans:
            for key, points in self._windows(kpi, grain, start, end, by).items():
                found.setdefault(key, []).extend((one.window_start, one.value) for one in points if one.complete)
        starts = sorted({start for points in found.values() for start, _ in points})
        self.windows_read = len(starts)
        model = self.catalog.kpi(kpi)
        empty = 0.0 if isinstance(model, SimpleKpi) and model.agg in ("count", "sum") else None
        return fill_table(placed_points(found), starts, empty=empty)

    def _windows(
        self, kpi: str, grain: Grain, start: datetime, end: datetime, by: Sequence[str]
    ) -> dict[SeriesKey, list[Point]]:
        model = self.catalog.kpi(kpi)
        names = self.catalog.event_types(model)
        events = [e for name in names for e in self.events.get(name, ()) if e.time <= self.clock]
        keys = {tuple(e.dims.get(name) for name in by) for e in events}
        done = self.watermark(kpi)
        found: dict[SeriesKey, list[Point]] = {}
        for key in sorted(keys, key=str):
            slice_ = dict(zip(by, key, strict=True))
            for begin in windows(grain, start, end, model.calendar):
                stop = window_end(grain, begin, model.calendar)
                value = self._value(model, begin, stop, slice_)
                found.setdefault(key, []).append(Point(begin, stop, value, done is not None and stop <= done))
        return found

    def segments(
        self, kpi: str, spans: Sequence[Span], dimension: str, where: Mapping[str, str | None] = {}
    ) -> list[dict[SeriesKey, tuple[float, float]]]:
        """A recount of amounts, or of numerators and denominators, per value of the dimension."""
        self.queries.append(f"segments {kpi} by {dimension}")
        if self.broken_segments:
            raise StoreUnavailable("no answer")
        model = self.catalog.kpi(kpi)
        leaves = self.catalog.leaves(model)
        values = {e.dims.get(dimension) for leaf in leaves for e in self.events[leaf.event]}
        found: list[dict[SeriesKey, tuple[float, float]]] = []
        for start, end in spans:
            slices = {(value,): {**where, dimension: value} for value in sorted(values, key=str)}
            counted = {key: self._portion(model, start, end, slice_) for key, slice_ in slices.items()}
            found.append({key: portion for key, portion in counted.items() if any(portion)})
        return found

    def _portion(
        self, kpi: Kpi, start: datetime, end: datetime, where: Mapping[str, str | None]
    ) -> tuple[float, float]:
        if isinstance(kpi, RatioKpi):
            names = (kpi.numerator, kpi.denominator)
            above, below = (self._value(self.catalog.kpi(name), start, end, where) or 0.0 for name in names)
            return above, below
        if isinstance(kpi, SimpleKpi) and kpi.agg == "avg":
            parts = [kpi.model_copy(update={"agg": agg}) for agg in ("sum", "count")]
            above, below = (self._value(part, start, end, where) or 0.0 for part in parts)
            return above, below
        return self._value(kpi, start, end, where) or 0.0, 0.0

    def rebuilding(self, kpi: str) -> tuple[str, ...]:
        """The inputs of which the history is not whole."""
        return (kpi,) if kpi in self.unfinished else ()

    def watermark(self, kpi: str) -> datetime | None:
        """The clock less the lateness, once every input has sent something."""
        seen = [self._last(name) for name in self.catalog.event_types(self.catalog.kpi(kpi))]
        return None if None in seen else self.clock - self.lateness

    def first_event(self, kpi: str) -> datetime | None:
        """The base window of the first event of any input."""
        model = self.catalog.kpi(kpi)
        begun = [times[0] for name in self.catalog.event_types(model) if (times := self._index(name, {})[0])]
        seen = [time for time in begun if time <= self.clock]
        return window_start(self.catalog.base_grain(model), min(seen), model.calendar) if seen else None

    def sources(self) -> dict[str, Source]:
        """The last event of each type; caught up unless told otherwise."""
        caught_up = self.caught_up_at or self.clock
        return {name: Source(self._last(name), self._last(name), caught_up) for name in self.events}

    def _last(self, name: str) -> datetime | None:
        times, _ = self._index(name, {})
        seen = bisect_right(times, self.clock)
        return times[seen - 1] if seen else None

    def _value(self, kpi: Kpi, start: datetime, end: datetime, where: Mapping[str, str | None]) -> float | None:
        if isinstance(kpi, RatioKpi):
            parts = [
                self._value(self.catalog.kpi(name), start, end, where) for name in (kpi.numerator, kpi.denominator)
            ]
            return parts[0] / parts[1] if parts[0] is not None and parts[1] else None
        assert isinstance(kpi, SimpleKpi)
        times, sums = self._index(kpi.event, where)
        first, last = bisect_left(times, start), bisect_left(times, min(end, self.clock + timedelta(microseconds=1)))
        count, total = max(last - first, 0), sums[max(last, first)] - sums[first]
        if kpi.agg == "count":
            return float(count)
        if kpi.agg == "sum":
            return total
        return total / count if count else None

    def _index(self, name: str, where: Mapping[str, str | None]) -> tuple[list[datetime], list[float]]:
        key = (name, tuple(where.items()), len(self.events.get(name, [])))
        if key not in self._indexes:
            mine = [
                e for e in self.events.get(name, []) if all(e.dims.get(dim) == value for dim, value in where.items())
            ]
            mine.sort(key=lambda event: event.time)
            self._indexes[key] = [e.time for e in mine], list(accumulate((e.value for e in mine), initial=0.0))
        return self._indexes[key]


class MemoryHistory:
    """A StatusStore and an Outbox in memory."""

    def __init__(self) -> None:
        self.kept: dict[tuple[object, ...], KpiStatus] = {}
        self.changes: list[tuple[Status | None, KpiStatus]] = []
        self.kept_alerts: dict[AlertId, Alert] = {}
        self.transitions: list[Transition] = []
        self.versions: list[TargetVersion] = []
        self.box: dict[tuple[str, str], tuple[Notification, Settled | None]] = {}

    def statuses(self) -> list[KpiStatus]:
        """The latest ones."""
        return list(self.kept.values())

    def alerts(self) -> list[Alert]:
        """The latest ones."""
        return [self.kept_alerts[key] for key in sorted(self.kept_alerts)]

    def save_statuses(self, statuses: Sequence[KpiStatus], before: Sequence[Status | None]) -> None:
        """Keep them."""
        for status, old in zip(statuses, before, strict=True):
            self.kept[status.kpi, status.target, status.series, status.period_start] = status
            if status.status != old:
                self.changes.append((old, status))

    def save_alerts(self, alerts: Sequence[Alert], transitions: Sequence[Transition], now: datetime) -> None:
        """Keep them."""
        self.kept_alerts |= {alert.identity: alert for alert in alerts}
        self.transitions += transitions

    def targets(self) -> list[TargetVersion]:
        """All of them."""
        return list(self.versions)

    def save_targets(self, versions: Sequence[TargetVersion]) -> None:
        """Keep them."""
        self.versions += [version for version in versions if version not in self.versions]

    def waiting(self) -> list[Notification]:
        """What was not settled."""
        found = [one for one, outcome in self.box.values() if outcome is None]
        return sorted(found, key=lambda one: (one.created_at, one.key))

    def known(self, keys: Collection[str]) -> dict[tuple[str, str], bool]:
        """Those that were put in."""
        return {place: outcome is not None for place, (_, outcome) in self.box.items() if place[1] in keys}

    def firing(self, channel: str) -> list[Notification]:
        """What was last told and is no end."""
        told = [one for one, outcome in self.box.values() if one.channel == channel and outcome != "rejected"]
        last = {frozenset(one.labels.items()): one for one in sorted(told, key=lambda one: one.created_at)}
        return [one for one in last.values() if one.state == "firing"]

    def put(self, notifications: Sequence[Notification]) -> None:
        """Keep them."""
        for one in notifications:
            self.box.setdefault((one.channel, one.key), (one, None))

    def settle(self, notification: Notification, outcome: Settled, at: datetime) -> None:
        """Done with it."""
        self.box[notification.channel, notification.key] = (notification, outcome)


class MemoryNotifier:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.sent: list[Notification] = []
        self.firing: list[Notification] = []

    def submit(self, notifications: Sequence[Notification]) -> None:
        """Remember these."""
        self.sent += notifications

    def told(self, keys: Collection[str]) -> set[tuple[str, str]]:
        """Which of these were remembered."""
        return {(one.channel, one.key) for one in self.sent if one.key in keys}

    def refresh(self, firing: Sequence[Notification], now: datetime) -> None:
        """Remember what fires."""
        self.firing = list(firing)
