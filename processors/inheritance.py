"""What a new life of the topic takes over from the one before it when nothing can have been sent in between."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

from onpace.processors.clickhouse import ClickHouse
from onpace.processors.partials import Slot
from onpace.processors.writer import EPOCH, Flush, StoreWriter, Watermark

__all__ = ["PartitionProgress", "inherit", "inherited"]


@dataclass(slots=True)
class PartitionProgress:
    """How far one partition had come."""

    caught_up_at: datetime = EPOCH
    latest: dict[str, datetime] = field(default_factory=dict)
    """Event type -> time of its latest event."""


def inherited(progress: Collection[PartitionProgress], slots: Iterable[Slot]) -> list[Watermark]:
    """Watermarks of the new partitions with which every event type is as far as it was. Pure.

    `progress`: one for each partition of the life before; a type is as far as its slowest partition.
    """
    caught_up = min((part.caught_up_at for part in progress), default=EPOCH)
    types = {name for part in progress for name in part.latest}
    reached: dict[str, datetime] = {}
    for name in sorted(types):
        times = [part.latest.get(name, EPOCH) for part in progress]
        slowest = min(max(time, part.caught_up_at) for time, part in zip(times, progress, strict=True))
        reached[name] = min(slowest, max(times))  # never beyond its last event: that would be one that nobody sent
    marks = []
    for slot in slots:
        marks.append(Watermark(slot, "", caught_up_at=caught_up))
        marks += [Watermark(slot, name, max_event_time=at) for name, at in reached.items() if at > caught_up]
    return marks


def inherit(store: ClickHouse, topic: str) -> None:
    """Let the topic's present life begin as far as the one before it had come. Safe to repeat.

    Only for a topic to which nobody else can send: that nothing came in between is not checked.
    """
    lives = store.query(
        "SELECT incarnation, max(partitions), incarnation IN (SELECT incarnation FROM watermarks "
        "WHERE topic = {topic:String} AND greatest(max_event_time, caught_up_at) > toDateTime64(0, 6, 'UTC')) AS came "
        "FROM incarnations WHERE topic = {topic:String} GROUP BY incarnation ORDER BY min(first_seen) DESC",
        {"topic": topic},
    )
    former = next(
        ((life, count) for life, count, came in lives[1:] if came), None
    )  # one that died at once came nowhere
    if former is None:
        return
    life, partitions, _ = lives[0]
    slots = [Slot(0, life, number) for number in range(partitions)]
    marks = inherited(_progress(store, topic, *former), slots)
    StoreWriter(store, topic).write(Flush(watermarks=marks))


def _progress(store: ClickHouse, topic: str, life: UUID, partitions: int) -> list[PartitionProgress]:
    found = [PartitionProgress() for _ in range(partitions)]
    rows = store.query(
        "SELECT partition, event_type, max(max_event_time), max(caught_up_at) FROM watermarks "
        "WHERE topic = {topic:String} AND incarnation = {life:UUID} AND partition < {count:UInt32} "
        "GROUP BY partition, event_type",
        {"topic": topic, "life": str(life), "count": partitions},
    )
    for partition, name, latest, caught_up in rows:
        if name:
            found[partition].latest[name] = _utc(latest)
        else:
            found[partition].caught_up_at = _utc(caught_up)
    return found


def _utc(at: datetime) -> datetime:
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
