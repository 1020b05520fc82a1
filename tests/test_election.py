"""Two alert engines over one store and one Kafka: one evaluates, the other stands by and takes over."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from brokers import some_kafka
from prometheus_client import CollectorRegistry
from stacks import Running, Server, free_port, output, until
from watchdogs import Receiver

from onpace.alerts.engine import Engine
from onpace.alerts.terms import Terms
from onpace.config.loader import load_catalog
from onpace.config.settings import KafkaSettings, Settings
from onpace.deploy.stores import prepare_store
from onpace.deploy.wiring import AlertPart
from onpace.processors.clickhouse import ClickHouse
from onpace.processors.faust_apps import faust_app
from onpace.processors.reader import Reader

FILE = """version: 1
events:
  order.placed: {{properties: {{amount: {{type: number}}}}}}
kpis:
  - name: orders
    type: simple
    event: order.placed
    agg: count
    grain: 1min
    direction: higher_is_better
    role: leading
    targets: [{{every: year, value: 10}}]
channels:
  - {{name: hook, type: webhook, url: "{hook}"}}
rules:
  - {{name: orders-low, kpi: orders, when: threshold, below: 0, notify: [hook]}}
"""
TOLD = [("pipeline-behind", "firing")]


@pytest.fixture
def part(store: ClickHouse, tmp_path: Path) -> Callable[[], AlertPart]:
    """Makes engines, as processes of their own would have them, over one store."""
    (tmp_path / "kpis.yaml").write_text(FILE.format(hook="http://127.0.0.1:9/"))
    catalog = load_catalog(tmp_path)
    prepare_store(store, catalog, "events")
    return lambda: AlertPart(Settings(), catalog, store, CollectorRegistry())


def test_an_engine_stands_by_until_it_is_elected(part: Callable[[], AlertPart]) -> None:
    """It shows what it would find, and exposes nothing."""
    engine = part()
    engine.turn(None)
    assert engine.standing_by
    assert engine.engine.latest is None
    shown = engine.shown()
    assert shown is not None
    assert [status.kpi for status in shown.statuses] == ["orders"]
    engine.turn(1)
    assert not engine.standing_by
    assert engine.shown() is engine.engine.latest is not None
    engine.turn(None)
    assert engine.standing_by
    assert engine.engine.latest is None


def test_who_slept_through_an_election_does_not_evaluate(part: Callable[[], AlertPart], store: ClickHouse) -> None:
    """Whatever it believes: the other one's term is later. Only if it wins another one it is back."""
    first, second = part(), part()
    first.turn(1)
    second.turn(2)
    before = second.engine.latest
    first.turn(1)
    assert first.standing_by
    first.turn(1)
    assert first.standing_by
    second.turn(2)
    assert not second.standing_by
    assert second.engine.latest is not before
    first.turn(3)
    assert not first.standing_by
    assert [term for (term,) in store.query("SELECT term FROM engine_terms ORDER BY term")] == [1, 2, 3]
    second.stand_by()
    first.stand_by()


def test_a_catalog_that_comes_while_it_is_elected_is_the_one_that_counts(part: Callable[[], AlertPart]) -> None:
    """It takes over with the old one in another thread, and must not put that back."""
    engine = part()
    fewer = replace(engine.catalog, rules={})
    adopting = threading.Thread(target=engine.adopt, args=(fewer,))
    make = engine._new_engine

    def slow() -> tuple[Reader, Engine]:
        made = make()
        if not adopting.ident:
            adopting.start()
            adopting.join(0.3)
        return made

    engine._new_engine = slow  # type: ignore[method-assign]
    engine.turn(1)
    adopting.join()
    assert engine.engine._catalog is engine.catalog is fewer
    engine.stand_by()


def test_of_two_equal_terms_one_holds(store: ClickHouse) -> None:
    """Two that took over at once both read the same, and go by it."""
    store.insert("engine_terms", ["term", "engine", "begun"], [(7, "a", 0), (7, "b", 0)])
    assert [Terms(store, name).holds() for name in "ab"] == [False, True]


def told_by(receiver: Receiver) -> list[tuple[str, str]]:
    """Rule and state of every message."""
    return [(body["labels"]["alertname"], body["state"]) for body in receiver.bodies("/hook")]


