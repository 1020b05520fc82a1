"""Which dimension explains a gap best, and how that is said: the few segments that most of it comes from. Pure.

A dimension explains a gap when a few of its segments have more of the gap than they have of the whole: that a region
with 95 % of the sales has 95 % of the gap says nothing. (After "explanatory power", "surprise" and "succinctness" in
Bhagwan et al., "Adtributor: Revenue Debugging in Advertising Systems", NSDI 2014.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import fsum, log2

from onpace.alerts.contributions import Breakdown, Contribution
from onpace.alerts.quantities import difference, percent, quantity
from onpace.alerts.reading import SeriesKey

__all__ = ["Explanation", "best_of", "explained", "segment_name", "words"]

NAMED = 3
"""At most so many segments are named."""
ALL = 0.995
"""From this share of the gap on it is all of it."""
LEAST = 0.1
"""Further ones are named from this share of the gap on."""
STANDS_OUT = 0.1
"""So much more of the gap than of the whole makes a segment stand out."""
MOSTLY = 2 / 3
"""From this share of a ratio's gap on it is mostly mix, or mostly rate."""
_EACH, _DOUBLING = 0.05, 0.02
"""What every further segment that is named, and every doubling of how many there are, takes off."""
OTHER = "__other__"


@dataclass(frozen=True, slots=True)
class Explanation:
    """The segments of one dimension that most of a gap comes from."""

    breakdown: Breakdown
    kind: str
    """`amount`; of a ratio `rate`, `mix` or `both`."""
    named: tuple[Contribution, ...]
    against: Contribution | None
    """The segment that makes up for most of it, where they have more than all of the gap."""
    score: float

    @property
    def stands_out(self) -> bool:
        """Whether the named segments have more of the gap than they have of the whole."""
        return self.score >= STANDS_OUT


def best_of(breakdowns: Iterable[Breakdown]) -> Explanation | None:
    """The explanation by the dimension that explains the gap best; the first of those that do so equally well."""
    found = [one for each in breakdowns if (one := explained(each)) is not None]
    return max(found, key=lambda one: one.score, default=None)


def explained(breakdown: Breakdown) -> Explanation | None:
    """The segments to name; None where there is no gap, or only one segment."""
    gap, kind = breakdown.gap, _kind(breakdown)
    if len(breakdown.contributions) < 2 or not gap:
        return None
    part = _part(kind)
    ranked = sorted(breakdown.contributions, key=lambda one: part(one) / gap, reverse=True)
    some = [one for at, one in enumerate(ranked[:NAMED]) if part(one) / gap >= (LEAST if at else 0) and part(one)]
    if not some:
        return None

    def power(named: Sequence[Contribution]) -> float:
        return fsum(part(one) for one in named) / gap

    def score(named: Sequence[Contribution]) -> float:
        size = fsum(min(max(one.share, 0.0), 1.0) for one in named) * _even(breakdown)
        return min(power(named), 1.0) - size - _EACH * (len(named) - 1) - _DOUBLING * log2(len(ranked))

    named = max((some[: at + 1] for at in range(len(some))), key=score)
    last = ranked[-1]
    against = last if power(named) > 1 + LEAST and part(last) / gap <= -LEAST else None
    return Explanation(breakdown, kind, tuple(named), against, score(named))


def _even(breakdown: Breakdown) -> float:
    """How much of the gap segments would have by their size alone; nobody's share moves by its size."""
    return min(max(breakdown.rate / breakdown.gap, 0.0), 1.0) if breakdown.ratio else 1.0


def _kind(breakdown: Breakdown) -> str:
    if not breakdown.ratio:
        return "amount"
    rate = breakdown.rate / breakdown.gap if breakdown.gap else 0.0
    return "rate" if rate >= MOSTLY else "mix" if 1 - rate >= MOSTLY else "both"


def _part(kind: str) -> Callable[[Contribution], float]:
    match kind:
        case "rate":
            return lambda one: one.rate
        case "mix":
            return lambda one: one.mix
        case _:
            return lambda one: one.gap


def segment_name(dimension: str, segment: SeriesKey) -> str:
    """`region EU`, `region (null)`, `other values of region`."""
    if not segment or segment[0] == OTHER:
        return f"other values of {dimension}"
    value = segment[0]
    return f"{dimension} {'(null)' if value is None else value or '(empty)'}"


