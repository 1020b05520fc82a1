"""The life of one alert. Pure.

inactive   the condition does not hold
pending    it holds, but not yet for as long as the rule asks
firing     it has held for that long
resolved   it fired, and then the condition ended
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from onpace.alerts.status import Labels

__all__ = ["Alert", "AlertId", "AlertState", "step"]

AlertState = Literal["inactive", "pending", "firing", "resolved"]
AlertId = tuple[str, str, Labels, str]


@dataclass(frozen=True, slots=True)
class Alert:
    """One rule on one KPI, series and period. A new period is another alert, so it cannot hide the old one."""

    rule: str
    kpi: str
    series: Labels = ()
    period: str = ""
    """The period of a pace alert; '' for the rest."""
    severity: str = "ticket"
    state: AlertState = "inactive"
    active_since: datetime | None = None
    fired_at: datetime | None = None
    resolved_at: datetime | None = None
    value: float | None = None
    reason: str = ""
    evaluated_to: datetime | None = None
    """The end of the last window, or the W, that was looked at."""
    notified: Literal["", "firing", "resolved"] = ""
    """The last state that people were told about."""

    @property
    def identity(self) -> AlertId:
        """What makes it this alert and no other."""
        return self.rule, self.kpi, self.series, self.period

    @property
    def active(self) -> bool:
        """Whether it is pending or firing."""
        return self.state in ("pending", "firing")


def step(alert: Alert, *, breached: bool | None, hold: timedelta, now: datetime) -> Alert:
    """The alert after one evaluation at `now`; `alert` itself when nothing changed. None means no data."""
    if breached is None:
        return alert
    if not breached:
        if alert.state == "firing":
            return replace(alert, state="resolved", resolved_at=now)
        return replace(alert, state="inactive", active_since=None) if alert.state == "pending" else alert
    if alert.state == "firing":
        return alert
    if alert.state != "pending":
        alert = replace(alert, state="pending", active_since=now, fired_at=None, resolved_at=None)
    if alert.active_since is not None and now - alert.active_since >= hold:
        return replace(alert, state="firing", fired_at=now)
    return alert
