"""Forecast rules in the engine, and one message per KPI and period, told as timetables in event time."""

from __future__ import annotations

import random
from datetime import datetime
from typing import Any

import pytest
from alerts_fakes import Event, at, catalog_of, simple
from prometheus_client import CollectorRegistry
from test_engine import CHANNELS, HOUR, World, hourly, off_pace

from onpace.alerts.collector import KpiCollector
from onpace.alerts.rule_words import rule_words
from onpace.alerts.status_page import status_document
from onpace.config.catalog import Catalog
from onpace.config.rules import ForecastRule, Rule

DAY = 24 * HOUR


def will_miss(**more: Any) -> ForecastRule:
    """From 70 % on, for six hours."""
    given = {"name": "will-miss", "kpi": "revenue", "when": "forecast", "for": "6h", "after": "10%", "notify": ["ops"]}
    return ForecastRule.model_validate(given | more)


def shop(*rules: Rule, **kpi: Any) -> Catalog:
    """Revenue with a monthly target of 68,000."""
    given = {"title": "Revenue", "unit": "EUR", "targets": [{"every": "month", "value": 68_000}]} | kpi
    return catalog_of([simple(**given)], rules or [will_miss()], channels=CHANNELS)


def months(start: str, end: str, bad_from: str = "2099-01-01", **dims: str) -> list[Event]:
    """About 100 an hour; each month has a level of its own, and each day. Half of that from `bad_from` on."""
    rng = random.Random(5)
    levels: dict[str, float] = {}

    def flow(moment: datetime) -> float:
        month = levels.setdefault(f"{moment:%Y-%m}", rng.uniform(80, 120))
        day = levels.setdefault(f"{moment:%Y-%m-%d}", rng.uniform(0.9, 1.1))
        return month * day * (0.5 if moment >= at(bad_from) else 1.0)

    return hourly(start, end, flow, **dims)


def bad_november(*rules: Rule, begun: str = "2025-06-01", **kpi: Any) -> World:
    """Seventeen months, and then one that has half its usual flow from the 8th on."""
    return World(shop(*rules, **kpi), months(begun, "2026-12-03", "2026-11-08"), "2026-11-01")


def test_a_month_that_will_miss_is_told_before_it_is_missed() -> None:
    """Quiet while it goes well, told once a miss is likely, and the alert ends with the month."""
    world = bad_november()
    world.run("2026-11-01", "2026-11-08")
    assert world.told() == []
    world.run("2026-11-08 06:00", "2026-11-20")
    assert world.told() == [("will-miss", "firing")]
    told = world.notifier.sent[0].annotations
    assert told["summary"] == f"Revenue in November 2026: {told['forecast']}"
    assert told["forecast"].endswith("of 68,000 expected at the end, by 15 past months")
    world.run("2026-11-20 06:00", "2026-12-02", every=DAY)
    november = world.alert("2026-11")
    assert (november.state, november.reason.partition(":")[0]) == ("missed", "missed")
    assert world.told() == [("will-miss", "firing"), ("will-miss", "resolved")]


def test_the_transition_keeps_what_the_forecast_was_made_of() -> None:
    """So that it can be asked later why it fired."""
    world = bad_november()
    world.run("2026-11-10", "2026-11-20")
    fired = next(one for one in world.history.transitions if one.alert.state == "firing")
    inputs: dict[str, Any] = dict(fired.inputs)
    assert inputs["probability"] >= inputs["bound"] == 0.7
    assert (inputs["past_periods"], inputs["scored_periods"], inputs["calibrated"]) == (15, 12, "yes")
    assert inputs["low"] < inputs["median"] < inputs["high"]
    assert inputs["brier"] < inputs["base_brier"]


def test_before_eight_past_months_were_scored_there_is_no_verdict() -> None:
    """Twelve whole months before are too few: seven could be scored. With thirteen it speaks."""
    silent, speaks = bad_november(begun="2025-11-01"), bad_november(begun="2025-10-01")
    for world in (silent, speaks):
        world.run("2026-11-18", "2026-11-20")
    status = silent.engine.latest.statuses[-1]
    forecast = silent.engine.latest.forecasts[status.key]
    assert (forecast.probability, forecast.score.periods) == (None, 7)
    assert forecast.low < forecast.high
    assert forecast.reason == "7 past periods were scored, 8 are needed"
    assert (silent.told(), silent.alert("2026-11").state) == ([], "inactive")
    assert speaks.told() == [("will-miss", "firing")]


def unsteady(moment: datetime) -> float:
    """Most of it comes in the last ten days of a month, from May 2026 on in the first ten."""
    rich = moment.day <= 10 if moment >= at("2026-05-01") else moment.day > 20
    return (290.0 if rich else 30.0) + moment.month


def test_a_calibrated_forecast_may_page() -> None:
    """Its rule says so."""
    world = bad_november(will_miss(severity="page"))
    world.run("2026-11-10", "2026-11-20")
    assert [one.labels["severity"] for one in world.notifier.sent] == ["page"]


