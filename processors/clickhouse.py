"""The one way to ClickHouse: the embedded engine or a server, through the same clickhouse-connect client."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import clickhouse_connect
import pyarrow as pa
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import (
    ClickHouseError,
    DatabaseError,
    DataError,
    NotSupportedError,
    ProgrammingError,
)
from urllib3.exceptions import HTTPError

from onpace.config.errors import OnPaceError, StoreUnavailable
from onpace.config.settings import ClickHouseSettings

__all__ = ["ClickHouse", "StoreError", "open_engine"]

Result = TypeVar("Result")

# Server errors that pass: timeouts, memory, too many parts or queries, network, read-only while recovering, disk full.
_PASSING = {159, 160, 202, 209, 210, 236, 241, 242, 243, 252, 279, 285, 286, 290, 319, 384, 410, 425, 492, 999}
_SESSION = {"date_time_input_format": "best_effort", "max_partitions_per_insert_block": 0}


def open_engine(folder: Path, settings: Mapping[str, Any] | None = None) -> Client:
    """A client of the engine in process over `folder`; datetimes come back aware."""
    client = clickhouse_connect.get_client(
        interface="chdb", path=str(folder), tz_mode="aware", settings=dict(settings or {})
    )
    handle = client._backend._handle  # type: ignore[attr-defined]
    handle.conn = _DrainedConnection(handle.conn)
    return client


class _DrainedConnection:
    """A connection to the engine in process on which a failed query leaves nothing behind.

    What a query had put out before it failed would stand in front of the next query's answer (chDB 4.4).
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def query(self, *args: Any, **kwargs: Any) -> Any:
        """Run one statement. Callers hold the handle's lock, so nobody else gets what is drained."""
        try:
            return self._connection.query(*args, **kwargs)
        except Exception:
            with suppress(Exception):
                self._connection.query("SELECT 1", "TabSeparated")
            raise


class StoreError(OnPaceError):
    """ClickHouse refused a statement; trying again would not help."""


