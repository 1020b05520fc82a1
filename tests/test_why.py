"""Why an alert fired and why it did not, told as timetables over the fakes of the engine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from textwrap import indent
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from alerts_fakes import Event, at, catalog_of, simple
from test_engine import CHANNELS, HOUR, World, hourly, off_pace, sales, shop
from why_fakes import answered, explained

from onpace.alerts.explaining import Question
from onpace.alerts.why import Asked, due_words
from onpace.alerts.why_text import why_document, why_text
from onpace.config.calendars import CalendarRules
from onpace.config.catalog import Catalog
from onpace.config.errors import OnPaceError, UnknownName
from onpace.config.rules import AnomalyRule, AttainmentRule, ChangeRule, ForecastRule, NoDataRule, Rule, ThresholdRule

GOLDEN = Path(__file__).parent / "golden"


def threshold(**more: Any) -> ThresholdRule:
    """Revenue below 60 in an hour."""
    given = {"name": "low", "kpi": "revenue", "when": "threshold", "below": 60, "notify": ["ops"]}
    return ThresholdRule.model_validate(given | more)


def hours(values: Sequence[float], start: str = "2026-11-16 06:00", **dims: str) -> list[Event]:
    """One event in the middle of each hour from `start` on."""
    return [Event(at(start) + HOUR * (n + 0.5), dims, value) for n, value in enumerate(values)]


def small(events: Sequence[Event], *rules: Rule, until: str = "2026-11-16 12:00", **kpi: Any) -> World:
    """A shop without targets, evaluated every hour up to `until`; never, where that is empty."""
    catalog = catalog_of([simple(title="Revenue", unit="EUR", **kpi)], rules or [threshold()], channels=CHANNELS)
    world = World(catalog, events, "2026-11-16 06:00")
    if until:
        world.run("2026-11-16 07:00", until, every=HOUR)
    return world


@pytest.fixture(scope="module")
def november() -> World:
    """The month that goes wrong, up to the 18th."""
    world = World(shop(), hourly("2026-09-01", "2026-12-20", sales), "2026-11-01")
    world.run("2026-11-01 12:00", "2026-11-18")
    return world


def test_a_pace_rule_says_why_it_did_not_fire(november: World) -> None:
    """With the status that it saw then, and the one that it wants."""
    found = answered(november, "revenue-off-pace", at("2026-11-11 12:00"))
    assert found.words == "did not fire: at risk: 24,600 of 25,200 expected by now; it fires when off track"
    assert (found.place, found.breached, found.stand.state) == (((), "2026-11"), False, "inactive")
    assert found.looked_at == "2026-11 up to 2026-11-11 12:00"


def test_before_its_share_of_the_period_a_rule_has_no_verdict(november: World) -> None:
    """`after: 10%`."""
    found = answered(november, "revenue-off-pace", at("2026-11-02"))
    assert found.words == "did not fire: no verdict: only 3% of the period has passed"


def test_a_pending_alert_says_since_when_and_until_when(november: World) -> None:
    """Two hours are wanted."""
    found = answered(november, "revenue-off-pace", at("2026-11-12 05:00"))
    assert found.words == (
        "did not fire: pending since 2026-11-12 04:00 (for 2h wanted, it fires at 2026-11-12 06:00 if that lasts): "
        "off track: 25,450 of 26,900 expected by now"
    )


def test_a_pending_alert_does_not_announce_a_moment_that_has_passed() -> None:
    """`for` counts in what is complete; by the clock it is later."""
    asked = Asked("r", None, at("2026-11-12 05:00"), at("2026-11-12 05:00"), ZoneInfo("UTC"))
    assert due_words(asked, at("2026-11-12 04:30")) == (
        ", it fires once all up to 2026-11-12 04:30 is complete and was looked at, if that lasts"
    )
    assert due_words(asked, at("2026-11-12 06:00")) == ", it fires at 2026-11-12 06:00 if that lasts"


def test_a_firing_alert_says_since_when_why_and_whom_it_told(november: World) -> None:
    """And what became of the KPI on the way."""
    found = answered(november, "revenue-off-pace", at("2026-11-12 12:00"))
    assert found.words == (
        "firing since 2026-11-12 06:00 (bad since 2026-11-12 04:00): off track: 25,800 of 27,600 expected by now"
    )
    assert found.telling == "told ops at 2026-11-12 06:00"
    told = [(entry.what, [one.channel for one in entry.told]) for entry in found.timeline]
    assert told == [("on track", []), ("at risk", []), ("pending", []), ("firing", ["ops"]), ("off track", [])]


def test_it_is_the_golden_text(november: World) -> None:
    """For a manager and an engineer."""
    text = why_text(explained(november, "revenue-off-pace", at("2026-11-12 12:00")))
    assert text == (GOLDEN / "why.txt").read_text(encoding="utf-8")
    page = (GOLDEN.parents[1] / "docs" / "alerts.md").read_text(encoding="utf-8")
    assert indent(text, "    ") in page


def test_the_same_is_there_as_json(november: World) -> None:
    """With the inputs of the verdict; nothing in it is no JSON."""
    found = explained(november, "revenue-off-pace", at("2026-11-12 12:00"))
    document = json.loads(json.dumps(why_document(found), allow_nan=False))
    [alert] = document["alerts"]
    assert (document["rule"], document["at"]) == ("revenue-off-pace", "2026-11-12T12:00:00+00:00")
    assert (alert["state"], alert["since"]) == ("firing", "2026-11-12T04:00:00+00:00")
    assert alert["inputs"] == {
        "status": "off_track",
        "actual": 25_800,
        "expected": pytest.approx(27_600),
        "target": 72_000,
        "gap": pytest.approx(-1_800),
    }
    assert [entry["what"] for entry in alert["timeline"]] == ["on track", "at risk", "pending", "firing", "off track"]


def test_a_period_that_is_over_is_asked_for_by_name() -> None:
    """How it ended, and that its alert ended with it."""
    world = World(shop(), hourly("2026-09-01", "2026-12-20", sales), "2026-11-01")
    world.run("2026-11-01 12:00", "2026-12-02")
    [found] = explained(world, "revenue-off-pace", at("2026-12-02"), period="2026-11").answers
    assert found.words == "its period is over since 2026-12-01 00:00: missed: final 48,000 of 72,000"
    assert [entry.what for entry in found.timeline[-2:]] == ["missed", "missed"]  # the alert, and the KPI
    assert [one.state for one in found.timeline[-2].told] == ["resolved"]
    with pytest.raises(OnPaceError, match="rule 'revenue-off-pace' has no target for 2027-01"):
        explained(world, "revenue-off-pace", at("2026-12-02"), period="2027-01")


def test_a_changed_target_is_in_the_timeline(november: World) -> None:
    """From when it counted."""
    world = World(shop(), hourly("2026-09-01", "2026-12-20", sales), "2026-11-01")
    world.run("2026-11-01 12:00", "2026-11-05")
    world.restart(shop(targets=[{"every": "month", "value": 100_000}]))
    world.run("2026-11-05 06:00", "2026-11-06")
    entries = answered(world, "revenue-off-pace", at("2026-11-06")).timeline
    [change] = [entry for entry in entries if entry.what == "target"]
    assert (change.at, change.words) == (at("2026-11-05 06:00"), "every month: 72,000 became 100,000")
    assert not [e for e in answered(november, "revenue-off-pace", at("2026-11-06")).timeline if e.what == "target"]


def test_a_threshold_names_its_window_and_its_bound() -> None:
    """The last window that was complete then."""
    world = small(hours([100, 80, 50, 90, 100, 100]))
    found = answered(world, "low", at("2026-11-16 08:30"))
    assert found.words == "did not fire: 80 is within bounds; it fires below 60 EUR"
    assert found.looked_at == "2026-11-16 07:00 to 08:00"
    assert answered(world, "low", at("2026-11-16 09:00")).words == "firing since 2026-11-16 09:00: 50 is below 60"
    ended = answered(world, "low", at("2026-11-16 10:00"))
    assert ended.words == "did not fire (it ended at 2026-11-16 10:00): 90 is within bounds; it fires below 60 EUR"


def test_a_clear_bound_that_is_not_reached_keeps_it_firing() -> None:
    """With the reason that it fired for."""
    world = small(hours([100, 80, 50, 70, 100, 100]), threshold(clear={"above": 90}))
    found = answered(world, "low", at("2026-11-16 10:00"))
    assert found.words == (
        "firing since 2026-11-16 09:00: 50 is below 60; it stays so: 70 is not past the clear bound yet"
    )


def test_an_alert_that_is_kept_firing_says_so() -> None:
    """`keep_firing_for`."""
    world = small(hours([100, 80, 50, 90, 90, 90]), threshold(keep_firing_for="3h"))
    found = answered(world, "low", at("2026-11-16 10:00"))
    assert found.words == (
        "firing since 2026-11-16 09:00: 50 is below 60; it is over and fires on for 3h: 90 is within bounds"
    )


def test_too_little_to_go_by_is_no_verdict() -> None:
    """Twelve of the 200 that the rule wants."""
    rule = threshold(min_volume={"kpi": "visits", "at_least": 200})
    visits = simple("visits", event="visit", agg="count", value=None)
    catalog = catalog_of([simple(unit="EUR"), visits], [rule], channels=CHANNELS)
    seen = [Event(at("2026-11-16 07:30")) for _ in range(12)]
    world = World(catalog, hours([100, 10]), "2026-11-16 06:00", visit=[Event(at("2026-11-16 06:30")), *seen])
    world.run("2026-11-16 07:00", "2026-11-16 08:00", every=HOUR)
    found = answered(world, "low", at("2026-11-16 08:00"))
    assert found.words == "did not fire: no verdict: too little to go by: visits 12, at least 200 wanted"


def test_a_change_says_what_it_was_compared_with_and_what_it_wants() -> None:
    """18 % where 30 % are wanted."""
    rule = ChangeRule.model_validate(
        {
            "name": "drop",
            "kpi": "revenue",
            "when": "change",
            "against": "previous",
            "drop": "30%",
            "min_effect": 20,
            "grain": "hour",
        }
    )
    world = small(hours([100, 82, 50]), rule, until="2026-11-16 09:00")
    assert answered(world, "drop", at("2026-11-16 08:00")).words == (
        "did not fire: 82 EUR, 18 % below the 100 of the hour before; "
        "it fires at a drop of 30 % and 20 EUR or more against the one before"
    )
    assert answered(world, "drop", at("2026-11-16 07:00")).words.startswith(
        "did not fire: no verdict: nothing to compare with"
    )
    fired = answered(world, "drop", at("2026-11-16 09:00"))
    assert (fired.stand.state, fired.breached) == ("firing", True)


def test_an_anomaly_without_history_says_what_it_lacks() -> None:
    """Twelve windows."""
    rule = AnomalyRule.model_validate(
        {"name": "odd", "kpi": "revenue", "when": "anomaly", "grain": "hour", "method": "xmr"}
    )
    world = small(hours([100, 82, 50]), rule, until="2026-11-16 09:00")
    assert answered(world, "odd", at("2026-11-16 09:00")).words == (
        "did not fire: no verdict: only 2 windows with a value before it, 12 are needed"
    )


def test_attainment_says_how_much_is_reached() -> None:
    """Of the headline target."""
    rule = AttainmentRule.model_validate({"name": "behind", "kpi": "revenue", "when": "attainment", "below": "10%"})
    world = World(shop(rule), hourly("2026-09-01", "2026-12-20", sales), "2026-11-01")
    world.run("2026-11-01 12:00", "2026-11-06")
    assert answered(world, "behind", at("2026-11-05")).words == (
        "did not fire (it ended at 2026-11-04 18:00): 13.3 % of the target is reached (9,600 of 72,000); "
        "it fires below 10 % of the target"
    )


def regions(*rules: Rule, count: int = 3) -> World:
    """Regions r0, r1, … of which only the second is bad."""
    events = [e for n in range(count) for e in hours([100, 50 if n == 1 else 100], region=f"r{n}")]
    return small(events, *rules, until="2026-11-16 08:00", dimensions={"region": "region"})


def test_the_worst_series_come_first_and_the_rest_is_counted() -> None:
    """Ten are told about."""
    world = regions(threshold(by=["region"]), count=14)
    found = explained(world, "low", at("2026-11-16 08:00"))
    assert [one.place[0] for one in found.answers[:2]] == [(("region", "r1"),), (("region", "r0"),)]
    assert (found.answers[0].stand.state, len(found.answers), found.more) == ("firing", 10, 4)
    assert "and 4 more series: choose with --series dimension=value" in why_text(found)
    assert answered(world, "low", at("2026-11-16 08:00"), region="r12").stand.state == "inactive"


@pytest.mark.parametrize(
    ("series", "message"),
    [
        ({"regoin": "r1"}, r"rule 'low' has no series by 'regoin' \(did you mean 'region'\?\): it is by region"),
        ({"region": "r9"}, "rule 'low' has no such series: there are region r0, region r1, region r2"),
    ],
)
def test_a_series_that_is_not_there_is_an_error(series: dict[str, str], message: str) -> None:
    """With those that are."""
    with pytest.raises(OnPaceError, match=message):
        explained(regions(threshold(by=["region"])), "low", at("2026-11-16 08:00"), series=series)


@pytest.mark.parametrize("asked", ["", "(null)"])
def test_a_series_without_a_value_is_named_as_it_is_shown(asked: str) -> None:
    """`region (null)` is what the answer says, so `--series 'region=(null)'` finds it."""
    question = Question("low", at("2026-11-16"), at("2026-11-16"), {"region": asked})
    assert question.holds(((("region", None),), ""))
    assert not question.holds(((("region", "EU"),), ""))


def test_a_rule_nobody_knows_is_an_error_with_the_one_that_was_meant(november: World) -> None:
    """Also one about the time to come, and the period of a rule that has none."""
    with pytest.raises(UnknownName, match=r"unknown rule 'revenue-off-pase' \(did you mean 'revenue-off-pace'\?\)"):
        explained(november, "revenue-off-pase", at("2026-11-12"))
    with pytest.raises(UnknownName, match="unknown rule 'x': there are revenue-off-pace"):
        explained(november, "x", at("2026-11-12"))
    with pytest.raises(OnPaceError, match="2026-11-19 00:00 UTC is yet to come"):
        explained(november, "revenue-off-pace", at("2026-11-19"))
    with pytest.raises(OnPaceError, match="rule 'low' is about windows and not about targets"):
        explained(small(hours([100])), "low", at("2026-11-16 09:00"), period="2026-11")


def test_a_rule_that_was_never_evaluated_says_so() -> None:
    """And what it would say."""
    world = small(hours([100, 50]), until="")
    world.reader.clock = at("2026-11-16 08:00")
    found = explained(world, "low", at("2026-11-16 08:00"))
    assert found.notes == (
        "Nothing of this rule is on record: no engine ran with it here, or it never had anything to judge.",
    )
    assert found.answers[0].words == (
        "did not fire, though the rule is broken by what is known now: 50 is below 60; no engine has looked at it yet"
    )


def test_a_window_that_the_engine_has_not_come_to_says_so() -> None:
    """It was down."""
    world = small(hours([100, 100, 50]), until="2026-11-16 08:00")
    world.reader.clock = at("2026-11-16 09:00")
    assert answered(world, "low", at("2026-11-16 09:00")).words.endswith(
        "50 is below 60; the engine has looked at it up to 2026-11-16 08:00"
    )


def test_late_events_are_told_apart_from_what_was_known() -> None:
    """40 more EUR came for the hour that fired, and 60 less would have been another alert."""
    world = small(hours([100, 50, 100, 100]), until="2026-11-16 10:00")
    world.reader.events["order.placed"] += [
        Event(at("2026-11-16 07:45"), {}, 40),
        Event(at("2026-11-16 08:45"), {}, -60),
    ]
    found = answered(world, "low", at("2026-11-16 08:00"))
    assert found.words == (
        "firing since 2026-11-16 08:00: 50 is below 60; as the numbers are now it is over: 90 is within bounds"
    )
    assert [entry.revised for entry in found.timeline] == [
        "known then: 50; now 90 after late events",
        "known then: 100; now 40 after late events",
    ]
    assert "Judged on the numbers as they are now" in explained(world, "low", at("2026-11-16 08:00")).notes[0]
    later = answered(world, "low", at("2026-11-16 09:00")).words
    assert later.endswith("40 is below 60; late events came after the engine had judged it")


def test_outside_its_active_hours_nobody_is_told() -> None:
    """It fires all the same."""
    world = small(hours([100, 50, 50]), threshold(active={"hours": "09:00-17:00"}), until="2026-11-16 08:00")
    assert answered(world, "low", at("2026-11-16 08:00")).telling == (
        "nobody was told: outside active hours mon-sun 09:00-17:00"
    )


def test_a_rule_without_channels_says_that_it_tells_nobody() -> None:
    """So nobody waits for a message."""
    world = small(hours([100, 50]), threshold(notify=[]), until="2026-11-16 08:00")
    assert answered(world, "low", at("2026-11-16 08:00")).telling == (
        "nobody is told: the rule names no channel under notify"
    )


def test_a_replay_tells_nobody() -> None:
    """And silence means nothing in it."""
    rule = NoDataRule.model_validate({"name": "silent", "kpi": "revenue", "when": "no_data", "after": "2h"})
    world = small(hours([100, 50]), threshold(), rule, until="")
    world.look("2026-11-16 08:00", notify=False)
    assert answered(world, "low", at("2026-11-16 08:00")).telling.startswith("nobody was told: no message is on record")
    [found] = explained(world, "silent", at("2026-11-16 08:00"), live=False).answers
    assert found.words == "did not fire: no verdict: in a replay silence means nothing"


def test_a_closed_day_is_no_verdict() -> None:
    """With its name."""
    days = CalendarRules.model_validate({"name": "office", "closed": ["2026-11-16"]})
    world = small(hours([10] * 48), threshold(grain="day"), until="", calendar=days)
    world.look("2026-11-18")
    assert answered(world, "low", at("2026-11-17")).words == "did not fire: no verdict: closed: a day off"
    assert answered(world, "low", at("2026-11-18")).breached is False


def silent_shop() -> World:
    """Orders each hour until 10:00, then none; one is expected every hour."""
    rule = NoDataRule.model_validate(
        {"name": "silent", "kpi": "revenue", "when": "no_data", "after": "2h", "notify": ["ops"]}
    )
    catalog: Catalog = catalog_of([simple(unit="EUR")], [threshold(), rule], expected_every=HOUR, channels=CHANNELS)
    world = World(catalog, hours([100, 50, 50, 50]), "2026-11-16 06:00")
    world.run("2026-11-16 07:00", "2026-11-16 13:00", every=timedelta(minutes=15))
    return world


def test_a_stale_source_holds_an_alert_as_it_is_now_and_in_the_past() -> None:
    """Its reason is the source's."""
    world = silent_shop()
    now = answered(world, "low", at("2026-11-16 13:00"))
    assert now.words.startswith("firing, and held as it is: order.placed is stale: no event since 2026-11-16 09:30:00")
    past = answered(world, "low", at("2026-11-16 11:30"))
    assert past.words.startswith("firing, and held as it is: order.placed was stale: no event since 2026-11-16 09:30")
    assert answered(world, "low", at("2026-11-16 09:00")).words == "firing since 2026-11-16 08:00: 50 is below 60"


