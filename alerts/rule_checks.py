"""Rule tests: which events a test sends, when the engine looks, and what is said of what it should not find. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from onpace.alerts.evaluation import Evaluation
from onpace.alerts.instants import goes_by_windows, lateness_of, step_of
from onpace.alerts.reading import SeriesReader
from onpace.alerts.states import Alert
from onpace.alerts.status import KpiStatus, Labels
from onpace.config.calendar import window_end, window_start
from onpace.config.catalog import Catalog
from onpace.config.rule_tests import AlertCheck, RuleTest, SentEvents, StatusCheck, Suite, ValueCheck
from onpace.config.rules import AnomalyRule, ChangeRule, NoDataRule, PaceRule, Rule, ThresholdRule, WindowRule
from onpace.ingest.event import Event

__all__ = ["Sent", "alert_problems", "end_of", "looks_of", "sent_events", "status_problems", "value_problems"]

MOST_LOOKS = 12
"""So many looks, evenly spread, a test has by itself between its first event and its last check."""
_MICROSECOND = timedelta(microseconds=1)
_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class Sent:
    """One event of a test."""

    event: Event
    arrives: datetime
    entry: int
    """Which entry of `events:` it is of."""


def sent_events(test: RuleTest, suite: Suite) -> list[Sent]:
    """All events of a test, in the order in which they arrive."""
    found = [
        Sent(_event(sent, at, entry, number), _arrival(sent, at, suite), entry)
        for entry, sent in enumerate(test.events)
        for number, at in enumerate(_times(sent, suite))
    ]
    return sorted(found, key=lambda one: one.arrives)


def _times(sent: SentEvents, suite: Suite) -> Iterator[datetime]:
    if sent.time is not None:
        yield suite.instant(sent.time)
        return
    if sent.first is None or sent.every is None:
        return
    at, end = suite.instant(sent.first), suite.instant(sent.to) if sent.to else None
    number = 0
    while number < sent.count if sent.count is not None else end is not None and at < end:
        yield at
        at, number = at + sent.every, number + 1


def _arrival(sent: SentEvents, at: datetime, suite: Suite) -> datetime:
    if sent.arrives is None:
        return at
    return at + sent.arrives if isinstance(sent.arrives, timedelta) else suite.instant(sent.arrives)


def _event(sent: SentEvents, at: datetime, entry: int, number: int) -> Event:
    content = json.dumps(_numbered(sent.data, number) if sent.time is None else sent.data, ensure_ascii=False)
    return Event(sent.id or f"{entry}-{number}", sent.source, sent.type, at, content.encode())


def _numbered(value: Any, number: int) -> Any:
    if isinstance(value, str):
        return value.replace("{n}", str(number))
    if isinstance(value, dict):
        return {key: _numbered(inner, number) for key, inner in value.items()}
    return [_numbered(inner, number) for inner in value] if isinstance(value, list) else value


def end_of(test: RuleTest, suite: Suite, sent: Sequence[Sent]) -> datetime:
    """When the test ends: its `now`, or when all has arrived, is checked and, where values are asked for, complete."""
    if test.now is not None:
        return suite.instant(test.now)
    found = [*_checked(test, suite)]
    found += [suite.instant(one.as_of) for one in test.values if one.as_of]
    found += [sent[-1].arrives] if sent else []
    for one in test.values:
        kpi = suite.catalog.kpi(one.kpi)
        start = window_start(one.grain, suite.instant(one.at), kpi.calendar)
        found.append(window_end(one.grain, start, kpi.calendar) + suite.catalog.lateness(kpi))
    return max(found)


def _checked(test: RuleTest, suite: Suite) -> set[datetime]:
    return {suite.instant(at) for at in [*(one.at for one in test.statuses), *(one.at for one in test.alerts)]}


def looks_of(test: RuleTest, suite: Suite, catalog: Catalog, sent: Sequence[Sent], end: datetime) -> list[datetime]:
    """When the engine evaluates: at each check, before what arrives late, and in between as the rules need it."""
    checks = _checked(test, suite)
    last = max(checks, default=None)
    begin = suite.instant(test.start) if test.start else (sent[0].arrives if sent else last)
    if last is None or begin is None:
        return []
    rules = catalog.rules.values()
    late = min((lateness_of(rule, catalog) for rule in rules), default=timedelta())
    before = {one.arrives - _MICROSECOND for one in sent if one.arrives - one.event.time > late}
    looks = {*checks, *(at for at in before if begin <= at <= last)}
    step = test.every
    if step is None and (steps := [step_of(rule, catalog) for rule in rules if _remembers(rule)]):
        step = max(min(steps), (last - begin) / MOST_LOOKS)
    at = begin
    while step and at <= last:
        looks.add(at)
        at += step
    return sorted(one for one in looks if one <= end)


def _remembers(rule: Rule) -> bool:
    """Whether its alerts depend on more than is there at a look: it has to be looked at before."""
    if goes_by_windows(rule):
        return False  # one look steps through all windows
    if isinstance(rule, PaceRule):
        return bool(rule.keep)  # the engine itself looks back over `for`
    return bool(rule.hold or rule.keep) or not isinstance(rule, NoDataRule)


def value_problems(check: ValueCheck, suite: Suite, reader: SeriesReader) -> Iterator[str]:
    """What is wrong with a value, as it is known now."""
    kpi = suite.catalog.kpi(check.kpi)
    start = window_start(check.grain, suite.instant(check.at), kpi.calendar)
    found = reader.series(check.kpi, check.grain, start, start + _MICROSECOND, by=tuple(check.by))
    point = next((one for one in found.get(tuple(check.by.values()), ()) if one.window_start == start), None)
    value, complete = (point.value, point.complete) if point else (None, False)
    where = f"{check.kpi}, {check.grain} of {_local(start, suite)}{_of(check.by)}"
    if not _equal(value, check.value):
        state = "complete" if complete else "not complete"
        yield f"{where}: expected {_number(check.value)}, got {_number(value)} ({state})"
    if check.complete is not None and complete != check.complete:
        wanted, is_ = ("complete", "not") if check.complete else ("not complete", "it is")
        yield f"{where}: expected to be {wanted}, and {is_} (value {_number(value)})"


def status_problems(check: StatusCheck, suite: Suite, statuses: Iterable[KpiStatus]) -> Iterator[str]:
    """What is wrong with a status, of those that an evaluation left behind."""
    mine = [one for one in statuses if one.kpi == check.kpi]
    series, period = tuple(sorted(check.by.items())), str(check.period)
    where = f"{check.kpi} in {period}{_of(check.by)} at {_local(suite.instant(check.at), suite)}"
    found = next((one for one in mine if (one.series, one.period) == (series, period)), None)
    if found is None:
        known = sorted({f"{one.period}{_of(dict(one.series))}" for one in mine})
        yield f"{where}: expected {check.status}, got no status; there are {', '.join(known) or 'none at all'}"
        return
    if found.status != check.status:
        yield f"{where}: expected {check.status}, got {found.status}: {found.reason}"
    for name in ("actual", "expected"):
        wanted, got = getattr(check, name), getattr(found, name)
        if wanted is not None and not _equal(got, wanted):
            yield f"{where}: {name} should be {_number(wanted)}, got {_number(got)}: {found.reason}"
    if check.reason is not None and check.reason not in found.reason:
        yield f"{where}: expected '{check.reason}' in the reason, got '{found.reason}'"


def alert_problems(check: AlertCheck, suite: Suite, found: Evaluation, reader: SeriesReader) -> Iterator[str]:
    """What fires and should not, and what does not and should."""
    return _AlertView(check, suite, found, reader).problems()


@dataclass(frozen=True, slots=True)
class _AlertView:
    """The alerts of an evaluation, beside what a check says of them."""

    check: AlertCheck
    suite: Suite
    found: Evaluation
    reader: SeriesReader

    def problems(self) -> Iterator[str]:
        check, where = self.check, f"at {_local(self.suite.instant(self.check.at), self.suite)}"
        if check.rule is None:
            for alert in sorted(self.found.alerts, key=lambda one: (one.rule, str(one.series), one.period)):
                if alert.state == "firing":
                    about = f"{alert.rule}{_of(dict(alert.series))}"
                    yield f"{where}: expected nothing to fire, but {about} does: {alert.reason}"
            return
        period = str(check.period) if check.period else None
        alerts = [one for one in self.found.alerts if one.rule == check.rule and period in (None, one.period)]
        for state, wanted in (("firing", check.firing), ("pending", check.pending)):
            if wanted is not None:
                differences = self._differences(state, wanted, alerts)
                yield from (f"{where}: {check.rule}{difference}" for difference in differences)
        for alert in alerts:
            if alert.state == "firing" and check.reason is not None and check.reason not in alert.reason:
                about = f"{check.rule}{_of(dict(alert.series))}"
                yield f"{where}: {about}: expected '{check.reason}' in the reason, got '{alert.reason}'"

    def _differences(
        self, state: str, wanted: Sequence[Mapping[str, str | None]], alerts: Sequence[Alert]
    ) -> Iterator[str]:
        asked = [tuple(sorted(one.items())) for one in wanted]
        actual = [one for one in alerts if one.state == state]
        there = {tuple(sorted(one.series)) for one in actual}
        for series in asked:
            if series not in there:
                known = [one for one in alerts if tuple(sorted(one.series)) == series]
                yield f"{_of(dict(series))}: expected {state}, got {self._state(known, series)}"
        for alert in actual:
            if tuple(sorted(alert.series)) not in asked:
                period = f" ({alert.period})" if alert.period else ""
                yield f"{_of(dict(alert.series))}{period}: expected not {state}, got {state}: {alert.reason}"

    def _state(self, known: Sequence[Alert], series: Labels) -> str:
        """Where an alert is that is not where it should be, and why."""
        alert = max(known, key=lambda one: one.period, default=None)
        state = alert.state if alert else "no alert"
        if alert and alert.active and alert.reason:
            since = f" since {_local(alert.active_since, self.suite)}" if alert.active_since else ""
            return f"{state}{since}: {alert.reason}"
        rule = self.suite.catalog.rules.get(self.check.rule or "")
        if isinstance(rule, ThresholdRule | ChangeRule | AnomalyRule):
            return f"{state}: {self._last_window(rule, series)}"
        statuses = [one for one in self.found.statuses if rule and one.kpi == rule.kpi and one.series == series]
        latest = max(statuses, key=lambda one: one.period_start, default=None)
        why = f"{latest.period}: {latest.reason}" if latest else (alert.reason if alert else "")
        return f"{state}: {why}" if why else state

    def _last_window(self, rule: WindowRule, series: Labels) -> str:
        """The newest complete window of a series."""
        mark, calendar = self.reader.watermark(rule.kpi), self.suite.catalog.kpi(rule.kpi).calendar
        if mark is None:
            return "no window is complete yet"
        end = window_start(rule.grain, min(mark, self.found.now), calendar)
        begin = window_start(rule.grain, end - _MICROSECOND, calendar)
        for key, points in self.reader.series(rule.kpi, rule.grain, begin, end, by=rule.by).items():
            if tuple(sorted(zip(rule.by, key, strict=True))) == series and points:
                value = _number(points[-1].value)
                return f"its last complete window, of {_local(points[-1].window_start, self.suite)}, has {value}"
        return "it has nothing in the last complete window"


def _equal(value: float | None, wanted: float | None) -> bool:
    if value is None or wanted is None:
        return value is wanted
    return math.isclose(value, wanted, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)


def _number(value: float | None) -> str:
    return "null" if value is None else f"{value:.12g}"


def _of(labels: Mapping[str, str | None]) -> str:
    return "".join(f", {name}={'(null)' if value is None else value}" for name, value in labels.items())


def _local(at: datetime, suite: Suite) -> str:
    return f"{at.astimezone(suite.zone):%Y-%m-%d %H:%M}"
