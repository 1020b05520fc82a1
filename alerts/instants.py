"""When a rule has to be looked at, so that a clock moved by hand misses nothing. Pure.

A rule that goes window by window is looked at as each window becomes complete. One that goes by W or by the clock is
looked at in steps, of a length that suits its periods and is never longer than its `for`.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from onpace.config.calendar import Calendar, Grain, period_containing, window_end, window_start, windows
from onpace.config.catalog import Catalog
from onpace.config.kpi_entities import Kpi
from onpace.config.rules import AnomalyRule, ChangeRule, NoDataRule, Rule, ThresholdRule

__all__ = ["goes_by_windows", "instants", "lateness_of", "lead_in", "lookback", "step_of"]

_DAY = timedelta(days=1)
_MINUTE = timedelta(minutes=1)
_HOUR = timedelta(hours=1)
STEPS = {Grain.DAY: 15 * _MINUTE, Grain.WEEK: _HOUR, Grain.MONTH: _HOUR, Grain.QUARTER: 6 * _HOUR, Grain.YEAR: _DAY}
"""How often a target is looked at, by the length of its period."""
_LIKE = {Grain.FISCAL_QUARTER: Grain.QUARTER, Grain.FISCAL_YEAR: Grain.YEAR}
PARTS_OF_SILENCE = 4
LEAD_LOOKS = 20
"""So many looks at the period that the first instant lies in, for what an alert remembers of it."""


def goes_by_windows(rule: Rule) -> bool:
    """Whether it goes window by window: then its looks follow from its grain, and no step can be chosen."""
    return isinstance(rule, ThresholdRule | ChangeRule | AnomalyRule)


def lookback(rule: Rule, catalog: Catalog) -> timedelta:
    """How long after the time that an alert is about people are told at the latest, when all goes well."""
    late = lateness_of(rule, catalog) + rule.hold
    if isinstance(rule, ThresholdRule | ChangeRule | AnomalyRule):
        start = window_start(rule.grain, _SOME_DAY, catalog.kpi(rule.kpi).calendar)
        return late + (window_end(rule.grain, start, catalog.kpi(rule.kpi).calendar) - start)
    return late + (rule.after if isinstance(rule, NoDataRule) else step_of(rule, catalog))


_SOME_DAY = datetime.fromisoformat("2026-03-11T12:00:00+00:00")


def step_of(rule: Rule, catalog: Catalog) -> timedelta:
    """How far apart the looks at a rule are that does not go window by window."""
    kpi = catalog.kpi(rule.kpi)
    if isinstance(rule, NoDataRule):
        found = min(max(rule.after / PARTS_OF_SILENCE, _MINUTE), _HOUR)
        base = _MINUTE
    else:
        found = min((STEPS[_LIKE.get(target.grain, target.grain)] for target in kpi.targets), default=_HOUR)
        base = catalog.base_grain(kpi).step or _DAY
    if rule.hold:
        found = min(found, rule.hold)
    return max(found - found % _MINUTE, base)


def instants(
    rule: Rule, catalog: Catalog, start: datetime, end: datetime, *, every: timedelta | None = None
) -> Iterator[datetime]:
    """All looks that concern what happens in `[start, end)`, in order; the last may lie past `end`, by the lateness.

    `every` overrides the step of a rule that does not go window by window.
    """
    calendar, late = catalog.kpi(rule.kpi).calendar, lateness_of(rule, catalog)
    if isinstance(rule, ThresholdRule | ChangeRule | AnomalyRule):
        for opened in windows(rule.grain, start - timedelta(microseconds=1), end, calendar):
            if start <= (closed := window_end(rule.grain, opened, calendar)) < end:
                yield closed + late
        return
    for at in _grid(start, end, every or step_of(rule, catalog), calendar):
        yield at if isinstance(rule, NoDataRule) else at + late


def lead_in(rule: Rule, catalog: Catalog, start: datetime, *, every: timedelta | None = None) -> list[datetime]:
    """Looks before `start` at a rule on targets: what its alerts remember of the period that has begun by then."""
    kpi, late = catalog.kpi(rule.kpi), lateness_of(rule, catalog)
    if goes_by_windows(rule) or isinstance(rule, NoDataRule) or not kpi.targets:
        return []
    begun = min(_begin(kpi, target.grain, start) for target in kpi.targets)
    step = every or step_of(rule, catalog)
    fine = max(begun, start - rule.hold - rule.keep - step)
    coarse = [begun + (fine - begun) * part / LEAD_LOOKS for part in range(LEAD_LOOKS)] if begun < fine else []
    aligned = {window_start(catalog.base_grain(kpi), at, kpi.calendar) for at in coarse}
    return sorted({at + late for at in [*aligned, *_grid(fine, start, step, kpi.calendar)] if at < start})


def _begin(kpi: Kpi, grain: Grain, at: datetime) -> datetime:
    return period_containing(grain, at, kpi.calendar).bounds(kpi.calendar)[0]


def lateness_of(rule: Rule, catalog: Catalog) -> timedelta:
    """How long after its end a window is complete for the rule, when all goes well."""
    volume = getattr(rule, "min_volume", None)
    names = [rule.kpi, *([volume.kpi] if volume else [])]
    return max(catalog.lateness(catalog.kpi(name)) for name in names)


def _grid(start: datetime, end: datetime, step: timedelta, calendar: Calendar) -> Iterator[datetime]:
    """Instants of `[start, end)`: every so many days at midnight, or steps that begin anew at each midnight."""
    day = window_start(Grain.DAY, start, calendar)
    days = max(step // _DAY, 1)
    while day < end:
        following = day
        for _ in range(days):
            following = window_end(Grain.DAY, following, calendar)
        at = day
        while at < min(following, end):
            if at >= start:
                yield at
            at += step if step < _DAY else following - day
        day = following
