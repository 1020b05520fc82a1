"""Alertmanager and Prometheus over the files of deploy/, as real processes, and a webhook receiver for what they tell.

Debian's packages `prometheus` and `prometheus-alertmanager` have them, with promtool and amtool.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from choices import tell
from ruamel.yaml import YAML
from stacks import until

from onpace.ingest.embedded_broker import free_port

DEPLOY = Path(__file__).parents[1] / "deploy"
NAMES = {"alertmanager": ("alertmanager", "prometheus-alertmanager")}  # Debian's name is the second


def program(name: str) -> str | None:
    """Where a program is."""
    return next((path for path in map(shutil.which, NAMES.get(name, (name,))) if path), None)


def missing(*names: str) -> list[str]:
    """Which of these programs are not installed."""
    return [name for name in names if program(name) is None]


def needed(name: str, what_for: str) -> str:
    """The path of a program, or a skip that cannot be overlooked: it is in the summary of the run as well."""
    found = program(name)
    if found is None:
        reason = f"{name.upper()} IS NOT INSTALLED: {what_for}"
        tell(reason)
        pytest.skip(reason)
    return found


def run(*command: str, text: str | None = None) -> str:
    """The output of a command that must succeed; `text` goes to its standard input."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, input=text, timeout=60)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
    return done.stdout


class Receiver:
    """Takes the JSON that is POSTed to it, by path. `away` ones answer 503; closed and opened, it is where it was."""

    def __init__(self, *, port: int = 0) -> None:
        self.taken: list[tuple[str, dict[str, Any]]] = []
        self.away: set[str] = set()
        """Paths under which nothing is taken for now."""
        self._open(port)

    def _open(self, port: int) -> None:
        handler = type("Handler", (_Handler,), {"receiver": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", port), handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def bodies(self, path: str) -> list[dict[str, Any]]:
        """What came under a path, in order."""
        return [body for at, body in list(self.taken) if at == path]

    def close(self) -> None:
        """Take nothing more."""
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    receiver: Receiver

    def do_POST(self) -> None:
        """Keep the body."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        away = self.path in self.receiver.away
        if not away:
            self.receiver.taken.append((self.path, body))
        self.send_response(503 if away else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


class Watchdog:
    """A real process over a file of deploy/, on a port of its own. Killed and started, it is where it was."""

    name: str
    ready = "/-/ready"

    def __init__(self, folder: Path, arguments: Sequence[str]) -> None:
        self._folder = folder
        self._arguments = arguments
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Return once it answers."""
        path = needed(self.name, "nothing is shown against the real thing")
        command = [path, *self._arguments, f"--web.listen-address=127.0.0.1:{self.port}"]
        with (self._folder / f"{self.name}.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        until(self._answers, f"{self.name} answers")

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / f"{self.name}.log").read_text()
        try:
            return httpx.get(self.url + self.ready).is_success
        except httpx.HTTPError:
            return False

    def kill(self) -> None:
        """End at once. May be repeated."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def __exit__(self, *_: object) -> None:
        self.kill()


class Alertmanager(Watchdog):
    """Alertmanager as shipped, but for its waits and for its receivers: `/NAME` of `receiver` for each."""

    name = "alertmanager"

    def __init__(self, folder: Path, receiver: str, *, group_wait: str = "1s", group_interval: str = "1s") -> None:
        folder.mkdir(parents=True)
        self.config = folder / "alertmanager.yml"
        config = YAML().load(DEPLOY / "alertmanager" / "alertmanager.yml")
        config["route"] |= {"group_wait": group_wait, "group_interval": group_interval}
        for one in config["receivers"]:
            one["webhook_configs"] = [{"url": f"{receiver}/{one['name']}"}]
        YAML().dump(config, self.config)
        super().__init__(
            folder,
            [f"--config.file={self.config}", f"--storage.path={folder}/alerts", "--cluster.listen-address="],
        )

    def __enter__(self) -> Alertmanager:
        self.start()
        return self

    def alerts(self, **labels: str) -> list[dict[str, Any]]:
        """What fires there, by fingerprint; of those with these labels."""
        found = httpx.get(f"{self.url}/api/v2/alerts").raise_for_status().json()
        mine = [one for one in found if labels.items() <= one["labels"].items()]
        return sorted(mine, key=lambda one: one["fingerprint"])

    def amtool(self, *arguments: str) -> str:
        """What amtool says of it."""
        tool = needed("amtool", "nothing asks Alertmanager as people do")
        return run(tool, *arguments, f"--alertmanager.url={self.url}")


class Prometheus(Watchdog):
    """Prometheus as shipped, but in a hurry and with every job on loopback."""

    name = "prometheus"

    def __init__(
        self, folder: Path, alertmanager: str, jobs: Mapping[str, int], rules: Callable[[str], str] = lambda text: text
    ) -> None:
        """`jobs`: job -> port, for jobs that deploy/ has; `rules`: what to change in its rules."""
        folder.mkdir(parents=True)
        shipped = DEPLOY / "prometheus"
        (folder / "onpace.rules.yml").write_text(rules((shipped / "onpace.rules.yml").read_text()))
        config = YAML().load(shipped / "prometheus.yml")
        config["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
        config["alerting"]["alertmanagers"] = [
            {"static_configs": [{"targets": [alertmanager.removeprefix("http://")]}]}
        ]
        known = [one["job_name"] for one in config["scrape_configs"]]
        assert set(jobs) <= set(known), f"deploy/prometheus scrapes {known}"
        config["scrape_configs"] = [
            {"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]} for job, port in jobs.items()
        ]
        YAML().dump(config, folder / "prometheus.yml")
        run(needed("promtool", "the configuration is not checked"), "check", "config", f"{folder}/prometheus.yml")
        super().__init__(folder, [f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/series"])

    def __enter__(self) -> Prometheus:
        self.start()
        return self

    def until_all_up(self) -> None:
        """Return once every target answers."""
        until(lambda: set(self.healths().values()) == {"up"}, "every target is up", 60)

    def healths(self) -> dict[str, str]:
        """`up`, `down` or `unknown`, by job."""
        found = httpx.get(f"{self.url}/api/v1/targets").json()["data"]["activeTargets"]
        return {target["labels"]["job"]: target["health"] for target in found}

    def query(self, expression: str, by: str) -> dict[str, float]:
        """An instant query's values, by one label."""
        answer = httpx.get(f"{self.url}/api/v1/query", params={"query": expression}).raise_for_status().json()
        return {one["metric"].get(by, ""): float(one["value"][1]) for one in answer["data"]["result"]}


def in_a_tenth(rules: str) -> str:
    """The rules of deploy/ with every duration in them a tenth."""
    return re.sub(r"for: (\d+)m", lambda found: f"for: {int(found[1]) * 6}s", rules).replace("> 120", "> 12")