class ClickHouse:
    """A connection that several threads may share. Datetimes come back aware, in UTC.

    Every method raises StoreUnavailable when ClickHouse does not answer or says that it cannot now (safe to repeat),
    and StoreError when it refuses the statement itself.
    """

    def __init__(self, client: Client, address: str) -> None:
        self._client = client
        self.address = address

    @classmethod
    def connect(cls, settings: ClickHouseSettings, data: Path, *, read_only: bool = False) -> ClickHouse:
        """Open the server in `settings.url`, or the engine in process over the folder `data`/clickhouse.

        `read_only`: the server lets nothing be changed, not even a setting of the session.
        """
        if settings.url:
            return cls._server(settings, read_only=read_only)
        try:
            import chdb  # noqa: F401
        except ImportError:
            raise StoreUnavailable(
                "no ClickHouse: set ONPACE_CLICKHOUSE__URL=http://host:8123, or install the embedded engine with "
                "pip install 'onpace[embedded]'"
            ) from None
        folder = data / "clickhouse"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise StoreUnavailable(f"data folder {data}: {exc.strerror}; choose another with --data") from exc

        def opened() -> Client:
            client = open_engine(folder, _SESSION)
            client.command(f"CREATE DATABASE IF NOT EXISTS {settings.database}")
            client.command(f"USE {settings.database}")
            return client

        return cls(_translated(opened, f"ClickHouse engine in {folder}"), f"ClickHouse engine in {folder}")

    @classmethod
    def _server(cls, settings: ClickHouseSettings, *, read_only: bool) -> ClickHouse:
        url = urlsplit(settings.url or "")
        if url.scheme not in ("http", "https") or not url.hostname:
            raise StoreUnavailable(f"ClickHouse url '{settings.url}': write http://host:8123 or https://host:8443")
        address = f"ClickHouse at {url.scheme}://{url.hostname}:{url.port or (8443 if url.scheme == 'https' else 8123)}"

        def opened(database: str | None) -> Client:
            return clickhouse_connect.get_client(
                interface=url.scheme,
                host=url.hostname,
                port=url.port or (8443 if url.scheme == "https" else 8123),
                username=url.username or settings.username,
                password=url.password or settings.password.get_secret_value(),
                database=database or "default",
                tz_mode="aware",
                settings={} if read_only else _SESSION,
                autogenerate_session_id=False,
                connect_timeout=5,
                send_receive_timeout=int(settings.timeout.total_seconds()),
            )

        def ready() -> Client:
            if not read_only:
                opened(None).command(f"CREATE DATABASE IF NOT EXISTS {settings.database}")
            return opened(settings.database)

        return cls(_translated(ready, address), address)

    def query(self, sql: str, parameters: Mapping[str, object] | None = None) -> list[tuple[Any, ...]]:
        """All rows of a SELECT. Parameters are bound by the engine: `{name:Type}`."""
        return [
            tuple(row)
            for row in self._run(lambda: self._client.query(sql, parameters=dict(parameters or {})).result_rows)
        ]

    def query_dicts(self, sql: str, parameters: Mapping[str, object] | None = None) -> list[dict[str, Any]]:
        """The same, each row as column name -> value."""
        return [
            dict(row)
            for row in self._run(lambda: self._client.query(sql, parameters=dict(parameters or {})).named_results())
        ]

    def query_arrow(self, sql: str, parameters: Mapping[str, object] | None = None) -> pa.Table:
        """The same, as one Arrow table."""
        return self._run(lambda: self._client.query_arrow(sql, parameters=dict(parameters or {}), use_strings=True))

    def stream_arrow(self, sql: str, parameters: Mapping[str, object] | None = None) -> Iterator[pa.Table]:
        """The same, as Arrow tables of one block each, as they come. Run nothing else before the last has come."""
        parts = self._run(
            lambda: self._client.query_arrow_stream(sql, parameters=dict(parameters or {}), use_strings=True)
        )
        with parts:
            blocks = iter(parts)
            while (block := self._run(lambda: next(blocks, None))) is not None:
                yield block

    def query_bytes(self, sql: str, parameters: Mapping[str, object] | None, fmt: str) -> bytes:
        """The rows in a ClickHouse output format, as the engine wrote them."""
        result = self._run(lambda: self._client.raw_query(sql, parameters=dict(parameters or {}), fmt=fmt))
        return bytes(result)

    def insert(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Insert a few rows as one block; no rows is no statement."""
        if rows:
            self._run(lambda: self._client.insert(table, rows, column_names=columns))

    def insert_arrow(self, table: str, rows: pa.Table) -> None:
        """Insert many rows as one block; no rows is no statement."""
        if rows.num_rows:
            self._run(lambda: self._client.insert_arrow(table, rows))

    def command(self, sql: str) -> None:
        """Run a statement that returns nothing."""
        self._run(lambda: self._client.command(sql))

    def close(self) -> None:
        """Let the connection (and the embedded engine) go."""
        self._client.close()

    def _run(self, call: Callable[[], Result]) -> Result:
        return _translated(call, self.address)


def _translated(call: Callable[[], Result], address: str) -> Result:
    try:
        return call()
    except DatabaseError as exc:
        if isinstance(exc.__cause__, HTTPError):
            raise StoreUnavailable(f"{address} does not answer: {_first_line(_root(exc))}") from exc
        text = _first_line(exc)
        if _passing(exc):
            raise StoreUnavailable(f"{address}: {text}") from exc
        raise StoreError(f"{address}: {text}") from exc
    except (ClickHouseError, pa.ArrowInvalid, OSError) as exc:  # Arrow: a stream that broke off
        raise StoreUnavailable(f"{address} does not answer: {_first_line(exc)}") from exc


def _passing(exc: DatabaseError) -> bool:
    """Whether trying again may help: by the server's code, or, without one, unless the client itself refused."""
    found = re.search(r"[Cc]ode:?\s*(\d+)", str(exc))
    code = exc.code or (int(found[1]) if found else None)
    if code is None:
        return not isinstance(exc, ProgrammingError | DataError | NotSupportedError)
    return code in _PASSING


def _root(exc: BaseException) -> BaseException:
    """What it began with: the client wraps it in words about itself."""
    while inner := exc.__cause__ or exc.__context__:
        exc = inner
    return exc


def _first_line(exc: BaseException) -> str:
    return (str(exc).strip() or type(exc).__name__).splitlines()[0][:500]
