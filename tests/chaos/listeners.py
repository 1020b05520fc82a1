"""Who is told: a webhook receiver, and Prometheus with Alertmanager over the files of deploy/, as real processes."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
from ruamel.yaml import YAML
from stacks import until

from onpace.ingest.embedded_broker import free_port

DEPLOY = Path(__file__).parents[2] / "deploy"
ALERTMANAGER = ("alertmanager", "prometheus-alertmanager")  # Debian's name is the second

Told = tuple[str, str, str]
"""Alert name, the dimension or KPI that tells it from others, state."""


class Receiver:
    """Takes the JSON that is POSTed to it, by path."""

    def __init__(self) -> None:
        self._received: list[tuple[str, dict[str, Any]]] = []
        handler = type("Handler", (_Handler,), {"received": self._received})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def bodies(self, path: str) -> list[dict[str, Any]]:
        """What came under a path, in order."""
        return [body for at, body in list(self._received) if at == path]

    def from_engine(self) -> list[Told]:
        """Each message of OnPace's own webhook channel."""
        return [_told(body["labels"], body["state"]) for body in self.bodies("/hook")]

    def from_alertmanager(self) -> list[Told]:
        """Each alert and state that Alertmanager told of, once however often."""
        alerts = [alert for body in self.bodies("/pager") for alert in body["alerts"]]
        return list(dict.fromkeys(_told(alert["labels"], alert["status"]) for alert in alerts))

    def close(self) -> None:
        """Take nothing more."""
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    received: list[tuple[str, dict[str, Any]]]

    def do_POST(self) -> None:
        """Keep the body."""
        self.received.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


def _told(labels: Mapping[str, str], state: str) -> Told:
    return labels["alertname"], labels.get("dim_event_type") or labels.get("kpi", ""), state


class Watchdogs:
    """Prometheus and Alertmanager with the shipped rules, every duration in them a tenth."""

    def __init__(self, folder: Path, receiver: str, targets: Mapping[str, int]) -> None:
        """`targets`: job -> port."""
        self._folder = folder
        folder.mkdir()
        self.alertmanager = f"http://127.0.0.1:{free_port()}"
        self.prometheus = f"http://127.0.0.1:{free_port()}"
        self._configure(receiver, targets)
        self._processes: list[subprocess.Popen[bytes]] = []

    @staticmethod
    def missing() -> list[str]:
        """What is not installed."""
        found = {"prometheus": shutil.which("prometheus"), "alertmanager": any(map(shutil.which, ALERTMANAGER))}
        return [name for name, path in found.items() if not path]

    def _configure(self, receiver: str, targets: Mapping[str, int]) -> None:
        rules = (DEPLOY / "prometheus" / "onpace.rules.yml").read_text()
        rules = re.sub(r"for: (\d+)m", lambda found: f"for: {int(found[1]) * 6}s", rules).replace("> 120", "> 12")
        (self._folder / "rules.yml").write_text(rules)
        config = YAML().load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
        config["global"] = {"scrape_interval": "2s", "scrape_timeout": "2s", "evaluation_interval": "1s"}
        config["rule_files"] = ["rules.yml"]
        config["alerting"]["alertmanagers"] = [{"static_configs": [{"targets": [_host(self.alertmanager)]}]}]
        config["scrape_configs"] = [
            {"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]} for job, port in targets.items()
        ]
        YAML().dump(config, self._folder / "prometheus.yml")
        config = YAML().load((DEPLOY / "alertmanager" / "alertmanager.yml").read_text())
        config["route"] |= {"group_wait": "3s", "group_interval": "5s"}
        for one in config["receivers"]:
            one["webhook_configs"] = [{"url": f"{receiver}/pager"}]
        YAML().dump(config, self._folder / "alertmanager.yml")

    def __enter__(self) -> Watchdogs:
        alertmanager = next(path for path in map(shutil.which, ALERTMANAGER) if path)
        self._start(
            alertmanager,
            f"--config.file={self._folder}/alertmanager.yml",
            f"--storage.path={self._folder}/alerts",
            f"--web.listen-address={_host(self.alertmanager)}",
            "--cluster.listen-address=",
        )
        until(lambda: _answers(f"{self.alertmanager}/-/ready"), "Alertmanager answers")
        return self

    def watch(self) -> None:
        """Start Prometheus, and return once every target answers."""
        self._start(
            "prometheus",
            f"--config.file={self._folder}/prometheus.yml",
            f"--storage.tsdb.path={self._folder}/series",
            f"--web.listen-address={_host(self.prometheus)}",
        )
        until(lambda: _answers(f"{self.prometheus}/-/ready"), "Prometheus answers")
        until(lambda: set(self._healths()) == {"up"}, "every target is up", 60)

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
            process.wait()

    def _start(self, *command: str) -> None:
        with (self._folder / f"{Path(command[0]).name}.log").open("wb") as log:
            self._processes.append(subprocess.Popen(command, stdout=log, stderr=log))

    def _healths(self) -> Sequence[str]:
        found = httpx.get(f"{self.prometheus}/api/v1/targets").json()["data"]["activeTargets"]
        return [target["health"] for target in found]


def _host(url: str) -> str:
    return url.removeprefix("http://")


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).is_success
    except httpx.HTTPError:
        return False
