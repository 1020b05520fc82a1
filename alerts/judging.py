"""Reads what judgements need, in one query per KPI and slice, and keeps the latest status of every target."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from onpace.alerts.climbs import climb_of
from onpace.alerts.evaluation import Reading
from onpace.alerts.forecasts import Forecast
from onpace.alerts.foresight import Foresight
from onpace.alerts.judgement import Due, Judgement, due_periods, judge_again
from onpace.alerts.reading import SeriesReader, Span
from onpace.alerts.slices import read_slices
from onpace.alerts.status import KpiStatus, Labels, finite, target_series
from onpace.alerts.versions import TargetHistory
from onpace.config.calendar import Grain, period_containing, window_start
from onpace.config.catalog import Catalog
from onpace.config.kpi_entities import Kpi

__all__ = ["LOOK_AGAIN", "PastValues", "Progress", "StatusBoard", "StatusKey", "read_progress", "read_statuses"]

StatusKey = tuple[str, Labels, str]

LOOK_AGAIN = timedelta(minutes=1)
"""So often what was read up to the same W is read again at least, for late events."""
LET_GO = timedelta(days=2)
"""What was read of the past for a period that nobody has looked at for so long is forgotten."""
RECHECKED = 2
"""So many of the newest final periods of a target are read again, once an hour, for late events."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a KPI has come: W in whole base windows, where it began, why its source is stale ('' if it is not)."""

    as_of: datetime | None
    first_event: datetime | None
    stale: str = ""


def read_progress(catalog: Catalog, reader: SeriesReader, kpi: Kpi, *, now: datetime, stale: str) -> Progress:
    """W is read before any value, so that no value is younger than its W claims."""
    watermark = reader.watermark(kpi.name)
    if watermark is None:
        return Progress(None, None, stale)
    as_of = window_start(catalog.base_grain(kpi), min(watermark, now), kpi.calendar)
    return Progress(as_of, reader.first_event(kpi.name), stale)


class PastValues:
    """What was last read of the past, kept until other spans of it are wanted."""

    def __init__(self, look_again: timedelta = LOOK_AGAIN) -> None:
        """`look_again`: how long what was read up to the same W is not read anew."""
        self._look_again = look_again
        self._kept: dict[StatusKey, tuple[_Past, dict[Span, float | None], datetime]] = {}
        self._let_go_at: datetime | None = None
        self._recent: dict[tuple[str, Labels], dict[Span, tuple[datetime, float | None]]] = {}

    def recall(self, judgement: Judgement) -> dict[Span, float | None]:
        """The values of the judgement's past spans, if they were kept; else none."""
        past, values, _ = self._kept.get(_place(judgement), (None, {}, None))
        return values if past == _Past.of(judgement) else {}

    def recent(self, judgement: Judgement) -> dict[Span, float | None]:
        """What was read of the judgement's slice just now: late events are not looked for more often."""
        known = self._recent.get((judgement.kpi.name, judgement.due.series), {})
        return {span: value for span, (at, value) in known.items() if abs(judgement.now - at) < self._look_again}

    def note(self, place: tuple[str, Labels], values: Mapping[Span, float | None], now: datetime) -> None:
        """These have just been read."""
        known = self._recent.get(place, {})
        kept = {span: one for span, one in known.items() if abs(now - one[0]) < self._look_again}
        self._recent[place] = kept | {span: (now, value) for span, value in values.items()}

    def keep(self, judgement: Judgement, values: Mapping[Span, float | None]) -> None:
        """Keep the values of the judgement's past spans, instead of those kept before."""
        if spans := judgement.past_spans():
            found = {span: values.get(span) for span in spans}
            self._kept[_place(judgement)] = _Past.of(judgement), found, judgement.now

    def let_go(self, now: datetime) -> None:
        """Forget, once in a while, what was kept for periods that are long over."""
        if self._let_go_at is None or abs(now - self._let_go_at) >= LET_GO:
            self._kept = {place: one for place, one in self._kept.items() if abs(now - one[2]) < LET_GO}
            self._let_go_at = now


@dataclass(frozen=True, slots=True)
class _Past:
    """What of the past a judgement goes by; a baseline is read anew each hour, as late events may change it."""

    spans: tuple[Span, ...]
    hour: datetime | None

    @classmethod
    def of(cls, judgement: Judgement) -> _Past:
        """That of one judgement."""
        goes_by = judgement.baseline or judgement.foot
        hour = window_start(Grain.HOUR, judgement.now, judgement.kpi.zone) if goes_by else None
        return cls(judgement.past_spans(), hour)


def _place(judgement: Judgement) -> StatusKey:
    return _key(judgement.kpi, judgement.due)


