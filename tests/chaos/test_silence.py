"""One event type falls silent, then the processor, then the engine: nobody hears of a KPI, and of each cause once."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from brokers import TestKafka
from stacks import Running, Server, until

from chaos.listeners import Receiver, Told, Watchdogs
from onpace.config.settings import ClickHouseSettings, KafkaSettings
from onpace.ingest.bulk import BulkProducer
from onpace.ingest.embedded_broker import free_port
from onpace.ingest.topics import ensure_topics
from onpace.processors.clickhouse import ClickHouse

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

TYPES = ("order.placed", "checkout.started", "visit.counted")
SILENT = TYPES[0]
ORDINARY = "type: simple, agg: count, grain: 1min, direction: higher_is_better, role: leading"

FILE = """version: 1
defaults: {{lateness: 0s}}
channels:
  - {{name: hook, type: webhook, url: "{hook}"}}
{pager}
events:
  order.placed: {{expected_every: 20s, properties: {{n: {{type: integer}}}}}}
  checkout.started: {{expected_every: 20s, properties: {{n: {{type: integer}}}}}}
  visit.counted: {{properties: {{n: {{type: integer}}}}}}
kpis:
  - {{name: orders, event: order.placed, {ordinary}, targets: [{{every: day, value: 1000000000}}]}}
  - {{name: checkouts, event: checkout.started, {ordinary}}}
  - {{name: visits, event: visit.counted, {ordinary}}}
rules:
  # fire before the silence begins, and must go on
  - {{name: orders-off-pace, kpi: orders, when: pace, at: off_track, notify: {notify}}}
  - {{name: checkouts-few, kpi: checkouts, when: threshold, below: 1000000, grain: minute, notify: {notify}}}
  # would fire if silence were taken for a bad KPI, or end what fires
  - {{name: orders-none, kpi: orders, when: threshold, below: 1, grain: minute, notify: {notify}}}
  - {{name: orders-some, kpi: orders, when: threshold, above: 0, grain: minute, notify: {notify}}}
  - {{name: checkouts-none, kpi: checkouts, when: threshold, below: 1, grain: minute, notify: {notify}}}
  - {{name: visits-none, kpi: visits, when: threshold, below: 1, grain: minute, notify: {notify}}}
  - {{name: visits-silent, kpi: visits, when: no_data, after: 10s, notify: {notify}}}
"""
BEFORE = [("checkouts-few", "checkouts"), ("orders-off-pace", "orders"), ("orders-some", "orders")]


class Shop:
    """Sends an event a second of every type that speaks, from a thread; the last minutes at once when it starts."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka
        self._speaking = set(TYPES)
        self._over = threading.Event()
        self._number = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def silence(self, name: str) -> None:
        """This type says nothing more."""
        self._speaking.discard(name)

    def close(self) -> None:
        """Nothing says anything more."""
        self._over.set()
        self._thread.join(30)

    def _run(self) -> None:
        with BulkProducer(self._kafka) as producer:
            now = datetime.now(UTC)
            for second in range(300, 0, -1):
                self._tick(producer, now - timedelta(seconds=second))
            while not self._over.wait(1):
                self._tick(producer, datetime.now(UTC))
                producer.flush()

    def _tick(self, producer: BulkProducer, at: datetime) -> None:
        for name in TYPES:
            if name in self._speaking:
                self._number += 1
                event = {"specversion": "1.0", "id": f"e{self._number}", "source": "/shop", "type": name}
                event |= {"time": at.isoformat(), "data": {"n": 1}}
                producer.send_raw(json.dumps(event).encode(), key=f"e{self._number}".encode())


