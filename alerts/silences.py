"""What silences and acknowledgements hold back, and what is said once they end. Pure.

Both are for direct channels only: an Alertmanager is told of everything, and silences by itself. Alerts go through
their states as always. What fires while a silence matches it is told when none does any more, if it still fires then;
what was told and ends meanwhile is told to have ended, then as well. (Alertmanager never says that; a PagerDuty
incident that it had opened would stay open.) An acknowledgement is for one firing of one alert: nothing more is said of
it until it ends.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Literal

from onpace.alerts.states import Alert, AlertId, told, untold
from onpace.alerts.status import Labels
from onpace.config.silences import Silence

__all__ = ["Acknowledgement", "Quiet", "Telling", "moment_words", "settled", "unsettled"]


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """Somebody knows of one firing of one alert; the next firing is another."""

    rule: str
    kpi: str
    series: Labels
    period: str
    fired_at: datetime
    by: str
    why: str
    at: datetime

    @property
    def key(self) -> tuple[AlertId, datetime]:
        """The firing that it is about."""
        return (self.rule, self.kpi, self.series, self.period), self.fired_at


@dataclass(frozen=True, slots=True)
class Telling:
    """Who is told now of where an alert stands."""

    alert: Alert
    """The alert, with what people have been told by then."""
    managers: bool
    """Whether Alertmanagers are told."""
    people: bool
    """Whether direct channels are."""
    note: str = ""
    """What is added to that."""


@dataclass(frozen=True, slots=True)
class Quiet:
    """The silences and acknowledgements that count at `now`."""

    now: datetime | None = None
    silences: tuple[Silence, ...] = ()
    """Those that hold or are yet to begin, and those that held an alert back until just now."""
    acknowledged: Mapping[tuple[AlertId, datetime], Acknowledgement] = field(default_factory=dict)

    @classmethod
    def at(cls, now: datetime, silences: Iterable[Silence], acknowledgements: Iterable[Acknowledgement]) -> Quiet:
        """All that is known at `now`; of several acknowledgements of one firing the latest counts."""
        ordered = sorted(acknowledgements, key=lambda one: one.at)
        return cls(now, tuple(silences), {one.key: one for one in ordered})

    def active(self) -> list[Silence]:
        """The silences that hold now."""
        return self._in("active")

    def pending(self) -> list[Silence]:
        """Those that are yet to begin."""
        return self._in("pending")

    def _in(self, state: Literal["active", "pending"]) -> list[Silence]:
        return [one for one in self.silences if self.now is not None and one.state(self.now) == state]

    def silencing(self, alert: Alert) -> Silence | None:
        """The silence that holds its messages back; of several the one that lasts longest."""
        held = [one for one in self.active() if _matches(one, alert)]
        return max(held, key=lambda one: (one.until, one.id), default=None)

    def acknowledgement(self, alert: Alert) -> Acknowledgement | None:
        """Who knows of this firing, be it over or not."""
        return self.acknowledged.get((alert.identity, alert.fired_at)) if alert.fired_at else None

    def reason(self, alert: Alert) -> Literal["", "silenced", "acknowledged"]:
        """What keeps it quiet, were there anything to say of it now."""
        if self.silencing(alert):
            return "silenced"
        return "acknowledged" if self.acknowledgement(alert) else ""

    def telling(self, alert: Alert, *, in_hours: bool, covered: bool = False, crowded: bool = False) -> Telling:
        """Who is told now. `in_hours`: within the rule's active hours, which hold back what fires and not what ends.
        `covered`: people were told of another alert in its place, of the same period or of worse series of the rule;
        `crowded`: Alertmanagers were told of as many series as they are to be."""
        fires = alert.state == "firing"
        allowed = in_hours or not fires
        managers = allowed and not crowded and untold(alert)
        if managers:
            alert = told(alert)
        for_people = replace(alert, notified="resolved" if self._fires_anew(alert) else alert.heard)
        if not untold(for_people):
            return Telling(_released(alert), managers, people=False)
        if silence := self.silencing(alert):
            return Telling(replace(alert, held_by=silence.id, held_words=silence.words), managers, people=False)
        if covered or not allowed:
            return Telling(alert, managers, people=False)
        known = self.acknowledgement(alert)
        notes = [self._ended(alert), f"acknowledged by {known.by}{_reason(known.why)}" if known else ""]
        return Telling(
            replace(
                _released(alert), heard=told(for_people).notified, heard_fired_at=alert.fired_at if fires else None
            ),
            managers,
            people=not (fires and known),
            note="; ".join(note for note in notes if note),
        )

    def _fires_anew(self, alert: Alert) -> bool:
        """Whether the firing that people heard of was acknowledged, and this is another one: its end was held back."""
        if alert.state != "firing" or alert.heard != "firing" or alert.heard_fired_at in (None, alert.fired_at):
            return False
        return (alert.identity, alert.heard_fired_at) in self.acknowledged

    def _ended(self, alert: Alert) -> str:
        """Why the silence that held it back does no longer, and what it held back."""
        if not alert.held_by:
            return ""
        since = alert.active_since if alert.state == "firing" else alert.resolved_at
        word = "firing since" if alert.state == "firing" else "resolved at" if alert.state == "resolved" else "ended at"
        held = f"; {word} {moment_words(since)}" if since else ""
        return f"silence by {alert.held_words} ended: {self._why(alert)}{held}"

    def _why(self, alert: Alert) -> str:
        silence = next((one for one in self.silences if one.id == alert.held_by), None)
        if silence is None or self.now is None:
            return "it is gone from the KPI files"
        match silence.state(self.now):
            case "ended":
                return f"ended by {silence.ended_by}"
            case "expired":
                return f"expired at {moment_words(silence.until)}"
            case _:
                return "it does not match the alert any more"


def settled(alert: Alert) -> bool:
    """Whether everybody knows where it stands, so that there is nothing to say of it."""
    again = alert.heard == "firing" and alert.heard_fired_at not in (None, alert.fired_at)
    return alert.notified == alert.heard and not again and not alert.held_by and not untold(alert)


def unsettled(alerts: Iterable[Alert]) -> tuple[Collection[str], datetime | None]:
    """What has to be looked up for these: the silences that held one back, and since when acknowledgements matter."""
    open_ = [alert for alert in alerts if alert.state == "firing" or alert.heard == "firing" or alert.held_by]
    fired = [at for alert in open_ for at in (alert.fired_at, alert.heard_fired_at) if at]
    return {alert.held_by for alert in open_ if alert.held_by}, min(fired, default=None)


def moment_words(at: datetime) -> str:
    """`2026-11-24 18:00 UTC`."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _matches(silence: Silence, alert: Alert) -> bool:
    return silence.matchers.hold(
        rule=alert.rule, kpi=alert.kpi, severity=alert.severity, period=alert.period, series=dict(alert.series)
    )


def _released(alert: Alert) -> Alert:
    return replace(alert, held_by="", held_words="") if alert.held_by else alert


def _reason(why: str) -> str:
    return f" ({why})" if why else ""
