"""What the linter is told of the past: KPI values by period and day, segments, and how often bounds were broken."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta

from onpace.alerts.baselines import baseline_period
from onpace.alerts.pace import LATE_START, elapsed_share
from onpace.alerts.reading import SeriesReader, WindowPoint
from onpace.alerts.rules import is_active, threshold_verdict
from onpace.alerts.status import finite
from onpace.config.calendar import Grain, period_containing
from onpace.config.catalog import Catalog
from onpace.config.lint.attainable import past_needed
from onpace.config.lint.evidence import Evidence, PastValue, RuleFacts, Segment
from onpace.config.open_time import closed_through
from onpace.config.rules import ThresholdRule

__all__ = ["with_past"]

PAST = timedelta(days=3 * 366)
"""How far back targets are compared with what was."""
DAYS = timedelta(days=400)
RULE_PAST = timedelta(days=90)


def with_past(evidence: Evidence, catalog: Catalog, reader: SeriesReader, now: datetime) -> Evidence:
    """The evidence with all that KPI values say. `now` is where the past ends. Raises StoreUnavailable."""
    reader.sources()
    ends = {name: mark for name in catalog.kpis if (mark := reader.watermark(name))}
    known = {name: min(mark, now) for name, mark in ends.items()}
    past = _Past(catalog, reader, known)
    return replace(
        evidence,
        past={series: values for series in past_needed(catalog) if (values := past.periods(*series))},
        growth={key: values for key in _growth_targets(catalog) if (values := past.growth(*key))},
        daily={name: days for name in known if (days := past.days(name))},
        rules={rule.name: facts for rule in catalog.rules.values() if (facts := past.rule(rule))},
        segments={key: seen for key in _split_targets(catalog) if (seen := past.segments(*key))},
    )


def _growth_targets(catalog: Catalog) -> list[tuple[str, int]]:
    return [
        (kpi.name, index)
        for kpi in catalog.kpis.values()
        for index, target in enumerate(kpi.targets)
        if target.increase
    ]


def _split_targets(catalog: Catalog) -> list[tuple[str, str]]:
    return [
        (kpi.name, dimension)
        for kpi in catalog.kpis.values()
        for dimension in dict.fromkeys(name for target in kpi.targets for name in target.by)
    ]


class _Past:
    """Reads what lies before the time up to which each KPI is complete; KPIs without one have no past."""

    def __init__(self, catalog: Catalog, reader: SeriesReader, ends: Mapping[str, datetime]) -> None:
        self._catalog = catalog
        self._reader = reader
        self._ends = ends

    def periods(self, name: str, grain: Grain, segment: Segment = (), *, back: timedelta = PAST) -> list[PastValue]:
        """Whole periods: complete, and not cut off by the KPI's first event or by the end of the input."""
        end, begun, kpi = self._ends.get(name), self._reader.first_event(name), self._catalog.kpi(name)
        if end is None or begun is None or grain.rank < self._catalog.base_grain(kpi).rank:
            return []
        points = self._reader.series(name, grain, end - back, end, where=dict(segment)).get((), ())
        return [
            PastValue(period_containing(grain, point.window_start, kpi.calendar), value)
            for point, value in _complete(points)
            if elapsed_share(point.window_start, point.window_end, begun) <= LATE_START
            and elapsed_share(point.window_start, point.window_end, end) >= 1 - LATE_START
        ]

    def growth(self, name: str, index: int) -> list[PastValue]:
        """How much more each whole period had than the one that a growth target looks back to."""
        target = self._catalog.kpi(name).targets[index]
        if target.increase is None or target.over is None:
            return []
        values = {one.period: one.value for one in self.periods(name, target.grain, tuple(sorted(target.by.items())))}
        pairs = [(period, value, values.get(baseline_period(period, target.over))) for period, value in values.items()]
        return [
            PastValue(period, 100 * (value - before) / abs(before) if target.increase.relative else value - before)
            for period, value, before in pairs
            if before is not None and (before or not target.increase.relative)
        ]

    def days(self, name: str) -> dict[date, float]:
        """Its value on each whole day."""
        return {one.period.first_day: one.value for one in self.periods(name, Grain.DAY, back=DAYS)}

    def segments(self, name: str, dimension: str) -> frozenset[str]:
        """The values that the dimension ever had."""
        end = self._ends.get(name)
        if end is None:
            return frozenset()
        found = self._reader.series(name, Grain.YEAR, end - PAST, end, by=[dimension])
        return frozenset(key for (key,) in found if key is not None)

    def rule(self, rule: object) -> RuleFacts | None:
        """How the past windows of a threshold rule would have been judged, were it in force then."""
        if not isinstance(rule, ThresholdRule) or rule.kpi not in self._ends:
            return None
        end, kpi = self._ends[rule.kpi], self._catalog.kpi(rule.kpi)
        values = self._reader.series(rule.kpi, rule.grain, end - RULE_PAST, end, by=rule.by)
        gate = rule.min_volume
        volumes = self._reader.series(gate.kpi, rule.grain, end - RULE_PAST, end, by=rule.by) if gate else {}
        volume = {(key, point.window_start): point.value for key, points in volumes.items() for point in points}
        verdicts = [
            threshold_verdict(rule, value, volume.get((key, point.window_start)), firing=False).breached
            for key, points in values.items()
            for point, value in _complete(points)
            if is_active(rule.active, point.window_start, kpi.zone)
            and not closed_through(kpi.calendar, point.window_start, point.window_end)
        ]
        return RuleFacts(sum(one is not None for one in verdicts), sum(one is True for one in verdicts))


def _complete(points: Sequence[WindowPoint]) -> Iterator[tuple[WindowPoint, float]]:
    """Those with a value."""
    for point in points:
        value = finite(point.value)
        if point.complete and value is not None:
            yield point, value
