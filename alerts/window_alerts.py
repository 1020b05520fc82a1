"""Steps the alerts of rules that go window by window: all rules of an evaluation, all their series, few queries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

import numpy as np

from onpace.alerts.columns import ColumnCache, Columns, Place, Wanted
from onpace.alerts.corrections import corrected, remembering, rewound
from onpace.alerts.evaluation import Transition
from onpace.alerts.reading import SeriesKey, SeriesReader
from onpace.alerts.rules import Verdict
from onpace.alerts.states import Alert, AlertId
from onpace.alerts.status import format_value
from onpace.alerts.telling import gap_of
from onpace.alerts.window_columns import Learnt, WindowColumns
from onpace.alerts.window_plans import HowFar, Judged, Part, Plan, plan_of
from onpace.config.calendar import window_end
from onpace.config.catalog import Catalog
from onpace.config.rules import WindowRule

if TYPE_CHECKING:
    from datetime import timedelta

    from numpy.typing import NDArray

__all__ = ["Advance", "WindowAlerts"]


class Advance(Protocol):
    """Takes an alert one step on, and notes the transition."""

    def __call__(self, alert: Alert, verdict: Verdict, *, hold: timedelta, at: datetime, keep: timedelta) -> Alert: ...


class WindowAlerts:
    """Knows how far each rule has come. Works on a copy; only what was read is shared with the original."""

    def __init__(self, catalog: Catalog, reader: SeriesReader, alerts: Iterable[Alert]) -> None:
        self._catalog = catalog
        self._cache = ColumnCache(reader)
        self._learnt: Learnt = {}
        self._judged: dict[str, Judged] = {}
        for alert in alerts:
            known = self._judged.get(alert.rule)
            if alert.evaluated_to and not alert.period and (known is None or known.end < alert.evaluated_to):
                self._judged[alert.rule] = Judged(alert.evaluated_to, alert.spec)

    def copy(self) -> WindowAlerts:
        """The same, to be stepped on."""
        other = WindowAlerts(self._catalog, self._cache.reader, ())
        other._cache, other._learnt, other._judged = self._cache, self._learnt, dict(self._judged)
        return other

    def step(
        self, alerts: dict[AlertId, Alert], now: datetime, progress: Mapping[str, HowFar], advance: Advance
    ) -> list[Transition]:
        """Step every alert through all windows since the last time, each at its end, and before that through the newest
        one anew where late events changed it. Returns the corrections; `advance` notes the other transitions."""
        plans = [
            plan
            for rule in self._catalog.rules.values()
            if isinstance(rule, WindowRule)
            and (plan := plan_of(self._catalog, rule, self._judged.get(rule.name), progress, now))
        ]
        _hand_out(alerts, plans)
        found: list[Transition] = []
        under_way = plans
        while under_way:
            parts = [plan.next_part() for plan in under_way]
            columns = self._read(under_way, parts)
            for plan, part in zip(under_way, parts, strict=True):
                found += self._take(plan, part, columns, now, advance)
            under_way = [plan for plan in under_way if plan.to_judge]
        for plan in plans:
            alerts |= {alert.identity: alert for alert in _filed(plan)}
        return found

    def _read(self, plans: list[Plan], parts: list[Part]) -> dict[Place, Columns]:
        """What all of them look at: one query per KPI, grain and `by`."""
        wanted: dict[Place, Wanted] = {}
        to: dict[Place, datetime] = {}
        for plan, part in zip(plans, parts, strict=True):
            for place in plan.places:
                wanted.setdefault(place, Wanted()).add(part.wanted)
                to[place] = max(to.get(place, plan.complete_to), plan.complete_to)
        return {
            place: self._cache.read(place, one, self._catalog.kpi(place[0]).calendar, to[place])
            for place, one in wanted.items()
        }

    def _take(
        self, plan: Plan, part: Part, columns: Mapping[Place, Columns], now: datetime, advance: Advance
    ) -> list[Transition]:
        rule, places = plan.rule, plan.places
        kpi, own = self._catalog.kpi(rule.kpi), columns[places[0]]
        windows = WindowColumns(
            rule,
            kpi,
            own,
            columns[places[1]] if rule.min_volume else None,
            starts=part.past,
            accumulates=self._catalog.accumulates(kpi),
            first_event=plan.first_event,
            learnt=self._learnt,
        )
        for key in own.keys:
            if key not in plan.alerts:
                series = tuple(zip(rule.by, key, strict=True))
                plan.alerts[key] = Alert(rule.name, rule.kpi, series, severity=rule.severity)
        found: list[Transition] = []
        seen = plan.newest
        if plan.newest:
            found = _judge_again(plan, plan.newest, own, windows)
            plan.newest = None
        for start in part.to_judge:
            seen = start
            _judge(plan, start, own, windows, advance)
        if seen and own.keys:
            end = window_end(rule.grain, seen, plan.calendar)
            self._judged[rule.name] = Judged(end, plan.spec, now, windows.values(seen), windows.volumes(seen))
        return found


def _hand_out(alerts: Mapping[AlertId, Alert], plans: list[Plan]) -> None:
    """Give each plan the alerts of its rule; those that are not active take over its severity."""
    known = {plan.rule.name: plan for plan in plans}
    for alert in alerts.values():
        plan = known.get(alert.rule)
        if plan is None or alert.kpi != plan.rule.kpi or tuple(name for name, _ in alert.series) != plan.rule.by:
            continue
        mine = alert.active or alert.severity == plan.rule.severity
        key = tuple(value for _, value in alert.series)
        plan.alerts[key] = alert if mine else replace(alert, severity=plan.rule.severity)


def _filed(plan: Plan) -> list[Alert]:
    """The rule's alerts as they are now. One at least knows how far it has come, whatever happened."""
    moved = plan.before is None or plan.before.end < plan.complete_to
    keys = plan.touched or (set(list(plan.alerts)[:1]) if moved else set())
    for key in keys:
        plan.alerts[key] = replace(plan.alerts[key], evaluated_to=plan.complete_to, spec=plan.spec)
    return list(plan.alerts.values())


