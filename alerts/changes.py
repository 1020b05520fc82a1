"""Rules on change: which earlier windows one is compared with, and whether it has dropped or risen too much. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median

from onpace.alerts.baselines import WEEKS_IN_A_YEAR, baseline_period, year_before
from onpace.alerts.rules import NO_VALUE, Inputs, Verdict, too_little
from onpace.alerts.status import finite, format_value
from onpace.config.amounts import reached
from onpace.config.business import WEEKDAYS
from onpace.config.calendar import Calendar, Grain, period_containing, window_end, window_start
from onpace.config.open_time import closed_through
from onpace.config.rules import ChangeRule

__all__ = ["MIN_WEEKS", "Comparison", "bare", "change_verdict", "compared", "earlier_windows", "with_unit"]

WEEKS = 4
"""So many weeks back the same weekday is looked at."""
MIN_WEEKS = 2
"""So many of them must have a value."""
MAX_CLOSED = 21
"""So many closed days (or longer windows) in a row are stepped over to find the window before."""
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a window is compared with; without a value there is nothing, and `words` say what is missing."""

    value: float | None
    words: str


def earlier_windows(rule: ChangeRule, start: datetime, calendar: Calendar) -> tuple[datetime, ...]:
    """Starts of the windows that the one that begins at `start` is compared with, newest first.

    The same weekday and a year ago are found by the local clock and date: for weeks a year is 52 of them, February 29th
    is compared with the 28th. The window before is the last one that is not closed.
    """
    grain, local = rule.grain, start.astimezone(calendar.zone)
    match rule.against:
        case "previous":
            return _last_open(grain, start, calendar)
        case "same_weekday":
            return tuple(window_start(grain, local - timedelta(weeks=week), calendar) for week in range(1, WEEKS + 1))
        case "year_ago":
            if grain.step:
                same = local.replace(tzinfo=None, fold=0)
                shifted = datetime.combine(year_before(same.date()), same.time(), calendar.zone)
                return (window_start(grain, shifted, calendar),)
            period = baseline_period(period_containing(grain, start, calendar), "year_ago")
            return (period.bounds(calendar)[0],)


def _last_open(grain: Grain, start: datetime, calendar: Calendar) -> tuple[datetime, ...]:
    at = start
    for _ in range(MAX_CLOSED + 1):
        at = window_start(grain, at - _MICROSECOND, calendar)
        if not closed_through(calendar, at, window_end(grain, at, calendar)):
            return (at,)
        if grain.step:  # the rest of the day is closed as well
            at = window_start(Grain.DAY, at, calendar)
    return ()


def compared(rule: ChangeRule, start: datetime, past: Mapping[datetime, float], calendar: Calendar) -> Comparison:
    """What the window that begins at `start` is compared with, from the usable windows of the past by their start.

    Of the same weekday it is the median of the last four, of which two must be there: one odd day does not move it.
    """
    earlier = earlier_windows(rule, start, calendar)
    values = [past[at] for at in earlier if at in past]
    words = _words(rule, start, earlier, calendar, len(values))
    if len(values) < (MIN_WEEKS if rule.against == "same_weekday" else 1):
        return Comparison(None, words)
    return Comparison(median(values), words)


def _words(rule: ChangeRule, start: datetime, earlier: tuple[datetime, ...], calendar: Calendar, values: int) -> str:
    local = start.astimezone(calendar.zone)
    match rule.against:
        case "previous":
            skipped = not earlier or window_end(rule.grain, earlier[0], calendar) != start
            return f"the last open {_noun(rule.grain)}" if skipped else f"the {_noun(rule.grain)} before"
        case "same_weekday":
            some = f"{values} of the last {WEEKS}" if MIN_WEEKS <= values < WEEKS else f"the last {WEEKS}"
            clock = f" at {local:%H:%M}" if rule.grain.step else ""
            return f"{some} {WEEKDAYS[local.weekday()]}s{clock}"
        case "year_ago":
            ago = f"{WEEKS_IN_A_YEAR} weeks" if rule.grain is Grain.WEEK else "a year"
            return f"the same {_noun(rule.grain)} {ago} ago"


def _noun(grain: Grain) -> str:
    return re.sub(r"^(\d+)min$", r"\1 minutes", grain.value).replace("_", " ")


def with_unit(value: float, unit: str) -> str:
    """`412 orders`; a ratio in percent."""
    return bare(value, unit) if unit in ("", "ratio") else f"{bare(value, unit)} {unit}"


def bare(value: float, unit: str) -> str:
    """`412`; a ratio in percent all the same."""
    return f"{format_value(value * 100)} %" if unit == "ratio" else format_value(value)


def change_verdict(
    rule: ChangeRule, value: float | None, volume: float | None, than: Comparison, *, firing: bool, unit: str = ""
) -> Verdict:
    """One complete window of one series against what it is compared with.

    Breached when the drop (or rise) is at least what the rule says and at least `min_effect`. A firing alert ends once
    it is at most `clear` (by default half of it), or at most half of `min_effect`. A share of zero is no verdict.
    """
    value, baseline = finite(value), finite(than.value)
    inputs: Inputs = {"value": value, "baseline": baseline, "against": than.words, "volume": finite(volume)}
    if value is None or too_little(rule.min_volume, volume):
        return Verdict(None, too_little(rule.min_volume, volume) or NO_VALUE, value, inputs)
    amount = rule.drop or rule.rise
    if baseline is None or amount is None or (amount.relative and baseline == 0):
        lack = "no value" if baseline is None else "0"
        return Verdict(None, f"nothing to compare with: {lack} in {than.words}", value, inputs)
    wrong = baseline - value if rule.drop else value - baseline
    reason = _sentence(value, baseline, than.words, relative=amount.relative, unit=unit)
    effect = rule.min_effect or 0.0
    if reached(wrong, amount.of(baseline)) and reached(wrong, effect):
        return Verdict(True, reason, value, inputs)
    clear = rule.clear or amount.half()
    if firing and wrong > clear.of(baseline) and wrong > effect / 2:
        return Verdict(None, f"{reason}: not near enough yet", value, inputs)
    if reached(wrong, amount.of(baseline)):
        reason = f"{reason}: less than {with_unit(effect, unit)} in all"
    return Verdict(False, reason, value, inputs)


def _sentence(value: float, baseline: float, words: str, *, relative: bool, unit: str) -> str:
    if value == baseline:
        return f"{with_unit(value, unit)}, as in {words}"
    size = abs(value - baseline)
    points = f"{format_value(size * 100)} percentage points" if unit == "ratio" else format_value(size)
    off = f"{format_value(float(f'{100 * size / abs(baseline):.2g}'))} %" if relative else points
    side = "below" if value < baseline else "above"
    return f"{with_unit(value, unit)}, {off} {side} the {bare(baseline, unit)} of {words}"
