"""Duplicates: the same (source, id) within a horizon of arrival time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Literal

__all__ = ["DedupIndex", "Verdict"]

Verdict = Literal["new", "duplicate", "conflict"]
_LOW = (1 << 64) - 1


class DedupIndex:
    """The ids that one partition has accepted. Pure: time is the arrival time in the log, so a replay decides the same.

    An event is a duplicate if and only if its id was first accepted no longer than `horizon_ms` before the partition's
    running maximum of arrival time. A duplicate whose data differs is a conflict; the first one stands.
    """

    def __init__(self, horizon_ms: int) -> None:
        self._horizon_ms = horizon_ms
        self._first: dict[bytes, int] = {}  # digest -> arrival ms << 64 | hash of the data; in order of acceptance
        self.max_arrival_ms = 0

    def __len__(self) -> int:
        return len(self._first)

    def load(self, accepted: Iterable[tuple[bytes, int, int]]) -> None:
        """Take in (digest, arrival ms, data hash) of ids accepted earlier, oldest first."""
        first = self._first
        for digest, arrival_ms, data_hash in accepted:
            if digest not in first:
                first[digest] = arrival_ms << 64 | data_hash
            self.max_arrival_ms = max(self.max_arrival_ms, arrival_ms)

    def check(self, digest: bytes, arrival_ms: int, data_hash: int) -> Verdict:
        """Judge one event and remember it if it is new. Events must come in the order of their offsets."""
        return self.check_all([digest], [arrival_ms], [data_hash])[0]

    def check_all(self, digests: Sequence[bytes], arrivals_ms: Sequence[int], hashes: Sequence[int]) -> list[Verdict]:
        """`check` of many, in order."""
        first, horizon_ms, newest = self._first, self._horizon_ms, self.max_arrival_ms
        verdicts: list[Verdict] = []
        for digest, arrival_ms, data_hash in zip(digests, arrivals_ms, hashes, strict=True):
            if arrival_ms > newest:  # noqa: PLR1730 (a call of max() here costs as much as the rest)
                newest = arrival_ms
            known = first.get(digest)
            if known is not None:
                if known >> 64 >= newest - horizon_ms:
                    verdicts.append("duplicate" if known & _LOW == data_hash else "conflict")
                    continue
                del first[digest]  # so that the order stays that of acceptance
            first[digest] = arrival_ms << 64 | data_hash
            verdicts.append("new")
        self.max_arrival_ms = newest
        return verdicts

    def evict(self) -> int:
        """Forget ids past the horizon, and return how many. Changes no verdict: it only frees memory."""
        oldest = self.max_arrival_ms - self._horizon_ms
        expired = 0
        for known in self._first.values():
            if known >> 64 >= oldest:
                break
            expired += 1
        for digest in list(islice(self._first, expired)):
            del self._first[digest]
        return expired
