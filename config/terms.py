"""What a KPI is merged from: its leaves, each looked at through shifts of the calendar and longer stretches.

The value of a window is a formula over terms. A term is a leaf (a KPI made of events or reports) merged over a stretch
of time that follows from the window: the window itself, the window some time ago (`offset`), or all from a period's
begin, from some days ago or from ever to the window's end (`cumulative`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from onpace.config.calendar import Calendar, Grain, window_end, window_start
from onpace.config.expressions import parse_kpi_expression
from onpace.config.kpi import CumulativeKpi, DerivedKpi, RatioKpi
from onpace.config.kpi_entities import BalanceKpi, Kpi, Leaf
from onpace.config.offsets import Shift, split_name

if TYPE_CHECKING:
    from onpace.config.catalog import Catalog

__all__ = [
    "EVER",
    "Reach",
    "Step",
    "Term",
    "finest_grain",
    "reach_of",
    "shifted_back",
    "span_of",
    "terms_of",
    "window_span",
]

EVER = datetime(1970, 1, 1, tzinfo=UTC)
_DAY = timedelta(days=1)
_MICROSECOND = timedelta(microseconds=1)
_MONTHS = {"month": 1, "quarter": 3, "year": 12}
_LENGTHS = {
    Grain.DAY: 1,
    Grain.WEEK: 7,
    Grain.MONTH: 31,
    Grain.QUARTER: 92,
    Grain.FISCAL_QUARTER: 92,
    Grain.YEAR: 366,
    Grain.FISCAL_YEAR: 366,
}
_LARGEST_REACH = 1500
"""A window of a cumulative KPI looks back over at most so many of its own size."""


@dataclass(frozen=True, slots=True)
class Reach:
    """A stretch that ends where the window ends: since a period's begin, of a length, or (neither) since ever."""

    to_date: Grain | None = None
    window: timedelta | None = None


Step = Shift | Reach


@dataclass(frozen=True, slots=True)
class Term:
    """A leaf looked at through steps, the outermost first: shifts, then at most one reach."""

    leaf: Leaf
    steps: tuple[Step, ...] = ()

    def __hash__(self) -> int:
        return hash((self.leaf.name, self.steps))


def reach_of(kpi: CumulativeKpi) -> Reach:
    """How far a cumulative KPI reaches back."""
    return Reach(Grain(kpi.to_date) if kpi.to_date else None, kpi.window)


def terms_of(catalog: Catalog, kpi: Kpi, steps: tuple[Step, ...] = ()) -> Iterator[Term]:
    """Every term of the KPI's formula, in order; some may come more than once."""
    match kpi:
        case RatioKpi():
            parts = [(kpi.numerator, steps), (kpi.denominator, steps)]
        case DerivedKpi():
            named = [split_name(name) for name in parse_kpi_expression(kpi.expr).names]
            parts = [(name, (*steps, shift) if shift else steps) for name, shift in named]
        case CumulativeKpi():
            parts = [(kpi.of, (*steps, reach_of(kpi)))]
        case BalanceKpi():  # made of changes: all of them up to the window's end
            yield Term(kpi, (*steps, Reach()))
            return
        case _:
            yield Term(kpi, steps)
            return
    for name, through in parts:
        yield from terms_of(catalog, catalog.kpi(name), through)


def finest_grain(kpi: CumulativeKpi) -> Grain:
    """The finest windows that a cumulative KPI has: of finer ones, each would look back over too many."""
    if kpi.to_date:
        length = _LENGTHS[Grain(kpi.to_date)] * _DAY
    elif kpi.window:
        length = kpi.window
    else:
        return Grain.DAY
    fitting = (grain for grain in Grain if (step := grain.step) and length <= step * _LARGEST_REACH)
    return next(fitting, Grain.DAY)


def span_of(term: Term, start: datetime, end: datetime, calendar: Calendar) -> tuple[datetime, datetime]:
    """The stretch that a term is merged over for any half-open stretch of the KPI."""
    for step in term.steps:
        if isinstance(step, Shift):
            start, end = shifted_back(start, step, calendar), shifted_back(end, step, calendar)
        else:
            start = _begin(step, end, calendar)
    return start, end


def window_span(term: Term, grain: Grain, start: datetime, calendar: Calendar) -> tuple[datetime, datetime]:
    """The stretch that a term is merged over for the window of `grain` that begins at `start`.

    A shifted window is a whole window too: of the week 52 weeks ago, not from a Sunday on; of February's last day for
    March 31st a month later.
    """
    end = window_end(grain, start, calendar)
    for step in term.steps:
        if isinstance(step, Shift):
            start = window_start(grain, shifted_back(start, _of_weeks(step, grain), calendar), calendar)
            end = window_end(grain, start, calendar)
        else:
            start = _begin(step, end, calendar)
    return start, end


def _of_weeks(shift: Shift, grain: Grain) -> Shift:
    return Shift(52 * shift.count, "week") if grain is Grain.WEEK and shift.unit == "year" else shift


def _begin(reach: Reach, end: datetime, calendar: Calendar) -> datetime:
    if reach.to_date:
        return window_start(reach.to_date, end - _MICROSECOND, calendar)
    if reach.window is None:
        return EVER
    if reach.window % _DAY:
        return end - reach.window
    return shifted_back(end, Shift(reach.window // _DAY, "day"), calendar)


def shifted_back(at: datetime, shift: Shift, calendar: Calendar) -> datetime:
    """The instant so much earlier. Days and longer keep the local time of day; months end with their last day."""
    if shift.unit in ("minute", "hour"):
        return at - shift.count * timedelta(**{f"{shift.unit}s": 1})
    local = at.astimezone(calendar.zone)
    if shift.unit in ("day", "week"):
        earlier = local.date() - timedelta(days=shift.count * (7 if shift.unit == "week" else 1))
    else:
        earlier = _months_earlier(local.date(), shift.count * _MONTHS[shift.unit])
    if local.time() == datetime.min.time():
        return window_start(
            Grain.DAY, datetime.combine(earlier, datetime.min.time().replace(hour=12), calendar.zone), calendar
        )
    return datetime.combine(earlier, local.time(), calendar.zone).astimezone(UTC)


def _months_earlier(day: date, months: int) -> date:
    year, month = divmod(day.year * 12 + day.month - 1 - months, 12)
    first = date(year, month + 1, 1)
    last = (first + timedelta(days=31)).replace(day=1) - _DAY
    return first.replace(day=min(day.day, last.day))