def test_silence_is_counted_up_to_the_moment_asked_about() -> None:
    """From what had arrived by then."""
    world = silent_shop()
    assert answered(world, "silent", at("2026-11-16 11:00")).words == (
        "did not fire: order.placed events arrive; it fires after 2h of silence"
    )
    assert answered(world, "silent", at("2026-11-16 12:00")).words == (
        "firing since 2026-11-16 11:45: no order.placed event since 2026-11-16 09:30:00 UTC, longer than 2h"
    )


def test_the_pipelines_own_rules_can_be_asked_about() -> None:
    """Now and in the past."""
    world = silent_shop()
    [now] = explained(world, "pipeline-stale", at("2026-11-16 13:00")).answers
    assert now.words.startswith("firing since 2026-11-16 11:00 (bad since 2026-11-16 10:45)")
    [before] = explained(world, "pipeline-stale", at("2026-11-16 09:00")).answers
    assert before.words == "did not fire: nothing was amiss"
    [behind] = explained(world, "pipeline-behind", at("2026-11-16 13:00")).answers
    assert behind.words == "did not fire: the pipeline is caught up"


def test_a_source_that_never_sent_anything_is_not_said_to_send() -> None:
    """Nothing to be stale."""
    world = small([])
    [now] = explained(world, "pipeline-stale", at("2026-11-16 12:00")).answers
    assert now.words.endswith("no event of it ever came, so that it cannot have fallen silent")


