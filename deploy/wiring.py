"""The composition root's parts: each function wires one thing from settings."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from importlib.metadata import version as installed
from time import monotonic
from uuid import uuid4
from zoneinfo import ZoneInfo

import structlog
from prometheus_client import CollectorRegistry

from onpace.alerts.alert_log import ClickHouseAlertLog
from onpace.alerts.collector import KpiCollector
from onpace.alerts.engine import Engine
from onpace.alerts.evaluation import Evaluation
from onpace.alerts.evidence import Evidence
from onpace.alerts.explaining import Explainer, Question
from onpace.alerts.history import ClickHouseHistory, ClickHouseOutbox
from onpace.alerts.judging import LOOK_AGAIN
from onpace.alerts.metrics import EngineMetrics
from onpace.alerts.notifiers import Dispatcher
from onpace.alerts.report_log import ClickHouseReportLog
from onpace.alerts.report_text import ReportText
from onpace.alerts.reporter import Reporter
from onpace.alerts.scorecard import Scorecard, Selection
from onpace.alerts.scorecard_reading import ScorecardReader
from onpace.alerts.senders import Sender, senders_for
from onpace.alerts.silence_store import ClickHouseSilences
from onpace.alerts.staleness import Patience
from onpace.alerts.terms import Terms
from onpace.alerts.why import Explanation
from onpace.config.calendar import Calendar, Grain, Period, period_containing
from onpace.config.catalog import Catalog
from onpace.config.errors import OnPaceError
from onpace.config.scorecard_reports import ScorecardReport
from onpace.config.settings import Settings
from onpace.deploy.stores import now
from onpace.ingest.deadletters import DeadLetter
from onpace.ingest.producer import EventProducer
from onpace.ingest.topics import topic_id
from onpace.processors.clickhouse import ClickHouse
from onpace.processors.metrics import ProcessorMetrics
from onpace.processors.processor import Processor
from onpace.processors.reader import Reader
from onpace.processors.rebuild import Rebuilder
from onpace.processors.reports import Reports
from onpace.processors.worker import Worker
from onpace.processors.writer import StoreWriter

__all__ = ["AlertPart", "dead_letter_topic", "version", "worker_of"]

log = structlog.get_logger(__name__)

LOOKS = 6
"""Every so many evaluations at least what was read up to the same W is read again, for late events."""

SHOWN_FOR = timedelta(seconds=10)
"""So old may be what a stand-by shows."""

DeadLetterTopic = Callable[[Sequence[DeadLetter]], None]


def version() -> str:
    """The installed version."""
    return installed("onpace")


def worker_of(
    settings: Settings,
    catalog: Catalog,
    store: ClickHouse,
    registry: CollectorRegistry,
    *,
    dead_letters: DeadLetterTopic,
    live: bool,
) -> Worker:
    """A Faust worker over a store. Call it inside a running event loop."""
    kafka = settings.kafka
    metrics = ProcessorMetrics(registry)
    writer = StoreWriter(store, kafka.topic, _crash_point(os.environ.get("ONPACE_CRASH_AT")))
    rebuilder = Rebuilder(store, catalog, kafka.topic, settings.processor, now)
    return Worker(
        processor=Processor(catalog, writer, settings.processor, metrics),
        writer=writer,
        kafka=kafka,
        settings=settings.processor,
        metrics=metrics,
        clock=now,
        identity=lambda: topic_id(kafka, kafka.topic),
        dead_letters=dead_letters,
        rebuilder=rebuilder if settings.processor.backfill else None,
        live=live,
    )


def dead_letter_topic(
    producer: EventProducer, pause: timedelta = timedelta(seconds=30), clock: Callable[[], float] = monotonic
) -> DeadLetterTopic:
    """Publishes dead letters through a producer of the dead-letter topic; raises OnPaceError when it refuses.

    A topic that failed is left alone for `pause`: flushes must not wait for it again and again. `clock`: in seconds.
    """
    failed: OnPaceError | None = None
    until = 0.0

    def publish(letters: Sequence[DeadLetter]) -> None:
        nonlocal failed, until
        if failed is not None and clock() < until:
            raise failed.with_traceback(None)
        try:
            for letter in letters:
                key, value, headers = letter.to_kafka()
                producer.send_raw(value, key=key, headers=headers)
            producer.flush(10)
        except OnPaceError as exc:
            failed, until = exc, clock() + pause.total_seconds()
            raise
        failed = None

    return publish


def _crash_point(place: str | None) -> Callable[[str], None]:
    """For fault tests: `events:3` ends the process, as a kill would, after the third write of that table."""
    if not place:
        return lambda _: None
    table, _, times = place.partition(":")
    left = [int(times or 1)]

    def crash(step: str) -> None:
        if step == table:
            left[0] -= 1
            if left[0] == 0:
                os._exit(137)

    return crash


def dashboard_url(settings: Settings) -> str | None:
    """What messages link to unless the KPI says otherwise: by default the status page, where its address is known."""
    web = settings.web
    if settings.engine.dashboard_url or web.host in ("0.0.0.0", "::") or not web.port:
        return settings.engine.dashboard_url
    return f"http://{f'[{web.host}]' if ':' in web.host else web.host}:{web.port}/"


class AlertPart:
    """The alert engine with its reader, history and notifiers. It stands by until its first `turn` that it leads."""

    def __init__(self, settings: Settings, catalog: Catalog, store: ClickHouse, registry: CollectorRegistry) -> None:
        self._settings = settings.engine
        self._store = store
        self._dashboard_url = dashboard_url(settings)
        self._metrics = EngineMetrics(registry, version())
        self._terms = Terms(store, f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}")
        self._lost: int | None = None
        """The election after which another engine took over, although this one had won it."""
        self._shown: Evaluation | None = None
        self.standing_by = True
        self._changing = threading.Lock()
        """Held while another engine takes the place of `engine`: a catalog may come while this process is elected."""
        self.changed = asyncio.Event()
        """Set when there is something to evaluate at once."""
        self.catalog = catalog
        self.dispatcher = self._new_dispatcher()
        self.reader, self.engine = self._new_engine()
        registry.register(KpiCollector(lambda: self.catalog, lambda: self.engine.latest))

    def turn(self, won: int | None) -> None:
        """Evaluate, if this process has `won` an election and nobody has taken over since; else stand by.

        Raises StoreUnavailable, and may then be repeated.
        """
        if won is not None and not self.standing_by and not self._terms.holds():
            self._lost = won
            log.warning("another engine has taken over: this one stands by", engine=self._terms.holder())
        if won is None or won == self._lost:
            self.stand_by()
            return
        if self.standing_by:
            self._take_over()
        self.engine.evaluate(now(), notify=True)

    def _take_over(self) -> None:
        """Go on where the last engine stopped: what is known of the past is in the store."""
        with self._changing:
            self._terms.begin(now())
            self.reader, self.engine = self._new_engine()
            self.dispatcher.start()
            self.standing_by = False
            self._metrics.leader.set(1)

    def stand_by(self) -> None:
        """Notify nobody and expose nothing of the KPIs. What was not delivered stays in the outbox."""
        with self._changing:
            if self.standing_by:
                return
            self.dispatcher.stop(1.0)
            self.dispatcher = self._new_dispatcher()
            self.reader, self.engine = self._new_engine()
            self.standing_by = True
            self._metrics.leader.set(0)

    def shown(self) -> Evaluation | None:
        """The latest evaluation; on a stand-by what it would find, seconds old at most. Raises StoreUnavailable."""
        if not self.standing_by:
            return self.engine.latest
        if self._shown is None or now() - self._shown.now > SHOWN_FOR:
            _, engine = self._new_engine()
            self._shown = engine.preview(now())
        return self._shown

    def adopt(self, catalog: Catalog) -> None:
        """Judge other KPIs and rules from the next evaluation on. Raises StoreUnavailable, and may then be repeated."""
        with self._changing:
            if catalog.channels != self.catalog.channels:
                self.dispatcher.serve(self._senders(catalog))
            self.catalog = catalog
            self._shown = None
            self.reader, self.engine = self._new_engine()

    def _senders(self, catalog: Catalog) -> dict[str, Sender]:
        return senders_for(catalog.channels.values(), private_webhooks=self._settings.private_webhooks)

    def _new_dispatcher(self) -> Dispatcher:
        return Dispatcher(
            self._senders(self.catalog),
            ClickHouseOutbox(self._store),
            clock=now,
            resend=self._settings.resend,
            metrics=self._metrics,
        )

    def _new_engine(self) -> tuple[Reader, Engine]:
        """What an engine knows of the past is in the store."""
        reader = Reader(self._store, self.catalog)
        engine = Engine(
            self.catalog,
            reader,
            ClickHouseHistory(self._store),
            self.dispatcher,
            metrics=self._metrics,
            patience=Patience(self._settings.behind, self._settings.pipeline_hold),
            look_again=min(LOOK_AGAIN, LOOKS * self._settings.interval),
            reports=Reports(self._store, self.catalog),
            evidence=Evidence(self.catalog, reader, self._dashboard_url),
            silences=ClickHouseSilences(self._store),
            told_before=self.dispatcher.told,
            reporter=self._reporter(reader),
        )
        return reader, engine

    def _reporter(self, reader: Reader) -> Reporter:
        history, made = ClickHouseHistory(self._store), ClickHouseReportLog(self._store)
        return Reporter(self.catalog, reader, history, made, self.dispatcher)

    def report(self, plan: ScorecardReport, found: Evaluation) -> ReportText:
        """What the report would say as of the evaluation. Raises StoreUnavailable."""
        return self._reporter(Reader(self._store, self.catalog)).write(plan, found)

    def preview(self) -> Evaluation:
        """What an evaluation would find now; or, where the input was declared finished, as of its end."""
        ends = [source.input_end for source in self.reader.sources().values() if source.input_end]
        if ends:
            return self.engine.preview(self.replay_now(max(ends)), live=False)
        return self.engine.preview(now())

    def explain(self, rule: str, at: datetime | None, series: Mapping[str, str], period: Period | None) -> Explanation:
        """Why the rule's alerts were as they were at `at`, by default now; read beside whatever the engine does.

        Raises OnPaceError for what the rule does not have or is yet to come, and StoreUnavailable.
        """
        reader = Reader(self._store, self.catalog)
        ends = [source.input_end for source in reader.sources().values() if source.input_end]
        present = self.replay_now(max(ends)) if ends else now()
        explainer = Explainer(
            self.catalog,
            reader,
            ClickHouseHistory(self._store),
            ClickHouseAlertLog(self._store),
            patience=Patience(self._settings.behind, self._settings.pipeline_hold),
            reports=Reports(self._store, self.catalog),
            silences=ClickHouseSilences(self._store),
        )
        return explainer.explain(Question(rule, at or present, present, series, period, live=not ends))

    def scorecard(
        self, found: Evaluation, period: Period | None, owner: str | None = None, team: str | None = None
    ) -> Scorecard:
        """The scorecard of a period, by default the quarter of the evaluation; read beside whatever the engine does.

        Raises OnPaceError for a period that has not begun, and StoreUnavailable.
        """
        calendar = next((kpi.calendar for kpi in self.catalog.kpis.values()), Calendar(ZoneInfo("UTC")))
        chosen = period or period_containing(Grain.QUARTER, found.now, calendar)
        if chosen.bounds(calendar)[0] >= found.now:
            at = f"{found.now:%Y-%m-%d %H:%M} UTC"
            raise OnPaceError(f"{chosen} begins after {at}, as of which it is: choose an earlier one")
        statuses = [*ClickHouseHistory(self._store).statuses(), *found.statuses]
        reader = ScorecardReader(self.catalog, Reader(self._store, self.catalog), statuses)
        return reader.read(Selection(chosen, found.now, owner, team, calendar))

    def replay_now(self, last_event: datetime) -> datetime:
        """What time it is at the end of a replay: the furthest watermark, which is just past the last event.

        That of weeks and longer windows is not just past it: by then another month may have begun.
        """
        self.reader.sources()
        found = [(self.catalog.base_grain(kpi), self.reader.watermark(name)) for name, kpi in self.catalog.kpis.items()]
        marks = [mark for grain, mark in found if mark and grain.rank <= Grain.DAY.rank]
        return max(marks, default=last_event)
