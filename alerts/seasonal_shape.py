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


class SeasonalShape:
    """A Forecaster that goes by past periods of the same KPI, and nothing else."""

    name = "seasonal shape"

    def forecast(self, case: Case) -> Forecast:
        """The forecast from all past periods; how good it is from each of them, forecast from those before."""
        samples = _samples(case.past, case.actual, case.open_time.total_seconds(), adds_up=case.adds_up)
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
    for at, period in enumerate(case.past):
        earlier = case.past[:at]
        samples = _samples(earlier, period.at_point, period.open_time.total_seconds(), adds_up=case.adds_up)
        if len(samples) >= MIN_SAMPLES:
            found.append(_scored(period, samples, earlier, adds_up=case.adds_up))
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


def _samples(earlier: Sequence[PastPeriod], actual: float, open_seconds: float, *, adds_up: bool) -> list[float]:
    """Final values that the earlier periods make likely, in order."""
    negative = any(min(one.at_point, one.final) < 0 for one in earlier) or actual < 0
    found = (
        _by_size(earlier, actual, open_seconds)
        if adds_up and not negative
        else [actual + one.final - one.at_point for one in earlier]
    )
    return sorted(found if negative else (max(sample, 0.0) for sample in found))


def _by_size(earlier: Sequence[PastPeriod], actual: float, open_seconds: float) -> list[float]:
    rests = [(one.final - one.at_point) / one.open_time.total_seconds() for one in earlier]
    size = _size(actual, rests, open_seconds)
    found = []
    for at, one in enumerate(earlier):
        its_size = _size(one.at_point, rests[:at], one.open_time.total_seconds())
        if its_size > 0 and size > 0:
            found.append(actual + size * (one.final - one.at_point) / its_size)
    return found


def _size(at_point: float, rests: Sequence[float], open_seconds: float) -> float:
    """What a period shows itself to be by the point; 0 where too few are known before it."""
    if len(rests) < EARLIEST:
        return 0.0
    return at_point + median(rests[-RECENT:]) * open_seconds
