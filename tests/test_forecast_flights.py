"""Forecasts of real totals: a year of flights from New York, each day and week forecast from the 24 before it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest
from alerts_fakes import at
from flights_example import script, sdist

from onpace.alerts.calibration import Scored, score_of
from onpace.alerts.forecasts import Case, PastPeriod, Score
from onpace.alerts.seasonal_shape import walk_forward
from onpace.alerts.status import Wanted

DAY = timedelta(days=1)
HISTORY = 24
KINDS: dict[str, Callable[[Any], bool]] = {
    "departures": lambda flight: flight.dep_delay is not None,
    "late departures": lambda flight: flight.dep_delay is not None and flight.dep_delay > 15,
    "cancelled": lambda flight: flight.dep_delay is None,
}


@pytest.fixture(scope="module")
def hours() -> dict[str, list[int]]:
    """How many there were in each hour of the year, by scheduled departure."""
    counts = {kind: Counter[tuple[date, int]]() for kind in KINDS}
    for flight in script("tables").Tables(sdist()).flights():
        for kind, is_one in KINDS.items():
            counts[kind][flight.day, flight.sched_dep_time // 100] += is_one(flight)
    days = [date(2013, 1, 1) + DAY * number for number in range(365)]
    return {kind: [found[day, hour] for day in days for hour in range(24)] for kind, found in counts.items()}


def year(values: list[int], days: int, share: float) -> tuple[Score, float]:
    """The score over all periods of so many days, and of how many the ones before were calibrated."""
    length = days * 24
    parts = [values[first : first + length] for first in range(0, len(values) - length + 1, length)]
    past = tuple(
        PastPeriod(str(number), float(sum(part[: int(length * share)])), float(sum(part)), DAY * days)
        for number, part in enumerate(parts)
    )
    newest: list[Scored] = []
    calibrated = 0
    for place in range(HISTORY, len(past)):
        window = past[place - HISTORY : place + 1]
        *before, last = walk_forward(Case(at("2013-12-31"), 0.0, DAY * days, Wanted(1.0, math.inf), True, window))
        newest.append(last)
        calibrated += score_of(before).calibrated
    return score_of(newest), calibrated / len(newest)


@pytest.mark.parametrize("kind", KINDS)
def test_four_of_five_days_end_within_their_interval(hours: dict[str, list[int]], kind: str) -> None:
    """In the morning, at noon and in the evening; from noon on it knows more than the days before do."""
    for share in (0.3, 0.5, 0.7):
        score, calibrated = year(hours[kind], 1, share)
        assert score.periods == 341
        assert 0.75 < score.covered / score.periods < 0.87
        if share >= 0.5:
            assert score.crps is not None
            assert score.base_crps is not None
            assert score.crps < score.base_crps * (0.9 if share < 0.7 else 0.55)
            assert calibrated > (0.7 if share < 0.7 else 0.95)


@pytest.mark.parametrize("kind", KINDS)
def test_so_do_weeks(hours: dict[str, list[int]], kind: str) -> None:
    """Of which there are 28 to look at; those around Christmas are not like the others."""
    for share in (0.5, 0.7):
        score, _ = year(hours[kind], 7, share)
        assert score.periods == 28
        assert 20 <= score.covered <= 26
        assert score.crps is not None
        assert score.base_crps is not None
        assert score.crps < score.base_crps * 0.75
