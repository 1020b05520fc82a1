"""The balanced scorecard of a period: per perspective its objectives and KPIs, with value, status and trend. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import get_args
from zoneinfo import ZoneInfo

from onpace.alerts.objectives import ObjectiveState
from onpace.alerts.status import KpiStatus
from onpace.config.calendar import Calendar, Period
from onpace.config.catalog import Catalog
from onpace.config.kpi import Direction, Objective, Perspective
from onpace.config.kpi_entities import Kpi
from onpace.config.privacy import shown_to

__all__ = ["OTHER", "KpiLine", "Scorecard", "Section", "Selection", "Trend", "assemble", "objectives_of", "overlap"]

OTHER = "other"
"""The section of what names no perspective."""

IN_POINTS = ("ratio", "points")
"""Units that change by points: 43 after 40 is 3 more, and not 7.5 % more."""

UTC_ZONE = ZoneInfo("UTC")

_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Selection:
    """Whose scorecard it is, and of when."""

    period: Period
    now: datetime
    owner: str | None = None
    team: str | None = None
    zone: ZoneInfo | Calendar = UTC_ZONE
    """Where the period ends, for the scorecard's own date; each KPI has its own."""

    @property
    def as_of(self) -> datetime:
        """Now, or the end of the period if that is over."""
        return min(self.now, self.period.bounds(self.zone)[1])

    def holds(self, subject: Kpi | Objective) -> bool:
        """Whether it is on the scorecard: of this owner (individual only then) and of this team."""
        return shown_to(self.owner, subject) and self.team in (None, subject.team)

    def instant(self, kpi: Kpi) -> datetime:
        """As of when the KPI is looked at: now, or the end of the period if that is over."""
        return min(self.now, self.period.bounds(kpi.calendar)[1])

    def last(self, kpi: Kpi) -> datetime:
        """The last moment that counts; the period that holds it is shown."""
        return self.instant(kpi) - _MICROSECOND


def overlap(first: Period, second: Period, zone: ZoneInfo | Calendar) -> bool:
    """Whether two periods have an instant in common."""
    (begin, end), (other_begin, other_end) = first.bounds(zone), second.bounds(zone)
    return begin < other_end and other_begin < end


@dataclass(frozen=True, slots=True)
class Trend:
    """A value against that of the period before; for a total while its period runs, at the same point of it."""

    period: str
    value: float | None
    """What it was then."""
    change: float | None
    """Relative where `relative`, else in the KPI's unit; None where that cannot be said."""
    relative: bool
    better: bool | None
    """Whether the change is for the better; None where it is neither."""

    @classmethod
    def between(cls, before: float | None, now: float | None, period: Period, kpi: Kpi) -> Trend:
        """The change from one value to another. Ratios and points change by points, and so does what was 0 or less."""
        relative = kpi.unit not in IN_POINTS and before is not None and before > 0
        if before is None or now is None:
            return cls(str(period), before, None, relative, None)
        change = (now - before) / before if relative else now - before
        return cls(str(period), before, change, relative, _better(change, kpi.direction))


def _better(change: float, direction: Direction) -> bool | None:
    if change == 0 or direction == "in_range":
        return None
    return (change > 0) == (direction == "higher_is_better")


@dataclass(frozen=True, slots=True)
class KpiLine:
    """A KPI against its headline target; without one, its value over the scorecard's period."""

    kpi: Kpi
    period: str
    value: float | None
    status: KpiStatus | None
    trend: Trend | None

    @property
    def word(self) -> str:
        """The status, or `no_target`."""
        return self.status.status if self.status else "no_target"


@dataclass(frozen=True, slots=True)
class Section:
    """One perspective."""

    perspective: str
    objectives: tuple[ObjectiveState, ...]
    kpis: tuple[KpiLine, ...]


@dataclass(frozen=True, slots=True)
class Scorecard:
    """All of it. The same values give the same scorecard, in file order within a perspective."""

    selection: Selection
    sections: tuple[Section, ...]


def assemble(selection: Selection, objectives: Sequence[ObjectiveState], lines: Sequence[KpiLine]) -> Scorecard:
    """Group by perspective; an objective without one goes with its first key result that has one."""
    names = [*get_args(Perspective), OTHER]
    found = [
        Section(
            name,
            tuple(one for one in objectives if _perspective(one) == name),
            tuple(line for line in lines if (line.kpi.perspective or OTHER) == name),
        )
        for name in names
    ]
    return Scorecard(selection, tuple(section for section in found if section.objectives or section.kpis))


def _perspective(state: ObjectiveState) -> str:
    of_kpis: Iterable[str | None] = (result.measure.kpi.perspective for result in state.key_results)
    return next((name for name in (state.objective.perspective, *of_kpis) if name), OTHER)


def objectives_of(selection: Selection, catalog: Catalog) -> list[tuple[Objective, Period]]:
    """The objectives on the scorecard with their periods; one without a period is for whichever is shown."""
    chosen = [one for one in catalog.objectives.values() if selection.holds(one)]
    periods = [(one, one.period or selection.period) for one in chosen]
    return [(one, period) for one, period in periods if overlap(period, selection.period, selection.zone)]
