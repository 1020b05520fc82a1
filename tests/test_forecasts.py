"""The forecaster, its scores and what counts as calibrated, against recounts and simulated histories."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise, product
from statistics import median

import pytest
from alerts_fakes import at
from hypothesis import given, settings
from hypothesis import strategies as st

from onpace.alerts.calibration import Scored, chance_of_so_few, crps, interval, miss_probability, score_of
from onpace.alerts.forecasts import MIN_SCORED, Case, Forecast, PastPeriod
from onpace.alerts.seasonal_shape import SeasonalShape, walk_forward
from onpace.alerts.status import Wanted

DAYS = 30
AT_LEAST = Wanted(100.0, math.inf)


def past_of(pairs: Sequence[tuple[float, float]], wanted: Wanted | None = AT_LEAST) -> tuple[PastPeriod, ...]:
    """Past periods of 30 days from (value at the point, final)."""
    return tuple(
        PastPeriod(str(number), at_point, final, timedelta(days=DAYS), wanted)
        for number, (at_point, final) in enumerate(pairs)
    )


def case_of(actual: float, past: tuple[PastPeriod, ...], *, wanted: Wanted = AT_LEAST, adds_up: bool = True) -> Case:
    """A running period of 30 days."""
    return Case(at("2026-11-15"), actual, timedelta(days=DAYS), wanted, adds_up, past)


def forecast(
    actual: float, past: tuple[PastPeriod, ...], *, wanted: Wanted = AT_LEAST, adds_up: bool = True
) -> Forecast:
    """Its forecast."""
    return SeasonalShape().forecast(case_of(actual, past, wanted=wanted, adds_up=adds_up))


def some_past(count: int, seed: int = 3) -> list[tuple[float, float]]:
    """Totals around 100, a third of which is there at the point."""
    rng = random.Random(seed)
    found = []
    for _ in range(count):
        early, late = rng.uniform(25, 40), rng.uniform(50, 80)
        found.append((early, early + late))
    return found


def recount(actual: float, pairs: Sequence[tuple[float, float]]) -> list[float]:
    """Samples of equally long periods, as the documentation has them."""
    rests = [final - point for point, final in pairs]
    sizes = [
        point + median(rests[max(0, place - 4) : place]) if place >= 2 else None
        for place, (point, _) in enumerate(pairs)
    ]
    size = actual + median(rests[-4:])
    return sorted(actual + size * rest / its for rest, its in zip(rests, sizes, strict=True) if its)


def test_a_total_is_forecast_as_a_recount_says() -> None:
    """Median, interval at ranks p (n + 1), and probability (missed + 1/2) / (n + 1)."""
    pairs = some_past(14)
    found, samples = forecast(30.0, past_of(pairs)), recount(30.0, pairs)
    assert len(samples) == found.past == 12
    assert found.median == pytest.approx((samples[5] + samples[6]) / 2)
    assert found.low == pytest.approx(samples[0] + (samples[1] - samples[0]) * 0.3)  # rank 1.3
    assert found.high == pytest.approx(samples[10] + (samples[11] - samples[10]) * 0.7)  # rank 11.7
    assert found.probability == pytest.approx((sum(sample < 100 for sample in samples) + 0.5) / 13)


def test_every_score_is_that_of_a_recount_from_earlier_periods_only() -> None:
    """Coverage, CRPS and Brier score of each past period that has three samples before it."""
    pairs = some_past(16)
    score = forecast(30.0, past_of(pairs)).score
    places = range(5, 16)  # the first two are no samples, as too little is known of their sizes
    assert score.periods == len(places)
    errors, base_errors, ranked, base_ranked, covered = [], [], [], [], 0
    for place in places:
        point, final = pairs[place]
        samples, finals = recount(point, pairs[:place]), [one for _, one in pairs[:place]]
        missed, count = final < 100, len(samples)
        errors.append(((sum(one < 100 for one in samples) + 0.5) / (count + 1) - missed) ** 2)
        base_errors.append(((sum(one < 100 for one in finals) + 0.5) / (len(finals) + 1) - missed) ** 2)
        ranked.append(plain_crps(samples, final))
        base_ranked.append(plain_crps(finals, final))
        first, last = bounds(samples)
        covered += first <= final <= last
    assert score.brier == pytest.approx(sum(errors) / len(errors))
    assert score.base_brier == pytest.approx(sum(base_errors) / len(base_errors))
    assert score.crps == pytest.approx(sum(ranked) / len(ranked))
    assert score.base_crps == pytest.approx(sum(base_ranked) / len(base_ranked))
    assert score.covered == covered


def bounds(samples: Sequence[float]) -> tuple[float, float]:
    """The values at ranks 0.1 (n + 1) and 0.9 (n + 1), interpolated; the outermost where there are none so far out."""

    def ranked(rank: float) -> float:
        rank = min(max(rank, 1), len(samples))
        low = samples[int(rank) - 1]
        return low + (samples[min(int(rank), len(samples) - 1)] - low) * (rank - int(rank))

    return ranked(0.1 * (len(samples) + 1)), ranked(0.9 * (len(samples) + 1))


def plain_crps(samples: Sequence[float], final: float) -> float:
    """By its definition: mean distance to the final value, less half of the mean distance between two samples."""
    count = len(samples)
    apart = sum(abs(a - b) for a, b in product(samples, samples)) / (count * (count - 1))
    return sum(abs(one - final) for one in samples) / count - apart / 2


def test_nothing_later_leaks_into_an_earlier_score() -> None:
    """Whatever comes after a period, and whatever the period that runs does, its score stays the same."""
    pairs = some_past(20)
    whole = walk_forward(case_of(30.0, past_of(pairs)))
    for changed in range(6, 20):
        other = pairs[:changed] + [(point * 3, -final) for point, final in pairs[changed:]]
        again = walk_forward(case_of(99.0, past_of(other)))
        earlier = [one for one in whole if int(one.name) < changed]
        assert again[: len(earlier)] == earlier
        assert len(again) == len(whole)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(-1e3, 1e6)), min_size=0, max_size=24), st.floats(0, 1e6))
def test_whatever_the_past_a_forecast_is_finite_or_says_why_not(
    pairs: list[tuple[float, float]], actual: float
) -> None:
    """Zeros, negative finals and values out of all proportion; a probability is never 0 or 1."""
    for adds_up in (True, False):
        found = forecast(actual, past_of(pairs), adds_up=adds_up)
        assert (found.median is None) == (found.past < 3)
        assert bool(found.reason) == (found.probability is None)
        if found.low is not None and found.median is not None and found.high is not None:
            assert math.isfinite(found.low)
            assert found.low <= found.median <= found.high
        if found.probability is not None:
            assert 0 < found.probability < 1


def test_growth_cancels_out() -> None:
    """Ten percent more each month, on an even flow, is no error at all."""
    pairs = [(40 * 1.1**n, 100 * 1.1**n) for n in range(15)]
    found = forecast(40 * 1.1**15, past_of(pairs))
    assert found.median == pytest.approx(100 * 1.1**15)
    assert (found.low, found.high) == (pytest.approx(found.median, rel=0.03), pytest.approx(found.median, rel=0.03))
    assert found.score.calibrated


def test_periods_of_different_length_are_compared_by_their_open_time() -> None:
    """One unit a day: 28 days end at 28, after months of 30 and 31."""
    lengths = [31, 30, 31, 30, 31, 31, 30, 31, 30, 31, 31]
    past = tuple(
        PastPeriod(str(n), days / 2, float(days), timedelta(days=days), AT_LEAST) for n, days in enumerate(lengths)
    )
    case = replace(case_of(14.0, past), open_time=timedelta(days=28))
    assert SeasonalShape().forecast(case).median == pytest.approx(28.0)


def test_one_period_out_of_all_proportion_moves_the_median_little() -> None:
    """A month with ten times as much is one sample of many, and no measure for the others."""
    pairs = [(33.0 + n % 3, 100.0 + n % 3) for n in range(14)]
    spoiled = [*pairs[:9], (33.0, 1000.0), *pairs[10:]]
    usual, found = forecast(34.0, past_of(pairs)), forecast(34.0, past_of(spoiled))
    assert usual.median is not None
    assert found.median == pytest.approx(usual.median, rel=0.02)


def test_months_without_anything_are_no_measure() -> None:
    """Zero totals: no size to compare with, and the reason says how many periods are left."""
    found = forecast(0.0, past_of([(0.0, 0.0)] * 14))
    assert (found.median, found.probability) == (None, None)
    assert found.reason == "0 past periods to go by, 3 are needed"


def test_levels_go_by_differences_and_stay_above_zero() -> None:
    """A rate that fell by up to 3 points after this day of the month; at 1 point it cannot fall below 0."""
    pairs = [(10.0, 10.0 - n % 4) for n in range(14)]
    found = forecast(20.0, past_of(pairs), adds_up=False)
    assert (found.past, found.low, found.high) == (14, 17.0, 20.0)
    assert forecast(1.0, past_of(pairs), adds_up=False).low == 0.0


@pytest.mark.parametrize(
    ("wanted", "missed"),
    [(Wanted(100.0, math.inf), 3), (Wanted(-math.inf, 100.0), 2), (Wanted(95.0, 105.0), 2)],
    ids=["at least 100", "at most 100", "95 to 105"],
)
def test_a_miss_is_whatever_the_target_does_not_want(wanted: Wanted, missed: int) -> None:
    """The samples 90, 95, 99, 100, 105 and 110: of n + 1 gaps half a one lies beyond each bound."""
    sides = math.isfinite(wanted.low) + math.isfinite(wanted.high)
    assert miss_probability([90, 95, 99, 100, 105, 110], wanted) == pytest.approx((missed + sides / 2) / 7)


def test_the_interval_is_no_surer_than_few_samples_are() -> None:
    """Three samples hold the next one in half of all cases; from nine on it is four fifths."""
    assert interval([1.0, 2.0, 3.0]) == (1.0, 3.0, 0.5)
    assert interval([float(n) for n in range(1, 10)]) == (1.0, 9.0, pytest.approx(0.8))
    assert interval([float(n) for n in range(1, 20)])[2] == 0.8


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=20), st.floats(-1e6, 1e6))
def test_crps_is_what_its_definition_says(samples: list[float], final: float) -> None:
    """The quick form over sorted samples is the double sum."""
    assert crps(sorted(samples), final) == pytest.approx(plain_crps(samples, final), abs=1e-3)


def test_how_few_are_covered_by_chance_is_the_binomial_sum() -> None:
    """With equal probabilities; with unequal ones by going through all outcomes."""
    wanted = sum(math.comb(10, k) * 0.8**k * 0.2 ** (10 - k) for k in range(6))
    assert chance_of_so_few(5, [0.8] * 10) == pytest.approx(wanted)
    parts = [0.5, 0.6, 0.9]
    some = sum(
        math.prod(p if held else 1 - p for p, held in zip(parts, outcome, strict=True))
        for outcome in product([True, False], repeat=3)
        if sum(outcome) <= 1
    )
    assert chance_of_so_few(1, parts) == pytest.approx(some)


def scored(final: float, *, own: float = 1.0, base: float = 2.0) -> Scored:
    """A period with the interval 0 to 10."""
    return Scored("p", final, 0.0, 10.0, 0.8, own, base)


def test_what_counts_as_calibrated() -> None:
    """Eight periods, not too few within their intervals, and no worse than what is known without looking."""
    assert score_of([scored(5.0)] * MIN_SCORED).calibrated
    assert not score_of([scored(5.0)] * (MIN_SCORED - 1)).calibrated
    narrow = score_of([scored(11.0)] * 5 + [scored(5.0)] * 4)
    assert narrow.problem == "only 4 of the 9 past periods ended within their interval, 7 were to be expected"
    assert score_of([scored(11.0)] * 4 + [scored(5.0)] * 5).calibrated
    lately = score_of([scored(5.0)] * 15 + [scored(11.0)] * 3)
    assert lately.problem == "only 1 of the last 4 past periods ended within their interval, 3 were to be expected"
    assert "final values of earlier periods" in score_of([scored(5.0, own=2.1)] * MIN_SCORED).problem


def simulated(
    rng: random.Random, count: int, share: float, *, growth: float = 0.0, drift: float = 0.1, shift: int | None = None
) -> list[tuple[float, float]]:
    """Months of 30 days, each day lognormal around its month's level: the last five have thrice as much. From month
    `shift` on the first five have it."""
    level, found = 100.0, []
    for month in range(count):
        level *= math.exp(growth + rng.gauss(0, drift))
        rich = range(5) if shift is not None and month >= shift else range(25, 30)
        days = [level * rng.lognormvariate(0, 0.4) * (3 if day in rich else 1) for day in range(DAYS)]
        found.append((sum(days[: int(share * DAYS)]), sum(days)))
    return found


def with_targets(rng: random.Random, pairs: Sequence[tuple[float, float]]) -> tuple[PastPeriod, ...]:
    """Each period's target is near what the six before it had."""
    finals = [final for _, final in pairs]
    goals = [median(finals[max(0, n - 6) : n] or [finals[n]]) * rng.uniform(0.9, 1.1) for n in range(len(pairs))]
    return tuple(replace(one, wanted=Wanted(goal, math.inf)) for one, goal in zip(past_of(pairs), goals, strict=True))


