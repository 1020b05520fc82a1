"""Which targets are due, what has to be read to judge them, and the status that follows. Pure.

The work is split in two so that the reader is asked once for many spans: a `Judgement` names its spans, the engine
reads them, the judgement turns their values into a status.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from onpace.alerts.baselines import Baseline, Resolved, baseline_period, resolved
from onpace.alerts.climbs import Climb
from onpace.alerts.pace import MAX_PAST, PastPoint, expected_share, past_points
from onpace.alerts.reading import Span
from onpace.alerts.status import (
    KpiStatus,
    Labels,
    Wanted,
    attainment,
    finite,
    format_value,
    judge,
    judge_final,
    target_series,
)
from onpace.alerts.versions import TargetHistory
from onpace.config.calendar import Grain, Period, period_containing
from onpace.config.kpi import Target
from onpace.config.kpi_entities import Kpi
from onpace.config.open_time import closed_through, open_share

__all__ = ["MAX_HISTORY", "Due", "Judgement", "due_periods", "judge_again", "target_in_force"]

MAX_HISTORY = 24
"""A forecast goes by at most so many past periods."""


@dataclass(frozen=True, slots=True)
class Due:
    """A target in force in one period."""

    target: Target
    period: Period

    @property
    def series(self) -> Labels:
        """The dimension values that the target is narrowed to."""
        return target_series(self.target)


def target_in_force(targets: Iterable[Target], period: Period, series: Labels) -> Target | None:
    """The target for this period and dimension values: an explicit `period` beats `every`; then the first in order."""
    found = [target for target in targets if target.grain == period.grain and target_series(target) == series]
    explicit = [target for target in found if target.period == period]
    return next(iter(explicit + [target for target in found if target.period is None]), None)


def _periods(target: Target, first: Period, last: Period) -> Iterator[Period]:
    if target.period:
        if first <= target.period <= last:
            yield target.period
        return
    while first <= last:
        yield first
        first = first.next()


def due_periods(
    kpi: Kpi,
    *,
    first_event: datetime | None,
    now: datetime,
    recorded: TargetHistory | None = None,
    since: Mapping[tuple[Labels, Grain], datetime] = {},
) -> list[Due]:
    """Every target of the KPI in every period from that of its first event (without one: from now) to that of `now`.

    In order of period within a target; the last one of an `every` target is the current period. A period that has
    ended has the target that was in force then, as far as that is `recorded`. `since` is an instant, for some dimension
    values and lengths of period, in the first one that is wanted.
    """
    recorded = recorded or TargetHistory()
    due: dict[tuple[Labels, Period], Due] = {}
    for target in [*kpi.targets, *recorded.ever(kpi.name)]:
        series = target_series(target)
        last = period_containing(target.grain, now, kpi.calendar)
        begun = min(first_event or now, now)
        first = period_containing(target.grain, max(begun, since.get((series, target.grain), begun)), kpi.calendar)
        for period in _periods(target, first, last):
            if (series, period) in due:
                continue
            end = period.bounds(kpi.calendar)[1]
            targets = kpi.targets if now < end else recorded.in_force(kpi, period.grain, series, end)
            if chosen := target_in_force(targets, period, series):
                due[series, period] = Due(chosen, period)
    return list(due.values())


@dataclass(frozen=True, slots=True)
class Judgement:
    """One target in one period as of one instant. `base_grain` and `accumulates` are the KPI's."""

    kpi: Kpi
    due: Due
    base_grain: Grain
    accumulates: bool
    first_event: datetime | None
    as_of: datetime | None
    """W in whole base windows; None when nothing is complete."""
    now: datetime
    climb: Climb | None = None
    """For a cumulative KPI: how it goes through the period."""
    foreseen: bool = False
    """Whether its end is forecast, which takes a longer past."""

    @property
    def bounds(self) -> Span:
        """The period, in UTC."""
        return self.due.period.bounds(self.kpi.calendar)

    @property
    def ended(self) -> bool:
        """Whether the period is over, by the clock."""
        return self.now >= self.bounds[1]

    @property
    def actual_span(self) -> Span | None:
        """The complete base windows of the period; None when there are none."""
        start, end = self.bounds
        if self.as_of is None or self.first_event is None or self.as_of <= max(start, self.first_event):
            return None
        return start, min(self.as_of, end)

    @property
    def closed(self) -> str:
        """Why there is nothing to judge: all of the period is closed, or all of it up to W; empty when some is open."""
        (start, end), span, calendar = self.bounds, self.actual_span, self.kpi.calendar
        if whole := closed_through(calendar, start, end):
            return whole
        so_far = closed_through(calendar, start, span[1]) if span else ""
        return so_far.replace("closed:", "closed so far:", 1)

    @property
    def past(self) -> tuple[PastPoint, ...]:
        """The matching points of past periods, where the expected share is to be learned from them."""
        return tuple(point for _, point in self._matching(MAX_PAST)) if self.is_total else ()

    @property
    def history(self) -> tuple[tuple[Period, PastPoint], ...]:
        """Past periods with their matching points, newest first, where a forecast is to be made from them."""
        return self._matching(MAX_HISTORY) if self.foreseen else ()

    def _matching(self, most: int) -> tuple[tuple[Period, PastPoint], ...]:
        span, (_, end) = self.actual_span, self.bounds
        if self.ended or span is None or span[1] >= end or self.first_event is None:
            return ()
        return past_points(
            self.due.period,
            self.kpi.calendar,
            self.base_grain,
            first_event=self.first_event,
            at=span[1],
            most=most,
        )

    @property
    def baseline(self) -> Baseline | None:
        """What the target is an increase over; None when it is given as a value."""
        if self.due.target.increase is None or self.due.target.over is None:
            return None
        return Baseline.of(
            baseline_period(self.due.period, self.due.target.over),
            self.kpi.calendar,
            first_event=self.first_event,
            complete_to=self.as_of,
            accumulates=self.is_total,
        )

    @property
    def foot(self) -> Span | None:
        """What tells where a cumulative KPI stood when the period began, if that has to be read."""
        if self.climb is None or self.climb.from_nothing or self.due.target.start is not None or self.ended:
            return None
        return self.due.period.previous().bounds(self.kpi.calendar)

    def past_spans(self) -> tuple[Span, ...]:
        """What to read of past periods; none of them is empty."""
        baseline = self.baseline
        begun = [baseline.span] if baseline and not baseline.problem else []
        begun += [self.foot] if self.foot else []
        points = [point for _, point in self.history] or self.past
        return (*begun, *(span for point in points for span in point.spans if span[0] < span[1]))

    def spans(self) -> Iterator[Span]:
        """All that is to be read."""
        if self.actual_span:
            yield self.actual_span
        yield from self.past_spans()

    def _due_share(self, at: datetime, values: Mapping[Span, float | None]) -> float:
        """The share of the target that is due at `at`: 1 for a level, and once the period is over."""
        start, end = self.bounds
        if not (self.accumulates or self.climb) or self.ended or at >= end:
            return 1.0
        past = [point.share(values) for point in self.past]
        return expected_share(open_share(self.kpi.calendar, start, end, at), past)

    @property
    def is_total(self) -> bool:
        """Whether it adds up from nothing over the period."""
        return self.accumulates or (self.climb is not None and self.climb.like_past)

    def _begin(self, values: Mapping[Span, float | None]) -> float:
        """Where the way begins that is gone by pace: totals begin at nothing, climbs at `from` or where they stood."""
        if self.climb and self.due.target.start is not None:
            return self.due.target.start
        return finite(values.get(self.foot) if self.foot else None) or 0.0

    def resolved(self, values: Mapping[Span, float | None]) -> Resolved:
        """The target with its value, from the values of `spans()`."""
        baseline = self.baseline
        value = finite(values.get(baseline.span)) if baseline else None
        return resolved(self.due.target, baseline, value, self.kpi.direction)

    def status(self, values: Mapping[Span, float | None]) -> KpiStatus:
        """The status, from the values of `spans()`."""
        (start, end), span, found = self.bounds, self.actual_span, self.resolved(values)
        target, wanted = found.target, Wanted.of(found.target, self.kpi.direction)
        actual = finite(values.get(span)) if span else None
        share = self._due_share(span[1], values) if span else 1.0
        expected = wanted.due(self._begin(values), share)
        status = judge_final(actual, wanted) if self.ended else judge(actual, expected, self.kpi.direction, target)
        closed = self.closed
        aim = expected.nearest(actual) if span and not found.problem and not closed else None
        if found.problem or closed:
            status = "no_data"
        return KpiStatus(
            kpi=self.kpi.name,
            target=target.label,
            series=self.due.series,
            period=str(self.due.period),
            grain=self.due.period.grain,
            period_start=start,
            period_end=end,
            evaluated_at=self.now,
            as_of=span[1] if span else None,
            actual=actual,
            target_value=target.value,
            target_min=target.min,
            target_max=target.max,
            expected=aim,
            attainment=None if closed else attainment(actual, target, share if found.words and self.is_total else 1.0),
            gap=None if actual is None or aim is None else actual - aim,
            status=status,
            final=self.ended and self.as_of is not None and self.as_of >= end,
            stale=False,
            reason=_reason(self, status, actual, expected if status not in ("met", "missed") else wanted, found),
            baseline=target.start,
        )


