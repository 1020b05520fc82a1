"""What a rule says as of any instant, by the evaluator's own functions over what is stored now. Stores nothing.

The windows and events of the past are read as they are today; what was known then is in the stored transitions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

from onpace.alerts.guardrails import with_guardrails
from onpace.alerts.judgement import Due, due_periods
from onpace.alerts.judging import Progress, StatusBoard, read_progress
from onpace.alerts.overdue import ReportSource, late_reports, overdue_verdict, with_reasons
from onpace.alerts.reading import SeriesReader
from onpace.alerts.rules import Verdict, no_data_verdict, period_verdict
from onpace.alerts.status import KpiStatus, Labels, target_series
from onpace.alerts.versions import TargetHistory
from onpace.alerts.why import Finding, Place, clock
from onpace.alerts.window_rules import read_windows
from onpace.config.calendar import Period, window_start
from onpace.config.catalog import Catalog
from onpace.config.errors import OnPaceError
from onpace.config.kpi_entities import REPORT, Kpi
from onpace.config.rules import AttainmentRule, NoDataRule, PeriodRule, Rule, WindowRule

__all__ = ["Arrivals", "Hindsight"]

Firing = Callable[[Place, datetime], bool]
"""Whether an alert fired just before an instant: then its rule's clearing condition counts."""

_MICROSECOND = timedelta(microseconds=1)
_TOTAL: Labels = ()


class Arrivals(Protocol):
    """Knows the archive. Raises StoreUnavailable when the store does not answer."""

    def last_seen(self, event_types: Sequence[str], at: datetime) -> Mapping[str, datetime]:
        """When each event type had last said anything, of what had arrived by `at`."""
        ...


