"""ClickHouse's HTTP interface over the embedded engine, for curl, DBeaver, Grafana and OnPace's own commands.

A thin pass-through: SQL and `param_*` in, the engine's bytes out. Read-only unless told otherwise: the session is
`readonly = 1`, and what that lets through (files, the network, output files, KILL) is refused before it gets there.
"""

from __future__ import annotations

import base64
import gzip
import hmac
import json
import re
import socket
import sys
import tempfile
import threading
import zlib
from collections.abc import Callable
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import lz4.frame
from clickhouse_connect.driver.exceptions import ClickHouseError
from sqlglot.dialects.clickhouse import ClickHouse as ClickHouseDialect
from sqlglot.errors import SqlglotError
from sqlglot.tokenizer_core import Token, TokenType

from onpace.deploy.sockets import listening_socket, url_of
from onpace.processors.clickhouse import open_engine

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

__all__ = ["ClickHouseHttp", "refused"]

_HARMLESS = {
    "numbers",
    "zeros",
    "values",
    "generateseries",
    "generate_series",
    "format",
    "null",
    "view",
    "merge",
    "viewifpermitted",
}
_READING = {"select", "with", "show", "describe", "desc", "exists", "explain", "("}
_WITH_DATA = re.compile(rb"(?i)\A\s*(insert\s+into\s+[^\n()']+(?:\([^\n()']*\))?)\s*format\s+(\w+)[ \t]*\r?\n")
_MAX_BODY = 256 * 1024 * 1024
_DECODERS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    "gzip": gzip.decompress,
    "deflate": zlib.decompress,
    "lz4": lz4.frame.decompress,
    "zstd": zstd.decompress,
}


def refused(sql: str, table_functions: frozenset[str]) -> str | None:
    """Why a read-only server must not run this statement; None when it may. `table_functions`: lower-case names."""
    try:
        tokens: list[Token] = ClickHouseDialect().tokenize(sql)
    except SqlglotError:
        return "cannot be parsed"
    if not tokens or tokens[0].text.lower() not in _READING:
        return "only SELECT, SHOW, DESCRIBE, EXISTS and EXPLAIN may be run here"
    for token, following in zip(tokens, [*tokens[1:], None], strict=False):
        name = token.text.lower()
        if token.token_type is TokenType.STRING:
            continue
        if (
            following is not None
            and following.text == "("
            and (name in table_functions or name == "file")
            and name not in _HARMLESS
        ):
            return f"{token.text}() reaches files or the network"
        if name == "outfile":
            return "INTO OUTFILE writes a file"
        if token.token_type is TokenType.SEMICOLON and following is not None:
            return "one statement at a time"
    return None


