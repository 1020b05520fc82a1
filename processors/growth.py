"""Growing a topic: which partitions the keys of a new partition were in before, and until when."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

__all__ = ["Growth", "Origin", "origins"]


@dataclass(frozen=True, slots=True)
class Growth:
    """A topic got `after` partitions instead of `before`, of which `after` is a multiple.

    A key's partition is its hash modulo the count: a key stays, or moves from partition p to p + k * `before`.
    """

    before: int
    after: int
    grown_at: datetime
    settled_at: datetime
    """From this arrival time on no producer goes by the old count any more."""


@dataclass(frozen=True, slots=True)
class Origin:
    """A partition that held a new partition's keys, for records that arrived up to `until` (inclusive)."""

    partition: int
    grown_at: datetime
    until: datetime


def origins(partition: int, growths: Collection[Growth]) -> list[Origin]:
    """Where the keys of a partition were before, the latest first; none for one that was always there."""
    found = []
    for growth in sorted(growths, key=lambda growth: growth.after, reverse=True):
        if growth.before <= partition < growth.after:
            partition %= growth.before
            found.append(Origin(partition, growth.grown_at, growth.settled_at))
    return found
