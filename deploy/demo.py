"""A simulated web shop: the live input of `onpace up`. Never real data, and the same for the same seed."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import json
import math
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from onpace.ingest.event import Event

__all__ = ["KPIS", "Shop", "backfill_start", "run_shop", "shop_events"]

KPIS = Path(__file__).parent / "shop"
"""The shop's KPI files."""

SOURCE = "/demo/shop"
CONVERSION = {"EU": 0.66, "US": 0.62, "APAC": 0.52, "test": 1.0}
REGIONS, SHARES = ("EU", "US", "APAC", "test"), (0.52, 0.30, 0.17, 0.01)
CUSTOMERS = 5_000
DUPLICATE_SHARE = 0.01
OFFLINE_SHARE = 0.01
BATCH_EVENTS = 1_000
OPENING_STOCK = 9_000

Send = Callable[[Sequence[Event]], Awaitable[object]]


def backfill_start(now: datetime, at_least: timedelta = timedelta(hours=2)) -> datetime:
    """Where the shop's history begins: the midnight (UTC) before `now - at_least`, as targets need whole days."""
    return (now - at_least).astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def visitors(at: datetime) -> float:
    """How busy the shop is at an instant, as a multiple of its mean: evenings and weekends are busier."""
    hour = at.hour + at.minute / 60
    return (1 + 0.25 * math.cos(math.tau * (hour - 19) / 24)) * (1.1 if at.weekday() >= 5 else 0.96)


def conversion(region: str, at: datetime) -> float:
    """The chance that a checkout becomes an order; it drifts by 4 points over some hours."""
    return CONVERSION[region] + (0.0 if region == "test" else 0.04 * math.sin(at.timestamp() / 5_000))


@dataclass(slots=True)
class Shop:
    """The shop's own memory. Pure: a day (UTC) is always the same, so a restart repeats ids, not sales."""

    seed: int
    day: str = ""
    rng: Random = field(default_factory=Random)
    number: int = 0
    stock: int = OPENING_STOCK
    pending: list[tuple[datetime, int, Event]] = field(default_factory=list)
    """Heap of what is to be sent, by the time of sending, then in order of making."""
    made: Iterator[int] = field(default_factory=itertools.count)

    def open(self, at: datetime) -> None:
        """Begin the day that `at` is in, unless it has begun."""
        day = f"{at:%Y%m%d}"
        if day != self.day:
            self.day, self.rng, self.number, self.stock = day, Random(f"{self.seed}/{day}"), 0, OPENING_STOCK

    def emit(self, kind: str, at: datetime, data: dict[str, Any], subject: str) -> None:
        """Queue one event; a few come twice, and a few late because a phone was offline."""
        self.number += 1
        body = json.dumps(data, separators=(",", ":")).encode()
        name = f"{self.seed}-{self.day}-{self.number}"
        event = Event(id=name, source=SOURCE, type=kind, time=at, data=body, subject=subject)
        sent = at
        if data.get("channel") == "app" and self.rng.random() < OFFLINE_SHARE:
            sent += timedelta(seconds=self.rng.uniform(30, 600))
        heapq.heappush(self.pending, (sent, next(self.made), event))
        if self.rng.random() < DUPLICATE_SHARE:
            again = sent + timedelta(seconds=self.rng.expovariate(1 / 60))
            heapq.heappush(self.pending, (again, next(self.made), event))

    def visit(self, at: datetime) -> None:
        """One checkout, the order it may lead to, and the refund that may follow."""
        rng = self.rng
        user = f"u{int(CUSTOMERS * rng.random() ** 1.5)}"
        where = {"region": rng.choices(REGIONS, SHARES)[0], "channel": "app" if rng.random() < 0.4 else "web"}
        number = f"{self.day}-{self.number}"
        self.emit("checkout.started", at, {"checkout_id": f"c{number}", "user_id": user, **where}, user)
        if rng.random() >= conversion(where["region"], at):
            return
        paid = at + timedelta(seconds=rng.uniform(20, 300))
        items = 1 + min(int(rng.expovariate(0.7)), 9)
        amount = round(rng.lognormvariate(3.05, 0.45) * (1 + 0.55 * items), 2)
        order = {"order_id": f"o{number}", "amount": amount, **where}
        self.stock -= items
        self.emit("order.placed", paid, {**order, "user_id": user, "items": items}, user)
        if rng.random() < 0.028:
            back = paid + timedelta(seconds=rng.uniform(600, 7_200))
            self.emit("order.refunded", back, order, user)

    def count_stock(self, at: datetime) -> None:
        """Count the warehouse; a delivery comes when it has become empty."""
        if self.stock < 4_500:
            self.stock += 7_000
        self.emit("stock.counted", at, {"units": self.stock}, "warehouse")


def shop_events(start: datetime, *, rate: float = 0.5, seed: int = 7) -> Iterator[tuple[datetime, Event]]:
    """The shop's events from `start` (a midnight, UTC) on, without end: (when to send, event), in the order of sending.

    `rate` is the mean number of checkouts a second. Pure: the same arguments give the same events.
    """
    shop = Shop(seed)
    at, count_at = start, start
    while True:
        shop.open(at)
        while count_at <= at:
            shop.count_stock(count_at)
            count_at += timedelta(minutes=1)
        shop.visit(at)
        while shop.pending and shop.pending[0][0] <= at:
            sent, _, event = heapq.heappop(shop.pending)
            yield sent, event
        at = _next_visit(shop.rng, at, rate)


def _next_visit(rng: Random, at: datetime, rate: float) -> datetime:
    """When the next visitor comes; every day begins with one at midnight, so that days do not depend on each other."""
    midnight = at.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    return min(at + timedelta(seconds=rng.expovariate(rate * visitors(at))), midnight)


async def _half_a_second() -> None:
    await asyncio.sleep(0.5)


async def run_shop(
    send: Send,
    clock: Callable[[], datetime],
    *,
    rate: float = 0.5,
    pause: Callable[[], Awaitable[None]] = _half_a_second,
) -> None:
    """Send the day so far at once, then go on at the pace of `clock`, until cancelled.

    `send` takes batches of events and returns once they are accepted; what it raises ends the shop.
    """
    stream = shop_events(backfill_start(clock()), rate=rate)
    due, event = next(stream)
    while True:
        now = clock()
        batch: list[Event] = []
        while due <= now and len(batch) < BATCH_EVENTS:
            batch.append(event)
            due, event = next(stream)
        if batch:
            await send(batch)
        if due > now:
            await pause()
