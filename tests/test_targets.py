"""Targets as growth over a baseline, and what happens to the past when a target changes. Numbers worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from alerts_fakes import Event, at, catalog_of, simple
from processors_fakes import REGION, TOPIC, log_of, order
from processors_fakes import catalog_of as folded_catalog_of
from processors_fakes import simple as folded
from processors_world import drain, world
from test_engine import HOUR, World, hourly, shop

from onpace.alerts.baselines import baseline_period
from onpace.alerts.engine import Engine
from onpace.alerts.history import ClickHouseHistory
from onpace.alerts.status import KpiStatus
from onpace.alerts.versions import TargetHistory, TargetVersion, read_spec, written_spec
from onpace.config.calendar import Grain, Period
from onpace.config.catalog import Catalog
from onpace.config.increases import Increase
from onpace.config.kpi import Target
from onpace.processors.clickhouse import ClickHouse
from onpace.processors.reader import Reader
from onpace.processors.views import refresh_views


def level(target: dict[str, Any], **kpi: Any) -> Catalog:
    """A mean of orders with a monthly target."""
    return catalog_of([simple(agg="avg", targets=[{"every": "month"} | target], **kpi)])


def means(**months: float) -> list[Event]:
    """One value a day over whole months, as in `m2026_09=100`."""
    found = []
    for name, value in months.items():
        first, end = Period.parse(name[1:].replace("_", "-")).bounds(simple().zone)
        found += [Event(first + timedelta(days=day, hours=12), {}, value) for day in range((end - first).days)]
    return found


def status(catalog: Catalog, events: Sequence[Event], now: str, period: str) -> KpiStatus:
    """The status of a period as of an instant, of an engine that has never run before."""
    found = World(catalog, events, now).look(now)
    return next(one for one in found.statuses if one.period == period)


@pytest.mark.parametrize(
    ("period", "over", "baseline"),
    [
        ("2026-10", "previous", "2026-09"),
        ("2026-01", "previous", "2025-12"),
        ("2026-10", "year_ago", "2025-10"),
        ("2026-Q1", "year_ago", "2025-Q1"),
        ("2026", "year_ago", "2025"),
        ("2026-10-05", "year_ago", "2025-10-05"),
        ("2028-02-29", "year_ago", "2027-02-28"),
        ("2026-W01", "previous", "2025-W52"),
        ("2026-W43", "year_ago", "2025-W43"),
        ("2026-W53", "year_ago", "2026-W01"),  # 52 weeks before: a year of 53 weeks has no other
    ],
)
def test_the_baseline_is_the_whole_period_before_or_a_year_ago(period: str, over: Any, baseline: str) -> None:
    """Of the same length."""
    assert str(baseline_period(Period.parse(period), over)) == baseline


@pytest.mark.parametrize(
    ("increase", "direction", "actual", "wanted"),
    [
        ("20%", "higher_is_better", 110, (120, 0.5, "missed")),  # half of the way from 100 to 120
        ("20%", "higher_is_better", 126, (120, 1.3, "met")),
        ("20%", "higher_is_better", 90, (120, -0.5, "missed")),
        (2, "higher_is_better", 101, (102, 0.5, "missed")),  # two units are not two percent
        (200, "higher_is_better", 300, (300, 1.0, "met")),
        ("-10%", "lower_is_better", 95, (90, 0.5, "missed")),
        ("-10%", "lower_is_better", 85, (90, 1.5, "met")),
        (-4, "lower_is_better", 97, (96, 0.75, "missed")),
    ],
)
def test_an_increase_is_judged_by_what_it_comes_to(
    increase: Any, direction: str, actual: float, wanted: tuple[float, float, str]
) -> None:
    """September was 100; attainment is the share of the way from there."""
    catalog = level({"increase": increase, "over": "previous"}, direction=direction)
    october = status(catalog, means(m2026_09=100, m2026_10=actual), "2026-11-02", "2026-10")
    assert (october.target_value, october.attainment, october.status) == pytest.approx(wanted)
    assert (october.baseline, october.final) == (100, True)
    assert "over 100 in 2026-09)" in october.reason


def test_a_kpi_that_may_lose_a_tenth_is_measured_by_what_is_left() -> None:
    """Of 100 in September 90 must be left; there is no way to go, so 99 is 1.1 of it."""
    catalog = level({"increase": "-10%", "over": "previous"})
    october = status(catalog, means(m2026_09=100, m2026_10=99), "2026-11-02", "2026-10")
    assert (october.target_value, october.status, october.attainment) == (90, "met", pytest.approx(1.1))


def test_a_total_that_is_an_increase_is_expected_by_pace() -> None:
    """200 an hour in September are 144,000; 25 % more are 180,000, and half of that by half of November."""
    events = hourly("2026-09-01", "2026-10-01", lambda _: 200.0) + hourly("2026-10-01", "2026-11-01", lambda _: 200.0)
    catalog = shop(targets=[{"period": "2026-10", "increase": "25%", "over": "previous"}])
    october = status(catalog, events, "2026-10-16 12:00", "2026-10")
    assert (october.target_value, october.expected) == (180_000, pytest.approx(90_000))
    assert (october.actual, october.status) == (15.5 * 4800, "off_track")
    assert october.reason == "off track: 74,400 of 90,000 expected by now (target: +25% over 144,000 in 2026-09)"


def test_the_bands_of_a_target_hold_on_what_it_comes_to() -> None:
    """Over 100, 20 % more are 120: at risk from 0.9 of that, or from 5 below it."""
    events = means(m2026_09=100, m2026_10=112)
    share = level({"increase": "20%", "over": "previous", "at_risk": 0.9})
    assert status(share, events, "2026-10-20", "2026-10").status == "at_risk"  # 108
    units = level({"increase": "20%", "over": "previous", "tolerance": 5})
    assert status(units, events, "2026-10-20", "2026-10").status == "off_track"  # 115
    wider = level({"increase": "20%", "over": "previous", "tolerance": 8})
    assert status(wider, events, "2026-10-20", "2026-10").status == "at_risk"  # 112


def test_an_increase_over_a_negative_baseline_goes_up() -> None:
    """A fifth better than a loss of 100 is one of 80; it needs a tolerance, as a share of it means nothing."""
    events = means(m2026_09=-100, m2026_10=-85)
    without = status(level({"increase": "20%", "over": "previous"}), events, "2026-10-20", "2026-10")
    assert (without.status, without.target_value) == ("no_data", -80)
    assert without.reason == "no target: +20% over -100 in 2026-09 is -80, and 0 or less needs a tolerance"
    given = status(level({"increase": "20%", "over": "previous", "tolerance": 6}), events, "2026-10-20", "2026-10")
    assert (given.status, given.attainment) == ("at_risk", 0.75)


def test_without_a_baseline_there_is_no_verdict() -> None:
    """And the reason says so: nothing there, no value there, or a total that was not seen whole."""
    growth = {"increase": "20%", "over": "year_ago"}
    events = means(m2026_09=100, m2026_10=90)
    october = status(level(growth), events, "2026-11-02", "2026-10")
    assert (october.status, october.target_value, october.actual, october.final) == ("no_data", None, 90, True)
    assert october.reason == "no baseline for +20%: there are no events of 2025-10"
    previous = [{"every": "month", "increase": "20%", "over": "previous"}]
    late = hourly("2026-09-10", "2026-11-01", lambda _: 1.0)
    total = status(shop(targets=previous), late, "2026-10-20", "2026-10")
    assert total.reason == "no baseline for +20%: 2026-09 was not seen whole: the first event is of 2026-09-10 00:00"
    gap = [*means(m2026_08=1), *means(m2026_10=1)]
    assert status(level({"increase": "20%", "over": "previous"}), gap, "2026-10-20", "2026-10").reason == (
        "no baseline for +20%: the KPI has no value in 2026-09"
    )


def test_a_target_narrowed_to_a_region_goes_by_that_region() -> None:
    """EU had 10 an hour, the US 90."""
    catalog = shop(
        dimensions={"region": "region"},
        targets=[{"every": "month", "increase": "10%", "over": "previous", "by": {"region": "EU"}}],
    )
    events = hourly("2026-09-01", "2026-11-01", lambda _: 10.0, region="EU")
    events += hourly("2026-09-01", "2026-11-01", lambda _: 90.0, region="US")
    assert status(catalog, events, "2026-11-02", "2026-10").target_value == pytest.approx(7200 * 1.1)


def test_late_events_move_the_baseline_of_a_running_period_but_not_of_a_final_one() -> None:
    """A month that was missed is not met after the fact, nor the other way round."""
    catalog = level({"increase": "20%", "over": "previous"})
    place = World(catalog, means(m2026_08=90, m2026_09=100, m2026_10=110, m2026_11=140), "2026-10-20")
    assert place.look("2026-10-20").statuses[-1].target_value == 120
    place.reader.events["order.placed"].append(Event(at("2026-09-30 23:00"), {}, 410.0))
    assert place.look("2026-10-20 00:30").statuses[-1].target_value == 120  # the past is read once an hour
    assert place.look("2026-10-20 02:00").statuses[-1].target_value == pytest.approx(1.2 * 3410 / 31)
    final = next(one for one in place.look("2026-11-02").statuses if one.period == "2026-10")
    place.reader.events["order.placed"].append(Event(at("2026-09-30 23:30"), {}, -600.0))
    again = next(one for one in place.look("2026-11-03").statuses if one.period == "2026-10")
    assert (again.status, again.target_value) == ("missed", final.target_value)


def test_an_increase_reads_as_it_is_written() -> None:
    """And survives the way through the store."""
    assert [str(Increase(20, True)), str(Increase(-2.5, True)), str(Increase(2, False))] == ["+20%", "-2.5%", "+2"]
    for given in (
        {"every": "month", "increase": "-2.5%", "over": "year_ago", "tolerance": 1},
        {"period": "2026-W43", "increase": 2, "over": "previous", "by": {"region": "EU", "channel": "web"}},
        {"every": "day", "min": 1, "max": 2.5, "tolerance": 0.1},
        {"period": "2026-Q4", "value": 360_000, "from": 300_000, "at_risk": 0.9},
    ):
        target = Target.model_validate(given)
        assert read_spec(written_spec(target)) == target
    assert read_spec("") is None
    assert read_spec('{"every": "fortnight"}') is None


MONTHLY = [{"every": "month", "value": 72_000}]
EASY = [{"every": "month", "value": 60_000}]


def test_a_period_judged_late_has_the_target_that_was_in_force_at_its_end() -> None:
    """The engine slept from 20 October to 5 November; the file was changed before it woke."""
    events = hourly("2026-09-01", "2026-12-20", lambda _: 90.0)  # 66,960 in October, 64,800 in November
    place = World(shop(targets=MONTHLY), events, "2026-10-20")
    place.look("2026-10-20")
    place.restart(shop(targets=EASY))
    found = {one.period: one for one in place.look("2026-11-05").statuses}
    assert (found["2026-10"].status, found["2026-10"].target_value) == ("missed", 72_000)
    assert (found["2026-11"].status, found["2026-11"].target_value) == ("on_track", 60_000)
    place.restart(shop(targets=MONTHLY))
    place.look("2026-12-03")
    november = place.history.kept["revenue", "every month", (), at("2026-11-01")]
    assert (november.status, november.target_value) == ("met", 60_000)


def test_periods_that_ended_before_anything_was_recorded_go_by_what_was_recorded_first() -> None:
    """Whatever the file says by then."""
    events = hourly("2026-09-01", "2026-12-20", lambda _: 90.0)
    place = World(shop(targets=MONTHLY), [], "2026-11-02")
    place.look("2026-11-02")  # nothing has arrived yet
    place.reader.events["order.placed"] = events
    place.restart(shop(targets=EASY))
    found = {one.period: one for one in place.look("2026-11-05").statuses}
    assert [found[month].status for month in ("2026-09", "2026-10")] == ["missed", "missed"]


def test_an_explicit_target_set_after_the_period_does_not_judge_it() -> None:
    """And one that is gone still judges the periods that it was for."""
    events = hourly("2026-09-01", "2026-12-20", lambda _: 90.0)
    place = World(shop(targets=MONTHLY), events, "2026-10-20")
    place.look("2026-10-20")
    place.restart(shop(targets=[{"period": "2026-10", "value": 1}, {"period": "2026-11", "value": 2}]))
    found = {one.period: one for one in place.look("2026-11-05").statuses}
    assert (found["2026-10"].target, found["2026-10"].target_value) == ("every month", 72_000)
    assert (found["2026-11"].target, found["2026-11"].target_value) == ("2026-11", 2)


def test_a_version_is_kept_once_and_a_change_is_later_than_what_it_changes() -> None:
    """Also where the clock of a replay lies behind that of the run before."""
    first, second = shop(targets=MONTHLY), shop(targets=EASY)
    history = TargetHistory()
    new = history.unseen(first, at("2026-11-01"))
    history.learn(new)
    assert (len(new), history.unseen(first, at("2026-11-02"))) == (1, [])
    [changed] = history.unseen(second, at("2026-10-01"))
    assert changed.first_seen == at("2026-11-01") + timedelta(microseconds=1)
    history.learn([changed])
    [gone] = history.unseen(shop(targets=[]), at("2026-12-01"))
    assert (gone.spec, gone.first_seen) == ("", at("2026-12-01"))
    history.learn([gone])
    revenue = first.kpi("revenue")

    def value(end: str) -> list[float | None]:
        return [target.value for target in history.in_force(revenue, Grain.MONTH, (), at(end))]

    assert [value(end) for end in ("2026-09-01", "2026-11-02", "2026-12-01", "2027-01-01")] == [
        [72_000],
        [60_000],
        [60_000],
        [],
    ]


def test_versions_come_back_from_the_store(store: ClickHouse) -> None:
    """Written twice they are one."""
    kept = ClickHouseHistory(store)
    series = (("region", "it's"),)
    versions = [
        TargetVersion("revenue", "every month", series, at("2026-11-01"), written_spec(Target(every="month", value=1))),
        TargetVersion("revenue", "every month", series, at("2026-11-02"), ""),
    ]
    kept.save_targets(versions)
    kept.save_targets(versions)
    assert kept.targets() == versions


def test_a_view_shows_what_an_increase_came_to_and_for_the_past_what_was_judged_by(store: ClickHouse) -> None:
    """March 14, so April wants 16.8, and May all of that by now, for every month so far sold on its first day only.

    Then the file changes, and only the month that runs follows it.
    """
    growth = Target.model_validate({"every": "month", "increase": "20%", "over": "previous"})
    sent = [
        order(f"{month}{region}", at(f"2026-{month:02}-01 06:00"), region=region, amount=7)
        for month in (3, 4, 5)
        for region in ("EU", "US")
    ]
    revenue = folded("revenue", "sum", value="amount", dimensions=REGION, targets=[growth])
    catalog = folded_catalog_of(revenue)
    logs = {0: log_of(sent, arrival=at("2026-05-20"))}
    worker = world(store, catalog, logs)
    drain(worker, logs)
    worker.flush(caught_up={0: at("2026-05-20 01:00")})

    def seen(catalog: Catalog) -> list[tuple[object, ...]]:
        refresh_views(store, catalog, TOPIC)
        Engine(catalog, Reader(store, catalog), ClickHouseHistory(store), Silent()).evaluate(
            at("2026-05-20"), notify=False
        )
        return store.query("SELECT target, status FROM kpi_revenue_month_total ORDER BY window_start")

    assert seen(catalog) == [(None, "no_data"), (pytest.approx(16.8), "missed"), (pytest.approx(16.8), "off_track")]
    other = revenue.model_copy(update={"targets": (Target(every="month", value=5), Target(every="year", value=9))})
    assert seen(folded_catalog_of(other)) == [(None, "no_data"), (pytest.approx(16.8), "missed"), (5, "on_track")]
    gone = revenue.model_copy(update={"targets": ()})
    assert seen(folded_catalog_of(gone)) == [(None, "no_data"), (pytest.approx(16.8), "missed"), (None, "")]


class Silent:
    """A notifier for replays, which tell nobody."""

    def submit(self, notifications: object) -> None:
        """Never called."""

    def refresh(self, firing: object, now: object) -> None:
        """Never called."""


def test_the_range_of_a_total_is_due_by_pace_and_has_no_attainment() -> None:
    """Half of 100 to 200 is due by half of the month; at 96 of 100 wanted it is within 10, at 60 it is not."""
    for hourly_value, wanted in ((0.2, "on_track"), (0.13, "at_risk"), (0.1, "off_track"), (0.28, "at_risk")):
        catalog = shop(direction="in_range", targets=[{"every": "month", "min": 100, "max": 200, "tolerance": 10}])
        events = hourly("2026-11-01", "2026-12-01", lambda _, value=hourly_value: value)
        found = status(catalog, events, "2026-11-16", "2026-11")
        assert found.status == wanted, (hourly_value, found.actual)
        assert found.attainment is None


def test_lower_is_better_is_used_up_rather_than_attained() -> None:
    """60 complaints of 100 allowed in half of a month are 0.6 of them, and 10 more than are due by then."""
    catalog = shop(direction="lower_is_better", targets=[{"every": "month", "value": 100}])
    events = hourly("2026-11-01", "2026-12-01", lambda _: 60 / 360)
    found = status(catalog, events, "2026-11-16", "2026-11")
    assert (found.attainment, found.gap, found.status) == (pytest.approx(0.6), pytest.approx(10), "off_track")
    way = shop(direction="lower_is_better", targets=[{"every": "month", "value": 100, "from": 200}])
    final = status(way, hourly("2026-11-01", "2026-12-01", lambda _: 150 / 720), "2026-12-02", "2026-11")
    assert (final.attainment, final.status) == (pytest.approx(0.5), "missed")


def test_a_frozen_status_keeps_what_an_increase_came_to() -> None:
    """A silent source moves neither value nor target."""
    catalog = shop(expected_every=HOUR, targets=[{"every": "month", "increase": 100, "over": "previous"}])
    place = World(catalog, hourly("2026-09-01", "2026-11-10", lambda _: 1.0), "2026-11-09")
    before = place.look("2026-11-09").statuses[-1]
    after = place.look("2026-11-12").statuses[-1]
    assert (after.stale, before.target_value) == (True, 844)
    assert replace(after, stale=False, evaluated_at=before.evaluated_at) == before
