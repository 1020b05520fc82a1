"""Backpressure: what a ClickHouse that takes ten times as long does to the lag and to the processor's memory.

    python docs/benchmarks/slow_store.py [--rate 10000] [--factor 10] [--seconds 120]

Events come at a steady rate. A proxy before ClickHouse's engine holds every answer back for as many times as long as
the engine took; then it lets go, and the processor catches up. One line every ten seconds.
"""

from __future__ import annotations

import argparse
import http.client
import signal
import tempfile
import threading
import time
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from load import Feeder, ProcessorProcess, engine_process, memory
from orders_year import Orders, today

from onpace.config.settings import ClickHouseSettings, KafkaSettings
from onpace.deploy.local_kafka import LocalKafka
from onpace.ingest.topics import ensure_topics
from onpace.processors.clickhouse import ClickHouse

_KEPT = ("content-encoding", "x-clickhouse-format", "authorization", "content-type")


class SlowProxy:
    """Passes HTTP on; every answer takes `factor` times as long as it would have."""

    def __init__(self, target: str) -> None:
        self.factor = 1.0
        address = urlsplit(target).netloc
        handler = type("Handler", (_Handler,), {"proxy": self, "target": address})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    proxy: SlowProxy
    target: str
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._pass_on(b"")

    def do_POST(self) -> None:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            self._pass_on(self._chunks())
        else:
            self._pass_on(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

    def _chunks(self) -> bytes:
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _pass_on(self, body: bytes) -> None:
        began = time.monotonic()
        server = http.client.HTTPConnection(self.target, timeout=120)
        headers = {name: value for name in _KEPT if (value := self.headers.get(name))}
        server.request(self.command, self.path, body, headers)
        answer = server.getresponse()
        content = answer.read()
        server.close()
        time.sleep((time.monotonic() - began) * (self.proxy.factor - 1))
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "server", "date"):
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


def run(options: argparse.Namespace, folder: Path, held: ExitStack) -> None:
    """At full speed, then slow, then at full speed until nothing waits."""
    broker = held.enter_context(LocalKafka(folder / "kafka"))
    _, url = held.enter_context(engine_process(folder / "engine"))
    proxy = SlowProxy(url)
    kafka = KafkaSettings(bootstrap=broker.address)
    ensure_topics(kafka)
    processor = ProcessorProcess(folder, broker.address, proxy.url)
    held.callback(processor.end)
    while not processor.metrics():
        time.sleep(0.5)
        assert processor.pid
    events = int(options.rate * options.seconds * 20)
    feeder = Feeder(Orders(events // 2, events, today()), kafka, options.rate)
    began = time.monotonic()
    print("| seconds | ClickHouse | sent | taken | waiting | processor RSS | peak |\n|---|---|---|---|---|---|---|")

    def line(name: str) -> int:
        time.sleep(10)
        sent, taken, own = feeder.sent, processor.taken(), memory(processor.pid)
        cells = (f"{time.monotonic() - began:.0f}", name, f"{sent:,}", f"{taken:,}", f"{max(0, sent - taken):,}")
        print("| " + " | ".join((*cells, str(own["rss"]), str(own["peak"]))) + " |", flush=True)
        return sent - taken

    for factor, seconds in ((1, options.seconds / 2), (options.factor, options.seconds)):
        proxy.factor, until = factor, time.monotonic() + seconds
        while time.monotonic() < until:
            line("as it is" if factor == 1 else f"{factor:g} times as slow")
    proxy.factor = 1
    while line("as it is") > 2 * options.rate:
        pass
    feeder.stop()
    store = ClickHouse.connect(ClickHouseSettings(url=url), folder)
    while processor.taken() < feeder.sent:
        time.sleep(0.5)
    processor.end(signal.SIGTERM)
    [(archived, counted)] = store.query(
        "SELECT (SELECT count() FROM events), (SELECT sum(value) FROM kpi_orders_year_total)"
    )
    [(ids,)] = store.query("SELECT uniqExact(id) FROM events")
    print(f"\nsent {feeder.sent:,}, archived {archived:,}; {ids:,} ids, counted {int(counted):,}")


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description="Lag and memory before a slow ClickHouse.")
    parser.add_argument("--rate", type=float, default=10_000, help="events a second")
    parser.add_argument("--factor", type=float, default=10, help="times as slow")
    parser.add_argument("--seconds", type=float, default=120, help="for so long")
    options = parser.parse_args()
    with ExitStack() as held:
        run(options, Path(held.enter_context(tempfile.TemporaryDirectory(prefix="onpace-slow-"))), held)


if __name__ == "__main__":
    main()
