"""The views that people and Grafana read: `kpi_<name>_<grain>`, `…_total`, and `event_watermarks`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

from onpace.config.calendar import FISCAL_GRAINS, Grain
from onpace.config.catalog import Catalog
from onpace.config.kpi import Target
from onpace.config.kpi_entities import Kpi
from onpace.processors.calendar_sql import window_end_sql
from onpace.processors.clickhouse import ClickHouse
from onpace.processors.extents import begun_sql, extent_sql
from onpace.processors.leaf_sql import start_sql
from onpace.processors.placing import Windows
from onpace.processors.quoting import quoted
from onpace.processors.sql import merged_select

__all__ = [
    "rebuilds_sql",
    "refresh_views",
    "view_statements",
]

_EPOCH = "toDateTime64(0, 6, 'UTC')"
_GRAINS = {Grain.MINUTE, Grain.HOUR, Grain.DAY, Grain.WEEK, Grain.MONTH, Grain.QUARTER, Grain.YEAR}


def refresh_views(store: ClickHouse, catalog: Catalog, topic: str) -> int:
    """Create or replace the views that changed, drop those of KPIs that are gone, and return how many there are."""
    statements = dict(view_statements(catalog, topic))
    existing = dict(
        store.query(
            "SELECT name, comment FROM system.tables WHERE database = currentDatabase() AND engine = 'View' "
            "AND (name LIKE 'kpi\\_%' OR name IN ('event_watermarks', 'partition_starts'))"
        )
    )
    for name in existing.keys() - statements.keys():
        store.command(f"DROP VIEW IF EXISTS `{name}`")
    for name, select in statements.items():
        fingerprint = hashlib.sha256(select.encode()).hexdigest()
        if existing.get(name) != fingerprint:
            store.command(f"CREATE OR REPLACE VIEW `{name}` AS {select} COMMENT '{fingerprint}'")
    return len(statements)


def view_statements(catalog: Catalog, topic: str) -> Iterator[tuple[str, str]]:
    """(name, SELECT) of every view, in an order in which they can be created."""
    yield "event_watermarks", _watermarks(catalog, topic)
    yield "partition_starts", _STARTS
    yield "kpi_rebuilds", rebuilds_sql(catalog)
    for kpi in catalog.kpis.values():
        base = catalog.base_grain(kpi)
        for grain in Grain:
            if grain is base or (grain.rank > base.rank and (grain in _GRAINS or grain in _fiscal_grains(kpi))):
                yield f"kpi_{kpi.name}_{grain}", _kpi_view(catalog, kpi, grain, catalog.dimensions(kpi))
                yield f"kpi_{kpi.name}_{grain}_total", _kpi_view(catalog, kpi, grain, ())


def _fiscal_grains(kpi: Kpi) -> set[Grain]:
    """The fiscal grains that have views: all where fiscal years are other than years, and those with targets."""
    differs = kpi.calendar.fiscal_start != (1, 1)
    return {grain for grain in FISCAL_GRAINS if differs or any(target.grain is grain for target in kpi.targets)}


def _kpi_view(catalog: Catalog, kpi: Kpi, grain: Grain, by: tuple[str, ...]) -> str:
    placement = Windows(grain, kpi.calendar, begun_sql(catalog, kpi))
    dims = "".join(f"`{name}`, " for name in by)
    targets = [t for t in kpi.targets if t.grain is grain and set(t.by) == set(by)]  # a row is one series
    filed = _target_sql(kpi, targets)
    judged = bool(targets) or (not by and grain.step is None)  # the total may have had targets that are gone
    target, attainment, status = (
        (_AS_JUDGED.format(filed=filed), "judged.Attainment", "judged.Status")
        if judged
        else (filed, "CAST(NULL, 'Nullable(Float64)')", "''")
    )
    # The extent stands first: ClickHouse decides which rows of a table a query sees when it meets the name, and what
    # was flushed between the two looks must not make an older value complete.
    return f"""SELECT window_start, window_end, {dims}value, numerator, denominator,
  ifNull((window_end <= Extent.1 OR (window_start <= Extent.2 AND Extent.2 > {_EPOCH})) AND window_end <= Extent.3, 0)
    AS complete, revision,
  {target} AS target,
  {attainment} AS attainment,
  {status} AS status
