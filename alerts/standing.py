"""What a channel that forgets, as Alertmanager does, is told again and again: what fires, and for a while what ended.

Pure. An alert is its labels there: what fires on under other labels is another one, and the old one has to end.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from onpace.alerts.notifications import Notification

__all__ = ["RETAINED", "Ends", "Told"]

RETAINED = timedelta(minutes=15)
"""How long an end is told again, as Prometheus does: a receiver that was killed meanwhile has forgotten it, and one
whose clock is behind took it for a time to come and keeps the alert."""

_Who = frozenset[tuple[str, str]]


class Told:
    """What one channel was last told to fire, by labels."""

    def __init__(self, firing: Iterable[Notification] = ()) -> None:
        self._firing: dict[_Who, Notification] = {}
        self.take(firing)

    def take(self, notifications: Iterable[Notification]) -> None:
        """These were told."""
        for one in notifications:
            if one.state == "firing":
                self._firing.setdefault(_who(one), one)
            else:
                self._firing.pop(_who(one), None)

    def dated(self, one: Notification) -> Notification:
        """The same, starting when the channel was first told of it.

        Alertmanager waits for more of a group only while its first alert is new, and W lies behind; `since` has that.
        """
        return replace(one, starts_at=self._firing.get(_who(one), one).created_at)

    def vanished(self, firing: Iterable[Notification], now: datetime) -> list[Notification]:
        """The ends of what was told to fire and is not among `firing`, which is all that fires for this channel."""
        still = {_who(one) for one in firing}
        return [_ended(one, now) for who, one in self._firing.items() if who not in still]


class Ends:
    """What ended lately, by labels."""

    def __init__(self) -> None:
        self._over: dict[_Who, tuple[Notification, datetime]] = {}

    def __bool__(self) -> bool:
        return bool(self._over)

    def delivered(self, notifications: Sequence[Notification], now: datetime) -> None:
        """These have arrived. What fires again has not ended."""
        for one in notifications:
            if one.state == "firing":
                self._over.pop(_who(one), None)
            else:
                self._over[_who(one)] = (one, now)

    def lately(self, now: datetime) -> list[Notification]:
        """The ends that are told once more; older ones are forgotten."""
        self._over = {who: (one, told) for who, (one, told) in self._over.items() if now - told < RETAINED}
        return [one for one, _ in self._over.values()]


def _who(one: Notification) -> _Who:
    return frozenset(one.labels.items())


def _ended(one: Notification, now: datetime) -> Notification:
    key = hashlib.sha256(f"{one.key}\x1fvanished".encode()).hexdigest()[:32]
    summary = f"{one.annotations.get('summary', '')} (no longer told here: its rule, labels or channels have changed)"
    annotations = dict(one.annotations) | {"summary": summary, "description": f"{summary}."}
    return replace(one, key=key, state="resolved", annotations=annotations, ends_at=now, created_at=now)
