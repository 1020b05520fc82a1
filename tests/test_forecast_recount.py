"""Forecasts through the real store and engine, against a recount of the events in plain Python."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from statistics import median
from zoneinfo import ZoneInfo

import pytest
from alerts_fakes import at
from processors_fakes import REGION, TOPIC, Sent, catalog_of, log_of, order, simple
from processors_world import drain, world
from test_targets import Silent

from onpace.alerts.engine import Engine
from onpace.alerts.history import ClickHouseHistory
from onpace.config.catalog import Catalog
from onpace.config.rules import ForecastRule
from onpace.processors.clickhouse import ClickHouse
from onpace.processors.reader import Reader
from onpace.processors.views import refresh_views

BERLIN = ZoneInfo("Europe/Berlin")
HOUR = timedelta(hours=1)
FIRST, LAST = at("2025-09-29 00:00"), at("2026-04-23 12:00")
TARGETS = [{"every": "week", "value": 9_000}, {"every": "week", "value": 4_000, "by": {"region": "EU"}}]
Aggregate = Callable[[Sequence[Sent]], float]


def shop(seed: int) -> list[Sent]:
    """Some forty orders a week, each week more or less; the last one has few."""
    rng = random.Random(seed)
    found = [order("first", FIRST, region="EU", amount=10)]
    for week in range(30):
        monday, size = FIRST + timedelta(weeks=week), rng.randint(30, 50) if week < 29 else 12
        times = sorted(monday + timedelta(seconds=rng.randint(0, 7 * 86_400)) for _ in range(size))
        found += [
            order(f"{week}-{number}", time, region=rng.choice(["EU", "US"]), amount=rng.randint(100, 40_000) / 100)
            for number, time in enumerate(times)
            if time < LAST
        ]
    return found


def weeks() -> list[tuple[datetime, datetime]]:
    """From Monday to Monday in Berlin, oldest first: of 168 hours, but for those in which the clock changes."""
    mondays = [datetime(2025, 9, 29, tzinfo=BERLIN) + timedelta(weeks=number) for number in range(31)]
    utc = [monday.astimezone(ZoneInfo("UTC")) for monday in mondays]
    return list(pairwise(utc))


def reached(sent: Sequence[Sent], start: datetime, point: datetime, of: Aggregate) -> float:
    """The value from the start to a point, interpolated between the edges of the hour around it."""
    edge = point.replace(minute=0, second=0, microsecond=0)
    before, after = (
        of([one for one in sent if start <= one.time < upto]) for upto in (edge, edge + HOUR if edge < point else edge)
    )
    return before + (after - before) * ((point - edge) / HOUR)


def total(sent: Sequence[Sent]) -> float:
    """In euros."""
    return sum(round(one.data["amount"] * 100) for one in sent) / 100


def mean(sent: Sequence[Sent]) -> float:
    """The mean order."""
    return total(sent) / len(sent)


def recount(sent: Sequence[Sent], of: Aggregate, *, adds_up: bool) -> list[float]:
    """The sorted samples of the last week, from the 24 before it."""
    *before, (start, end) = weeks()
    share = (LAST - start) / (end - start)
    past = []
    for first, last in before[-24:]:
        point = reached(sent, first, first + (last - first) * share, of)
        past.append((point, of([one for one in sent if first <= one.time < last]), (last - first).total_seconds()))
    actual = of([one for one in sent if start <= one.time < LAST])
    if not adds_up:
        return sorted(actual + final - point for point, final, _ in past)
    speeds = [(final - point) / seconds for point, final, seconds in past]
    size = actual + median(speeds[-4:]) * (end - start).total_seconds()
    return sorted(
        actual + size * (final - point) / (point + median(speeds[max(0, place - 4) : place]) * seconds)
        for place, (point, final, seconds) in enumerate(past)
        if place >= 2
    )


def prepared(store: ClickHouse, sent: Sequence[Sent]) -> Catalog:
    """Everything processed, up to LAST."""
    amount = {"value": "amount", "dimensions": REGION, "grain": "1h", "timezone": "Europe/Berlin"}
    kpis = catalog_of(
        simple("revenue", "sum", targets=TARGETS, **amount),
        simple("basket", "avg", targets=[{"every": "week", "value": 200}], **amount),
    )
    rules = [
        ForecastRule.model_validate({"name": f"{kpi}-will-miss", "kpi": kpi, "when": "forecast", "for": "3h"})
        for kpi in kpis.kpis
    ]
    catalog = Catalog(events=kpis.events, kpis=kpis.kpis, rules={rule.name: rule for rule in rules})
    logs = {0: log_of(sent, arrival=LAST)}
    worker = world(store, catalog, logs)
    drain(worker, logs)
    worker.flush(caught_up={0: LAST + timedelta(hours=2)})
    refresh_views(store, catalog, TOPIC)
    return catalog


@pytest.mark.parametrize("seed", [1, 2])
def test_a_week_is_forecast_as_a_recount_of_its_events_says(store: ClickHouse, seed: int) -> None:
    """A total, its part in the EU and a mean, in Berlin, over both changes of the clock; and the rule fires on it."""
    sent = shop(seed)
    catalog = prepared(store, sent)
    engine = Engine(catalog, Reader(store, catalog), ClickHouseHistory(store), Silent())
    found = engine.evaluate(LAST, notify=False)
    eu = [one for one in sent if one.data["region"] == "EU"]
    cases = [
        (("revenue", ()), recount(sent, total, adds_up=True), 9_000),
        (("revenue", (("region", "EU"),)), recount(eu, total, adds_up=True), 4_000),
        (("basket", ()), recount(sent, mean, adds_up=False), 200),
    ]
    for place, samples, target in cases:
        forecast = found.forecasts[(*place, "2026-W17")]
        assert forecast.past == len(samples)
        assert forecast.median == pytest.approx(median(samples), rel=1e-9)
        missed = sum(sample < target for sample in samples)
        assert forecast.probability == pytest.approx((missed + 0.5) / (len(samples) + 1))
        assert forecast.score.periods == len(samples) - 3
        assert forecast.score.brier is not None
    states = {(one.alert.kpi, one.alert.series): one.alert.state for one in found.transitions}
    assert states["revenue", ()] == "firing"
    kept = {alert.identity: alert for alert in ClickHouseHistory(store).alerts()}
    assert kept == {alert.identity: alert for alert in found.alerts}
