"""What an evaluation has to do for each rule that goes window by window: which windows, and what must be read for them.

Pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from onpace.alerts.changes import earlier_windows
from onpace.alerts.columns import Place, Wanted
from onpace.alerts.reading import SeriesKey
from onpace.alerts.states import Alert
from onpace.alerts.window_rules import SEASONS, SLACK, days_before, windows_before
from onpace.config.calendar import Calendar, Grain, window_end, window_start, windows
from onpace.config.catalog import Catalog
from onpace.config.rules import AnomalyRule, ChangeRule, WindowRule

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["AT_ONCE", "LOOK_AGAIN", "MAX_WINDOWS", "HowFar", "Judged", "Part", "Plan", "plan_of", "spec_of"]

MAX_WINDOWS = 10_000
"""How far back, in windows of an hour or less, a rule that was never evaluated looks."""
AT_ONCE = 2000
"""So many windows are read at once, at most: after a long pause it takes several rounds."""
LOOK_AGAIN = timedelta(minutes=1)
"""So often the newest windows are read again for late events, while there are no newer ones."""
_MICROSECOND = timedelta(microseconds=1)


class HowFar(Protocol):
    """How far a KPI has come: W in whole base windows, where it began, why its source is stale ('' if it is not)."""

    @property
    def as_of(self) -> datetime | None: ...
    @property
    def first_event(self) -> datetime | None: ...
    @property
    def stale(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Judged:
    """How far a rule has come, and what its newest window looked like then."""

    end: datetime
    spec: str
    """What the rule and its KPIs were."""
    looked: datetime | None = None
    """When the newest window was last read."""
    values: NDArray[np.float64] | None = None
    """Its values, in the order of the columns; not known after a restart."""
    volumes: NDArray[np.float64] | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """Some windows of a plan, and what must be known for them."""

    to_judge: Sequence[datetime]
    past: Sequence[datetime]
    """All windows that others may be compared with, in order."""
    wanted: Wanted


@dataclass(slots=True)
class Plan:
    """What there is to do for one rule."""

    rule: WindowRule
    calendar: Calendar
    spec: str
    complete_to: datetime
    first_event: datetime
    to_judge: list[datetime]
    newest: datetime | None
    """The newest window judged so far, where it is to be judged again."""
    before: Judged | None
    alerts: dict[SeriesKey, Alert] = field(default_factory=dict)
    """The rule's alerts, by series."""
    touched: set[SeriesKey] = field(default_factory=set)
    """Those to which something happened."""
    unit: str = ""
    """The KPI's."""
    others: set[SeriesKey] = field(default_factory=set)
    """Those that are new, or whose rule has another severity now."""

    @property
    def places(self) -> list[Place]:
        """Where it looks: its KPI, and the one that its volume is about."""
        gate = [self.rule.min_volume.kpi] if self.rule.min_volume else []
        return [(kpi, self.rule.grain, self.rule.by) for kpi in (self.rule.kpi, *gate)]

    def next_part(self) -> Part:
        """The windows to judge next. Takes them off."""
        some, self.to_judge = self.to_judge[:AT_ONCE], self.to_judge[AT_ONCE:]
        looked_at = [*([self.newest] if self.newest else []), *some]
        rule, wanted = self.rule, Wanted(fresh=set(looked_at))
        past: list[datetime] = []
        match rule:
            case ChangeRule():
                for start in looked_at:
                    wanted.fresh.update(earlier_windows(rule, start, self.calendar))
            case AnomalyRule():
                past = list(windows(rule.grain, self._back(rule, looked_at[0]), looked_at[-1], self.calendar))
                wanted.past.update(past)
            case _:
                pass
        return Part(some, past, wanted)

    def _back(self, rule: AnomalyRule, start: datetime) -> datetime:
        back = windows_before(rule.grain, start, rule.baseline * SLACK, self.calendar)
        if rule.grain.rank > Grain.DAY.rank:
            return back
        return window_start(rule.grain, min(back, days_before(start, SEASONS, self.calendar)), self.calendar)


def plan_of(
    catalog: Catalog, rule: WindowRule, before: Judged | None, progress: Mapping[str, HowFar], now: datetime
) -> Plan | None:
    """What there is to do for a rule; None where that is nothing, or a source is stale."""
    gate = rule.min_volume.kpi if rule.min_volume else rule.kpi
    own, other = progress[rule.kpi], progress[gate]
    if own.stale or other.stale or own.as_of is None or other.as_of is None or own.first_event is None:
        return None
    kpi = catalog.kpi(rule.kpi)
    calendar, spec = kpi.calendar, spec_of(catalog, rule)
    complete_to = window_start(rule.grain, min(own.as_of, other.as_of), calendar)
    since = before.end if before else own.first_event
    if (width := rule.grain.step) is not None:
        since = max(since, complete_to - width * MAX_WINDOWS)
    to_judge = [
        start
        for start in windows(rule.grain, since, complete_to, calendar)
        if since < window_end(rule.grain, start, calendar) <= complete_to
    ]
    newest = None
    if before and before.spec == spec and own.first_event < before.end <= complete_to:
        due = to_judge or before.looked is None or abs(now - before.looked) >= LOOK_AGAIN
        newest = window_start(rule.grain, before.end - _MICROSECOND, calendar) if due else None
    if not to_judge and newest is None:
        return None
    return Plan(rule, calendar, spec, complete_to, own.first_event, to_judge, newest, before, unit=kpi.unit)


def spec_of(catalog: Catalog, rule: WindowRule) -> str:
    """A name for what the rule and the KPIs that it looks at are."""
    kpis = [rule.kpi, *([rule.min_volume.kpi] if rule.min_volume else [])]
    parts = [rule, *(part for name in kpis for part in [catalog.kpi(name), *catalog.leaves(catalog.kpi(name))])]
    return hashlib.sha256("\x1f".join(repr(part) for part in parts).encode()).hexdigest()[:16]
