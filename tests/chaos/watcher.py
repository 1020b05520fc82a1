"""A reader that polls the KPI views all the while, as a dashboard would, and remembers what must not happen."""

from __future__ import annotations

import bisect
import itertools
import math
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from chaos.recount import ORDER, VISIT, Counted, Kpi, Simple, window
from onpace.config.errors import OnPaceError
from onpace.config.settings import ClickHouseSettings
from onpace.processors.clickhouse import ClickHouse

LATENESS = timedelta(seconds=5)
"""As the catalog says."""

Seen = tuple[Any, bool, int]
"""(value, complete, revision)"""


@dataclass(frozen=True)
class Change:
    """A value that changed although it was complete."""

    kpi: Kpi
    window_start: datetime
    dims: tuple[Any, ...]
    before: Seen
    after: Seen


@dataclass(frozen=True)
class Claim:
    """What was to be seen of the log at one moment."""

    read_until: Mapping[int, datetime]
    """Partition -> the time up to which everything is said to have been read. Looked at first."""
    archived: Mapping[int, int]
    """Partition -> offset after the last one archived."""


@dataclass
class Watcher:
    """Polls in a thread of its own from `start` to `stop`. `problems` is what it saw that must never be."""

    url: str
    kpis: Sequence[Kpi]
    read_only: bool = False
    """Where it looks is the interface of a running stack."""
    polls: int = 0
    complete_values: int = 0
    """Values that it has seen complete."""
    problems: list[str] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._seen: dict[tuple[str, datetime, tuple[Any, ...]], Seen] = {}
        self._store: ClickHouse | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)

    def start(self) -> None:
        """Begin to poll."""
        self._thread.start()

    def stop(self) -> None:
        """Poll no more. May be repeated."""
        self._ended.set()
        self._thread.join(60)

    def _run(self) -> None:
        for kpi in itertools.cycle(self.kpis):
            if self._ended.wait(0.2):
                return
            with suppress(OnPaceError):  # the server is away, or nobody has made the views yet
                self._poll(self._connected(), kpi)

    def _connected(self) -> ClickHouse:
        if self._store is None:
            self._store = ClickHouse.connect(ClickHouseSettings(url=self.url), Path(), read_only=self.read_only)
        return self._store

    def _poll(self, store: ClickHouse, kpi: Kpi) -> None:
        read_until = store.query(
            "SELECT partition, max(caught_up_at) FROM watermarks WHERE event_type = '' GROUP BY partition"
        )
        archived = store.query(
            "SELECT partition, max(offset) + 1 FROM (SELECT partition, offset FROM events UNION ALL "
            "SELECT partition, offset FROM dead_letters) GROUP BY partition"
        )
        self.claims.append(Claim(dict(read_until), dict(archived)))
        dims = "".join(f"{name}, " for name in kpi.by)
        rows = store.query(f"SELECT window_start, {dims}value, complete, revision FROM kpi_{kpi.name}_{kpi.grain}")
        self.polls += 1
        for row in rows:
            self._compare(kpi, row[0], row[1:-3], (row[-3], bool(row[-2]), int(row[-1])))

    def _compare(self, kpi: Kpi, start: datetime, dims: tuple[Any, ...], now: Seen) -> None:
        key = (kpi.name, start, dims)
        before = self._seen.get(key)
        self._seen[key] = now
        if now[1] and not (before and before[1]):
            self.complete_values += 1
        if before is None or before == now:
            return
        if now[2] < before[2]:
            self.problems.append(f"{key}: revision {before[2]} went back to {now[2]}")
        if isinstance(kpi, Simple) and kpi.agg == "count" and now[0] < before[0]:
            self.problems.append(f"{key}: a count of {before[0]} went back to {now[0]}")
        if before[1] and not _same(before[0], now[0]):
            self.changes.append(Change(kpi, start, dims, before, now))

    def unexplained(self, events: Sequence[Counted], arrived: Sequence[datetime]) -> list[str]:
        """Complete values that changed with no late event in their window. `arrived`: when each event had arrived.

        A window cannot be complete before its end and the lateness are over; who arrives after that is late.
        """
        late: dict[tuple[str, str], Counter[datetime]] = {}
        places = {(leaf.grain, leaf.zone) for kpi in self.kpis for leaf in kpi.leaves}
        for grain, zone in places:
            size = timedelta(hours=1) if grain == "hour" else timedelta(minutes=1)
            late[grain, zone] = Counter(
                start
                for event, at in zip(events, arrived, strict=True)
                if event.type in (ORDER, VISIT) and at >= (start := window(event.time, grain, zone)) + size + LATENESS
            )
        return [
            f"{change.kpi.name} {change.window_start} {change.dims}: complete at {change.before}, then {change.after}"
            for change in self.changes
            if not late[change.kpi.grain, change.kpi.zone][change.window_start]
        ]

    def unread(self, reached: Sequence[tuple[datetime, Mapping[int, int]]]) -> list[str]:
        """Partitions said to have been read up to a time while something that had arrived by then was not archived.

        `reached`: how far their log was at which time, as the feed knows. For logs of one life without gaps.
        """
        times = [at for at, _ in reached]
        found = {}
        for claim in self.claims:
            for partition, until in claim.read_until.items():
                known = bisect.bisect_right(times, until)
                there = reached[known - 1][1].get(partition, 0) if known else 0
                if claim.archived.get(partition, 0) < there:
                    found[partition, until] = f"up to offset {claim.archived.get(partition, 0)} of {there}"
        return [f"partition {n} was called read until {at}, and was {what}" for (n, at), what in found.items()]


def _same(before: float | None, now: float | None) -> bool:
    """Whether two readings are one value: the last digit of a float depends on the order of merging."""
    return before == now or (before is not None and now is not None and math.isclose(before, now, rel_tol=1e-12))
