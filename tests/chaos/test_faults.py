"""The proxy of the fault suite does to connections what it says, and nothing else."""

from __future__ import annotations

import socket
import socketserver
import threading
import time
from collections.abc import Iterator

import pytest

from chaos.faults import Proxy, refuses

REFUSED_OR_RESET = (ConnectionError, TimeoutError)


class Echo(socketserver.ThreadingTCPServer):
    """Answers every line with the same line, and keeps what it heard."""

    daemon_threads = True

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.said = threading.Condition()
        super().__init__(("127.0.0.1", 0), Answering)
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.server_address[1]}"

    def until_heard(self, line: bytes) -> None:
        """Wait for a line."""
        with self.said:
            assert self.said.wait_for(lambda: line in self.heard, 20), self.heard


class Answering(socketserver.StreamRequestHandler):
    """One connection."""

    def handle(self) -> None:
        """Until the client goes."""
        assert isinstance(self.server, Echo)
        try:
            while line := self.rfile.readline():
                with self.server.said:
                    self.server.heard.append(line)
                    self.server.said.notify_all()
                self.wfile.write(line)
        except OSError:
            return


class Client:
    """One connection that asks and waits for the answer."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), 20)
        self._file = self._socket.makefile("rb")

    def say(self, line: bytes) -> None:
        """Send, without waiting."""
        self._socket.sendall(line)

    def hear(self, seconds: float = 20) -> bytes:
        """The next line; b'' at the end."""
        self._socket.settimeout(seconds)
        return self._file.readline()

    def ask(self, line: bytes) -> bytes:
        """Send, and the answer."""
        self.say(line)
        return self.hear()


@pytest.fixture
def echo() -> Iterator[Echo]:
    """A server behind the proxy."""
    with Echo() as server:
        yield server
        server.shutdown()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[Proxy]:
    """The proxy before it."""
    with Proxy(echo.address) as between:
        yield between


def test_it_forwards_both_ways(proxy: Proxy) -> None:
    """Large lines too."""
    client = Client(proxy.address)
    for line in (b"one\n", b"x" * 1_000_000 + b"\n"):
        assert client.ask(line) == line


def test_a_cut_ends_connections_and_refuses_new_ones_until_healed(proxy: Proxy) -> None:
    """At the same address afterwards."""
    client, address = Client(proxy.address), proxy.address
    assert client.ask(b"before\n")
    proxy.cut()
    with pytest.raises(REFUSED_OR_RESET):
        client.hear()
    assert refuses(address)
    proxy.heal()
    assert proxy.address == address
    assert Client(address).ask(b"after\n") == b"after\n"


def test_a_reset_ends_connections_and_takes_new_ones(proxy: Proxy) -> None:
    """As a server's restart would."""
    client = Client(proxy.address)
    assert client.ask(b"before\n")
    proxy.reset()
    with pytest.raises(REFUSED_OR_RESET):
        client.hear()
    assert Client(proxy.address).ask(b"after\n") == b"after\n"


def test_a_stalled_connection_is_taken_and_silent_and_late(proxy: Proxy, echo: Echo) -> None:
    """What was sent arrives once it is healed."""
    old = Client(proxy.address)
    assert old.ask(b"before\n")
    proxy.stall()
    new = Client(proxy.address)
    for client, line in ((old, b"old\n"), (new, b"new\n")):
        client.say(line)
        with pytest.raises(TimeoutError):
            client.hear(0.1)
    assert echo.heard == [b"before\n"]
    proxy.heal()
    echo.until_heard(b"old\n")
    echo.until_heard(b"new\n")


def test_swallowed_answers_were_acted_on(proxy: Proxy, echo: Echo) -> None:
    """And the connection does not go on with the answer to another question."""
    client = Client(proxy.address)
    assert client.ask(b"before\n")
    proxy.swallow_answers()
    client.say(b"applied\n")
    echo.until_heard(b"applied\n")
    with pytest.raises(TimeoutError):
        client.hear(0.1)
    proxy.heal()
    assert Client(proxy.address).ask(b"after\n") == b"after\n"


def test_the_answers_to_some_questions_only_may_be_swallowed(proxy: Proxy, echo: Echo) -> None:
    """And all that follow on that connection."""
    asking, other = Client(proxy.address), Client(proxy.address)
    proxy.swallow_answers(to=b"secret")
    assert asking.ask(b"plain\n") == b"plain\n"
    for line in (b"the secret\n", b"plain again\n"):
        asking.say(line)
        echo.until_heard(line)
    with pytest.raises(TimeoutError):
        asking.hear(0.1)
    assert other.ask(b"plain\n") == b"plain\n"
    assert proxy.swallowed == 1


def test_delayed_and_throttled_answers_come_late_and_whole(proxy: Proxy) -> None:
    """No sooner than they may."""
    client, line = Client(proxy.address), b"x" * 999 + b"\n"
    proxy.delay(0.2)
    began = time.monotonic()
    assert client.ask(line) == line
    assert time.monotonic() - began >= 0.2
    proxy.heal()
    proxy.throttle(10_000)
    began = time.monotonic()
    assert client.ask(line) == line
    assert time.monotonic() - began >= 0.19  # 1,000 bytes there and back
    proxy.heal()
    assert client.ask(line) == line


def test_a_server_that_is_away_ends_the_connection(echo: Echo) -> None:
    """The client is told at once."""
    echo.shutdown()
    echo.server_close()
    with Proxy(echo.address) as between, pytest.raises(REFUSED_OR_RESET):
        Client(between.address).ask(b"anyone\n")
