"""Partitions that a topic grew by: when they may be read, and which ids they have to know by then."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from uuid import UUID

import structlog

from onpace.processors.growth import Origin, origins
from onpace.processors.writer import EPOCH, Stored, StoreWriter

__all__ = ["Newcomers"]

log = structlog.get_logger(__name__)
_MS = timedelta(milliseconds=1)
Checkpoints = Mapping[UUID, Stored]


class Newcomers:
    """What the store says about the growths of a topic, for the partitions of one processor.

    A new partition is first read when the one that its keys come from has been read up to the growth, or rather up to
    when no producer goes by the old count any more: only then are all ids in the archive that it has to know.
    """

    def __init__(self, writer: StoreWriter) -> None:
        self._writer = writer
        self._origins: dict[int, list[Origin]] = {}
        self._first_count = 0
        self.waiting: dict[int, UUID] = {}
        """Partitions assigned but not read yet -> life of the topic."""
        self.beyond: list[int] = []
        """Partitions that only earlier lives of the topic had, for whoever holds the first of this one."""

    def learn(self, partitions: Collection[int], incarnation: UUID) -> None:
        """These partitions are assigned now. Raises StoreUnavailable."""
        growths = self._writer.growths(incarnation)
        self._origins = {number: origins(number, growths) for number in partitions}
        counts = self._writer.partition_counts(incarnation)
        self._first_count = min(counts, default=0)
        self.beyond = self._writer.partitions_beyond(max(counts)) if counts and 0 in partitions else []
        self.waiting = {}

    def has_to_wait(
        self,
        number: int,
        incarnation: UUID,
        checkpoints: Checkpoints,
        caught_up: Mapping[int, datetime] | None = None,
    ) -> bool:
        """Whether ids that a partition has to know may still arrive elsewhere. Notes, and logs once, that it waits.

        `caught_up`: partition -> the time up to which everything is in the store. Raises StoreUnavailable.
        """
        if incarnation in checkpoints or not self._origins[number]:
            return False
        origin = self._origins[number][0]
        read = self._writer.read_until(incarnation, origin.partition)
        if max(read, (caught_up or {}).get(origin.partition, EPOCH)) > origin.until:
            return False
        if number not in self.waiting:
            log.info(
                "a new partition waits until the one its keys come from has been read up to the growth",
                topic=self._writer.topic,
                partition=number,
                origin=origin.partition,
                until=origin.until.isoformat(),
            )
            self.waiting[number] = incarnation
        return True

    def known_elsewhere(
        self, number: int, incarnation: UUID, checkpoints: Checkpoints, since_ms: int, horizon_ms: int
    ) -> tuple[int, list[Origin]]:
        """Where ids that a partition has to know came in before it was there, and from when on they matter."""
        found = self._origins[number]
        if found:  # none of its own arrived before the growth, give or take clocks that differ
            earliest = found[0].grown_at - (found[0].until - found[0].grown_at)
            return max(since_ms, (earliest - EPOCH) // _MS - horizon_ms), found
        if incarnation not in checkpoints and number >= self._first_count > 0:
            log.warning(
                "the topic has grown without `onpace topics grow`: duplicates of events that came before count twice",
                topic=self._writer.topic,
                partition=number,
            )
        return since_ms, []
