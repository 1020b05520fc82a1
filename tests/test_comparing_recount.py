"""Rules on change and on the unusual through the real store and engine, against a recount of the events."""

from __future__ import annotations

import json
import math
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from statistics import mean, median
from zoneinfo import ZoneInfo

import pytest
from alerts_fakes import at
from processors_fakes import REGION, TOPIC, Sent, catalog_of, log_of, order, simple
from processors_world import drain, world
from test_targets import Silent

from onpace.alerts.engine import Engine
from onpace.alerts.history import ClickHouseHistory
from onpace.config.catalog import Catalog
from onpace.config.rules import AnomalyRule, ChangeRule, Rule
from onpace.processors.clickhouse import ClickHouse
from onpace.processors.reader import Reader
from onpace.processors.views import refresh_views

BERLIN = ZoneInfo("Europe/Berlin")
FIRST, LAST = at("2026-09-13 22:00"), at("2026-11-29 23:00")  # midnight of two Mondays; October 25 has 25 hours
DAYS = [date(2026, 9, 14) + timedelta(days=number) for number in range(77)]
HOURS = [FIRST + timedelta(hours=number) for number in range(int((LAST - FIRST).total_seconds()) // 3600)]
SHARES = {date(2026, 9, 26): 3.0, date(2026, 10, 27): 0.4, date(2026, 11, 10): 2.0, date(2026, 11, 21): 0.2}
"""Odd days, one of them within the first two weeks."""

Verdict = bool | None
Step = tuple[str, str, datetime]
RULES: list[Rule] = [
    ChangeRule.model_validate(
        {"name": "drop", "kpi": "orders", "when": "change", "against": "same_weekday", "drop": "30%", "min_effect": 12}
        | {"by": ["region"]}
    ),
    AnomalyRule.model_validate({"name": "odd", "kpi": "orders", "when": "anomaly", "direction": "both"}),
    AnomalyRule.model_validate(
        {"name": "odd_hours", "kpi": "orders", "when": "anomaly", "direction": "both", "grain": "hour"}
        | {"sensitivity": 3}
    ),
]


def orders(seed: int) -> list[Sent]:
    """About 48 a day on weekdays and half of that on weekends, most of them by day."""
    rng = random.Random(seed)
    found = [order("first", FIRST, region="EU")]
    for hour in HOURS:
        local = hour.astimezone(BERLIN)
        rate = (3 if 8 <= local.hour < 20 else 1) * (0.5 if local.weekday() >= 5 else 1) * SHARES.get(local.date(), 1.0)
        for _ in range(sum(rng.random() < rate / 6 for _ in range(6)) * 2):
            time = hour + timedelta(seconds=rng.randrange(3600))
            found.append(order(f"o{len(found)}", time, region=rng.choice(["EU", "US"])))
    return found


def steps(verdicts: Iterator[tuple[datetime, Callable[[bool], Verdict]]]) -> list[Step]:
    """What an alert without `for` goes through."""
    firing, found = False, []
    for end, judge in verdicts:
        verdict = judge(firing)
        if verdict is not None and verdict != firing:
            before = "firing" if firing else "resolved" if found else "inactive"
            found.append((before, "firing" if verdict else "resolved", end))
            firing = verdict
    return found


def end_of(day: date) -> datetime:
    """Midnight in Berlin."""
    return datetime.combine(day + timedelta(days=1), datetime.min.time(), BERLIN).astimezone(UTC)


def drops(values: dict[date, int]) -> Iterator[tuple[datetime, Callable[[bool], Verdict]]]:
    """30 % less than the median of four weeks, and 12 orders."""
    for day in DAYS:
        earlier = [values[then] for week in range(1, 5) if (then := day - timedelta(weeks=week)) in values]

        def judge(firing: bool, value: int = values[day], earlier: list[int] = earlier) -> Verdict:
            if len(earlier) < 2 or not (usual := median(earlier)):
                return None
            less = usual - value
            if less >= 0.3 * usual and less >= 12:
                return True
            return None if firing and less > 0.15 * usual and less > 6 else False

        yield end_of(day), judge


def spread(seen: dict[object, list[int]]) -> tuple[dict[object, float], float]:
    """What each slot's distances are measured in, and the scale."""
    middle = {slot: median(values) for slot, values in seen.items() if len(values) > 1}
    least = mean(value for values in seen.values() for value in values) / 4
    size = {slot: math.sqrt(max(value, least)) for slot, value in middle.items()}
    distances = []
    for slot in middle:
        for index, value in enumerate(seen[slot]):
            others = [other for place, other in enumerate(seen[slot]) if place != index]
            distances.append(abs(value - median(others)) / size[slot])
    most = min(d for d in distances if sum(other <= d for other in distances) >= 0.9 * len(distances))
    return size, max(1.4826 * median(distances), most / 1.645) or 1.2533 * mean(distances)


def odd_days(values: dict[date, int]) -> Iterator[tuple[datetime, Callable[[bool], Verdict]]]:
    """XmR limits at first, then four deviations off the weekday's median."""
    for number, day in enumerate(DAYS):
        before = [values[other] for other in DAYS[max(0, number - 20) : number]]
        verdict: Verdict = None
        if number >= 14:
            seen = defaultdict(list)
            for other in DAYS[max(0, number - 56) : number]:
                seen[other.weekday()].append(values[other])
            size, scale = spread(dict(seen))
            slot = day.weekday()
            verdict = abs(values[day] - median(seen[slot])) > 4 * scale * size[slot]
        elif number >= 12:
            centre = mean(before)
            reach = 2.66 * mean(abs(b - a) for a, b in pairwise(before))
            last = [*before[-7:], values[day]]
            run = all(v < centre for v in last) or all(v > centre for v in last)
            verdict = abs(values[day] - centre) > reach or run
        yield end_of(day), lambda _, verdict=verdict: verdict


def odd_hours(values: dict[datetime, int]) -> Iterator[tuple[datetime, Callable[[bool], Verdict]]]:
    """Three deviations off the median of the hour of the week, once it was there twice before the day."""
    by_day = defaultdict(list)
    for hour in HOURS:
        by_day[hour.astimezone(BERLIN).date()].append(hour)
    for number, day in enumerate(DAYS):
        seen = defaultdict(list)
        for other in DAYS[max(0, number - 56) : number]:
            for hour in by_day[other]:
                seen[other.weekday(), hour.astimezone(BERLIN).hour].append(values[hour])
        size, scale = spread(dict(seen)) if number >= 14 else ({}, 0.0)
        for hour in by_day[day]:
            slot = (day.weekday(), hour.astimezone(BERLIN).hour)
            verdict = abs(values[hour] - median(seen[slot])) > 3 * scale * size[slot] if slot in size else None
            yield hour + timedelta(hours=1), lambda _, verdict=verdict: verdict


@pytest.mark.parametrize("seed", [1, 2])
def test_every_step_of_every_alert_is_that_of_a_recount(store: ClickHouse, seed: int) -> None:
    """By region and in total, in days and in hours, over a change of the clock."""
    sent = orders(seed)
    plain = catalog_of(simple("orders", "count", grain="1h", dimensions=REGION, timezone="Europe/Berlin"))
    catalog = Catalog(events=plain.events, kpis=plain.kpis, rules={rule.name: rule for rule in RULES})
    logs = {0: log_of(sent, arrival=LAST)}
    worker = world(store, catalog, logs)
    drain(worker, logs)
    worker.flush(caught_up={0: LAST + timedelta(hours=2)}, input_end=LAST)
    refresh_views(store, catalog, TOPIC)
    Engine(catalog, Reader(store, catalog), ClickHouseHistory(store), Silent()).evaluate(LAST, notify=False)
    rows = store.query("SELECT rule, series, before, state, at FROM alert_transitions ORDER BY rule, series, at")
    found: dict[tuple[str, str], list[Step]] = defaultdict(list)
    for rule, series, before, state, moment in rows:
        found[rule, json.loads(series).get("region", "")].append((before, state, moment))

    days = Counter((one.data["region"], one.time.astimezone(BERLIN).date()) for one in sent)
    hours = Counter(one.time.replace(minute=0, second=0) for one in sent)
    wanted = {
        **{("drop", name): steps(drops({day: days[name, day] for day in DAYS})) for name in ("EU", "US")},
        ("odd", ""): steps(odd_days({day: days["EU", day] + days["US", day] for day in DAYS})),
        ("odd_hours", ""): steps(odd_hours({hour: hours[hour] for hour in HOURS})),
    }
    assert found == {place: taken for place, taken in wanted.items() if taken}
    assert all(len(wanted[place]) >= 2 for place in [("drop", "EU"), ("odd", ""), ("odd_hours", "")])