class World:
    """Processor, engine, a shop that sends, and all who are told."""

    def __init__(self, folder: Path, kafka: TestKafka, held: ExitStack) -> None:
        self.receiver = Receiver()
        held.callback(self.receiver.close)
        self.ports = {"onpace-process": free_port(), "onpace-alert": free_port()}
        missing = Watchdogs.missing()
        if missing:
            print(f"\nNOT WATCHED FROM OUTSIDE: {' and '.join(missing)} not installed")  # noqa: T201
        self.dogs = None if missing else held.enter_context(Watchdogs(folder / "dogs", self.receiver.url, self.ports))
        self._server = Server(folder / "server")
        held.callback(self._server.kill)
        self.settings = KafkaSettings(
            bootstrap=kafka.address, topic="silence", dead_letter_topic="silence.dlq", group="silence", partitions=2
        )
        ensure_topics(self.settings)
        self._folder = folder
        self._write_catalog()
        self._running: list[Running] = []
        held.callback(self._end)
        self.processor = self._run("process")
        self.engine = self._run("alert")
        self.shop = Shop(self.settings)
        held.callback(self.shop.close)
        self.store = ClickHouse.connect(ClickHouseSettings(url=self._server.url), folder)
        held.callback(self.store.close)

    def _write_catalog(self) -> None:
        pager = f'  - {{name: pager, type: alertmanager, url: "{self.dogs.alertmanager}"}}' if self.dogs else ""
        notify = "[hook, pager]" if self.dogs else "[hook]"
        text = FILE.format(hook=f"{self.receiver.url}/hook", pager=pager, notify=notify, ordinary=ORDINARY)
        (self._folder / "kpis").mkdir()
        (self._folder / "kpis" / "shop.yaml").write_text(text)

    def _run(self, part: str) -> Running:
        kafka = self.settings
        common = ("--data", self._folder / part, "--kpis", self._folder / "kpis")
        running = Running(
            *(part, *common, "--port", self.ports[f"onpace-{part}"]),
            ONPACE_KAFKA__BOOTSTRAP=kafka.bootstrap,
            ONPACE_KAFKA__TOPIC=kafka.topic,
            ONPACE_KAFKA__DEAD_LETTER_TOPIC=kafka.dead_letter_topic,
            ONPACE_KAFKA__GROUP=kafka.group,
            ONPACE_KAFKA__SESSION_TIMEOUT="6s",
            ONPACE_CLICKHOUSE__URL=self._server.url,
            ONPACE_ENGINE__INTERVAL="1s",
            ONPACE_ENGINE__BEHIND="30s",
            ONPACE_ENGINE__PIPELINE_HOLD="5s",
            ONPACE_ENGINE__RESEND="10s",
        )
        self._running.append(running)
        running.until_printed('"serving"', 120)
        return running

    def _end(self) -> None:
        for running in self._running:
            running.end()

    def restart_engine(self) -> None:
        """A new process over the same store."""
        self.engine = self._run("alert")

    def complete_to(self) -> datetime:
        """The start of the newest complete window of a type that goes on."""
        [(at,)] = self.store.query("SELECT max(window_start) FROM kpi_visits_minute_total WHERE complete")
        assert isinstance(at, datetime)
        return at.replace(tzinfo=UTC)

    def evaluated(self) -> float:
        """When the engine last evaluated, in seconds since 1970."""
        try:
            text = httpx.get(f"http://127.0.0.1:{self.ports['onpace-alert']}/metrics").text
        except httpx.HTTPError:
            return 0.0
        found = re.search(r"^onpace_engine_heartbeat_timestamp_seconds (\S+)", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def until_evaluated(self, later: timedelta) -> None:
        """Return once the engine has evaluated so much later than now."""
        due = (datetime.now(UTC) + later).timestamp()
        until(lambda: self.evaluated() > due, f"evaluated {later} later", later.total_seconds() + 120)

    def firing(self) -> list[tuple[str, str]]:
        """The alerts that fire by the store, which is what a new engine begins with."""
        rows = self.store.query("SELECT rule, kpi FROM alerts FINAL WHERE state = 'firing' AND kpi != '' ORDER BY ALL")
        return [(rule, kpi) for rule, kpi in rows]


@pytest.fixture
def world(tmp_path: Path, kafka: TestKafka) -> Iterator[World]:
    """All of it, ended in the reverse order."""
    with ExitStack() as held:
        yield World(tmp_path, kafka, held)


def test_silence_is_told_as_what_it_is_and_once(world: World) -> None:
    """A source, then the processor, then the engine fall silent; three alerts fire before, and still do afterwards."""
    engine, outside = world.receiver.from_engine, world.receiver.from_alertmanager
    before = sorted((*alert, "firing") for alert in BEFORE)
    until(lambda: sorted(engine()) == before, "three alerts fire", 180)
    if world.dogs:
        world.dogs.watch()
        until(lambda: sorted(outside()) == before, "Alertmanager tells of them", 60)
    paged = before.copy()

    def then_paged(alert: Told) -> None:
        paged.append(alert)
        if world.dogs:
            until(lambda: alert in outside(), f"Alertmanager tells of {alert}", 120)
            assert sorted(outside()) == sorted(paged)

    world.shop.silence(SILENT)
    silent = ("pipeline-stale", SILENT, "firing")
    until(lambda: silent in engine(), "the silent source is told of", 120)
    then_paged(silent)
    begun = datetime.now(UTC)
    until(lambda: world.complete_to() >= begun, "a whole minute of silence is over", 240)
    assert sorted(engine()) == sorted([*before, silent])

    world.processor.process.kill()
    behind = ("pipeline-behind", "", "firing")
    until(lambda: behind in engine(), "the pipeline is told of", 120)
    then_paged(("OnPaceProcessorGone", "", "firing"))
    world.until_evaluated(timedelta(seconds=75))
    assert sorted(engine()) == sorted([*before, silent, behind])

    world.engine.process.kill()
    world.engine.process.wait()
    then_paged(("OnPaceEngineGone", "", "firing"))
    assert world.firing() == BEFORE

    world.restart_engine()
    world.until_evaluated(timedelta(seconds=10))
    assert sorted(engine()) == sorted([*before, silent, behind])
    assert world.firing() == BEFORE
    if world.dogs:  # what the engine's return ends is its own absence, and nothing else
        then_paged(("OnPaceEngineGone", "", "resolved"))
    print(f"\nengine told {engine()}\nAlertmanager told {outside()}")  # noqa: T201
