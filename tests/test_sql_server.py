"""The read-only ClickHouse interface over the embedded engine: it answers questions and does nothing else."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import lz4.frame
import pytest
from backports import zstd

from onpace.config.errors import StoreUnavailable
from onpace.config.settings import ClickHouseSettings
from onpace.deploy.clickhouse_http import ClickHouseHttp
from onpace.deploy.sockets import listening_socket
from onpace.processors.clickhouse import ClickHouse, StoreError

PASSWORD = "open sesame"

ALLOWED = [
    ("SELECT 1", "1"),
    ("select count() from numbers(5);", "5"),
    ("WITH 2 AS x SELECT x", "2"),
    ("SELECT 'file(1); drop table url(x)'", "file(1); drop table url(x)"),
    ("SELECT topic FROM events -- file('x')", ""),
    ("(SELECT 3)", "3"),
    ("EXISTS TABLE events", "1"),
    ("SELECT count() FROM (SELECT * FROM values('a UInt8', 1, 2))", "2"),
    ("SELECT `file` FROM (SELECT 7 AS file)", "7"),
    ("/* a comment */ SELECT 4", "4"),
]
REFUSED = [
    "INSERT INTO events (topic) VALUES ('x')",
    "CREATE TABLE t (a UInt8) ENGINE = Memory",
    "DROP TABLE events",
    "ALTER TABLE events DELETE WHERE 1",
    "TRUNCATE TABLE events",
    "RENAME TABLE events TO eventz",
    "OPTIMIZE TABLE events",
    "ATTACH TABLE t",
    "SET readonly = 0",
    "SYSTEM SHUTDOWN",
    "SYSTEM FLUSH LOGS",
    "KILL QUERY WHERE 1",
    "GRANT ALL ON *.* TO default",
    "BACKUP TABLE events TO Disk('x', 'y')",
    "SELECT * FROM file('/etc/passwd', 'LineAsString')",
    "SELECT * FROM FILE ('/etc/passwd', 'LineAsString')",
    "SELECT * FROM file/**/('/etc/passwd', 'LineAsString')",
    "SELECT * FROM `file`('/etc/passwd', 'LineAsString')",
    "SELECT * FROM \"file\"('/etc/passwd', 'LineAsString')",
    "SELECT file('/etc/passwd')",
    "SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')",
    "SELECT * FROM s3('http://127.0.0.1:1/x', 'LineAsString')",
    "SELECT * FROM remote('127.0.0.1:1', system.one)",
    "SELECT * FROM mysql('127.0.0.1:1', 'a', 'b', 'c', 'd')",
    "SELECT * FROM executable('id', 'LineAsString', 'x String')",
    "SELECT * FROM sqlite('x.db', 'y')",
    "SELECT * FROM python('x')",
    "SELECT * FROM view(SELECT * FROM file('/etc/passwd', 'LineAsString'))",
    "WITH x AS (SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')) SELECT * FROM x",
    "SELECT 1 WHERE 1 IN (SELECT * FROM file('/etc/passwd', 'LineAsString'))",
    "EXPLAIN SELECT * FROM file('/etc/passwd', 'LineAsString')",
    "DESCRIBE TABLE file('/etc/passwd', 'LineAsString')",
    "SELECT * FROM default.`/etc/passwd`",
    "SELECT * FROM '/etc/passwd'",
    "SELECT 1 INTO OUTFILE '/tmp/onpace-outfile'",
    "SELECT 1 INTO/**/OUTFILE '/tmp/onpace-outfile'",
    "SELECT 1; DROP TABLE events",
    "SELECT 1 SETTINGS readonly = 0",
    "SELECT 'unfinished",
    "FROM file('/etc/passwd') SELECT *",
]


@pytest.fixture(scope="module")
def server(engine: ClickHouse, engine_data: Path) -> Iterator[ClickHouseHttp]:
    """The interface as `onpace up` serves it."""
    bound = listening_socket("127.0.0.1", 0, "another port")
    served = ClickHouseHttp(engine_data, "onpace", bound)
    yield served
    served.close()


def ask(server: ClickHouseHttp, sql: str, **headers: str) -> httpx.Response:
    """One question by POST."""
    return httpx.post(server.url, content=sql.encode(), headers=headers)


@pytest.mark.parametrize(("sql", "answer"), ALLOWED)
def test_questions_are_answered(server: ClickHouseHttp, store: ClickHouse, sql: str, answer: str) -> None:
    """Whatever stands in their texts and comments."""
    found = ask(server, sql)
    assert (found.status_code, found.text.strip()) == (200, answer)


@pytest.mark.parametrize("sql", REFUSED)
def test_anything_else_is_refused(server: ClickHouseHttp, store: ClickHouse, sql: str) -> None:
    """Nothing is written, and neither files nor the network are reached."""
    found = ask(server, sql)
    assert found.status_code in (403, 500), found.text
    assert "root:" not in found.text
    assert "Code: " in found.text
    assert int(found.headers["X-ClickHouse-Exception-Code"]) > 0
    assert not Path("/tmp/onpace-outfile").exists()


def test_the_engine_behind_stays_writable_for_its_owner(server: ClickHouseHttp, store: ClickHouse) -> None:
    """Only this interface is read-only, and it sees what was written at once."""
    store.insert("kpi_definitions", ["kpi"], [("a",)])
    assert ask(server, "SELECT kpi FROM kpi_definitions").text == "a\n"


@pytest.mark.parametrize(
    ("encoding", "encode"),
    [("gzip", gzip.compress), ("deflate", zlib.compress), ("lz4", lz4.frame.compress), ("zstd", zstd.compress)],
)
def test_bodies_may_be_compressed(server: ClickHouseHttp, encoding: str, encode: object) -> None:
    """In the ways that ClickHouse's clients do it."""
    body = encode(b"SELECT 5")  # type: ignore[operator]
    found = httpx.post(server.url, content=body, headers={"Content-Encoding": encoding})
    assert found.text == "5\n"


