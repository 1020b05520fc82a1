"""Sends reports when they are due: each once, over restarts, and at most a day late."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

import structlog

from onpace.alerts.evaluation import Evaluation
from onpace.alerts.history import StatusStore
from onpace.alerts.notifications import Notification
from onpace.alerts.reading import SeriesReader
from onpace.alerts.report_log import ReportLog, ReportRow, Told
from onpace.alerts.report_text import Fired, ReportText, ReportView, standings, write_report
from onpace.alerts.report_times import due_before, report_calendar, shown_period, time_told
from onpace.alerts.scorecard import Scorecard, Selection
from onpace.alerts.scorecard_reading import ScorecardReader
from onpace.config.catalog import Catalog
from onpace.config.errors import StoreUnavailable
from onpace.config.kpi_entities import Kpi
from onpace.config.scorecard_reports import ScorecardReport

__all__ = ["LATEST", "Reporter", "report_notifications"]

log = structlog.get_logger(__name__)

LATEST = timedelta(days=1)
"""A report that could not be made for longer after its time is left out: the next one tells more."""
OVERLAP = timedelta(days=1)
"""Alerts are dated by the end of their window: one may be recorded so long after the report that it belongs to."""


class Submits(Protocol):
    """Takes messages and delivers them in its own time."""

    def submit(self, notifications: Sequence[Notification]) -> None:
        """Keep these until they are delivered. Raises StoreUnavailable."""


class Reporter:
    """Makes the reports of a catalog. What was made is in the log, so a restart neither repeats nor forgets one."""

    def __init__(
        self, catalog: Catalog, reader: SeriesReader, history: StatusStore, reports: ReportLog, submits: Submits
    ) -> None:
        self._catalog = catalog
        self._reader = reader
        self._history = history
        self._log = reports
        self._submits = submits
        self._last: dict[str, ReportRow] = {}

    def send_due(self, found: Evaluation) -> None:
        """Send what has become due by the evaluation, and was not sent. Safe to repeat. Raises StoreUnavailable.

        Whatever else is wrong with one report is logged: neither the others nor the engine end with it.
        """
        for plan in self._catalog.reports.values():
            try:
                self._look(plan, found)
            except StoreUnavailable:
                raise
            except Exception:
                log.exception("report not made", report=plan.name)

    def write(self, plan: ScorecardReport, found: Evaluation) -> ReportText:
        """What the report would say now."""
        return write_report(self._view(plan, found.now, found))

    def _look(self, plan: ScorecardReport, found: Evaluation) -> None:
        due, last = due_before(plan, found.now), self._last.get(plan.name)
        if last is None or last.due < due:  # another engine may have been at it meanwhile
            last = self._log.last(plan.name)
        if last is None or last.schedule != plan.schedule:  # what was due before it was in the KPI files is not sent
            self._keep(ReportRow(plan.name, plan.schedule, due, "begun", found.now))
        elif due <= last.due:
            self._last[plan.name] = last
        elif found.now - due > LATEST:
            log.warning("report left out: it could not be made for a day", report=plan.name, due=due.isoformat())
            self._keep(ReportRow(plan.name, plan.schedule, due, "skipped", found.now))
        else:
            self._send(plan, due, found)

    def _send(self, plan: ScorecardReport, due: datetime, found: Evaluation) -> None:
        """Hand it over first and note it then: were the engine to die in between, the keys tell."""
        view = self._view(plan, due, found)
        messages = report_notifications(plan, write_report(view), due, found.now)
        known = self._log.submitted([one.key for one in messages])
        if fresh := [one for one in messages if one.key not in known]:
            self._submits.submit(fresh)
        told = tuple(_told(one) for one in view.fired)
        self._keep(ReportRow(plan.name, plan.schedule, due, "sent", found.now, standings(view.card), told))
        log.info("report sent", report=plan.name, due=due.isoformat(), channels=list(plan.notify))

    def _keep(self, row: ReportRow) -> None:
        self._log.save(row)
        self._last[row.report] = row

    def _view(self, plan: ScorecardReport, due: datetime, found: Evaluation) -> ReportView:
        card = self._card(plan, due, found)
        before = self._log.last(plan.name, sent=True)
        fired = self._fired(card, before, before.made_at if before else found.now - time_told(plan, due), found)
        stale = {name: reason for name in standings(card) if (reason := self._stale(self._catalog.kpi(name), found))}
        return ReportView(
            plan,
            card,
            ZoneInfo(plan.timezone),
            before.made_at if before else None,
            before.statuses if before else {},
            fired,
            stale,
        )

    def _card(self, plan: ScorecardReport, due: datetime, found: Evaluation) -> Scorecard:
        calendar = report_calendar(plan, self._catalog)
        statuses = [*self._history.statuses(), *found.statuses]
        selection = Selection(shown_period(plan, due, calendar), found.now, plan.owner, plan.team, calendar)
        return ScorecardReader(self._catalog, self._reader, statuses).read(selection)

    def _fired(self, card: Scorecard, before: ReportRow | None, since: datetime, found: Evaluation) -> list[Fired]:
        """What fired at the scorecard's KPIs and no report has told of, in order of time."""
        shown, told = standings(card), set(before.told) if before else set()
        earliest = since - OVERLAP if before else since
        firing = {(*one.identity, one.fired_at) for one in found.alerts if one.state == "firing"}
        return [
            replace(one, still=(one.rule, one.kpi, one.series, one.period, one.at) in firing)
            for one in self._log.fired(earliest)
            if one.kpi in shown and _told(one) not in told
        ]

    def _stale(self, kpi: Kpi, found: Evaluation) -> str:
        names = [name for name in self._catalog.event_types(kpi) if name in found.stale]
        return "; ".join(f"{name}: {found.stale[name]}" for name in names)


def _told(one: Fired) -> Told:
    return one.rule, one.kpi, json.dumps(dict(one.series), ensure_ascii=False), one.period, one.at.isoformat()


def report_notifications(plan: ScorecardReport, text: ReportText, due: datetime, now: datetime) -> list[Notification]:
    """The message for each channel; its key is that of the time at which the report was due."""
    return [
        Notification(
            key=hashlib.sha256("\x1f".join(["report", plan.name, due.isoformat(), channel]).encode()).hexdigest()[:32],
            channel=channel,
            state="report",
            labels={"report": plan.name, "service": "onpace"},
            annotations={
                "summary": text.title,
                "description": text.summary,
                "text": text.text,
                "markdown": text.markdown,
            },
            starts_at=due,
            ends_at=None,
            created_at=now,
        )
        for channel in dict.fromkeys(plan.notify)
    ]
