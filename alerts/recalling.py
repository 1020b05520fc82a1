"""What an engine had told and did not come to keep that it had, for it was killed in between. Pure.

Without it, an alert that ends before the next engine's first look would end without a word to those who heard of it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from onpace.alerts.notifications import message_key
from onpace.alerts.silences import settled
from onpace.alerts.states import Alert, told

__all__ = ["ToldBefore", "channels_told", "recalled"]

ToldBefore = Callable[[Collection[str]], Collection[tuple[str, str]]]
"""Of these keys of messages, the channel and key of those that were ever handed over to be delivered."""

_NEVER = datetime.min.replace(tzinfo=UTC)


def recalled(
    alerts: Sequence[Alert],
    told_before: ToldBefore,
    *,
    channels: Callable[[Alert], Iterable[str]],
    is_manager: Callable[[str], bool],
) -> list[Alert]:
    """The alerts with what was told of the states that they are in. `is_manager`: of an Alertmanager's channel."""
    unsure = [alert for alert in alerts if not settled(alert)]
    keys = {
        (channel, message_key(alert, channel, _NEVER)): alert.identity
        for alert in unsure
        for channel in channels(alert)
    }
    if not keys:
        return list(alerts)
    found = [(keys[place], is_manager(place[0])) for place in told_before([key for _, key in keys]) if place in keys]
    managers, people = ({identity for identity, manager in found if manager == kind} for kind in (True, False))
    return [
        replace(
            alert,
            notified=told(alert).notified if alert.identity in managers else alert.notified,
            heard=told(alert).notified if alert.identity in people else alert.heard,
            heard_fired_at=_fired(alert) if alert.identity in people else alert.heard_fired_at,
        )
        for alert in alerts
    ]


def channels_told(alert: Alert, told_before: ToldBefore, channels: Iterable[str]) -> tuple[str, ...]:
    """Those of `channels` that were told that it fires: this time, or the last time that people heard of."""
    moments = {alert.fired_at, alert.heard_fired_at} - {None}
    fired = [
        replace(alert, state="firing", fired_at=at, corrections=count)
        for at in moments
        for count in range(alert.corrections + 1)
    ]
    keys = {(channel, message_key(one, channel, _NEVER)) for channel in channels for one in fired}
    return tuple(sorted(channel for channel, _ in keys & set(told_before([key for _, key in keys]))))


def _fired(alert: Alert) -> datetime | None:
    return alert.fired_at if alert.state == "firing" else None
