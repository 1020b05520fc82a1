"""What silences and acknowledgements hold back, and what is said when they end: timetables in event time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from alerts_fakes import Event, at, catalog_of, simple
from hypothesis import given, settings
from hypothesis import strategies as st
from silences_fakes import QuietWorld, matchers
from test_engine import CHANNELS, HOUR, hourly

from onpace.alerts.alerting import PIPELINE_RULES
from onpace.alerts.silence_rows import quiet_lines
from onpace.alerts.silences import Quiet
from onpace.alerts.states import Alert
from onpace.alerts.status_page import status_document
from onpace.config.rules import Channel, PaceRule, ThresholdRule
from onpace.config.silences import BUILT_IN_RULES, Silence

MANAGER = Channel(name="am", type="alertmanager", url="http://localhost:9093")
DAY = "2026-11-02"


def low(start: int, end: int) -> Callable[[datetime], float]:
    """Revenue of 10 an hour in these hours of the day, and 100 otherwise."""
    return lambda moment: 10.0 if start <= moment.hour < end else 100.0


def world(value: Callable[[datetime], float], notify: tuple[str, ...] = ("ops",), **more: Any) -> QuietWorld:
    """Revenue in the EU, hourly, with a rule that fires below 50."""
    given = {"name": "low", "kpi": "revenue", "when": "threshold", "below": 50, "by": ["region"], "notify": notify}
    rule = ThresholdRule.model_validate(given | more)
    catalog = catalog_of([simple(dimensions={"region": "region"})], [rule], channels=[*CHANNELS, MANAGER])
    found = QuietWorld(catalog, hourly(DAY, "2026-11-03", value, region="EU"), f"{DAY} 01:00")
    found.look(f"{DAY} 01:05")
    return found


def live(found: QuietWorld, first: int, last: int) -> None:
    """Look at five past every hour from `first` to `last`."""
    for hour in range(first, last + 1):
        found.look(at(DAY) + hour * HOUR + timedelta(minutes=5))


def the_alert(found: QuietWorld) -> Alert:
    """That of the EU."""
    return found.alert(region="EU")


def test_what_fires_in_a_silence_and_lasts_is_told_when_it_expires() -> None:
    """Once, with whose silence it was, how it ended and since when it fires; its transitions are recorded as ever."""
    shop = world(low(12, 20))
    shop.silence(f"{DAY}T10:00", f"{DAY}T15:30")
    live(shop, 2, 15)
    assert shop.heard() == []
    assert [one.alert.state for one in shop.history.transitions] == ["firing"]
    assert the_alert(shop).held_by == "s1"
    live(shop, 16, 19)
    note = "Silence by anna (deploy) ended: expired at 2026-11-02 15:30 UTC; firing since 2026-11-02 13:00 UTC"
    assert shop.heard() == [("ops", "firing", note)]
    assert note in shop.notifier.sent[0].annotations["description"]
    live(shop, 20, 22)
    assert [heard[1:] for heard in shop.heard()[1:]] == [("resolved", "")]


def test_what_fires_and_resolves_within_a_silence_is_never_told() -> None:
    """There is nothing to say of it afterwards."""
    shop = world(low(12, 14))
    shop.silence(f"{DAY}T10:00", f"{DAY}T18:00")
    live(shop, 2, 23)
    assert the_alert(shop).state == "resolved"
    assert shop.heard() == []
    assert the_alert(shop).held_by == ""


def test_what_was_told_and_resolves_in_a_silence_is_told_at_its_end() -> None:
    """Or an incident that was opened would stay open. Nothing is said while the silence lasts."""
    shop = world(low(8, 12))
    shop.silence(f"{DAY}T10:00", f"{DAY}T18:00")
    live(shop, 2, 17)
    assert shop.heard() == [("ops", "firing", "")]
    live(shop, 18, 23)
    note = "Silence by anna (deploy) ended: expired at 2026-11-02 18:00 UTC; resolved at 2026-11-02 13:00 UTC"
    assert shop.heard()[1:] == [("ops", "resolved", note)]


def test_what_was_told_resolves_and_fires_again_in_a_silence_needs_no_word() -> None:
    """It fires before and after: that is what people know."""
    shop = world(lambda moment: 10.0 if moment.hour in (8, 9, 13, 14, 15, 16, 17) else 100.0)
    shop.silence(f"{DAY}T09:30", f"{DAY}T15:30")
    live(shop, 2, 17)
    assert [one.alert.state for one in shop.history.transitions] == ["firing", "resolved", "firing"]
    assert shop.heard() == [("ops", "firing", "")]


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (lambda shop, one: shop.end(one, at(f"{DAY} 14:20"), "carl"), "ended by carl"),
        (lambda shop, one: shop.silence(f"{DAY}T10:00", f"{DAY}T20:00", rule="other"), "it does not match the alert"),
    ],
    ids=["ended", "matches another"],
)
def test_it_says_why_the_silence_ended(end: Callable[[QuietWorld, Silence], object], words: str) -> None:
    """By whom, or that it is about something else now."""
    shop = world(low(12, 24))
    one = shop.silence(f"{DAY}T10:00", f"{DAY}T20:00")
    live(shop, 2, 14)
    end(shop, one)
    live(shop, 15, 16)
    [(_, _, note)] = shop.heard()
    assert f"Silence by anna (deploy) ended: {words}" in note


def test_a_silence_of_the_files_holds_until_it_is_taken_out_of_them() -> None:
    """Whoever takes it out, the message knows whose it was."""
    shop = world(low(12, 24))
    without = shop.catalog
    planned = Silence(
        id="p", matchers=matchers(kpi="rev*"), by="dora", why="stock-taking", until=at("2026-11-03"), declared=True
    )
    shop.restart(replace(without, silences=(planned,)))
    live(shop, 2, 15)
    assert shop.heard() == []
    shop.restart(without)
    live(shop, 16, 17)
    note = "Silence by dora (stock-taking) ended: it is gone from the KPI files; firing since 2026-11-02 13:00 UTC"
    assert shop.heard() == [("ops", "firing", note)]


def test_of_two_silences_the_longer_one_counts() -> None:
    """It is told once, when none is left."""
    shop = world(low(12, 24))
    shop.silence(f"{DAY}T10:00", f"{DAY}T14:30")
    shop.silence(f"{DAY}T11:00", f"{DAY}T17:30", id="s2", by="carl", match={"region": "E*"})
    live(shop, 2, 17)
    assert shop.heard() == []
    live(shop, 18, 20)
    [(_, _, note)] = shop.heard()
    assert "carl (deploy) ended: expired at 2026-11-02 17:30 UTC" in note


def test_a_restart_in_the_middle_of_a_silence_changes_nothing() -> None:
    """Neither what is held back nor why; also when the silence ends while nobody runs."""
    shop = world(low(12, 24))
    shop.silence(f"{DAY}T10:00", f"{DAY}T15:30")
    live(shop, 2, 14)
    shop.restart()
    live(shop, 15, 15)
    assert shop.heard() == []
    shop.restart()
    shop.look(f"{DAY} 21:05")
    [(_, _, note)] = shop.heard()
    assert "expired at 2026-11-02 15:30 UTC" in note
    shop.restart()
    live(shop, 22, 23)
    assert len(shop.heard()) == 1


def test_outside_its_active_hours_the_end_of_a_silence_waits_for_them() -> None:
    """And is still said then."""
    shop = world(low(12, 24), active={"hours": "18:00-23:00"})
    shop.silence(f"{DAY}T10:00", f"{DAY}T15:30")
    live(shop, 2, 17)
    assert shop.heard() == []
    live(shop, 18, 19)
    [(_, state, note)] = shop.heard()
    assert (state, "expired at" in note) == ("firing", True)


def test_an_alertmanager_is_told_all_the_same() -> None:
    """It silences by itself; the direct channel of the same rule waits."""
    shop = world(low(12, 18), notify=("am", "team"))
    shop.silence(f"{DAY}T10:00", f"{DAY}T16:30")
    live(shop, 2, 16)
    assert shop.heard() == [("am", "firing", "")]
    assert [one.channel for one in shop.notifier.firing] == ["am"]
    live(shop, 17, 23)
    assert [heard[:2] for heard in shop.heard()[1:]] == [("team", "firing"), ("am", "resolved"), ("team", "resolved")]


def test_a_silence_that_matches_something_else_holds_nothing() -> None:
    """Another region, rule, severity or KPI."""
    shop = world(low(12, 24))
    others: list[dict[str, Any]] = [{"rule": "lo"}, {"match": {"region": "US"}}, {"severity": "page"}, {"kpi": "x"}]
    for index, other in enumerate([*others, {"period": "2026-*"}, {"match": {"region": "EU", "tier": "*"}}]):
        shop.silence(f"{DAY}T10:00", f"{DAY}T20:00", id=str(index), **other)
    live(shop, 2, 14)
    assert shop.heard() == [("ops", "firing", "")]


def test_an_acknowledged_alert_is_not_told_again_but_its_end_is() -> None:
    """And it says who knew of it."""
    shop = world(low(12, 18))
    live(shop, 2, 14)
    shop.acknowledge(the_alert(shop), at(f"{DAY} 14:10"), why="looking into it")
    live(shop, 15, 23)
    assert shop.heard() == [("ops", "firing", ""), ("ops", "resolved", "Acknowledged by ben (looking into it)")]


def test_what_was_acknowledged_in_a_silence_is_not_told_at_its_end() -> None:
    """Somebody knows. Its end is told."""
    shop = world(low(12, 18))
    shop.silence(f"{DAY}T10:00", f"{DAY}T15:30")
    live(shop, 2, 14)
    shop.acknowledge(the_alert(shop), at(f"{DAY} 14:10"))
    live(shop, 15, 17)
    assert shop.heard() == []
    live(shop, 18, 23)
    assert shop.heard() == [("ops", "resolved", "Acknowledged by ben")]


def test_what_was_acknowledged_outside_active_hours_is_not_told_when_they_begin() -> None:
    """It was seen on the status page."""
    shop = world(low(8, 20), active={"hours": "12:00-23:00"})
    live(shop, 2, 10)
    shop.acknowledge(the_alert(shop), at(f"{DAY} 10:10"))
    live(shop, 11, 22)
    assert shop.heard() == [("ops", "resolved", "Acknowledged by ben")]


def test_an_acknowledgement_holds_for_one_firing() -> None:
    """The next one is told again; a later acknowledgement of the same one replaces the first."""
    shop = world(lambda moment: 10.0 if moment.hour in (8, 9, 13, 14) else 100.0)
    live(shop, 2, 9)
    shop.acknowledge(the_alert(shop), at(f"{DAY} 09:10"))
    shop.acknowledge(the_alert(shop), at(f"{DAY} 09:20"), by="carl")
    live(shop, 10, 23)
    assert [heard[1:] for heard in shop.heard()] == [
        ("firing", ""),
        ("resolved", "Acknowledged by carl"),
        ("firing", ""),
        ("resolved", ""),
    ]


def test_an_outcome_that_turns_in_a_silence_is_told_when_it_ends() -> None:
    """November was told as missed; an event that comes late in a silence makes it met."""
    targets = [{"every": "month", "value": 72_000}]
    rule = PaceRule.model_validate({"name": "low", "kpi": "revenue", "when": "pace", "notify": ["ops"]})
    orders = hourly("2026-10-01", "2026-12-20", lambda moment: 99.0 if at("2026-11-01") <= moment else 100.0)
    shop = QuietWorld(catalog_of([simple(targets=targets)], [rule], channels=CHANNELS), orders, "2026-11-30")
    told = Alert("low", "revenue", (), "2026-11", state="firing", fired_at=at("2026-11-29"), notified="firing")
    shop.history.save_alerts(
        [replace(told, heard="firing", active_since=told.fired_at, evaluated_to=told.fired_at)], [], at("2026-11-29")
    )
    shop.restart()
    shop.look("2026-12-01 00:10")
    assert [heard[1:] for heard in shop.heard()] == [("resolved", "")]
    shop.silence("2026-12-01T00:20", "2026-12-03T00:00")
    shop.reader.events["order.placed"].append(Event(at("2026-11-15"), {}, 5000.0))
    shop.look("2026-12-02 12:00")
    assert shop.alert("2026-11").state == "met"
    assert len(shop.heard()) == 1
    shop.look("2026-12-03 00:10")
    [note] = [note for _, _, note in shop.heard()[1:]]
    assert note.startswith("Silence by anna (deploy) ended: expired at 2026-12-03 00:00 UTC; ended at 2026-12-02")


def test_both_are_shown_where_the_alert_is() -> None:
    """In `/api/status`, and as a line for `onpace status`."""
    shop = world(low(12, 20))
    shop.silence(f"{DAY}T10:00", f"{DAY}T15:30")
    shop.silence(f"{DAY}T20:00", f"{DAY}T21:00", id="s2")
    live(shop, 2, 14)
    shop.acknowledge(the_alert(shop), at(f"{DAY} 14:10"), why="known")
    found = shop.look(f"{DAY} 15:05")
    document = status_document(found, shop.catalog)
    [alert] = document["alerts"]
    assert alert["silenced"] == {"id": "s1", "until": "2026-11-02T15:30:00+00:00", "by": "anna", "why": "deploy"}
    assert (alert["acknowledged"]["by"], alert["acknowledged"]["why"]) == ("ben", "known")
    assert [(one["id"], one["state"]) for one in document["silences"]] == [("s1", "active"), ("s2", "pending")]
    words = "silenced until 2026-11-02 15:30 UTC by anna (deploy); acknowledged by ben (known)"
    assert quiet_lines(found, shop.catalog) == [f"low, region EU fires: {words}"]
    assert quiet_lines(shop.look(f"{DAY} 21:30"), shop.catalog) == []


def test_a_silence_about_an_individual_kpi_is_not_shown_to_others() -> None:
    """Neither by KPI nor by rule; the owner sees it."""
    kpis = [simple(level="individual", owner="ben"), simple("orders")]
    rules = [
        ThresholdRule.model_validate({"name": f"{kpi.name}-low", "kpi": kpi.name, "when": "threshold", "below": 1})
        for kpi in kpis
    ]
    shop = QuietWorld(catalog_of(kpis, rules), [], f"{DAY} 01:00")
    meant: list[dict[str, Any]] = [{"kpi": "revenue"}, {"rule": "revenue-low"}, {"rule": "orders-low"}]
    for index, names in enumerate(meant):
        shop.silence(f"{DAY}T00:00", f"{DAY}T20:00", id=str(index), **names)
    found = shop.look(f"{DAY} 01:05")
    assert [one["id"] for one in status_document(found, shop.catalog)["silences"]] == ["2"]
    assert [one["id"] for one in status_document(found, shop.catalog, "ben")["silences"]] == ["0", "1"]


def test_silences_that_are_over_are_not_read() -> None:
    """However many there were: an evaluation asks for what holds, and for what held something back."""
    shop = world(low(12, 24))
    for day in range(500):
        begin = at("2025-01-01") + timedelta(days=day)
        shop.silence(begin.isoformat()[:19], (begin + HOUR).isoformat()[:19], id=f"old-{day}")
    shop.silence(f"{DAY}T10:00", f"{DAY}T15:30")
    shop.silences.read = 0
    live(shop, 2, 20)
    assert shop.silences.read == 15, "until half past three it holds, and then once to say why it ended"


def test_pipeline_alerts_can_be_silenced_too() -> None:
    """By the names that they have."""
    assert BUILT_IN_RULES == PIPELINE_RULES
    alert = Alert("pipeline-stale", "", (("event_type", "order.placed"),), state="firing")
    one = Silence(id="s", matchers=matchers(match={"event_type": "order.*"}), by="a", why="b", until=at("2026-12-01"))
    assert Quiet.at(at(DAY), [one], []).silencing(alert) == one


@pytest.mark.parametrize(
    ("given", "series", "expected"),
    [
        ({"match": {"region": "(null)"}}, {"region": None}, True),
        ({"match": {"region": "(empty)"}}, {"region": ""}, True),
        ({"match": {"region": "*"}}, {"region": None}, True),
        ({"match": {"region": "*"}}, {}, False),
        ({"match": {"region": "E.*"}}, {"region": "EU"}, False),
        ({"match": {"region": "E*U"}}, {"region": "EU"}, True),
        ({"match": {"region": "eu"}}, {"region": "EU"}, False),
        ({"rule": "*low"}, {}, True),
        ({"rule": "lo"}, {}, False),
    ],
)
def test_a_star_is_any_text_and_the_rest_is_literal(given: Any, series: Any, expected: bool) -> None:
    """Upper and lower case differ; an alert without the dimension is not meant."""
    held = matchers(**given).hold(rule="low", kpi="k", severity="page", period="", series=series)
    assert held is expected


STEPS = st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), min_size=1, max_size=24)


@settings(max_examples=300)
@given(STEPS)
def test_people_hear_of_firing_and_resolved_in_turns_and_end_up_knowing(steps: list[tuple[bool, bool, bool]]) -> None:
    """Whatever silences, active hours and alerts do; an Alertmanager hears the same as without any silence."""
    alert, people, managers, bare = Alert("low", "k"), [], [], Alert("low", "k")
    unsilenced: list[str] = []
    for hour, (fires, silenced, in_hours) in enumerate([*steps, (steps[-1][0], False, True)]):
        now = at(DAY) + hour * HOUR
        silences = [
            Silence(id="s", matchers=matchers(rule="low"), by="a", why="b", start=now, until=now + HOUR / 2)
        ] * silenced
        state = "firing" if fires else "resolved"
        alert = replace(alert, state=state, fired_at=now, resolved_at=now)  # type: ignore[arg-type]
        telling = Quiet.at(now, silences, []).telling(alert, in_hours=in_hours)
        alert = telling.alert
        people += [state] * telling.people
        managers += [state] * telling.managers
        without = Quiet.at(now, [], []).telling(replace(bare, state=state), in_hours=in_hours)  # type: ignore[arg-type]
        bare = without.alert
        unsilenced += [state] * without.people
        assert not (silenced and telling.people)
    assert people == ["firing", "resolved"] * (len(people) // 2) + ["firing"] * (len(people) % 2)
    assert (people[-1:] == ["firing"]) is steps[-1][0]
    assert managers == unsilenced
    assert alert.held_by == ""


def test_what_is_silenced_takes_no_place_among_the_worst() -> None:
    """Two series of a rule are told at once: not those of a silence; and when that ends, no more than have a place."""
    rule = ThresholdRule.model_validate(
        {"name": "low", "kpi": "revenue", "when": "threshold", "below": 50, "by": ["region"], "notify": ["ops"]}
        | {"max_alerts": 2}
    )
    catalog = catalog_of([simple(dimensions={"region": "region"})], [rule], channels=CHANNELS)
    regions = {"A1": 1.0, "A2": 2.0, "A3": 3.0, "B1": 40.0, "B2": 41.0}
    orders = [
        event
        for region, bad in regions.items()
        for event in hourly(
            DAY, "2026-11-03", lambda moment, bad=bad: bad if moment.hour >= 12 else 100.0, region=region
        )  # type: ignore[misc]
    ]
    shop = QuietWorld(catalog, orders, f"{DAY} 01:00")
    shop.look(f"{DAY} 01:05")
    shop.silence(f"{DAY}T10:00", f"{DAY}T15:30", match={"region": "A*"})

    def told() -> list[str]:
        return [one.labels["dim_region"] for one in shop.notifier.sent]

    live(shop, 2, 15)
    assert sorted(told()) == ["B1", "B2"]
    live(shop, 16, 18)
    assert sorted(told()) == ["B1", "B2"]
    assert shop.engine.latest.held == {"low": 3}
