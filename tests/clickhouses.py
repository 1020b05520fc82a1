"""Which ClickHouse the HTTP client is tested on: a given one, Docker's, or the engine in a process of its own.

`ONPACE_TEST_CLICKHOUSE` is `http(s)://user:password@host:port`, or `docker` or `engine` to ask for that and no other.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

from choices import tell
from stacks import Server, until

from onpace.config.errors import OnPaceError
from onpace.config.settings import ClickHouseSettings
from onpace.processors.clickhouse import ClickHouse

IMAGE = "clickhouse/clickhouse-server:25.8"


@dataclass(frozen=True)
class TestClickHouse:
    """A server for tests, with a database that nobody else uses."""

    __test__ = False
    kind: str
    settings: ClickHouseSettings


@contextmanager
def some_clickhouse(folder: Path) -> Iterator[TestClickHouse]:
    """The first server that can be had, and a word on which and why not an earlier one."""
    wanted = os.environ.get("ONPACE_TEST_CLICKHOUSE", "")
    if "://" in wanted:
        with _database_of_its_own("given", wanted) as found:
            yield _told(found, [])
        return
    reasons: list[str] = [] if wanted else ["given: ONPACE_TEST_CLICKHOUSE is not set"]
    for kind, opened in (("docker", _docker), ("engine", _engine)):
        if wanted not in ("", kind):
            continue
        try:
            context = opened(folder)
            found = context.__enter__()
        except Exception as exc:  # whatever it is, the next kind is tried and the reason told
            reasons.append(f"{kind}: {_reason(exc)}")
            continue
        try:
            yield _told(found, reasons)
        finally:
            context.__exit__(None, None, None)
        return
    raise OnPaceError(f"no ClickHouse for the tests: {'; '.join(reasons)}")


def _told(found: TestClickHouse, reasons: list[str]) -> TestClickHouse:
    where = urlsplit(found.settings.url or "")
    not_others = "".join(f"\n  not {reason}" for reason in reasons)
    tell(f"tests of the HTTP client ran on ClickHouse: {found.kind} on {where.hostname}{not_others}")
    return found


def _reason(exc: Exception) -> str:
    output = getattr(exc, "stderr", None)
    text = output.decode(errors="replace") if isinstance(output, bytes) and output.strip() else str(exc)
    return (text.strip().splitlines() or [type(exc).__name__])[0][:120]


@contextmanager
def _database_of_its_own(kind: str, url: str) -> Iterator[TestClickHouse]:
    """What the server holds already stays as it is."""
    settings = ClickHouseSettings(url=url, database=f"onpace_test_{uuid4().hex[:8]}")
    store = ClickHouse.connect(settings, Path())
    try:
        yield TestClickHouse(kind, settings)
    finally:
        store.command(f"DROP DATABASE IF EXISTS {settings.database}")
        store.close()


@contextmanager
def _docker(_: Path) -> Iterator[TestClickHouse]:
    subprocess.run(["docker", "info"], check=True, capture_output=True, timeout=10)
    from testcontainers.core.container import DockerContainer

    container = DockerContainer(IMAGE).with_exposed_ports(8123)
    container.with_env("CLICKHOUSE_SKIP_USER_SETUP", "1")  # or the default user may only connect from inside
    with container:
        url = f"http://{container.get_container_host_ip()}:{container.get_exposed_port(8123)}"
        until(lambda: _answers(url), f"ClickHouse in Docker at {url} answers", 60)
        with _database_of_its_own("docker", url) as found:
            yield found


def _answers(url: str) -> bool:
    try:
        ClickHouse.connect(ClickHouseSettings(url=url), Path()).close()
    except OnPaceError:
        return False
    return True


@contextmanager
def _engine(folder: Path) -> Iterator[TestClickHouse]:
    with Server(folder) as server:
        yield TestClickHouse("engine in a process of its own", ClickHouseSettings(url=server.url))
