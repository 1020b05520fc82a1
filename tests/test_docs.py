"""What README and docs say is run and compared, not trusted."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry
from pydantic import BaseModel, SecretStr
from stacks import Up, environment, until

from onpace.alerts.collector import KpiCollector
from onpace.alerts.metrics import EngineMetrics
from onpace.config.catalog import Catalog
from onpace.config.durations import format_duration
from onpace.config.loader import load_catalog
from onpace.config.settings import Settings
from onpace.deploy.demo import backfill_start
from onpace.deploy.reloading import LiveCatalog
from onpace.ingest.gateway import gateway_router
from onpace.processors.metrics import ProcessorMetrics

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
README, OPERATIONS, FORMAT = (
    (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/operations.md", "docs/kpi-format.md")
)

EVENTS_A_SECOND = 0.4
"""Less than the simulated shop makes in its quietest hours."""


def blocks(page: str, language: str) -> list[str]:
    """The code blocks of one language."""
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


def table(page: str, first: str) -> list[tuple[str, str]]:
    """The first two cells of every row whose first cell is code that begins like this."""
    rows = re.findall(rf"^\| `({first}\w+)` \| ([^|]*)\|", page, re.MULTILINE)
    return [(name, re.sub("[` ]", "", cell)) for name, cell in rows]


@pytest.mark.parametrize("page", [README, FORMAT], ids=["README", "kpi-format"])
def test_the_example_is_a_right_kpi_file(page: str, tmp_path: Path) -> None:
    """Every key of it."""
    example, *others = blocks(page, "yaml")
    (tmp_path / "shop.yaml").write_text(example)
    assert load_catalog(tmp_path, {"HOOK_URL": "http://localhost:9000"}).rules
    for other in others:
        (tmp_path / "shop.yaml").write_text(other)
        assert load_catalog(tmp_path, {}).kpis


def settings(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, str]]:
    """Environment variable and default of every setting."""
    for name, field in model.model_fields.items():
        value: Any = field.default
        if isinstance(value, BaseModel):
            yield from settings(type(value), f"{prefix}{name.upper()}__")
            continue
        if isinstance(value, timedelta):
            value = format_duration(value)
        hidden = value is None or (isinstance(value, SecretStr) and not value)
        yield prefix + name.upper(), "" if hidden else str(value)


def test_every_setting_is_documented_with_its_default() -> None:
    """And nothing that does not exist, in the order of the code."""
    assert table(OPERATIONS, "ONPACE_") == list(settings(Settings, "ONPACE_"))


def test_every_metric_is_documented_with_its_labels() -> None:
    """As the registries have them."""
    registry = CollectorRegistry()
    found: dict[str, str] = {}
    processor, engine = ProcessorMetrics(registry), EngineMetrics(registry, "1")
    gateway_router(None, Catalog, registry)  # type: ignore[arg-type]
    LiveCatalog(Settings(), Catalog(), registry)
    for metric in [*vars(processor).values(), *vars(engine).values(), *registry._names_to_collectors.values()]:
        suffix = "_total" if metric._type == "counter" else ""
        found[metric._name + suffix] = ",".join(metric._labelnames)
    for family in KpiCollector(Catalog, lambda: None).describe():
        found[family.name] = ",".join(family._labelnames)  # type: ignore[attr-defined]
    documented = {name: labels for name, labels in table(OPERATIONS, "onpace_") if name in found}
    assert documented == found
    assert {name for name, _ in table(OPERATIONS, "onpace_")} == set(found)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    """To a file, and to a heading in it where one is named."""
    for target in re.findall(r"\]\(([^)#:]*(?:#[^)]*)?)\)", page.read_text(encoding="utf-8")):
        file, _, anchor = target.partition("#")
        linked = page.parent / file if file else page
        assert linked.exists(), target
        headings = re.findall(r"^#+ (.*)$", linked.read_text(encoding="utf-8"), re.MULTILINE) if anchor else []
        assert not anchor or anchor in [heading.lower().replace("`", "").replace(" ", "-") for heading in headings], (
            target
        )


def test_the_make_targets_exist() -> None:
    """Those that the README names."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for name in re.findall(r"\bmake (\w+)", README):
        assert re.search(rf"^{name}:", makefile, re.MULTILINE), name


@dataclass(frozen=True)
class Tour:
    """A running stack, and the folder in which it was started."""

    folder: Path
    up: Up


def caught_up(up: Up) -> bool:
    """Whether the processor has taken the day so far, which the shop sends at once: much at night, little at dawn."""
    now = datetime.now(UTC)
    sent_by_now = EVENTS_A_SECOND * (now - backfill_start(now)).total_seconds()
    text = httpx.get(f"{up.address('metrics')}", timeout=10).text
    lags = [float(line.split()[-1]) for line in text.splitlines() if line.startswith("onpace_consumer_lag_events{")]
    taken = sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith("onpace_events_total{"))
    return taken > sent_by_now and bool(lags) and sum(lags) == 0


@pytest.fixture(scope="module")
def tour(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tour]:
    """The simulated shop, as `make up` starts it, with the README's example in `kpis/`."""
    folder = tmp_path_factory.mktemp("tour")
    (folder / "kpis").mkdir()
    (folder / "kpis" / "shop.yaml").write_text(blocks(README, "yaml")[0])
    up = Up(Path("onpace-data"), cwd=folder)
    try:
        up.until_ready()
        until(lambda: caught_up(up), "the shop's day so far processed", 120)
        yield Tour(folder, up)
    finally:
        assert up.stop() == 0


@pytest.mark.e2e
def test_the_readme_can_be_followed(tour: Tour) -> None:
    """Every command, in order, in one folder."""
    said = [shell(tour, block) for block in blocks(README, "sh") if "make up" not in block]
    status, sql, refused, letters, library, schema = said
    assert "Revenue [EUR]" in status
    assert "↳ Orders" in status
    assert re.search(r"\d\d:00:00Z +EU +\d", status)
    assert re.search(r"^value: +\d+", sql, re.MULTILINE)
    assert '"field":"data.amount","reason":"schema_violation"' in refused.replace(" ", "")
    assert re.search(r"events/\w{12}/\d/\d+ .*schema_violation", letters)
    assert "1 dead letters sent again" in letters
    assert "Every day sells" in status
    assert "revenue-off-pace: Revenue: fires when off track, for 15min" in status
    assert "6 KPIs over 6 events" in library
    assert "MRR at the begin of the month" in library
    assert "2 events, 4 KPIs, 1 rules, no problems" in schema
    count = "SELECT count() FROM events WHERE id = 'readme-1' AND duplicate = 0"
    command = ["curl", "-s", tour.up.address("SQL"), "--data-binary", count]
    until(lambda: subprocess.check_output(command).strip() == b"1", "the repaired event")


@pytest.mark.e2e
def test_the_python_example_sends_an_event(tour: Tour) -> None:
    """To the running stack's broker."""
    [python] = blocks(README, "python")
    names: dict[str, Any] = {}
    exec(python.replace("127.0.0.1:9092", tour.up.address("Kafka")), names)
    assert sum(names["producer"].offsets.values()) > 0


def shell(tour: Tour, block: str) -> str:
    """What a block prints, run against the addresses of this stack. Fails when a command fails."""
    web, sql = tour.up.address("status page"), tour.up.address("SQL")
    script = block.replace("http://127.0.0.1:8080", web).replace("http://127.0.0.1:8124", sql)
    script = re.sub(r"^\. \.venv/bin/activate$", "", script, flags=re.MULTILINE)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tour.folder,
        env={**environment(), "PATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
    return done.stdout
