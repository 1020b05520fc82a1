"""Cumulative KPIs against targets: 10 EUR a day from 1 January 2025 on, so that all can be worked out in the head."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from alerts_fakes import at
from processors_fakes import TOPIC, catalog_of, log_of, order, simple
from processors_world import drain, world
from test_targets import Silent

from onpace.alerts.climbs import Climb, climb_of
from onpace.alerts.engine import Engine
from onpace.alerts.history import ClickHouseHistory
from onpace.alerts.scorecard import Selection
from onpace.alerts.scorecard_reading import ScorecardReader
from onpace.alerts.status import KpiStatus
from onpace.config.calendar import Period
from onpace.config.catalog import Catalog
from onpace.config.kpi import CumulativeKpi, Objective
from onpace.processors.clickhouse import ClickHouse
from onpace.processors.reader import Reader
from onpace.processors.views import refresh_views

MARCH = "2026-03-16"
"""15 of its 31 days are over; 74 days of the year, with 740 EUR; 439 of all, with 4,390."""


def cumulative(name: str, *targets: dict[str, Any], **more: Any) -> CumulativeKpi:
    """Revenue so far."""
    given = {"name": name, "type": "cumulative", "of": "revenue", "direction": "higher_is_better", "role": "lagging"}
    return CumulativeKpi.model_validate(given | {"targets": targets} | more)


CATALOG = catalog_of(
    simple("revenue", "sum", value="amount", grain="1d"),
    cumulative("year_so_far", {"every": "month", "value": 900}, {"every": "year", "value": 7300}, to_date="year"),
    cumulative("ever", {"every": "month", "value": 4550}),
    cumulative("ever_from", {"every": "month", "value": 4550, "from": 4000}),
    cumulative("ever_more", {"every": "month", "increase": 310, "over": "previous"}),
    cumulative("year_more", {"every": "year", "increase": "100%", "over": "year_ago"}, to_date="year"),
    cumulative("trailing", {"every": "month", "value": 300}, window="28d"),
    cumulative("month_so_far", {"every": "year", "value": 310}, to_date="month"),
)


@pytest.fixture
def shop(store: ClickHouse) -> ClickHouse:
    """Its store, until 20 March 2026."""
    days = (at("2026-03-20") - at("2025-01-01")).days
    sent = [order(str(day), at("2025-01-01 12:00") + timedelta(days=day), amount=10) for day in range(days)]
    logs = {0: log_of(sent, arrival=at("2026-03-20"))}
    worker = world(store, CATALOG, logs)
    drain(worker, logs)
    worker.flush(caught_up={0: at("2026-03-20 01:00")})
    refresh_views(store, CATALOG, TOPIC)
    return store


def judged(store: ClickHouse, now: str) -> dict[tuple[str, str], KpiStatus]:
    """By KPI and period, as of an instant."""
    engine = Engine(CATALOG, Reader(store, CATALOG), ClickHouseHistory(store), Silent())
    return {(one.kpi, one.period): one for one in engine.preview(at(now), live=False).statuses}


def test_a_running_total_climbs_from_where_it_stood(shop: ClickHouse) -> None:
    """590 at the end of February and 900 wanted: 15/31 of the way are 150, and so much was sold."""
    found = judged(shop, MARCH)
    year, ever = found["year_so_far", "2026-03"], found["ever", "2026-03"]
    assert (year.actual, year.expected, year.status) == (740, pytest.approx(590 + 310 * 15 / 31), "on_track")
    assert (ever.actual, ever.expected, ever.status) == (4390, pytest.approx(4240 + 310 * 15 / 31), "on_track")
    assert year.reason == "on track: 740 of 740 expected by now"


def test_a_year_to_date_is_due_by_the_share_of_the_year(shop: ClickHouse) -> None:
    """7,300 in 365 days are 20 a day, and 10 were sold; in January the month begins at nothing too."""
    year = judged(shop, MARCH)["year_so_far", "2026"]
    assert (year.actual, year.expected, year.status) == (740, pytest.approx(1480), "off_track")
    january = judged(shop, "2026-01-16")["year_so_far", "2026-01"]
    assert (january.actual, january.expected) == (150, pytest.approx(900 * 15 / 31))


def test_it_starts_at_from_where_that_is_given(shop: ClickHouse) -> None:
    """And attainment is the share of that way."""
    found = judged(shop, MARCH)["ever_from", "2026-03"]
    assert found.expected == pytest.approx(4000 + 550 * 15 / 31)
    assert found.attainment == pytest.approx(390 / 550)


def test_an_increase_of_a_running_total_is_what_is_added(shop: ClickHouse) -> None:
    """310 on top of February's 4,240; half of that is there. Twice last year's 3,650 is due by its share of days."""
    found = judged(shop, MARCH)
    ever, year = found["ever_more", "2026-03"], found["year_more", "2026"]
    assert (ever.target_value, ever.status, ever.attainment) == (4550, "on_track", pytest.approx(15 / 31))
    assert (year.target_value, year.expected) == (7300, pytest.approx(1480))
    due = 74 / 365
    assert year.attainment == pytest.approx((740 - 3650 * due) / (3650 * due))


def test_a_trailing_stretch_and_what_starts_anew_meanwhile_are_levels(shop: ClickHouse) -> None:
    """28 days are 280 at any time; the end of the year has December's total, whatever March has."""
    found = judged(shop, MARCH)
    assert (found["trailing", "2026-03"].actual, found["trailing", "2026-03"].expected) == (280, 300)
    assert (found["month_so_far", "2026"].actual, found["month_so_far", "2026"].expected) == (150, 310)


