"""One message per KPI and period: which alerts are told, and which are only recorded, for another covers them. Pure.

While an alert about a KPI's period is told and fires, another one about the same KPI and period says nothing new: it is
evidence. Channels of type alertmanager get all of them, for there people choose what is grouped and inhibited.

| the alert   | and was told                  | is told now                                                |
|-------------|-------------------------------|------------------------------------------------------------|
| fires       | nobody                        | everybody; where it is covered, the managed channels alone |
| fires       | the managed channels alone    | the others, once it is covered no more                     |
| has ended   | somebody                      | the same                                                   |
| turned over | everybody                     | everybody                                                  |
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from onpace.alerts.states import Alert, Notified, told, untold

__all__ = ["Channels", "Told", "due", "heard_by", "in_order", "is_covered"]

SEVERITIES = ("info", "ticket", "page")
KINDS = ("pace", "attainment", "forecast")
"""Of two that are found at once, the first is told."""


@dataclass(frozen=True, slots=True)
class Channels:
    """Those of one alert: `managed` ones group and silence themselves (Alertmanager); `direct` ones reach people."""

    managed: tuple[str, ...] = ()
    direct: tuple[str, ...] = ()

    @classmethod
    def of(cls, names: Iterable[str], managed: Callable[[str], bool]) -> Channels:
        """The names, parted."""
        names = tuple(names)
        return cls(tuple(n for n in names if managed(n)), tuple(n for n in names if not managed(n)))

    @property
    def all(self) -> tuple[str, ...]:
        """Both."""
        return (*self.managed, *self.direct)


@dataclass(frozen=True, slots=True)
class Told:
    """Who is to be told now, and what the alert's `notified` is then."""

    channels: tuple[str, ...]
    notified: Notified


def in_order(alerts: Iterable[Alert], kinds: Mapping[str, str]) -> list[Alert]:
    """By severity, the total before its parts, and by the kind of its rule (`kinds`)."""

    def place(alert: Alert) -> tuple[int, int, int]:
        kind = kinds.get(alert.rule, "")
        rank = KINDS.index(kind) if kind in KINDS else len(KINDS)
        return -SEVERITIES.index(alert.severity), len(alert.series), rank

    return sorted(alerts, key=place)


def is_covered(alert: Alert, others: Iterable[Alert], channels: Callable[[Alert], Channels]) -> bool:
    """Whether another alert that is told and fires covers this one: one about the same KPI and period, and the same
    series or the total; at least as severe, and told to all who would hear of this one."""
    direct = set(channels(alert).direct)
    return bool(alert.period and direct) and any(
        other.state == "firing"
        and other.notified == "firing"
        and other.identity != alert.identity
        and (other.kpi, other.period) == (alert.kpi, alert.period)
        and other.series in (alert.series, ())
        and SEVERITIES.index(other.severity) >= SEVERITIES.index(alert.severity)
        and direct <= set(channels(other).direct)
        for other in others
    )


def due(alert: Alert, channels: Channels, *, covered: bool, may_notify: bool) -> Told | None:
    """Who is to be told of the alert as it is now; None when nobody is. `may_notify`: its active hours are on."""
    if alert.notified == "covered" and alert.state != "firing":
        return Told(channels.managed, "resolved")
    if not untold(alert) or (alert.state == "firing" and not may_notify):
        return None
    if alert.notified == "covered":
        return None if covered else Told(channels.direct, "firing")
    return Told(channels.managed, "covered") if covered else Told(channels.all, told(alert).notified)


def heard_by(alert: Alert, channels: Channels) -> tuple[str, ...]:
    """The channels that know that it fires."""
    known = {"firing": channels.all, "covered": channels.managed}
    return known.get(alert.notified, ()) if alert.state == "firing" else ()
