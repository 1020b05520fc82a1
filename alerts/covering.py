"""One message per KPI and period: which alerts are told, and which are only recorded, for another covers them. Pure.

While an alert about a KPI's period is told and fires, another one about the same KPI and period says nothing new: it is
evidence, and told once it is covered no more and still fires. That is for direct channels: Alertmanager gets all of
them, for there people choose what is grouped and inhibited.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from onpace.alerts.states import Alert

__all__ = ["covering", "in_order"]

SEVERITIES = ("info", "ticket", "page")
KINDS = ("pace", "attainment", "forecast")
"""Of two that are found at once, the first is told."""


def in_order(alerts: Iterable[Alert], kinds: Mapping[str, str]) -> list[Alert]:
    """By severity, the total before its parts, and by the kind of its rule (`kinds`)."""

    def place(alert: Alert) -> tuple[int, int, int]:
        kind = kinds.get(alert.rule, "")
        rank = KINDS.index(kind) if kind in KINDS else len(KINDS)
        return -SEVERITIES.index(alert.severity), len(alert.series), rank

    return sorted(alerts, key=place)


def covering(alert: Alert, others: Iterable[Alert], direct: Callable[[Alert], frozenset[str]]) -> Alert | None:
    """Another alert that people were told of, that fires and that covers this one: about the same KPI and period, and
    the same series or the total; at least as severe, and on all `direct` channels that would tell of this one."""
    if not alert.period or alert.state != "firing":
        return None
    found = (
        other
        for other in others
        if other.state == "firing"
        and other.heard == "firing"
        and other.identity != alert.identity
        and (other.kpi, other.period) == (alert.kpi, alert.period)
        and other.series in (alert.series, ())
        and SEVERITIES.index(other.severity) >= SEVERITIES.index(alert.severity)
        and direct(alert) <= direct(other)
    )
    return next(found, None)
