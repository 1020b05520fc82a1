"""Cumulative KPIs and `offset(…)`: readers and views equal a recount of the events in plain Python."""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from processors_fakes import ORDER, REGION, TOPIC, Sent, catalog_of, derived, log_of, order, ratio, simple
from processors_world import drain, world

from onpace.config.calendar import Grain
from onpace.config.catalog import Catalog
from onpace.config.kpi import CumulativeKpi
from onpace.config.kpi_entities import Kpi
from onpace.processors.clickhouse import ClickHouse
from onpace.processors.reader import Reader
from onpace.processors.views import refresh_views

Local = tuple[datetime, datetime]


def cumulative(name: str, of: str, zone: str, **more: object) -> CumulativeKpi:
    """A cumulative KPI."""
    common = {"type": "cumulative", "direction": "higher_is_better", "role": "lagging", "timezone": zone}
    return CumulativeKpi.model_validate({"name": name, "of": of} | common | more)


def kpis(zone: str) -> list[Kpi]:
    """Every way to look back, over every kind of aggregate."""
    return [
        simple("revenue", "sum", value="amount", dimensions=REGION, grain="15min", timezone=zone),
        simple("orders", "count", dimensions=REGION, grain="1h", timezone=zone),
        simple("buyers", "count_distinct", value="user_id", grain="1h", timezone=zone),
        simple("highest", "max", value="amount", grain="1h", timezone=zone),
        simple("newest", "last", value="amount", grain="1h", timezone=zone),
        ratio("aov", "revenue", "orders", timezone=zone),
        cumulative("revenue_ytd", "revenue", zone, to_date="year"),
        cumulative("revenue_mtd", "revenue", zone, to_date="month"),
        cumulative("orders_wtd", "orders", zone, to_date="week"),
        cumulative("revenue_28d", "revenue", zone, window="28d"),
        cumulative("orders_36h", "orders", zone, window="36h"),
        cumulative("revenue_ever", "revenue", zone),
        cumulative("buyers_30d", "buyers", zone, window="30d"),
        cumulative("highest_qtd", "highest", zone, to_date="quarter"),
        cumulative("newest_7d", "newest", zone, window="7d"),
        cumulative("aov_28d", "aov", zone, window="28d"),
        derived("growth", "revenue / offset(revenue, '1 year') - 1", timezone=zone),
        derived("change", "revenue - offset(revenue, '1 month')", timezone=zone),
        derived("before", "offset(orders, '1 week')", timezone=zone),
        derived("hours_ago", "offset(orders, '3 hours')", timezone=zone),
        derived("ytd_growth", "revenue_ytd / offset(revenue_ytd, '1 year') - 1", timezone=zone),
        derived("twice_back", "offset(change, '1 year')", timezone=zone),
    ]


