"""`onpace` as real processes, for end-to-end tests."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from onpace.ingest.embedded_broker import free_port

ONPACE = [sys.executable, "-m", "onpace.deploy.cli"]


def environment(**settings: object) -> dict[str, str]:
    """This process's, with these settings of OnPace and no others."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ONPACE_")}
    return {**kept, **{name: str(value) for name, value in settings.items()}}


def onpace(*arguments: object, cwd: Path | None = None, **settings: object) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    command = [*ONPACE, *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=cwd, env=environment(**settings), timeout=120
    )


def output(*arguments: object, cwd: Path | None = None, **settings: object) -> str:
    """What a command that must succeed prints."""
    done = onpace(*arguments, cwd=cwd, **settings)
    assert done.returncode == 0, f"onpace {' '.join(map(str, arguments))}\n{done.stdout}{done.stderr}"
    return done.stdout


def rows(*arguments: object, **settings: object) -> list[dict[str, Any]]:
    """The JSON that a command prints."""
    found: list[dict[str, Any]] = json.loads(output(*arguments, "--format", "json", **settings))
    return found


def until(condition: Callable[[], object], what: str, seconds: float = 30) -> None:
    """Wait for another process."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.05)


class Running:
    """A command that runs until it is stopped, with all that it prints."""

    def __init__(self, *arguments: object, cwd: Path | None = None, **settings: object) -> None:
        self.process = subprocess.Popen(
            [*ONPACE, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=cwd,
            env=environment(**settings),
        )
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        self._lines.extend(self.process.stdout)

    @property
    def text(self) -> str:
        """What it has printed so far."""
        return "".join(self._lines)

    def until_printed(self, text: str, seconds: float = 60) -> None:
        """Return once it has printed this; fail when it ends before."""

        def printed() -> bool:
            assert text in self.text or self.process.poll() is None, f"ended before {text!r}:\n{self.text}"
            return text in self.text

        until(printed, f"{text!r} printed", seconds)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal; the exit code."""
        self.process.send_signal(number)
        code = self.process.wait(20)
        self._reader.join(5)
        return code

    def end(self) -> None:
        """Whatever state it is in."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Up(Running):
    """`onpace up` on ports of its own."""

    def __init__(self, data: Path, *arguments: object, cwd: Path | None = None) -> None:
        super().__init__(
            *("up", "--data", data, "--port", free_port(), *arguments),
            cwd=cwd,
            ONPACE_WEB__CLICKHOUSE_PORT=0,
            ONPACE_KAFKA__EMBEDDED_PORT=0,
            ONPACE_PROCESSOR__FLUSH_INTERVAL="1s",
            ONPACE_ENGINE__INTERVAL="1s",
        )

    def until_ready(self) -> Up:
        """Return once it has said where it answers."""
        self.until_printed("Kafka  ")
        return self

    def address(self, name: str) -> str:
        """What it printed beside a name, without the last slash."""
        found = re.search(rf"^  {name} +(\S+)$", self.text, re.MULTILINE)
        assert found is not None, f"no {name} in:\n{self.text}"
        return found[1].rstrip("/")


class Server:
    """The engine in a process of its own, behind ClickHouse's HTTP interface. Killed and started, it remembers."""

    def __init__(self, data: Path) -> None:
        self._command = [sys.executable, "-m", "onpace.deploy.clickhouse_http", str(data)]
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    @property
    def address(self) -> str:
        """`host:port`."""
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def start(self) -> None:
        """Begin to serve, and return once it does."""
        self._process = subprocess.Popen(
            [*self._command, str(self.port)], stdout=subprocess.PIPE, text=True, env=environment()
        )
        assert self._process.stdout is not None
        said = self._process.stdout.readline().strip()
        assert said == self.url, f"the engine does not serve port {self.port}: {said!r}"

    def kill(self) -> None:
        """End at once. May be repeated."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
