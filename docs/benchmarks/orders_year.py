"""A year of orders that can be told again from their numbers: what load.py sends, and what it counts afterwards."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

REGIONS, CHANNELS = 100, 1000
SERIES = REGIONS * CHANNELS
YEAR = 365 * 86_400
DISORDER = 2 * 86_400
"""Seconds by which an order may come later than the order numbers say."""
LATE = 2_000
"""One order in so many belongs anywhere into the year before it (1: all of them)."""

_rng = random.Random(11)
_CENTS = [_rng.randrange(100, 20_000) for _ in range(9_973)]
_SECONDS = [round(_rng.expovariate(1 / 40), 3) for _ in range(7_919)]
_BEHIND = [_rng.randrange(DISORDER) if _rng.random() < 0.1 else _rng.randrange(600) for _ in range(65_537)]
_CLOCK = [f"{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}Z" for second in range(86_400)]


class Orders:
    """`ids` orders over the year before `end`, sent as `events` events: each id once as a new one, the rest again.

    `recent`: only one of the so many newest ids is sent again; any by default.
    """

    def __init__(self, ids: int, events: int, end: datetime, late: int = LATE, recent: int | None = None) -> None:
        self.ids, self.events, self._late, self._recent = ids, events, late, recent or ids
        self._last_day = end.replace(hour=0, minute=0, second=0, microsecond=0)
        self._first_day = self._last_day - timedelta(days=366)
        self._days = [f"{self._first_day + timedelta(days=day):%Y-%m-%dT}" for day in range(367)]

    def second(self, number: int) -> int:
        """Event time of an order, in seconds since the first day began."""
        at = 86_400 + number * YEAR // self.ids
        if number % self._late == self._late - 1:
            return number * 7_919_113 % (86_400 + YEAR if self._late == 1 else at)
        return max(0, at - _BEHIND[number % 65_537])

    def day(self, number: int) -> datetime:
        """The day of an order."""
        return self._first_day + timedelta(days=self.second(number) // 86_400)

    def region(self, number: int) -> int:
        """The region of an order; it and the channel meet in every combination."""
        return number % SERIES // CHANNELS

    def cents(self, number: int) -> int:
        """The amount of an order."""
        return _CENTS[number % 9_973]

    def key(self, number: int) -> bytes:
        """The customer."""
        return b"u%d" % (number * 31 % 49_999)

    def line(self, number: int) -> bytes:
        """The event on the wire."""
        second = self.second(number)
        cents = self.cents(number)
        return (
            f'{{"specversion":"1.0","id":"order-{number}","source":"/load","type":"order.placed",'
            f'"time":"{self._days[second // 86_400]}{_CLOCK[second % 86_400]}",'
            f'"data":{{"user_id":"u{number * 31 % 49_999}","amount":{cents // 100}.{cents % 100:02},'
            f'"seconds":{_SECONDS[number % 7_919]},'
            f'"region":"r{self.region(number)}","channel":"c{number % CHANNELS}"}}}}'
        ).encode()

    def sent(self, seed: int = 7) -> Iterator[int]:
        """The numbers in the order in which they are sent: new ones evenly spread, between them some sent before."""
        rng, new = random.Random(seed).random, 0
        for position in range(self.events):
            if position * self.ids // self.events >= new:
                yield new
                new += 1
            else:
                yield new - 1 - int(rng() * min(new, self._recent))


def today() -> datetime:
    """Now, in UTC."""
    return datetime.now(UTC)
