"""Memory of a processor over 20 million events, 5 million distinct ids, 100,000 series and a year of windows.

    python docs/benchmarks/load.py [--events 20000000] [--ids 5000000] [--late 2000] [--folder DIR]
    python docs/benchmarks/load.py --events 3000000 --ids 2400000 --horizon 120 --rate 5000 --every 200000

Apache Kafka, ClickHouse's engine behind HTTP and `onpace process` run as a process each. One line a million events;
then values are recounted, and the processor is killed and started again. `--horizon` shows what memory does once ids
leave the horizon of the deduplication; copies then come soon after their first, for later ones would count.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
from orders_year import LATE, SERIES, Orders, today

from onpace.config.settings import ClickHouseSettings, KafkaSettings
from onpace.deploy.local_kafka import LocalKafka
from onpace.ingest.bulk import BulkProducer
from onpace.ingest.embedded_broker import free_port
from onpace.ingest.topics import ensure_topics
from onpace.processors.clickhouse import ClickHouse

HERE = Path(__file__).resolve().parent
MIB = 1024
WEEK = 7 * 86_400


def memory(pid: int) -> dict[str, int]:
    """Resident memory now and at its peak, in MiB (Linux)."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = dict(re.findall(r"^(VmRSS|VmHWM):\s+(\d+) kB", status, re.MULTILINE))
    return {"rss": int(found["VmRSS"]) // MIB, "peak": int(found["VmHWM"]) // MIB}


@contextmanager
def engine_process(folder: Path) -> Iterator[tuple[int, str]]:
    """(pid, address) of ClickHouse's engine in a process of its own."""
    command = [sys.executable, "-m", "onpace.deploy.clickhouse_http", str(folder), str(free_port())]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.pid, process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


class ProcessorProcess:
    """`onpace process`, with its metrics and its log."""

    def __init__(self, folder: Path, kafka: str, clickhouse: str, **settings: str) -> None:
        self._port = free_port()
        self.log = folder / "processor.log"
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ONPACE_")}
        given = {
            "ONPACE_KAFKA__BOOTSTRAP": kafka,
            "ONPACE_KAFKA__INSTANCE": "load",
            "ONPACE_KAFKA__SESSION_TIMEOUT": "30s",
            "ONPACE_CLICKHOUSE__URL": clickhouse,
            "ONPACE_LOG": "debug",
        }
        command = [sys.executable, "-m", "onpace.deploy.cli", "process", "--kpis", str(HERE / "kpis-load")]
        command += ["--data", str(folder / "data"), "--port", str(self._port)]
        self.started = time.monotonic()
        with self.log.open("w") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env={**kept, **given, **settings})

    @property
    def pid(self) -> int:
        """Its process id."""
        if self._process.poll() is not None:
            sys.exit(f"the processor ended:\n{self.log.read_text()[-3000:]}")
        return self._process.pid

    def metrics(self) -> dict[str, float]:
        """Sums over all labels, by name; nothing while it does not answer."""
        try:
            text = httpx.get(f"http://127.0.0.1:{self._port}/metrics", timeout=30).text
        except httpx.HTTPError:
            return {}
        sums: Counter[str] = Counter()
        for name, value in re.findall(r"^(\w+)(?:\{.*\})? (\S+)$", text, re.MULTILINE):
            sums[name] += float(value)  # type: ignore[assignment]
        return dict(sums)

    def taken(self) -> int:
        """Records taken since it started."""
        assert self.pid
        found = self.metrics()
        names = ("onpace_events_total", "onpace_duplicate_events_total", "onpace_dead_letters_total")
        return int(sum(found.get(name, 0) for name in names))

    def end(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End it."""
        if self._process.poll() is None:
            self._process.send_signal(number)
        self._process.wait()


class Feeder:
    """Sends orders from a thread; `sent` says how many."""

    def __init__(self, orders: Orders, kafka: KafkaSettings, rate: float = 0) -> None:
        """`rate`: events a second; 0 is as fast as it goes."""
        self._orders, self._kafka, self._rate = orders, kafka, rate
        self.sent = 0
        self._stopped = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        began, line, key = time.monotonic(), self._orders.line, self._orders.key
        with BulkProducer(self._kafka, timeout=120) as producer:
            for number in self._orders.sent():
                producer.send_raw(line(number), key(number))
                self.sent += 1
                if self.sent % 1000 == 0 and self._rate:
                    time.sleep(max(0.0, began + self.sent / self._rate - time.monotonic()))
                if self._stopped:
                    break
            producer.flush(120)

    def stop(self) -> None:
        """Send no more, and return once all is acknowledged."""
        self._stopped = True
        self._thread.join()

    @property
    def running(self) -> bool:
        """Whether there is more to come."""
        return self._thread.is_alive()


def remembered(store: ClickHouse, horizon: int) -> int:
    """Ids that arrived within the horizon (seconds), as the log tells time."""
    sql = (
        "SELECT countIf(NOT duplicate AND arrival >= (SELECT max(arrival) FROM events) - {horizon:UInt32}) FROM events"
    )
    [(count,)] = store.query(sql, {"horizon": horizon})
    return int(count)


def watch(
    processor: ProcessorProcess, engine: int, feeder: Feeder, store: ClickHouse, options: argparse.Namespace
) -> None:
    """A line every so many events until all are taken and written. `ids` are those to be remembered."""
    events, every = options.events, options.every
    print("\n| events | seconds | events/s | ids | processor RSS | peak | engine RSS |\n|---|---|---|---|---|---|---|")
    began, printed, last = time.monotonic(), 0, (time.monotonic(), 0)
    while True:
        time.sleep(1)
        taken = processor.taken()
        if taken // every > printed or taken >= events:
            printed, now = taken // every, time.monotonic()
            own, other = memory(processor.pid), memory(engine)
            rate = (taken - last[1]) / (now - last[0])
            cells = (
                f"{taken:,}",
                f"{now - began:,.0f}",
                f"{rate:,.0f}",
                f"{remembered(store, options.horizon):,}",
                own["rss"],
                own["peak"],
                other["rss"],
            )
            print("| " + " | ".join(map(str, cells)) + " |", flush=True)
            last = now, taken
        if taken >= events:
            assert not feeder.running
            return


def audit(store: ClickHouse, orders: Orders) -> None:
    """Recount orders and revenue by day and region, and compare each value."""
    counts: Counter[Any] = Counter()
    cents: Counter[Any] = Counter()
    for number in range(orders.ids):
        place = orders.day(number), f"r{orders.region(number)}"
        counts[place] += 1
        cents[place] += orders.cents(number)
    [(archived, accepted)] = store.query("SELECT count(), countIf(duplicate = 0) FROM events")
    sql = "SELECT window_start, region, {} FROM kpi_{}_day GROUP BY window_start, region"
    found = {(at, region): int(n) for at, region, n in store.query(sql.format("sum(value)", "orders"))}
    sums = {(at, region): round(v * 100) for at, region, v in store.query(sql.format("sum(value)", "revenue"))}
    wrong = sum(found.get(k) != v for k, v in counts.items()) + sum(sums.get(k) != v for k, v in cents.items())
    wrong += len(found.keys() - counts.keys()) + len(sums.keys() - cents.keys())
    [(series, windows)] = store.query(
        "SELECT uniqExact(dims), uniqExact(window_start) FROM partials WHERE kpi = 'orders'"
    )
    print(f"\narchived {archived:,}, accepted {accepted:,} of {orders.ids:,} ids")
    print(f"{series:,} series, {windows:,} windows of an hour")
    print(f"compared {len(counts) + len(cents):,} values (orders and revenue, by day and region): {wrong} wrong")


def written(store: ClickHouse) -> int:
    """Events that a checkpoint vouches for."""
    [(offsets,)] = store.query("SELECT sum(o) FROM (SELECT max(offset) AS o FROM checkpoints GROUP BY partition)")
    return int(offsets)


def restart(folder: Path, kafka: str, clickhouse: str, **settings: str) -> None:
    """How long a new process takes until it holds every id again, and what it holds then."""
    processor = ProcessorProcess(folder, kafka, clickhouse, **settings)
    try:
        while processor.log.read_text().count("partition taken over") < KafkaSettings().partitions:
            time.sleep(0.1)
            assert processor.pid
        seconds = time.monotonic() - processor.started
        own = memory(processor.pid)
        ids = sum(map(int, re.findall(r'"ids": (\d+)', processor.log.read_text())))
        print(f"restart: {seconds:.1f} s from start to {ids:,} ids known, {own['rss']} MiB ({own['peak']} at the peak)")
    finally:
        processor.end()


def run(options: argparse.Namespace, folder: Path) -> None:
    """One load from the first event to the audit."""
    recent = options.rate * options.horizon // 10 if options.horizon < WEEK else None
    orders = Orders(options.ids, options.events, today(), options.late, recent)
    with ExitStack() as held:
        broker = held.enter_context(LocalKafka(folder / "kafka"))
        engine, url = held.enter_context(engine_process(folder / "engine"))
        kafka = KafkaSettings(bootstrap=broker.address)
        ensure_topics(kafka)
        print(f"{os.cpu_count()} CPUs; {options.events:,} events, {options.ids:,} ids, {SERIES:,} series …")
        feeder = Feeder(orders, kafka, options.rate)
        horizon = {"ONPACE_PROCESSOR__DEDUP_HORIZON": f"{options.horizon}s"}
        processor = ProcessorProcess(folder, broker.address, url, **horizon)
        held.callback(processor.end)
        store = ClickHouse.connect(ClickHouseSettings(url=url), folder)
        watch(processor, engine, feeder, store, options)
        while written(store) < options.events:
            time.sleep(0.5)
        audit(store, orders)
        processor.end()
        restart(folder, broker.address, url, **horizon)


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description="Memory of a processor over a large load.")
    parser.add_argument("--events", type=int, default=20_000_000)
    parser.add_argument("--ids", type=int, default=5_000_000)
    parser.add_argument(
        "--late", type=int, default=LATE, help="one order in so many comes out of order by up to a year"
    )
    parser.add_argument("--every", type=int, default=1_000_000, help="events between two lines")
    parser.add_argument("--horizon", type=int, default=WEEK, help="seconds within which a copy is known as one")
    parser.add_argument("--rate", type=int, default=0, help="events a second; as fast as it goes by default")
    parser.add_argument("--folder", type=Path, help="keep everything here (about 15 GiB)")
    options = parser.parse_args()
    if options.horizon < WEEK and not options.rate:
        parser.error("--horizon needs --rate: copies must come within it")
    with ExitStack() as held:
        folder = options.folder or Path(held.enter_context(tempfile.TemporaryDirectory(prefix="onpace-load-")))
        folder.mkdir(parents=True, exist_ok=True)
        run(options, folder.resolve())


if __name__ == "__main__":
    main()
