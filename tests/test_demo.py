"""The simulated shop: its events are valid, repeatable and at the pace of the clock."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from onpace.deploy.demo import backfill_start, run_shop, shop_events
from onpace.ingest.event import Event

MIDNIGHT = datetime(2026, 11, 20, tzinfo=UTC)
HOUR = timedelta(hours=1)


def until(end: datetime, start: datetime = MIDNIGHT) -> list[tuple[datetime, Event]]:
    """What the shop sends before `end`."""
    return list(itertools.takewhile(lambda sent: sent[0] < end, shop_events(start)))


def test_the_same_day_is_the_same_events_whenever_the_shop_was_started() -> None:
    """A restart repeats ids with the same content: duplicates, not more sales."""
    next_day = MIDNIGHT + 24 * HOUR
    first = {event.id: event for _, event in until(next_day + HOUR)}
    again = {event.id: event for _, event in until(next_day + HOUR, next_day)}
    assert again
    assert all(first[name] == event for name, event in again.items())


def test_events_are_sent_in_order_and_never_before_they_happen() -> None:
    """A few late, a few twice."""
    sent = until(MIDNIGHT + 4 * HOUR)
    assert [due for due, _ in sent] == sorted(due for due, _ in sent)
    assert all(event.time <= due for due, event in sent)
    repeats = len(sent) - len({event.id for _, event in sent})
    assert 0 < repeats < 0.05 * len(sent)
    assert any(due - event.time > timedelta(seconds=30) for due, event in sent)


def test_about_five_checkouts_in_eight_become_orders() -> None:
    """With every type of event among them, and every order paid exactly once."""
    events = {event.id: event for _, event in until(MIDNIGHT + 6 * HOUR)}.values()
    counts = Counter(event.type for event in events)
    assert set(counts) == {"checkout.started", "order.placed", "order.refunded", "stock.counted"}
    assert 0.5 < counts["order.placed"] / counts["checkout.started"] < 0.7
    orders = [json.loads(event.data)["order_id"] for event in events if event.type == "order.placed"]
    assert len(orders) == len(set(orders))


@pytest.mark.parametrize(
    ("now", "start"),
    [
        ("2026-11-20T15:30:00", "2026-11-20"),
        ("2026-11-20T01:30:00", "2026-11-19"),
        ("2026-11-20T02:00:00", "2026-11-20"),
    ],
)
def test_history_begins_at_a_midnight_at_least_two_hours_back(now: str, start: str) -> None:
    """So that the targets of the day mean something at once."""
    assert backfill_start(datetime.fromisoformat(now + "Z")) == datetime.fromisoformat(start + "T00:00:00Z")


def test_the_shop_sends_its_past_at_once_and_then_follows_the_clock() -> None:
    """Nothing is sent before it is due, and nothing that is due stays behind."""
    now = MIDNIGHT + 3 * HOUR
    sent: list[Event] = []
    pauses: list[tuple[datetime, int]] = []

    async def send(batch: Sequence[Event]) -> None:
        assert len(batch) <= 1_000
        sent.extend(batch)

    async def pause() -> None:
        nonlocal now
        pauses.append((now, len(sent)))
        now += timedelta(minutes=1)
        if len(pauses) == 5:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(run_shop(send, lambda: now, pause=pause))
    assert [count for _, count in pauses] == [len(until(moment + timedelta(microseconds=1))) for moment, _ in pauses]
    assert pauses[0][1] > 5_000
