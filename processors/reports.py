"""What was reported: every version, which periods have a value, and which are overdue."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from onpace.config.calendar import Period, period_containing
from onpace.config.catalog import Catalog
from onpace.config.kpi_entities import REPORT, ReportedKpi, streams_of
from onpace.config.reporting import is_period_of, reported_kpis
from onpace.processors.clickhouse import ClickHouse

__all__ = ["Overdue", "ReportVersion", "Reported", "Reports"]


@dataclass(frozen=True, slots=True)
class ReportVersion:
    """One report, as it came; `current` is the one that counts for its period and dimension values."""

    kpi: str
    period: str
    by: tuple[tuple[str, str], ...]
    value: str
    """A JSON number, with the digits that were sent."""
    source: str
    note: str
    reported_at: datetime
    sender: str
    """The event's source and id are its identity."""
    id: str
    current: bool


@dataclass(frozen=True, slots=True)
class Overdue:
    """Ended periods of a KPI whose value is missing although it was due."""

    kpi: ReportedKpi
    periods: tuple[Period, ...]
    """Oldest first; at least one."""

    @property
    def since(self) -> datetime:
        """When the oldest of them was due."""
        return self.periods[0].bounds(self.kpi.calendar)[1] + self.kpi.due

    @property
    def reason(self) -> str:
        """`nps for 2026-09 is overdue since 2026-10-06 (owner: marketing)`."""
        first, *others = self.periods
        more = f", and {len(others)} more up to {others[-1]}" if others else ""
        owner = f" (owner: {self.kpi.owner})" if self.kpi.owner else ""
        return (
            f"{self.kpi.name} for {first} is overdue since {self.since.astimezone(self.kpi.zone):%Y-%m-%d}{more}{owner}"
        )


@dataclass(frozen=True, slots=True)
class Reported:
    """The periods of a KPI that have a value, in total or for some dimension values. Pure."""

    kpi: ReportedKpi
    periods: frozenset[Period]

    @property
    def until(self) -> datetime | None:
        """The end of the latest of them; None without any."""
        return max(self.periods).bounds(self.kpi.calendar)[1] if self.periods else None

    def holds(self, start: datetime, end: datetime) -> bool:
        """Whether a window is complete: every period in `[start, end)` has been reported."""
        period = period_containing(self.kpi.base_grain, start, self.kpi.calendar)
        while period.bounds(self.kpi.calendar)[0] < end:
            if period not in self.periods:
                return False
            period = period.next()
        return True

    def missing(self, now: datetime) -> tuple[Period, ...]:
        """Ended periods without a value, oldest first: since the first one reported; before any was, the latest."""
        last = period_containing(self.kpi.base_grain, now, self.kpi.calendar).previous()
        period = min(self.periods, default=last)
        found = []
        while period <= last:
            if period not in self.periods:
                found.append(period)
            period = period.next()
        return tuple(found)

    def overdue(self, now: datetime) -> Overdue | None:
        """Those of the missing whose values are due by `now`; None when there are none."""
        missing = self.missing(now)
        if not self.periods and missing and self._due(missing[0]) > now:
            missing = (missing[0].previous(),)  # the one before that was due, and nobody reported it
        late = tuple(period for period in missing if self._due(period) <= now)
        return Overdue(self.kpi, late) if late else None

    def _due(self, period: Period) -> datetime:
        return period.bounds(self.kpi.calendar)[1] + self.kpi.due


class Reports:
    """Reads reports. Every method raises StoreUnavailable when the store does not answer."""

    def __init__(self, store: ClickHouse, catalog: Catalog) -> None:
        self._store = store
        self._kpis = {kpi.name: kpi for kpi in reported_kpis(catalog)}

    def reported(self) -> dict[str, Reported]:
        """What has been reported of every reported KPI, in one query."""
        found: dict[str, set[Period]] = {name: set() for name in self._kpis}
        if self._kpis:
            rows = self._store.query(f"SELECT DISTINCT kpi, entity FROM facts WHERE {self._mine(self._kpis)}")
            for stream, period in rows:
                kpi = self._kpis[stream.removesuffix(".report")]
                if is_period_of(kpi.base_grain, period):
                    found[kpi.name].add(Period.parse(period))
        return {name: Reported(self._kpis[name], frozenset(periods)) for name, periods in found.items()}

    def overdue(self, now: datetime) -> dict[str, Overdue]:
        """The KPIs with periods that are overdue."""
        return {name: late for name, one in self.reported().items() if (late := one.overdue(now))}

    def versions(self, kpi: str | None = None) -> list[ReportVersion]:
        """Every report of one KPI or of all, corrected ones too: by KPI, period and dimension values, oldest first."""
        names = [name for name in self._kpis if kpi in (None, name)]
        if not names:
            return []
        rows = self._store.query(
            f"""SELECT JSONExtractString(data, 'kpi'), JSONExtractString(data, 'period'),
  JSONExtract(data, 'by', 'Map(String, String)'), JSONExtractRaw(data, 'value'), JSONExtractString(data, 'source'),
  JSONExtractString(data, 'note'), time, source, id
FROM events FINAL
WHERE type = '{REPORT}' AND duplicate = 0
  AND (topic, incarnation, partition, offset) IN (
    SELECT topic, incarnation, partition, offset FROM facts WHERE {self._mine(names)})"""
        )
        found = [
            ReportVersion(kpi, period, self._labels(kpi, by), value, source, note, _utc(at), sender, id, current=True)
            for kpi, period, by, value, source, note, at, sender, id in rows
        ]
        return _in_order(found, list(self._kpis))

    def current(self, kpi: str | None = None) -> dict[tuple[str, str, tuple[tuple[str, str], ...]], ReportVersion]:
        """(KPI, period, dimension values) -> the report that counts."""
        return {(one.kpi, one.period, one.by): one for one in self.versions(kpi) if one.current}

    def _labels(self, kpi: str, by: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
        return tuple((name, by[name]) for name in self._kpis[kpi].dimensions if name in by)

    def _mine(self, names: Collection[str]) -> str:
        streams = [stream for name in names for stream in streams_of(self._kpis[name])]
        pairs = ", ".join(f"('{stream.name}', {stream.definition})" for stream in streams)
        return f"(kpi, definition) IN ({pairs})"


def _utc(at: datetime) -> datetime:
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def _in_order(versions: Sequence[ReportVersion], kpis: Sequence[str]) -> list[ReportVersion]:
    """In order, with the latest of each period and combination marked as current."""
    ordered = sorted(
        versions,
        key=lambda one: (kpis.index(one.kpi), one.period, one.by, one.reported_at, one.sender, one.id),
    )
    last = {(one.kpi, one.period, one.by): at for at, one in enumerate(ordered)}
    return [replace(one, current=last[one.kpi, one.period, one.by] == at) for at, one in enumerate(ordered)]
