"""Events per second of one OnPace processor with everything on, beside a plain Faust agent that counts in a Table.

    python docs/benchmarks/throughput.py [--events 500000] [--plain 30000] [--rounds 3] [--flush 100000] [--interval 1]

Both read the same topic of the same broker (`ONPACE_KAFKA__BOOTSTRAP`, else the embedded one), each as a process of its
own, in turn. The time runs from the first record taken to the last one flushed (OnPace) or counted (Faust).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onpace.config.settings import ProcessorSettings

HERE = Path(__file__).resolve().parent
TOPIC = "orders"
PARTITIONS = 4
REGIONS = ("EU", "US", "UK", "JP", "BR")
CHANNELS = tuple(f"channel-{number}" for number in range(10))
REPEATED = 0.01  # share of events sent twice


def orders(count: int, end: datetime, seed: int = 7) -> Iterator[tuple[bytes, bytes]]:
    """(key, event) of `count` orders in the hour before `end`, a little out of order, some of them twice."""
    rng = random.Random(seed)
    last: tuple[bytes, bytes] | None = None
    for number in range(count):
        if last and rng.random() < REPEATED:
            yield last
            continue
        at = end - timedelta(hours=1) * (1 - number / count) - timedelta(seconds=rng.random() * 5)
        user = f"user-{int(rng.paretovariate(1.0)) % 20_000}"
        data = {
            "order_id": f"{number}",
            "user_id": user,
            "amount": round(rng.lognormvariate(3.5, 0.8), 2),
            "items": rng.randint(1, 6),
            "seconds": round(rng.expovariate(1 / 40), 3),
            "region": rng.choice(REGIONS),
            "channel": rng.choice(CHANNELS),
        }
        event = {"specversion": "1.0", "id": f"order-{number}", "source": "/bench", "type": "order.placed"}
        event |= {"time": f"{at:%Y-%m-%dT%H:%M:%S.%fZ}", "subject": f"order-{number}"}
        last = event["subject"].encode(), json.dumps(event | {"data": data}).encode()
        yield last


@dataclass(slots=True)
class Stopwatch:
    """Wall and processor time between the first and the last call of `lap`, and this process's peak memory."""

    laps: list[tuple[float, float]] = field(default_factory=list)

    def lap(self) -> None:
        """Note the time."""
        self.laps[1:] = [(time.monotonic(), time.process_time())]

    def figures(self, events: int) -> dict[str, float]:
        """What the parent process reads."""
        (began, cpu_began), (ended, cpu_ended) = self.laps
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return {"events": events, "seconds": ended - began, "cpu_seconds": cpu_ended - cpu_began, "peak_mib": peak}


async def run_onpace(bootstrap: str, events: int, group: str, processor: ProcessorSettings) -> dict[str, float]:
    """One processor over a new data folder, until `events` offsets are flushed."""
    from prometheus_client import CollectorRegistry

    from onpace.config.settings import KafkaSettings, Settings
    from onpace.deploy.stores import catalog_of, prepare_store
    from onpace.deploy.wiring import worker_of
    from onpace.processors.clickhouse import ClickHouse
    from onpace.processors.processor import Processor
    from onpace.processors.writer import Flush, StoreWriter

    watch = Stopwatch()
    process, write = Processor.process, StoreWriter.write

    def timed_process(self: Processor, records: Any) -> None:
        if not watch.laps:
            watch.lap()
        process(self, records)

    def timed_write(self: StoreWriter, flush: Flush) -> dict[str, int]:
        rows = write(self, flush)
        if flush.checkpoints:
            watch.lap()
        return rows

    Processor.process, StoreWriter.write = timed_process, timed_write  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory(prefix="onpace-bench-") as data:
        settings = Settings(
            data=Path(data),
            kpis=HERE / "kpis",
            kafka=KafkaSettings(bootstrap=bootstrap, topic=TOPIC, group=group, session_timeout=timedelta(seconds=6)),
            processor=processor,
        )
        catalog = catalog_of(settings)
        store = ClickHouse.connect(settings.clickhouse, settings.data)
        prepare_store(store, catalog, TOPIC)
        registry = CollectorRegistry()
        worker = worker_of(settings, catalog, store, registry, dead_letters=lambda _: None, live=False)
        await worker.start()
        while sum(worker.processor.positions.values()) < events and not worker.crashed:
            await asyncio.sleep(0.005)
        if worker.crashed:
            raise worker.crashed
        await worker.finish()
        [(archived,)] = store.query("SELECT count() FROM events")
        [(counted,)] = store.query("SELECT sum(value) FROM kpi_orders_day_total")
        [(distinct,)] = store.query("SELECT uniqExact(source, id) FROM events")
        await worker.stop()
        store.close()
    assert (archived, counted) == (events, distinct), (archived, counted, distinct)
    return watch.figures(events)


