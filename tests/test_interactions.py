"""What becomes of messages where the parts of the engine meet: outages, edits and late events at a bad moment."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from alerts_fakes import Event, MemoryHistory, at, catalog_of, simple
from silences_fakes import QuietWorld
from test_engine import CHANNELS, World, hourly, sales, shop
from test_notifiers import NOW, Post, message

from onpace.alerts import judging
from onpace.alerts.engine import Engine
from onpace.alerts.evaluation import Transition
from onpace.alerts.judgement import Due, due_periods
from onpace.alerts.notifications import Notification
from onpace.alerts.senders import LogSender
from onpace.alerts.states import Alert
from onpace.config.calendar import Grain
from onpace.config.catalog import Catalog
from onpace.config.errors import StoreUnavailable
from onpace.config.rules import AttainmentRule, Channel, ForecastRule, Rule, ThresholdRule

LOW = {"name": "low", "kpi": "revenue", "when": "threshold", "below": 50, "notify": ["ops"]}


class Forgetful(MemoryHistory):
    """A store that goes away when it is asked for the second time in an evaluation: when all have been told."""

    away = False

    def save_alerts(self, alerts: Sequence[Alert], transitions: Sequence[Transition], now: datetime) -> None:
        """Fail where no transition is kept, as long as it is away."""
        if self.away and not transitions:
            raise StoreUnavailable("no answer")
        super().save_alerts(alerts, transitions, now)


def dip(moment: datetime) -> float:
    """100 an hour, but for two hours."""
    return 10.0 if at("2026-11-02 06:00") <= moment < at("2026-11-02 08:00") else 100.0


def low(**more: object) -> Catalog:
    """A threshold on what is sold in an hour."""
    return catalog_of([simple()], [ThresholdRule.model_validate(LOW | more)], channels=CHANNELS)


def channels(world: World) -> list[tuple[str, str]]:
    """Channel and state of every message."""
    return [(one.channel, one.state) for one in world.notifier.sent]


def test_an_alert_ends_for_all_who_heard_although_the_store_went_away_in_between() -> None:
    """It was told, that could not be kept, and it is over before the next evaluation."""
    world = World(low(), hourly("2026-11-01", "2026-11-03", dip), "2026-11-02")
    world.history = history = Forgetful()
    world.restart()
    world.look("2026-11-02 06:00")
    history.away = True
    try:
        world.look("2026-11-02 07:00")
    except StoreUnavailable:
        history.away = False
    assert channels(world) == [("ops", "firing")]
    world.look("2026-11-02 09:00")
    assert channels(world) == [("ops", "firing"), ("ops", "resolved")]


def test_the_end_is_told_where_it_was_told_that_it_fires() -> None:
    """The rule names another channel by then."""
    world = World(low(), hourly("2026-11-01", "2026-11-03", dip), "2026-11-02")
    world.run("2026-11-02 06:00", "2026-11-02 07:00", every=timedelta(hours=1))
    world.restart(low(notify=["team"]))
    world.look("2026-11-02 09:00")
    assert channels(world) == [("ops", "firing"), ("team", "resolved"), ("ops", "resolved")]


def test_the_end_of_a_silent_source_is_told_although_no_rule_is_left() -> None:
    """The built-in alert goes to the channels of the rules that its source feeds."""
    expected = timedelta(hours=1)
    events = hourly("2026-11-01", "2026-11-02", sales)
    world = World(shop(expected_every=expected), events, "2026-11-02")
    world.run("2026-11-02", "2026-11-02 06:00", every=timedelta(hours=1))
    assert [(one.channel, one.labels["alertname"]) for one in world.notifier.sent] == [("ops", "pipeline-stale")]
    bare = shop(expected_every=expected)
    world.restart(Catalog(events=bare.events, kpis=bare.kpis, channels=bare.channels))
    world.reader.events["order.placed"] += hourly("2026-11-02", "2026-11-02 08:00", sales)
    world.look("2026-11-02 08:00")
    assert channels(world) == [("ops", "firing"), ("ops", "resolved")]


def test_who_heard_is_known_although_late_events_corrected_the_alert_since() -> None:
    """Its window is found to be good and bad again while the store keeps no more than that; then its rule goes."""
    world = World(low(keep_firing_for="3h"), hourly("2026-11-01", "2026-11-03", dip), "2026-11-02")
    world.run("2026-11-02 06:00", "2026-11-02 09:00", every=timedelta(hours=1))
    world.reader.events["order.placed"].append(Event(at("2026-11-02 08:45"), {}, -80.0))
    world.look("2026-11-02 09:02")
    assert (world.alert().state, world.alert().corrections) == ("firing", 1)
    world.restart(catalog_of([simple()], [], channels=CHANNELS))
    world.look("2026-11-02 09:03")
    assert channels(world) == [("ops", "firing"), ("ops", "resolved")]


def test_what_fires_again_at_the_same_w_is_another_message() -> None:
    """Late events end it and bring it back before the next window is complete: no channel may drop it as known."""
    rule: Rule = AttainmentRule.model_validate(
        {"name": "short", "kpi": "revenue", "when": "attainment", "below": "90%", "notify": ["ops"]}
    )
    given = {"targets": [{"every": "day", "value": 100}]}
    catalog = catalog_of([simple(**given)], [rule], channels=CHANNELS)
    world = World(catalog, [Event(at("2026-11-02 11:30"), {}, 10.0)], "2026-11-02 12:00")
    events = world.reader.events["order.placed"]
    world.look("2026-11-02 12:00")
    events.append(Event(at("2026-11-02 11:40"), {}, 500.0))
    world.look("2026-11-02 12:02")
    events.append(Event(at("2026-11-02 11:50"), {}, -440.0))
    world.look("2026-11-02 12:04")
    assert channels(world) == [("ops", "firing"), ("ops", "resolved"), ("ops", "firing")]
    assert len({one.key for one in world.notifier.sent}) == 3


def test_a_mistake_in_the_evidence_keeps_nobody_from_hearing() -> None:
    """The message has no segments, and the engine goes on."""
    world = World(shop(dimensions={"region": "region"}), hourly("2026-09-01", "2026-12-20", sales), "2026-11-01")

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    world.reader.segments = broken  # type: ignore[assignment,method-assign]
    world.run("2026-11-01 12:00", "2026-11-14")
    assert world.told() == [("revenue-off-pace", "firing")]


class Moody:
    """A sender that fails once as none should."""

    forgets = False

    def __init__(self) -> None:
        self.sent: list[str] = []
        self._fails = True

    def send(self, notifications: Sequence[Notification], now: datetime) -> None:  # noqa: ARG002
        """Raise what is no DeliveryFailed, the first time."""
        if self._fails:
            self._fails = False
            raise UnicodeError
        self.sent += [one.key for one in notifications]


def test_a_channel_goes_on_after_an_error_that_nobody_expected() -> None:
    """It counts as a failed attempt, and is tried again."""
    hook = Moody()
    post = Post(MemoryHistory(), hook=hook)
    post.dispatcher.submit([message()])
    post.drain()
    assert (hook.sent, post.count("hook", "failed")) == ([message().key], 1)
    post.dispatcher.stop()


class Slow(MemoryHistory):
    """An outbox in which a message arrives just after it was read what waits there."""

    post: Post | None = None
    late: threading.Thread | None = None

    def waiting(self) -> list[Notification]:
        """Read, and let the engine hand over one more before the caller goes on, if it can."""
        found = super().waiting()
        if self.post and self.late is None:
            self.late = threading.Thread(target=self.post.dispatcher.submit, args=([message()],))
            self.late.start()
            self.late.join(0.2)
        return found


def test_a_message_that_comes_while_the_channels_change_is_delivered() -> None:
    """It is for the new channel, not for the queue of the one that ends."""
    outbox, hook = Slow(), Moody()
    post = Post(outbox, clock=lambda: NOW, hook=LogSender())
    outbox.post = post
    post.dispatcher.serve({"hook": hook})
    assert outbox.late is not None
    outbox.late.join()
    post.drain()
    assert hook.sent == [message().key]
    post.dispatcher.stop()


def test_alertmanager_hears_of_the_worst_series_also_while_a_silence_matches_all() -> None:
    """A silence is for direct channels, and `max_alerts` for both: neither must undo the other."""
    manager = Channel(name="am", type="alertmanager", url="http://am.example.com")
    rule = ThresholdRule.model_validate(LOW | {"by": ["region"], "max_alerts": 1, "notify": ["ops", "am"]})
    catalog = catalog_of([simple(dimensions={"region": "region"})], [rule], channels=[*CHANNELS, manager])
    amounts = {"EU": 3.0, "US": 1.0, "AS": 2.0}
    events = [one for name in amounts for one in hourly("2026-11-02", "2026-11-03", lambda _: 100.0, region=name)]
    world = QuietWorld(catalog, events, "2026-11-02 04:00")
    world.look("2026-11-02 04:00")
    for name, amount in amounts.items():
        world.reader.events["order.placed"].append(Event(at("2026-11-02 05:45"), {"region": name}, amount - 100))
    world.silence("2026-11-02 05:00", "2026-11-02 06:30")
    world.run("2026-11-02 05:00", "2026-11-02 06:00", every=timedelta(hours=1))
    assert [(one.channel, one.labels["dim_region"]) for one in world.notifier.sent] == [("am", "US")]
    world.look("2026-11-02 06:30")
    assert [(one.channel, one.labels["dim_region"]) for one in world.notifier.sent[1:]] == [("ops", "US")]


def test_what_is_kept_of_past_periods_does_not_grow_with_the_weeks() -> None:
    """A target of each day, forecast and compared with the days before it."""
    rule: Rule = ForecastRule.model_validate(
        {"name": "likely", "kpi": "revenue", "when": "forecast", "notify": ["ops"]}
    )
    catalog = catalog_of([simple(targets=[{"every": "day", "value": 100}])], [rule], channels=CHANNELS)
    world = World(catalog, hourly("2026-09-01", "2026-11-20", sales), "2026-10-01")
    kept = []
    for end in ("2026-10-10", "2026-11-10"):
        world.run("2026-10-01" if not kept else "2026-10-10", end)
        board = world.engine._board
        assert board is not None
        kept.append((len(board._past._kept), len(board._foresight._kept), len(board._ended)))
    assert max(kept[0] + kept[1]) < 8


def test_years_of_final_periods_cost_an_evaluation_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once all of them were looked at, only those that are open are, and the newest that late events may change."""
    counted: list[int] = []

    def counting(*given: Any, **more: Any) -> list[Due]:
        found = due_periods(*given, **more)
        counted.append(len(found))
        return found

    monkeypatch.setattr(judging, "due_periods", counting)
    catalog = catalog_of([simple(targets=[{"every": "day", "value": 100}, {"every": "year", "value": 1}])])
    world = World(catalog, [Event(at("2023-01-01"), {}, 1.0), Event(at("2026-01-02"), {}, 1.0)], "2026-01-01 06:00")
    world.look("2026-01-01 06:00")
    world.look("2026-01-01 06:02")
    found = world.look("2026-01-02 06:00")
    assert counted[0] > 1000
    assert max(counted[2:]) < 10
    days = [one.period for one in found.statuses if one.grain is Grain.DAY]
    assert sorted(days) == ["2025-12-30", "2025-12-31", "2026-01-01", "2026-01-02"]