def outcomes(
    runs: int, make: Callable[[random.Random], list[tuple[float, float]]]
) -> list[tuple[Forecast, float, bool]]:
    """The forecast of the last period of each history, its final value, and whether it missed."""
    rng, found = random.Random(11), []
    for _ in range(runs):
        *past, last = with_targets(rng, make(rng))
        assert last.wanted is not None
        one = forecast(last.at_point, tuple(past), wanted=last.wanted)
        found.append((one, last.final, not last.wanted.holds(last.final)))
    return found


@pytest.mark.parametrize("share", [0.3, 0.5, 0.8])
@pytest.mark.parametrize("growth", [0.0, 0.03])
def test_a_fair_process_gives_calibrated_probabilities(share: float, growth: float) -> None:
    """Of what is said to miss with about p, about p misses; the intervals hold four of five; few are doubted."""
    found = outcomes(300, lambda rng: simulated(rng, 21, share, growth=growth))
    assert all(one.probability is not None for one, *_ in found)
    held = sum(one.low <= final <= one.high for one, final, _ in found if one.low is not None and one.high is not None)
    assert abs(held / len(found) - 0.8) < 0.07  # three standard errors
    edges = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    for low, high in pairwise(edges):
        part = [(one.probability or 0.0, missed) for one, _, missed in found if low <= (one.probability or 0.0) < high]
        said, happened = (sum(map(float, column)) for column in zip(*part, strict=True)) if part else (0.0, 0.0)
        assert abs(said - happened) <= 3 * math.sqrt(sum(p * (1 - p) for p, _ in part)) + 0.02 * len(part)
    assert sum(one.score.calibrated for one, *_ in found) / len(found) > (0.65 if share < 0.5 else 0.85)


def test_a_process_whose_regime_shifted_is_found_uncalibrated() -> None:
    """The rich days moved from the end of the month to its begin: three such months later nine in ten know it."""
    found = outcomes(100, lambda rng: simulated(rng, 21, 0.5, drift=0.05, shift=17))
    assert sum(one.score.calibrated for one, *_ in found) <= 10
