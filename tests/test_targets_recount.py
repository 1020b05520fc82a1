"""Growth targets through the real store and engine, against a recount of the events in plain Python."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from alerts_fakes import at
from processors_fakes import REGION, TOPIC, Sent, catalog_of, log_of, order, simple
from processors_world import drain, world
from test_targets import Silent

from onpace.alerts.engine import Engine
from onpace.alerts.history import ClickHouseHistory
from onpace.alerts.status import KpiStatus
from onpace.processors.clickhouse import ClickHouse
from onpace.processors.reader import Reader
from onpace.processors.views import refresh_views

BERLIN = ZoneInfo("Europe/Berlin")
FIRST, LAST = at("2025-01-01 00:30"), at("2026-04-20 12:00")
Days = tuple[date, date]
"""First day, and the day after the last."""


def month(day: date, back: int) -> Days:
    """The month so many before the one of a day."""
    number = day.year * 12 + day.month - 1 - back
    return date(number // 12, number % 12 + 1, 1), date((number + 1) // 12, (number + 1) % 12 + 1, 1)


def quarter(day: date, back: int) -> Days:
    """The quarter so many before the one of a day."""
    number = day.year * 4 + (day.month - 1) // 3 - back
    return date(number // 4, number % 4 * 3 + 1, 1), date((number + 1) // 4, (number + 1) % 4 * 3 + 1, 1)


def week(day: date, back: int) -> Days:
    """The week so many before the one of a day."""
    monday = day - timedelta(days=day.weekday(), weeks=back)
    return monday, monday + timedelta(days=7)


CASES: dict[str, tuple[dict[str, Any], Callable[[date], Days], Callable[[float], float]]] = {
    "month over the month before": (
        {"every": "month", "increase": "20%", "over": "previous"},
        lambda day: month(day, 1),
        lambda before: before + before * 20 / 100,
    ),
    "month over a year ago": (
        {"every": "month", "increase": 150.5, "over": "year_ago"},
        lambda day: month(day, 12),
        lambda before: before + 150.5,
    ),
    "week over 52 weeks ago": (
        {"every": "week", "increase": "-12.5%", "over": "year_ago"},
        lambda day: week(day, 52),
        lambda before: before - before * 12.5 / 100,
    ),
    "quarter over the quarter before": (
        {"every": "quarter", "increase": "1%", "over": "previous"},
        lambda day: quarter(day, 1),
        lambda before: before + before / 100,
    ),
    "day over the day before": (
        {"every": "day", "increase": 10, "over": "previous"},
        lambda day: (day - timedelta(days=1), day),
        lambda before: before + 10,
    ),
    "month over a year ago, in the EU": (
        {"every": "month", "increase": "20%", "over": "year_ago", "by": {"region": "EU"}},
        lambda day: month(day, 12),
        lambda before: before + before * 20 / 100,
    ),
}


def shop(seed: int) -> list[Sent]:
    """Some orders a day over sixteen months, with days without any."""
    rng = random.Random(seed)
    found = [order("first", FIRST, region="EU", amount=10)]
    for number in range(1500):
        time = FIRST + timedelta(seconds=rng.randint(0, int((LAST - FIRST).total_seconds())))
        found.append(order(str(number), time, region=rng.choice(["EU", "US"]), amount=rng.randint(100, 20_000) / 100))
    return found


def total(sent: list[Sent], days: Days, region: str | None) -> float:
    """In cents, then in euros: nothing is rounded on the way."""
    begin, end = (datetime.combine(day, datetime.min.time(), BERLIN) for day in days)
    cents = [
        round(one.data["amount"] * 100)
        for one in sent
        if begin <= one.time < end and one.time < LAST and region in (None, one.data["region"])
    ]
    return sum(cents) / 100


@pytest.mark.parametrize("seed", [1, 2])
def test_every_period_wants_what_a_recount_says(store: ClickHouse, seed: int) -> None:
    """Target, attainment, verdict, and in the view the same target; in Berlin, over changes of the clock."""
    sent = shop(seed)
    kpis = [
        simple(
            f"revenue_{number}",
            "sum",
            value="amount",
            dimensions=REGION,
            grain="1h",
            timezone="Europe/Berlin",
            targets=[target],
        )
        for number, (target, *_) in enumerate(CASES.values())
    ]
    catalog = catalog_of(*kpis)
    logs = {0: log_of(sent, arrival=LAST)}
    worker = world(store, catalog, logs)
    drain(worker, logs)
    worker.flush(caught_up={0: LAST + timedelta(hours=2)})
    refresh_views(store, catalog, TOPIC)
    found = Engine(catalog, Reader(store, catalog), ClickHouseHistory(store), Silent()).evaluate(LAST, notify=False)
    judged = 0
    for kpi, (target, baseline, aim) in zip(kpis, CASES.values(), strict=True):
        shown = dict(store.query(f"SELECT window_start, target FROM kpi_{kpi.name}_{target['every']}_total"))
        for status in found.statuses:
            if status.kpi == kpi.name and status.final:
                judged += check(status, sent, baseline, aim, region=target.get("by", {}).get("region"))
                if not status.series and status.period_start in shown:
                    assert shown[status.period_start] == status.target_value
    assert judged > 250


def check(
    status: KpiStatus,
    sent: list[Sent],
    baseline: Callable[[date], Days],
    aim: Callable[[float], float],
    *,
    region: str | None,
) -> int:
    """Compare one ended period; 1 where there was something to judge it by."""
    first_day, end = (moment.astimezone(BERLIN).date() for moment in (status.period_start, status.period_end))
    days = baseline(first_day)
    if days[0] < date(2025, 1, 1):
        assert (status.status, status.target_value) == ("no_data", None), status.period
        return 0
    before, actual = total(sent, days, region), total(sent, (first_day, end), region)
    wanted = aim(before)
    assert status.actual == actual, status.period
    assert status.target_value == pytest.approx(wanted, rel=1e-12), status.period
    if wanted <= 0:
        assert status.status == "no_data"
        return 0
    onward = wanted > before
    share = (actual - before) / (wanted - before) if onward else actual / wanted
    assert status.attainment == pytest.approx(share, rel=1e-9), status.period
    assert status.status == ("met" if actual >= wanted else "missed"), status.period
    return 1
