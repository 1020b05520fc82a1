"""One message per KPI and period in direct mode; Alertmanager gets all of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from alerts_fakes import Event, catalog_of, simple
from test_engine import HOUR, World, hourly, off_pace, sales

from onpace.alerts.covering import covering, in_order
from onpace.alerts.states import Alert
from onpace.config.rules import AttainmentRule, Channel, Rule, ThresholdRule

DAY = 24 * HOUR
CHANNELS = [
    Channel(name="ops", type="log"),
    Channel(name="team", type="log"),
    Channel(name="am", type="alertmanager", url="http://localhost:9093"),
]
TOLD = Alert("a", "revenue", (), "2026-11", state="firing", notified="firing", heard="firing")
OPS, BOTH = frozenset({"ops"}), frozenset({"ops", "team"})


def covered(alert: Alert, other: Alert, channels: frozenset[str] = OPS, others: frozenset[str] = OPS) -> bool:
    """Whether the other one covers it."""
    return covering(alert, [alert, other], lambda one: channels if one is alert else others) is not None


def test_an_alert_covers_those_about_the_same_kpi_and_period() -> None:
    """The same series or a part of the total, no more severe, and told to nobody who does not hear of it."""
    alert = replace(TOLD, rule="b", notified="", heard="")
    slice_ = replace(alert, series=(("region", "EU"),))
    assert covered(alert, TOLD)
    assert covered(slice_, TOLD)
    assert covered(slice_, replace(TOLD, series=slice_.series))
    assert covered(alert, TOLD, others=BOTH)


@pytest.mark.parametrize(
    "change",
    [
        {"kpi": "orders"},
        {"period": "2026-12"},
        {"series": (("region", "EU"),)},
        {"severity": "info"},
        {"state": "pending"},
        {"state": "resolved"},
        {"heard": ""},
    ],
    ids=str,
)
def test_it_covers_nothing_else(change: dict[str, Any]) -> None:
    """Another KPI or period, a part of it, less severe, not firing, or not told."""
    alert = replace(TOLD, rule="b", notified="", heard="")
    assert not covered(alert, replace(TOLD, **change))


def test_whoever_would_not_hear_of_it_is_told() -> None:
    """A channel that the other one does not have; and alerts without a period are never covered."""
    alert = replace(TOLD, rule="b", notified="", heard="")
    assert not covered(alert, TOLD, channels=BOTH, others=OPS)
    assert not covered(replace(alert, period=""), replace(TOLD, period=""))
    assert covering(TOLD, [TOLD], lambda _: OPS) is None


def test_of_two_at_once_the_one_that_says_more_is_told() -> None:
    """The more severe, then the total, then pace before attainment before a forecast."""
    kinds = {"p": "pace", "a": "attainment", "f": "forecast", "t": "threshold"}
    alerts = [Alert(rule, "revenue", severity="ticket") for rule in "tfap"]
    alerts += [Alert("f", "revenue", severity="page"), Alert("p", "revenue", (("region", "EU"),), severity="ticket")]
    found = [(one.rule, one.severity, len(one.series)) for one in in_order(alerts, kinds)]
    tickets = [("p", 0), ("a", 0), ("f", 0), ("t", 0), ("p", 1)]
    assert found == [("f", "page", 0), *((rule, "ticket", series) for rule, series in tickets)]


def behind(**more: Any) -> AttainmentRule:
    """Less than 90 % in the last days."""
    given = {"name": "behind", "kpi": "revenue", "when": "attainment", "below": "90%", "after": "60%"}
    return AttainmentRule.model_validate(given | {"notify": ["ops"]} | more)


def shop(*rules: Rule, events: list[Event] | None = None, **kpi: Any) -> World:
    """A November that goes wrong from the 11th on."""
    given = {"title": "Revenue", "unit": "EUR", "targets": [{"every": "month", "value": 72_000}]} | kpi
    found = events or hourly("2026-09-01", "2026-12-05", sales)
    return World(catalog_of([simple(**given)], rules, channels=CHANNELS), found, "2026-11-01")


def messages(world: World) -> list[tuple[str, str, str]]:
    """Rule, state and channel of every message."""
    return [(one.labels["alertname"], one.state, one.channel) for one in world.notifier.sent]


def test_a_second_rule_on_the_same_target_is_recorded_and_not_told() -> None:
    """It fires, it is shown, and it ends with the month, all of it in silence."""
    world = shop(off_pace(), behind())
    world.run("2026-11-10", "2026-12-02", every=DAY)
    states = {(one.alert.rule, one.alert.state) for one in world.history.transitions}
    assert {("behind", "firing"), ("behind", "missed")} <= states
    assert world.told() == [("revenue-off-pace", "firing"), ("revenue-off-pace", "resolved")]


def test_a_second_rule_that_is_more_severe_or_for_others_is_told() -> None:
    """A page beside a ticket, and a channel that has heard nothing yet."""
    paging, others = shop(off_pace(), behind(severity="page")), shop(off_pace(), behind(notify=["ops", "team"]))
    for world in (paging, others):
        world.run("2026-11-10", "2026-11-22", every=DAY)
    assert messages(paging) == [("revenue-off-pace", "firing", "ops"), ("behind", "firing", "ops")]
    assert messages(others) == [
        ("revenue-off-pace", "firing", "ops"),
        ("behind", "firing", "ops"),
        ("behind", "firing", "team"),
    ]


def test_what_still_fires_once_the_other_one_has_ended_is_told() -> None:
    """A good day ends the one on pace; the month is behind all the same. A restart in between changes nothing."""

    def rescued(moment: datetime) -> float:
        return 2600.0 if f"{moment:%m-%d}" == "11-21" and moment.hour < 6 else sales(moment)

    events = hourly("2026-09-01", "2026-12-05", rescued)
    world = shop(off_pace(at="at_risk"), behind(below="99%"), events=events)
    world.run("2026-11-10", "2026-11-20", every=DAY)
    assert world.told() == [("revenue-off-pace", "firing")]
    kept = {alert.rule: alert.heard for alert in world.history.alerts() if alert.state == "firing"}
    assert kept == {"revenue-off-pace": "firing", "behind": ""}
    world.restart()
    world.run("2026-11-20 06:00", "2026-11-23")
    assert world.told()[1:3] == [("revenue-off-pace", "resolved"), ("behind", "firing")]


def test_alertmanager_gets_all_of_them_and_hears_how_they_end() -> None:
    """There people choose what is grouped."""
    world = shop(off_pace(notify=["ops", "am"]), behind(notify=["ops", "am"]))
    world.run("2026-11-10", "2026-11-25", every=DAY)
    assert sorted(messages(world)) == [
        ("behind", "firing", "am"),
        ("revenue-off-pace", "firing", "am"),
        ("revenue-off-pace", "firing", "ops"),
    ]
    refreshed = {(one.labels["alertname"], one.channel) for one in world.notifier.firing}
    assert refreshed == {("revenue-off-pace", "am"), ("behind", "am")}
    world.run("2026-11-26", "2026-12-02", every=DAY)
    ended = [(rule, channel) for rule, state, channel in messages(world) if state == "resolved"]
    assert sorted(ended) == [("behind", "am"), ("revenue-off-pace", "am"), ("revenue-off-pace", "ops")]


def test_a_part_of_a_target_is_told_only_where_the_total_is_fine() -> None:
    """EU is off pace with everything else, and then nothing new."""
    targets = [{"every": "month", "value": 72_000}, {"every": "month", "value": 72_000, "by": {"region": "EU"}}]
    wrong = [Event(one.time, {"region": "EU"}, one.value) for one in hourly("2026-09-01", "2026-12-05", sales)]
    world = shop(off_pace(), events=wrong, targets=targets, dimensions={"region": "region"})
    world.run("2026-11-10", "2026-11-20", every=DAY)
    assert len(world.told()) == 1
    assert "dim_region" not in world.notifier.sent[0].labels
    assert world.alert("2026-11", region="EU").state == "firing"


def test_rules_on_windows_are_told_beside_it() -> None:
    """They are about an hour or a day, not about the period."""
    low = ThresholdRule.model_validate(
        {"name": "low", "kpi": "revenue", "when": "threshold", "below": 60, "notify": ["ops"]}
    )
    world = shop(off_pace(), low)
    world.run("2026-11-10", "2026-11-20", every=DAY)
    assert sorted(world.told()) == [("low", "firing"), ("revenue-off-pace", "firing")]