FROM (SELECT {extent_sql(catalog, kpi)} AS Extent) AS known CROSS JOIN (
  SELECT Start AS window_start, {window_end_sql(grain, kpi.calendar, "Start")} AS window_end,
    {dims}value, numerator, denominator, revision
  FROM ({merged_select(catalog, kpi, placement, by)})
) AS windows
{_judged_sql(kpi, grain, _series_sql(targets) if by else "'{}'", running=bool(targets)) if judged else ""}"""


_AS_JUDGED = "if(judged.EvaluatedAt >= window_end, judged.Target, coalesce({filed}, judged.Target))"
"""The target of a row: once its period has ended, the one that it was judged by; until then the file's, and for an
increase what it comes to."""


def _judged_sql(kpi: Kpi, grain: Grain, series: str, *, running: bool) -> str:
    """A JOIN with the latest status of each period, as `judged`; `series` is SQL for that of a row.

    Without `running` periods only those that had ended when they were judged: the targets of the others are gone.
    """
    ended = "" if running else " AND evaluated_at >= period_end"
    names = ["status", "attainment", "ifNull(target_value, target_max)", "evaluated_at"]
    # as one tuple, for argMax leaves nulls out
    latest = f"argMax(({', '.join(names)}), (final, evaluated_at)) AS Latest"
    return f"""LEFT JOIN (
  SELECT period_start AS Start, series AS Series, {latest},
    Latest.1 AS Status, Latest.2 AS Attainment, Latest.3 AS Target, Latest.4 AS EvaluatedAt
  FROM kpi_status FINAL WHERE kpi = {quoted(kpi.name)} AND grain = {quoted(grain)}{ended} GROUP BY period_start, series
) AS judged ON judged.Start = window_start AND judged.Series = {series}"""


def _target_sql(kpi: Kpi, targets: list[Target]) -> str:
    """The target that the file gives for each window: an explicit period beats `every`. Null for an increase."""
    cases = []
    for target in sorted(targets, key=lambda t: t.period is None):
        value = target.value if target.value is not None else target.max
        conditions = [f"`{name}` = {quoted(wanted)}" for name, wanted in target.by.items()]
        if target.period:
            start, _ = target.period.bounds(kpi.calendar)
            conditions.append(f"window_start = toDateTime({int(start.timestamp())}, 'UTC')")
        cases.append(f"{' AND '.join(conditions) or '1'}, {'NULL' if value is None else repr(value)}")
    return (
        f"CAST(multiIf({', '.join(cases)}, NULL), 'Nullable(Float64)')" if cases else "CAST(NULL, 'Nullable(Float64)')"
    )


def _series_sql(targets: list[Target]) -> str:
    """Which series of `kpi_status` a row belongs to: compact JSON of the target's dimension values, names sorted."""
    cases = []
    for target in targets:
        series = json.dumps(dict(sorted(target.by.items())), ensure_ascii=False, separators=(",", ":"))
        cases += [
            " AND ".join(f"`{name}` = {quoted(wanted)}" for name, wanted in target.by.items()) or "1",
            quoted(series),
        ]
    return f"multiIf({', '.join(cases)}, '')"


_STARTS = """SELECT topic, incarnation, partition, max(offset) AS checkpoint,
  argMax(starts, (offset, written_at)) AS starts
FROM checkpoints GROUP BY topic, incarnation, partition"""


def rebuilds_sql(catalog: Catalog) -> str:
    """What is still to be rebuilt from the archive, per KPI and partition: all that was archived below `start`."""
    keys = ", ".join(quoted(kpi.key) for kpi in catalog.simple_kpis())
    return f"""SELECT substringIndex(key, '/', 1) AS kpi, toUInt64(substringIndex(key, '/', -1)) AS definition,
  topic, incarnation, partition, start
FROM (SELECT topic, incarnation, partition, arrayJoin(CAST([{keys}], 'Array(String)')) AS key,
    {start_sql("key")} AS start FROM partition_starts WHERE checkpoint > 0)
WHERE start > 0 AND (key, topic, incarnation, partition, start) NOT IN (
  SELECT concat(kpi, '/', toString(definition)), topic, incarnation, partition, start FROM rebuilds)"""


def _watermarks(catalog: Catalog, topic: str) -> str:
    """Per declared event type: how far all partitions of the live topic have come (before lateness is taken off).

    A partition is as far as its latest event of the type, or, with nothing left to read, as the clock was then; but
    never further past the type's last event anywhere than `expected_every`, for then the source is overdue.
    """
    expected = {name: int(e.expected_every.total_seconds()) for name, e in catalog.events.items() if e.expected_every}
    limits = (
        f"transform(event_type, [{', '.join(map(quoted, expected))}], [{', '.join(map(str, expected.values()))}], 0)"
        if expected
        else "0"
    )
    names = ", ".join(map(quoted, catalog.events)) or "''"
    here = f"topic = {quoted(topic)}"
    alive = f"incarnation = (SELECT argMax(incarnation, first_seen) FROM incarnations WHERE {here}) AND {here}"
    count = f"(SELECT max(partitions) FROM incarnations WHERE {alive})"
    return f"""SELECT event_type,
  if(count() < {count}, {_EPOCH}, min(greatest(latest,
    if({limits} > 0 AND last_anywhere > {_EPOCH},
      least(caught_up, last_anywhere + toIntervalSecond({limits})), caught_up)))) AS watermark,
  max(last_anywhere) AS last_event_time, max(arrived_anywhere) AS last_arrival, min(caught_up) AS caught_up_at,
  (SELECT if(max(finished_at) >= max(caught_up_at) AND max(input_end) >= max(max_event_time), max(input_end),
    {_EPOCH}) FROM watermarks WHERE {here}) AS input_end
FROM (
  SELECT partitions.partition AS partition, declared AS event_type, caught_up, latest, last_anywhere, arrived_anywhere
  FROM (SELECT partition, toDateTime64(max(caught_up_at), 6, 'UTC') AS caught_up, arrayJoin([{names}]) AS declared
        FROM watermarks WHERE {alive} AND event_type = '' AND partition < {count} GROUP BY partition) AS partitions
  LEFT JOIN (SELECT partition, toString(event_type) AS event_type, max(max_event_time) AS latest
        FROM watermarks WHERE {alive} AND event_type != '' GROUP BY partition, event_type) AS own
    ON own.partition = partitions.partition AND own.event_type = declared
  LEFT JOIN (SELECT toString(event_type) AS event_type, max(max_event_time) AS last_anywhere,
          max(last_arrival) AS arrived_anywhere
        FROM watermarks WHERE {here} AND event_type != '' GROUP BY event_type) AS everywhere
    ON everywhere.event_type = declared
)
GROUP BY event_type"""
