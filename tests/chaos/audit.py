"""The audit that ends every scenario: all that is stored against all that was sent."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from chaos.recount import GRAINS, Kpi, Lines, recount
from onpace.processors.clickhouse import ClickHouse

MOST_SHOWN = 20


@dataclass
class Figures:
    """What a scenario came to."""

    scenario: str
    seed: int
    kafka: str
    lines: int = 0
    events: int = 0
    duplicates: int = 0
    malformed: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    values: int = 0
    """KPI values compared."""
    polls: int = 0
    complete_values: int = 0
    """Values that the polling reader saw become complete."""
    seconds: float = 0.0
    mismatches: list[str] = field(default_factory=list)

    def line(self) -> str:
        """All of it in one line."""
        faults = ", ".join(f"{count} {name}" for name, count in self.faults.items()) or "none"
        return (
            f"{self.scenario}: {self.lines} lines ({self.events} events, {self.duplicates} duplicates, "
            f"{self.malformed} malformed); faults: {faults}; {self.values} values compared, {self.polls} polls, "
            f"{self.complete_values} seen complete; {len(self.mismatches)} mismatches; "
            f"{self.seconds:.0f} s (seed {self.seed}, {self.kafka})"
        )

    def report(self) -> None:
        """Print it, and append it to the file that `ONPACE_CHAOS_REPORT` names, if any."""
        print(f"\nCHAOS {self.line()}", flush=True)  # noqa: T201
        if path := os.environ.get("ONPACE_CHAOS_REPORT"):
            with Path(path).open("a") as file:
                file.write(json.dumps(asdict(self) | {"mismatches": len(self.mismatches)}) + "\n")


def audit_values(store: ClickHouse, kpis: Sequence[Kpi], lines: Lines, figures: Figures) -> None:
    """Every KPI, by its dimensions and in total, in every window of its base grain and of the coarser ones."""
    grains = list(GRAINS)
    for kpi in kpis:
        for grain in grains[grains.index(kpi.grain) :]:
            for by, view in ((kpi.by, f"kpi_{kpi.name}_{grain}"), ((), f"kpi_{kpi.name}_{grain}_total")):
                wanted = recount(lines.events, kpi, grain, by)
                found = _values(store, view, by)
                figures.values += len(wanted)
                figures.mismatches += [
                    f"{view} {key}: {found.get(key, 'no row')} instead of {wanted.get(key, 'no row')}"
                    for key in wanted.keys() | found.keys()
                    if not (key in wanted and key in found and wanted[key].met_by(found[key]))
                ]


def _values(store: ClickHouse, view: str, by: Sequence[str]) -> dict[tuple[datetime, tuple[Any, ...]], float | None]:
    rows = store.query(f"SELECT window_start, {''.join(f'{name}, ' for name in by)}value FROM {view}")
    found = {(row[0], row[1:-1]): row[-1] for row in rows}
    assert len(found) == len(rows), f"{view} has several rows for one window"
    return found


def audit_archive(store: ClickHouse, topic: str, lines: Lines, figures: Figures) -> None:
    """Every valid event is archived and accepted once; every malformed line is a dead letter; nothing else is."""
    sent = Counter((event.source, event.id) for event in lines.events)
    kept = store.query(
        "SELECT source, id FROM events FINAL WHERE topic = {topic:String} AND NOT duplicate", {"topic": topic}
    )
    figures.mismatches += _differences("archive", sent, Counter(kept))
    dead = store.query("SELECT hex(raw) FROM dead_letters FINAL WHERE topic = {topic:String}", {"topic": topic})
    letters = Counter(bytes.fromhex(raw) for (raw,) in dead)
    figures.mismatches += _differences("dead letters", Counter(lines.malformed), letters)


def _differences(what: str, sent: Counter[Any], kept: Counter[Any]) -> list[str]:
    lost, more = sent - kept, kept - sent
    found = [f"{what}: {lost.total()} missing, such as {next(iter(lost))!r}"] if lost else []
    return found + ([f"{what}: {more.total()} too many, such as {next(iter(more))!r}"] if more else [])


def audit_offsets(store: ClickHouse, topic: str, committed: Mapping[int, int], figures: Figures) -> None:
    """Committed <= checkpoint <= rows stored, for a topic that had one life and whose log has no gaps."""
    rows = store.query(
        "SELECT partition, max(offset) FROM checkpoints WHERE topic = {topic:String} GROUP BY partition",
        {"topic": topic},
    )
    checkpoints = {int(partition): int(offset) for partition, offset in rows}
    stored = dict(
        store.query(
            "SELECT partition, count() FROM (SELECT partition, offset FROM events FINAL WHERE topic = {topic:String} "
            "UNION ALL SELECT partition, offset FROM dead_letters FINAL WHERE topic = {topic:String}) "
            "GROUP BY partition",
            {"topic": topic},
        )
    )
    for partition, offset in committed.items():
        if offset > checkpoints.get(partition, 0):
            figures.mismatches.append(f"partition {partition}: committed {offset}, checkpoint {checkpoints}")
    for partition, offset in checkpoints.items():
        if offset > stored.get(partition, 0):
            figures.mismatches.append(f"partition {partition}: checkpoint {offset}, rows stored {stored}")
