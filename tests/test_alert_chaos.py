"""A random walk over all that may happen at once; at its end people and Alertmanager have heard what is the case.

Kills and outages between what an evaluation stores, hands over and keeps, restarts, silences, sources
that fall silent, late events that turn what was judged. Messages with a known key are dropped, as the dispatcher does.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from random import Random
from typing import Any

import pytest
from alerts_fakes import Event, FakeReader, MemoryHistory, at, catalog_of, simple
from silences_fakes import MemorySilences

from onpace.alerts.covering import covering
from onpace.alerts.engine import Engine
from onpace.alerts.evaluation import Evaluation, Transition
from onpace.alerts.notifications import Notification
from onpace.alerts.states import Alert, AlertId
from onpace.alerts.telling import held_back
from onpace.config.catalog import Catalog
from onpace.config.errors import StoreUnavailable
from onpace.config.rules import AttainmentRule, Channel, PaceRule, Rule, ThresholdRule
from onpace.config.silences import Silence

HOUR, REGIONS = timedelta(hours=1), ("EU", "US", "AS")
CHANNELS = [
    Channel(name="ops", type="log"),
    Channel(name="team", type="log"),
    Channel(name="am", type="alertmanager", url="http://am.example.com"),
]


class Kill(BaseException):
    """The process ends here."""


class Trap:
    """What happens at one point of one evaluation."""

    def __init__(self) -> None:
        self.set: tuple[str, BaseException] | None = None

    def __call__(self, point: str) -> None:
        """Raise, if that is the point."""
        if self.set and self.set[0] == point:
            (_, error), self.set = self.set, None
            raise error


class Store(MemoryHistory):
    """A store that fails where the trap is set: while it keeps what was found, or who was told."""

    def __init__(self, trap: Trap) -> None:
        super().__init__()
        self.trap = trap
        self.times = 0

    def save_alerts(self, alerts: Sequence[Alert], transitions: Sequence[Transition], now: datetime) -> None:
        """Before or after it has kept them."""
        self.times += 1
        self.trap(f"before-{self.times}")
        super().save_alerts(alerts, transitions, now)
        self.trap(f"after-{self.times}")


class Post:
    """A notifier that drops what it knows by its key, and refuses another message with a known key."""

    def __init__(self, trap: Trap) -> None:
        self.trap = trap
        self.sent: dict[tuple[str, str], Notification] = {}

    def submit(self, notifications: Sequence[Notification]) -> None:
        """Take those with new keys."""
        self.trap("before-post")
        for one in notifications:
            known = self.sent.setdefault((one.channel, one.key), one)
            assert (known.state, known.labels) == (one.state, one.labels)
        self.trap("after-post")

    def told(self, keys: Collection[str]) -> set[tuple[str, str]]:
        """Those of these keys."""
        return {place for place in self.sent if place[1] in keys}

    def refresh(self, firing: Sequence[Notification], now: datetime) -> None:
        """Nothing more."""

    def last(self) -> dict[tuple[str, AlertId], str]:
        """What each channel heard last of each alert. Raises where it heard twice in a row that it fires."""
        found: dict[tuple[str, AlertId], str] = {}
        for one in self.sent.values():
            dims = [(name.removeprefix("dim_"), text) for name, text in one.labels.items() if name.startswith("dim_")]
            identity = one.labels["alertname"], one.labels.get("kpi", ""), tuple(dims), one.labels.get("period", "")
            assert one.state != "firing" or found.get((one.channel, identity)) != "firing", one
            found[one.channel, identity] = one.state
        return found


def shop(random: Random) -> Catalog:
    """Revenue by region, with a target of each day."""
    hold, keep = random.choice(["0h", "2h"]), random.choice(["0h", "2h"])
    low = {"name": "low", "kpi": "revenue", "when": "threshold", "below": 50, "by": ["region"], "notify": []}
    low |= {
        "for": hold,
        "keep_firing_for": keep,
        "max_alerts": random.choice([1, 2, 5]),
        "notify": ["ops", "team", "am"],
    }
    told: dict[str, Any] = {"kpi": "revenue", "notify": ["ops", "am"]}
    rules: list[Rule] = [
        ThresholdRule.model_validate(low),
        PaceRule.model_validate(told | {"name": "pace", "when": "pace", "for": hold}),
        AttainmentRule.model_validate(told | {"name": "short", "when": "attainment", "below": "90%"}),
    ]
    kpi = simple(dimensions={"region": "region"}, targets=[{"every": "day", "value": 7200}])
    return catalog_of([kpi], rules, channels=CHANNELS, expected_every=2 * HOUR)


class Walk:
    """A shop in which anything may happen."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.catalog, self.trap = shop(self.random), Trap()
        self.now = self.filled = at("2026-11-01")
        self.reader = FakeReader(self.catalog, {"order.placed": []}, self.now)
        self.history, self.post, self.silences = Store(self.trap), Post(self.trap), MemorySilences()
        self.amounts = dict.fromkeys(REGIONS, 100.0)
        self.silent = 0
        self.restart()
        self.now += 24 * HOUR
        self.fill()

    def restart(self) -> None:
        """A new process."""
        self.engine = Engine(
            self.catalog,
            self.reader,
            self.history,
            self.post,
            silences=self.silences,
            told_before=self.post.told,
        )

    def fill(self) -> None:
        """What was sold in the meantime has arrived."""
        while self.filled < self.now:
            sold = [Event(self.filled + HOUR / 2, {"region": name}, self.amounts[name]) for name in REGIONS]
            self.reader.events["order.placed"] += sold
            self.filled += HOUR
        self.reader._indexes.clear()

    def look(self) -> None:
        """Evaluate, whatever comes of it."""
        self.reader.clock, self.history.times = self.now, 0
        try:
            self.engine.evaluate(self.now, notify=True)
        except Kill:
            self.restart()
        except StoreUnavailable:
            pass
        self.trap.set = None

    def step(self) -> None:
        """Time passes, something happens, and it is evaluated."""
        for name in REGIONS:
            if self.random.random() < 0.25:
                self.amounts[name] = self.random.choice([10.0, 100.0, 200.0])
        self.now += HOUR * self.random.choice([0, 1, 1, 1, 2, 5])
        self.silent -= 1
        if self.silent < 0:
            self.fill()
        nothing = [lambda: None] * 3
        self.random.choice(
            [self.late, self.late, self.silence, self.fail, self.fail, self.restart, self.gap, *nothing]
        )()
        self.look()

    def late(self) -> None:
        """An event for the hour that was just judged."""
        event = Event(self.now - HOUR / 2, {"region": self.random.choice(REGIONS)}, self.random.choice([-80.0, 300.0]))
        self.reader.events["order.placed"].append(event)
        self.reader._indexes.clear()
        self.now += timedelta(minutes=2)

    def gap(self) -> None:
        """Nothing arrives for a while."""
        self.silent = self.random.choice([2, 4])

    def silence(self) -> None:
        """For some hours."""
        matchers = self.random.choice([{"rule": "low"}, {"kpi": "revenue"}, {"rule": "pace"}])
        until = self.now + HOUR * self.random.choice([1, 3, 8])
        given = {"id": f"s{len(self.silences.kept)}", "by": "anna", "why": "x", "matchers": matchers}
        self.silences.save(Silence.model_validate(given | {"start": self.now, "until": until}), self.now)

    def fail(self) -> None:
        """The process or the store, at some point of the next evaluation."""
        points = ["before-1", "after-1", "before-post", "after-post", "before-2", "after-2"]
        self.trap.set = self.random.choice(points), self.random.choice([Kill(), StoreUnavailable("no answer")])

    def end(self) -> Evaluation:
        """All silences are over, and nothing happens any more."""
        self.now += 8 * HOUR
        self.fill()
        for _ in range(3):
            self.look()
            self.now += timedelta(minutes=5)
        assert self.engine.latest is not None
        return self.engine.latest


@pytest.mark.parametrize("seed", range(60))
def test_whatever_happened_everybody_has_heard_what_is_the_case(seed: int) -> None:
    """Of all that fires and is not held back by another alert, that it fires; of nothing else."""
    walk = Walk(seed)
    for _ in range(40):
        walk.step()
    found, heard = walk.end(), walk.post.last()
    state = {one.identity: one.state for one in found.alerts}
    assert {place: "firing" for place, last in heard.items() if last == "firing" and state[place[1]] != "firing"} == {}

    def direct(alert: Alert) -> frozenset[str]:
        return frozenset(walk.catalog.rules[alert.rule].notify) - {"am"}

    held = held_back(walk.catalog, found.alerts, lambda _: True)
    for alert in found.alerts:
        if alert.state == "firing" and alert.rule in walk.catalog.rules and alert.identity not in held:
            channels = {"am"} if covering(alert, found.alerts, direct) else {*direct(alert), "am"}
            assert {heard.get((name, alert.identity)) for name in channels} == {"firing"}, alert
