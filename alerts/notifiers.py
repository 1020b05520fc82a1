"""Delivers notifications: each channel has its own queue and thread, so a dead one never holds up another.

What could not be delivered is tried again with growing pauses, and waits in the outbox over a restart.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

import structlog

from onpace.alerts.delivery import DeliveryFailed
from onpace.alerts.history import Outbox
from onpace.alerts.metrics import EngineMetrics, Outcome
from onpace.alerts.notifications import Notification
from onpace.alerts.senders import Sender
from onpace.alerts.standing import Ends, Told
from onpace.config.errors import OnPaceError

__all__ = ["PAUSES", "Dispatcher"]

log = structlog.get_logger(__name__)

PAUSES = (1.0, 2.0, 5.0, 15.0, 60.0)
"""Seconds between attempts; the last one repeats."""


@dataclass(frozen=True, slots=True)
class _Batch:
    """What to send at once. A kept one is in the outbox, and tried until it is settled; the others are tried once."""

    notifications: tuple[Notification, ...]
    kept: bool


class _Line:
    """One channel: its queue and the thread that empties it, in order."""

    def __init__(self, name: str, sender: Sender, dispatcher: Dispatcher) -> None:
        self.sender = sender
        self.told = Told()
        self.ends = Ends()
        self.queue: queue.Queue[_Batch | None] = queue.Queue()
        self.refreshed_at: datetime | None = None
        self._stopping = threading.Event()
        self._name = name
        self._dispatcher = dispatcher
        self.thread = threading.Thread(target=self._run, name=f"onpace-notify-{name}", daemon=True)

    def _run(self) -> None:
        while (batch := self.queue.get()) is not None and not self._stopping.is_set():
            outcome = self._attempt(batch)
            pauses = iter(self._dispatcher.pauses)
            pause = 0.0
            while batch.kept and outcome == "failed":
                pause = next(pauses, pause)
                if self._stopping.wait(pause):
                    return
                outcome = self._attempt(batch)
            if batch.kept and outcome != "failed":
                self._dispatcher.settle(batch.notifications, outcome)

    def end(self) -> None:
        """Stop after what is under way."""
        self._stopping.set()
        self.queue.put(None)

    def _attempt(self, batch: _Batch) -> Outcome:
        outcome: Outcome = "delivered"
        now = self._dispatcher.clock()
        again = () if batch.kept else self.ends.lately(now)
        try:
            self.sender.send([*batch.notifications, *again], now)
            if batch.kept and self.sender.forgets:
                self.ends.delivered(batch.notifications, now)
        except DeliveryFailed as exc:
            outcome = "rejected" if exc.final else "failed"
            log.warning("notification not delivered", channel=self._name, outcome=outcome, error=str(exc))
        except Exception as exc:  # whatever it is, the channel goes on; the text may hold a secret
            outcome = "failed"
            log.error("notification not delivered", channel=self._name, outcome=outcome, error=type(exc).__name__)
        self._dispatcher.count(self._name, outcome)
        return outcome


class Dispatcher:
    """The engine's Notifier: keeps messages in the outbox and hands each to its channel's thread."""

    def __init__(
        self,
        senders: Mapping[str, Sender],
        outbox: Outbox,
        *,
        clock: Callable[[], datetime],
        resend: timedelta,
        metrics: EngineMetrics | None = None,
        pauses: Sequence[float] = PAUSES,
    ) -> None:
        self.clock = clock
        self.pauses = tuple(pauses)
        self._outbox = outbox
        self._resend = resend
        self._metrics = metrics
        self._lines = {name: _Line(name, sender, self) for name, sender in senders.items()}
        self._taken: set[tuple[str, str]] = set()
        self._started = False
        self._handing_over = threading.Lock()
        """Held while messages go to the lines, so that none goes to one that another is taking the place of."""
        self._expect()

    def start(self) -> None:
        """Take up what the last run left in the outbox, and start delivering. Raises StoreUnavailable."""
        waiting = self._outbox.waiting()
        self._recall(self._lines)
        self._started = True
        for line in self._lines.values():
            line.thread.start()
        self._enqueue(waiting)

    def serve(self, senders: Mapping[str, Sender]) -> None:
        """Deliver through these from now on. What waits for the old ones goes to the new. Raises StoreUnavailable."""
        with self._handing_over:
            waiting = self._outbox.waiting() if self._started else []
            lines = {name: _Line(name, sender, self) for name, sender in senders.items()}
            if self._started:
                self._recall(lines)
            for line in self._lines.values():
                line.end()
            self._lines = lines
            self._expect()
            if self._started:
                for line in lines.values():
                    line.thread.start()
                self._enqueue(waiting)

    def submit(self, notifications: Sequence[Notification]) -> None:
        """Keep these, then deliver them. The same again is ignored, also what an engine that was killed has delivered.

        Raises StoreUnavailable, and then none is taken.
        """
        with self._handing_over:
            fresh = [one for one in notifications if (one.channel, one.key) not in self._taken]
            known = self._outbox.known([one.key for one in fresh])
            fresh = [one for one in fresh if not known.get((one.channel, one.key))]
            now = self.clock()
            fresh = [replace(one, created_at=now) for one in fresh]
            self._outbox.put(fresh)
            self._enqueue(fresh)

    def told(self, keys: Collection[str]) -> Collection[tuple[str, str]]:
        """Which messages of these keys were ever taken, by any engine: channel and key. Raises StoreUnavailable."""
        return self._outbox.known(keys).keys()

    def refresh(self, firing: Sequence[Notification], now: datetime) -> None:
        """Tell the channels that forget what still fires and what ended lately, every `resend`.

        One that is behind is let catch up first. `firing` is all that fires: what was told before and is not among it,
        for its labels or channels have changed, ends there. Raises StoreUnavailable.
        """
        for name, line in self._lines.items():
            if not line.sender.forgets:
                continue
            if line.refreshed_at is not None and now - line.refreshed_at < self._resend:
                continue
            first, line.refreshed_at = line.refreshed_at is None, now
            mine = tuple(line.told.dated(one) for one in firing if one.channel == name)
            if (mine or line.ends) and not first and line.queue.empty():
                line.queue.put(_Batch(mine, kept=False))
            self.submit(line.told.vanished(mine, now))

    def stop(self, timeout: float = 5.0) -> None:
        """Stop all threads; what is under way may take `timeout` seconds. What is left stays in the outbox."""
        for line in self._lines.values():
            line.end()
        for line in self._lines.values():
            if line.thread.is_alive():
                line.thread.join(timeout)

    def settle(self, notifications: Sequence[Notification], outcome: Literal["delivered", "rejected"]) -> None:
        """Take these out of the outbox."""
        try:
            for one in notifications:
                self._outbox.settle(one, outcome, self.clock())
        except OnPaceError as exc:  # it is sent again after a restart, which its key makes harmless
            log.warning("notification delivered but not recorded", error=str(exc))

    def count(self, channel: str, outcome: Outcome) -> None:
        """Count one attempt."""
        if self._metrics:
            self._metrics.notifications.labels(channel, outcome).inc()

    def _expect(self) -> None:
        if self._metrics:
            self._metrics.expect(self._lines)

    def _recall(self, lines: Mapping[str, _Line]) -> None:
        """What channels that forget were told before this process began."""
        for name, line in lines.items():
            if line.sender.forgets:
                line.told = Told(self._outbox.firing(name))

    def _enqueue(self, notifications: Sequence[Notification]) -> None:
        for one in notifications:
            self._taken.add((one.channel, one.key))
            if line := self._lines.get(one.channel):
                dated = line.told.dated(one) if line.sender.forgets else one
                line.told.take([one])
                line.queue.put(_Batch((dated,), kept=True))
            else:
                log.warning("notification for a channel that is gone", channel=one.channel, key=one.key)
                self.settle([one], "rejected")
