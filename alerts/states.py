"""The life of one alert. Pure.

inactive   the condition does not hold
pending    it holds, but not yet for as long as the rule asks
firing     it has held for that long
resolved   it fired, and then the condition ended
met        it was about a target in a period, which ended, and the target was reached
missed     the same, and it was not
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from onpace.alerts.status import Labels

__all__ = [
    "GONE",
    "Alert",
    "AlertId",
    "AlertState",
    "Notified",
    "Outcome",
    "concluded",
    "is_news",
    "step",
    "told",
    "untold",
]

GONE = "its rule, KPI or target is gone from the KPI files"
Outcome = Literal["met", "missed"]
AlertState = Literal["inactive", "pending", "firing", "resolved", "met", "missed"]
Notified = Literal["", "firing", "resolved", "met", "missed"]
"""The last state that was told; '' is none."""
AlertId = tuple[str, str, Labels, str]


@dataclass(frozen=True, slots=True)
class Alert:
    """One rule on one KPI, series and period. A new period is another alert, so it cannot hide the old one."""

    rule: str
    kpi: str
    series: Labels = ()
    period: str = ""
    """The period of a pace, attainment or forecast alert; '' for the rest."""
    severity: str = "ticket"
    state: AlertState = "inactive"
    active_since: datetime | None = None
    fired_at: datetime | None = None
    resolved_at: datetime | None = None
    value: float | None = None
    reason: str = ""
    evaluated_to: datetime | None = None
    """The end of the last window, or the W, that was looked at."""
    good_since: datetime | None = None
    """When the condition of an alert that still fires was first found to have ended."""
    notified: Notified = ""
    """The last state that Alertmanagers were told about, for which there is no silence here."""
    heard: Notified = ""
    """The last state that direct channels were told about, or would have been but for an acknowledgement."""
    heard_fired_at: datetime | None = None
    """When the firing began that direct channels heard of, until they hear of its end: it may fire anew by then."""
    held_by: str = ""
    """The silence that holds its message back."""
    held_words: str = ""
    """Whose silence that is, and why: the silence itself may be gone when that is to be said."""
    gap: float | None = None
    """How far the value of an active alert of a window is beyond what it should be, in the KPI's unit."""
    prior: Labels = ()
    """What it was before the newest window that changed its state, as text (see `onpace.alerts.corrections`)."""
    corrections: int = 0
    """How often late events changed its state after the fact."""
    spec: str = ""
    """What its rule and KPI were when it went through its last window."""

    @property
    def identity(self) -> AlertId:
        """What makes it this alert and no other."""
        return self.rule, self.kpi, self.series, self.period

    @property
    def active(self) -> bool:
        """Whether it is pending or firing."""
        return self.state in ("pending", "firing")


def is_news(alert: Alert, before: Alert | None) -> bool:
    """Whether it is to be stored. Of thousands of series nothing is kept until something happens to them."""
    if before is None:
        return alert.state != "inactive" or alert.evaluated_to is not None
    return alert is not before and alert != before


def step(
    alert: Alert, *, breached: bool | None, hold: timedelta, now: datetime, keep: timedelta = timedelta()
) -> Alert:
    """The alert after one evaluation at `now`; `alert` itself when nothing changed. None means no data.

    It fires once the condition has held for `hold`, and ends once it has been over for `keep`.
    """
    if breached is None:
        return alert
    if not breached:
        return _good(alert, keep, now)
    if alert.state == "firing":
        return replace(alert, good_since=None) if alert.good_since else alert
    if alert.state != "pending":
        alert = replace(alert, state="pending", active_since=now, fired_at=None, resolved_at=None)
    if alert.active_since is not None and now - alert.active_since >= hold:
        return replace(alert, state="firing", fired_at=now)
    return alert


def _good(alert: Alert, keep: timedelta, now: datetime) -> Alert:
    if alert.state == "firing":
        since = alert.good_since or now
        if now - since >= keep:
            return replace(alert, state="resolved", resolved_at=now, good_since=None)
        return alert if alert.good_since else replace(alert, good_since=now)
    return replace(alert, state="inactive", active_since=None) if alert.state == "pending" else alert


def concluded(
    alert: Alert, outcome: Outcome, *, value: float | None, reason: str, ended: datetime, now: datetime
) -> Alert:
    """The alert once its period, which `ended`, has its final figure; `now` is when late events turned it."""
    if alert.state == outcome:
        return replace(alert, value=value, reason=reason)
    moment = now if alert.state in ("met", "missed") else ended
    return replace(alert, state=outcome, resolved_at=moment, good_since=None, value=value, reason=reason)


def untold(alert: Alert) -> bool:
    """Whether people do not know yet that it fires, or has ended, or that an outcome they were told of has turned."""
    if alert.state == "firing" or alert.notified == "firing":
        return alert.notified != alert.state
    return {alert.state, alert.notified} == {"met", "missed"}


def told(alert: Alert) -> Alert:
    """The alert once people know."""
    match alert.state:
        case "firing" | "met" | "missed":
            return replace(alert, notified=alert.state)
        case _:
            return replace(alert, notified="resolved")
