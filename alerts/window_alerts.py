"""Steps the alerts of rules that go window by window: all rules of an evaluation, all their series, few queries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime

from onpace.alerts.columns import ColumnCache, Columns, Place, Wanted
from onpace.alerts.evaluation import Transition
from onpace.alerts.reading import SeriesReader
from onpace.alerts.states import Alert, AlertId
from onpace.alerts.window_columns import Learnt, WindowColumns
from onpace.alerts.window_plans import HowFar, Judged, Part, Plan, plan_of
from onpace.alerts.window_steps import Advance, judge, judge_again
from onpace.config.calendar import window_end
from onpace.config.catalog import Catalog
from onpace.config.rules import WindowRule

__all__ = ["WindowAlerts"]


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
                plan.others.add(key)
        found: list[Transition] = []
        seen = plan.newest
        if plan.newest:
            found = judge_again(plan, plan.newest, own, windows)
            plan.newest = None
        for start in part.to_judge:
            seen = start
            judge(plan, start, own, windows, advance)
        if seen and own.keys:
            end = window_end(rule.grain, seen, plan.calendar)
            self._judged[rule.name] = Judged(end, plan.spec, now, windows.values(seen), windows.volumes(seen))
        return found


def _hand_out(alerts: Mapping[AlertId, Alert], plans: list[Plan]) -> None:
    """Give each plan the alerts of its rule; those that are not active take over its severity."""
    known = {plan.rule.name: plan for plan in plans}
    for (name, kpi, series, period), alert in alerts.items():
        plan = known.get(name)
        if plan is None or period or kpi != plan.rule.kpi or tuple([dim for dim, _ in series]) != plan.rule.by:
            continue
        key = tuple([value for _, value in series])
        plan.alerts[key] = alert
        if not alert.active and alert.severity != plan.rule.severity:
            plan.alerts[key] = replace(alert, severity=plan.rule.severity)
            plan.others.add(key)


def _filed(plan: Plan) -> list[Alert]:
    """Those of the rule's alerts that are new or not what they were. One at least knows how far it has come."""
    moved = plan.before is None or plan.before.end < plan.complete_to
    keys = plan.touched or (set(list(plan.alerts)[:1]) if moved else set())
    for key in keys:
        plan.alerts[key] = replace(plan.alerts[key], evaluated_to=plan.complete_to, spec=plan.spec)
    named = keys | plan.others
    return [alert for key, alert in plan.alerts.items() if key in named]  # in an order that is always the same
