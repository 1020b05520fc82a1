"""The rows that conversion, retention and balance KPIs are merged from, as SQL over the table `facts`.

Rows are what `leaf_sql` describes: `window_start`, `revision`, `by_<dimension>` and state columns that add up. There is
one per base event of a conversion, one per entity of a retention, and for a balance those by which it changes.

What need not count anything reads without FINAL: a fact stored twice is the same fact. Every read is cut short by time,
which the table is ordered by, where the condition on windows says from when to when.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta

from onpace.config.calendar import Grain
from onpace.config.kpi import SimpleKpi
from onpace.config.kpi_entities import BalanceKpi, ConversionKpi, RetentionKpi, streams_of
from onpace.processors.aggregates import BIN_OFFSET, GAMMA
from onpace.processors.calendar_sql import later_sql, longest, shortest, window_start_sql
from onpace.processors.quoting import inner, quoted

__all__ = ["balance_rows", "conversion_rows", "fact_dimensions", "retention_rows"]

_ORDER = "time, source, id, incarnation, partition, offset"
"""The order of an entity's events; the place in the log decides between those that are equal for the format."""
_BETWEEN = re.compile(r"window_start >= toDateTime\((\d+), 'UTC'\) AND window_start < toDateTime\((\d+), 'UTC'\)")


def conversion_rows(leaf: ConversionKpi, dims: Sequence[str], condition: str) -> str:
    """A SELECT of one row per base event: `count` 1, `exact` 1 if it converted, and the bin of the seconds it took.

    The first conversion at or after the base event decides; of the same type, the first after it, for no event converts
    itself. `dims`: some of the leaf's dimensions. `condition`: over
    `window_start`, the base event's base window.
    """
    base, then = streams_of(leaf)
    within = _Within.of(condition, leaf.base_grain)
    first = len(leaf.constant) + 1
    window_us = leaf.window // timedelta(microseconds=1)
    follows = "<" if leaf.base.event == leaf.conversion.event else "<="
    key = f"concat({''.join(f'JSONExtractRaw(dims, {at}), ' for at in range(1, first))}entity)"
    equal = "".join(f" AND JSONExtractRaw(dims, {at}) != 'null'" for at in range(1, first))
    start = window_start_sql(leaf.base_grain, leaf.calendar, "toDateTime(time, 'UTC')")
    return f"""SELECT window_start, if(converted, greatest(offset, later), offset) AS revision{_names(dims)},
      toUInt64(1) AS count, toDecimal128(converted, 9) AS exact,
      if(converted, [{_sketch_bin("took / 1000000")}], emptyArrayInt32()) AS bins,
      if(converted, [toUInt64(1)], emptyArrayUInt64()) AS bin_counts
    FROM (
      SELECT base.*, next.offset AS later, next.us - base.us AS took,
        ifNull(next.found = 1 AND next.us - base.us < {window_us}, 0) AS converted
      FROM (SELECT {key} AS entities, toUnixTimestamp64Micro(time) AS us, offset,
          {start} AS window_start{_columns(leaf.dimensions, dims, first)}
        FROM facts FINAL WHERE {_mine(base)} AND ({condition}) AND {within.sql()}) AS base
      ASOF LEFT JOIN (SELECT {key} AS entities, toUnixTimestamp64Micro(time) AS us, offset, 1 AS found
        FROM facts WHERE {_mine(then)}{equal} AND {within.sql(last=leaf.window)}) AS next
      ON base.entities = next.entities AND base.us {follows} next.us
      SETTINGS join_algorithm = 'full_sorting_merge,hash'
    )"""


def retention_rows(leaf: RetentionKpi, dims: Sequence[str], condition: str) -> str:
    """A SELECT of one row per entity: `count` 1, and `exact` 1 if it came back in the n-th period (or any later one).

    `dims` and `condition` as in `conversion_rows`; `window_start` is that of the entity's first period.
    """
    start, back = streams_of(leaf)
    within = _Within.of(condition, leaf.base_grain)
    window = window_start_sql(leaf.base_grain, leaf.calendar, "toDateTime(first, 'UTC')")
    period = window_start_sql(leaf.base_grain, leaf.calendar, "toDateTime(time, 'UTC')")
    due = _periods_later("window_start", leaf)
    rolling = leaf.kind == "rolling"
    soonest, latest = shortest(leaf.base_grain) * leaf.n, longest(leaf.base_grain) * leaf.n
    came = f"max({period})" if rolling else period
    returned = "again.period >= cohort.due" if rolling else "again.period = cohort.due"
    joined = "" if rolling else " AND cohort.due = again.period"
    return f"""SELECT window_start, if(returned, greatest(latest, later), latest) AS revision{_names(dims)},
      toUInt64(1) AS count, toDecimal128(returned, 9) AS exact
    FROM (
      SELECT cohort.*, again.latest AS later, ifNull(again.found = 1 AND {returned}, 0) AS returned
      FROM (SELECT entity, latest, {window} AS window_start, {due} AS due{_columns(leaf.dimensions, dims, 1, "place")}
        FROM ({_firsts(f"{_mine(start)} AND {within.sql(first=None)}", dims)})
        WHERE {condition}) AS cohort
      LEFT JOIN (SELECT entity, {came} AS period, max(offset) AS latest, 1 AS found
        FROM facts WHERE {_mine(back)} AND {within.sql(soonest, None if rolling else latest)}
        GROUP BY entity{"" if rolling else ", period"}) AS again
      ON cohort.entity = again.entity{joined}
    )"""


