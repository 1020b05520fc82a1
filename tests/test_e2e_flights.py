"""A year of real flights through the whole path (broker, Faust worker, ClickHouse engine) equals its recount."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from flights_example import EXAMPLE
from flights_year import Prepared, compare, prepare
from prometheus_client.parser import text_string_to_metric_families

from onpace.config.loader import load_catalog
from onpace.config.settings import ClickHouseSettings, KafkaSettings
from onpace.ingest.bulk import BulkProducer
from onpace.ingest.embedded_broker import EmbeddedBroker, free_port
from onpace.ingest.files import replay
from onpace.ingest.topics import ensure_topics
from onpace.processors.clickhouse import ClickHouse
from onpace.processors.reader import Reader

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(420)]

KPIS = EXAMPLE / "kpis"
CATALOG = load_catalog(KPIS)
ONPACE = [sys.executable, "-m", "onpace.deploy.cli"]
COUNTED = ("onpace_events", "onpace_duplicate_events", "onpace_dead_letters")


def environment(**settings: str) -> dict[str, str]:
    """This process's, without its settings of OnPace."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ONPACE_")}
    return {**kept, **settings}


def until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait for another process."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.05)


class Processor:
    """`onpace process` as a process of its own, seen through its metrics."""

    def __init__(self, bootstrap: str, data: Path, log: Path, instance: str | None = None) -> None:
        """`instance`: a member of the group under this name, whose successor need not wait until it is given up."""
        port = free_port()
        settings = {"ONPACE_KAFKA__BOOTSTRAP": bootstrap, "ONPACE_KAFKA__SESSION_TIMEOUT": "6s"}
        settings |= {"ONPACE_KAFKA__INSTANCE": instance} if instance else {}
        command = [*ONPACE, "process", "--data", str(data), "--kpis", str(KPIS), "--port", str(port)]
        with log.open("ab") as out:
            self.process = subprocess.Popen(command, env=environment(**settings), stdout=out, stderr=out)
        self._log = log
        self._url = f"http://127.0.0.1:{port}/metrics"

    def metrics(self) -> dict[str, list[float]]:
        """Metric -> its values, one for each set of labels; nothing before it answers."""
        assert self.process.poll() is None, f"the processor ended by itself:\n{self._log.read_text()[-3000:]}"
        try:
            text = httpx.get(self._url, timeout=10).text
        except httpx.TransportError:
            return {}
        found: dict[str, list[float]] = {}
        for sample in (sample for family in text_string_to_metric_families(text) for sample in family.samples):
            found.setdefault(sample.name, []).append(sample.value)
        return found

    def taken(self) -> int:
        """Offsets that became an event, a duplicate or a dead letter since it started."""
        metrics = self.metrics()
        return int(sum(sum(metrics.get(f"{name}_total", [])) for name in COUNTED))

    def flushes(self) -> float:
        """Flushes written since it started."""
        return sum(self.metrics().get("onpace_flush_duration_seconds_count", []))

    def drain(self, offsets: int) -> None:
        """Return once it has taken this many, and has then written and looked for more twice."""
        until(lambda: self.taken() >= offsets, 120, f"{offsets:,} events taken")
        flushes = self.flushes()
        until(lambda: self.flushes() >= flushes + 2, 30, "two more flushes")

    def stop(self) -> int:
        """SIGTERM; the exit code. Raises TimeoutExpired after ten seconds."""
        self.process.terminate()
        return self.process.wait(10)

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()


@contextmanager
def opened(data: Path) -> Iterator[ClickHouse]:
    """The store of a processor that has ended."""
    store = ClickHouse.connect(ClickHouseSettings(), data)
    try:
        yield store
    finally:
        store.close()


def checkpointed(data: Path) -> int:
    """Offsets that a restart need not read again."""
    with opened(data) as store:
        rows = store.query("SELECT partition, max(offset) FROM checkpoints GROUP BY partition")
        return sum(int(offset) for _, offset in rows)


def dead_letters(store: ClickHouse) -> Counter[bytes]:
    """The raw bytes of all dead letters."""
    rows = store.query("SELECT base64Encode(raw) FROM dead_letters FINAL")
    return Counter(base64.b64decode(raw) for (raw,) in rows)


def archived(store: ClickHouse) -> tuple[int, int, int]:
    """Archived events that are no duplicates, distinct ids among them, and duplicates."""
    select = "SELECT countIf(duplicate = 0), uniqExactIf((source, id), duplicate = 0), countIf(duplicate = 1)"
    [(accepted, distinct, duplicates)] = store.query(f"{select} FROM events FINAL")
    return int(accepted), int(distinct), int(duplicates)


@pytest.fixture(scope="session")
def year() -> Prepared:
    """All flights of 2013."""
    return prepare()


@pytest.fixture(scope="session")
def march() -> Prepared:
    """The month in which summer time begins."""
    return prepare("3")