def test_a_month_that_is_over_is_compared_with_its_target(shop: ClickHouse) -> None:
    """590 of 900 at the end of February."""
    found = judged(shop, MARCH)["year_so_far", "2026-02"]
    assert (found.actual, found.expected, found.status, found.final) == (590, 900, "missed", True)


def test_a_key_result_of_a_running_total_goes_by_the_way_it_should_have_come(shop: ClickHouse) -> None:
    """From 3,650 to 4,550 in the quarter: 740 are due of 900 by 74 of 90 days, and there."""
    results = [{"kpi": "ever", "from": 3650, "value": 4550}, {"kpi": "year_so_far", "value": 1800}]
    objective = Objective.model_validate({"name": "grow", "period": "2026-Q1", "key_results": results})
    catalog = Catalog(events=CATALOG.events, kpis=CATALOG.kpis, objectives={"grow": objective})
    card = ScorecardReader(catalog, Reader(shop, catalog), []).read(Selection(Period.parse("2026-Q1"), at(MARCH)))
    [state] = [one for section in card.sections for one in section.objectives]
    assert [result.progress for result in state.key_results] == [pytest.approx(1), pytest.approx(0.5)]
    assert state.progress == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("to_date", "period", "climb"),
    [
        ("year", "2026", Climb(from_nothing=True, like_past=True)),
        ("year", "2026-03", Climb(from_nothing=False, like_past=False)),
        ("year", "2026-Q1", Climb(from_nothing=True, like_past=False)),
        ("month", "2026-03-02", Climb(from_nothing=False, like_past=False)),
        ("month", "2026-W10", None),  # a week may begin in one month and end in the next
        ("month", "2026", None),
        (None, "2026-W10", Climb(from_nothing=False, like_past=False)),
    ],
)
def test_how_it_goes_through_a_period(to_date: str | None, period: str, climb: Climb | None) -> None:
    """By what it is to date of, and by the period of the target."""
    kpi = cumulative("x", **({"to_date": to_date} if to_date else {}))
    assert climb_of(CATALOG, kpi, Period.parse(period)) == climb


def test_what_is_a_level_by_its_nature_or_of_a_level_does_not_climb() -> None:
    """Nor does what is no cumulative KPI at all."""
    catalog = catalog_of(*CATALOG.kpis.values(), simple("mean", "avg", value="amount", grain="1d"))
    for kpi in (
        cumulative("x", nature="level"),
        CumulativeKpi.model_validate(cumulative("x").model_dump(exclude={"of"}) | {"of": "mean"}),
        catalog.kpi("revenue"),
    ):
        assert climb_of(catalog, kpi, Period.parse("2026-03")) is None
