"""Runs rule tests: each in a world of its own, all over one store."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from onpace.alerts.evaluation import Evaluation
from onpace.alerts.rule_checks import (
    Sent,
    alert_problems,
    end_of,
    looks_of,
    sent_events,
    status_problems,
    value_problems,
)
from onpace.config.catalog import Catalog
from onpace.config.narrowing import narrowed
from onpace.config.rule_tests import RuleTest, Suite
from onpace.config.settings import Settings
from onpace.deploy.world import Arrival, World, emptied
from onpace.processors.clickhouse import ClickHouse
from onpace.processors.writer import EPOCH

__all__ = ["Outcome", "run_test", "run_tests"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one test."""

    suite: Suite
    test: RuleTest
    problems: tuple[str, ...]
    """Each begins with `file:line`; none when the test passed."""
    seconds: float
    events: int
    looks: int


def run_tests(store: ClickHouse, suites: Sequence[Suite], settings: Settings) -> Iterator[Outcome]:
    """Run every test, one after the other."""
    for suite in suites:
        for index in range(len(suite.tests)):
            yield run_test(emptied(store), suite, index, settings)


def run_test(store: ClickHouse, suite: Suite, index: int, settings: Settings) -> Outcome:
    """Run one test over an empty store."""
    begun, test = time.perf_counter(), suite.tests[index]
    suite = replace(suite, catalog=_with_targets(suite.catalog, test))
    catalog = _needed(suite.catalog, test)
    sent = sent_events(test, suite)
    end = end_of(test, suite, sent)
    looks = looks_of(test, suite, catalog, sent, end)
    run = _Run(World(store, catalog, settings, sent[0].arrives if sent else end), suite, index, sent)
    instants = {*looks, end, *(suite.instant(one.as_of) for one in test.values if one.as_of)}
    problems = [problem for at in sorted(instants) for problem in run.at(at, look=at in looks, end=end)]
    seconds = time.perf_counter() - begun
    return Outcome(suite, test, (*run.refused(), *problems), seconds, len(sent), len(looks))


def _with_targets(catalog: Catalog, test: RuleTest) -> Catalog:
    kpis = {
        name: kpi.model_copy(update={"targets": test.targets[name]}) if name in test.targets else kpi
        for name, kpi in catalog.kpis.items()
    }
    return replace(catalog, kpis=kpis)


def _needed(catalog: Catalog, test: RuleTest) -> Catalog:
    """What the test looks at; all rules where it says that none fires."""
    named = {one.rule for one in test.alerts}
    rules = [name for name in catalog.rules if None in named or name in named]
    judged, read = {one.kpi for one in test.statuses}, {one.kpi for one in test.values}
    part = narrowed(catalog, rules, judged=judged, read=read)
    return replace(part, events=catalog.events)  # what is sent is declared, whether it counts for anything or not


class _Run:
    """One test under way."""

    def __init__(self, world: World, suite: Suite, index: int, sent: Sequence[Sent]) -> None:
        self._world = world
        self._suite = suite
        self._index = index
        self._test = suite.tests[index]
        self._sent = sent
        self._taken = 0

    def at(self, now: datetime, *, look: bool, end: datetime) -> Iterator[str]:
        """Let come what has arrived by now, evaluate if that is due, and check what is to be checked now."""
        self._arrive(now)
        if look:
            yield from self._checked(now, self._world.look(now))
        else:
            self._world.caught_up(now)
        due = {
            at: value
            for at, value in enumerate(self._test.values)
            if (self._suite.instant(value.as_of) if value.as_of else end) == now
        }
        if due:
            self._world.reader.sources()
        for at, value in due.items():
            yield from self._placed(value_problems(value, self._suite, self._world.reader), "values", at)

    def _arrive(self, now: datetime) -> None:
        first = self._taken
        while self._taken < len(self._sent) and self._sent[self._taken].arrives <= now:
            self._taken += 1
        arrivals = [
            Arrival(
                offset,
                (one.arrives - EPOCH) // timedelta(milliseconds=1),
                one.event.to_json(),
                (one.event.time - EPOCH) // timedelta(microseconds=1),
                one.event.type,
            )
            for offset, one in enumerate(self._sent[first : self._taken], first)
        ]
        self._world.arrive(arrivals)

    def _checked(self, now: datetime, found: Evaluation) -> Iterator[str]:
        suite, reader = self._suite, self._world.reader
        for at, status in enumerate(self._test.statuses):
            if suite.instant(status.at) == now:
                known = self._world.memory.statuses()
                yield from self._placed(status_problems(status, suite, known), "statuses", at)
        for at, alert in enumerate(self._test.alerts):
            if suite.instant(alert.at) == now:
                yield from self._placed(alert_problems(alert, suite, found, reader), "alerts", at)

    def _placed(self, problems: Iterable[str], *keys: str | int) -> Iterator[str]:
        return (f"{self._suite.line(self._index, *keys)}: {problem}" for problem in problems)

    def refused(self) -> Iterator[str]:
        """Events that were dead letters, one for each entry of the file."""
        seen = set()
        for letter in self._world.dead:
            entry = self._sent[letter.offset].entry
            if entry not in seen:
                seen.add(entry)
                what = f"{self._test.events[entry].type}: {letter.message}"
                yield f"{self._suite.line(self._index, 'events', entry)}: the event is refused: {what}"
