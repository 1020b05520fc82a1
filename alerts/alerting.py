"""Steps every alert through what its rule says, window by window or at W, and remembers where each one is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from onpace.alerts.evaluation import Transition
from onpace.alerts.forecasts import Forecast
from onpace.alerts.judgement import Due, target_in_force
from onpace.alerts.judging import Progress, StatusBoard, StatusKey
from onpace.alerts.overdue import Late, overdue_verdict
from onpace.alerts.reading import SeriesReader, SourceTimes
from onpace.alerts.rules import Verdict, no_data_verdict, period_verdict, severity_of
from onpace.alerts.staleness import Patience, behind, behind_reason, known_until, last_seen
from onpace.alerts.states import GONE, Alert, AlertId, Outcome, concluded, step
from onpace.alerts.status import KpiStatus, Labels, target_series
from onpace.alerts.window_alerts import WindowAlerts
from onpace.config.calendar import Grain, Period, window_start
from onpace.config.catalog import Catalog
from onpace.config.kpi_entities import REPORT
from onpace.config.rules import (
    AttainmentRule,
    ForecastRule,
    NoDataRule,
    PaceRule,
    PeriodRule,
    WindowRule,
)

__all__ = ["BEHIND_RULE", "PIPELINE_RULES", "STALE_RULE", "AlertBook", "Look"]

STALE_RULE = "pipeline-stale"
"""The built-in rule that stands in for all alerts of a silent source; one alert an event type."""

BEHIND_RULE = "pipeline-behind"
"""The built-in rule that stands in for everything while the pipeline is behind; one alert, however many sources."""

PIPELINE_RULES = (STALE_RULE, BEHIND_RULE)

_NOT_KEPT = timedelta()

SAMPLES = 4
"""At so many earlier points of its `for` a pace rule looks back when it was not evaluated all that time."""


@dataclass(frozen=True, slots=True)
class Look:
    """What one evaluation has in front of it."""

    now: datetime
    progress: Mapping[str, Progress]
    statuses: Sequence[KpiStatus]
    sources: Mapping[str, SourceTimes]
    stale: Mapping[str, str]
    live: bool
    """False in a replay: then the clock is the watermark and silence means nothing."""
    patience: Patience
    late: Late = field(default_factory=dict)
    """KPIs with overdue reports."""
    forecasts: Mapping[StatusKey, Forecast] = field(default_factory=dict)


class AlertBook:
    """All alerts by identity. Works on a copy; the engine takes the copy over once it is stored."""

    def __init__(self, catalog: Catalog, reader: SeriesReader, board: StatusBoard, alerts: Iterable[Alert]) -> None:
        self._catalog = catalog
        self._reader = reader
        self._board = board
        self.alerts: dict[AlertId, Alert] = {alert.identity: alert for alert in alerts}
        self.transitions: list[Transition] = []
        self._windows = WindowAlerts(catalog, reader, self.alerts.values())

    def copy(self) -> AlertBook:
        """The same alerts, to be stepped on."""
        other = AlertBook(self._catalog, self._reader, self._board, ())
        other.alerts, other._windows = dict(self.alerts), self._windows.copy()
        return other

    def step_all(self, look: Look) -> None:
        """Step every alert of every rule. A KPI with a stale source is left alone, but for its no_data rules."""
        self._end_orphans(look.now)
        self.transitions += self._windows.step(self.alerts, look.now, look.progress, self._advance)
        for rule in self._catalog.rules.values():
            match rule:
                case PaceRule() | AttainmentRule() | ForecastRule():
                    self._periods(rule, look)
                case NoDataRule() if look.live:
                    self._no_data(rule, look)
        if look.live:
            self._pipeline(look)

    def _alert(self, alert: Alert) -> Alert:
        known = self.alerts.get(alert.identity, alert)
        return known if known.active else replace(known, severity=alert.severity)

    def _advance(
        self, alert: Alert, verdict: Verdict, *, hold: timedelta, at: datetime, keep: timedelta = _NOT_KEPT
    ) -> Alert:
        after = step(alert, breached=verdict.breached, hold=hold, now=at, keep=keep)
        if after.state != alert.state:
            after = replace(after, value=verdict.value, reason=verdict.reason)
            self.transitions.append(Transition(after, alert.state, at, verdict.inputs))
        elif alert.active and verdict.breached is not None:
            kept = f" (fires until {after.good_since + keep:%Y-%m-%d %H:%M} UTC)" if after.good_since else ""
            after = replace(after, value=verdict.value, reason=verdict.reason + kept)
        return after

    def _periods(self, rule: PeriodRule, look: Look) -> None:
        for status in look.statuses:
            if not self._looks_at(rule, status.kpi, status.series, status.grain) or status.as_of is None:
                continue
            forecast = look.forecasts.get(status.key)
            alert = self._period_alert(rule, status, forecast)
            if status.stale:  # looked at, with no verdict: what happened meanwhile does not count towards `for`
                self.alerts[alert.identity] = replace(alert, evaluated_to=look.now)
                continue
            if alert.evaluated_to is None and status.final:
                continue
            unit = self._catalog.kpi(rule.kpi).unit
            verdict = period_verdict(rule, status, firing=alert.state == "firing", forecast=forecast, unit=unit)
            if status.final and status.status in ("met", "missed"):
                self._conclude(alert, status.status, verdict, status.as_of, look.now)
                continue
            if verdict.breached:
                alert = self._catch_up(rule, alert, status, look)
            keep = _NOT_KEPT if status.final else rule.keep
            before, alert = alert, self._advance(alert, verdict, hold=rule.hold, at=status.as_of, keep=keep)
            if alert.state != before.state and before.evaluated_to == status.as_of:  # late events: another message
                alert = replace(alert, corrections=alert.corrections + 1)
            if status.final and alert.state == "inactive":
                self.alerts.pop(alert.identity, None)
            else:
                self.alerts[alert.identity] = replace(alert, evaluated_to=status.as_of)

    def _period_alert(self, rule: PeriodRule, status: KpiStatus, forecast: Forecast | None) -> Alert:
        """Until it fires, whether a forecast may page is a matter of today."""
        severity = severity_of(rule, forecast)
        fresh = Alert(rule.name, rule.kpi, status.series, status.period, severity=severity)
        known = self.alerts.get(fresh.identity, fresh)
        return known if known.state == "firing" or status.final else replace(known, severity=severity)

    def _conclude(self, alert: Alert, outcome: Outcome, verdict: Verdict, ended: datetime, now: datetime) -> None:
        """The period has ended; late events may turn its outcome later on."""
        value, reason = verdict.value, verdict.reason
        after = concluded(alert, outcome, value=value, reason=reason, ended=ended, now=now)
        if after.state != alert.state:
            self.transitions.append(Transition(after, alert.state, after.resolved_at or ended, verdict.inputs))
        self.alerts[alert.identity] = replace(after, evaluated_to=ended)

    def _catch_up(self, rule: PeriodRule, alert: Alert, status: KpiStatus, look: Look) -> Alert:
        """Look at earlier points within `for`, where nobody looked then: after a pause, or at the end of a replay."""
        kpi, as_of = self._catalog.kpi(rule.kpi), status.as_of
        seen = max(alert.evaluated_to or status.period_start, status.period_start)
        target = target_in_force(kpi.targets, Period.parse(status.period), status.series)
        if as_of is None or target is None or not timedelta() < rule.hold < as_of - seen:
            return alert
        progress, due = look.progress[rule.kpi], Due(target, Period.parse(status.period))
        earlier = [as_of - rule.hold * part / SAMPLES for part in range(SAMPLES, 0, -1)]
        grain = self._catalog.base_grain(kpi)
        instants = sorted({window_start(grain, at, kpi.calendar) for at in earlier})
        judgements = [
            self._board.judgement(kpi, due, replace(progress, as_of=at), at) for at in instants if seen < at < as_of
        ]
        for then, forecast in self._board.looks(judgements):
            verdict = period_verdict(rule, then, firing=alert.state == "firing", forecast=forecast, unit=kpi.unit)
            alert = self._advance(alert, verdict, hold=rule.hold, at=then.evaluated_at, keep=rule.keep)
        return alert

    def _looks_at(self, rule: PeriodRule, kpi: str, series: Labels, grain: Grain) -> bool:
        """Whether it is about targets like these: attainment is about the headline, the others about all of a KPI's."""
        if kpi != rule.kpi or not isinstance(rule, AttainmentRule):
            return kpi == rule.kpi
        headline = self._catalog.kpi(kpi).headline
        return headline is not None and (target_series(headline), headline.grain) == (series, grain)

    def _no_data(self, rule: NoDataRule, look: Look) -> None:
        kpi = self._catalog.kpi(rule.kpi)
        names = [name for name in self._catalog.event_types(kpi) if name != REPORT]
        late = look.late.get(rule.kpi, ())
        if late or not names:
            self._step_rule(rule, overdue_verdict(rule, late, look.now), look)
            return
        sources = {name: look.sources[name] for name in names if name in look.sources}
        if any(behind(source, look.now, look.patience) for source in sources.values()):
            return
        last = {name: last_seen(sources[name]) if name in sources else None for name in names}
        known = min((known_until(source, look.now) for source in sources.values()), default=look.now)
        self._step_rule(rule, no_data_verdict(rule, last, known, kpi.calendar), look)

    def _step_rule(self, rule: NoDataRule, verdict: Verdict, look: Look) -> None:
        alert = self._alert(Alert(rule.name, rule.kpi, severity=rule.severity))
        self.alerts[alert.identity] = self._advance(alert, verdict, hold=rule.hold, at=look.now, keep=rule.keep)

    def _pipeline(self, look: Look) -> None:
        """One alert for each silent source; while the pipeline is behind, one for that, and silence says nothing."""
        for name in self._catalog.events:
            source = look.sources.get(name)
            unread = source is not None and behind(source, look.now, look.patience)
            reason = look.stale.get(name, "events arrive again")
            verdict = Verdict(None if unread else name in look.stale, reason)
            self._step_pipeline(Alert(STALE_RULE, "", (("event_type", name),)), verdict, look)
        late = behind_reason(look.sources, look.now, look.patience)
        self._step_pipeline(Alert(BEHIND_RULE, ""), Verdict(bool(late), late or "it has caught up"), look)

    def _step_pipeline(self, alert: Alert, verdict: Verdict, look: Look) -> None:
        after = self._advance(self._alert(alert), verdict, hold=look.patience.hold, at=look.now)
        if after.state != "inactive":
            self.alerts[after.identity] = after

    def _end_orphans(self, now: datetime) -> None:
        for alert in list(self.alerts.values()):
            if alert.active and not self._has_rule(alert):
                verdict = Verdict(False, GONE, alert.value)
                self.alerts[alert.identity] = self._advance(alert, verdict, hold=timedelta(), at=now)

    def _has_rule(self, alert: Alert) -> bool:
        names = tuple(name for name, _ in alert.series)
        if alert.rule in PIPELINE_RULES:
            return all(name in self._catalog.events for _, name in alert.series)
        rule = self._catalog.rules.get(alert.rule)
        if rule is None or rule.kpi != alert.kpi or bool(alert.period) != isinstance(rule, PeriodRule):
            return False
        if isinstance(rule, PeriodRule):
            targets, period = self._catalog.kpi(rule.kpi).targets, Period.parse(alert.period)
            meant = self._looks_at(rule, alert.kpi, alert.series, period.grain)
            return meant and target_in_force(targets, period, alert.series) is not None
        return names == (rule.by if isinstance(rule, WindowRule) else ())
