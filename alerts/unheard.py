"""Which alerts fire and are not told to people for now, and why. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from onpace.alerts.states import Alert
from onpace.alerts.telling import held_back
from onpace.alerts.why import Place
from onpace.config.catalog import Catalog
from onpace.config.rules import WindowRule

__all__ = ["unheard"]


def unheard(catalog: Catalog, alerts: Sequence[Alert], rule: str) -> dict[Place, str]:
    """The rule's alerts that fire and are held back, each with the reason; `alerts` are all that are known."""
    return {(alert.series, alert.period): words for alert, words in _held(catalog, alerts, rule)}


def _held(catalog: Catalog, alerts: Sequence[Alert], name: str) -> Iterator[tuple[Alert, str]]:
    rule = catalog.rules.get(name)
    beyond = held_back(catalog, alerts, lambda _: True) if isinstance(rule, WindowRule) else frozenset()
    for alert in alerts:
        if alert.rule != name or alert.state != "firing":
            continue
        if alert.notified == "covered":
            yield alert, f"{_speaker(alert, alerts)} speaks for it: one message per KPI and period"
        elif isinstance(rule, WindowRule) and alert.identity in beyond:
            yield alert, f"people are told of {rule.max_alerts} series of the rule, the worst (max_alerts)"


def _speaker(alert: Alert, alerts: Sequence[Alert]) -> str:
    """The alert that is told in its place."""
    about = (alert.kpi, alert.period)
    found = [
        other.rule
        for other in alerts
        if (other.kpi, other.period) == about and other.state == "firing" and other.notified == "firing"
    ]
    return f"'{found[0]}'" if found else "another alert"