def test_a_rule_that_is_gone_is_answered_from_what_is_stored() -> None:
    """It has no verdict any more."""
    world = small(hours([100, 50, 100]), until="2026-11-16 08:00")
    world.restart(catalog_of([simple()], [threshold(name="other")], channels=CHANNELS))
    world.look("2026-11-16 09:00")
    found = explained(world, "low", at("2026-11-16 08:30"))
    assert found.about == "this rule is no longer in the KPI files"
    assert found.answers[0].words == (
        "firing since 2026-11-16 08:00: 50 is below 60; it stays so: the rule is gone from the KPI files"
    )


def test_a_forecast_without_history_says_what_it_lacks(november: World) -> None:
    """It needs past periods to go by."""
    rule = ForecastRule.model_validate({"name": "will-miss", "kpi": "revenue", "when": "forecast"})
    world = World(shop(rule), hourly("2026-09-01", "2026-12-20", sales), "2026-11-01")
    world.run("2026-11-01 12:00", "2026-11-06")
    found = explained(world, "will-miss", at("2026-11-06"))
    assert found.about == "Revenue: fires from a probability to miss of 70 % on"
    assert found.answers[0].words == ("did not fire: no verdict: no forecast: 0 past periods to go by, 3 are needed")


def test_an_alert_that_another_one_speaks_for_says_which() -> None:
    """One message per KPI and period."""
    given = {
        "name": "behind",
        "kpi": "revenue",
        "when": "attainment",
        "below": "99%",
        "notify": ["ops"],
        "after": "42%",
    }
    rules = [off_pace(), AttainmentRule.model_validate(given)]
    world = World(shop(*rules), hourly("2026-09-01", "2026-12-20", sales), "2026-11-01")
    world.run("2026-11-01 12:00", "2026-11-14")
    found = answered(world, "behind", at("2026-11-14"))
    assert found.stand.state == "firing"
    assert found.telling == "nobody was told: revenue-off-pace tells of the same period"


