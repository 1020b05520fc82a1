"""What a channel that forgets is told again: what fires, what ended lately, and what vanished from under its labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from alerts_fakes import MemoryHistory
from stacks import until
from test_notifiers import FIRING, NOW, Post, message

from onpace.alerts.notifications import Notification
from onpace.alerts.senders import postable_alerts
from onpace.alerts.standing import RETAINED

ENDED = replace(FIRING, state="resolved", resolved_at=NOW)
OTHER = replace(FIRING, severity="page")
"""The same alert under other labels."""


class Forgetful:
    """Keeps what it is told, by request."""

    forgets = True

    def __init__(self) -> None:
        self.told: list[list[tuple[str, str]]] = []
        self.starts: list[datetime] = []

    def send(self, notifications: Sequence[Notification], now: datetime) -> None:
        """One request."""
        self.starts += [datetime.fromisoformat(one["startsAt"]) for one in postable_alerts(notifications, now)]
        self.told.append([(one.labels["severity"], one.state) for one in notifications])


class Clock:
    """Moved by hand."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


class World:
    """A dispatcher with one such channel; it is looked at every minute."""

    def __init__(
        self, outbox: MemoryHistory | None = None, now: datetime = NOW, firing: Sequence[Notification] = ()
    ) -> None:
        self.sender, self.clock = Forgetful(), Clock(now)
        self.post = Post(outbox or MemoryHistory(), self.clock, am=self.sender)
        self.post.dispatcher.refresh(firing, now)  # the first one repeats nothing

    def tell(self, *notifications: Notification) -> None:
        """And wait until it has arrived."""
        self.post.dispatcher.submit(notifications)
        self.post.drain()

    def refresh(
        self, *firing: Notification, expected: int, after: timedelta = timedelta(minutes=1)
    ) -> list[tuple[str, str]]:
        """What is told when this is all that fires; so many messages are waited for."""
        before = len(self.sender.told)
        self.clock.now += after
        self.post.dispatcher.refresh(firing, self.clock.now)
        self.post.drain()
        until(lambda: sum(map(len, self.sender.told[before:])) >= expected, "it is told")
        self.post.dispatcher.stop()
        return [one for batch in self.sender.told[before:] for one in batch]


def test_an_end_is_told_again_for_a_while() -> None:
    """Alertmanager may have been killed before it told anybody, or have a clock that is behind."""
    world = World()
    world.tell(message("am"), message("am", ENDED))
    assert world.refresh(expected=1) == [("ticket", "resolved")]


def test_an_end_is_not_told_again_for_ever() -> None:
    """As long as Prometheus does."""
    world = World()
    world.tell(message("am"), message("am", ENDED))
    assert world.refresh(expected=0, after=RETAINED) == []


def test_what_fires_again_has_not_ended() -> None:
    """Only that it fires is told on."""
    world = World()
    again = replace(FIRING, fired_at=NOW + timedelta(seconds=1))
    world.tell(message("am"), message("am", ENDED), message("am", again))
    assert world.refresh(message("am", again), expected=1) == [("ticket", "firing")]


def test_what_fires_on_under_other_labels_ends_under_the_old_ones() -> None:
    """A new severity or owner would else leave an alert behind that nobody can end."""
    world = World()
    world.tell(message("am"))
    assert world.refresh(message("am", OTHER), expected=2) == [("page", "firing"), ("ticket", "resolved")]


def test_an_alert_starts_when_it_was_first_told_also_after_a_restart() -> None:
    """What it says of itself moves on, and the engine that took over was told nothing of it yet."""
    outbox = MemoryHistory()
    before = World(outbox)
    before.tell(message("am"))
    before.refresh(message("am"), expected=1)
    after = World(outbox, NOW + timedelta(hours=1), firing=[message("am")])
    after.refresh(replace(message("am"), created_at=after.clock.now), expected=1)
    assert {*before.sender.starts, *after.sender.starts} == {NOW}


def test_what_is_no_longer_for_a_channel_ends_there_also_after_a_restart() -> None:
    """Its rule left the KPI files while nothing ran."""
    outbox = MemoryHistory()
    before = World(outbox)
    before.tell(message("am"))
    before.post.dispatcher.stop()
    after = World(outbox, NOW + timedelta(hours=1))
    after.post.drain()
    assert after.sender.told == [[("ticket", "resolved")]]
    assert outbox.firing("am") == []
    [told] = [one for one, _ in outbox.box.values() if one.state == "resolved"]
    assert "its rule, labels or channels have changed" in told.annotations["summary"]


def test_an_end_is_when_it_was_and_never_to_come() -> None:
    """One second ahead of Alertmanager's clock it would be taken for a time to come, and the alert fire on."""
    early = replace(ENDED, resolved_at=NOW - timedelta(minutes=10))
    late = replace(ENDED, resolved_at=NOW + timedelta(minutes=10))
    told = postable_alerts([message("am", early), message("am", late)], NOW)
    ends = [datetime.fromisoformat(one["endsAt"]) for one in told]
    assert ends == [NOW - timedelta(minutes=10), NOW]