class Engines:
    """`onpace alert` twice, over the same store and broker."""

    def __init__(self, folder: Path, hook: str, held: ExitStack) -> None:
        self._folder = folder
        (folder / "kpis").mkdir()
        (folder / "kpis" / "shop.yaml").write_text(FILE.format(hook=hook))
        event = {"specversion": "1.0", "id": "1", "source": "/t", "type": "order.placed", "data": {"amount": 1}}
        (folder / "events.jsonl").write_text(json.dumps(event | {"time": "2026-03-01T12:00:00Z"}) + "\n")
        replay = ("--kpis", folder / "kpis", "--replay", folder / "events.jsonl", "--exit")
        output("up", "--data", folder / "data", *replay, ONPACE_KAFKA__EMBEDDED_PORT=0)
        self._server = Server(folder / "data")
        held.callback(self._server.kill)
        self._kafka = held.enter_context(some_kafka(folder / "kafka")).address
        self.ports = [free_port(), free_port()]
        self.running: list[Running] = []
        for number in range(2):
            self.running.append(self.run(number))
            held.callback(lambda number: self.running[number].end(), number)
            until(lambda: self.leaders() == [0], "the first one leads", 60)

    def run(self, number: int) -> Running:
        """One of them, in a folder that nothing can be written to by accident."""
        running = Running(
            *("alert", "--kpis", self._folder / "kpis", "--port", self.ports[number]),
            cwd=self._folder,
            ONPACE_CLICKHOUSE__URL=self._server.url,
            ONPACE_KAFKA__BOOTSTRAP=self._kafka,
            ONPACE_KAFKA__SESSION_TIMEOUT="6s",
            ONPACE_ENGINE__INTERVAL="1s",
            ONPACE_ENGINE__BEHIND="1s",
            ONPACE_ENGINE__PIPELINE_HOLD="1s",
        )
        running.until_printed('"serving"', 60)
        return running

    def metric(self, number: int, name: str) -> list[float]:
        """The values of a metric, by whatever labels."""
        try:
            text = httpx.get(f"http://127.0.0.1:{self.ports[number]}/metrics", timeout=2).text
        except httpx.HTTPError:
            return []
        return [float(value) for value in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE)]

    def leaders(self) -> list[int]:
        """Which of them say that they lead."""
        return [number for number in range(2) if self.metric(number, "onpace_engine_leader") == [1.0]]

    def status(self, number: int) -> dict[str, Any]:
        """What its status page shows."""
        found: dict[str, Any] = httpx.get(f"http://127.0.0.1:{self.ports[number]}/api/status", timeout=10).json()
        return found


@pytest.fixture
def told() -> Iterator[Receiver]:
    """Who is told."""
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.mark.e2e
def test_a_stand_by_takes_over_and_nobody_is_told_twice(tmp_path: Path, told: Receiver) -> None:
    """One is stopped as a whole machine would be, another killed, the last one told to end."""
    with ExitStack() as held:
        engines = Engines(tmp_path, f"{told.url}/hook", held)
        until(lambda: told_by(told) == TOLD, "the leader tells what there is to tell")
        assert [engines.metric(number, "onpace_kpi_stale") for number in range(2)] == [[1.0], []]
        assert [engines.status(number)["standing_by"] for number in range(2)] == [False, True]
        assert [engines.status(number)["kpis"][0]["kpi"] for number in range(2)] == ["orders", "orders"]

        engines.running[0].process.send_signal(signal.SIGSTOP)
        until(lambda: engines.leaders() == [1], "the second one leads", 60)
        engines.running[0].process.send_signal(signal.SIGCONT)
        until(lambda: engines.metric(0, "onpace_engine_leader") == [0.0], "the first one finds that it is over")
        assert engines.leaders() == [1]

        engines.running[1].process.kill()
        until(lambda: engines.leaders() == [0], "the first one leads again", 60)
        engines.running[1] = engines.run(1)
        assert engines.running[0].stop() == 0
        until(lambda: engines.leaders() == [1], "the second one leads again", 60)
        until(lambda: engines.metric(1, "onpace_kpi_stale") == [1.0], "it has evaluated")
        assert told_by(told) == TOLD
        assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "events.jsonl", "kafka", "kpis"]


def test_faust_makes_no_folder_and_logs_under_its_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which is quiet: what matters of it is said once, by us."""
    monkeypatch.chdir(tmp_path)
    app = faust_app(KafkaSettings(bootstrap="127.0.0.1:9"), "group")
    asyncio.run(app.on_first_start())
    assert list(tmp_path.iterdir()) == []
    assert app.logger.name.startswith("faust.")