def read_statuses(reader: SeriesReader, judgements: Sequence[Judgement], past: PastValues) -> list[KpiStatus]:
    """The status of each judgement, in order."""
    values = _read_values(reader, judgements, past)
    return [judgement.status(one) for judgement, one in zip(judgements, values, strict=True)]


def _read_values(
    reader: SeriesReader, judgements: Sequence[Judgement], past: PastValues
) -> list[Mapping[Span, float | None]]:
    """The values that each judgement needs, in order."""
    known: dict[tuple[str, Labels], dict[Span, float | None]] = {}
    wanted: dict[tuple[str, Labels], dict[Span, None]] = {}
    now: dict[tuple[str, Labels], datetime] = {}
    for judgement in judgements:
        place = (judgement.kpi.name, judgement.due.series)
        now[place] = judgement.now
        recalled = past.recent(judgement) | past.recall(judgement)
        known.setdefault(place, {}).update(recalled)
        wanted.setdefault(place, {}).update((span, None) for span in judgement.spans() if span not in recalled)
    for place, read in read_slices(reader, {place: list(spans) for place, spans in wanted.items()}):
        past.note(place, read, now[place])
        known[place].update(read)
    for judgement in judgements:
        past.keep(judgement, known[judgement.kpi.name, judgement.due.series])
        past.let_go(judgement.now)
    return [known[judgement.kpi.name, judgement.due.series] for judgement in judgements]


@dataclass(frozen=True, slots=True)
class _Open:
    """Since when a KPI's periods have to be looked at: those before are final, however many years there are."""

    first_event: datetime | None
    now: datetime
    since: Mapping[tuple[Labels, Grain], datetime]

    @classmethod
    def of(cls, kpi: Kpi, looked_at: Iterable[Due], first_event: datetime | None, now: datetime) -> _Open:
        """From the earliest that is looked at, by dimension values and length of period."""
        since: dict[tuple[Labels, Grain], datetime] = {}
        for one in looked_at:
            place, start = (one.series, one.period.grain), one.period.bounds(kpi.calendar)[0]
            since[place] = min(since.get(place, start), start)
        return cls(first_event, now, since)


