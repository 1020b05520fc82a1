"""The ceiling on the series of a KPI: which combinations of dimension values have rows of their own.

Per KPI definition and slot (a life of a partition) and segment, the first `max_series` combinations in the order of
offsets are *admitted*; events of any other are booked under `__other__` in every dimension. Totals stay exact.

Why the same log gives the same rows, whatever happens: let A be the first `max_series` combinations of the segment. An
event's own combination has occurred by its offset, so it is booked under its own name if and only if it is in A: when
it comes, or comes again, or which batch it comes in does not matter. What is admitted is written to the table `series`
before the checkpoint that covers it, and never taken back. So whoever goes on at a checkpoint reads a set S with all of
A that occurred before it (earlier flushes), perhaps more of A (half a flush, a zombie), and nothing else. Going on from
there, whatever S lacks of A comes before anything that is not in A, and is admitted; then S is A, and full. Hence
crashes, repeated flushes, zombies, late events, evicted windows, dead lives and rebuilds all decide alike. Nothing is
read back for it: the set of a slot is in memory while the slot is held. A rebuild begins at the beginning of its
segment, where S is empty, and needs nothing stored.

Rows of distinct counts have no segment: if a definition goes and comes back, what was booked before stays in the union.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping

import polars as pl

from onpace.config.kpi import SimpleKpi
from onpace.processors.windows import DIMS_BITS, SLOT_BITS, DimensionCodes

__all__ = ["OTHER", "SeriesCeiling", "pairs_in"]

OTHER = "__other__"
"""The value that every dimension has in the row for what is over the ceiling. An event's own `__other__` is legal."""

_PAIR = (1 << (DIMS_BITS + SLOT_BITS)) - 1


def pairs_in(codes: pl.Series, slots: pl.Series) -> list[int]:
    """The pairs (dimension code, slot) that occur, packed as in a key."""
    return (codes.cast(pl.UInt64) * (1 << SLOT_BITS) + slots.cast(pl.UInt64)).unique().to_list()


class SeriesCeiling:
    """The combinations that one KPI has admitted, over all slots of this process."""

    def __init__(self, kpi: SimpleKpi) -> None:
        self._limit = kpi.max_series
        self._other = json.dumps([OTHER] * len(kpi.dimensions), separators=(",", ":"))
        self._admitted: dict[int, set[str]] = {}
        self._unwritten: dict[int, list[str]] = {}
        self._known: set[int] | None = None
        """The pairs of everything admitted and of `__other__`; None until the codes in force have been looked up."""
        self.overflowed = 0
        """Events of the last `book` that are over the ceiling."""

    def open(self, slot: int, stored: Collection[str]) -> None:
        """Take over a slot, with the combinations that the store says are admitted."""
        self._admitted[slot] = set(stored) - {self._other}
        self._unwritten[slot] = []
        self._known = None

    def close(self, slot: int) -> None:
        """Forget a slot."""
        self._admitted.pop(slot, None)
        self._unwritten.pop(slot, None)
        self._known = None

    def forget_codes(self) -> None:
        """The codes of dimension values are about to be given out anew."""
        self._known = None

    def book(self, rows: pl.DataFrame, present: Iterable[int], dims: DimensionCodes) -> pl.DataFrame:
        """`rows` (key, offset, …, in the order of offsets per slot) with everything over the ceiling under `__other__`.

        `present`: all pairs that they may have, or more. May be repeated with the same rows, or with these and more.
        """
        self.overflowed = 0
        known = self._known_pairs(dims)
        if not (unknown := [pair for pair in present if pair not in known]):
            return rows
        pairs = rows["key"] & _PAIR
        new = pairs.is_in(pl.Series(unknown, dtype=pl.UInt64).implode())
        if not new.any():
            return rows
        firsts = pl.DataFrame({"pair": pairs, "offset": rows["offset"]}).filter(new)
        firsts = firsts.group_by("pair").agg(pl.col("offset").min()).sort("offset")
        over = self._admit(firsts["pair"], known, dims)
        if over.is_empty():
            return rows
        beyond = pairs.is_in(over.implode())
        self.overflowed = int(beyond.sum())
        code = dims.code(self._other)
        moved = rows["key"] - pairs + (pairs & ((1 << SLOT_BITS) - 1)) + (code << SLOT_BITS)
        return rows.with_columns(pl.select(pl.when(beyond).then(moved).otherwise(rows["key"]).alias("key")).to_series())

    def unwritten(self) -> Mapping[int, list[str]]:
        """Slot -> what was admitted and handed out by no earlier call: the next flush has to hold it."""
        found = {slot: texts for slot, texts in self._unwritten.items() if texts}
        self._unwritten = {slot: [] for slot in self._unwritten}
        return found

    def _admit(self, pairs: pl.Series, known: set[int], dims: DimensionCodes) -> pl.Series:
        """Admit new pairs, in this order, while there is room; return the others."""
        over = [pl.Series(dtype=pl.UInt64)]
        slots = pairs & ((1 << SLOT_BITS) - 1)
        for slot in slots.unique().to_list():
            mine = pairs.filter(slots == slot)
            admitted = self._admitted[slot]
            room = max(0, self._limit - len(admitted))
            texts = dims.texts((mine.head(room) // (1 << SLOT_BITS)).to_list())
            admitted.update(texts)
            self._unwritten[slot] += texts
            known.update(mine.head(room).to_list())
            over.append(mine.slice(room))
        return pl.concat(over)

    def _known_pairs(self, dims: DimensionCodes) -> set[int]:
        if self._known is None:
            self._known = {
                (dims.code(text) << SLOT_BITS) + slot
                for slot, texts in self._admitted.items()
                for text in (*texts, self._other)
            }
        return self._known
