"""The application: a seeded stream of events, every line of it written to a file before it is sent."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from kafka.partitioner import murmur2
from stacks import until

from onpace.config.errors import BrokerUnavailable, OnPaceError
from onpace.config.settings import KafkaSettings
from onpace.ingest.bulk import BulkProducer

CHUNK = 100
"""Lines that are sent, and acknowledged, together."""


class Sender(Protocol):
    """A producer. `offsets`: partition -> highest acknowledged offset + 1."""

    @property
    def offsets(self) -> dict[int, int]: ...

    def send_raw(self, value: bytes, key: bytes) -> object: ...

    def flush(self, timeout: float | None = None) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Mix:
    """What the stream is made of. Shares are 0..1."""

    duplicates: float = 0.05
    malformed: float = 0.02
    past: float = 0.4
    """Share of events of one of `moments` in the days before; the others happen now."""
    days: float = 5.0
    moments: int = 60
    weights: Sequence[float] = ()
    """Per partition, how much of the stream it gets; all the same by default."""
    behind: dict[int, timedelta] = field(default_factory=dict)
    """Partition -> how far its events of now lie in the past."""


class Feed:
    """Sends events and knows what it sent: `file` holds every line, `acknowledged` when each had arrived."""

    def __init__(
        self, kafka: KafkaSettings, file: Path, seed: str, connect: Callable[[], Sender] | None = None
    ) -> None:
        self.file = file
        self.mix = Mix()
        self.offsets: dict[int, int] = {}
        self.acknowledged: list[tuple[int, datetime]] = []
        """(lines so far, when the last of them had arrived)."""
        self.reached: list[tuple[datetime, dict[int, int]]] = []
        """(when, how far each partition's log reached then at least: the next offset)."""
        self.lines = 0
        self.resent = 0
        """Lines sent again because their delivery was not certain."""
        self._partitions = kafka.partitions
        self._connect = connect or (lambda: BulkProducer(kafka, timeout=10).connect())
        self._sender: Sender | None = None
        self._rng = random.Random(seed)
        self._begin = datetime.now(UTC)
        self._past = [self._rng.random() for _ in range(10_000)]
        self._subjects = _subjects(kafka.partitions)
        self._recent: list[tuple[bytes, bytes]] = []
        self._lock = threading.Lock()

    def send(self, count: int, mix: Mix | None = None) -> None:
        """Make and send so many lines; return once they are acknowledged."""
        with self._lock:
            for at in range(0, count, CHUNK):
                self._deliver([self._line(mix or self.mix) for _ in range(min(CHUNK, count - at))])

    def send_lines(self, lines: Sequence[tuple[bytes, bytes]]) -> None:
        """Send these (key, value) and no others; return once they are acknowledged."""
        with self._lock:
            for at in range(0, len(lines), CHUNK):
                self._deliver(lines[at : at + CHUNK])

    def some_lines(self, count: int, mix: Mix | None = None) -> list[tuple[bytes, bytes]]:
        """(key, value) of so many lines that are not sent yet."""
        with self._lock:
            return [self._line(mix or self.mix) for _ in range(count)]

    @contextmanager
    def under_load(self, rate: float, mix: Mix | None = None) -> Iterator[None]:
        """Send about `rate` lines a second in the background for as long as the block runs."""
        ended, failed = threading.Event(), list[BaseException]()

        def run() -> None:
            try:
                while not ended.wait(CHUNK / rate):
                    self.send(CHUNK, mix)
            except BaseException as exc:
                failed.append(exc)

        thread = threading.Thread(target=run, name="feed", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join(180)
        if failed:
            raise failed[0]
        assert not thread.is_alive(), "the feed does not end: the broker takes no events"

    def close(self) -> None:
        """Disconnect."""
        if self._sender is not None:
            self._sender.close()
            self._sender = None

    def _deliver(self, lines: Sequence[tuple[bytes, bytes]]) -> None:
        """Write the lines down, then send them until all are acknowledged, as an application would."""
        with self.file.open("ab") as file:
            file.writelines(value + b"\n" for _, value in lines)
        self.lines += len(lines)
        until(lambda: self._sent(lines), "delivered", 150)
        self.acknowledged.append((self.lines, datetime.now(UTC)))
        self.reached.append((datetime.now(UTC), dict(self.offsets)))

    def _sent(self, lines: Sequence[tuple[bytes, bytes]]) -> bool:
        try:
            if self._sender is None:
                self._sender = self._connect()
            for key, value in lines:
                self._sender.send_raw(value, key=key)
            self._sender.flush(20)
        except (BrokerUnavailable, OnPaceError):
            self.resent += len(lines)
            return False
        for partition, offset in self._sender.offsets.items():
            self.offsets[partition] = max(offset, self.offsets.get(partition, 0))
        return True

    def _line(self, mix: Mix) -> tuple[bytes, bytes]:
        rng = self._rng
        partition = rng.choices(range(self._partitions), mix.weights or [1] * self._partitions)[0]
        key = rng.choice(self._subjects[partition])
        if rng.random() < mix.malformed:
            return key, _malformed(rng)
        if self._recent and rng.random() < mix.duplicates:
            return rng.choice(self._recent)
        line = key, _event(rng, key, self._time(mix, partition))
        self._recent = [*self._recent[-499:], line]
        return line

    def _time(self, mix: Mix, partition: int) -> datetime:
        rng = self._rng
        if rng.random() < mix.past:
            moment = self._past[rng.randrange(min(mix.moments, len(self._past)))]
            return self._begin - timedelta(days=mix.days * moment) + timedelta(seconds=rng.uniform(-90, 0))
        return datetime.now(UTC) - timedelta(seconds=rng.uniform(0, 2)) - mix.behind.get(partition, timedelta())


def _subjects(partitions: int) -> list[list[bytes]]:
    """Keys of each partition, by the partitioner that every Kafka client shares."""
    subjects: list[list[bytes]] = [[] for _ in range(partitions)]
    for number in range(100 * partitions):
        key = f"cart-{number}".encode()
        subjects[(murmur2(key) & 0x7FFFFFFF) % partitions].append(key)
    return subjects


def _event(rng: random.Random, key: bytes, time: datetime) -> bytes:
    order = rng.random() < 0.6
    event = {"specversion": "1.0", "id": f"{rng.getrandbits(64):x}", "source": rng.choice(["/shop", "/app"])}
    event |= {"type": "order.placed" if order else "site.visited", "subject": key.decode(), "time": time.isoformat()}
    data: dict[str, object] = {"user_id": f"u{rng.randrange(400)}"}
    if rng.random() < 0.95:
        data["region"] = rng.choice(["EU", "US", "test", ""])
    if rng.random() < 0.95:
        data["channel"] = rng.choice(["web", "Läden"])
    if order and rng.random() < 0.8:
        data["score"] = rng.uniform(-1e6, 1e6) if rng.random() < 0.5 else rng.uniform(-1, 1)
    text = json.dumps(data, ensure_ascii=False)
    if order:  # as text: a number with exactly two digits
        cents = rng.randrange(10**7)
        text = f'{text[:-1]}, "amount": {cents // 100}.{cents % 100:02}}}'
    return f'{json.dumps(event)[:-1]}, "data": {text}}}'.encode()


def _malformed(rng: random.Random) -> bytes:
    """No event, in one of several ways; no two are the same."""
    event = _event(rng, b"cart", datetime.now(UTC)).decode()
    while "order.placed" not in event:
        event = _event(rng, b"cart", datetime.now(UTC)).decode()
    return rng.choice(
        [
            event[: len(event) // 2],
            f"[{event}]",
            event.replace('"source"', '"sauce"'),
            event.replace("order.placed", "order.refunded"),
            event.replace('"amount": ', '"amount": "much", "was": '),
            event.replace('"amount": ', '"amount": 1.234, "was": '),
            event.replace('"user_id"', '"user"'),
            event.replace('"time": "20', '"time": "21'),
        ]
    ).encode()