def test_an_uncalibrated_forecast_never_pages() -> None:
    """A flow that goes another way since May makes a ticket of a page, and the message says why."""
    catalog = shop(will_miss(severity="page"), targets=[{"every": "month", "value": 120_000}])
    world = World(catalog, hourly("2025-03-01", "2026-11-28", unsteady), "2026-11-01")
    world.run("2026-11-04", "2026-11-25")
    fired = world.notifier.sent[0]
    assert (fired.state, fired.labels["severity"]) == ("firing", "ticket")
    assert "(not calibrated: " in fired.annotations["summary"]
    assert fired.annotations["summary"].endswith(", so a ticket and no page")


def test_it_ends_once_a_miss_is_unlikely_enough() -> None:
    """Ten points below where it fires; in between it stays as it is."""
    rule = will_miss(probability="60%", after="0%", clear="20%", **{"for": "0s"})
    events = months("2025-06-01", "2026-12-03", "2026-11-08")
    rescued = [Event(one.time, {}, one.value * (5 if one.time > at("2026-11-18") else 1)) for one in events]
    world = World(shop(rule), rescued, "2026-11-01")
    chances = []
    for day in range(8, 29):
        found = world.look(at("2026-11-01") + day * DAY)
        chances.append((found.forecasts["revenue", (), "2026-11"].probability, world.alert("2026-11").state))
    assert {state for chance, state in chances if chance >= 0.6} == {"firing"}
    assert "firing" in {state for chance, state in chances if 0.2 < chance < 0.6}
    assert {state for chance, state in chances if chance <= 0.2} <= {"inactive", "resolved"}
    assert world.told() == [("will-miss", "firing"), ("will-miss", "resolved")]


def test_one_late_look_finds_what_many_would_have() -> None:
    """A replay looks back over the rule's `for`, and so does a preview, which stores nothing."""
    world = bad_november()
    world.reader.clock = at("2026-11-20")
    found = world.engine.preview(world.reader.clock)
    assert [alert.state for alert in found.alerts] == ["firing"]
    assert world.history.kept == {}
    world.look("2026-11-20", notify=False)
    assert world.alert("2026-11").state == "firing"
    assert world.told() == []


def test_a_forecast_costs_no_query_of_its_own() -> None:
    """What it needs of the past is read with the status, and kept until W enters the next hour."""
    world = bad_november(will_miss(**{"for": "0s"}))
    world.look("2026-11-20")
    assert world.reader.queries == ["values revenue"]
    world.reader.queries.clear()
    world.look("2026-11-20 00:20")
    assert world.reader.queries == ["values revenue"]


def test_levels_are_forecast_by_how_they_went_on_from_there() -> None:
    """An average that sank in the second half of every month is expected to do so again."""

    def flow(moment: datetime) -> float:
        return (100.0 if moment.day < 16 else 80.0) + moment.month

    kpi = {"agg": "avg", "targets": [{"every": "month", "value": 105.0}]}
    world = World(shop(will_miss(), **kpi), hourly("2025-10-01", "2026-11-20", flow), "2026-11-01")
    found = world.look("2026-11-14")
    forecast = found.forecasts["revenue", (), "2026-11"]
    assert found.statuses[-1].actual == 111
    assert 100 < forecast.low <= forecast.high < 102
    assert forecast.probability == pytest.approx(13.5 / 14)


def test_everything_that_is_shown_shows_it() -> None:
    """The page's document and the metrics, of the headline target; JSON and numbers only."""
    world = bad_november()
    found = world.run("2026-11-18", "2026-11-20")
    row = status_document(found, world.catalog)["kpis"][0]["forecast"]
    forecast = found.forecasts["revenue", (), "2026-11"]
    assert row["words"].startswith(f"{forecast.probability * 100:.0f} % likely to miss: ")
    assert (row["low"], row["high"], row["calibrated"]) == (forecast.low, forecast.high, True)
    registry = CollectorRegistry()
    registry.register(KpiCollector(lambda: world.catalog, lambda: found))
    about = {"kpi": "revenue"}
    assert registry.get_sample_value("onpace_kpi_miss_probability_ratio", about) == forecast.probability
    assert registry.get_sample_value("onpace_kpi_forecast", about | {"bound": "median"}) == forecast.median
    assert registry.get_sample_value("onpace_kpi_forecast_scored_periods", about) == 12
    assert registry.get_sample_value("onpace_kpi_forecast_calibrated", about) == 1


def test_a_pace_alert_carries_the_forecast() -> None:
    """As evidence inside it."""
    world = bad_november(off_pace())
    world.run("2026-11-10", "2026-11-20")
    told = world.notifier.sent[0]
    assert told.labels["alertname"] == "revenue-off-pace"
    assert "likely to miss" in told.annotations["forecast"]
    assert f"Forecast: {told.annotations['forecast']}." in told.annotations["description"]


def test_the_rule_in_words() -> None:
    """As `onpace why` begins."""
    words = "Revenue: fires from a probability to miss of 70 % on, for 6h, after 10% of the period"
    assert rule_words(will_miss(), "Revenue", "EUR") == words
