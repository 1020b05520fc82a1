"""KPI files that change while a process runs: taken up without a restart, or refused and the old ones kept."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog
from prometheus_client import CollectorRegistry, Gauge

from onpace.config.catalog import Catalog
from onpace.config.errors import BrokerUnavailable, OnPaceError, StoreUnavailable
from onpace.config.settings import Settings
from onpace.deploy.running import in_thread
from onpace.deploy.stores import catalog_of, now

__all__ = ["Adopt", "LiveCatalog"]

log = structlog.get_logger(__name__)

LOOK_SECONDS = 1.0
"""How often the folder is looked at. A change counts once it is the same twice: an editor may be half-way."""
RETRY_SECONDS = 2.0

Adopt = Callable[[Catalog], Awaitable[None]]
Fingerprint = tuple[tuple[str, int, int], ...]


class LiveCatalog:
    """The catalog in force, and its successors from the KPI folder.

    Its metrics are named as Prometheus names its own: whether the last reload was good, and when one last was.
    """

    def __init__(self, settings: Settings, catalog: Catalog, registry: CollectorRegistry) -> None:
        self.current = catalog
        self._settings = settings
        self._good = Gauge(
            "onpace_config_last_reload_successful",
            "1 while the KPI files in force are those in the folder; 0 while those there are broken.",
            registry=registry,
        )
        self._since = Gauge(
            "onpace_config_last_reload_success_timestamp_seconds",
            "When KPI files were last taken up.",
            registry=registry,
        )
        self._taken_up(catalog)

    def _taken_up(self, catalog: Catalog) -> None:
        self.current = catalog
        self._good.set(1)
        self._since.set(now().timestamp())

    async def follow(self, *adopters: Adopt) -> None:
        """Hand every new catalog to the adopters, in order, until cancelled."""
        folder = self._settings.kpis
        if folder is None:
            return
        judged = before = None  # so the first look judges the folder as it is: it may have changed since it was read
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            found = await in_thread(_fingerprint, folder)
            settled, before = found == before, found
            if found != judged and settled:
                judged = found
                await self._take_up(adopters)

    async def _take_up(self, adopters: tuple[Adopt, ...]) -> None:
        try:
            catalog = await in_thread(catalog_of, self._settings)
        except OnPaceError as exc:
            self._good.set(0)
            log.error("the KPI files are broken: the old ones stay in force", problems=str(exc))
            return
        if catalog == self.current:
            self._good.set(1)
            return
        for adopt in adopters:
            await _until_adopted(adopt, catalog)
        self._taken_up(catalog)
        log.info("KPI files taken up", kpis=len(catalog.kpis), rules=len(catalog.rules))


async def _until_adopted(adopt: Adopt, catalog: Catalog) -> None:
    while True:
        try:
            return await adopt(catalog)
        except (StoreUnavailable, BrokerUnavailable) as exc:
            log.warning("KPI files not taken up yet", reason=str(exc))
        await asyncio.sleep(RETRY_SECONDS)


def _fingerprint(folder: Path) -> Fingerprint:
    """What tells whether anything in the folder has changed."""
    found = []
    for file in sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")]) if folder.is_dir() else [folder]:
        try:
            stat = file.stat()
        except OSError:  # removed just now
            continue
        found.append((file.name, stat.st_mtime_ns, stat.st_size))
    return tuple(found)