class Recount:
    """What the KPIs of `kpis` are, by the definition in docs/kpi-format.md; uses nothing of the product."""

    def __init__(self, events: Iterable[Sent], zone: str) -> None:
        self.events = sorted(events, key=lambda one: (one.time, one.source, one.id))
        self.times = [one.time for one in self.events]
        self.zone = ZoneInfo(zone)

    def at(self, day: date) -> datetime:
        """The first instant of a local day."""
        instant = datetime.combine(day, time.min, self.zone).astimezone(UTC)
        while instant.astimezone(self.zone).date() < day:
            instant += timedelta(minutes=15)
        return instant

    def window(self, grain: str, at: datetime) -> Local:
        """The window of a day or longer that holds an instant; of an hour."""
        local = at.astimezone(self.zone)
        if grain == "hour":
            offset = local.utcoffset() or timedelta()
            start = at - timedelta(seconds=(int(at.timestamp()) + int(offset.total_seconds())) % 3600)
            return start, start + timedelta(hours=1)
        first, following = self.days(grain, local.date())
        return self.at(first), self.at(following)

    def days(self, grain: str, day: date) -> tuple[date, date]:
        """First day, and first day after it, of the period that holds a day."""
        if grain == "week":
            first = day - timedelta(days=day.weekday())
            return first, first + timedelta(days=7)
        length = {"day": 0, "month": 1, "quarter": 3, "year": 12}[grain]
        if not length:
            return day, day + timedelta(days=1)
        index = (day.year * 12 + day.month - 1) // length * length
        return date(index // 12, index % 12 + 1, 1), date((index + length) // 12, (index + length) % 12 + 1, 1)

    def inside(self, span: Local, region: str | None = None) -> list[Sent]:
        """The events in a stretch, in order."""
        wanted = self.events[bisect_left(self.times, span[0]) : bisect_left(self.times, span[1])]
        return [one for one in wanted if one.data["region"] == region] if region else wanted

    def shifted(self, grain: str, span: Local, unit: str, count: int) -> Local:
        """The window so much earlier."""
        start = span[0]
        if unit == "hour":
            return self.window(grain, start - timedelta(hours=count))
        if unit == "year" and grain == "week":
            unit, count = "week", 52 * count
        local = start.astimezone(self.zone)
        if unit == "week":
            day = local.date() - timedelta(weeks=count)
        else:
            months = local.year * 12 + local.month - 1 - count * {"month": 1, "year": 12}[unit]
            _, following = self.days("month", date(months // 12, months % 12 + 1, 1))
            day = min(
                following - timedelta(days=1), date(months // 12, months % 12 + 1, 1) + timedelta(days=local.day - 1)
            )
        if grain == "hour":
            return self.window(grain, datetime.combine(day, local.time(), self.zone).astimezone(UTC))
        return self.window(grain, self.at(day))

    def to_date(self, period: str, end: datetime) -> Local:
        """From the begin of the period that holds the last instant before `end`."""
        return self.window(period, end - timedelta(microseconds=1))[0], end

    def trailing(self, days: int, end: datetime) -> Local:
        """So many days of the calendar up to `end`."""
        local = end.astimezone(self.zone)
        day = local.date() - timedelta(days=days)
        if end == self.at(local.date()):
            return self.at(day), end
        return datetime.combine(day, local.time(), self.zone).astimezone(UTC), end

    def value(self, kpi: str, grain: str, span: Local, region: str | None = None) -> float | None:
        """The KPI's value in a window."""

        def revenue(stretch: Local) -> float:
            return round(sum(round(100 * one.data["amount"]) for one in self.inside(stretch, region)) / 100, 2)

        def orders(stretch: Local) -> float:
            return float(len(self.inside(stretch, region)))

        def divided(a: float | None, b: float | None) -> float | None:
            return None if a is None or not b else a / b

        def minus(a: float | None, b: float | None) -> float | None:
            return None if a is None or b is None else a - b

        def change(window: Local) -> float | None:
            earlier = self.shifted(grain, window, "month", 1)
            return known(revenue(window) - revenue(earlier), window, earlier)

        def known(value: float, *stretches: Local) -> float | None:
            return value if any(self.inside(stretch, region) for stretch in stretches) else None

        def back(unit: str, count: int) -> float | None:
            earlier = self.shifted(grain, span, unit, count)
            return known(orders(earlier), earlier)

        end = span[1]
        formulas: dict[str, Callable[[], float | None]] = {
            "revenue_ytd": lambda: revenue(self.to_date("year", end)),
            "revenue_mtd": lambda: revenue(self.to_date("month", end)),
            "orders_wtd": lambda: orders(self.to_date("week", end)),
            "revenue_28d": lambda: revenue(self.trailing(28, end)),
            "orders_36h": lambda: orders((end - timedelta(hours=36), end)),
            "revenue_ever": lambda: revenue((datetime.min.replace(tzinfo=UTC), end)),
            "buyers_30d": lambda: float(len({one.data["user_id"] for one in self.inside(self.trailing(30, end))})),
            "highest_qtd": lambda: max(
                (one.data["amount"] for one in self.inside(self.to_date("quarter", end))), default=None
            ),
            "newest_7d": lambda: next(
                (one.data["amount"] for one in reversed(self.inside(self.trailing(7, end)))), None
            ),
            "aov_28d": lambda: divided(revenue(self.trailing(28, end)), orders(self.trailing(28, end))),
            "growth": lambda: minus(divided(revenue(span), revenue(self.shifted(grain, span, "year", 1))), 1.0),
            "change": lambda: change(span),
            "before": lambda: back("week", 1),
            "hours_ago": lambda: back("hour", 3),
            "ytd_growth": lambda: minus(
                divided(
                    revenue(self.to_date("year", end)),
                    revenue(self.to_date("year", self.shifted(grain, span, "year", 1)[1])),
                ),
                1.0,
            ),
            "twice_back": lambda: change(self.shifted(grain, span, "year", 1)),
        }
        return formulas[kpi]()


def history(zone: str, seed: int) -> list[Sent]:
    """Two years of orders, thin and with gaps, many of them at the edges of days, months and leap years."""
    draw = random.Random(seed)
    first = datetime(2023, 11, 20, tzinfo=UTC)
    local = ZoneInfo(zone)
    edges = ["2024-02-28", "2024-02-29", "2024-03-01", "2024-03-31", "2025-01-01", "2025-02-28", "2025-03-01"]
    edges += ["2025-03-30", "2024-12-31", "2024-09-08"]
    instants = [first + timedelta(minutes=draw.randrange(60 * 24 * 700)) for _ in range(400)]
    for edge in edges:
        midnight = datetime.combine(date.fromisoformat(edge), time.min, local).astimezone(UTC)
        instants += [midnight + timedelta(minutes=minutes) for minutes in (-1, 0, 1, 90)]
    return [
        order(
            f"o{n}",
            at,
            amount=draw.randrange(1, 10_000) / 100,
            user_id=f"u{draw.randrange(60)}",
            region=draw.choice(["EU", "US"]),
        )
        for n, at in enumerate(instants)
    ]


def loaded(store: ClickHouse, zone: str) -> tuple[Catalog, Recount]:
    """Everything processed, the views made."""
    catalog = catalog_of(*kpis(zone), order={"properties": ORDER.properties})
    events = history(zone, seed=len(zone))
    refresh_views(store, catalog, TOPIC)
    logs = {
        0: log_of(events[::2], datetime(2026, 1, 1, tzinfo=UTC)),
        1: log_of(events[1::2], datetime(2026, 1, 1, tzinfo=UTC)),
    }
    worker = world(store, catalog, logs)
    drain(worker, logs)
    worker.flush(input_end=max(one.time for one in events))
    return catalog, Recount(events, zone)


ZONES_AND_GRAINS = [
    ("Europe/Berlin", {Grain.HOUR, Grain.DAY, Grain.WEEK, Grain.MONTH, Grain.QUARTER, Grain.YEAR}),
    ("America/Santiago", {Grain.DAY, Grain.WEEK}),  # its clock skips midnight
    ("Asia/Kathmandu", {Grain.HOUR, Grain.MONTH}),
]
GRAINS = [Grain.HOUR, Grain.DAY, Grain.WEEK, Grain.MONTH, Grain.QUARTER, Grain.YEAR]
NAMES = [kpi.name for kpi in kpis("UTC")[6:]]


@pytest.mark.parametrize(("zone", "grains"), ZONES_AND_GRAINS, ids=lambda part: part if isinstance(part, str) else "")
def test_values_that_look_back_equal_a_recount(store: ClickHouse, zone: str, grains: set[Grain]) -> None:
    """Readers and views, in every window from the first event to the last, by dimension and in total."""
    catalog, recount = loaded(store, zone)
    reader = Reader(store, catalog)
    start, end = datetime(2024, 12, 20, tzinfo=UTC), datetime(2025, 4, 10, tzinfo=UTC)
    compared, wrong = 0, []
    for name in NAMES:
        kpi = catalog.kpi(name)
        for grain in GRAINS[GRAINS.index(max(catalog.base_grain(kpi), Grain.HOUR, key=lambda one: one.rank)) :]:
            if grain not in grains:
                continue
            first = start if grain.step is None else end - timedelta(days=12)
            found = {(): {p.window_start: p for p in reader.series(name, grain, first, end).get((), [])}}
            if catalog.dimensions(kpi) and grain in (Grain.DAY, Grain.MONTH):
                series = reader.series(name, grain, first, end, by=["region"])
                found |= {dims: {p.window_start: p for p in points} for dims, points in series.items()}
            viewed = _viewed(store, name, grain, first, end)
            for dims, points in found.items():
                at = recount.window(str(grain), first)[0]
                while at < end:
                    span = recount.window(str(grain), at)
                    wanted = recount.value(name, str(grain), span, *dims)
                    got = points[at].value if at in points else None
                    seen = viewed.get(at, got) if not dims else got
                    compared += 1
                    if not (_same(got, wanted) and _same(seen, wanted)):
                        wrong.append(f"{name} {grain} {dims} {at}: {got}, view {seen}, recount {wanted}")
                    at = span[1]
    assert wrong == []
    assert compared > 1500


def _viewed(store: ClickHouse, name: str, grain: Grain, start: datetime, end: datetime) -> dict[datetime, float | None]:
    rows = store.query(
        f"SELECT window_start, value FROM kpi_{name}_{grain}_total WHERE window_start >= "
        f"toDateTime({int(start.timestamp())}, 'UTC') AND window_start < toDateTime({int(end.timestamp())}, 'UTC')"
    )
    return {at if at.tzinfo else at.replace(tzinfo=UTC): value for at, value in rows}


def _same(found: float | None, wanted: float | None) -> bool:
    if found is None or wanted is None:
        return found is wanted
    return abs(found - wanted) <= 1e-9 * max(1.0, abs(wanted))