class ClickHouseHttp:
    """Serves the engine of `data`/clickhouse on a listening socket until closed."""

    def __init__(
        self, data: Path, database: str, bound: socket.socket, *, read_only: bool = True, password: str | None = None
    ) -> None:
        """`password`: demanded of every client (Basic or X-ClickHouse-Key)."""
        self._client = open_engine(data / "clickhouse")
        self._client.command(f"CREATE DATABASE IF NOT EXISTS {database}")
        self._client.command(f"USE {database}")
        functions = self._client.query("SELECT lower(name) FROM system.table_functions").result_rows
        self._table_functions = frozenset(str(name) for (name,) in functions)
        if read_only:
            self._client.command("SET readonly = 1")
        self._read_only = read_only
        self._password = password
        handler = type("Handler", (_Handler,), {"owner": self})
        self._server = _Server(bound.getsockname()[:2], handler, bind_and_activate=False)
        self._server.socket.close()
        self._server.socket = bound
        self._server.daemon_threads = True
        self.url = url_of(bound)
        threading.Thread(target=self._server.serve_forever, args=(0.1,), name="clickhouse-http", daemon=True).start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._client.close()

    def run(self, statement: bytes, fmt: str, parameters: dict[str, str]) -> bytes:
        """Run one statement. Raises PermissionError when it is not for a reader, ClickHouseError when it is refused."""
        if statement.lstrip()[:6].lower() != b"insert":  # what follows an INSERT is data, to the last byte
            statement = statement.decode(errors="replace").strip().rstrip(";").encode()
        if self._read_only and (reason := refused(statement.decode(errors="replace"), self._table_functions)):
            raise PermissionError(reason)
        if found := _WITH_DATA.match(statement):
            return self._insert(found[1].decode(), found[2].decode(), statement[found.end() :])
        result = self._client._backend._run(statement, fmt, parameters)  # type: ignore[attr-defined]
        return bytes(result.bytes() if hasattr(result, "bytes") else result or b"")

    def _insert(self, into: str, fmt: str, rows: bytes) -> bytes:
        """From a file: in a statement, chDB takes an empty line for the end of the data, whatever the format."""
        with tempfile.NamedTemporaryFile(suffix=f".{fmt}") as file:
            file.write(rows)
            file.flush()
            self._client.command(f"{into} FROM INFILE '{file.name}' COMPRESSION 'none' FORMAT {fmt}")
        return b""

    def allows(self, headers: Any) -> bool:
        """Whether the request carries the password."""
        if self._password is None:
            return True
        given = headers.get("X-ClickHouse-Key", "")
        if (basic := headers.get("Authorization", "")).startswith("Basic "):
            given = base64.b64decode(basic[6:]).decode(errors="replace").partition(":")[2]
        return hmac.compare_digest(given, self._password)


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes in the middle of a request or an answer is nobody's concern."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    owner: ClickHouseHttp
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet: the engine's own log tells of queries."""

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            body = self._chunks()
        else:
            body = self.rfile.read(min(int(self.headers.get("Content-Length") or 0), _MAX_BODY))
        encoding = self.headers.get("Content-Encoding", "")
        if encoding not in _DECODERS:
            return self._send(400, f"Content-Encoding {encoding} is not supported here\n".encode(), 1002)
        try:
            body = _DECODERS[encoding](body)
        except (OSError, EOFError, RuntimeError, zlib.error, zstd.ZstdError):
            return self._send(400, f"the body is not {encoding}\n".encode(), 1002)
        return self._answer(body, self.headers.get("Content-Type", ""))

    def _chunks(self) -> bytes:
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _answer(self, body: bytes, content_type: str = "") -> None:
        parts = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        if content_type.startswith("multipart/form-data"):
            query, body = query | _form(content_type, body), b""
        if parts.path == "/ping" or (parts.path == "/" and not query.get("query") and not body):
            self._send(200, b"Ok.\n")
        elif not self.owner.allows(self.headers):
            self._send(401, b"Code: 516. DB::Exception: Authentication failed. (AUTHENTICATION_FAILED)\n", 516)
        else:
            self._run(query, body)

    def _run(self, query: dict[str, str], body: bytes) -> None:
        statement = b"\n".join(part for part in (query.get("query", "").encode(), body) if part)
        parameters = {name.removeprefix("param_"): value for name, value in query.items() if name.startswith("param_")}
        fmt = query.get("default_format") or self.headers.get("X-ClickHouse-Format") or "TabSeparated"
        try:
            self._send(200, self.owner.run(statement, fmt, parameters))
        except PermissionError as exc:
            self._send(403, f"Code: 497. DB::Exception: {exc}. (ACCESS_DENIED)\n".encode(), 497)
        except ClickHouseError as exc:
            code = re.search(r"[Cc]ode:?\s*(\d+)", str(exc))
            self._send(500, f"{exc}\n".encode(), int(code[1]) if code else 210)  # the engine is closed: NETWORK_ERROR

    def _send(self, status: int, body: bytes, code: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=UTF-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-ClickHouse-Server-Display-Name", "onpace")
        self.send_header("X-ClickHouse-Summary", json.dumps({}))
        if code is not None:
            self.send_header("X-ClickHouse-Exception-Code", str(code))
        self.end_headers()
        self.wfile.write(body)


def _form(content_type: str, body: bytes) -> dict[str, str]:
    """The fields of a form: clients send one in place of an address that would be too long."""
    form = message_from_bytes(f"Content-Type: {content_type}\r\n\r\n".encode() + body)
    return {
        str(part.get_param("name", header="content-disposition")): bytes(part.get_payload(decode=True)).decode()
        for part in form.walk()
        if not part.is_multipart()
    }


def main(data: str, port: str) -> None:
    """Serve a folder, writable, until killed: in tests this stands for a ClickHouse server."""
    bound = listening_socket("127.0.0.1", int(port), "another PORT")
    server = ClickHouseHttp(Path(data), "onpace", bound, read_only=False)
    print(server.url, flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
