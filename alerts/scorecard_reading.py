"""Reads what a scorecard shows: what the engine has judged, and beside it the key results and last period's values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from onpace.alerts.climbs import climb_of
from onpace.alerts.guardrails import with_guardrails
from onpace.alerts.judgement import Due, Judgement
from onpace.alerts.judging import PastValues, Progress, StatusKey, read_progress, read_statuses
from onpace.alerts.objectives import Measure, MeasureKey, ObjectiveState, headline_measure, measures, objective_state
from onpace.alerts.pace import LATE_START, PastPoint, elapsed_share
from onpace.alerts.reading import SeriesReader
from onpace.alerts.scorecard import KpiLine, Scorecard, Selection, Trend, assemble, objectives_of, overlap
from onpace.alerts.status import KpiStatus, Labels, finite
from onpace.config.calendar import Period
from onpace.config.catalog import Catalog
from onpace.config.kpi import Objective
from onpace.config.kpi_entities import Kpi
from onpace.config.open_time import open_share

__all__ = ["ScorecardReader"]


class ScorecardReader:
    """Reads scorecards. `statuses` are all that the engine has found, the latest of each period last."""

    def __init__(self, catalog: Catalog, reader: SeriesReader, statuses: Iterable[KpiStatus]) -> None:
        self._catalog = catalog
        self._reader = reader
        self._stored: Mapping[StatusKey, KpiStatus] = {status.key: status for status in statuses}

    def read(self, selection: Selection) -> Scorecard:
        """The scorecard of that period. Raises StoreUnavailable."""
        kpis = [kpi for kpi in self._catalog.kpis.values() if selection.holds(kpi)]
        headlines = {
            kpi.name: measure for kpi in self._catalog.kpis.values() if (measure := self._headline(kpi, selection))
        }
        asked = [
            (one, period, self._measures(one, period, selection))
            for one, period in objectives_of(selection, self._catalog)
        ]
        every = [*headlines.values(), *(measure for *_, found in asked for measure in found)]
        statuses = self._statuses(every, selection)
        states = [_state(one, period, found, statuses, selection) for one, period, found in asked]
        return assemble(selection, states, [self._line(kpi, headlines, statuses, selection) for kpi in kpis])

    def _headline(self, kpi: Kpi, selection: Selection) -> Measure | None:
        """The KPI's headline target, if that is for a time of the scorecard's period."""
        measure = headline_measure(kpi, self._catalog, selection.last(kpi))
        return measure if measure and overlap(measure.period, selection.period, selection.zone) else None

    def _measures(self, objective: Objective, period: Period, selection: Selection) -> list[Measure]:
        kpis = self._catalog.kpis.values()
        ends = [min(selection.instant(kpi), period.bounds(kpi.calendar)[1]) for kpi in kpis]
        last = min(ends, default=selection.now) - timedelta(microseconds=1)
        return measures(objective, self._catalog, period=period, at=last)

    def _statuses(self, every: Sequence[Measure], selection: Selection) -> dict[MeasureKey, KpiStatus]:
        """The status of each measure: as the engine found it where that holds, else judged now."""
        found: dict[MeasureKey, KpiStatus] = {}
        judgements: dict[MeasureKey, Judgement] = {}
        for measure in every:
            if known := self._known(measure, selection):
                found[measure.key] = known
            elif measure.key not in judgements:
                judgements[measure.key] = self._judgement(measure, selection)
        fresh = read_statuses(self._reader, list(judgements.values()), PastValues())
        found |= dict(zip(judgements, fresh, strict=True))
        headlines = [found[measure.key] for measure in every if measure.judged]
        remarked = {one.key: one for one in with_guardrails(self._catalog, headlines, self._stored.get)}
        judged = {measure.key for measure in every if measure.judged and not self._known(measure, selection)}
        return {key: remarked[one.key] if key in judged else one for key, one in found.items()}

    def _known(self, measure: Measure, selection: Selection) -> KpiStatus | None:
        status = self._stored.get((measure.kpi.name, measure.series, str(measure.period)))
        if status is None or not measure.judged:
            return None
        at = selection.instant(measure.kpi)
        return status if at == selection.now or (status.final and status.period_end <= at) else None

    def _judgement(self, measure: Measure, selection: Selection) -> Judgement:
        kpi, at = measure.kpi, selection.instant(measure.kpi)
        progress = self._progress(kpi, at)
        return Judgement(
            kpi=kpi,
            due=Due(measure.target, measure.period),
            base_grain=self._catalog.base_grain(kpi),
            accumulates=self._catalog.accumulates(kpi),
            first_event=progress.first_event,
            as_of=progress.as_of,
            now=at,
            climb=climb_of(self._catalog, kpi, measure.period),
        )

    def _progress(self, kpi: Kpi, at: datetime) -> Progress:
        return read_progress(self._catalog, self._reader, kpi, now=at, stale="")

    def _line(
        self,
        kpi: Kpi,
        headlines: Mapping[str, Measure],
        statuses: Mapping[MeasureKey, KpiStatus],
        selection: Selection,
    ) -> KpiLine:
        measure = headlines.get(kpi.name)
        status = statuses[measure.key] if measure else None
        period, series = (measure.period, measure.series) if measure else (selection.period, ())
        progress = self._progress(kpi, selection.instant(kpi))
        start, end = period.bounds(kpi.calendar)
        upto = min(end, progress.as_of) if progress.as_of else start
        value = status.actual if status else self._value(kpi, start, upto, series)
        return KpiLine(kpi, str(period), value, status, self._trend(kpi, period, value, series, progress))

    def _value(self, kpi: Kpi, start: datetime, end: datetime, series: Labels) -> float | None:
        if start >= end:
            return None
        where = {name: value for name, value in series if value is not None}
        return finite(self._reader.values(kpi.name, [(start, end)], where)[0])

    def _trend(self, kpi: Kpi, period: Period, value: float | None, series: Labels, progress: Progress) -> Trend | None:
        """Against the period before, if there is one; a total in its running period against the same point of it."""
        before, calendar = period.previous(), kpi.calendar
        (start, end), (opened, closed) = period.bounds(calendar), before.bounds(calendar)
        first, as_of = progress.first_event, progress.as_of
        if value is None or as_of is None or first is None or first >= closed:
            return None
        climb = climb_of(self._catalog, kpi, period)
        if not (self._catalog.accumulates(kpi) or (climb and climb.like_past)):
            return Trend.between(self._value(kpi, opened, closed, series), value, before, kpi)
        if elapsed_share(opened, closed, first) > LATE_START:
            return None
        point = PastPoint.at(before, open_share(calendar, start, end, as_of), self._catalog.base_grain(kpi), calendar)
        low, high = (self._value(kpi, opened, at, series) or 0.0 for at in (point.before, point.after))
        return Trend.between(low + (high - low) * point.weight, value, before, kpi)


def _state(
    objective: Objective,
    period: Period,
    found: Sequence[Measure],
    statuses: Mapping[MeasureKey, KpiStatus],
    selection: Selection,
) -> ObjectiveState:
    ends = [(selection.instant(one.kpi), period.bounds(one.kpi.calendar)[1]) for one in found]
    ended = bool(ends) and all(at >= end for at, end in ends)
    return objective_state(objective, period, [(one, statuses[one.key]) for one in found], ended=ended)
