"""What a rule that goes window by window has in front of it: the windows to judge, and those they are compared with."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from onpace.alerts.anomalies import MIN_WINDOWS, Season, Slot, Usual, anomaly_verdict, side_of, slot_of, xmr
from onpace.alerts.changes import change_verdict, compared, earlier_windows
from onpace.alerts.pace import LATE_START, elapsed_share
from onpace.alerts.reading import SeriesKey, SeriesReader, Span, WindowPoint
from onpace.alerts.rules import Verdict, threshold_verdict, too_little
from onpace.alerts.status import finite
from onpace.config.business import WEEKDAYS
from onpace.config.calendar import Calendar, Grain, window_end, window_start, windows
from onpace.config.catalog import Catalog
from onpace.config.kpi_entities import Kpi
from onpace.config.open_time import closed_through
from onpace.config.rules import AnomalyRule, ChangeRule, WindowRule

__all__ = ["SEASONS", "SEEN", "SLACK", "SeriesWindows", "days_before", "read_windows", "windows_before"]

SEASONS = timedelta(weeks=8)
"""How far back a season is learned from."""
SEEN = timedelta(days=13)
"""Something must have been seen before the day so far back: then each weekday was there twice."""
SLACK = 2
"""XmR limits look for their windows among so many times as many: some are closed or have no value."""
GAP = 1000
"""So many windows in a row that nobody needs are not read."""
_MICROSECOND = timedelta(microseconds=1)


@dataclass(slots=True)
class SeriesWindows:
    """One series, as a rule sees it."""

    rule: WindowRule
    kpi: Kpi
    accumulates: bool
    points: Sequence[WindowPoint] = ()
    """What is to be judged, in order; also what is not complete."""
    volumes: Mapping[datetime, float | None] = field(default_factory=dict)
    past: Mapping[datetime, float] = field(default_factory=dict)
    """What windows are compared with: complete, seen whole, open, with a value and enough volume; in order."""
    _starts: list[datetime] = field(default_factory=list)
    seasons: dict[datetime, Season] = field(default_factory=dict)
    """What was learned before a day, if it was already."""

    def __post_init__(self) -> None:
        self._starts = list(self.past)

    def verdict(self, point: WindowPoint, *, firing: bool) -> Verdict:
        """What the rule says of one complete window."""
        rule, kpi, start = self.rule, self.kpi, point.window_start
        if closed := closed_through(kpi.calendar, start, point.window_end):
            return Verdict(None, closed, point.value)
        value, volume = point.value, self.volumes.get(start)
        match rule:
            case ChangeRule():
                than = compared(rule, start, self.past, kpi.calendar)
                return change_verdict(rule, value, volume, than, firing=firing, unit=kpi.unit)
            case AnomalyRule():
                side, usual = side_of(rule, kpi.direction), self._usual(rule, start)
                return anomaly_verdict(rule, value, volume, usual, side=side, firing=firing, unit=kpi.unit)
            case _:
                return threshold_verdict(rule, value, volume, firing=firing, unit=kpi.unit)

    def _usual(self, rule: AnomalyRule, start: datetime) -> Usual | str:
        """What is usual in the window, or why that is not known."""
        calendar = self.kpi.calendar
        seasons = rule.method != "xmr" and rule.grain.rank <= Grain.DAY.rank
        if seasons and self._between(days_before(start, SEASONS, calendar), days_before(start, SEEN, calendar)):
            slot = slot_of(rule.grain, start, calendar)
            place = WEEKDAYS[slot[0]] + (f" at {slot[1]:02}:00" if rule.grain is Grain.HOUR else "")
            usual = self._season(start).usual(slot, rule.sensitivity, f"a {place}")
            return usual or f"too little seen of a {place} in the last 8 weeks to know what is usual"
        if seasons and (rule.method == "seasonal" or rule.grain is Grain.HOUR):
            return "not seen for two weeks yet, which it takes to know what is usual"
        found = self._between(windows_before(rule.grain, start, rule.baseline * SLACK, calendar), start)
        values = [self.past[at] for at in found[-rule.baseline :]]
        if len(values) < MIN_WINDOWS:
            return f"only {len(values)} windows with a value before it, {MIN_WINDOWS} are needed"
        return xmr(values, f"the last {len(values)} {rule.grain.value.replace('_', ' ')}s")

    def _season(self, start: datetime) -> Season:
        """What the weeks before the window's day teach; the same for all windows of a day."""
        calendar = self.kpi.calendar
        day = window_start(Grain.DAY, start, calendar)
        if day not in self.seasons:
            seen: dict[Slot, list[float]] = {}
            for at in self._between(days_before(start, SEASONS, calendar), day):
                seen.setdefault(slot_of(self.rule.grain, at, calendar), []).append(self.past[at])
            self.seasons = {day: Season.learned(seen, accumulates=self.accumulates)}
        return self.seasons[day]

    def _between(self, first: datetime, end: datetime) -> list[datetime]:
        """Starts of usable windows in `[first, end)`."""
        return self._starts[bisect_left(self._starts, first) : bisect_left(self._starts, end)]


