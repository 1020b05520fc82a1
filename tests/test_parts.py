"""Gateway, processor and alert engine as processes of their own, with a broker and a ClickHouse server apart."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from stacks import Running, environment, rows, until

from onpace.ingest.embedded_broker import EmbeddedBroker, free_port

pytestmark = pytest.mark.e2e

KPI_FILE = """version: 1
defaults: {lateness: 1s}
events:
  order.placed:
    properties: {amount: {type: number, decimal: 2}}
kpis:
  - name: revenue
    type: simple
    event: order.placed
    agg: sum
    value: amount
    direction: higher_is_better
    role: lagging
    targets: [{every: year, value: 100}]
"""


@pytest.fixture
def clickhouse(tmp_path: Path) -> Iterator[str]:
    """A ClickHouse server: the engine behind its HTTP interface, in a process of its own."""
    command = [sys.executable, "-m", "onpace.deploy.clickhouse_http", str(tmp_path / "server"), "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment()) as server:
        assert server.stdout is not None
        yield server.stdout.readline().strip()
        server.kill()


class Part(Running):
    """One part, with its web interface."""

    def __init__(self, name: str, kpis: Path, **settings: object) -> None:
        port = free_port()
        super().__init__(name, "--kpis", kpis, "--port", port, **settings)
        self.url = f"http://127.0.0.1:{port}"

    def answers(self, path: str) -> bool:
        """Whether it says 200 there."""
        try:
            return httpx.get(self.url + path, timeout=20).status_code == 200
        except httpx.TransportError:
            return False

    def post(self) -> httpx.Response:
        """Send one event, always the same."""
        event = {"specversion": "1.0", "id": "o1", "source": "/t", "type": "order.placed", "data": {"amount": 12.5}}
        event["time"] = (datetime.now(UTC) - timedelta(minutes=5)).isoformat()
        return httpx.post(f"{self.url}/v1/events", json=event, timeout=20)


def test_the_parts_work_together_and_the_gateway_waits_for_kafka(clickhouse: str, tmp_path: Path) -> None:
    """503 with Retry-After until the broker is there; then an event goes all the way to the alert engine's page."""
    kpis = tmp_path / "shop.yaml"
    kpis.write_text(KPI_FILE)
    broker = EmbeddedBroker(free_port())
    settings = {
        "ONPACE_KAFKA__BOOTSTRAP": broker.address,
        "ONPACE_KAFKA__SESSION_TIMEOUT": "6s",
        "ONPACE_CLICKHOUSE__URL": clickhouse,
        "ONPACE_ENGINE__INTERVAL": "1s",
    }
    parts = [gateway := Part("gateway", kpis, **settings)]
    try:
        until(lambda: gateway.answers("/healthz"), "the gateway")
        refused = gateway.post()
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        with broker:
            parts += [process := Part("process", kpis, **settings), alert := Part("alert", kpis, **settings)]
            until(lambda: gateway.post().status_code == 202, "202")
            until(lambda: process.answers("/metrics") and alert.answers("/"), "processor and engine")
            command = ("query", "revenue", "--grain", "year", "--kpis", kpis)
            until(lambda: [row["value"] for row in rows(*command, **settings)] == [12.5], "the value")
            status = f"{alert.url}/api/status"
            until(lambda: httpx.get(status, timeout=20).json()["kpis"][0]["value"] == 12.5, "the status page")
            assert "onpace_kpi_value" in httpx.get(f"{alert.url}/metrics", timeout=20).text
            assert httpx.get(f"{alert.url}/api/silences", timeout=20).json() == []
            assert [part.stop() for part in parts] == [0, 0, 0], "".join(part.text for part in parts)
    finally:
        for part in parts:
            part.end()
    assert not [part.text for part in parts if "Traceback" in part.text]
