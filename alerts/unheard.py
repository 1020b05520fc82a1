"""Why people were not told of an alert that fires: it is silenced, or known, or another alert tells of it. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from onpace.alerts.covering import covering
from onpace.alerts.silences import Quiet, moment_words
from onpace.alerts.states import Alert
from onpace.alerts.telling import held_back
from onpace.alerts.why import Place
from onpace.config.catalog import Catalog
from onpace.config.rules import WindowRule

__all__ = ["unheard"]


def unheard(catalog: Catalog, quiet: Quiet, rule: str, alerts: Sequence[Alert]) -> dict[Place, str]:
    """Of each alert of the rule of which direct channels hear nothing, the reason; `alerts` are those of all rules."""
    held = held_back(catalog, alerts, lambda _: True)
    found: dict[Place, str] = {}
    for alert in alerts:
        if alert.rule == rule and (words := _reason(catalog, quiet, alert, alerts, capped=alert.identity in held)):
            found[alert.series, alert.period] = words
    return found


def _reason(catalog: Catalog, quiet: Quiet, alert: Alert, alerts: Sequence[Alert], *, capped: bool) -> str:
    if silence := quiet.silencing(alert):
        return f"silenced by {silence.words} until {moment_words(silence.until)}"
    if alert.state != "firing" or alert.heard == "firing":
        return ""
    if known := quiet.acknowledgement(alert):
        return f"acknowledged by {known.by}"
    rule = catalog.rules.get(alert.rule)
    if capped and isinstance(rule, WindowRule):
        return f"only the worst {rule.max_alerts} series of the rule are told (max_alerts)"
    other = covering(alert, alerts, lambda one: _direct(catalog, one))
    return f"{other.rule} tells of the same period" if other else ""


def _direct(catalog: Catalog, alert: Alert) -> frozenset[str]:
    rule, channels = catalog.rules.get(alert.rule), catalog.channels
    names: Sequence[str] = rule.notify if rule else ()
    return frozenset(name for name in names if name in channels and channels[name].type != "alertmanager")
