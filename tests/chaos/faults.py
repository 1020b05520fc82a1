"""A TCP proxy that breaks connections on demand, between a client and a server that know nothing of it."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType

_CHUNK = 65_536
_PIECES_PER_SECOND = 20  # of a throttled stream


@dataclass(eq=False, slots=True)
class Connection:
    """One client with its own connection to the server."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    mute: bool = False
    """Answers were thrown away, so it must not go on."""

    def abort(self) -> None:
        """End both sides at once, with a reset."""
        for writer in (self.client, self.server):
            _reset(writer)


class Proxy:
    """Forwards `address` to `target` (`host:port`) until told otherwise; `heal` ends every fault.

    Every method returns once the fault is in force. Faults add up, except that `cut` leaves nothing to slow down.
    """

    def __init__(self, target: str, port: int = 0) -> None:
        host, _, target_port = target.rpartition(":")
        self._target = host, int(target_port)
        self.swallowed = 0
        """Requests whose answers were swallowed."""
        self._connections: set[Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._swallowed: bytes | None = None
        self._delay_seconds = 0.0
        self._bytes_per_second: int | None = None
        self._listening: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self._port = port
        self._in_loop(lambda: None)
        self.heal()

    @property
    def address(self) -> str:
        """`host:port` for clients; the same for the proxy's whole life."""
        return f"127.0.0.1:{self._port}"

    @property
    def connections(self) -> int:
        """How many clients are connected now."""
        return len(self._connections)

    def cut(self) -> None:
        """Reset every connection, and refuse new ones."""

        def fault() -> None:
            if self._listening is not None:
                self._listening.close()
                self._listening = None
            for connection in list(self._connections):
                connection.abort()

        self._in_loop(fault)

    def reset(self) -> None:
        """Reset every connection once; new ones are taken."""
        self._in_loop(lambda: [connection.abort() for connection in self._connections])

    def stall(self) -> None:
        """Half-open: connections stay and new ones are taken, but nothing gets through, not even that one side left.

        What was sent meanwhile arrives after `heal`, however late that is.
        """
        self._in_loop(self._flowing.clear)

    def swallow_answers(self, to: bytes = b"") -> None:
        """What clients send arrives and is acted on; what the server answers never comes back.

        `to`: only where a client sent something that this regular expression finds. Nothing more is answered on such a
        connection.
        """
        self._in_loop(lambda: setattr(self, "_swallowed", to))

    def delay(self, seconds: float) -> None:
        """Every answer takes so much longer."""
        self._in_loop(lambda: setattr(self, "_delay_seconds", seconds))

    def throttle(self, bytes_per_second: int) -> None:
        """No connection gets more through, in either direction."""
        self._in_loop(lambda: setattr(self, "_bytes_per_second", bytes_per_second))

    def heal(self) -> None:
        """As at the beginning. Connections of which answers were swallowed are reset."""

        async def listen() -> None:
            self._swallowed, self._delay_seconds, self._bytes_per_second = None, 0.0, None
            for connection in [one for one in self._connections if one.mute]:
                connection.abort()
            self._flowing.set()
            if self._listening is None:
                self._listening = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
                self._port = self._listening.sockets[0].getsockname()[1]

        asyncio.run_coroutine_threadsafe(listen(), self._loop).result(10)

    def close(self) -> None:
        """End it, with every connection."""
        self.cut()

        async def end() -> None:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _in_loop(self, change: Callable[[], object]) -> None:
        async def run() -> None:
            change()

        asyncio.run_coroutine_threadsafe(run(), self._loop).result(10)

    async def _serve(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        connection = None
        try:
            from_server, server = await asyncio.open_connection(*self._target)
            connection = Connection(client, server)
            if self._listening is None:
                return  # cut meanwhile
            self._connections.add(connection)
            await asyncio.gather(
                self._pump(connection, reader, server, answers=False),
                self._pump(connection, from_server, client, answers=True),
            )
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            if connection is None:
                _reset(client)
            else:
                self._connections.discard(connection)
                connection.abort()

    async def _pump(
        self, connection: Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool
    ) -> None:
        while chunk := await reader.read(_CHUNK):
            await self._flowing.wait()
            if self._swallowed is not None and not answers and re.search(self._swallowed, chunk):
                connection.mute = True
                self.swallowed += 1
            if answers and (connection.mute or self._swallowed == b""):
                connection.mute = True
                continue
            if answers and self._delay_seconds:
                await asyncio.sleep(self._delay_seconds)
            await self._forward(chunk, writer)
        await self._flowing.wait()
        with suppress(OSError, RuntimeError):  # the other side may have gone as well
            writer.write_eof()

    async def _forward(self, chunk: bytes, writer: asyncio.StreamWriter) -> None:
        while chunk:
            rate = self._bytes_per_second
            size = len(chunk) if rate is None else max(1, rate // _PIECES_PER_SECOND)
            if rate is not None:
                await asyncio.sleep(min(size, len(chunk)) / rate)
            writer.write(chunk[:size])
            await writer.drain()
            chunk = chunk[size:]


def _reset(writer: asyncio.StreamWriter) -> None:
    ends = writer.get_extra_info("socket")
    with suppress(OSError):
        ends.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # else it would be an orderly end
    writer.transport.abort()


def refuses(address: str) -> bool:
    """Whether nothing listens there."""
    host, _, port = address.rpartition(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) != 0
