"""What each rule says about one look at its KPI: breached, not breached, or no verdict. Pure.

Bounds are strict: `below: 0.5` is breached by 0.4999 and not by 0.5. No verdict (None) leaves an alert as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from onpace.alerts.forecasts import Forecast, forecast_words
from onpace.alerts.pace import elapsed_share
from onpace.alerts.status import KpiStatus, finite, format_value
from onpace.config.amounts import reached
from onpace.config.calendar import Calendar
from onpace.config.durations import format_duration
from onpace.config.open_time import closed_through, open_time
from onpace.config.rules import (
    ActiveHours,
    AttainmentRule,
    ForecastRule,
    MinVolume,
    NoDataRule,
    PaceRule,
    PeriodRule,
    Severity,
    ThresholdRule,
)

__all__ = [
    "DAYS",
    "NO_VALUE",
    "Inputs",
    "Verdict",
    "attainment_verdict",
    "forecast_verdict",
    "is_active",
    "no_data_verdict",
    "pace_verdict",
    "period_verdict",
    "severity_of",
    "threshold_verdict",
    "too_little",
]

Inputs = Mapping[str, float | str | None]

_MICROSECOND = timedelta(microseconds=1)
POINTS = 0.02
"""So far past its bound an attainment alert ends by default."""

CLEAR_POINTS = 0.1
"""So far below its probability a forecast alert ends by default."""

MIN_CLEAR = 0.1
"""Lower than this a probability from few past periods may never be."""

NO_VALUE = "no value in the window"

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a rule says and why; `inputs` is all that it looked at."""

    breached: bool | None
    reason: str
    value: float | None = None
    inputs: Inputs = field(default_factory=dict)


def threshold_verdict(
    rule: ThresholdRule, value: float | None, volume: float | None, *, firing: bool, unit: str = ""
) -> Verdict:
    """One complete window of one series. `volume` is the value of `min_volume.kpi` in the same window and series.

    A firing alert with `clear` ends only past the clear bound; in the band between, it stays.
    """
    value, volume = finite(value), finite(volume)
    inputs: Inputs = {"value": value, "below": rule.below, "above": rule.above, "volume": volume}
    if value is None or too_little(rule.min_volume, volume):
        return Verdict(None, too_little(rule.min_volume, volume) or NO_VALUE, value, inputs)
    shown = format_value(value, unit)
    for bound, word, beyond in ((rule.below, "below", -1), (rule.above, "above", 1)):
        if bound is not None and (value - bound) * beyond > 0:
            return Verdict(True, f"{shown} is {word} {format_value(bound, unit)}", value, inputs)
    if firing and rule.clear and not _cleared(rule, value):
        return Verdict(None, f"{shown} is not past the clear bound yet", value, inputs)
    return Verdict(False, f"{shown} is within bounds", value, inputs)


def too_little(gate: MinVolume | None, volume: float | None) -> str:
    """Why a window with so much `min_volume.kpi` is nothing to go by; empty when it is enough."""
    volume = finite(volume)
    if gate is None or (volume is not None and volume >= gate.at_least):
        return ""
    return f"too little to go by: {gate.kpi} {format_value(volume)}, at least {format_value(gate.at_least)} wanted"


def _cleared(rule: ThresholdRule, value: float) -> bool:
    if rule.clear is None:
        return True
    above, below = rule.clear.above, rule.clear.below
    return (above is None or value > above) and (below is None or value < below)


def period_verdict(
    rule: PeriodRule, status: KpiStatus, *, firing: bool, forecast: Forecast | None = None, unit: str = ""
) -> Verdict:
    """What a rule on a target says of its status, and of the forecast of its end."""
    match rule:
        case PaceRule():
            return pace_verdict(rule, status)
        case AttainmentRule():
            return attainment_verdict(rule, status, firing=firing, unit=unit)
        case ForecastRule():
            return forecast_verdict(rule, status, forecast, firing=firing, unit=unit)


def pace_verdict(rule: PaceRule, status: KpiStatus) -> Verdict:
    """The status at W: `at: at_risk` takes off_track too. Before `after` of the period has passed, no verdict.

    After the period only the final status counts, and it ends the alert whichever way it went: the reason says which.
    """
    inputs: Inputs = {
        "status": status.status,
        "actual": status.actual,
        "expected": status.expected,
        "target": status.target_value,
        "gap": status.gap,
    }
    if known := _not_running(rule, status, inputs):
        return known
    worse = ("off_track",) if rule.at == "off_track" else ("at_risk", "off_track")
    return Verdict(status.status in worse, status.reason, status.actual, inputs)


def attainment_verdict(rule: AttainmentRule, status: KpiStatus, *, firing: bool, unit: str = "") -> Verdict:
    """The attainment at W: how much of the whole target is reached, whatever is expected by now. Bounds are strict.

    A firing alert ends at `clear`, by default 2 points past the bound (for `above`, at most half way down to 0). Before
    `after` of the period, and after its end, it is as with pace.
    """
    share, below = status.attainment, rule.below is not None
    bound = (rule.below if below else rule.above) or 0.0
    inputs: Inputs = {
        "attainment": share,
        "bound": bound,
        "actual": status.actual,
        "target": status.target_value,
    }
    if known := _not_running(rule, status, inputs):
        return known
    if share is None:
        return Verdict(None, "the target has no attainment: it has no value, or is 0", status.actual, inputs)
    past = f"{format_value(status.actual, unit)} of {format_value(status.target_value, unit)}"
    reason = f"{share * 100:.1f} % of the target is reached ({past})"
    if not _good(share, bound, below=below):
        word = "less" if below else "more"
        return Verdict(True, f"{reason}, {word} than {bound * 100:.4g} %", status.actual, inputs)
    clear = rule.clear if rule.clear is not None else bound + POINTS if below else bound - min(POINTS, bound / 2)
    if firing and not _good(share, clear, below=below):
        return Verdict(None, f"{reason}: not past the {clear * 100:.4g} % that end it yet", status.actual, inputs)
    return Verdict(False, reason, status.actual, inputs)


