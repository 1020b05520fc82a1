"""What a period is likely to end with: a forecast as a value, and what a forecaster is given. Pure.

The rule and all that is shown take a `Forecast` and do not care where it comes from: better forecasters, and links to
leading KPIs, fill the same protocol. What none of them may do is to claim more than it has shown: there is no
probability before `MIN_SCORED` past periods were forecast from what came before them and then compared with how they
ended, and one that is not calibrated never pages.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from onpace.alerts.status import KpiStatus, Wanted, format_value

__all__ = ["LEVEL", "MIN_SCORED", "Case", "Forecast", "Forecaster", "PastPeriod", "Score", "forecast_words"]

LEVEL = 0.8
"""The final value lies in the interval this often."""

MIN_SCORED = 8
"""So many past periods must have been scored before a probability is given."""


@dataclass(frozen=True, slots=True)
class PastPeriod:
    """A whole period before the one that is forecast, seen at the same point of its open time."""

    name: str
    at_point: float
    final: float
    open_time: timedelta
    wanted: Wanted | None = None
    """What was asked of it then; None where it had no such target."""


@dataclass(frozen=True, slots=True)
class Case:
    """One target in one running period as of `as_of`, with what came before it."""

    as_of: datetime
    actual: float
    open_time: timedelta
    """That of the whole period."""
    wanted: Wanted
    adds_up: bool
    """A total that begins at nothing; else only differences to the value at the same point mean something."""
    past: tuple[PastPeriod, ...] = ()
    """Oldest first."""


@dataclass(frozen=True, slots=True)
class Score:
    """How a forecaster did on past periods, each forecast at the same point from those before it."""

    periods: int = 0
    covered: int = 0
    """So many of them ended within their interval."""
    wanted_covered: float = 0.0
    """So many would be, on average."""
    crps: float | None = None
    """Mean continuous ranked probability score: the Brier score summed over all bounds, in the KPI's unit."""
    base_crps: float | None = None
    """That of the finals of earlier periods."""
    brier: float | None = None
    """Mean squared error of the probability to miss, over the scored periods that had a target."""
    base_brier: float | None = None
    """That of the share of earlier periods that missed."""
    problem: str = ""
    """What was found against it; '' when nothing was."""

    @property
    def calibrated(self) -> bool:
        """Whether enough periods were scored and nothing was found against it."""
        return self.periods >= MIN_SCORED and not self.problem


@dataclass(frozen=True, slots=True)
class Forecast:
    """The final value of one target's period as seen at `as_of`."""

    as_of: datetime
    method: str
    median: float | None = None
    low: float | None = None
    high: float | None = None
    """`low` to `high` holds the final value with probability `LEVEL`; None with `reason` where nothing can be said."""
    probability: float | None = None
    """To miss the target. None with `reason`; never 0 or 1."""
    reason: str = ""
    """Why there is no probability, or no forecast at all."""
    past: int = 0
    """So many past periods it goes by."""
    score: Score = Score()


class Forecaster(Protocol):
    """Says what a period will end with. Pure: the same case gives the same forecast."""

    def forecast(self, case: Case) -> Forecast:
        """The forecast, or one that says why there is none."""
        ...


def forecast_words(forecast: Forecast, status: KpiStatus, unit: str = "") -> str:
    """`82 % likely to miss: 93,000 to 97,000 of 100,000 expected at the end, by 12 past months`, or why none."""
    if forecast.low is None or forecast.high is None:
        return f"no forecast: {forecast.reason}"
    low, high = format_value(forecast.low, unit), format_value(forecast.high, unit)
    span = low if low == high else f"{low} to {high}"
    past = f"by {forecast.past} past {status.grain.value.replace('_', ' ')}s"
    found = f"{span} of {_aim(status, unit)} expected at the end, {past}"
    if forecast.probability is None:
        return f"{found}; no probability to miss: {forecast.reason}"
    doubt = f" (not calibrated: {forecast.score.problem})" if forecast.score.problem else ""
    return f"{forecast.probability * 100:.0f} % likely to miss: {found}{doubt}"


def _aim(status: KpiStatus, unit: str) -> str:
    if status.target_value is not None:
        return format_value(status.target_value, unit)
    low, high = status.target_min, status.target_max
    return Wanted(-math.inf if low is None else low, math.inf if high is None else high).words(unit)
