"""The alert engine: one evaluation reads, judges, steps, stores and then notifies, in this order.

Nothing is kept in memory until it is stored, so an evaluation that fails is simply done again. So are
messages that could not be kept.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from onpace.alerts.alerting import PIPELINE_RULES, AlertBook, Look
from onpace.alerts.covering import covering, in_order
from onpace.alerts.evaluation import Evaluation
from onpace.alerts.evidence import Evidence
from onpace.alerts.guardrails import with_guardrails
from onpace.alerts.history import StatusStore
from onpace.alerts.judging import LOOK_AGAIN, Progress, StatusBoard, read_progress
from onpace.alerts.metrics import EngineMetrics
from onpace.alerts.notifications import Notification, compose, with_note
from onpace.alerts.overdue import ReportSource, late_reports, with_reasons
from onpace.alerts.reading import SeriesReader
from onpace.alerts.recalling import ToldBefore, channels_told, recalled
from onpace.alerts.reporter import Reporter
from onpace.alerts.rules import is_active
from onpace.alerts.silence_store import SilenceReader
from onpace.alerts.silences import Quiet, Telling, settled, unsettled
from onpace.alerts.staleness import Patience, stale_sources
from onpace.alerts.states import Alert, AlertId, is_news
from onpace.alerts.status import KpiStatus
from onpace.alerts.telling import held_back
from onpace.alerts.versions import TargetHistory
from onpace.config.catalog import Catalog
from onpace.config.errors import StoreUnavailable
from onpace.config.kpi import Status
from onpace.config.kpi_entities import Kpi

__all__ = ["Engine", "Notifier"]

log = structlog.get_logger(__name__)


class Notifier(Protocol):
    """Takes messages and delivers them in its own time."""

    def submit(self, notifications: Sequence[Notification]) -> None:
        """Keep these until they are delivered. The same again is harmless. Raises StoreUnavailable."""

    def refresh(self, firing: Sequence[Notification], now: datetime) -> None:
        """These still fire; channels that forget are told again."""


class Engine:
    """Evaluates a catalog. One at a time: `evaluate` must not be called from two threads at once."""

    def __init__(
        self,
        catalog: Catalog,
        reader: SeriesReader,
        history: StatusStore,
        notifier: Notifier,
        *,
        clock: Callable[[], float] = time.monotonic,
        metrics: EngineMetrics | None = None,
        patience: Patience | None = None,
        look_again: timedelta = LOOK_AGAIN,
        reports: ReportSource | None = None,
        evidence: Evidence | None = None,
        silences: SilenceReader | None = None,
        told_before: ToldBefore | None = None,
        reporter: Reporter | None = None,
    ) -> None:
        self._catalog = catalog
        self._reader = reader
        self._history = history
        self._notifier = notifier
        self._clock = clock
        self._metrics = metrics
        self._patience = patience or Patience()
        self._look_again = look_again
        self._reports = reports
        self._evidence = evidence
        self._silences = silences
        self._told_before = told_before
        self._reporter = reporter
        self._targets: TargetHistory | None = None
        self._board: StatusBoard | None = None
        self._book: AlertBook | None = None
        self.latest: Evaluation | None = None
        """What the last evaluation found."""

    def evaluate(self, now: datetime, *, notify: bool) -> Evaluation:
        """Everything as of `now`. Safe to repeat; raises StoreUnavailable, and then nothing has changed.

        With `notify` False it is a replay: `now` is the watermark (nothing later counts), silence means nothing, nobody
        is told.
        """
        begun = self._clock()
        self.record_targets(now)
        board, book = self._state()
        found, stepped = self._find(now, live=notify)
        # before anybody is told: whoever takes over after a kill sends the same messages, with the same keys
        self._store(board, book, found)
        self._book, self.latest = stepped, found
        if notify:
            _log_steps(found)
            self.latest = self._tell(stepped, found)
            self._notifier.refresh(self._firing(self.latest), now)
        if self._metrics:
            self._metrics.heartbeat.set(now.timestamp())
            self._metrics.evaluation.observe(self._clock() - begun)
        if notify and self._reporter:
            self._reporter.send_due(self.latest)
        return self.latest

    def record_targets(self, now: datetime) -> None:
        """Keep what the targets are from `now` on. Safe to repeat. Raises StoreUnavailable.

        `evaluate` does it as well; before a replay it says that they were in force for all that is yet to come.
        """
        if new := self._recorded().unseen(self._catalog, now):
            self._history.save_targets(new)
            self._recorded().learn(new)

    def preview(self, now: datetime, *, live: bool = True) -> Evaluation:
        """What `evaluate` would find, without storing it or telling anybody: all it needs is to read. `live` False is a
        replay."""
        return self._find(now, live=live)[0]

    def _find(self, now: datetime, *, live: bool) -> tuple[Evaluation, AlertBook]:
        board, book = self._state()
        look = self._look(board, now, live=live)
        stepped = book.copy()
        stepped.step_all(look)
        found = self._found(board, look, stepped)
        return replace(found, quiet=self._quiet(now, stepped)), stepped

    def _quiet(self, now: datetime, stepped: AlertBook) -> Quiet:
        """Nothing of what is over is read, but for the silences that held something back until just now."""
        if self._silences is None:
            return Quiet.at(now, self._catalog.silences, ())
        held, since = unsettled(stepped.alerts.values())
        added = self._silences.current(now, held)
        known = self._silences.acknowledgements(since) if since else []
        return Quiet.at(now, (*self._catalog.silences, *added), known)

    def _state(self) -> tuple[StatusBoard, AlertBook]:
        if self._board is None or self._book is None:
            known = self._history.statuses()
            self._board = StatusBoard(self._catalog, self._reader, known, self._recorded(), look_again=self._look_again)
            self._book = AlertBook(self._catalog, self._reader, self._board, self._alerts())
        return self._board, self._book

    def _alerts(self) -> list[Alert]:
        alerts = self._history.alerts()
        if self._told_before is None:
            return alerts
        channels = self._catalog.channels
        return recalled(alerts, self._told_before, channels=lambda _: channels, is_manager=self._is_manager)

    def _recorded(self) -> TargetHistory:
        if self._targets is None:
            self._targets = TargetHistory(self._history.targets())
        return self._targets

    def _look(self, board: StatusBoard, now: datetime, *, live: bool) -> Look:
        sources = self._reader.sources()
        stale = stale_sources(self._catalog, sources, now, self._patience) if live else {}
        progress = {name: self._progress(kpi, now, stale) for name, kpi in self._catalog.kpis.items()}
        judged = [s for name, kpi in self._catalog.kpis.items() for s in board.judge(kpi, progress[name], now)]
        late = late_reports(self._catalog, self._reports.overdue(now)) if self._reports else {}
        statuses = with_guardrails(self._catalog, with_reasons(judged, late), board.known)
        return Look(now, progress, statuses, sources, stale, live, self._patience, late, board.forecasts)

    def _progress(self, kpi: Kpi, now: datetime, stale: Mapping[str, str]) -> Progress:
        reasons = [f"{name}: {stale[name]}" for name in self._catalog.event_types(kpi) if name in stale]
        reasons += [f"{name} is being rebuilt from the archive" for name in self._reader.rebuilding(kpi.name)]
        return read_progress(self._catalog, self._reader, kpi, now=now, stale="; ".join(reasons))

    def _found(self, board: StatusBoard, look: Look, stepped: AlertBook) -> Evaluation:
        judged = {(status.kpi, status.series, status.grain) for status in look.statuses}
        older = [
            status
            for kpi in self._catalog.kpis.values()
            for status in board.latest(kpi)
            if (status.kpi, status.series, status.grain) not in judged
        ]
        readings = {
            name: board.read(kpi, look.progress[name]) for name, kpi in self._catalog.kpis.items() if not kpi.targets
        }
        return Evaluation(
            now=look.now,
            statuses=(*look.statuses, *older),
            readings=readings,
            alerts=tuple(stepped.alerts.values()),
            transitions=tuple(stepped.transitions),
            stale=look.stale,
            late=look.late,
            forecasts=look.forecasts,
        )

    def _store(self, board: StatusBoard, book: AlertBook, evaluation: Evaluation) -> None:
        changed = [status for status in evaluation.statuses if not _same(status, board.known(status.key))]
        before: list[Status | None] = [
            known.status if (known := board.known(status.key)) else None for status in changed
        ]
        alerts = [alert for alert in evaluation.alerts if is_news(alert, book.alerts.get(alert.identity))]
        if changed:
            self._history.save_statuses(changed, before)
        if alerts or evaluation.transitions:
            self._history.save_alerts(alerts, evaluation.transitions, evaluation.now)
        board.learn(changed)

    def _tell(self, stepped: AlertBook, found: Evaluation) -> Evaluation:
        """Tell where alerts stand now, not about every step on the way, and keep that they were told."""
        messages: list[Notification] = []
        known: dict[AlertId, Alert] = {}
        held = held_back(self._catalog, stepped.alerts.values(), lambda alert: self._may_speak(alert, found))
        told_managers = [replace(one, heard=one.notified) for one in stepped.alerts.values() if one.state == "firing"]
        crowded = held_back(self._catalog, told_managers, lambda alert: self._may_notify(alert, found.now))
        found = replace(found, held=Counter(rule for rule, *_ in held))
        after = dict(stepped.alerts)
        kinds = {name: rule.when for name, rule in self._catalog.rules.items()}
        for alert in in_order((alert for alert in after.values() if not settled(alert)), kinds):
            telling = found.quiet.telling(
                alert,
                in_hours=self._may_notify(alert, found.now),
                covered=alert.identity in held or covering(alert, after.values(), self._direct) is not None,
                crowded=alert.identity in crowded,
            )
            for channel in self._hearing(telling, alert):
                note = "" if self._is_manager(channel) else telling.note
                messages.append(with_note(self._message(telling.alert, channel, found), note))
            if telling.alert != alert:
                after[alert.identity] = known[alert.identity] = telling.alert
        self._hand_over(messages, list(known.values()), found.now)
        stepped.alerts |= known
        return replace(found, alerts=tuple(stepped.alerts.values()))

    def _hand_over(self, messages: Sequence[Notification], told: Sequence[Alert], now: datetime) -> None:
        try:
            if messages:
                self._notifier.submit(messages)
            if told:
                self._history.save_alerts(told, (), now)
        except (
            StoreUnavailable
        ):  # who has heard by now stands in the outbox: the next evaluation begins as after a kill
            self._book = None
            raise

    def _hearing(self, telling: Telling, alert: Alert) -> list[str]:
        """The channels that are told; `alert` knows what they heard before."""
        if not (telling.managers or telling.people):
            return []
        names = self._channels(alert)
        return [name for name in names if (telling.managers if self._is_manager(name) else telling.people)]

    def _is_manager(self, channel: str) -> bool:
        known = self._catalog.channels.get(channel)
        return known is not None and known.type == "alertmanager"

    def _may_speak(self, alert: Alert, found: Evaluation) -> bool:
        return self._may_notify(alert, found.now) and not found.quiet.reason(alert)

    def _may_notify(self, alert: Alert, now: datetime) -> bool:
        rule = self._catalog.rules.get(alert.rule)
        return rule is None or is_active(rule.active, now, self._catalog.kpi(rule.kpi).zone)

    def _channels(self, alert: Alert) -> tuple[str, ...]:
        """The channels that its rule names now; of an end hear also those that were told that it fires."""
        named = self._named(alert)
        if alert.state == "firing" or self._told_before is None:
            return named
        return tuple(dict.fromkeys([*named, *channels_told(alert, self._told_before, self._catalog.channels)]))

    def _named(self, alert: Alert) -> tuple[str, ...]:
        if alert.rule not in PIPELINE_RULES:
            rule = self._catalog.rules.get(alert.rule)
            return rule.notify if rule else ()
        silent = {event for _, event in alert.series}  # none: the whole pipeline is behind
        rules = self._catalog.rules.values()
        fed = [rule for rule in rules if silent <= set(self._catalog.event_types(self._catalog.kpi(rule.kpi)))]
        return tuple(dict.fromkeys(channel for rule in fed for channel in rule.notify))

    def _direct(self, alert: Alert) -> frozenset[str]:
        return frozenset(name for name in self._channels(alert) if not self._is_manager(name))

    def _firing(self, evaluation: Evaluation) -> list[Notification]:
        """What is told to Alertmanagers again."""
        told = [alert for alert in evaluation.alerts if alert.state == "firing" and alert.notified == "firing"]
        return [
            self._message(alert, channel, evaluation)
            for alert in told
            for channel in self._channels(alert)
            if self._is_manager(channel)
        ]

    def _message(self, alert: Alert, channel: str, evaluation: Evaluation) -> Notification:
        """With its evidence, which is read only here: for what somebody hears of."""
        evidence = self._evidence.about(alert, evaluation) if self._evidence else None
        return compose(alert, channel, self._catalog, evaluation, evidence)


def _same(status: KpiStatus, known: KpiStatus | None) -> bool:
    """Whether nothing but the moment of judging differs."""
    return known is not None and replace(status, evaluated_at=known.evaluated_at) == known


def _log_steps(evaluation: Evaluation) -> None:
    """Where an alert has come to is worth a line, if it fires or has fired; the steps on the way are in the store."""
    for one in {step.alert.identity: step for step in evaluation.transitions}.values():
        say = log.info if "firing" in (one.before, one.alert.state) else log.debug
        say(
            "alert", rule=one.alert.rule, kpi=one.alert.kpi, series=dict(one.alert.series), period=one.alert.period,
            before=one.before, state=one.alert.state, at=one.at.isoformat(), reason=one.alert.reason,
        )  # fmt: skip
