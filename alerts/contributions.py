"""What each segment of a dimension contributes to the gap between a KPI and what it is compared with. Pure.

**What adds up** (counts, sums): contribution = now − reference; the contributions add up to the gap.

**Ratios** are weighted means of their segments' ratios: R = Σ w r, with w a segment's share of the denominator.
Their gap is taken apart as Kitagawa does ("Components of a Difference Between Two Rates", JASA 50, 1955), at the mean
of both sides, so that neither effect gets what is due to both:

    rate = (w_now + w_ref) / 2 × (r_now − r_ref)
    mix  = (w_now − w_ref) × ((r_now + r_ref) / 2 − (R_now + R_ref) / 2)

Both add up to R_now − R_ref. The second term of `mix` adds up to nothing: it makes a segment that grows count by
whether it lies above or below the whole.

**The reference** is the same stretch in earlier periods or windows, added up per segment, and scaled as a whole to what
is expected of the total: it says how a total splits, the rule or target how much it should be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import fsum
from statistics import median

from onpace.alerts.reading import Portions, SeriesKey

__all__ = ["Breakdown", "Contribution", "breakdown", "total_of"]

_NOTHING = (0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Contribution:
    """One segment's part of the gap. `now` and `reference` are amounts, or ratios where the KPI is one."""

    segment: SeriesKey
    """(value,); () is all that was not told apart."""
    now: float | None
    reference: float | None
    gap: float
    """In the KPI's unit; for a ratio `rate` + `mix`."""
    share: float
    """Of the total in the reference; for a ratio of its denominator."""
    share_now: float = 0.0
    rate: float = 0.0
    mix: float = 0.0


@dataclass(frozen=True, slots=True)
class Breakdown:
    """The gap by the segments of one dimension."""

    dimension: str
    contributions: tuple[Contribution, ...]
    now: float
    reference: float
    ratio: bool
    scaled: bool = False
    """Whether the reference is what is expected, and not what was."""

    @property
    def gap(self) -> float:
        """What the contributions add up to."""
        return self.now - self.reference

    @property
    def rate(self) -> float:
        """How much of a ratio's gap is that segments themselves changed."""
        return fsum(one.rate for one in self.contributions)

    @property
    def mix(self) -> float:
        """How much of a ratio's gap is that segments have other shares of the denominator."""
        return fsum(one.mix for one in self.contributions)


def total_of(portions: Portions, *, ratio: bool) -> float | None:
    """The KPI over all segments; None for a ratio without a denominator."""
    amount, divisor = _summed(portions)
    if not ratio:
        return amount
    return amount / divisor if divisor > 0 else None


def breakdown(
    dimension: str, now: Portions, past: Sequence[Portions], *, ratio: bool, expected: float | None = None
) -> Breakdown | None:
    """The gap between the KPI now and in the past, scaled to `expected`; without it, to the median of the past totals.

    None where nothing can be said: no past, a ratio without a denominator, or a past that cannot be scaled (its total
    is 0, or has the other sign).
    """
    totals = [total for one in past if (total := total_of(one, ratio=ratio)) is not None]
    if not totals:
        return None
    aim = median(totals) if expected is None else expected
    pooled = _pooled(past)
    factor = _factor(total_of(pooled, ratio=ratio), aim)
    whole = total_of(now, ratio=ratio)
    if factor is None or whole is None:
        return None
    split = _ratios if ratio else _amounts
    return Breakdown(dimension, tuple(split(now, pooled, factor)), whole, aim, ratio, expected is not None)


def _summed(portions: Portions) -> tuple[float, float]:
    return fsum(amount for amount, _ in portions.values()), fsum(divisor for _, divisor in portions.values())


def _pooled(past: Sequence[Portions]) -> Portions:
    keys = dict.fromkeys(key for one in past for key in one)
    return {key: _summed({(str(at),): one.get(key, _NOTHING) for at, one in enumerate(past)}) for key in keys}


def _factor(found: float | None, aim: float) -> float | None:
    """What makes the past come to what is expected."""
    if found is None:
        return None
    if found == 0:
        return 1.0 if aim == 0 else None
    return aim / found if aim / found > 0 or aim == 0 else None


def _amounts(now: Portions, past: Portions, factor: float) -> list[Contribution]:
    whole, whole_now = _summed(past)[0] or 1.0, _summed(now)[0] or 1.0
    found = []
    for key in dict.fromkeys([*past, *now]):
        before, after = past.get(key, _NOTHING)[0], now.get(key, _NOTHING)[0]
        expected = before * factor
        found.append(Contribution(key, after, expected, after - expected, before / whole, after / whole_now))
    return found


def _ratios(now: Portions, past: Portions, factor: float) -> list[Contribution]:
    (amount_now, divisor_now), (amount, divisor) = _summed(now), _summed(past)
    centre = (amount_now / divisor_now + amount * factor / divisor) / 2
    return [
        _ratio_of(key, _Side.of(now, key, divisor_now), _Side.of(past, key, divisor, factor), centre)
        for key in dict.fromkeys([*past, *now])
    ]


@dataclass(frozen=True, slots=True)
class _Side:
    """A segment now, or in the reference. `product` is weight × ratio, and is there without a weight as well."""

    weight: float
    ratio: float | None
    product: float

    @classmethod
    def of(
        cls, portions: Mapping[SeriesKey, tuple[float, float]], key: SeriesKey, whole: float, factor: float = 1.0
    ) -> _Side:
        amount, divisor = portions.get(key, _NOTHING)
        return cls(divisor / whole, amount * factor / divisor if divisor else None, amount * factor / whole)


def _ratio_of(key: SeriesKey, now: _Side, past: _Side, centre: float) -> Contribution:
    """What a segment lacks on one side, it has as on the other: coming and going is mix."""
    after = now.ratio if now.ratio is not None else past.ratio
    before = past.ratio if past.ratio is not None else now.ratio
    moved = now.weight - past.weight
    gap = now.product - past.product - centre * moved
    middle = ((after or 0.0) + (before or 0.0)) / 2
    mix = moved * (middle - centre)
    return Contribution(key, now.ratio, past.ratio, gap, past.weight, now.weight, gap - mix, mix)
