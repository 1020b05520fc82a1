"""`onpace up` is killed again and again: its broker forgets all, ClickHouse nothing; the application sends again."""

# ruff: noqa: ARG002

from __future__ import annotations

import bisect
import json
import random
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from stacks import Running, Server, free_port, until

from chaos.arena import CATALOG
from chaos.audit import MOST_SHOWN, Figures, audit_archive, audit_values
from chaos.feed import Feed, Mix
from chaos.recount import KPIS, read_file
from chaos.watcher import Watcher
from onpace.config.errors import BrokerUnavailable
from onpace.config.settings import ClickHouseSettings, KafkaSettings
from onpace.processors.clickhouse import ClickHouse

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

RATE = 150
Identity = tuple[str, str]


class GatewaySender:
    """Sends batches to the gateway; delivered is what it answers 202 to."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=20)
        self._lines: list[bytes] = []
        self.offsets: dict[int, int] = {}

    def send_raw(self, value: bytes, key: bytes) -> None:
        """Put a line into the batch."""
        self._lines.append(value)

    def flush(self, timeout: float | None = None) -> None:
        """Send the batch. Raises BrokerUnavailable for any other answer than 202, or none."""
        body, self._lines = b"[" + b",".join(self._lines) + b"]", []
        try:
            answer = self._client.post(
                "/v1/events", content=body, headers={"content-type": "application/cloudevents-batch+json"}
            )
        except httpx.HTTPError as exc:
            raise BrokerUnavailable(str(exc)) from exc
        if answer.status_code != 202:
            raise BrokerUnavailable(f"{answer.status_code} {answer.text[:300]}")

    def close(self) -> None:
        """Disconnect."""
        self._client.close()


class Lives:
    """One embedded stack, life after life on the same folder and ports."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self._port, self._sql, self._broker = free_port(), free_port(), free_port()
        self.url, self.sql = f"http://127.0.0.1:{self._port}", f"http://127.0.0.1:{self._sql}"
        self.running: Running | None = None

    def start(self) -> Running:
        """Begin a life, and return once it answers."""
        self.running = Running(
            *("up", "--data", self.data, "--kpis", CATALOG, "--port", self._port),
            ONPACE_WEB__CLICKHOUSE_PORT=self._sql,
            ONPACE_KAFKA__EMBEDDED_PORT=self._broker,
            ONPACE_PROCESSOR__FLUSH_INTERVAL="1s",
            ONPACE_PROCESSOR__FLUSH_EVENTS=1000,
        )
        self.running.until_printed("Kafka  ", 120)
        return self.running

    def kill(self) -> None:
        """End it at once, with its broker."""
        assert self.running is not None
        self.running.process.kill()
        self.running.process.wait()
        assert "Traceback" not in self.running.text, self.running.text[-3000:]

    def archived(self) -> set[Identity]:
        """What ClickHouse holds."""
        store = ClickHouse.connect(ClickHouseSettings(url=self.sql), self.data, read_only=True)
        try:
            return set(store.query("SELECT source, id FROM events WHERE NOT duplicate"))
        finally:
            store.close()


def identity(line: bytes) -> Identity:
    """Of the event in a line."""
    event = json.loads(line)
    return event["source"], event["id"]


def send_unknown_again(feed: Feed, lives: Lives, sent_again: dict[Identity, datetime]) -> int:
    """As the application does after a crash: whatever the archive does not hold, accepted or not, under its own id."""
    lines = feed.file.read_bytes().splitlines()
    known = lives.archived()
    unknown = {name: line for line in lines if (name := identity(line)) not in known}
    feed.send_lines([(b"", line) for line in unknown.values()])
    sent_again |= dict.fromkeys(unknown, datetime.now(UTC))
    return len(unknown)


def test_the_embedded_stack_may_be_killed(tmp_path: Path, seed: int, times: Callable[[int, int], int]) -> None:
    """Under load through its gateway; each life goes on with the values of the last one and the ids that it knew."""
    began, rng, lives = time.monotonic(), random.Random(f"{seed}/embedded"), Lives(tmp_path)
    feed = Feed(
        KafkaSettings(partitions=4), tmp_path / "input.jsonl", f"{seed}/feed", connect=lambda: GatewaySender(lives.url)
    )
    feed.mix = Mix(malformed=0)  # the gateway refuses what is no event
    watcher = Watcher(lives.sql, KPIS, read_only=True)
    faults, sent_again = Counter[str](), dict[Identity, datetime]()
    lives.start()
    watcher.start()
    try:
        with feed.under_load(RATE):
            for _ in range(times(15, 2)):
                before = len(lives.archived())
                until(lambda before=before: len(lives.archived()) > before, "events are archived", 90)
                time.sleep(rng.random() * 2)  # the moment is what is random here
                lives.kill()
                faults["kill -9 of the stack"] += 1
                lives.start()
                faults["events sent again"] += send_unknown_again(feed, lives, sent_again)
        events = {identity(line) for line in feed.file.read_bytes().splitlines()}
        until(lambda: lives.archived() == events, "all is archived", 120)
        watcher.stop()
        assert lives.running is not None
        assert lives.running.stop() == 0, lives.running.text[-3000:]
        assert "Traceback" not in lives.running.text, lives.running.text[-3000:]
    finally:
        watcher.stop()
        feed.close()
        if lives.running is not None:
            lives.running.end()
    figures = Figures("11 embedded stack killed", seed, "embedded", faults=dict(faults))
    judge(lives.data, feed, watcher, sent_again, figures)
    figures.seconds = time.monotonic() - began
    figures.report()
    shown = "\n  ".join(figures.mismatches[:MOST_SHOWN])
    assert not figures.mismatches, f"{len(figures.mismatches)} mismatches:\n  {shown}"
    assert figures.polls, "the watcher has read nothing"


def judge(data: Path, feed: Feed, watcher: Watcher, sent_again: dict[Identity, datetime], figures: Figures) -> None:
    """Count everything again."""
    lines = read_file(feed.file)
    figures.lines, figures.events, figures.duplicates = lines.sent, len(lines.events), lines.duplicates
    with Server(data) as server:
        store = ClickHouse.connect(ClickHouseSettings(url=server.url), data)
        audit_values(store, KPIS, lines, figures)
        audit_archive(store, "events", lines, figures)
        store.close()
    counts = [count for count, _ in feed.acknowledged]
    arrived = [
        sent_again.get((e.source, e.id)) or feed.acknowledged[bisect.bisect_right(counts, e.line)][1]
        for e in lines.events
    ]
    figures.mismatches += watcher.problems + watcher.unexplained(lines.events, arrived)
    figures.polls, figures.complete_values = watcher.polls, watcher.complete_values
