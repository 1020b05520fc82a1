"""The newest window of an alert, judged again because late events changed it. Pure.

An alert remembers what it was before the newest window that changed its state. From there it takes the step anew. What
people were told is not taken back: an alert that should never have fired is resolved.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from onpace.alerts.states import Alert, step

__all__ = ["changed_in", "corrected", "remembering", "rewound", "same_state"]

_TIMES = ("active_since", "fired_at", "resolved_at", "good_since")


def remembering(after: Alert, before: Alert, end: datetime) -> Alert:
    """`after` the window that ends at `end`, knowing what it was before; itself where that changed no state."""
    if same_state(after, before):
        return after
    times = {name: _text(getattr(before, name)) for name in _TIMES}
    known = {
        "end": end.isoformat(),
        "state": before.state,
        **times,
        "value": _text(before.value),
        "reason": before.reason,
    }
    return replace(after, prior=tuple(known.items()))


def changed_in(alert: Alert, end: datetime) -> bool:
    """Whether the window that ends at `end` was the last one to change its state."""
    return bool(alert.prior) and alert.prior[0] == ("end", end.isoformat())


def rewound(alert: Alert, end: datetime) -> Alert:
    """The alert as it was before the window that ends at `end`, the newest one."""
    if not changed_in(alert, end):
        return alert
    prior: dict[str, Any] = dict(alert.prior)
    times: dict[str, Any] = {name: datetime.fromisoformat(text) if (text := prior[name]) else None for name in _TIMES}
    value = None if prior["value"] is None else float(prior["value"])
    return replace(alert, state=prior["state"], value=value, reason=prior["reason"], **times)


def corrected(alert: Alert, breached: bool | None, *, end: datetime, hold: timedelta, keep: timedelta) -> Alert:
    """The alert, had its newest window, that ends at `end`, been found like this; itself where that changes nothing."""
    before = rewound(alert, end)
    after = step(before, breached=breached, hold=hold, now=end, keep=keep)
    if not after.active and alert.active:
        after = step(alert, breached=False, hold=hold, now=end)
    if same_state(after, alert) or not (after.active or alert.active):
        return alert
    changed = replace(
        after,
        notified=alert.notified,
        heard=alert.heard,
        held_by=alert.held_by,
        held_words=alert.held_words,
        severity=alert.severity,
        evaluated_to=alert.evaluated_to,
    )
    return remembering(replace(changed, corrections=alert.corrections + 1), before, end)


def same_state(one: Alert, other: Alert) -> bool:
    """Whether they stand at the same point of the same life."""
    return one.state == other.state and all(getattr(one, name) == getattr(other, name) for name in _TIMES)


def _text(value: datetime | float | None) -> str | None:
    return None if value is None else value.isoformat() if isinstance(value, datetime) else repr(value)
