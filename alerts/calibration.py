"""How good forecasts were: each past period's final value against what was forecast of it. Pure.

A forecast is a sample of possible final values. Of n of them, a new one of the same kind lies between the k-th and the
next with probability 1 / (n + 1), and as often below or above them all: so a value has at least k of them beneath it
with a probability that is known, whatever the distribution (conformal prediction: Vovk, Gammerman and Shafer,
*Algorithmic Learning in a Random World*, 2005, chapter 2; Vovk et al., https://doi.org/10.1007/s10994-018-5755-8).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from onpace.alerts.forecasts import LEVEL, Score
from onpace.alerts.status import Wanted

__all__ = [
    "Judged",
    "Scored",
    "base_rate",
    "chance_of_so_few",
    "crps",
    "interval",
    "miss_probability",
    "quantile",
    "score_of",
]

TOO_FEW = 0.05
"""Less likely than this, and the intervals are called too narrow."""

LATEST = 4
"""The latest periods are looked at by themselves: what was right until recently is not right now."""

BOTH = 2
"""So many of the scored periods must have missed, and so many not, before the Brier score says anything."""

ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Judged:
    """A target: the probability to miss it, the share of the periods before that missed theirs, and whether it was."""

    probability: float
    base: float
    missed: bool


@dataclass(frozen=True, slots=True)
class Scored:
    """One past period, forecast from those before it, and how it ended."""

    name: str
    final: float
    low: float
    high: float
    coverage: float
    """How probable it is that the interval holds the final value: less than `LEVEL` with fewer than 9 samples."""
    crps: float
    base_crps: float
    judged: Judged | None = None
    """What was said of its target; None where it had none."""

    @property
    def covered(self) -> bool:
        """Whether it ended within its interval; 1e-9 (relative) is rounding."""
        return Wanted(self.low, self.high).holds(self.final)


def quantile(samples: Sequence[float], p: float) -> float:
    """At rank p (n + 1) of the sorted samples, interpolated (Hyndman and Fan's type 6); never beyond them."""
    place = min(max(p * (len(samples) + 1), 1.0), float(len(samples))) - 1
    below = math.floor(place)
    above = min(below + 1, len(samples) - 1)
    return samples[below] + (samples[above] - samples[below]) * (place - below)


def interval(samples: Sequence[float]) -> tuple[float, float, float]:
    """The central interval of the sorted samples, and the probability that it holds another one."""
    count = len(samples)
    tail = (1 - LEVEL) / 2
    return quantile(samples, tail), quantile(samples, 1 - tail), min(LEVEL, (count - 1) / (count + 1))


def miss_probability(samples: Sequence[float], wanted: Wanted) -> float:
    """That another one misses. A bound lies in the middle of the gap that it falls into: so it is never 0 or 1."""
    sides = math.isfinite(wanted.low) + math.isfinite(wanted.high)
    missed = sum(not wanted.holds(sample) for sample in samples)
    return min(missed + sides / 2, len(samples) + 0.5) / (len(samples) + 1)


def base_rate(missed: Sequence[bool]) -> float:
    """The same, of a period of which nothing is known but how earlier ones ended."""
    return (sum(missed) + 0.5) / (len(missed) + 1)


def crps(samples: Sequence[float], final: float) -> float:
    """The continuous ranked probability score of sorted samples, fair to small ones: the Brier score over all bounds.

    Hersbach, https://doi.org/10.1175/1520-0434(2000)015<0559:DOTCRP>2.0.CO;2; fair: Ferro, https://doi.org/10.1002/qj.2270
    """
    count = len(samples)
    spread = sum(sample * (2 * at - count + 1) for at, sample in enumerate(samples)) / (count * (count - 1))
    return fmean(abs(sample - final) for sample in samples) - spread


def chance_of_so_few(covered: int, coverages: Sequence[float]) -> float:
    """The probability that at most so many are covered, each with its own probability (Poisson's binomial)."""
    chances = [1.0]
    for p in coverages:
        chances = [
            (chances[at] if at < len(chances) else 0.0) * (1 - p) + (chances[at - 1] * p if at else 0.0)
            for at in range(len(chances) + 1)
        ]
    return math.fsum(chances[: covered + 1])


def score_of(scored: Sequence[Scored]) -> Score:
    """The score over all of them, and what it says against the forecaster."""
    if not scored:
        return Score()
    judged = [one.judged for one in scored if one.judged]
    return _checked(
        Score(
            periods=len(scored),
            covered=sum(one.covered for one in scored),
            wanted_covered=math.fsum(one.coverage for one in scored),
            crps=fmean(one.crps for one in scored),
            base_crps=fmean(one.base_crps for one in scored),
            brier=fmean((one.probability - one.missed) ** 2 for one in judged) if judged else None,
            base_brier=fmean((one.base - one.missed) ** 2 for one in judged) if judged else None,
        ),
        scored,
    )


def _checked(score: Score, scored: Sequence[Scored]) -> Score:
    for part, words in ((scored, ""), (scored[-LATEST:], "last ")):
        held, coverages = sum(one.covered for one in part), [one.coverage for one in part]
        if chance_of_so_few(held, coverages) < TOO_FEW:
            said = f"only {held} of the {words}{len(part)} past periods ended within their interval"
            return replace(score, problem=f"{said}, {math.fsum(coverages):.0f} were to be expected")
    if _worse(score.crps, score.base_crps):
        return replace(score, problem="it was no better than the final values of earlier periods")
    outcomes = [one.judged.missed for one in scored if one.judged]
    both = min(sum(outcomes), len(outcomes) - sum(outcomes)) >= BOTH
    if both and _worse(score.brier, score.base_brier):
        return replace(score, problem="it was no better than the share of earlier periods that missed")
    return score


def _worse(own: float | None, base: float | None) -> bool:
    return own is not None and base is not None and own > base and not math.isclose(own, base, rel_tol=ROUNDING)
