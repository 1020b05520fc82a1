"""The alert engine, told as timetables in event time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from alerts_fakes import Event, FakeReader, MemoryHistory, MemoryNotifier, at, catalog_of, simple

from onpace.alerts.alerting import PIPELINE_RULES
from onpace.alerts.engine import Engine
from onpace.alerts.evaluation import Evaluation
from onpace.alerts.evidence import Evidence
from onpace.alerts.states import Alert
from onpace.config.catalog import Catalog
from onpace.config.errors import StoreUnavailable
from onpace.config.kpi import RatioKpi
from onpace.config.rules import Channel, NoDataRule, PaceRule, Rule, ThresholdRule

HOUR = timedelta(hours=1)
CHANNELS = [Channel(name="ops", type="log"), Channel(name="team", type="log")]


def hourly(start: str, end: str, value: Callable[[datetime], float], **dims: str) -> list[Event]:
    """One event in the middle of every hour."""
    found, moment = [], at(start)
    while moment < at(end):
        found.append(Event(moment + HOUR / 2, dims, value(moment)))
        moment += HOUR
    return found


class World:
    """A catalog, its events and an engine over them, moved by hand."""

    def __init__(self, catalog: Catalog, orders: Sequence[Event], clock: str, **more: Sequence[Event]) -> None:
        events = {"order.placed": orders} | {name.replace("_", "."): found for name, found in more.items()}
        self.catalog = catalog
        self.reader = FakeReader(catalog, events, at(clock))
        self.history = MemoryHistory()
        self.notifier = MemoryNotifier()
        self.dashboard_url: str | None = None
        self.restart()

    def restart(self, catalog: Catalog | None = None) -> None:
        """A new engine over the same store."""
        self.catalog = self.reader.catalog = catalog or self.catalog
        evidence = Evidence(self.catalog, self.reader, self.dashboard_url)
        self.engine = Engine(
            self.catalog,
            self.reader,
            self.history,
            self.notifier,
            told_before=self.notifier.told,
            evidence=evidence,
        )

    def look(self, moment: str | datetime, *, notify: bool = True) -> Evaluation:
        """Let time pass to `moment`, and evaluate."""
        now = at(moment) if isinstance(moment, str) else moment
        self.reader.clock = now
        return self.engine.evaluate(now, notify=notify)

    def run(self, start: str, end: str, every: timedelta = 6 * HOUR) -> Evaluation:
        """Evaluate again and again."""
        moment = at(start)
        while moment <= at(end):
            found = self.look(moment)
            moment += every
        return found

    def alert(self, period: str = "", **series: str) -> Alert:
        """The one alert of that period and series."""
        assert self.engine.latest is not None
        wanted = (tuple(series.items()), period)
        return next(
            a for a in self.engine.latest.alerts if (a.series, a.period) == wanted and a.rule not in PIPELINE_RULES
        )

    def told(self) -> list[tuple[str, str]]:
        """Rule and state of every message."""
        return [(one.labels["alertname"], one.state) for one in self.notifier.sent]


def off_pace(**more: Any) -> PaceRule:
    """The example rule."""
    given = {
        "name": "revenue-off-pace",
        "kpi": "revenue",
        "when": "pace",
        "after": "10%",
        "for": "2h",
        "notify": ["ops"],
    }
    return PaceRule.model_validate(given | more)


def sales(moment: datetime) -> float:
    """100 an hour, and half of that from 10 November to the end of the month."""
    return 50.0 if at("2026-11-11") <= moment < at("2026-12-01") else 100.0


def shop(*rules: Rule, expected_every: timedelta | None = None, **kpi: Any) -> Catalog:
    """Revenue with a monthly target of 72,000: 100 an hour in November."""
    given = {"title": "Revenue", "unit": "EUR", "targets": [{"every": "month", "value": 72_000}]} | kpi
    return catalog_of([simple(**given)], rules or [off_pace()], expected_every=expected_every, channels=CHANNELS)


def test_a_month_that_goes_wrong() -> None:
    """Quiet at first, firing once it is off pace, missed at the end, and the new month is another alert."""
    world = World(shop(), hourly("2026-09-01", "2026-12-20", sales), "2026-11-01")
    found = world.look("2026-11-01 06:00")
    assert [(s.period, s.status) for s in found.statuses] == [
        ("2026-09", "met"),
        ("2026-10", "met"),
        ("2026-11", "on_track"),
    ]
    world.run("2026-11-01 12:00", "2026-11-11")
    assert world.told() == []
    world.run("2026-11-11 06:00", "2026-11-12 00:00")
    assert world.engine.latest.statuses[-1].status == "at_risk"
    assert world.told() == []
    world.run("2026-11-12 06:00", "2026-11-14 00:00")
    assert world.told() == [("revenue-off-pace", "firing")]
    assert world.alert("2026-11").state == "firing"
    status = next(s for s in world.engine.latest.statuses if s.period == "2026-11")
    assert (status.actual, status.expected) == (10 * 2400 + 3 * 1200, pytest.approx(13 * 2400))
    found = world.run("2026-11-14 06:00", "2026-12-04", every=24 * HOUR)
    november, december = world.alert("2026-11"), world.alert("2026-12")
    assert (november.state, november.reason, november.value) == ("missed", "missed: final 48,000 of 72,000", 48_000)
    assert november.resolved_at == at("2026-12-01")
    assert december.state == "inactive"
    assert world.told() == [("revenue-off-pace", "firing"), ("revenue-off-pace", "resolved")]
    final = next(s for s in found.statuses if s.period == "2026-11")
    assert (final.status, final.final, final.actual) == ("missed", True, 48_000)


def test_a_month_that_late_events_turn() -> None:
    """Who was told that it was missed is told that it was met; a figure that moves within its outcome is no news."""
    world = World(shop(), hourly("2026-09-01", "2026-12-20", sales), "2026-11-01")
    world.run("2026-11-11 06:00", "2026-12-02")
    before = [("revenue-off-pace", "firing"), ("revenue-off-pace", "resolved")]
    assert world.told() == before
    steps = len(world.history.transitions)

    world.reader.events["order.placed"].append(Event(at("2026-11-20 12:00"), {}, 1_000))
    world.look("2026-12-02 06:00")
    assert (world.alert("2026-11").state, world.alert("2026-11").value) == ("missed", 49_000)
    assert (world.told(), len(world.history.transitions)) == (before, steps)

    world.restart()
    world.reader.events["order.placed"].append(Event(at("2026-11-20 12:30"), {}, 23_500))
    world.look("2026-12-02 12:00")
    world.look("2026-12-02 18:00")
    [turned] = world.history.transitions[steps:]
    assert (turned.before, turned.alert.state, turned.at) == ("missed", "met", at("2026-12-02 12:00"))
    assert world.told() == [*before, ("revenue-off-pace", "resolved")]
    assert world.notifier.sent[-1].annotations["summary"] == (
        "Revenue met its target for November 2026: 72,500 EUR of 72,000 EUR (corrected by late events, was 49,000)"
    )
    assert len({one.key for one in world.notifier.sent}) == 3


def test_a_month_that_never_fired_has_an_outcome_all_the_same() -> None:
    """It is recorded, with how it came to it, and told to nobody: reports do that."""
    world = World(shop(), hourly("2026-09-01", "2026-12-20", lambda _: 98.0), "2026-11-01")
    world.run("2026-11-02", "2026-12-02")
    november = world.alert("2026-11")
    assert (november.state, november.fired_at, november.resolved_at) == ("missed", None, at("2026-12-01"))
    assert [(one.before, one.alert.state) for one in world.history.transitions] == [("inactive", "missed")]
    assert world.history.transitions[0].inputs["actual"] == 98 * 720
    assert world.told() == []


def test_a_month_that_recovered_is_over_when_it_has() -> None:
    """Its outcome is recorded, and no second message."""
    events = hourly("2026-09-01", "2026-12-20", lambda m: 50.0 if at("2026-11-02") <= m < at("2026-11-06") else 110.0)
    world = World(shop(), events, "2026-11-01")
    world.run("2026-11-02", "2026-12-02")
    states = [(one.before, one.alert.state) for one in world.history.transitions if one.alert.period == "2026-11"]
    assert states == [
        ("inactive", "pending"),
        ("pending", "firing"),
        ("firing", "resolved"),
        ("resolved", "met"),
    ]
    assert world.told() == [("revenue-off-pace", "firing"), ("revenue-off-pace", "resolved")]


def test_it_needs_few_queries_however_many_periods_and_series() -> None:
    """One read for all periods of a slice, one for all series of a rule."""
    rule = ThresholdRule.model_validate(
        {"name": "low", "kpi": "revenue", "when": "threshold", "below": 1, "by": ["region"]}
    )
    catalog = shop(off_pace(), rule, dimensions={"region": "region"})
    events = [e for n in range(9) for e in hourly("2026-01-01", "2026-03-10", sales, region=f"r{n}")]
    world = World(catalog, events, "2026-03-10")
    world.look("2026-03-10")
    assert sorted(world.reader.queries) == ["series revenue", "values revenue"]
    world.reader.queries.clear()
    world.look("2026-03-10 00:00:50")
    assert world.reader.queries == []
    world.look("2026-03-10 00:20")  # late events may have changed the newest window, and what has been reached
    assert sorted(world.reader.queries) == ["series revenue", "values revenue"]


def test_a_stale_source_freezes_its_kpis_and_raises_one_pipeline_alert() -> None:
    """No status change, no firing, no resolve over the silence; and it ends when events arrive again."""
    catalog = shop(expected_every=HOUR)
    quiet = [
        e
        for e in hourly("2026-09-01", "2026-11-20", lambda _: 100.0)
        if not at("2026-11-06") < e.time < at("2026-11-10")
    ]
    world = World(catalog, quiet, "2026-11-05")
    before = world.run("2026-11-05", "2026-11-06").statuses[-1]
    frozen = world.run("2026-11-06 06:00", "2026-11-10").statuses[-1]
    assert before.status == "on_track"
    assert (frozen.status, frozen.stale, frozen.actual, frozen.as_of) == ("on_track", True, before.actual, before.as_of)
    assert world.told() == [("pipeline-stale", "firing")]
    assert "order.placed" in world.engine.latest.stale
    world.look("2026-11-10 00:45")
    assert world.alert("2026-11").state == "pending"
    found = world.look("2026-11-10 12:00")
    assert (found.statuses[-1].status, found.statuses[-1].stale) == ("off_track", False)
    assert world.told()[1:] == [("pipeline-stale", "resolved"), ("revenue-off-pace", "firing")]


def test_a_kpi_whose_history_is_being_rebuilt_is_left_as_it_is() -> None:
    """What is there of it is not the whole: no status moves, nothing fires and nothing is over."""
    world = World(shop(), hourly("2026-09-01", "2026-12-20", sales), "2026-11-01")
    world.run("2026-11-01 12:00", "2026-11-20")
    before = world.alert("2026-11")
    assert before.state == "firing"
    world.reader.unfinished = {"revenue"}
    world.reader.events["order.placed"] = []
    found = world.run("2026-11-21", "2026-11-25")
    assert world.alert("2026-11").state == "firing"
    assert [(s.status, s.stale) for s in found.statuses if s.period == "2026-11"] == [("off_track", True)]
    assert len(world.told()) == 1


def test_a_period_that_ends_while_the_source_is_stale_is_not_judged() -> None:
    """October keeps its last status until the source is back, and November has no data."""
    events = [e for e in hourly("2026-09-01", "2026-11-20", lambda _: 100.0) if e.time < at("2026-10-30")]
    world = World(shop(expected_every=HOUR), events, "2026-10-29")
    world.look("2026-10-29 12:00")
    found = {s.period: s for s in world.look("2026-11-02").statuses}
    assert (found["2026-10"].status, found["2026-10"].stale, found["2026-10"].final) == ("on_track", True, False)
    assert (found["2026-11"].status, found["2026-11"].stale) == ("no_data", True)


def test_a_pipeline_that_is_behind_freezes_everything_it_feeds() -> None:
    """Not caught up for more than five minutes; told once, two minutes later; its silence rule says nothing then."""
    silent = NoDataRule.model_validate(
        {"name": "silent", "kpi": "revenue", "when": "no_data", "after": "1h", "notify": ["team"]}
    )
    world = World(shop(silent), hourly("2026-11-01", "2026-11-05", sales), "2026-11-04")
    world.look("2026-11-04")
    world.reader.caught_up_at = at("2026-11-05 11:00")
    found = world.look("2026-11-05 11:06")
    assert found.statuses[-1].stale
    assert world.told() == []
    world.look("2026-11-05 11:08")
    assert world.told() == [("pipeline-behind", "firing")]
    world.reader.caught_up_at = None
    world.look("2026-11-05 11:10")
    assert world.told()[1:] == [("silent", "firing"), ("pipeline-behind", "resolved")]


def test_what_was_not_read_is_no_silence() -> None:
    """Neither a source nor a KPI is called silent for the time since the pipeline was last caught up."""
    silent = NoDataRule.model_validate(
        {"name": "silent", "kpi": "revenue", "when": "no_data", "after": "30min", "notify": ["team"]}
    )
    catalog = shop(silent, expected_every=timedelta(minutes=30))
    world = World(catalog, hourly("2026-11-01", "2026-11-04 10:00", sales), "2026-11-04 09:00")
    last = max(event.time for event in world.reader.events["order.placed"])
    world.look(last + timedelta(minutes=28))
    world.reader.caught_up_at = last + timedelta(minutes=29)
    found = world.look(last + timedelta(minutes=33))
    assert (found.stale, world.told()) == ({}, [])
    world.reader.caught_up_at = last + timedelta(minutes=33)
    found = world.look(last + timedelta(minutes=33))
    assert list(found.stale) == ["order.placed"]
    assert world.told() == [("silent", "firing")]


def test_a_silent_source_and_then_a_pipeline_behind_are_one_alert_each() -> None:
    """The alert of the source stays as it is while nothing is read, and no other source is called silent."""
    names = {"order.placed": "revenue", "checkout.started": "checkouts"}
    rules = [off_pace(name=f"{kpi}-off-pace", kpi=kpi) for kpi in names.values()]
    kpis = [
        simple(kpi, event=event, title=kpi, unit="EUR", targets=[{"every": "month", "value": 72_000}])
        for event, kpi in names.items()
    ]
    catalog = catalog_of(kpis, rules, expected_every=2 * HOUR, channels=CHANNELS)
    steady = hourly("2026-11-01", "2026-11-06", lambda _: 100.0)
    world = World(catalog, steady, "2026-11-05", checkout_started=hourly("2026-11-01", "2026-11-05", sales))
    world.run("2026-11-05", "2026-11-05 12:00")
    assert world.told() == [("pipeline-stale", "firing")]
    world.reader.caught_up_at = at("2026-11-05 12:00")
    world.run("2026-11-05 18:00", "2026-11-07")
    assert world.told() == [("pipeline-stale", "firing"), ("pipeline-behind", "firing")]
    assert [alert.series for alert in world.engine.latest.alerts if alert.state == "firing"] == [
        (("event_type", "checkout.started"),),
        (),
    ]


def conversion_world(rule: dict[str, Any], rate: Callable[[datetime], float], **more: Any) -> World:
    """Two orders for `rate` checkouts an hour in two regions; `us` has too few checkouts to go by."""
    kpis = [
        simple("orders", agg="count", value=None, dimensions={"region": "region"}),
        simple("checkouts", agg="count", value=None, event="checkout.started", dimensions={"region": "region"}),
        RatioKpi.model_validate(
            {"name": "conversion", "type": "ratio", "numerator": "orders", "denominator": "checkouts"}
            | {"direction": "higher_is_better", "role": "leading", "timezone": "UTC"}
        ),
    ]
    given = {
        "name": "low",
        "kpi": "conversion",
        "when": "threshold",
        "grain": "hour",
        "by": ["region"],
        "notify": ["ops"],
    }
    catalog = catalog_of(kpis, [ThresholdRule.model_validate(given | rule)], channels=CHANNELS)
    checkouts: list[Event] = []
    orders: list[Event] = []
    for base in hourly("2026-11-02", "2026-11-04", rate):
        for region, size in (("eu", 10), ("us", 2)):
            checkouts += [Event(base.time, {"region": region})] * size
            orders += [Event(base.time, {"region": region})] * round(size * base.value)
    return World(catalog, orders, "2026-11-02", checkout_started=checkouts)


RULE = {"below": 0.5, "clear": {"above": 0.6}, "for": "1h", "min_volume": {"kpi": "checkouts", "at_least": 5}}


def dip(moment: datetime) -> float:
    """Good, then bad from 12:00 to 15:00, in the band until 18:00, then good."""
    return 0.8 if moment.hour < 12 else 0.2 if moment.hour < 15 else 0.6 if moment.hour < 18 else 0.9


def test_a_threshold_alert_goes_through_its_windows_in_event_time() -> None:
    """Breached at 13:00, firing at 14:00, kept in the band, resolved past the clear bound at 19:00."""
    world = conversion_world(RULE, dip)
    for hour in range(1, 24):
        world.look(at("2026-11-02") + hour * HOUR + timedelta(minutes=10))
    alert = world.alert(region="eu")
    assert (alert.state, alert.active_since) == ("resolved", at("2026-11-02 13:00"))
    assert (alert.fired_at, alert.resolved_at) == (at("2026-11-02 14:00"), at("2026-11-02 19:00"))
    assert world.alert(region="us").state == "inactive"
    assert world.told() == [("low", "firing"), ("low", "resolved")]
    assert world.notifier.sent[0].labels["dim_region"] == "eu"


def test_one_late_look_takes_the_same_steps_as_many() -> None:
    """The transitions of a replay are those of the live run, and nobody is told."""
    live, replay = conversion_world(RULE, dip), conversion_world(RULE, dip)
    for hour in range(1, 30):
        live.look(at("2026-11-02") + hour * HOUR)
    replay.look("2026-11-03 05:00", notify=False)

    def steps(world: World) -> list[tuple[object, ...]]:
        return [(one.alert.series, one.before, one.alert.state, one.at) for one in world.history.transitions]

    assert steps(replay) == steps(live)
    assert replay.told() == []


def test_alerts_survive_a_restart() -> None:
    """A pending alert goes on where it was, and nobody is told twice."""
    world = conversion_world(RULE, dip)
    world.look("2026-11-02 13:05")
    assert world.alert(region="eu").state == "pending"
    world.restart()
    world.look("2026-11-02 14:05")
    assert world.alert(region="eu").state == "firing"
    world.restart()
    world.look("2026-11-02 14:10")
    assert world.told() == [("low", "firing")]


def test_a_series_that_vanishes_keeps_its_alert() -> None:
    """No news is not good news."""
    world = conversion_world(RULE, lambda _: 0.2)
    world.look("2026-11-02 14:05")
    for events in world.reader.events.values():
        events[:] = [event for event in events if event.dims["region"] != "eu"]
    world.look("2026-11-02 20:05")
    assert world.alert(region="eu").state == "firing"


def test_outside_its_active_hours_an_alert_fires_silently() -> None:
    """It is told when the hours begin, if it still fires."""
    world = conversion_world(RULE | {"active": {"hours": "16:00-20:00"}}, lambda _: 0.2)
    world.look("2026-11-02 14:05")
    assert world.alert(region="eu").state == "firing"
    assert world.told() == []
    world.look("2026-11-02 16:00")
    assert world.told() == [("low", "firing")]


def test_an_alert_whose_rule_is_gone_ends() -> None:
    """So that nothing fires forever."""
    world = conversion_world(RULE, lambda _: 0.2)
    world.look("2026-11-02 14:05")
    world.restart(Catalog(events=world.catalog.events, kpis=world.catalog.kpis, channels=world.catalog.channels))
    world.look("2026-11-02 14:10")
    assert world.alert(region="eu").state == "resolved"
    assert [(one.channel, one.state) for one in world.notifier.sent] == [("ops", "firing"), ("ops", "resolved")]
    assert "gone from the KPI files" in world.notifier.sent[-1].annotations["summary"]


def test_a_pace_rule_looks_back_over_its_hold_after_a_pause() -> None:
    """At the end of a replay one look is enough: it was off track all through the last two hours."""
    world = World(shop(), hourly("2026-09-01", "2026-11-20", sales), "2026-11-20")
    world.look("2026-11-20", notify=False)
    alert = world.alert("2026-11")
    assert (alert.state, alert.active_since, alert.fired_at) == ("firing", at("2026-11-19 22:00"), at("2026-11-20"))


def test_an_evaluation_can_be_as_of_an_earlier_moment() -> None:
    """In a replay nothing after `now` counts, however far W is."""
    world = World(shop(), hourly("2026-09-01", "2026-11-20", sales), "2026-11-20")
    found = world.engine.evaluate(at("2026-11-05"), notify=False)
    assert (found.statuses[-1].as_of, found.statuses[-1].actual) == (at("2026-11-05"), 4 * 2400)


def test_a_preview_stores_nothing_and_tells_nobody() -> None:
    """It finds what an evaluation would."""
    world = World(shop(), hourly("2026-09-01", "2026-11-20", sales), "2026-11-20")
    found = world.engine.preview(at("2026-11-20"))
    assert [alert.state for alert in found.alerts] == ["firing"]
    assert (world.history.kept, world.history.kept_alerts, world.told(), world.engine.latest) == ({}, {}, [], None)


def test_a_final_status_is_corrected_by_late_events_but_not_by_a_new_target() -> None:
    """Kept for good otherwise."""
    events = hourly("2026-10-01", "2026-11-20", lambda _: 100.0)
    world = World(shop(targets=[{"every": "month", "value": 75_000}]), events, "2026-11-02")
    assert world.look("2026-11-02").statuses[0].status == "missed"
    world.restart(shop(targets=[{"every": "month", "value": 70_000}]))
    october = world.look("2026-11-03").statuses[0]
    assert (october.status, october.target_value) == ("missed", 75_000)
    world.restart(shop(targets=[{"every": "month", "value": 75_000}]))
    world.reader.events["order.placed"].append(Event(at("2026-10-15"), {}, 1000.0))
    october = world.look("2026-11-04").statuses[0]
    assert (october.status, october.final, october.actual) == ("met", True, 75_400)
    assert "corrected" in october.reason


def test_a_target_for_one_region_has_a_status_and_an_alert_of_its_own() -> None:
    """The total is fine, EU is not."""
    targets = [{"every": "month", "value": 72_000}, {"every": "month", "value": 36_000, "by": {"region": "EU"}}]
    catalog = shop(targets=targets, dimensions={"region": "region"})
    events = hourly("2026-11-01", "2026-11-20", lambda _: 20.0, region="EU")
    events += hourly("2026-11-01", "2026-11-20", lambda _: 90.0, region="US")
    world = World(catalog, events, "2026-11-08")
    world.look("2026-11-08")
    assert world.alert("2026-11", region="EU").state == "firing"
    assert world.alert("2026-11").state == "inactive"


def test_a_failed_store_changes_nothing() -> None:
    """The next evaluation does the same again."""
    world = conversion_world(RULE, lambda _: 0.2)
    world.look("2026-11-02 02:05")
    working, world.history.save_alerts = world.history.save_alerts, broken
    with pytest.raises(StoreUnavailable):
        world.look("2026-11-02 14:05")
    world.history.save_alerts = working
    found = world.look("2026-11-02 14:05")
    assert [one.alert.state for one in found.transitions if one.alert.series == (("region", "eu"),)] == []
    assert world.alert(region="eu").state == "firing"


def killed_while_telling(killed_at: str) -> tuple[World, datetime]:
    """A world whose engine was killed when it first had something to tell, and when that was."""
    world = World(shop(off_pace(**{"for": "0s"})), hourly("2026-09-01", "2026-12-20", sales), "2026-11-01")
    world.run("2026-11-01", "2026-11-12")
    holder: Any = world.notifier if killed_at == "submit" else world.history
    working = getattr(holder, killed_at)

    def killed(*given: Any) -> None:
        if killed_at == "submit" or any(alert.notified for alert in given[0]):
            raise StoreUnavailable("killed")
        working(*given)

    setattr(holder, killed_at, killed)
    moment = at("2026-11-12")
    with pytest.raises(StoreUnavailable):  # noqa: PT012
        while moment < at("2026-11-20"):
            moment += HOUR
            world.look(moment)
    setattr(holder, killed_at, working)
    world.restart()
    return world, moment


@pytest.mark.parametrize("killed_at", ["submit", "save_alerts"])
def test_a_kill_while_telling_loses_no_message_and_adds_no_other(killed_at: str) -> None:
    """Between what is kept of an alert, its message, and that it was told; by the next look W has moved on."""
    world, moment = killed_while_telling(killed_at)
    world.run(str(moment + HOUR)[:16], "2026-11-20")
    assert {(one.key, one.starts_at) for one in world.notifier.sent} == {(world.notifier.sent[0].key, moment)}
    assert [one.before for one in world.history.transitions] == ["inactive"]


def test_who_was_told_just_before_a_kill_hears_of_an_end_that_comes_before_the_next_look() -> None:
    """The store has the message, and not yet that it was told."""
    world, moment = killed_while_telling("save_alerts")
    world.reader.events["order.placed"].append(Event(moment - HOUR, {}, 20_000.0))
    world.look(moment + HOUR)
    assert world.told() == [("revenue-off-pace", "firing"), ("revenue-off-pace", "resolved")]


def test_nobody_hears_of_the_end_of_what_was_never_told() -> None:
    """Killed a moment earlier, before the message was kept."""
    world, moment = killed_while_telling("submit")
    world.reader.events["order.placed"].append(Event(moment - HOUR, {}, 20_000.0))
    world.look(moment + HOUR)
    assert world.told() == []


def broken(*_: object) -> None:
    """A store that is away."""
    raise StoreUnavailable("away")


def test_an_empty_catalog_and_a_kpi_without_events_are_quiet() -> None:
    """No data is a status, not an error."""
    assert World(Catalog(), [], "2026-11-02").look("2026-11-02").statuses == ()
    found = World(shop(), [], "2026-11-02").look("2026-11-02")
    assert [(s.period, s.status) for s in found.statuses] == [("2026-11", "no_data")]
    assert found.alerts == ()
