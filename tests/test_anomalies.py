"""What is usual, and what is not. Every number is worked out by hand."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from alerts_fakes import Point, at, simple

from onpace.alerts.anomalies import Season, Usual, anomaly_verdict, side_of, slot_of, xmr
from onpace.alerts.window_rules import SeriesWindows
from onpace.config.calendar import Calendar, Grain
from onpace.config.rules import AnomalyRule

TWELVE = [10.0, 12, 11, 13] * 3
"""Mean 11.5; moving ranges 2 1 2 3 2 1 2 3 2 1 2, which are 21 / 11 on average."""
DAY, HOUR = timedelta(days=1), timedelta(hours=1)


def anomaly(**given: Any) -> AnomalyRule:
    """A rule on orders."""
    return AnomalyRule.model_validate({"name": "r", "kpi": "orders", "when": "anomaly"} | given)


def breached(value: float | None, usual: Usual | str, *, firing: bool = False, side: Any = "both", **given: Any) -> Any:
    """Whether a window of `value` is one."""
    return anomaly_verdict(anomaly(**given), value, None, usual, side=side, firing=firing).breached


def test_xmr_limits_are_those_of_the_book() -> None:
    """11.5 ± 2.66 x 21 / 11 = 11.5 ± 5.078."""
    usual = xmr(TWELVE, "the last 12 days")
    assert usual.centre == 11.5
    assert (usual.low, usual.high) == (pytest.approx(6.4218, abs=1e-4), pytest.approx(16.5782, abs=1e-4))
    assert [breached(value, usual) for value in (6.42, 6.43, 11, 16.57, 16.58)] == [True, False, False, False, True]


def test_only_the_bad_side_counts_unless_told_otherwise() -> None:
    """Low where higher is better; a range is left on both sides."""
    usual = xmr(TWELVE, "the last 12 days")
    assert side_of(anomaly(), "higher_is_better") == "low"
    assert side_of(anomaly(), "lower_is_better") == "high"
    assert side_of(anomaly(), "in_range") == "both"
    assert side_of(anomaly(direction="high"), "higher_is_better") == "high"
    assert [breached(value, usual, side="low") for value in (5, 18)] == [True, False]
    assert [breached(value, usual, side="high") for value in (5, 18)] == [False, True]


def test_eight_in_a_row_on_one_side_are_a_signal() -> None:
    """Each of them is within the limits."""
    usual = xmr([*[20.0, 24] * 6, *[21.0, 19] * 3, 21], "the last 19 days")  # mean 405 / 19 = 21.32
    assert usual.before == (21, 19, 21, 19, 21, 19, 21)
    assert usual.low < 20 < usual.high
    assert [breached(value, usual) for value in (20, 21.4)] == [True, False]
    assert breached(20, usual, side="high") is False
    seven = xmr([*[20.0, 24] * 6, *[21.0, 19] * 3], "the last 18 days")  # 24 is the seventh from the end
    assert breached(20, seven) is False


def test_what_never_changed_has_no_room() -> None:
    """Any other value is one that was never there."""
    usual = xmr([0.1] * 20, "the last 20 days")
    assert [breached(value, usual) for value in (0.1, 0.1 + 1e-12, 0.2)] == [False, False, True]


def week() -> dict[tuple[int, int], list[float]]:
    """Two weeks of days whose values differ by 10, 4, 6, 8, 2, 12 and 0 from Monday to Sunday; 105 on average."""
    return {(day, 0): [105 - gap / 2, 105 + gap / 2] for day, gap in enumerate([10, 4, 6, 8, 2, 12, 0])}


def test_a_season_compares_with_the_median_of_the_slot() -> None:
    """The distances are 0 0 2 2 4 4 6 6 8 8 10 10 12 12, with a median of 6: 105 ± 4 x 1.4826 x 6 = 105 ± 35.58."""
    season = Season.learned(week(), accumulates=False)
    usual = season.usual((0, 0), 4, "a Monday")
    assert usual is not None
    assert usual.centre == 105
    assert (usual.low, usual.high) == (pytest.approx(69.4176), pytest.approx(140.5824))
    assert [breached(value, usual) for value in (69.41, 69.42, 140.58, 140.59)] == [True, False, False, True]


def test_each_value_is_measured_against_the_others_of_its_slot() -> None:
    """Three Mondays of 1, 2 and 4 are 2, 0.5 and 2.5 from the median of the other two: it counts as it is judged."""
    seen = {(day, 0): [1.0, 2, 4] for day in range(4)}
    season = Season.learned(seen, accumulates=False)
    assert season.scale == pytest.approx(1.4826 * 2)


def test_long_tails_widen_the_limits() -> None:
    """Of 14 distances two are 7, and the rest 0: 13 are nine in ten of them, so 7 / 1.645."""
    seen = {(day, 0): [5.0, 5.0] for day in range(6)} | {(6, 0): [5.0, 12.0]}
    assert Season.learned(seen, accumulates=False).scale == pytest.approx(7 / 1.645)


def test_where_all_but_few_are_alike_the_mean_distance_decides() -> None:
    """Two of 24 are 7, which is fewer than one in ten: 1.2533 x 14 / 24."""
    seen = {(0, hour): [5.0, 5.0] for hour in range(11)} | {(0, 11): [5.0, 12.0]}
    assert Season.learned(seen, accumulates=False).scale == pytest.approx(1.2533 * 14 / 24)


def test_what_was_always_the_same_has_no_room_in_its_season() -> None:
    """Any other value is one that was never there."""
    flat = Season.learned({(day, 0): [5.0, 5.0] for day in range(7)}, accumulates=False)
    usual = flat.usual((0, 0), 4, "a Monday")
    assert usual is not None
    assert [breached(value, usual) for value in (5, 4)] == [False, True]


def test_totals_vary_by_the_root_of_their_size() -> None:
    """An hour of 400 may be off by twice as much as one of 100: each gap is one root (20 and 10)."""
    seen = {(0, hour): [390.0, 410.0] for hour in range(6)} | {(1, hour): [95.0, 105.0] for hour in range(6)}
    season = Season.learned(seen, accumulates=True)
    assert season.scale == pytest.approx(1.4826)
    big, small = season.usual((0, 0), 4, ""), season.usual((1, 0), 4, "")
    assert big is not None
    assert small is not None
    assert (big.low, small.low) == (pytest.approx(400 - 118.608), pytest.approx(100 - 59.304))
    level = Season.learned(seen, accumulates=False).usual((1, 0), 4, "")
    assert level is not None
    assert level.low == pytest.approx(100 - 4 * 1.4826 * 15)  # half of the distances are 10, half 20


def test_a_quiet_slot_is_taken_for_a_quarter_of_the_mean() -> None:
    """Six hours of 4 and six of 0, two on average: the others have the size of 0.5, so that 1 is not far off."""
    seen = {(0, hour): [3.0, 5.0] for hour in range(6)} | {(1, hour): [0.0, 0.0] for hour in range(6)}
    season = Season.learned(seen, accumulates=True)
    assert season.sizes == {slot: 2.0 if slot[0] == 0 else pytest.approx(0.5**0.5) for slot in seen}
    assert season.scale == pytest.approx(1.4826 * 0.5)  # twelve are 0, twelve 2 / 2


def test_a_slot_seen_once_says_nothing() -> None:
    """Nor do eleven distances."""
    seen = week() | {(0, 0): [100.0]}
    assert Season.learned(seen, accumulates=False).usual((0, 0), 4, "") is None
    few = {(day, 0): [100.0, 101.0] for day in range(5)}
    assert Season.learned(few, accumulates=False).usual((0, 0), 4, "") is None


def test_slots_are_local() -> None:
    """Sunday 23:30 UTC is Monday in Berlin."""
    berlin = Calendar(ZoneInfo("Europe/Berlin"))
    assert slot_of(Grain.HOUR, at("2026-11-22 23:00"), berlin) == (0, 0)
    assert slot_of(Grain.HOUR, at("2026-07-20 12:00"), berlin) == (0, 14)
    assert slot_of(Grain.DAY, at("2026-11-22 23:00"), berlin) == (0, 0)


def test_the_effect_must_be_there_as_well_and_clears_at_half() -> None:
    """6 is beyond the limits of 11.5 ± 5.08, and 5.5 off."""
    usual = xmr(TWELVE, "the last 12 days")
    assert breached(6, usual, min_effect=5.5) is True
    assert breached(6, usual, min_effect=5.6) is False
    assert breached(6, usual, min_effect=5.6, firing=True) is None
    assert breached(6, usual, min_effect=11, firing=True) is False
    assert breached(7, usual, firing=True) is False


@pytest.mark.parametrize("value", [None, float("nan")])
def test_no_value_is_no_verdict(value: float | None) -> None:
    """Nor is one of which nothing is known."""
    assert breached(value, xmr(TWELVE, ""), firing=True) is None
    assert breached(1, "not seen for two weeks yet") is None


def test_the_reasons_are_in_plain_words() -> None:
    """With what is usual."""
    usual = xmr(TWELVE, "the last 12 days")

    def reason(value: float, known: Usual, **given: Any) -> str:
        return anomaly_verdict(anomaly(**given), value, None, known, side="both", firing=False, unit="orders").reason

    assert reason(5, usual) == "5 orders, below the usual 6.422 to 16.58 of the last 12 days (around 11.5)"
    assert reason(12, usual) == "12 orders, within the usual 6.422 to 16.58 of the last 12 days (around 11.5)"
    assert reason(5, usual, min_effect=10) == (
        "5 orders, below the usual 6.422 to 16.58 of the last 12 days (around 11.5): off by less than 10 orders"
    )
    run = xmr([*[20.0, 24] * 6, *[21.0, 19] * 3, 21], "the last 19 days")
    assert reason(20, run) == "20 orders: 8 in a row below 21.32, the mean of the last 19 days"


def judged(rule: AnomalyRule, past: dict[Any, float], start: Any, value: float | None = 0) -> tuple[bool | None, str]:
    """The verdict on one window of a KPI that sums, with exactly these windows before it."""
    windows = SeriesWindows(rule, simple("orders", grain="1h"), True, past=dict(sorted(past.items())))
    step = DAY if rule.grain is Grain.DAY else HOUR if rule.grain is Grain.HOUR else 7 * DAY
    verdict = windows.verdict(Point(start, start + step, value, True), firing=False)
    return verdict.breached, verdict.reason


MONDAY = at("2026-11-23")


def test_days_go_by_xmr_until_two_weeks_were_seen() -> None:
    """12 windows at least; from the 14th day on the weekday counts."""
    known = {MONDAY - number * DAY: TWELVE[number % 12] for number in range(1, 15)}
    eleven, thirteen = ({at: known[at] for at in list(known)[:count]} for count in (11, 13))
    assert judged(anomaly(), eleven, MONDAY) == (None, "only 11 windows with a value before it, 12 are needed")
    assert "of the last 13 days" in judged(anomaly(), thirteen, MONDAY)[1]
    assert "of a Monday" in judged(anomaly(), known, MONDAY)[1]
    assert "of the last 14 days" in judged(anomaly(method="xmr"), known, MONDAY)[1]
    assert judged(anomaly(method="seasonal"), thirteen, MONDAY)[0] is None


def test_hours_have_no_verdict_until_two_weeks_were_seen() -> None:
    """A night is unusual for a day, and no news."""
    known = {MONDAY - number * HOUR: 100.0 for number in range(1, 14 * 24 + 1)}
    rule = anomaly(grain="hour")
    assert judged(rule, known, MONDAY)[0] is True
    last = {at: value for at, value in known.items() if at >= MONDAY - 13 * DAY}
    assert judged(rule, last, MONDAY) == (
        None,
        "not seen for two weeks yet, which it takes to know what is usual",
    )
    gone = {at: value for at, value in known.items() if at != MONDAY - 14 * DAY}
    assert judged(rule, gone, MONDAY) == (
        None,
        "too little seen of a Monday at 00:00 in the last 8 weeks to know what is usual",
    )


def test_only_the_last_eight_weeks_count() -> None:
    """What was before them is another time."""
    old = {MONDAY - number * DAY: 1000.0 for number in range(57, 120)}
    new = {MONDAY - number * DAY: 100.0 + number % 3 for number in range(1, 57)}
    assert judged(anomaly(), old | new, MONDAY, 100) == judged(anomaly(), new, MONDAY, 100)
    assert judged(anomaly(), old, MONDAY, 100)[0] is None


def test_weeks_look_over_the_last_twenty() -> None:
    """Or as many as the rule says; those without a value are stepped over, but not without end."""
    known = {MONDAY - number * 7 * DAY: 100.0 + number % 2 for number in range(1, 60)}
    assert "of the last 20 weeks" in judged(anomaly(grain="week"), known, MONDAY)[1]
    assert "of the last 26 weeks" in judged(anomaly(grain="week", baseline=26), known, MONDAY)[1]
    holes = {at: value for number, (at, value) in enumerate(known.items()) if number % 2}
    assert "of the last 20 weeks" in judged(anomaly(grain="week"), holes, MONDAY)[1]
    sparse = {at: value for number, (at, value) in enumerate(known.items()) if number % 4 == 0}
    assert judged(anomaly(grain="week"), sparse, MONDAY)[0] is None
