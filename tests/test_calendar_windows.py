"""Windows of a calendar of one's own, through the engine: they say what a recount by hand says."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from processors_fakes import TOPIC, Sent, catalog_of, derived, log_of, order, simple
from processors_world import drain, world

from onpace.config.calendar import Grain
from onpace.config.calendars import CalendarRules
from onpace.config.kpi import CumulativeKpi
from onpace.processors.clickhouse import ClickHouse
from onpace.processors.reader import Reader
from onpace.processors.views import refresh_views, view_statements

ZONE = ZoneInfo("America/New_York")
AMERICA = CalendarRules.model_validate({"name": "us", "week_start": "sunday", "fiscal_year_start": "10-06"})
OWN = {"timezone": "America/New_York", "calendar": AMERICA}
TARGETS = [{"every": "fiscal_year", "value": 100}, {"period": "FY2025-Q2", "value": 25}]


def to_date(name: str, grain: str) -> CumulativeKpi:
    """Orders since a period's begin."""
    given = {"type": "cumulative", "of": "orders", "direction": "higher_is_better", "role": "lagging"}
    return CumulativeKpi.model_validate({"name": name, "to_date": grain} | given | OWN)


CATALOG = catalog_of(
    simple("orders", "count", grain="1h", targets=TARGETS, **OWN),
    to_date("this_year", "fiscal_year"),
    to_date("this_quarter", "fiscal_quarter"),
    to_date("this_week", "week"),
    derived("a_year_ago", "offset(orders, '1 year')", **OWN),
    simple("plain", "count", grain="1d"),
)
FISCAL_QUARTERS = [
    *("2023-10-06", "2024-01-06", "2024-04-06", "2024-07-06", "2024-10-06", "2025-01-06", "2025-04-06", "2025-07-06"),
    *("2025-10-06", "2026-01-06", "2026-04-06", "2026-07-06", "2026-10-06"),
]
"""Written out: what begins a quarter of fiscal years that begin on October 6."""
SUNDAYS = [(date(2023, 10, 1) + timedelta(days=7 * at)).isoformat() for at in range(160)]
STARTS = {
    Grain.WEEK: SUNDAYS,
    Grain.FISCAL_QUARTER: FISCAL_QUARTERS,
    Grain.FISCAL_YEAR: FISCAL_QUARTERS[::4],
}


def midnight(day: str) -> datetime:
    """The first instant of a day in New York."""
    return datetime.combine(date.fromisoformat(day), time.min, ZONE).astimezone(UTC)


def history() -> list[Sent]:
    """Orders over two years, some at the edges of quarters and weeks."""
    draw = random.Random(8)
    begin = midnight("2023-10-06")
    times = [begin + timedelta(minutes=draw.randrange(2 * 365 * 24 * 60)) for _ in range(400)]
    times += [midnight(day) + timedelta(minutes=at) for day in FISCAL_QUARTERS[1:8] for at in (-1, 0, 1)]
    times += [midnight(day) + timedelta(minutes=at) for day in SUNDAYS[1:90:9] for at in (-1, 0, 1)]
    return [order(f"o{at}", moment) for at, moment in enumerate(times)]


@pytest.fixture
def loaded(store: ClickHouse) -> list[datetime]:
    """When the orders were; they are processed, and the views made."""
    sent = history()
    refresh_views(store, CATALOG, TOPIC)
    logs = {0: log_of(sent, datetime(2026, 1, 1, tzinfo=UTC))}
    worker = world(store, CATALOG, logs)
    drain(worker, logs)
    worker.flush(input_end=max(one.time for one in sent))
    return [one.time for one in sent]


def counted(times: list[datetime], start: datetime, end: datetime) -> int:
    """How many lie in `[start, end)`."""
    return sum(start <= moment < end for moment in times)


def both(
    store: ClickHouse, name: str, grain: Grain
) -> tuple[dict[datetime, float | None], dict[datetime, float | None]]:
    """The windows of the reader and those of the view."""
    reader = Reader(store, CATALOG)
    points = reader.series(name, grain, midnight("2023-10-06"), midnight("2025-10-06"))[()]
    rows = store.query(f"SELECT window_start, value FROM kpi_{name}_{grain}_total")
    return {p.window_start: p.value for p in points}, {at.replace(tzinfo=UTC): value for at, value in rows}


def test_windows_follow_the_calendar(store: ClickHouse, loaded: list[datetime]) -> None:
    """Weeks from Sunday, fiscal quarters and years from October 6, in the reader and in the view."""
    for grain, days in STARTS.items():
        starts = [midnight(day) for day in days]
        wanted = {one: counted(loaded, one, end) for one, end in pairwise(starts)}
        read, viewed = both(store, "orders", grain)
        assert read == {at: value for at, value in wanted.items() if at in read}
        assert viewed == {at: value for at, value in wanted.items() if value}
        assert sum(value or 0 for value in read.values()) == len(loaded)


def test_looking_back_follows_the_calendar(store: ClickHouse, loaded: list[datetime]) -> None:
    """To date by day, over two years; and a fiscal quarter's year ago is the same quarter, not 52 weeks before."""
    begins = {"this_year": Grain.FISCAL_YEAR, "this_quarter": Grain.FISCAL_QUARTER, "this_week": Grain.WEEK}
    for name, grain in begins.items():
        starts = [midnight(day) for day in STARTS[grain]]
        read, viewed = both(store, name, Grain.DAY)
        assert len(read) > 700
        for at, value in read.items():
            end = midnight((at.astimezone(ZONE).date() + timedelta(days=1)).isoformat())
            wanted = counted(loaded, max(one for one in starts if one < end), end)
            assert value == wanted
            assert viewed.get(at, value) == wanted
    read, viewed = both(store, "a_year_ago", Grain.FISCAL_QUARTER)
    quarters = [midnight(day) for day in FISCAL_QUARTERS]
    for at in range(4, 8):
        wanted = counted(loaded, quarters[at - 4], quarters[at - 3])
        assert (read[quarters[at]], viewed[quarters[at]]) == (wanted, wanted)


def test_a_row_of_a_fiscal_period_has_its_target(store: ClickHouse, loaded: list[datetime]) -> None:
    """Every year has the one of all years, and an explicit quarter its own."""
    assert store.query("SELECT DISTINCT target FROM kpi_orders_fiscal_year_total") == [(100,)]
    quarters = store.query("SELECT window_start FROM kpi_orders_fiscal_quarter_total WHERE target = 25")
    assert [at.replace(tzinfo=UTC) for (at,) in quarters] == [midnight("2025-01-06")]


def test_only_calendars_with_a_fiscal_year_of_their_own_have_fiscal_views(store: ClickHouse) -> None:
    """Others would have the same windows twice."""
    names = dict(view_statements(CATALOG, TOPIC))
    assert "kpi_orders_fiscal_year" in names
    assert "kpi_orders_fiscal_quarter" in names
    assert [name for name in names if name.startswith("kpi_plain") and "fiscal" in name] == []
