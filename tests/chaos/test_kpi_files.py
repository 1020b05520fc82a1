"""KPI files that change while events flow: no restart, no wrong number, and complete only when it is."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from brokers import TestKafka

from chaos.arena import CATALOG, Arena
from chaos.recount import KPIS, read_file
from chaos.watcher import Watcher
from onpace.processors.clickhouse import ClickHouse

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]

WHOLE = (CATALOG / "shop.yaml").read_text(encoding="utf-8")
ADDED = {"revenue", "mean_score", "buyers", "order_p90", "last_score"}
REDEFINED = {"orders", "conversion"}
GONE_FOR_A_WHILE = {"lowest", "first_amount"}
STEADY = [kpi for kpi in KPIS if kpi.name not in ADDED | REDEFINED | GONE_FOR_A_WHILE]
IN_FORCE = "KPI files taken up"


def without(*names: str, text: str = WHOLE) -> str:
    """The catalog without some KPIs."""
    lines = text.splitlines(keepends=True)
    return "".join(line for line in lines if not any(f"{{name: {name}," in line for name in names))


BEFORE = without(*ADDED).replace("filter: region != 'test', ", "")
STAGES = [
    without("buyers", *GONE_FOR_A_WHILE, text=WHOLE),  # some added, one defined otherwise, some gone
    WHOLE.replace("agg: count_distinct", "agg: count_dstinct"),  # broken
    without("orders", "conversion"),
    WHOLE,
]


@pytest.fixture
def arena(tmp_path: Path, kafka: TestKafka, seed: int) -> Iterator[Arena]:
    """A world with a KPI folder of its own; the watcher reads what does not change."""
    with Arena(tmp_path, kafka, seed, kpis=STEADY) as made:
        made.catalog = tmp_path / "kpis"
        made.catalog.mkdir()
        (made.catalog / "shop.yaml").write_text(BEFORE)
        yield made


def put(arena: Arena, text: str) -> None:
    """Put other KPI files in place, and return when every processor has them in force, or has refused them."""
    counts = {name: _answers(running.text) for name, running in arena.running.items()}
    (arena.catalog / "shop.yaml").write_text(text)
    arena.faults["KPI files changed"] += 1
    for name, running in arena.running.items():
        if running.process.poll() is None:
            arena.until(lambda r=running, n=name: _answers(r.text) > counts[n], f"{name} answered to the files", 60)


def _answers(text: str) -> int:
    return text.count(IN_FORCE) + text.count("KPI files are broken")


def metric(arena: Arena, processor: str, name: str) -> float:
    """A gauge of a processor."""
    found = re.search(r"url=(http://\S+)", arena.running[processor].text)
    found = found or re.search(r'"url": "(http://[^"]+)"', arena.running[processor].text)
    assert found is not None, arena.running[processor].text
    [value] = re.findall(rf"^{name} (\S+)$", httpx.get(f"{found[1].rstrip('/')}/metrics").text, re.MULTILINE)
    return float(value)


def rebuilt(store: ClickHouse) -> bool:
    """Whether the history of every KPI is whole."""
    return store.query("SELECT count() FROM kpi_rebuilds") == [(0,)]


def test_kpi_files_may_change_while_events_flow(arena: Arena, times: Callable[[int, int], int]) -> None:
    """KPIs added, removed and brought back, defined otherwise, a broken file, a kill in between; then all is counted
    again."""
    store = arena.store()
    arena.feed.send(times(20_000, 4_000))
    changing = Watcher(arena.server.url, [kpi for kpi in KPIS if kpi not in STEADY])
    with arena.feed.under_load(rate=150):
        for name in ("one", "two"):
            arena.start_processor(name)
            arena.until_working(name)
        for number in range(times(4, 1)):
            for text in STAGES:
                put(arena, text)
                good = 0 if "dstinct" in text else 1
                assert metric(arena, "one", "onpace_config_last_reload_successful") == good
                if good and number % 2:
                    arena.kill("two")
                    arena.start_processor("two")
                    arena.until_working("two")
        changing.start()  # from here on what is complete must be right
        arena.until(lambda: rebuilt(store), "everything rebuilt", 240)
    arena.drained()
    arena.until(lambda: rebuilt(store), "everything rebuilt", 240)
    arena.kpis = KPIS
    arena.audit("9 KPI files change while running")
    changing.stop()
    lines = read_file(arena.feed.file)
    assert changing.polls
    assert not changing.problems
    assert not changing.unexplained(lines.events, arena._arrived(lines))