def _judge(plan: Plan, start: datetime, own: Columns, windows: WindowColumns, advance: Advance) -> None:
    """Step every alert of the rule through one window that was not seen yet."""
    values = windows.values(start)
    if values is None:
        return
    end = window_end(plan.rule.grain, start, plan.calendar)
    suspects = np.flatnonzero(windows.may_breach(start)).tolist()
    for number in sorted({*suspects, *_numbers(own, (key for key, alert in plan.alerts.items() if alert.active))}):
        key = own.keys[number]
        before = plan.alerts[key]
        verdict = windows.verdict(number, start, firing=before.state == "firing")
        after = advance(before, verdict, hold=plan.rule.hold, at=end, keep=plan.rule.keep)
        if after is not before:
            after = remembering(after, before, end)
            plan.alerts[key] = _with_gap(after, verdict, windows)
            plan.touched.add(key)


def _judge_again(plan: Plan, start: datetime, own: Columns, windows: WindowColumns) -> list[Transition]:
    """Step alerts through the newest window anew, where it is not what it was."""
    values = windows.values(start)
    if values is None:
        return []
    end = window_end(plan.rule.grain, start, plan.calendar)
    differs = _differs(own, values, plan.before.values if plan.before else None)
    volumes = windows.volumes(start)
    if volumes is not None:
        differs |= _differs(own, volumes, plan.before.volumes if plan.before else None)
    held = (
        key for key, alert in plan.alerts.items() if alert.active or dict(alert.prior).get("end") == end.isoformat()
    )
    suspects = {*np.flatnonzero(windows.may_breach(start)).tolist(), *_numbers(own, held)}
    found: list[Transition] = []
    for number in sorted(suspects & set(np.flatnonzero(differs).tolist())):
        key = own.keys[number]
        before = plan.alerts[key]
        verdict = windows.verdict(number, start, firing=rewound(before, end).state == "firing")
        verdict = replace(verdict, reason=_reason(plan, number, verdict))
        after = corrected(before, verdict.breached, end=end, hold=plan.rule.hold, keep=plan.rule.keep)
        if after is not before:
            after = replace(after, value=verdict.value, reason=verdict.reason)
            found.append(Transition(after, before.state, end, verdict.inputs)) if after.state != before.state else None
        elif before.active and verdict.breached is not None and before.value != verdict.value:
            after = replace(before, value=verdict.value, reason=verdict.reason)
        if after is not before:
            plan.alerts[key] = _with_gap(after, verdict, windows)
            plan.touched.add(key)
    return found


def _reason(plan: Plan, number: int, verdict: Verdict) -> str:
    """`corrected by late events, was 3: 12 is within bounds`."""
    values = plan.before.values if plan.before else None
    was = None if values is None or number >= len(values) or np.isnan(values[number]) else float(values[number])
    known = f", was {format_value(was)}" if was is not None and was != verdict.value else ""
    return f"corrected by late events{known}: {verdict.reason}"


def _differs(own: Columns, values: NDArray[np.float64], before: NDArray[np.float64] | None) -> NDArray[np.bool_]:
    """What is another value than it was, or of a series that was not known."""
    if before is None:
        return np.ones(len(values), dtype=np.bool_)
    known = own.padded(before)
    found: NDArray[np.bool_] = (values != known) & ~(np.isnan(values) & np.isnan(known))
    found[len(before) :] = True
    return found


def _numbers(own: Columns, keys: Iterable[SeriesKey]) -> list[int]:
    return [number for key in keys if (number := own.number(key)) is not None]


def _with_gap(alert: Alert, verdict: Verdict, windows: WindowColumns) -> Alert:
    if verdict.breached is None:
        return alert
    return replace(alert, gap=gap_of(verdict.inputs, accumulates=windows.accumulates) if alert.active else None)