def words(found: Explanation, *, unit: str, divisor: str, against: str) -> str:
    """Two sentences. `divisor`: what a ratio is divided by, as in `checkouts`; `against`: the reference's words."""
    breakdown = found.breakdown
    text = _ratio_words(found, unit, divisor) if breakdown.ratio else _amount_words(found, unit)
    if breakdown.scaled:
        return f"{text}. Expected of each in proportion to {against}"
    return f"{text}. Compared with {against} ({quantity(breakdown.reference, unit)})"


def _much(share: float) -> str:
    if share > 1 + LEAST:
        return "more than all"
    return "all" if share >= ALL else percent(share)


def _amount_words(found: Explanation, unit: str) -> str:
    breakdown = found.breakdown
    first, *others = found.named

    def about(one: Contribution, verb: str = "") -> str:
        name = segment_name(breakdown.dimension, one.segment)
        return f"{name}{verb} {_much(one.gap / breakdown.gap)} of the gap ({difference(one.gap, unit)})"

    if not found.stands_out:
        large = f"{about(first, ' has')} and {percent(first.share)} of what was to be expected"
        return f"No segment stands out: {large}"
    text = ", ".join([_begin(about(first, " explains")), *map(about, others)])
    return text + _made_up_for(found, unit, lambda one: one.gap)


def _made_up_for(found: Explanation, unit: str, part: Callable[[Contribution], float]) -> str:
    if found.against is None:
        return ""
    name = segment_name(found.breakdown.dimension, found.against.segment)
    return f"; {name} makes up for some of it ({difference(part(found.against), unit)})"


def _ratio_words(found: Explanation, unit: str, divisor: str) -> str:
    breakdown, part = found.breakdown, _part(found.kind)
    rate, mix = difference(breakdown.rate, unit), difference(breakdown.mix, unit)
    match found.kind:
        case "both":
            both = [_rate_of(found.named[0], breakdown, unit), _mix_of(found.named[0], breakdown, unit, divisor)]
            return f"Both rate ({rate}) and mix ({mix}): {' and '.join(both)}"
        case "rate":
            head = "Rate, not mix" if _slight(breakdown.mix, breakdown) else f"Mostly rate ({rate}; mix {mix})"
            named = [f"{_rate_of(one, breakdown, unit)} ({_weight(one.rate, breakdown, unit)})" for one in found.named]
        case _:
            head = "Mix, not rate" if _slight(breakdown.rate, breakdown) else f"Mostly mix ({mix}; rate {rate})"
            moved = [(_mix_of(one, breakdown, unit, divisor), one.mix) for one in found.named]
            named = [f"{text} ({_weight(size, breakdown, unit)})" for text, size in moved]
    return f"{head}: {'; '.join(named)}{_made_up_for(found, unit, part)}"


def _slight(part: float, breakdown: Breakdown) -> bool:
    return abs(part / breakdown.gap) <= 1 - ALL


def _weight(part: float, breakdown: Breakdown, unit: str) -> str:
    return f"{difference(part, unit)}, {_much(part / breakdown.gap)} of the gap"


def _rate_of(one: Contribution, breakdown: Breakdown, unit: str) -> str:
    name = segment_name(breakdown.dimension, one.segment)
    if one.now is None or one.reference is None:
        return f"{name} {'came' if one.reference is None else 'went'}"
    if breakdown.scaled:
        return f"{name} is at {quantity(one.now, unit)} instead of {quantity(one.reference, unit)}"
    verb = "stayed" if one.now == one.reference else "fell" if one.now < one.reference else "rose"
    return f"{name} {verb} from {quantity(one.reference, unit)} to {quantity(one.now, unit)}"


def _mix_of(one: Contribution, breakdown: Breakdown, unit: str, divisor: str) -> str:
    more = "more" if one.share_now > one.share else "fewer"
    level = one.now if one.now is not None else one.reference
    moved = f"{percent(one.share_now)} instead of {percent(one.share)}"
    where = f", where it is {quantity(level, unit)}" if level is not None else ""
    return f"{more} of the {divisor} came from {segment_name(breakdown.dimension, one.segment)}, {moved}{where}"


def _begin(text: str) -> str:
    return text[:1].upper() + text[1:]