def balance_rows(leaf: BalanceKpi, dims: Sequence[str], condition: str) -> str:
    """A SELECT of changes: of each event what its entity has from then on, less what it had before.

    `exact` and `total` of all changes up to an instant add up to the balance then. `dims` and `condition` as in
    `conversion_rows`; what an entity had is taken off under the dimension values that it had.
    """
    (changes,) = streams_of(leaf)
    within = _Within.of(condition, leaf.base_grain)
    start = window_start_sql(leaf.base_grain, leaf.calendar, "toDateTime(time, 'UTC')")
    before = f"OVER (PARTITION BY entity ORDER BY {_ORDER} ROWS BETWEEN 1 PRECEDING AND 1 PRECEDING)"
    inside = f"FROM facts WHERE {_mine(changes)} AND {within.sql(first=None)}"
    if not dims:
        return f"""SELECT window_start, offset AS revision, holds.1 - held.1 AS exact, holds.2 - held.2 AS total
    FROM (SELECT {start} AS window_start, offset, (exact, total) AS holds, any(holds) {before} AS held {inside})
    WHERE {condition}"""
    return f"""SELECT window_start, offset AS revision{_columns(leaf.dimensions, dims, 1, "change.1")},
      change.2 AS exact, change.3 AS total
    FROM (SELECT {start} AS window_start, offset, (dims, exact, total) AS holds, any(holds) {before} AS held {inside})
    ARRAY JOIN if(held.1 IN ('', holds.1), [(holds.1, holds.2 - held.2, holds.3 - held.3)],
      [holds, (held.1, -held.2, -held.3)]) AS change
    WHERE {condition}"""


def fact_dimensions(leaf: ConversionKpi | BalanceKpi, dims: Sequence[str]) -> str:
    """A SELECT with every combination of the dimensions `dims` that the leaf's rows have."""
    constants = len(leaf.constant) if isinstance(leaf, ConversionKpi) else 0
    columns = _columns(leaf.dimensions, dims, constants + 1).removeprefix(", ") or "1"
    return f"SELECT DISTINCT {columns} FROM (SELECT DISTINCT dims FROM facts WHERE {_mine(streams_of(leaf)[0])})"


@dataclass(frozen=True, slots=True)
class _Within:
    """The times (seconds since 1970) that the events of some windows may have; None: any."""

    start: int | None
    end: int | None

    @classmethod
    def of(cls, condition: str, grain: Grain) -> _Within:
        """What a condition over the start of windows of a grain says; nothing if it is of another form than ours."""
        found = _BETWEEN.fullmatch(condition)
        if not found:
            return cls(None, None)
        return cls(int(found[1]), int(found[2]) + math.ceil(longest(grain).total_seconds()))

    def sql(self, first: timedelta | None = timedelta(), last: timedelta | None = timedelta()) -> str:
        """SQL for these times, with so much added to the first and to the last of them (None: no bound)."""
        bounds = []
        if self.start is not None and first is not None:
            bounds.append(f"time >= toDateTime({_second(self.start + math.floor(first.total_seconds()))}, 'UTC')")
        if self.end is not None and last is not None:
            bounds.append(f"time < toDateTime({_second(self.end + math.ceil(last.total_seconds()))}, 'UTC')")
        return " AND ".join(bounds) or "1"


def _second(at: int) -> int:
    """At most what a DateTime holds; no event is as late."""
    return min(at, 2**32 - 1)


def _mine(stream: SimpleKpi) -> str:
    return f"kpi = {quoted(stream.name)} AND definition = {stream.definition}"


def _names(dims: Sequence[str]) -> str:
    return "".join(f", {inner(name)}" for name in dims)


def _columns(known: Collection[str], dims: Sequence[str], first: int, text: str = "dims") -> str:
    """SQL for the dimensions among those `known`, which stand in the JSON `text` from place `first` on."""
    places = {name: first + at for at, name in enumerate(known)}
    return "".join(f", JSONExtract({text}, {places[name]}, 'Nullable(String)') AS {inner(name)}" for name in dims)


def _firsts(mine: str, dims: Sequence[str]) -> str:
    """A SELECT of the time of each entity's first event, and of its dimension values if there are any."""
    if not dims:
        return f"SELECT entity, min(time) AS first, max(offset) AS latest FROM facts WHERE {mine} GROUP BY entity"
    # the full order, which is slow, only for events of the same time
    times = f"SELECT entity, min(time) FROM facts WHERE {mine} GROUP BY entity"
    return f"""SELECT entity, min(time) AS first, max(offset) AS latest, argMin(dims, ({_ORDER})) AS place
          FROM facts WHERE {mine} AND (entity, time) IN ({times}) GROUP BY entity"""


def _sketch_bin(value: str) -> str:
    """SQL for `aggregates.sketch_bin` of a number that is not negative."""
    return f"if({value} = 0, toInt32(0), toInt32(ceil(log({value}) / {math.log(GAMMA)!r})) + toInt32({BIN_OFFSET}))"


def _periods_later(start: str, leaf: RetentionKpi) -> str:
    """SQL for the start of the n-th period after the one that begins at `start`."""
    zone = quoted(leaf.timezone)
    day = later_sql(leaf.base_grain, f"toDate({start}, {zone})", leaf.n)
    return f"toTimeZone(toDateTime({day}, {zone}), 'UTC')"
