"""The forecaster that is always there: how past periods went on from the same point, with empirical intervals. Pure.

**Totals.** What is still to come is measured against the size that a period shows by then: what it has, and what
usually comes after this point. So growth cancels out, and one period that starts high is only half believed to stay so.

    usual rest = median over the last `RECENT` periods before it of (final - value at the point) / open time, x its own
    size       = value at the point + usual rest
    sample     = actual + size x (final - value at the point) / size,   one from each past period

**Levels**, running totals that do not begin at nothing, and totals that were ever below 0: sample = actual + (final -
value at the point). Where nothing was ever below 0, no sample is.

A past period is scored on the samples that the periods before it give, so nothing later leaks into its score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from onpace.alerts.calibration import Judged, Scored, base_rate, crps, interval, miss_probability, quantile, score_of
from onpace.alerts.forecasts import MIN_SCORED, Case, Forecast, PastPeriod

__all__ = ["MIN_SAMPLES", "SeasonalShape", "walk_forward"]

MIN_SAMPLES = 3
"""So many past periods a distribution needs."""

RECENT = 4
"""The usual rest is that of so many periods before."""

EARLIEST = 2
"""A total is measured against at least so many periods before it."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """A past period, measured by those before it alone."""

    period: PastPeriod
    rest: float
    """What came after the point, a second of open time."""
    rate: float | None
    """What came after the point, as a multiple of the period's size; None where it has none."""


class SeasonalShape:
    """A Forecaster that goes by past periods of the same KPI, and nothing else."""

    name = "seasonal shape"

    def forecast(self, case: Case) -> Forecast:
        """The forecast from all past periods; how good it is from each of them, forecast from those before."""
        samples = _samples(_seen(case.past), case.actual, case.open_time.total_seconds(), adds_up=case.adds_up)
        if len(samples) < MIN_SAMPLES:
            why = f"{len(samples)} past periods to go by, {MIN_SAMPLES} are needed"
            return Forecast(case.as_of, self.name, reason=why, past=len(samples))
        score = score_of(walk_forward(case))
        few = f"{score.periods} past periods were scored, {MIN_SCORED} are needed"
        low, high, _ = interval(samples)
        return Forecast(
            as_of=case.as_of,
            method=self.name,
            median=quantile(samples, 0.5),
            low=low,
            high=high,
            probability=miss_probability(samples, case.wanted) if score.periods >= MIN_SCORED else None,
            reason=few if score.periods < MIN_SCORED else "",
            past=len(samples),
            score=score,
        )


def walk_forward(case: Case) -> list[Scored]:
    """Every past period that can be forecast from those before it, with how it ended."""
    found = []
    seen = _seen(case.past)
    for at, period in enumerate(case.past):
        samples = _samples(seen[:at], period.at_point, period.open_time.total_seconds(), adds_up=case.adds_up)
        if len(samples) >= MIN_SAMPLES:
            found.append(_scored(period, samples, case.past[:at], adds_up=case.adds_up))
    return found


def _seen(past: Sequence[PastPeriod]) -> list[_Seen]:
    found: list[_Seen] = []
    for period in past:
        seconds, rest = period.open_time.total_seconds(), period.final - period.at_point
        size = _size(period.at_point, found, seconds)
        found.append(_Seen(period, rest / seconds, rest / size if size > 0 else None))
    return found


def _scored(period: PastPeriod, samples: Sequence[float], earlier: Sequence[PastPeriod], *, adds_up: bool) -> Scored:
    low, high, coverage = interval(samples)
    finals = [one.final * (period.open_time / one.open_time if adds_up else 1.0) for one in earlier]
    before = [not one.wanted.holds(one.final) for one in earlier if one.wanted]
    wanted = period.wanted
    return Scored(
        name=period.name,
        final=period.final,
        low=low,
        high=high,
        coverage=coverage,
        crps=crps(samples, period.final),
        base_crps=crps(sorted(finals), period.final),
        judged=Judged(miss_probability(samples, wanted), base_rate(before), not wanted.holds(period.final))
        if wanted
        else None,
    )


def _samples(earlier: Sequence[_Seen], actual: float, open_seconds: float, *, adds_up: bool) -> list[float]:
    """Final values that the earlier periods make likely, in order."""
    negative = actual < 0 or any(min(one.period.at_point, one.period.final) < 0 for one in earlier)
    if negative or not adds_up:
        found = [actual + one.period.final - one.period.at_point for one in earlier]
    else:
        size = _size(actual, earlier, open_seconds)
        found = [actual + size * one.rate for one in earlier if one.rate is not None] if size > 0 else []
    return sorted(found if negative else (max(sample, 0.0) for sample in found))


def _size(at_point: float, earlier: Sequence[_Seen], open_seconds: float) -> float:
    """What a period shows itself to be by the point; 0 where too few are known before it."""
    if len(earlier) < EARLIEST:
        return 0.0
    return at_point + median(one.rest for one in earlier[-RECENT:]) * open_seconds