def _good(share: float, bound: float, *, below: bool) -> bool:
    """Whether it lies at the bound or on its good side; 1e-9 of it (relative) is rounding."""
    return reached(share, bound) if below else share <= bound or reached(bound, share)


def forecast_verdict(
    rule: ForecastRule, status: KpiStatus, forecast: Forecast | None, *, firing: bool, unit: str = ""
) -> Verdict:
    """The probability to miss, as of W: breached from `probability` on. Without one, no verdict.

    A firing alert ends at `clear`, by default 10 points lower. Before `after` of the period, and after its end, it
    is as with pace.
    """
    chance = forecast.probability if forecast else None
    inputs = _forecast_inputs(rule, status, forecast)
    if known := _not_running(rule, status, inputs):
        return known
    if forecast is None or chance is None:
        return Verdict(
            None, forecast_words(forecast, status, unit) if forecast else "no forecast", status.actual, inputs
        )
    reason = forecast_words(forecast, status, unit)
    if reached(chance, rule.probability):
        return Verdict(True, reason + _lowered(rule, forecast), status.actual, inputs)
    clear = _forecast_clear(rule)
    if firing and not (chance <= clear or reached(clear, chance)):
        return Verdict(None, f"{reason}: not down to the {clear * 100:.4g} % that end it yet", status.actual, inputs)
    return Verdict(False, reason, status.actual, inputs)


def severity_of(rule: PeriodRule, forecast: Forecast | None) -> Severity:
    """That of the rule; but a forecast that is not calibrated never pages."""
    if isinstance(rule, ForecastRule) and rule.severity == "page" and not (forecast and forecast.score.calibrated):
        return "ticket"
    return rule.severity


def _lowered(rule: ForecastRule, forecast: Forecast) -> str:
    return "" if severity_of(rule, forecast) == rule.severity else ", so a ticket and no page"


def _forecast_clear(rule: ForecastRule) -> float:
    return rule.clear if rule.clear is not None else max(rule.probability - CLEAR_POINTS, MIN_CLEAR)


def _forecast_inputs(rule: ForecastRule, status: KpiStatus, forecast: Forecast | None) -> Inputs:
    inputs: dict[str, float | str | None] = {
        "probability": forecast.probability if forecast else None,
        "bound": rule.probability,
        "actual": status.actual,
        "target": status.target_value,
    }
    if forecast is None:
        return inputs
    score = forecast.score
    return inputs | {
        "low": forecast.low,
        "median": forecast.median,
        "high": forecast.high,
        "method": forecast.method,
        "past_periods": forecast.past,
        "scored_periods": score.periods,
        "covered": score.covered,
        "crps": score.crps,
        "base_crps": score.base_crps,
        "brier": score.brier,
        "base_brier": score.base_brier,
        "calibrated": "yes" if score.calibrated else f"no: {score.problem or forecast.reason}",
    }


def _not_running(rule: PeriodRule, status: KpiStatus, inputs: Inputs) -> Verdict | None:
    """The verdict on a period that is over, has nothing to go by or has not come far enough; None for the rest."""
    if status.final:
        return Verdict(False, status.reason, status.actual, inputs)
    if status.stale or status.as_of is None or status.status in ("no_data", "met", "missed"):
        return Verdict(None, status.reason, status.actual, inputs)
    passed = elapsed_share(status.period_start, status.period_end, status.as_of)
    if passed < rule.after:
        return Verdict(None, f"only {passed:.0%} of the period has passed", status.actual, inputs)
    return None


def no_data_verdict(
    rule: NoDataRule, last_events: Mapping[str, datetime | None], now: datetime, calendar: Calendar
) -> Verdict:
    """The KPI's inputs by event type, with the time of the newest event of each; the quietest input decides.

    Silence counts while the calendar is open. An event type that has never sent anything gives no verdict, and neither
    does a closed day.
    """
    seen = {name: last for name, last in last_events.items() if last is not None}
    if len(seen) < len(last_events) or not seen:
        missing = ", ".join(name for name in last_events if name not in seen)
        return Verdict(None, f"no {missing} event seen yet")
    if closed := closed_through(calendar, now, now + _MICROSECOND):
        return Verdict(None, closed)
    name = min(seen, key=lambda key: seen[key])
    silent = open_time([calendar], seen[name], now)
    seconds = silent.total_seconds()
    inputs: Inputs = {"event_type": name, "last_event_time": seen[name].isoformat(), "silent_seconds": seconds}
    if silent > rule.after:
        reason = f"no {name} event since {seen[name]:%Y-%m-%d %H:%M:%S} UTC, longer than {format_duration(rule.after)}"
        return Verdict(True, reason, seconds, inputs)
    return Verdict(False, f"{name} events arrive", seconds, inputs)


def is_active(hours: ActiveHours | None, now: datetime, zone: ZoneInfo) -> bool:
    """Whether the rule may notify at `now`. Ranges may wrap: `fri-mon`, `22:00-06:00` (the day is the local one)."""
    if hours is None:
        return True
    local = now.astimezone(zone)
    first, _, last = hours.days.partition("-")
    begin, end = DAYS.index(first), DAYS.index(last or first)
    if (local.weekday() - begin) % 7 > (end - begin) % 7:
        return False
    opens, closes = (int(part[:2]) * 60 + int(part[3:]) for part in hours.hours.split("-"))
    minute = local.hour * 60 + local.minute
    return opens <= minute < closes if opens < closes else minute >= opens or minute < closes