def days_before(start: datetime, back: timedelta, calendar: Calendar) -> datetime:
    """The begin of the day that lies so many whole days before that of the window, by the calendar."""
    day = window_start(Grain.DAY, start, calendar).astimezone(calendar.zone)
    return window_start(Grain.DAY, day - back + timedelta(hours=12), calendar)


def windows_before(grain: Grain, start: datetime, count: int, calendar: Calendar) -> datetime:
    """The start of the window that lies so many before."""
    if grain.step:
        return start - count * grain.step
    for _ in range(count):
        start = window_start(grain, start - _MICROSECOND, calendar)
    return start


def read_windows(
    catalog: Catalog, reader: SeriesReader, rule: WindowRule, span: Span, *, first_event: datetime
) -> dict[SeriesKey, SeriesWindows]:
    """Every series with its windows of `span`, in one query (two where they are compared with far earlier ones), and
    as much for the volume."""
    kpi = catalog.kpi(rule.kpi)
    spans = list(_spans(rule, span, kpi.calendar))
    found = _read(reader, rule.kpi, rule, spans)
    volumes: dict[SeriesKey, dict[datetime, float | None]] = {}
    if rule.min_volume:
        gates = _read(reader, rule.min_volume.kpi, rule, spans)
        volumes = {key: {point.window_start: point.value for point in points} for key, points in gates.items()}
    first, _ = (window_start(rule.grain, at, kpi.calendar) for at in span)
    return {
        key: SeriesWindows(
            rule,
            kpi,
            catalog.accumulates(kpi),
            [point for point in points if first <= point.window_start < span[1]],
            volumes.get(key, {}),
            _usable(rule, points, volumes.get(key, {}), kpi.calendar, first_event),
        )
        for key, points in found.items()
    }


def _read(
    reader: SeriesReader, kpi: str, rule: WindowRule, spans: Sequence[Span]
) -> dict[SeriesKey, list[WindowPoint]]:
    found: dict[SeriesKey, list[WindowPoint]] = {}
    for start, end in spans:
        for key, points in reader.series(kpi, rule.grain, start, end, by=rule.by).items():
            found.setdefault(key, []).extend(points)
    return found


def _usable(
    rule: WindowRule,
    points: Iterable[WindowPoint],
    volumes: Mapping[datetime, float | None],
    calendar: Calendar,
    first_event: datetime,
) -> dict[datetime, float]:
    """The windows that others are compared with."""
    return {
        point.window_start: value
        for point in points
        if point.complete
        and (value := finite(point.value)) is not None
        and elapsed_share(point.window_start, point.window_end, first_event) <= LATE_START
        and not closed_through(calendar, point.window_start, point.window_end)
        and not too_little(rule.min_volume, volumes.get(point.window_start))
    }


def _spans(rule: WindowRule, span: Span, calendar: Calendar) -> Iterator[Span]:
    """What is to be read, in order: no window twice, and no long stretch that nobody needs."""
    start, end = window_start(rule.grain, span[0], calendar), span[1]
    match rule:
        case ChangeRule():
            judged = list(windows(rule.grain, start, end, calendar))
            earlier = {at for window in judged for at in earlier_windows(rule, window, calendar)}
            yield from _stretches(rule.grain, sorted(earlier.union(judged)), calendar)
        case AnomalyRule():
            back = windows_before(rule.grain, start, rule.baseline * SLACK, calendar)
            if rule.grain.rank <= Grain.DAY.rank:
                back = min(back, days_before(start, SEASONS, calendar))
            yield back, end
        case _:
            yield start, end


def _stretches(grain: Grain, starts: Sequence[datetime], calendar: Calendar) -> Iterator[Span]:
    gap = (grain.step or timedelta(days=366)) * GAP
    first = 0
    for at in range(1, len(starts) + 1):
        if at == len(starts) or starts[at] - starts[at - 1] > gap:
            yield starts[first], window_end(grain, starts[at - 1], calendar)
            first = at
