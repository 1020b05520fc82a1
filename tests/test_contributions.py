"""What segments contribute to a gap: that it adds up, and what mix and rate are."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onpace.alerts.contributions import Breakdown, Contribution, breakdown, total_of

Drawn = Mapping[tuple[str | None, ...], tuple[float, float]]
KEYS = st.sampled_from([("EU",), ("US",), ("",), (None,), ("__other__",), ()])
AMOUNTS = st.integers(0, 10_000).map(float)
TOTALS = st.dictionaries(KEYS, st.tuples(AMOUNTS, st.just(0.0)), max_size=6)
RATIOS = st.dictionaries(KEYS, st.tuples(AMOUNTS, st.integers(0, 5_000).map(float)), max_size=6)


def split(now: Drawn, past: list[Drawn], *, ratio: bool = False, expected: float | None = None) -> Breakdown:
    """A breakdown that is there."""
    found = breakdown("region", now, past, ratio=ratio, expected=expected)
    assert found is not None
    return found


def by_segment(found: Breakdown) -> dict[object, Contribution]:
    """The contributions by value."""
    return {one.segment[0] if one.segment else "rest": one for one in found.contributions}


def whole(drawn: Drawn, at: int) -> Fraction:
    """The exact sum of amounts (0) or divisors (1)."""
    return sum((Fraction(one[at]) for one in drawn.values()), Fraction())


@given(
    now=TOTALS, past=st.lists(TOTALS, min_size=1, max_size=4), expected=st.none() | st.integers(0, 90_000).map(float)
)
def test_contributions_to_a_total_are_those_of_a_recount_and_add_up(
    now: Drawn, past: list[Drawn], expected: float | None
) -> None:
    """Each is now less its share of the past, scaled to what is expected; in exact fractions."""
    found = breakdown("region", now, past, ratio=False, expected=expected)
    totals = sorted(whole(one, 0) for one in past)
    half = len(totals) // 2
    middle = totals[half] if len(totals) % 2 else (totals[half - 1] + totals[half]) / 2
    aim, before = (middle if expected is None else Fraction(expected)), sum(totals, Fraction())
    if found is None:
        assert before == 0
        assert aim != 0
        return
    for one in found.contributions:
        mine = sum((Fraction(some[one.segment][0]) for some in past if one.segment in some), Fraction())
        wanted = mine * aim / before if before else Fraction()
        assert one.gap == pytest.approx(float(Fraction(now.get(one.segment, (0.0, 0.0))[0]) - wanted), abs=1e-6)
    assert sum(one.gap for one in found.contributions) == pytest.approx(float(whole(now, 0) - aim), abs=1e-6)
    assert found.gap == pytest.approx(float(whole(now, 0) - aim), abs=1e-6)


@given(now=RATIOS, past=st.lists(RATIOS, min_size=1, max_size=3), expected=st.none() | st.integers(1, 300).map(float))
def test_rate_and_mix_add_up_to_a_ratios_gap(now: Drawn, past: list[Drawn], expected: float | None) -> None:
    """Whatever comes and goes, and where an amount stands without a divisor too; apart, by segment and in all."""
    found = breakdown("region", now, past, ratio=True, expected=expected)
    if found is None:
        return
    amount, divisor = (sum((whole(one, at) for one in past), Fraction()) for at in (0, 1))
    aim = Fraction(found.reference)
    if expected is not None:
        assert aim == Fraction(expected)
    scale = max(1.0, abs(found.now), abs(found.reference))
    assert found.now == pytest.approx(float(whole(now, 0) / whole(now, 1)))
    assert sum(one.gap for one in found.contributions) == pytest.approx(found.gap, abs=1e-9 * scale)
    assert found.rate + found.mix == pytest.approx(found.gap, abs=1e-9 * scale)
    factor = aim / (amount / divisor) if amount else Fraction(1)
    centre = (Fraction(found.now) + aim) / 2
    for one in found.contributions:
        top, bottom = (
            sum((Fraction(p[one.segment][at]) for p in past if one.segment in p), Fraction()) for at in (0, 1)
        )
        mine = now.get(one.segment, (0.0, 0.0))
        if not (bottom and mine[1]):
            continue
        w_ref, r_ref = bottom / divisor, top * factor / bottom
        w_now, r_now = Fraction(mine[1]) / whole(now, 1), Fraction(mine[0]) / Fraction(mine[1])
        assert one.rate == pytest.approx(float((w_now + w_ref) / 2 * (r_now - r_ref)), abs=1e-9 * scale)
        assert one.mix == pytest.approx(float((w_now - w_ref) * ((r_now + r_ref) / 2 - centre)), abs=1e-9 * scale)


def test_a_pure_change_of_mix_is_no_rate() -> None:
    """Each region converts as before, but more come from where fewer buy (Simpson's paradox)."""
    past: Drawn = {("EU",): (70.0, 100.0), ("US",): (30.0, 100.0)}
    now: Drawn = {("EU",): (35.0, 50.0), ("US",): (45.0, 150.0)}
    found = split(now, [past], ratio=True)
    assert (found.reference, found.now) == (0.5, 0.4)
    assert found.rate == pytest.approx(0)
    assert found.mix == pytest.approx(-0.1)
    assert {name: one.mix for name, one in by_segment(found).items()} == pytest.approx({"EU": -0.0625, "US": -0.0375})


def test_a_pure_change_of_rate_is_no_mix() -> None:
    """The same shares, and one region that sells less."""
    past: Drawn = {("EU",): (62.0, 100.0), ("US",): (30.0, 100.0)}
    now: Drawn = {("EU",): (102.0, 200.0), ("US",): (60.0, 200.0)}
    found = split(now, [past], ratio=True)
    assert found.mix == pytest.approx(0)
    assert {name: one.rate for name, one in by_segment(found).items()} == pytest.approx({"EU": -0.055, "US": 0})
    assert by_segment(found)["EU"].now == 0.51


def test_a_segment_that_comes_or_goes_is_mix() -> None:
    """It had no ratio to fall from."""
    past: Drawn = {("EU",): (60.0, 100.0), ("gone",): (0.0, 20.0)}
    now: Drawn = {("EU",): (60.0, 100.0), ("new",): (10.0, 100.0)}
    found = by_segment(split(now, [past], ratio=True))
    assert (found["new"].rate, found["gone"].rate) == (0, 0)
    assert found["new"].mix < 0 < found["gone"].mix
    assert (found["new"].reference, found["gone"].now) == (None, None)


def test_the_past_says_how_a_total_splits_and_the_target_how_much_it_is() -> None:
    """Twice the past is expected: twice of each segment."""
    past: list[Drawn] = [{("EU",): (60.0, 0.0), ("US",): (40.0, 0.0)}, {("EU",): (70.0, 0.0), ("US",): (30.0, 0.0)}]
    found = by_segment(split({("EU",): (50.0, 0.0), ("US",): (75.0, 0.0)}, past, expected=200.0))
    assert {name: (one.reference, one.gap) for name, one in found.items()} == {"EU": (130, -80), "US": (70, 5)}


def test_without_an_expectation_the_median_of_the_past_is_the_whole() -> None:
    """One odd window neither makes nor hides a gap."""
    past: list[Drawn] = [{("EU",): (value, 0.0)} for value in (100.0, 110.0, 9_000.0)]
    assert split({("EU",): (90.0, 0.0)}, past).gap == -20


def test_errors_that_were_never_there_are_all_new() -> None:
    """A past of nothing is a reference, where nothing is expected."""
    past: Drawn = {("EU",): (0.0, 0.0)}
    found = split({("US",): (7.0, 0.0)}, [past])
    assert (found.gap, by_segment(found)["US"].gap) == (7, 7)


@pytest.mark.parametrize(
    ("now", "past", "ratio", "expected"),
    [
        ({("EU",): (5.0, 0.0)}, [], False, 7.0),
        ({("EU",): (5.0, 0.0)}, [{("EU",): (0.0, 0.0)}], False, 7.0),
        ({("EU",): (5.0, 0.0)}, [{("EU",): (-3.0, 0.0)}], False, 7.0),
        ({("EU",): (5.0, 0.0)}, [{("EU",): (3.0, 5.0)}], True, None),
        ({("EU",): (5.0, 9.0)}, [{("EU",): (3.0, 0.0)}], True, None),
    ],
)
def test_nothing_is_said_where_there_is_nothing_to_split_by(
    now: Drawn, past: list[Drawn], ratio: bool, expected: float | None
) -> None:
    """No past, one of nothing or of a loss, or a ratio without a denominator on one side."""
    assert breakdown("region", now, past, ratio=ratio, expected=expected) is None


def test_the_whole_of_a_ratio_is_one_of_sums() -> None:
    """Never a mean of ratios."""
    assert total_of({("EU",): (1.0, 1.0), ("US",): (0.0, 9.0)}, ratio=True) == 0.1
    assert total_of({("EU",): (1.0, 0.0)}, ratio=True) is None
