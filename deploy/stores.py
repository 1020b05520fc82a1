"""ClickHouse for every command, and what must be in it before it is used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from onpace.config.catalog import Catalog
from onpace.config.errors import DataFolderBusy, OnPaceError
from onpace.config.loader import load_catalog
from onpace.config.settings import ClickHouseSettings, Settings
from onpace.deploy.data_folder import DataFolder, address_of
from onpace.deploy.demo import KPIS

if TYPE_CHECKING:
    from onpace.processors.clickhouse import ClickHouse

__all__ = ["catalog_of", "now", "open_store", "prepare_store"]

PATIENCE_SECONDS = 30.0
"""How long a command waits for another one, or for a stack that is starting, to let the folder go or to answer."""


def now() -> datetime:
    """The wall clock. Nothing below the composition root reads it."""
    return datetime.now(UTC)


def catalog_of(settings: Settings) -> Catalog:
    """The catalog of the KPI folder in the settings, or the simulated shop's. Raises ConfigError with every problem."""
    return load_catalog(settings.kpis or KPIS, private_webhooks=settings.engine.private_webhooks)


@contextmanager
def open_store(settings: Settings, catalog: Catalog | None = None, *, write: bool = False) -> Iterator[ClickHouse]:
    """ClickHouse for a command: the server, the running stack that holds the data folder, or the folder itself.

    In the folder, migrations are applied and the views of `catalog` made first. `write`: the folder may be new, and a
    running stack will not do, for what it serves is read-only. Raises DataFolderBusy, OnPaceError, StoreUnavailable.
    """
    from onpace.processors.clickhouse import ClickHouse

    if settings.clickhouse.url:
        with _closing(ClickHouse.connect(settings.clickhouse, settings.data)) as store:
            yield store
        return
    if not write and not (settings.data / "clickhouse").exists() and address_of(settings.data) is None:
        raise OnPaceError(f"no data in {settings.data}: name the folder that `onpace up` uses with --data")
    held = _folder_or_address(settings, write=write)
    if isinstance(held, str):
        server = ClickHouseSettings(url=held, database=settings.clickhouse.database)
        with _closing(ClickHouse.connect(server, settings.data, read_only=True)) as store:
            yield store
        return
    with held, _closing(ClickHouse.connect(settings.clickhouse, settings.data)) as store:
        prepare_store(store, catalog, settings.kafka.topic)
        yield store


def prepare_store(store: ClickHouse, catalog: Catalog | None, topic: str) -> None:
    """Migrations, the views of the catalog and the meaning of its definitions. Safe to repeat."""
    from onpace.processors.migrate import migrate
    from onpace.processors.views import refresh_views
    from onpace.processors.writer import StoreWriter

    migrate(store)
    if catalog is not None:
        refresh_views(store, catalog, topic)
        StoreWriter(store, topic).record_definitions(catalog.simple_kpis(), now())


def _folder_or_address(settings: Settings, *, write: bool) -> DataFolder | str:
    """The folder, held; or the address of the stack that holds it, once it answers."""
    waited = now()
    while True:
        held = address_of(settings.data)
        if held and held.clickhouse and not write:
            return held.clickhouse
        try:
            return DataFolder(settings.data, patience=0.2)
        except DataFolderBusy:
            if write or (now() - waited).total_seconds() > PATIENCE_SECONDS:
                raise


@contextmanager
def _closing(store: ClickHouse) -> Iterator[ClickHouse]:
    try:
        yield store
    finally:
        store.close()