class StatusBoard:
    """The latest status per KPI, series and period. A final one is kept for good; a stale one keeps its last value."""

    def __init__(
        self,
        catalog: Catalog,
        reader: SeriesReader,
        known: Iterable[KpiStatus],
        recorded: TargetHistory | None = None,
        *,
        look_again: timedelta = LOOK_AGAIN,
    ) -> None:
        self._catalog = catalog
        self._recorded = recorded or TargetHistory()
        self._reader = reader
        self._known: dict[StatusKey, KpiStatus] = {}
        self._of_kpi: dict[str, dict[StatusKey, KpiStatus]] = {}
        self._past = PastValues(look_again)
        self._foresight = Foresight(catalog)
        self._ended: dict[StatusKey, KpiStatus] = {}
        self._forecasts: dict[str, dict[StatusKey, Forecast]] = {}
        self._rechecked: dict[str, datetime] = {}
        self._open: dict[str, _Open] = {}
        self.learn(known)

    def learn(self, statuses: Iterable[KpiStatus]) -> None:
        """Keep these as the latest; a status that is not final never replaces a final one."""
        for status in statuses:
            before = self._known.get(status.key)
            if before is None or status.final or not before.final:
                self._known[status.key] = status
                self._of_kpi.setdefault(status.kpi, {})[status.key] = status
        self._ended = {key: one for key, one in self._ended.items() if not self._is_final(key)}

    def _is_final(self, key: StatusKey) -> bool:
        known = self._known.get(key)
        return known is not None and known.final

    def known(self, key: StatusKey) -> KpiStatus | None:
        """The latest status there, if any."""
        return self._known.get(key)

    def latest(self, kpi: Kpi) -> list[KpiStatus]:
        """The KPI's latest period of each target series and grain that it still has."""
        slices = {(target_series(target), target.grain) for target in kpi.targets}
        newest: dict[tuple[Labels, Grain], KpiStatus] = {}
        for status in self._of_kpi.get(kpi.name, {}).values():
            place = (status.series, status.grain)
            if place in slices:
                newest[place] = max(newest.get(place, status), status, key=lambda one: one.period_start)
        return list(newest.values())

    def judgement(self, kpi: Kpi, due: Due, progress: Progress, now: datetime) -> Judgement:
        """What is to be judged, as of the KPI's W."""
        grain, adds = self._catalog.base_grain(kpi), self._catalog.accumulates(kpi)
        climb = climb_of(self._catalog, kpi, due.period)
        foreseen = self._foresight.wants(kpi, due.target)
        return Judgement(kpi, due, grain, adds, progress.first_event, progress.as_of, now, climb, foreseen)

    def judge(self, kpi: Kpi, progress: Progress, now: datetime) -> list[KpiStatus]:
        """The KPI's statuses at `now`, of its current periods and of ended ones that are not final. Changes nothing."""
        due, finals = self._due(kpi, progress, now)
        self._forecasts[kpi.name] = {}
        if progress.stale:
            return [self._frozen(kpi, one, progress, now) for one in due]
        hour = window_start(Grain.HOUR, now, kpi.calendar)
        looks_back = self._rechecked.get(kpi.name) != hour
        again = [self.judgement(kpi, one, progress, now) for one in finals] if looks_back else []
        looks = self.looks([*again, *(self.judgement(kpi, one, progress, now) for one in due)])
        fresh = [status for status, _ in looks]
        self._forecasts[kpi.name] = {status.key: forecast for status, forecast in looks if forecast}
        self._rechecked[kpi.name] = hour
        kept = [] if looks_back else [known for one in finals if (known := self.known(_key(kpi, one)))]
        for place, status in enumerate(fresh):
            if (before := self.known(status.key)) and before.final:
                fresh[place] = judge_again(before, status, kpi.unit)
        return kept + fresh

    def looks(self, judgements: Sequence[Judgement]) -> list[tuple[KpiStatus, Forecast | None]]:
        """The status of each with the forecast of its end, if there is to be one; in one query per KPI and slice."""
        values = _read_values(self._reader, judgements, self._past)
        statuses = [judgement.status(one) for judgement, one in zip(judgements, values, strict=True)]
        self._ended |= {one.key: one for one in statuses if one.final and not self._is_final(one.key)}
        return [
            (status, self._foresight.forecast(judgement, status, one, self._outcome))
            for judgement, status, one in zip(judgements, statuses, values, strict=True)
        ]

    @property
    def forecasts(self) -> dict[StatusKey, Forecast]:
        """Those of the last judgement of every KPI."""
        return {key: forecast for found in self._forecasts.values() for key, forecast in found.items()}

    def _outcome(self, key: StatusKey) -> KpiStatus | None:
        """How a period ended: as it is kept, or as it was just judged for the first time."""
        kept = self._known.get(key)
        return kept if kept and kept.final else self._ended.get(key)

    def read(self, kpi: Kpi, progress: Progress) -> Reading:
        """The value so far today of a KPI without a target; where its periods are longer, in the last complete one."""
        if progress.as_of is None:
            return Reading(None, None, bool(progress.stale))
        base = self._catalog.base_grain(kpi)
        longer = base.rank > Grain.DAY.rank
        last = progress.as_of - timedelta(microseconds=1) if longer else progress.as_of
        period = period_containing(base if longer else Grain.DAY, last, kpi.calendar)
        start, _ = period.bounds(kpi.calendar)
        values = self._reader.values(kpi.name, [(start, progress.as_of)], {}) if start < progress.as_of else [None]
        words = str(period) if longer else "today"
        return Reading(finite(values[0]), progress.as_of, bool(progress.stale), words)

    def _due(self, kpi: Kpi, progress: Progress, now: datetime) -> tuple[list[Due], list[Due]]:
        """What is not final, and of what is final the newest periods of each target; both in order."""
        due: list[Due] = []
        finals: list[Due] = []
        places: Counter[tuple[Labels, Grain]] = Counter()
        before = self._open.get(kpi.name)
        since = before.since if before and before.first_event == progress.first_event and before.now <= now else {}
        periods = due_periods(kpi, first_event=progress.first_event, now=now, recorded=self._recorded, since=since)
        for one in reversed(periods):
            status = self.known(_key(kpi, one))
            if status is None or not status.final:
                due.append(one)
            elif not progress.stale and places[place := (one.series, one.period.grain)] < RECHECKED:
                places[place] += 1
                finals.append(_as_judged(one, status))
        if not progress.stale:
            self._open[kpi.name] = _Open.of(kpi, [*due, *finals], progress.first_event, now)
        return due[::-1], finals[::-1]

    def _frozen(self, kpi: Kpi, due: Due, progress: Progress, now: datetime) -> KpiStatus:
        before = self.known(_key(kpi, due))
        if before is not None:
            return before if before.stale else replace(before, stale=True, evaluated_at=now)
        nothing = self.judgement(kpi, due, Progress(None, progress.first_event), now).status({})
        return replace(nothing, status="no_data", stale=True, reason=progress.stale)


def _key(kpi: Kpi, due: Due) -> StatusKey:
    return kpi.name, due.series, str(due.period)


def _as_judged(due: Due, status: KpiStatus) -> Due:
    """With the value that an increase came to when it was judged: a baseline that moves later reaches nothing back."""
    if due.target.increase is None or status.target_value is None or status.target != due.target.label:
        return due
    value = {"increase": None, "over": None, "value": status.target_value, "start": status.baseline}
    return Due(due.target.model_copy(update=value), due.period)
