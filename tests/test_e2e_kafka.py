"""The main path on a durable Kafka: processor and broker are killed while events flow, and no value changes."""

from __future__ import annotations

import json
import random
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from brokers import TestKafka, some_kafka
from stacks import Running, free_port, until

from onpace.config.calendar import Grain
from onpace.config.loader import load_catalog
from onpace.config.settings import ClickHouseSettings, KafkaSettings
from onpace.ingest.bulk import BulkProducer
from onpace.ingest.topics import ensure_topics
from onpace.processors.clickhouse import ClickHouse
from onpace.processors.reader import Reader

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

FILE = """version: 1
events:
  order.placed:
    properties: {user_id: {type: string}, amount: {type: number, decimal: 2}, region: {type: string}}
    required: [user_id, amount]
kpis:
  - name: orders
    type: simple
    event: order.placed
    agg: count
    dimensions: [region]
    direction: higher_is_better
    role: leading
  - name: revenue
    type: simple
    event: order.placed
    agg: sum
    value: amount
    dimensions: [region]
    direction: higher_is_better
    role: lagging
"""
BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
SEED = 20261121
EVENTS = 24_000


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestKafka]:
    """Some Kafka; the test says loudly when it is not one that can be killed and remembers."""
    with some_kafka(tmp_path_factory.mktemp("kafka")) as found:
        if not found.durable or found.server is None:
            pytest.skip(f"NO DURABLE KAFKA THAT MAY BE KILLED (only {found.kind}): install Java 17 and Maven")
        yield found


def orders(rng: random.Random) -> list[tuple[str, datetime, str, Decimal]]:
    """(id, time, region, amount) of every order, in no order of time."""
    return [
        (
            f"o{k}",
            BEGIN + timedelta(seconds=rng.randrange(20 * 86400)),
            rng.choice("ABC"),
            Decimal(rng.randrange(10**6)) / 100,
        )
        for k in range(EVENTS)
    ]


def line(name: str, at: datetime, region: str, amount: Decimal) -> bytes:
    """The event on the wire."""
    event = {"specversion": "1.0", "id": name, "source": "/shop", "type": "order.placed", "time": at.isoformat()}
    data = f'{{"user_id": "u", "region": "{region}", "amount": {amount}}}'
    return f'{json.dumps(event)[:-1]}, "data": {data}}}'.encode()


def test_values_survive_kills_of_processor_and_broker(kafka: TestKafka, tmp_path: Path) -> None:
    """Five kill -9 of the processor, one of the broker, duplicates; then a recount of every value."""
    rng = random.Random(SEED)
    print(f"seed {SEED}")  # noqa: T201
    (tmp_path / "kpis").mkdir()
    (tmp_path / "kpis" / "shop.yaml").write_text(FILE)
    sent = orders(rng)
    settings = KafkaSettings(bootstrap=kafka.address)
    ensure_topics(settings)

    def start() -> Running:
        return Running(
            *("process", "--data", tmp_path / "data", "--kpis", tmp_path / "kpis", "--port", free_port()),
            ONPACE_KAFKA__BOOTSTRAP=kafka.address,
            ONPACE_KAFKA__INSTANCE="one",
            ONPACE_KAFKA__SESSION_TIMEOUT="6s",
            ONPACE_PROCESSOR__FLUSH_INTERVAL="1s",
            ONPACE_PROCESSOR__POLL_EVENTS="500",
            ONPACE_PROCESSOR__FLUSH_EVENTS="700",
            ONPACE_LOG="debug",
        )

    def feed(part: list[tuple[str, datetime, str, Decimal]]) -> dict[int, int]:
        with BulkProducer(settings) as producer:
            for one in part:
                producer.send_raw(line(*one), key=one[0].encode())
                if rng.random() < 0.05:
                    producer.send_raw(line(*one), key=one[0].encode())
            producer.flush(60)
            return dict(producer.offsets)

    feed(sent[: EVENTS // 2])
    for _ in range(5):
        running = start()
        running.until_printed("partition taken over", 90)
        time.sleep(rng.random() * 2)  # anywhere in a batch or a flush
        running.process.kill()
        running.end()
    running = start()
    running.until_printed("partition taken over", 90)
    kafka.server.kill()
    kafka.server.start()
    offsets = feed(sent[EVENTS // 2 :] + sent[:1000])
    try:
        _drain(running, settings, offsets)
        assert running.stop() == 0, running.text[-3000:]
    finally:
        running.end()
    _audit(tmp_path, sent)


def _drain(running: Running, settings: KafkaSettings, offsets: dict[int, int]) -> None:
    """Return once Kafka has every offset committed, which comes last in a flush."""
    from kafka import KafkaAdminClient

    admin = KafkaAdminClient(bootstrap_servers=settings.bootstrap)
    try:

        def drained() -> bool:
            assert running.process.poll() is None, running.text[-3000:]
            committed = {
                tp.partition: at.offset for tp, at in admin.list_group_offsets(settings.group)[settings.group].items()
            }
            return all(committed.get(partition, 0) >= offset for partition, offset in offsets.items())

        until(drained, "everything committed", 120)
    finally:
        admin.close()


def _audit(folder: Path, sent: list[tuple[str, datetime, str, Decimal]]) -> None:
    wanted: dict[tuple[datetime, str], list[Decimal]] = defaultdict(list)
    for _, at, region, amount in sent:
        wanted[at.replace(hour=0, minute=0, second=0), region].append(amount)
    store = ClickHouse.connect(ClickHouseSettings(), folder / "data")
    try:
        reader = Reader(store, load_catalog(folder / "kpis"))
        compared: Counter[str] = Counter()
        for kpi, count in (("orders", len), ("revenue", lambda amounts: float(sum(amounts)))):
            for (region,), points in reader.series(
                kpi, Grain.DAY, BEGIN, BEGIN + timedelta(days=20), by=["region"]
            ).items():
                for point in points:
                    assert point.value == count(wanted[point.window_start, region or ""]), (kpi, region, point)
                    compared[kpi] += 1
        [(accepted, distinct)] = store.query("SELECT countIf(duplicate = 0), uniqExact(id) FROM events FINAL")
    finally:
        store.close()
    print(f"compared {dict(compared)}, archived {accepted}")  # noqa: T201
    assert compared == {"orders": 60, "revenue": 60}
    assert (accepted, distinct) == (EVENTS, EVENTS)
