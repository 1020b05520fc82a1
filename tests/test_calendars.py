"""Which calendar a KPI follows, from the files to its windows."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from onpace.config.calendar import Calendar, Grain, period_containing
from onpace.config.calendars import CalendarRules
from onpace.config.catalog import Catalog
from onpace.config.kpi_entities import ReportedKpi
from onpace.config.loader import load_catalog
from onpace.processors.clickhouse import ClickHouse
from onpace.processors.report_sql import period_start_sql

GOOD = Path(__file__).parent / "corpus" / "good" / "calendars.yaml"
CHRISTMAS, SATURDAY, SUNDAY = date(2026, 12, 25), date(2026, 12, 26), date(2026, 12, 27)
KPI = "type: simple, event: sold, agg: count, direction: higher_is_better, role: leading"
MADE = "direction: higher_is_better, role: leading"


@pytest.fixture
def catalog() -> Catalog:
    """The example of calendars."""
    return load_catalog(GOOD, {})


def loaded(folder: Path, kpis: str) -> Catalog:
    """KPIs in a file with three calendars, two of which differ in open days only."""
    (folder / "kpis.yaml").write_text(
        f"""version: 1
calendars:
  - {{name: de, country: DE, fiscal_year_start: 4}}
  - {{name: gb, country: GB, subdivision: ENG, fiscal_year_start: 4}}
  - {{name: plain}}
events: {{sold: {{}}}}
kpis:
  - {{name: a, {KPI}, calendar: de}}
  - {{name: b, {KPI}, calendar: gb}}
  - {{name: c, {KPI}, calendar: de}}
  - {kpis}
"""
    )
    return load_catalog(folder, {})


def test_a_kpi_follows_its_own_calendar_or_that_of_the_defaults(catalog: Catalog) -> None:
    """Time zone, open days, weeks and fiscal years."""
    german, gulf, always = (catalog.kpi(name).calendar for name in ("revenue", "riyadh", "online"))
    assert [german.is_open(day) for day in (CHRISTMAS, SATURDAY, SUNDAY)] == [False, False, True]
    assert [gulf.is_open(day) for day in (CHRISTMAS, SATURDAY, SUNDAY)] == [False, False, True]
    assert [always.is_open(day) for day in (CHRISTMAS, SATURDAY, SUNDAY)] == [True, True, True]
    assert german.frame == ("Europe/Berlin", 0, (4, 1))
    assert gulf.frame == ("Asia/Riyadh", 6, (1, 6))
    assert always.frame == ("Europe/Berlin", 0, (1, 1))


def test_a_kpi_made_of_others_has_their_calendar(catalog: Catalog) -> None:
    """As it has their time zone."""
    assert catalog.kpi("aov").calendar == catalog.kpi("revenue_fytd").calendar == catalog.kpi("revenue").calendar


def test_where_inputs_differ_in_open_days_every_day_is_open(tmp_path: Path) -> None:
    """Weeks and fiscal years stay theirs."""
    found = loaded(tmp_path, f"{{name: x, type: derived, expr: a + b, {MADE}}}").kpi("x").calendar
    assert found.is_open(CHRISTMAS)
    assert found.fiscal_start == (4, 1)
    assert not loaded(tmp_path, f"{{name: x, type: derived, expr: a + c, {MADE}}}").kpi("x").calendar.is_open(CHRISTMAS)


def test_a_kpi_made_of_others_may_name_one_of_theirs(tmp_path: Path) -> None:
    """Then it follows that one: closed on an English bank holiday, open on a German one."""
    found = loaded(tmp_path, f"{{name: x, type: derived, expr: a + b, calendar: gb, {MADE}}}").kpi("x").calendar
    assert not found.is_open(date(2026, 8, 31))  # the summer bank holiday
    assert found.is_open(date(2026, 5, 14))  # Ascension Day


def test_the_calendar_is_no_part_of_what_is_stored(tmp_path: Path) -> None:
    """Editing it needs no rebuild: the definition of a KPI with one is that of a KPI without."""
    found = loaded(tmp_path, f"{{name: x, {KPI}}}")
    assert found.kpi("x").calendar.business is None
    of_a, of_x = ({stream.definition for stream in found.streams(found.kpi(name))} for name in "ax")
    assert of_a == of_x


@pytest.mark.parametrize("week_start", ["monday", "sunday", "saturday", "thursday", "friday"])
def test_reported_weeks_begin_where_the_calendar_says(store: ClickHouse, week_start: str) -> None:
    """In SQL as in Python, over random weeks and the edges of years."""
    rules = CalendarRules.model_validate({"name": "own", "week_start": week_start})
    given = {"type": "reported", "cadence": "week", "timezone": "America/New_York", "calendar": rules}
    kpi = ReportedKpi.model_validate({"name": "nps", "direction": "higher_is_better", "role": "leading"} | given)
    draw = random.Random(week_start)
    moments = [datetime(2000 + draw.randrange(60), 1, 1 + draw.randrange(28), tzinfo=UTC) for _ in range(200)]
    for period in {period_containing(Grain.WEEK, at, kpi.calendar) for at in moments}:
        written = f"'{period}'"
        [(start,)] = store.query(f"SELECT {period_start_sql(kpi, written)}")
        assert start == period.bounds(kpi.calendar)[0], period


def test_a_bare_zone_is_a_plain_calendar() -> None:
    """Weeks from Monday, fiscal years from January 1st, every day open."""
    zone = ZoneInfo("Europe/Berlin")
    at = datetime(2026, 10, 18, 12, tzinfo=UTC)
    assert [period_containing(grain, at, zone) for grain in Grain if grain.step is None] == [
        period_containing(grain, at, Calendar(zone)) for grain in Grain if grain.step is None
    ]
    assert str(period_containing(Grain.FISCAL_YEAR, at, zone)) == "FY2026"


def test_inputs_of_the_library_come_along_with_the_calendar(tmp_path: Path) -> None:
    """A ratio of the library and the KPIs that it brings have the same windows."""
    (tmp_path / "kpis.yaml").write_text(
        "version: 1\ncalendars: [{name: us, week_start: sunday}]\n"
        "kpis: [{name: ctr, use: library/marketing.click_through_rate, calendar: us}]\n"
    )
    found = load_catalog(tmp_path, {}).kpis
    assert len(found) > 1
    assert {kpi.calendar.week_start for kpi in found.values()} == {6}