class Hindsight:
    """Judges the rules of a catalog at any instant up to now."""

    def __init__(
        self,
        catalog: Catalog,
        reader: SeriesReader,
        statuses: Sequence[KpiStatus],
        recorded: TargetHistory,
        *,
        arrivals: Arrivals,
        reports: ReportSource | None = None,
    ) -> None:
        self._catalog = catalog
        self._reader = reader
        self._board = StatusBoard(catalog, reader, statuses, recorded)
        self._recorded = recorded
        self._arrivals = arrivals
        self._reports = reports

    def findings(self, rule: Rule, at: datetime, fired: Firing, period: Period | None = None) -> list[Finding]:
        """What the rule says of each of its series at `at`, in no order. Raises OnPaceError for a period it lacks."""
        if isinstance(rule, WindowRule):
            return list(self._windows(rule, at, fired))
        if isinstance(rule, PeriodRule):
            return list(self._periods(rule, at, fired, period))
        return [self._no_data(rule, at)]

    def values(self, rule: Rule, place: Place, instants: Sequence[datetime]) -> dict[datetime, float | None]:
        """What the rule sees today of the windows that ended then, or of the period up to then."""
        series = place[0]
        if not instants or any(value is None for _, value in series):
            return {}
        kpi = self._catalog.kpi(rule.kpi)
        if isinstance(rule, WindowRule):
            spans = [(window_start(rule.grain, at - _MICROSECOND, kpi.calendar), at) for at in instants]
            where = {name: value for name, value in series if value is not None}
            return dict(zip(instants, self._reader.values(kpi.name, spans, where), strict=True))
        return self._actuals(kpi, place, instants) if isinstance(rule, PeriodRule) else {}

    def _actuals(self, kpi: Kpi, place: Place, instants: Sequence[datetime]) -> dict[datetime, float | None]:
        progress = self._progress(kpi, max(instants))
        found: dict[datetime, float | None] = {}
        for at in instants:
            dues = [due for due in self._dues(kpi, at) if (due.series, str(due.period)) == place]
            judged = [self._board.judgement(kpi, due, replace(progress, as_of=at), at) for due in dues]
            for status, _ in self._board.looks(judged):
                found[at] = status.actual
        return found

    def _progress(self, kpi: Kpi, at: datetime) -> Progress:
        return read_progress(self._catalog, self._reader, kpi, now=at, stale="")

    def _windows(self, rule: WindowRule, at: datetime, fired: Firing) -> Iterator[Finding]:
        """The last window of each series that was complete at `at`."""
        kpi = self._catalog.kpi(rule.kpi)
        gate = self._catalog.kpi(rule.min_volume.kpi) if rule.min_volume else kpi
        own, other = self._progress(kpi, at), self._progress(gate, at)
        if own.as_of is None or other.as_of is None or own.first_event is None:
            yield _nothing("no window is complete yet")
            return
        end = window_start(rule.grain, min(own.as_of, other.as_of), kpi.calendar)
        start = window_start(rule.grain, end - _MICROSECOND, kpi.calendar)
        if end <= own.first_event:
            yield _nothing("no window is complete yet")
            return
        found = read_windows(self._catalog, self._reader, rule, (start, end), first_event=own.first_event)
        for key, windows in found.items():
            place: Place = (tuple(zip(rule.by, key, strict=True)), "")
            for point in windows.points:
                if point.window_end == end:
                    verdict = windows.verdict(point, firing=fired(place, end))
                    yield Finding(place, verdict, _window(start, end, kpi.zone), end)
        if not found:
            yield _nothing("no event was ever counted in it")

    def _periods(self, rule: PeriodRule, at: datetime, fired: Firing, asked: Period | None) -> Iterator[Finding]:
        kpi = self._catalog.kpi(rule.kpi)
        progress, newest = self._progress(kpi, at), {}
        for due in self._dues(kpi, at):
            if self._looks_at(rule, due) and asked in (None, due.period):
                newest[due.series, due.period.grain] = due
        if not newest:
            raise OnPaceError(f"rule '{rule.name}' has no target for {asked or 'that time'}: see `onpace scorecard`")
        looks = self._board.looks([self._board.judgement(kpi, due, progress, at) for due in newest.values()])
        judged, forecasts = [status for status, _ in looks], {status.key: forecast for status, forecast in looks}
        late = late_reports(self._catalog, self._reports.overdue(at)) if self._reports else {}
        for status in with_guardrails(self._catalog, with_reasons(judged, late), self._board.known):
            place = status.series, status.period
            upto = min(status.as_of, status.period_end) if status.as_of else None
            firing, forecast = fired(place, upto or at), forecasts.get(status.key)
            verdict = period_verdict(rule, status, firing=firing, forecast=forecast, unit=kpi.unit)
            words = f"{status.period} up to {clock(upto, kpi.zone)}" if upto else status.period
            yield Finding(place, verdict, words, upto)

    def _dues(self, kpi: Kpi, at: datetime) -> list[Due]:
        first = self._reader.first_event(kpi.name)
        return due_periods(kpi, first_event=first, now=at, recorded=self._recorded)

    def _looks_at(self, rule: PeriodRule, due: Due) -> bool:
        """Attainment is about the headline, the others about all targets of a KPI."""
        headline = self._catalog.kpi(rule.kpi).headline
        if not isinstance(rule, AttainmentRule):
            return True
        return headline is not None and (target_series(headline), headline.grain) == (due.series, due.period.grain)

    def _no_data(self, rule: NoDataRule, at: datetime) -> Finding:
        kpi = self._catalog.kpi(rule.kpi)
        names = [name for name in self._catalog.event_types(kpi) if name != REPORT]
        overdue = late_reports(self._catalog, self._reports.overdue(at)) if self._reports else {}
        if (late := overdue.get(rule.kpi, ())) or not names:
            return Finding((_TOTAL, ""), overdue_verdict(rule, late, at), "what was reported", at)
        seen = self._arrivals.last_seen(names, at)
        verdict = no_data_verdict(rule, {name: seen.get(name) for name in names}, at, kpi.calendar)
        return Finding((_TOTAL, ""), verdict, f"what had arrived by {clock(at, kpi.zone)}", at)


def _nothing(reason: str) -> Finding:
    return Finding((_TOTAL, ""), Verdict(None, reason), "")


def _window(start: datetime, end: datetime, zone: ZoneInfo) -> str:
    """`2026-11-14 08:00 to 09:00`."""
    first, last = clock(start, zone), clock(end, zone)
    return f"{first} to {last[11:] if first[:10] == last[:10] else last}"