async def run_plain(bootstrap: str, events: int, group: str) -> dict[str, float]:
    """A Faust agent as its tutorial writes it: JSON, and a count per region in a tumbling window of a minute."""
    import faust

    app = faust.App(
        group,
        broker=f"kafka://{bootstrap}",
        store="memory://",
        topic_partitions=PARTITIONS,
        topic_disable_leader=True,
        web_enabled=False,
        broker_session_timeout=6.0,
        broker_heartbeat_interval=2.0,
        consumer_auto_offset_reset="earliest",
        loghandlers=[],
    )
    counts = app.Table("counts", default=int, partitions=PARTITIONS).tumbling(60.0, expires=3600.0)
    done = asyncio.Event()
    watch = Stopwatch()
    taken = 0

    @app.agent(app.topic(TOPIC))
    async def count(stream: Any) -> None:
        nonlocal taken
        async for event in stream:
            if taken == 0:
                watch.lap()
            counts[event["data"]["region"]] += 1
            taken += 1
            if taken == events:
                watch.lap()
                done.set()

    await app.start()
    await done.wait()
    return watch.figures(events)


async def child(options: argparse.Namespace) -> None:
    """Run one contestant, print its figures as JSON and end this process: a Faust app in full swing is slow to stop."""
    if options.child == "onpace":
        from onpace.config.settings import ProcessorSettings

        processor = ProcessorSettings(flush_events=options.flush, flush_interval=timedelta(seconds=options.interval))
        figures = await run_onpace(options.bootstrap, options.events, options.group, processor)
    else:
        figures = await run_plain(options.bootstrap, options.plain, options.group)
    print(json.dumps(figures), flush=True)
    os._exit(0)


def measure(name: str, bootstrap: str, options: argparse.Namespace, number: int) -> dict[str, float]:
    """One round of one contestant in a process of its own."""
    given = {name: getattr(options, name) for name in ("events", "plain", "flush", "interval")}
    arguments = [text for name, value in given.items() for text in (f"--{name}", str(value))]
    command = [sys.executable, __file__, "--child", name, "--bootstrap", bootstrap, "--group", f"{name}-{number}"]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{name} failed:\n{done.stderr[-3000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    found["rate"] = found["events"] / found["seconds"]
    print(
        f"round {number}  {name:<7} {found['rate']:>10,.0f} events/s  ({found['events']:,} in {found['seconds']:.2f} s)"
    )
    return found


def fill(bootstrap: str, count: int) -> None:
    """Make the topic and send the events."""
    from onpace.config.settings import KafkaSettings
    from onpace.ingest.bulk import BulkProducer
    from onpace.ingest.topics import ensure_topics

    kafka = KafkaSettings(bootstrap=bootstrap, topic=TOPIC, partitions=PARTITIONS)
    ensure_topics(kafka)
    with BulkProducer(kafka) as producer:
        for key, event in orders(count, datetime.now(UTC)):
            producer.send_raw(event, key)
        producer.flush()
        assert sum(producer.offsets.values()) == count, "the topic was not empty: use a fresh broker"


def summary(name: str, rounds: list[dict[str, float]]) -> str:
    """One line of the table that docs/benchmarks.md shows."""
    rates = [found["rate"] for found in rounds]
    memory = max(found["peak_mib"] for found in rounds)
    middle = statistics.median(rates)
    cpu = statistics.median(1e6 * found["cpu_seconds"] / found["events"] for found in rounds)
    return f"| {name} | {middle:,.0f} | {min(rates):,.0f} | {max(rates):,.0f} | {cpu:,.1f} µs | {memory:,.0f} MiB |"


def compare(bootstrap: str, options: argparse.Namespace) -> None:
    """Fill the topic, let both run in turn, and print the table."""
    print(f"{os.cpu_count()} CPUs, Python {sys.version.split()[0]}; {options.events:,} events to {bootstrap} …")
    fill(bootstrap, options.events)
    rounds: dict[str, list[dict[str, float]]] = {"onpace": [], "plain": []}
    for number in range(1, options.rounds + 1):
        for name, found in rounds.items():
            found.append(measure(name, bootstrap, options, number))
    print("\n| | events/s, median | min | max | CPU an event | peak memory |\n|---|---|---|---|---|---|")
    print(summary("OnPace: dedup, archive, 10 KPIs by 2 dimensions", rounds["onpace"]))
    print(summary("plain Faust agent: one count in a tumbling Table", rounds["plain"]))
    medians = [statistics.median(found["rate"] for found in rounds[name]) for name in ("onpace", "plain")]
    print(f"\nratio of the medians: {medians[0] / medians[1]:.1f}")


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description="OnPace beside a plain Faust agent.")
    parser.add_argument("--events", type=int, default=500_000, help="events for OnPace")
    parser.add_argument("--plain", type=int, default=30_000, help="how many of them the plain agent counts")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--flush", type=int, default=100_000, help="events a flush, at most")
    parser.add_argument("--interval", type=float, default=1.0, help="seconds between two flushes, at most")
    parser.add_argument("--child", choices=["onpace", "plain"], help=argparse.SUPPRESS)
    parser.add_argument("--bootstrap", help=argparse.SUPPRESS)
    parser.add_argument("--group", default="bench", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        asyncio.run(child(options))
    from onpace.ingest.embedded_broker import EmbeddedBroker

    with ExitStack() as held:
        given = os.environ.get("ONPACE_KAFKA__BOOTSTRAP")
        compare(given or held.enter_context(EmbeddedBroker()).address, options)


if __name__ == "__main__":
    main()
