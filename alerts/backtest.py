"""What a rule would have done: its alarms, and how they meet the incidents that people know of. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from onpace.alerts.evaluation import Transition
from onpace.alerts.states import AlertId
from onpace.alerts.status import Labels
from onpace.config.incidents import Incident

__all__ = ["Alarm", "Ledger", "Met", "Score", "per_week", "score", "total_firing"]

_WEEK = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Alarm:
    """An alert from when it fired to when it ended."""

    series: Labels
    period: str
    fired_at: datetime
    """The end of the window, or the W, at which its condition had held for long enough: as in `alert_transitions`."""
    told_at: datetime
    """When the engine found it, and people would have been told."""
    value: float | None
    reason: str
    cleared_at: datetime | None = None
    """None: it still fired when the backtest ended."""
    cleared_told_at: datetime | None = None
    ended_by: str = ""
    """The reason for which it ended."""


@dataclass(slots=True)
class Ledger:
    """Collects the alarms of one rule from the transitions of evaluation after evaluation."""

    rule: str
    _open: dict[AlertId, Alarm] = field(default_factory=dict)
    _closed: list[Alarm] = field(default_factory=list)

    def note(self, transitions: Iterable[Transition], looks: Sequence[datetime], lateness: timedelta) -> None:
        """Take in what an evaluation found that stands for the `looks`: it was made at the last of them.

        People are told at the first of them by which what happened was complete.
        """
        for one in transitions:
            alert, firing = one.alert, one.alert.state == "firing"
            if alert.rule != self.rule or firing == (one.before == "firing"):
                continue
            now = next((at for at in looks if at >= one.at + lateness), looks[-1])
            if firing:
                self._open[alert.identity] = Alarm(alert.series, alert.period, one.at, now, alert.value, alert.reason)
            elif alert.identity in self._open:
                alarm = self._open.pop(alert.identity)
                self._closed.append(replace(alarm, cleared_at=one.at, cleared_told_at=now, ended_by=alert.reason))

    def alarms(self) -> list[Alarm]:
        """All of them, in the order in which they fired."""
        return sorted(
            [*self._closed, *self._open.values()], key=lambda one: (one.fired_at, str(one.series), one.period)
        )


def total_firing(alarms: Iterable[Alarm], start: datetime, end: datetime) -> timedelta:
    """How long at least one of them fired in `[start, end)`."""
    total, reached = timedelta(), start
    for one in sorted(alarms, key=lambda alarm: alarm.fired_at):
        begins, ends = max(one.fired_at, reached), min(one.cleared_at or end, end)
        if ends > begins:
            total += ends - begins
            reached = ends
    return total


@dataclass(frozen=True, slots=True)
class Met:
    """An incident, and the alarm that told of it first; None: it was missed."""

    incident: Incident
    alarm: Alarm | None

    @property
    def delay(self) -> timedelta | None:
        """From its begin to the moment people were told; 0 where an alarm fired already when it began."""
        return None if self.alarm is None else max(self.alarm.told_at - self.incident.start, timedelta())


@dataclass(frozen=True, slots=True)
class Score:
    """How alarms and incidents meet."""

    incidents: tuple[Met, ...]
    false_alarms: tuple[Alarm, ...]
    alarms: int

    @property
    def detected(self) -> int:
        """So many incidents were told of."""
        return sum(one.alarm is not None for one in self.incidents)

    @property
    def recall(self) -> float | None:
        """The share of incidents that were told of; None without any."""
        return self.detected / len(self.incidents) if self.incidents else None

    @property
    def precision(self) -> float | None:
        """The share of alarms that told of an incident; None without any."""
        return (self.alarms - len(self.false_alarms)) / self.alarms if self.alarms else None


def score(alarms: Sequence[Alarm], incidents: Sequence[Incident], *, grace: timedelta) -> Score:
    """Match alarms with incidents.

    An alarm tells of an incident when it fires while the incident lasts or has fired before and still does, or when
    people are told at most `grace` after its end: a window has to end, and to be complete, before it is judged.
    """
    told = {at: [one for one in alarms if _tells(one, incident, grace)] for at, incident in enumerate(incidents)}
    met = [
        Met(incident, min(told[at], key=lambda one: one.told_at, default=None)) for at, incident in enumerate(incidents)
    ]
    useful = {id(one) for found in told.values() for one in found}
    return Score(tuple(met), tuple(one for one in alarms if id(one) not in useful), len(alarms))


def _tells(alarm: Alarm, incident: Incident, grace: timedelta) -> bool:
    labels = dict(alarm.series)
    if any(labels.get(name, value) != value for name, value in incident.series.items()):
        return False
    still = alarm.cleared_told_at is None or alarm.cleared_told_at > incident.start
    return still and alarm.told_at <= incident.end + grace


def per_week(count: int, start: datetime, end: datetime) -> float:
    """So many a week."""
    return count / ((end - start) / _WEEK)
