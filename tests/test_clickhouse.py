"""The one way to ClickHouse: the embedded engine and a server keep the same contract."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pyarrow as pa
import pytest
from chaos.faults import Proxy
from clickhouses import some_clickhouse
from conftest import empty
from processors_fakes import EVERYTHING, LIFE, counted, log_of, order, visit
from processors_world import drain, world, wrong_values
from stacks import Server, until

from onpace.config.errors import StoreUnavailable
from onpace.config.settings import ClickHouseSettings
from onpace.processors.clickhouse import ClickHouse, StoreError
from onpace.processors.migrate import migrate, migration_files

AT = datetime(2026, 3, 28, 12, 30, 15, 123456, tzinfo=UTC)


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouse]:
    """A connection to some server."""
    with some_clickhouse(tmp_path_factory.mktemp("server")) as server:
        store = ClickHouse.connect(server.settings, Path())
        migrate(store)
        yield store
        store.close()


@pytest.fixture(params=["embedded", "server"])
def either(request: pytest.FixtureRequest) -> ClickHouse:
    """Each kind of store in turn, with empty tables."""
    store: ClickHouse = request.getfixturevalue("engine" if request.param == "embedded" else "remote")
    empty(store)
    return store


def test_rows_come_back_as_they_went_in(either: ClickHouse) -> None:
    """Times aware and in UTC, decimals and UUIDs as themselves, bytes as text."""
    either.command(
        "CREATE TABLE kinds (a DateTime64(6, 'UTC'), b Decimal(38, 9), c UUID, d Nullable(Float64), e Array(Int32), "
        "f LowCardinality(String), g Bool) ENGINE = Memory"
    )
    row = (AT, Decimal("-12345678901234567890.123456789"), LIFE, None, [1, -2], "it's \\ ü", True)
    try:
        either.insert("kinds", list("abcdefg"), [row])
        assert either.query("SELECT * FROM kinds") == [row]
        assert either.query("SELECT a FROM kinds")[0][0].tzinfo is not None
        assert either.query_dicts("SELECT f, d FROM kinds") == [{"f": "it's \\ ü", "d": None}]
    finally:
        either.command("DROP TABLE kinds")


def test_parameters_are_bound_and_never_pasted(either: ClickHouse) -> None:
    """Whatever they hold."""
    nasty = "'; DROP TABLE events; -- \\ \n\t\0 ü"
    names = {"text": nasty, "number": 2**63, "list": ["a'b", "c"], "at": AT, "life": str(LIFE)}
    sql = "SELECT {text:String}, {number:UInt64}, {list:Array(String)}, {at:DateTime64(6, 'UTC')}, {life:UUID}"
    assert either.query(sql, names) == [(nasty, 2**63, ["a'b", "c"], AT, LIFE)]


def test_parameters_may_be_longer_than_an_address(either: ClickHouse) -> None:
    """A list of every window that an hour of late events reaches, say."""
    texts = [f"{number}'\\ü\n\r\n--" for number in range(2_000)]
    [(count, last)] = either.query("SELECT length({all:Array(String)}), {all:Array(String)}[-1]", {"all": texts})
    assert (count, last) == (2_000, texts[-1])


def test_columns_go_in_and_come_out_as_arrow(either: ClickHouse) -> None:
    """Half-known tables too: other columns get their defaults."""
    rows = pa.table({"topic": ["t"] * 3, "incarnation": [str(LIFE)] * 3, "offset": pa.array([1, 2, 3], pa.uint64())})
    either.insert_arrow("events", rows)
    either.insert_arrow("events", rows.slice(0, 0))
    found = either.query_arrow("SELECT topic, offset, id FROM events ORDER BY offset")
    assert found.to_pydict() == {"topic": ["t"] * 3, "offset": [1, 2, 3], "id": [""] * 3}
    assert either.query("SELECT DISTINCT incarnation FROM events") == [(UUID(str(LIFE)),)]
    assert either.query_bytes("SELECT max(offset) AS o FROM events", None, "JSONEachRow").strip() in (
        b'{"o":3}',
        b'{"o":"3"}',
    )


def test_empty_lines_are_data_like_any_other(either: ClickHouse) -> None:
    """In text, and in the bytes of numbers (10 is a line feed)."""
    text, number = "a\n\nb;\n\n", 0x0A0A0A0A
    either.insert("events", ["topic", "id", "offset"], [("rows", text, number)] * 10)
    either.insert_arrow(
        "events", pa.table({"topic": ["arrow"], "id": [text], "offset": pa.array([number], pa.uint64())})
    )
    found = either.query("SELECT DISTINCT topic, id, offset FROM events ORDER BY topic")
    assert found == [("arrow", text, number), ("rows", text, number)]


def test_columns_come_out_block_by_block(either: ClickHouse) -> None:
    """As many as there are, never all of them at once; and an error is said as in any other way to ask."""
    blocks = list(either.stream_arrow("SELECT number FROM numbers({n:UInt32})", {"n": 200_000}))
    assert sum(block.num_rows for block in blocks) == 200_000
    assert max(block.num_rows for block in blocks) < 100_000
    assert sum(sum(block["number"].to_pylist()) for block in blocks) == sum(range(200_000))
    assert list(either.stream_arrow("SELECT number FROM numbers(0)")) == []
    with pytest.raises(StoreError):
        list(either.stream_arrow("SELECT * FROM nowhere"))
    assert either.query("SELECT 1") == [(1,)]


def test_no_rows_are_no_statement(either: ClickHouse) -> None:
    """Nothing is sent."""
    either.insert("no_such_table", ["a"], [])
    either.insert_arrow("no_such_table", pa.table({"a": pa.array([], pa.int64())}))


@pytest.mark.parametrize(
    "sql", ["SELECT", "SELECT * FROM nowhere", "SELECT {x:UInt8}", "SELECT throwIf(1)", "SELECT toUInt8('x')"]
)
def test_a_statement_that_is_wrong_is_an_error_to_report(either: ClickHouse, sql: str) -> None:
    """Repeating it would not help; the connection stays usable, and the next answer is its own."""
    with pytest.raises(StoreError, match=r"ClickHouse .*: .*[Cc]ode"):
        either.query(sql)
    with pytest.raises(StoreError):
        either.command(sql)
    assert either.query("SELECT 1") == [(1,)]


def test_a_column_that_is_not_there_is_an_error_to_report(either: ClickHouse) -> None:
    """Whether the client or the engine notices."""
    with pytest.raises(StoreError):
        either.insert("events", ["nowhere"], [(1,)])
    with pytest.raises(StoreError):
        either.insert_arrow("events", pa.table({"nowhere": [1]}))


def test_what_passes_is_to_be_tried_again(either: ClickHouse) -> None:
    """Such as a query that takes too much memory just now."""
    with pytest.raises(StoreUnavailable):
        either.query("SELECT groupArray(number) FROM numbers(10000000) SETTINGS max_memory_usage = 1000000")
    assert either.query("SELECT 2") == [(2,)]


def test_a_query_that_broke_off_leaves_nothing_for_the_next(either: ClickHouse) -> None:
    """Each answer is its own."""
    for _ in range(3):
        with pytest.raises(StoreError):
            either.command("SELECT number, throwIf(number = 300000) FROM numbers(1000000)")
        assert either.query("SELECT number FROM numbers(3)") == [(0,), (1,), (2,)]
        assert either.query_arrow("SELECT 1 AS a").to_pydict() == {"a": [1]}


def test_several_threads_may_share_a_connection(either: ClickHouse) -> None:
    """Each gets its own answers."""
    wrong: list[object] = []

    def ask(own: int) -> None:
        for _ in range(10):
            if (found := either.query("SELECT {x:UInt32}, count() FROM numbers(1000)", {"x": own})) != [(own, 1000)]:
                wrong.append(found)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_migrations_are_applied_once(either: ClickHouse) -> None:
    """And can be applied again."""
    assert migrate(either) == []
    either.command("TRUNCATE TABLE schema_migrations")
    assert migrate(either) == [name for _, name, _ in migration_files()]


def test_values_are_right_over_either(either: ClickHouse) -> None:
    """A processor and a reader, from end to end."""
    sent = [order(str(at), amount=at, score=at / 7, items=3, region="EU") for at in range(50)]
    sent += [visit(f"v{at}", region="EU") for at in range(9)]
    logs = {0: log_of(sent)}
    for count in (20, 30, 9):
        worker = world(either, EVERYTHING, logs, resident_rows=1)
        worker.take(0, count)
        worker.flush()
    drain(worker, logs)
    assert not wrong_values(either, EVERYTHING, counted(sent))


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Server]:
    """A server that may be killed."""
    with Server(tmp_path / "own") as server:
        yield server


def test_a_dead_server_is_noticed_and_a_living_one_found_again(own: Server) -> None:
    """The same connection goes on; what was written stays."""
    store = ClickHouse.connect(ClickHouseSettings(url=own.url), Path())
    store.command("CREATE TABLE kept (word String) ENGINE = MergeTree ORDER BY word")
    store.insert("kept", ["word"], [("kept",)])
    own.kill()
    for attempt in (
        lambda: store.query("SELECT 1"),
        lambda: store.command("SELECT 1"),
        lambda: store.insert("kept", ["word"], [("lost",)]),
        lambda: ClickHouse.connect(ClickHouseSettings(url=own.url), Path()),
    ):
        with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1"):
            attempt()
    own.start()
    assert store.query("SELECT word FROM kept") == [("kept",)]


def test_a_silent_server_is_noticed_and_its_connections_given_up(own: Server) -> None:
    """Half-open connections, old and new: an error after `timeout`, whatever was done with the statement meanwhile."""
    with Proxy(own.address) as proxy:
        settings = ClickHouseSettings(url=f"http://{proxy.address}", timeout=timedelta(seconds=1))
        store = ClickHouse.connect(settings, Path())
        store.command("CREATE TABLE late (word String) ENGINE = MergeTree ORDER BY word")
        for fault, word in ((proxy.stall, "forwarded late"), (proxy.swallow_answers, "applied")):
            fault()
            with pytest.raises(StoreUnavailable, match="does not answer"):
                store.insert_arrow("late", pa.table({"word": [word]}))
            with pytest.raises(StoreUnavailable, match="does not answer"):
                ClickHouse.connect(settings, Path())
            proxy.heal()
            assert store.query("SELECT 1") == [(1,)]
        until(lambda: len(store.query("SELECT * FROM late")) == 2, "both inserts came through")


@pytest.mark.parametrize("url", ["localhost:8123", "ftp://host", "http://"])
def test_an_address_that_is_none_is_said_to_be(url: str) -> None:
    """With what to write instead."""
    with pytest.raises(StoreUnavailable, match="write http://host:8123"):
        ClickHouse.connect(ClickHouseSettings(url=url), Path())


def test_a_data_folder_that_cannot_be_made_is_said_to_be(tmp_path: Path) -> None:
    """With what to do."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable, match="choose another with --data"):
        ClickHouse.connect(ClickHouseSettings(), tmp_path / "file")
