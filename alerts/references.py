"""What an alert's value is compared with when it is taken apart by segments: stretches of time, and words. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from onpace.alerts.changes import earlier_windows
from onpace.alerts.pace import LATE_START, PastPoint, elapsed_share, past_periods
from onpace.alerts.quantities import period_name
from onpace.alerts.reading import Portions, Span
from onpace.alerts.states import Alert
from onpace.alerts.status import KpiStatus
from onpace.config.business import WEEKDAYS
from onpace.config.calendar import Calendar, Grain, Period, window_end, window_start
from onpace.config.kpi import Direction
from onpace.config.open_time import closed_through, open_share
from onpace.config.rules import AnomalyRule, AttainmentRule, ChangeRule, Rule, ThresholdRule, WindowRule

__all__ = ["Reference", "Stretch", "of_period", "of_window", "wrong_way"]

WEEKS = 8
"""So many weeks back the same weekday (and hour) is looked at."""
MIN_WEEKS = 2
"""Fewer of them say nothing about what is usual."""
BEFORE = 12
"""Where there are none, so many windows just before."""
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of the past; where its end lies within a window that is read whole, between two of them."""

    before: Span
    after: Span
    weight: float = 1.0
    """How far its end lies between that of `before` (0) and that of `after` (1)."""

    def portions(self, read: Mapping[Span, Portions]) -> Portions:
        """What the segments counted for in it, from what was read of both."""
        first, last = read.get(self.before, {}), read.get(self.after, {})
        if self.weight == 1:
            return last

        def between(low: float, high: float) -> float:
            return low + (high - low) * self.weight

        pairs = {key: (first.get(key, (0.0, 0.0)), last.get(key, (0.0, 0.0))) for key in {**first, **last}}
        return {key: (between(low[0], high[0]), between(low[1], high[1])) for key, (low, high) in pairs.items()}


@dataclass(frozen=True, slots=True)
class Reference:
    """What to read, and what the total should be (None: the median of the past)."""

    now: Span
    past: tuple[Stretch, ...]
    expected: float | None
    words: str

    def spans(self) -> tuple[Span, ...]:
        """All that is to be read, each once; none is empty."""
        wanted = [self.now, *(span for one in self.past for span in (one.before, one.after))]
        return tuple(dict.fromkeys(span for span in wanted if span[0] < span[1]))


def of_period(
    status: KpiStatus, calendar: Calendar, *, base_grain: Grain, first_event: datetime, from_nothing: bool
) -> Reference | None:
    """For an alert about a target: expected by now, split as at the same point of the past periods pace learns from.

    Without one that was seen whole it is the period before, as far as it was seen. `from_nothing`: the KPI adds up over
    a period, so that a point within a window lies between its edges.
    """
    if status.as_of is None or status.expected is None or status.actual is None:
        return None
    period, start, end = Period.parse(status.period), status.period_start, status.period_end
    share = open_share(calendar, start, end, status.as_of)
    whole = past_periods(period, calendar, first_event=first_event, complete_to=status.as_of)
    previous = period.previous()
    if not whole and previous.bounds(calendar)[1] <= first_event:
        return None
    points = [PastPoint.at(one, share, base_grain, calendar) for one in whole or [previous]]
    past = [
        Stretch((one.start, one.before), (one.start, one.after), one.weight if from_nothing and one.weight else 1.0)
        for one in points
    ]
    same = "" if status.as_of >= end else " up to the same point"
    words = f"{_periods(whole, period)}{same}" if whole else f"{period_name(previous)}{same}, which was not seen whole"
    return Reference((start, status.as_of), tuple(past), status.expected, words)


def _periods(whole: Sequence[Period], period: Period) -> str:
    if len(whole) == 1:
        return period_name(whole[0])
    return f"the last {len(whole)} {period.grain.value.replace('_', ' ')}s"


def of_window(rule: WindowRule, alert: Alert, calendar: Calendar, *, first_event: datetime) -> Reference | None:
    """For an alert about the last complete window: what a change rule compares with, else what is usual then."""
    if alert.evaluated_to is None:
        return None
    start = window_start(rule.grain, alert.evaluated_to - _MICROSECOND, calendar)
    earlier, words = _earlier(rule, start, calendar, first_event)
    spans = [(at, window_end(rule.grain, at, calendar)) for at in earlier]
    past = tuple(Stretch(span, span) for span in spans)
    return Reference((start, window_end(rule.grain, start, calendar)), past, None, words) if past else None


def _earlier(
    rule: WindowRule, start: datetime, calendar: Calendar, first_event: datetime
) -> tuple[list[datetime], str]:
    """The windows that it is compared with, newest first, and what they are called."""

    def usable(starts: Sequence[datetime]) -> list[datetime]:
        return [at for at in starts if _seen(rule.grain, at, calendar, first_event)]

    local = start.astimezone(calendar.zone)
    noun = rule.grain.value.replace("_", " ")
    clock = f" at {local:%H:%M}" if rule.grain.step else ""
    if isinstance(rule, ChangeRule):
        found = usable(earlier_windows(rule, start, calendar))
        many = f"the last {len(found)} {WEEKDAYS[local.weekday()]}s{clock}"
        return found, {"previous": f"the {noun} before", "year_ago": f"the same {noun} a year ago"}.get(
            rule.against, many
        )
    if rule.grain.rank <= Grain.DAY.rank:
        weeks = usable(
            [window_start(rule.grain, local - timedelta(weeks=week), calendar) for week in range(1, WEEKS + 1)]
        )
        if len(weeks) >= MIN_WEEKS:
            return weeks, f"the last {len(weeks)} {WEEKDAYS[local.weekday()]}s{clock}"
    found = usable(list(_before(rule.grain, start, calendar)))
    return found, f"the {len(found)} {noun}s before" if len(found) > 1 else f"the {noun} before"


def _before(grain: Grain, start: datetime, calendar: Calendar) -> Iterator[datetime]:
    for _ in range(BEFORE):
        start = window_start(grain, start - _MICROSECOND, calendar)
        yield start


def _seen(grain: Grain, start: datetime, calendar: Calendar, first_event: datetime) -> bool:
    """Whether a window was seen whole, and open."""
    end = window_end(grain, start, calendar)
    return elapsed_share(start, end, first_event) <= LATE_START and not closed_through(calendar, start, end)


def wrong_way(rule: Rule, gap: float, direction: Direction) -> bool:
    """Whether a gap goes the way that the rule complains about: only then do segments explain what it says."""
    match rule:
        case ThresholdRule():
            return gap < 0 if rule.below is not None else gap > 0
        case ChangeRule():
            return gap < 0 if rule.drop else gap > 0
        case AnomalyRule():
            return gap != 0
        case AttainmentRule(above=float()):
            return gap > 0
        case _:
            return {"higher_is_better": gap < 0, "lower_is_better": gap > 0}.get(direction, gap != 0)