def waves(moment: datetime) -> float:
    """Low in the second hour, and in the fourth."""
    return 10.0 if moment.hour in (1, 3) else 100.0


def silenced_waves(catalog: Catalog) -> QuietWorld:
    """It fires, and ends and fires anew while it is silenced."""
    world = QuietWorld(catalog, hourly("2026-11-02", "2026-11-03", waves), "2026-11-02")
    world.look("2026-11-02 02:00")
    world.silence("2026-11-02 02:30", "2026-11-02 04:30")
    return world


def test_what_was_acknowledged_and_fires_anew_is_told_although_its_end_was_held_back() -> None:
    """An acknowledgement is for one firing."""
    world = silenced_waves(low())
    world.acknowledge(world.alert(), at("2026-11-02 02:10"))
    world.run("2026-11-02 03:00", "2026-11-02 04:00", every=timedelta(hours=1))
    assert channels(world) == [("ops", "firing")]
    world.look("2026-11-02 04:30")
    assert channels(world) == [("ops", "firing"), ("ops", "firing")]
    world.look("2026-11-02 05:00")
    assert channels(world)[2:] == [("ops", "resolved")]


def test_who_heard_of_an_earlier_firing_hears_of_the_end_of_a_later_one() -> None:
    """Nothing was said in between, and the rule names another channel by then."""
    world = silenced_waves(low())
    world.run("2026-11-02 03:00", "2026-11-02 04:00", every=timedelta(hours=1))
    told = world.notifier.told
    world.catalog = world.reader.catalog = low(notify=["team"])
    world.engine = Engine(
        world.catalog, world.reader, world.history, world.notifier, silences=world.silences, told_before=told
    )
    world.look("2026-11-02 05:00")
    assert channels(world) == [("ops", "firing"), ("team", "resolved"), ("ops", "resolved")]