def _reason(judgement: Judgement, status: str, actual: float | None, aim: Wanted, found: Resolved) -> str:
    if status == "no_data":
        if closed := judgement.closed:
            return closed
        if found.problem and actual is not None:
            return found.problem
        return "no complete data in the period yet" if not judgement.ended else "no data in the period"
    unit = judgement.kpi.unit
    value = f"{format_value(actual, unit)} of {aim.words(unit)}"
    origin = f" (target: {found.words})" if found.words else ""
    if status in ("met", "missed"):
        complete = judgement.as_of is not None and judgement.as_of >= judgement.bounds[1]
        return f"{status}: {'final' if complete else 'so far'} {value}{origin}"
    words = "expected by now" if judgement.accumulates or judgement.climb else "wanted"
    return f"{status.replace('_', ' ')}: {value} {words}{origin}"


def judge_again(final: KpiStatus, fresh: KpiStatus, unit: str = "") -> KpiStatus:
    """A final status after another look: itself, unless late events moved the actual and the target is the same.

    Where nothing could be judged, for want of data or of a baseline, what is there now decides.
    """

    def aim(status: KpiStatus) -> tuple[str, float | None, float | None, float | None]:
        return status.target, status.target_value, status.target_min, status.target_max

    if final.status == "no_data" and fresh.final and fresh.status != "no_data":
        return fresh
    if fresh.actual == final.actual or not fresh.final or aim(fresh) != aim(final):
        return final
    return replace(fresh, reason=f"{fresh.reason} (corrected by late events, was {format_value(final.actual, unit)})")