def test_what_cannot_be_read_is_said_to_be(server: ClickHouseHttp) -> None:
    """An encoding that is not known, and a body that is not what it claims."""
    assert ask(server, "SELECT 1", **{"Content-Encoding": "br"}).status_code == 400
    assert ask(server, "SELECT 1", **{"Content-Encoding": "gzip"}).status_code == 400


def test_questions_may_come_in_the_address(server: ClickHouseHttp) -> None:
    """With parameters and a format."""
    asked = {"query": "SELECT {x:String} AS y", "param_x": "it's", "default_format": "JSONEachRow"}
    assert httpx.get(server.url, params=asked).json() == {"y": "it's"}
    assert httpx.get(f"{server.url}/ping").text == "Ok.\n"


def test_a_failed_question_leaves_nothing_for_the_next_one(server: ClickHouseHttp) -> None:
    """Each answer is its own, also after one that broke off halfway."""
    for _ in range(3):
        broken = ask(server, "SELECT number, throwIf(number = 300000) FROM numbers(1000000) FORMAT JSON")
        assert broken.status_code == 500
        assert ask(server, "SELECT 6").text == "6\n"


def test_the_ordinary_client_reads_through_it(server: ClickHouseHttp, store: ClickHouse) -> None:
    """And is told when it may not write."""
    client = ClickHouse.connect(ClickHouseSettings(url=server.url), Path(), read_only=True)
    assert client.query("SELECT {a:UInt8} + 1", {"a": 1}) == [(2,)]
    assert client.query_arrow("SELECT 'x' AS a").to_pydict() == {"a": ["x"]}
    with pytest.raises(StoreError, match="only SELECT"):
        client.command("DROP TABLE events")
    client.close()


def test_a_password_is_demanded_where_one_is_set(engine: ClickHouse, engine_data: Path) -> None:
    """In either of the two ways in which clients send it."""
    bound = listening_socket("127.0.0.1", 0, "another port")
    guarded = ClickHouseHttp(engine_data, "onpace", bound, password=PASSWORD)
    try:
        assert ask(guarded, "SELECT 1").status_code == 401
        assert ask(guarded, "SELECT 1", **{"X-ClickHouse-Key": "wrong"}).status_code == 401
        assert ask(guarded, "SELECT 1", **{"X-ClickHouse-Key": PASSWORD}).text == "1\n"
        assert httpx.post(guarded.url, content=b"SELECT 1", auth=("default", PASSWORD)).text == "1\n"
    finally:
        guarded.close()


def test_a_closed_server_does_not_answer(engine: ClickHouse, engine_data: Path) -> None:
    """Its clients are told that the store is away."""
    bound = listening_socket("127.0.0.1", 0, "another port")
    server = ClickHouseHttp(engine_data, "onpace", bound)
    client = ClickHouse.connect(ClickHouseSettings(url=server.url), Path(), read_only=True)
    server.close()
    with pytest.raises(StoreUnavailable):
        client.query("SELECT 1")
