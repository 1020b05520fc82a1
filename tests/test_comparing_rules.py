"""Rules on change, the unusual and attainment in the engine, told as timetables in event time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from alerts_fakes import Event, at, catalog_of, simple
from test_engine import CHANNELS, HOUR, World, hourly

from onpace.config.calendars import CalendarRules
from onpace.config.catalog import Catalog
from onpace.config.kpi import RatioKpi
from onpace.config.rules import AnomalyRule, AttainmentRule, ChangeRule, Rule

DAY = timedelta(days=1)


def change(**given: Any) -> ChangeRule:
    """Days against the same weekday, 30 % less and 50 in all."""
    common = {"name": "drop", "kpi": "revenue", "when": "change", "against": "same_weekday", "notify": ["ops"]}
    return ChangeRule.model_validate(common | {"drop": "30%", "min_effect": 50} | given)


def anomaly(**given: Any) -> AnomalyRule:
    """Unusual days."""
    common = {"name": "odd", "kpi": "revenue", "when": "anomaly", "notify": ["ops"]}
    return AnomalyRule.model_validate(common | given)


def attainment(**given: Any) -> AttainmentRule:
    """Less than 80 % of the target, once 90 % of the month are over."""
    common = {"name": "behind", "kpi": "revenue", "when": "attainment", "below": "80%", "after": "90%"}
    return AttainmentRule.model_validate(common | {"notify": ["ops"]} | given)


def shop(*rules: Rule, **kpi: Any) -> Catalog:
    """Revenue, by region."""
    given = {"title": "Revenue", "unit": "EUR", "dimensions": {"region": "region"}} | kpi
    return catalog_of([simple(**given)], rules, channels=CHANNELS)


def weekly(low: dict[str, float]) -> Callable[[datetime], float]:
    """10 EUR an hour, 20 on weekends; on some days a share of that."""

    def sales(moment: datetime) -> float:
        usual = 20.0 if moment.weekday() >= 5 else 10.0
        return usual * low.get(f"{moment:%m-%d}", 1.0)

    return sales


def steps(world: World) -> list[tuple[str, str, datetime]]:
    """All transitions that were stored, but for those of one that was never worth a message."""
    return [(one.before, one.alert.state, one.at) for one in world.history.transitions]


def test_a_day_is_compared_with_the_same_weekday() -> None:
    """A weekend has twice as much, which is no news; half of a Monday is, and 80 % of the next one end it."""
    events = hourly("2026-10-05", "2026-12-01", weekly({"11-16": 0.5, "11-17": 0.8, "11-18": 0.9}))
    world = World(shop(change()), events, "2026-10-05")
    world.run("2026-10-06", "2026-11-16 18:00")
    assert world.told() == []
    world.look("2026-11-17 00:00")
    alert = world.alert()
    assert (alert.state, alert.fired_at, alert.value) == ("firing", at("2026-11-17"), 120)
    assert alert.reason == "120 EUR, 50 % below the 240 of the last 4 Mondays"
    world.look("2026-11-18")
    assert world.alert().state == "firing"  # 20 % less is not near enough: half of 30 % are 15 %
    world.look("2026-11-19")
    assert world.alert().resolved_at == at("2026-11-19")
    assert world.told() == [("drop", "firing"), ("drop", "resolved")]


def test_one_late_look_takes_the_same_steps_as_many() -> None:
    """A replay of two months, over hours and days, with every kind of rule on windows."""
    low = {"10-20": 0.3, "11-03": 0.5, "11-04": 1.6, "11-16": 0.5, "11-17": 0.8, "11-29": 0.0}
    rules = [
        change(),
        change(name="hours", grain="hour", min_effect=None, keep_firing_for="2h"),
        change(name="before", against="previous", rise="30%", drop=None, min_effect=None),
        anomaly(direction="both"),
        anomaly(name="odd-hours", grain="hour"),
        anomaly(name="xmr", method="xmr", direction="both"),
    ]
    events = hourly("2026-10-05", "2026-12-01", weekly(low))
    for rule in rules:
        live, late = World(shop(rule), events, "2026-10-05"), World(shop(rule), events, "2026-10-05")
        live.run("2026-10-06", "2026-12-01")
        late.look("2026-12-01", notify=False)
        assert steps(live) == steps(late), rule.name
        assert len(steps(live)) >= 2, rule.name


def test_an_unusual_day_is_one_for_its_weekday() -> None:
    """Weekends are twice as high and no anomaly; a Sunday as low as a Monday is one, for as long as it lasts."""
    noisy = weekly({"11-22": 0.5})

    def sales(moment: datetime) -> float:
        return noisy(moment) + moment.day % 3 * 0.1  # up to 4.8 a day

    world = World(shop(anomaly()), hourly("2026-10-05", "2026-12-01", sales), "2026-10-05")
    world.run("2026-10-06", "2026-11-22 18:00")
    assert world.told() == []
    world.run("2026-11-23", "2026-11-24")
    assert [(before, after) for before, after, _ in steps(world)] == [("inactive", "firing"), ("firing", "resolved")]
    assert [at for *_, at in steps(world)] == [at("2026-11-23"), at("2026-11-24")]
    assert world.notifier.sent[0].annotations["summary"].startswith("Revenue: 242.4 EUR, below the usual 465.2 to")


def test_each_series_has_an_alert_of_its_own_and_one_query_is_enough() -> None:
    """However many there are; and nothing is read until another window is complete."""
    events = [e for n in range(9) for e in hourly("2026-10-05", "2026-11-17 12:00", weekly({}), region=f"r{n}")]
    events = [e for e in events if not (e.dims["region"] == "r3" and e.time >= at("2026-11-16"))]
    world = World(shop(change(by=["region"])), events, "2026-10-05")
    world.look("2026-11-16")
    world.reader.queries.clear()
    world.look("2026-11-17")
    assert world.reader.queries.count("series revenue") == 1
    assert world.alert(region="r3").reason == "0 EUR, 100 % below the 240 of the last 4 Mondays"
    assert [world.alert(region=f"r{n}").state for n in range(5)] == [*["inactive"] * 3, "firing", "inactive"]
    world.reader.queries.clear()
    world.look("2026-11-17 00:00:50")
    assert "series revenue" not in world.reader.queries


def test_a_year_ago_is_read_apart() -> None:
    """Two short stretches in one query, not a year of hours."""
    events = hourly("2025-11-01", "2025-12-01", lambda _: 10.0) + hourly("2026-11-01", "2026-11-20", lambda _: 4.0)
    rule = change(against="year_ago", grain="hour", min_effect=None)
    world = World(shop(rule), events, "2026-11-10")
    world.look("2026-11-10")
    alert = world.alert()
    assert (alert.state, alert.fired_at) == ("firing", at("2026-11-01 01:00"))
    assert alert.reason == "4 EUR, 60 % below the 10 of the same hour a year ago"
    world.reader.queries.clear()
    world.look("2026-11-10 01:00")
    assert world.reader.queries.count("series revenue") == 1
    assert world.reader.windows_read == 4  # the new one and the newest one before it, each with that of a year ago


def test_windows_with_too_little_volume_are_neither_judged_nor_compared_with() -> None:
    """The days of three checkouts, of which all or none buy, are left out."""
    kpis = [
        simple("orders", agg="count", value=None, grain="1d"),
        simple("checkouts", agg="count", value=None, grain="1d", event="checkout.started"),
        RatioKpi.model_validate(
            {"name": "conversion", "type": "ratio", "numerator": "orders", "denominator": "checkouts"}
            | {"direction": "higher_is_better", "role": "leading", "timezone": "UTC"}
        ),
    ]
    given = {"name": "drop", "kpi": "conversion", "when": "change", "against": "previous", "drop": "50%"}
    rule = ChangeRule.model_validate(given | {"min_volume": {"kpi": "checkouts", "at_least": 10}})
    counts = {1: (10, 8), 2: (10, 8), 3: (3, 3), 4: (10, 2), 5: (10, 3), 6: (10, 1), 7: (3, 0)}
    events = {
        name: [
            Event(at(f"2026-11-0{day}") + number * HOUR, {}, 1.0)
            for day, both in counts.items()
            for number in range(both[which])
        ]
        for which, name in enumerate(["checkouts", "orders"])
    }
    catalog = catalog_of(kpis, [rule], channels=CHANNELS)
    world = World(catalog, events["orders"], "2026-11-01", checkout_started=events["checkouts"])
    world.run("2026-11-02", "2026-11-08", every=DAY)
    # the 4th has a quarter of the 2nd, but the day before it, the 3rd, is nothing to go by; 0.1 is a third of 0.3
    assert steps(world) == [("inactive", "firing", at("2026-11-07"))]
    assert world.alert().state == "firing"


def test_closed_days_are_neither_judged_nor_compared_with() -> None:
    """Nothing is sold on weekends: Monday is compared with Friday, and Saturday with nothing."""
    five_days = CalendarRules.model_validate({"name": "five", "weekend": ["sat", "sun"], "closed": ["2026-11-25"]})

    def sales(moment: datetime) -> float:
        open_ = moment.weekday() < 5 and f"{moment:%m-%d}" != "11-25"
        return (10.0 + moment.day % 2) * open_

    events = hourly("2026-09-28", "2026-12-01", sales)
    rules = [change(against="previous"), anomaly(method="xmr"), anomaly(name="season")]
    for rule in rules:
        world = World(shop(rule, calendar=five_days), events, "2026-09-28")
        world.run("2026-09-29", "2026-12-01", every=DAY)
        assert steps(world) == [], rule.name
    without = World(shop(change(against="previous")), events, "2026-09-28")
    without.look("2026-12-01")
    assert steps(without)


def test_attainment_speaks_late_in_the_month_and_of_the_headline_only() -> None:
    """70 % of 7,200 after 27 days; the target by region is another matter; a new month is another alert."""
    targets = [
        {"every": "month", "value": 7_200, "headline": True},
        {"every": "month", "value": 99_999, "by": {"region": "EU"}},
        {"every": "quarter", "value": 99_999},
    ]
    events = hourly("2026-11-01", "2026-12-10", lambda _: 7.5, region="EU")
    world = World(shop(attainment(), targets=targets), events, "2026-11-01")
    world.run("2026-11-01 12:00", "2026-11-27 18:00")
    assert world.told() == []
    world.run("2026-11-28", "2026-11-28 06:00")
    alert = world.alert("2026-11")
    assert (alert.state, alert.fired_at) == ("firing", at("2026-11-28"))
    assert alert.reason == "68.1 % of the target is reached (4,905 of 7,200), less than 80 %"
    found = world.run("2026-11-28 12:00", "2026-12-02")
    november = world.alert("2026-11")
    assert (november.state, november.reason) == ("missed", "missed: final 5,400 of 7,200")
    assert {a.period for a in found.alerts} == {"2026-11", "2026-12"}
    assert world.told() == [("behind", "firing"), ("behind", "resolved")]


def test_an_attainment_alert_of_what_is_no_headline_any_more_ends() -> None:
    """So that nothing fires forever."""
    month, week = {"every": "month", "value": 7_200}, {"every": "week", "value": 100}
    events = hourly("2026-11-01", "2026-12-10", lambda _: 7.5)
    world = World(shop(attainment(), targets=[month, week]), events, "2026-11-28")
    world.look("2026-11-28")
    assert world.alert("2026-11").state == "firing"
    world.restart(shop(attainment(), targets=[month, week | {"headline": True}]))
    world.look("2026-11-28 06:00")
    assert world.alert("2026-11").state == "resolved"


def test_an_alert_that_is_kept_firing_is_one_message() -> None:
    """Good hours in between do not end it, until there are three; a restart does not forget since when."""
    bad = {1, 3, 5, 6}
    events = hourly("2026-11-01", "2026-11-03", lambda m: 1.0 if m.day == 2 and m.hour in bad else 10.0)
    rule = change(against="previous", grain="hour", min_effect=None, clear="30%", keep_firing_for="3h")
    world = World(shop(rule), events, "2026-11-02")
    for hour in range(24):
        world.look(at("2026-11-02") + hour * HOUR)
        if hour == 8:
            assert (world.alert().state, world.alert().good_since) == ("firing", at("2026-11-02 07:00"))
            assert world.alert().reason.endswith("(fires until 2026-11-02 10:00 UTC)")
            world.restart()
    # 05:00 is a drop to a tenth; 06:00 is as low as that, which is none
    assert world.told() == [("drop", "firing"), ("drop", "resolved")]
    assert (world.alert().fired_at, world.alert().resolved_at) == (at("2026-11-02 02:00"), at("2026-11-02 10:00"))


def test_a_final_period_ends_an_alert_that_is_kept_firing() -> None:
    """What is over cannot get better."""
    rule = attainment(keep_firing_for="30d")
    events = hourly("2026-11-01", "2026-12-10", lambda _: 7.5)
    world = World(shop(rule, targets=[{"every": "month", "value": 7_200}]), events, "2026-11-28")
    world.look("2026-11-28")
    world.look("2026-12-01 06:00")
    assert world.alert("2026-11").state == "missed"
