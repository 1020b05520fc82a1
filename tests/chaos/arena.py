"""One scenario's world: a topic on a real Kafka, a ClickHouse server of its own, processors, a feed and a watcher."""

from __future__ import annotations

import bisect
import itertools
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any

from brokers import TestKafka
from kafka import KafkaAdminClient
from stacks import Running, Server, until

from chaos.audit import MOST_SHOWN, Figures, audit_archive, audit_offsets, audit_values
from chaos.feed import Feed, Sender
from chaos.recount import KPIS, Kpi, Lines, read_file
from chaos.watcher import Watcher
from onpace.config.errors import OnPaceError
from onpace.config.settings import ClickHouseSettings, KafkaSettings
from onpace.ingest.embedded_broker import free_port
from onpace.ingest.topics import ensure_topics
from onpace.processors.clickhouse import ClickHouse

TAKEN_OVER = "partition taken over"
CATALOG = Path(__file__).parent / "kpis"
_numbers = itertools.count(1)


class Arena:
    """Everything a scenario needs, ended and removed with the `with` block.

    `bootstrap` and `clickhouse` are the addresses that processors get: a scenario may put a proxy in their place
    before it starts one. The feed, the watcher and the audit always go straight to the servers.
    """

    def __init__(
        self,
        folder: Path,
        kafka: TestKafka,
        seed: int,
        *,
        partitions: int = 4,
        kpis: Sequence[Kpi] = KPIS,
        connect: Callable[[KafkaSettings], Sender] | None = None,
        topic_config: Mapping[str, str] | None = None,
    ) -> None:
        """`connect`: makes the feed's producer. `topic_config`: of an events topic other than OnPace would make it."""
        name = f"chaos-{os.getpid()}-{next(_numbers)}"
        self.folder, self.kafka, self.seed = folder, kafka, seed
        self.rng = random.Random(f"{seed}/arena")
        self.settings = KafkaSettings(
            bootstrap=kafka.address,
            topic=name,
            dead_letter_topic=f"{name}.dlq",
            group=name,
            partitions=partitions,
        )
        self.kpis = kpis
        self.catalog = CATALOG
        self.faults: Counter[str] = Counter()
        self.running: dict[str, Running] = {}
        self.server = Server(folder / "server")
        self.bootstrap, self.clickhouse = kafka.address, self.server.url
        self.feed = Feed(
            self.settings, folder / "input.jsonl", f"{seed}/feed", (lambda: connect(self.settings)) if connect else None
        )
        self._topic_config = topic_config
        self.watcher = Watcher(self.server.url, kpis)
        self._started = time.monotonic()
        self._ended: list[Running] = []

    def __enter__(self) -> Arena:
        try:
            self._make_topics()
        except OnPaceError:
            self.server.kill()
            raise
        self.watcher.start()
        return self

    def _make_topics(self) -> None:
        if self._topic_config:
            spec = {"num_partitions": self.settings.partitions, "replication_factor": 1, "configs": self._topic_config}
            with closing(self.admin()) as admin:
                admin.create_topics({self.settings.topic: spec})
                admin.wait_for_topics([self.settings.topic])
        ensure_topics(self.settings)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.watcher.stop()
        for number, running in enumerate([*self._ended, *self.running.values()]):
            running.end()
            (self.folder / f"processor-{number}.log").write_text(running.text)
        print(f"  input and logs: {self.folder}")  # noqa: T201
        self.server.kill()
        self.feed.close()

    def start_processor(self, name: str, **settings: object) -> Running:
        """Start `onpace process`. `settings` are variables of its environment, with or without `ONPACE_`."""
        if name in self.running:
            self._ended.append(self.running[name])
        given = {(key if key.startswith("ONPACE_") else f"ONPACE_{key}"): value for key, value in settings.items()}
        usual = {
            "ONPACE_KAFKA__BOOTSTRAP": self.bootstrap,
            "ONPACE_KAFKA__TOPIC": self.settings.topic,
            "ONPACE_KAFKA__DEAD_LETTER_TOPIC": self.settings.dead_letter_topic,
            "ONPACE_KAFKA__GROUP": self.settings.group,
            "ONPACE_KAFKA__PARTITIONS": self.settings.partitions,
            "ONPACE_KAFKA__SESSION_TIMEOUT": "6s",
            "ONPACE_KAFKA__INSTANCE": name,
            "ONPACE_CLICKHOUSE__URL": self.clickhouse,
            "ONPACE_PROCESSOR__FLUSH_INTERVAL": "1s",
            "ONPACE_PROCESSOR__FLUSH_EVENTS": 150,
            "ONPACE_PROCESSOR__POLL_EVENTS": 300,
            "ONPACE_LOG": "debug",
        }
        kept = {key: value for key, value in (usual | given).items() if value is not None}
        command = ("process", "--data", self.folder / name, "--kpis", self.catalog, "--port", free_port())
        self.running[name] = Running(*command, **kept)
        return self.running[name]

    def until_working(self, name: str, partitions: int = 1, seconds: float = 90) -> None:
        """Return once a processor has taken so many partitions over."""
        running = self.running[name]
        self.running[name].until_printed(TAKEN_OVER, seconds)
        until(lambda: running.text.count(TAKEN_OVER) >= partitions, f"{name} took {partitions} over", seconds)

    def kill(self, name: str) -> None:
        """End a processor at once."""
        self.running[name].process.kill()
        self.running[name].process.wait()
        self.faults["kill -9"] += 1

    def stop(self, name: str) -> int:
        """End a processor in an orderly way; its exit code."""
        return self.running[name].stop()

    def pause(self, name: str) -> None:
        """Stop a processor where it stands."""
        self.running[name].process.send_signal(signal.SIGSTOP)
        self.faults["pause"] += 1

    def resume(self, name: str) -> None:
        """Let it go on as if nothing had been."""
        self.running[name].process.send_signal(signal.SIGCONT)

    def until_ended(self, name: str, seconds: float = 90) -> int:
        """Return a processor's exit code once it has ended of itself."""
        process = self.running[name].process
        until(lambda: process.poll() is not None, f"{name} ended", seconds)
        return process.wait()

    def until(self, condition: Callable[[], object], what: str, seconds: float = 90) -> None:
        """Wait; fail at once when a processor that runs now ends meanwhile."""
        alive = [name for name, running in self.running.items() if running.process.poll() is None]
        assert alive, "no processor is left"

        def met() -> object:
            for name in alive:
                running = self.running[name]
                assert running.process.poll() is None, f"{name} ended:\n{running.text[-3000:]}"
            return condition()

        until(met, what, seconds)

    def admin(self) -> Any:
        """A client of Kafka's admin interface, to be closed."""
        return KafkaAdminClient(bootstrap_servers=self.kafka.address)

    def committed(self) -> dict[int, int]:
        """Partition -> the offset that the group has committed."""
        group = self.settings.group
        with closing(self.admin()) as admin:
            return {tp.partition: at.offset for tp, at in admin.list_group_offsets(group)[group].items()}

    def members(self) -> list[Any]:
        """Who is in the group."""
        group = self.settings.group
        with closing(self.admin()) as admin:
            return list(admin.describe_groups([group])[group]["members"])

    def drained(self, seconds: float = 120) -> None:
        """Return once everything that Kafka acknowledged is committed, which comes last in a flush.

        Fails when a processor ends meanwhile.
        """

        def done() -> bool:
            committed = self.committed()
            return all(committed.get(partition, 0) >= offset for partition, offset in self.feed.offsets.items())

        self.until(done, f"everything committed ({self.feed.offsets})", seconds)

    def store(self) -> ClickHouse:
        """A connection straight to the server."""
        return ClickHouse.connect(ClickHouseSettings(url=self.server.url), Path())

    def audit(self, scenario: str, *, lines: Lines | None = None, gaps: bool = False) -> Figures:
        """Count everything again, print what came out, and fail when anything differs.

        `lines`: what was processed, when that is not all that was sent. `gaps`: the log has offsets with no record.
        """
        final = lines is None
        lines = lines or read_file(self.feed.file)
        figures = Figures(scenario, self.seed, self.kafka.kind, lines.sent, len(lines.events), lines.duplicates)
        figures.malformed, figures.faults = len(lines.malformed), dict(self.faults)
        store = self.store()
        audit_values(store, self.kpis, lines, figures)
        audit_archive(store, self.settings.topic, lines, figures)
        if not gaps:
            audit_offsets(store, self.settings.topic, self.committed(), figures)
            figures.mismatches += self.watcher.unread(self.feed.reached)
        if final:
            self.watcher.stop()
            figures.mismatches += self.watcher.unexplained(lines.events, self._arrived(lines))
        figures.mismatches += self.watcher.problems
        figures.polls, figures.complete_values = self.watcher.polls, self.watcher.complete_values
        figures.seconds = time.monotonic() - self._started
        figures.report()
        assert figures.polls, "the watcher has read nothing"
        shown = "\n  ".join(figures.mismatches[:MOST_SHOWN])
        assert not figures.mismatches, f"{len(figures.mismatches)} mismatches:\n  {shown}"
        return figures

    def _arrived(self, lines: Lines) -> list[Any]:
        """When each event had arrived at the latest."""
        counts = [count for count, _ in self.feed.acknowledged]
        return [self.feed.acknowledged[bisect.bisect_right(counts, event.line)][1] for event in lines.events]
