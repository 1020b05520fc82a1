"""Fixtures shared by tests of several packages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from onpace.config.settings import ClickHouseSettings
from onpace.processors.clickhouse import ClickHouse
from onpace.processors.migrate import migrate

pytest_plugins = ["choices"]

settings.register_profile("onpace", deadline=None)  # machines are noisy: no test is timed
settings.load_profile("onpace")


def empty(store: ClickHouse) -> None:
    """Empty every table but the record of migrations, and drop every view."""
    tables = store.query("SELECT name, engine, total_rows FROM system.tables WHERE database = currentDatabase()")
    for name, engine, rows in tables:
        if engine == "View":
            store.command(f"DROP VIEW `{name}`")
        elif rows and name != "schema_migrations":
            store.command(f"TRUNCATE TABLE `{name}`")


@pytest.fixture(scope="session")
def engine_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of the embedded engine. One path per process, so one for all tests."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="session")
def engine(engine_data: Path) -> Iterator[ClickHouse]:
    """The embedded engine, migrated."""
    store = ClickHouse.connect(ClickHouseSettings(), engine_data)
    migrate(store)
    yield store
    store.close()


@pytest.fixture
def store(engine: ClickHouse) -> ClickHouse:
    """The embedded engine with every table empty."""
    empty(engine)
    return engine
