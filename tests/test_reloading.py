"""KPI files that change while a process runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from onpace.config.catalog import Catalog
from onpace.config.errors import StoreUnavailable
from onpace.config.loader import load_catalog
from onpace.config.settings import Settings
from onpace.deploy import reloading
from onpace.deploy.reloading import Adopt, LiveCatalog

FILE = """version: 1
events:
  order.placed: {properties: {amount: {type: number}}}
kpis:
  - {name: orders, type: simple, event: order.placed, agg: count, direction: higher_is_better, role: leading}
"""
MORE = f"""{FILE}  - name: revenue
    type: simple
    event: order.placed
    agg: sum
    value: amount
    direction: higher_is_better
    role: lagging
"""

VISITS = """version: 1
events:
  site.visited: {}
"""


class Scene:
    """A folder of KPI files, followed."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "shop.yaml"
        self.file.write_text(FILE)
        self.registry = CollectorRegistry()
        self.live = LiveCatalog(Settings(kpis=folder), load_catalog(folder), self.registry)
        self.adopted: list[list[str]] = []
        self.failures = 0

    async def adopt(self, catalog: Catalog) -> None:
        """Note it; fail as often as told."""
        if self.failures:
            self.failures -= 1
            raise StoreUnavailable("away")
        self.adopted.append(list(catalog.kpis))

    def good(self) -> float | None:
        """What the metric says."""
        return self.registry.get_sample_value("onpace_config_last_reload_successful")


async def until(condition: Callable[[], object]) -> None:
    """Wait for the follower."""
    while not condition():
        await asyncio.sleep(0.005)


def played(folder: Path, monkeypatch: pytest.MonkeyPatch, play: Callable[[Scene], Awaitable[None]]) -> None:
    """Follow the folder at once instead of every second, for as long as the play goes on."""
    monkeypatch.setattr(reloading, "LOOK_SECONDS", 0.01)
    scene = Scene(folder)

    async def run() -> None:
        following = asyncio.ensure_future(scene.live.follow(scene.adopt))
        try:
            await asyncio.wait_for(play(scene), 20)
        finally:
            following.cancel()

    asyncio.run(run())


def test_changed_files_are_taken_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also a file that is new, and one that is gone; an untouched folder is left alone."""

    async def play(scene: Scene) -> None:
        await asyncio.sleep(0.1)
        scene.file.touch()
        await asyncio.sleep(0.1)
        assert scene.adopted == []
        scene.file.write_text(MORE)
        await until(lambda: scene.adopted == [["orders", "revenue"]])
        (tmp_path / "more.yml").write_text(VISITS)
        await until(lambda: len(scene.adopted) == 2)
        scene.file.write_text(FILE)
        await until(lambda: scene.adopted[-1] == ["orders"])
        assert list(scene.live.current.kpis) == ["orders"]

    played(tmp_path, monkeypatch, play)


def test_a_change_while_the_process_starts_is_not_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files were read long before anybody looks at them again."""

    async def play(scene: Scene) -> None:
        await until(lambda: scene.adopted == [["orders", "revenue"]])

    real = LiveCatalog.follow

    async def late(self: LiveCatalog, *adopters: Adopt) -> None:
        (tmp_path / "shop.yaml").write_text(MORE)
        await real(self, *adopters)

    monkeypatch.setattr(LiveCatalog, "follow", late)
    played(tmp_path, monkeypatch, play)


def test_broken_files_leave_the_old_ones_in_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The metric says so, the log names file and line; once mended they are taken up."""

    async def play(scene: Scene) -> None:
        scene.file.write_text(MORE.replace("agg: sum", "agg: summ"))
        await until(lambda: scene.good() == 0)
        assert list(scene.live.current.kpis) == ["orders"]
        scene.file.unlink()
        await asyncio.sleep(0.1)
        assert scene.adopted == []
        scene.file.write_text(MORE)
        await until(lambda: scene.adopted == [["orders", "revenue"]] and scene.good() == 1)

    played(tmp_path, monkeypatch, play)
    assert "shop.yaml:9" in "".join(capfd.readouterr())


def test_a_store_that_is_away_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files count as taken up when everyone has them."""
    monkeypatch.setattr(reloading, "RETRY_SECONDS", 0.01)

    async def play(scene: Scene) -> None:
        scene.failures = 2
        scene.file.write_text(MORE)
        await until(lambda: scene.adopted == [["orders", "revenue"]])

    played(tmp_path, monkeypatch, play)