def test_a_series_beyond_the_worst_says_that_only_those_are_told() -> None:
    """`max_alerts`."""
    events = [e for n in range(4) for e in hours([100, 50 - n], region=f"r{n}")]
    rule = threshold(by=["region"], max_alerts=2)
    world = small(events, rule, until="2026-11-16 08:00", dimensions={"region": "region"})
    found = {one.place[0][0][1]: one.telling for one in explained(world, "low", at("2026-11-16 08:00")).answers}
    beyond = "nobody was told: only the worst 2 series of the rule are told (max_alerts)"
    assert [found[name].startswith("told ops") for name in ("r2", "r3")] == [True, True]
    assert [found[name] for name in ("r0", "r1")] == [beyond, beyond]


def test_a_window_that_late_events_corrected_is_told_as_it_went() -> None:
    """It fired, and then it should not have."""
    world = small(hours([100, 50]), until="2026-11-16 08:00")
    world.reader.events["order.placed"].append(Event(at("2026-11-16 07:45"), {}, 40))
    world.look("2026-11-16 08:02")
    found = answered(world, "low", at("2026-11-16 08:02"))
    assert [entry.what for entry in found.timeline] == ["firing", "resolved"]
    assert [entry.at for entry in found.timeline] == [at("2026-11-16 08:00")] * 2
    assert found.timeline[0].revised == "known then: 50; now 90 after late events"
    assert found.timeline[1].words == "corrected by late events, was 50: 90 is within bounds"
    assert found.words == ("did not fire (it ended at 2026-11-16 08:00): 90 is within bounds; it fires below 60 EUR")