def test_a_killed_and_restarted_processor_has_every_value_of_the_year(
    year: Prepared, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With duplicates near and hours apart, disorder and malformed lines; SIGKILL halfway, SIGTERM at the end."""
    began = time.monotonic()
    data, log = tmp_path / "data", tmp_path / "processor.log"
    lines = year.dirt["events"] + year.duplicates + year.dirt["malformed"]
    with EmbeddedBroker() as broker, ThreadPoolExecutor(1) as feeder:
        kafka = KafkaSettings(bootstrap=broker.address)
        ensure_topics(kafka)
        first = Processor(broker.address, data, log, "e2e")
        with BulkProducer(kafka) as producer:
            feeding = feeder.submit(replay, year.events, producer)
            try:
                until(lambda: first.taken() >= lines // 2, 120, "half of the events taken")
            finally:
                first.kill()
            resumed_at = checkpointed(data)
            second = Processor(broker.address, data, log, "e2e")
            try:
                fed = feeding.result(120)
                assert (fed.sent, sum(fed.offsets.values())) == (lines, lines)
                second.drain(lines - resumed_at)
                assert second.taken() == lines - resumed_at  # from the checkpoint on, each offset once
                assert second.stop() == 0
            finally:
                second.kill()
    fed_for = time.monotonic() - began
    assert 0 < resumed_at < lines
    with opened(data) as store:
        assert dead_letters(store) == year.malformed
        assert archived(store) == (year.dirt["events"], year.dirt["events"], year.duplicates)
        compared = compare(Reader(store, CATALOG), CATALOG, year.recount)
    with capsys.disabled():
        sys.stdout.write(f"\n{lines:,} lines in {fed_for:.0f} s, killed at {resumed_at:,} checkpointed; {compared}\n")
    assert not compared.wrong, "\n".join(compared.wrong[:20])
    assert compared.values.total() - compared.filled + compared.unknown == len(year.recount)


class Pace(BulkProducer):
    """Sends so slowly that there is always more to come, until told to hurry."""

    def __init__(self, bootstrap: KafkaSettings) -> None:
        super().__init__(bootstrap)
        self.hurry = False
        self._sent = 0

    def send_raw(self, value: bytes, key: bytes, headers: Sequence[tuple[str, bytes]] = ()) -> None:
        """A hundred messages, then a rest."""
        super().send_raw(value, key, headers)
        self._sent += 1
        if self._sent % 100 == 0 and not self.hurry:
            self.flush()
            time.sleep(0.02)


def test_partitions_that_go_to_another_processor_and_come_back_lose_nothing(march: Prepared, tmp_path: Path) -> None:
    """Two rebalances while events keep coming. The other one has a store of its own, so the first must read all."""
    lines = march.dirt["events"] + march.duplicates + march.dirt["malformed"]
    log = tmp_path / "processor.log"
    with EmbeddedBroker() as broker, ThreadPoolExecutor(1) as feeder:
        kafka = KafkaSettings(bootstrap=broker.address)
        ensure_topics(kafka)
        first = Processor(broker.address, tmp_path / "first", log)
        try:
            until(lambda: first.flushes() > 0, 60, "the first processor's start")
            with Pace(kafka) as producer:
                feeding = feeder.submit(replay, march.events, producer)
                other = Processor(broker.address, tmp_path / "other", log)
                try:
                    until(lambda: other.taken() > 0, 150, "the other processor's share")
                    assert other.stop() == 0
                finally:
                    other.kill()
                assert not feeding.done()
                producer.hurry = True
                assert feeding.result(120).sent == lines
            first.drain(lines)
            assert first.taken() == lines
            assert first.stop() == 0
        finally:
            first.kill()
    with opened(tmp_path / "first") as store:
        assert archived(store) == (march.dirt["events"], march.dirt["events"], march.duplicates)
        compared = compare(Reader(store, CATALOG), CATALOG, march.recount)
    assert not compared.wrong, "\n".join(compared.wrong[:20])


def run(*arguments: str | Path) -> str:
    """An `onpace` command that must succeed; its standard output."""
    command = [*ONPACE, *map(str, arguments)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder into which March is replayed."""
    return tmp_path_factory.mktemp("replayed")


def test_a_file_replayed_twice_counts_once(march: Prepared, replayed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`onpace up --replay --exit` on one data folder: the second broker is new, and all of it is duplicates."""
    events, again = march.dirt["events"], march.duplicates
    for replays in (1, 2):
        run("up", "--data", replayed, "--kpis", KPIS, "--replay", march.events, "--exit")
        with opened(replayed) as store:
            assert archived(store) == (events, events, replays * again + (replays - 1) * events)
            assert dead_letters(store) == Counter({raw: replays * n for raw, n in march.malformed.items()})
            compared = compare(Reader(store, CATALOG), CATALOG, march.recount)
        with capsys.disabled():
            sys.stdout.write(f"\nreplay {replays}: {compared}\n")
        assert not compared.wrong, "\n".join(compared.wrong[:20])


@pytest.mark.parametrize("kpi", ["departures", "on_time_departure_rate"])
def test_query_prints_the_recounted_month(kpi: str, march: Prepared, replayed: Path) -> None:
    """As JSON, with exactly the promised keys."""
    window = ["--grain", "month", "--start", "2013-03-01", "--end", "2013-04-01", "--by", "origin"]
    rows = json.loads(run("query", kpi, "--data", replayed, "--kpis", KPIS, *window, "--format", "json"))
    assert [list(row) for row in rows] == [["window_start", "origin", "value", "complete"]] * 3
    start = "2013-03-01T05:00:00Z"
    wanted = {origin: march.recount[kpi, "month", start, origin, None] for origin in ("EWR", "JFK", "LGA")}
    assert {row["origin"]: row["value"] for row in rows} == pytest.approx(wanted, rel=1e-9)
    assert all(row["window_start"] == start and row["complete"] is True for row in rows)
