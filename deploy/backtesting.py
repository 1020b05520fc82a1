"""Runs one rule over the archive as it arrived, with the engine that runs live."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path

from onpace.alerts.backtest import Alarm, Ledger, Score, score
from onpace.alerts.history import ClickHouseHistory
from onpace.alerts.instants import goes_by_windows, instants, lateness_of, lead_in, lookback
from onpace.alerts.past_targets import PastTargets
from onpace.config.calendar import window_start
from onpace.config.catalog import Catalog
from onpace.config.errors import OnPaceError, UnknownName, did_you_mean
from onpace.config.incidents import Incident
from onpace.config.kpi_entities import ReportedKpi
from onpace.config.narrowing import narrowed
from onpace.config.rules import AnomalyRule, ChangeRule, Rule, ThresholdRule
from onpace.config.settings import Settings
from onpace.deploy.archive import Archive, Arrivals, copy_archive, first_event
from onpace.deploy.stores import now as wall_clock
from onpace.deploy.stores import open_store
from onpace.deploy.world import Arrival, World, temporary_store
from onpace.processors.clickhouse import ClickHouse
from onpace.processors.writer import EPOCH

__all__ = ["Answer", "Progress", "Question", "Replay", "backtest", "check_incidents", "known_from", "part_for"]

Progress = Callable[[datetime, int], None]
"""Told the instant that a backtest has come to, and how many events it has taken."""

MOST_LOOKS = 1_000_000
MOST_SKIPPED = 1000
"""So many windows at most are judged in one look."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: would the rule have fired in `[start, end)`?"""

    rule: str
    start: datetime
    end: datetime
    every: timedelta | None = None
    """The step between looks of a rule that does not go by windows."""
    punctual: bool = False
    """Whether every event counts as having arrived when it happened."""
    incidents: tuple[Incident, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of it."""

    question: Question
    catalog: Catalog
    """The part that the rule needs."""
    archive: Archive
    alarms: tuple[Alarm, ...]
    """Those that fired in `[start, end)`."""
    before: tuple[Alarm, ...]
    """Those that had fired before and still did."""
    looks: int
    unusable: int
    """Events that the KPI files of today refuse."""
    edited: tuple[str, ...]
    """KPIs whose targets in the files are other ones than those recorded last."""
    score: Score | None = None


def part_for(catalog: Catalog, rule: str) -> Catalog:
    """The part of the catalog that the rule needs. Raises UnknownName with a suggestion."""
    if rule not in catalog.rules:
        known = did_you_mean(rule, catalog.rules) or f": there are {', '.join(catalog.rules) or 'none'}"
        raise UnknownName(f"unknown rule '{rule}'{known}")
    return narrowed(catalog, [rule])


def check_incidents(incidents: Iterable[Incident], catalog: Catalog, rule: str) -> None:
    """Raises UnknownName for a KPI that does not exist, and for a dimension that the rule's KPI does not have."""
    kpi = catalog.kpi(catalog.rules[rule].kpi)
    dimensions = catalog.dimensions(kpi)
    for one in incidents:
        if one.kpi is not None:
            catalog.kpi(one.kpi)
        for name in one.series if one.kpi in (None, kpi.name) else ():
            if name not in dimensions:
                has = f"it has {', '.join(dimensions)}" if dimensions else "it has none"
                raise UnknownName(f"KPI '{kpi.name}' has no dimension '{name}'{did_you_mean(name, dimensions)}: {has}")


def backtest(settings: Settings, catalog: Catalog, question: Question, progress: Progress) -> Answer:
    """Answer the question from the archive, up to now at most.

    Raises UnknownName, StoreUnavailable, and OnPaceError where there is nothing to look at.
    """
    part, now = part_for(catalog, question.rule), wall_clock()
    if question.start >= now:
        raise OnPaceError("--start lies ahead: a backtest is about the past")
    question = replace(question, end=min(question.end, now))
    with tempfile.TemporaryDirectory(prefix="onpace-") as folder:
        with open_store(settings) as store:
            past = PastTargets.of(part, ClickHouseHistory(store).targets(), now)
            archive = _copied(store, settings.kafka.topic, part, question, Path(folder) / "events.arrow")
        looks = _looks(part, question, archive)
        with temporary_store() as store:
            world = World(store, past.catalog_at(looks[0]), settings, looks[0])
            replay = Replay(world, Arrivals(archive), past, question.rule, progress)
            replay.run(looks)
    return _answer(question, part, archive, replay, past)


def _copied(store: ClickHouse, topic: str, part: Catalog, question: Question, path: Path) -> Archive:
    types = sorted({name for kpi in part.kpis.values() for name in part.event_types(kpi)})
    until = question.end + lateness_of(part.rules[question.rule], part)
    archive = copy_archive(store, topic, types, until, path, punctual=question.punctual)
    if not archive.events:
        raise OnPaceError(_nothing(types, question, first_event(store, topic, types)))
    return archive


def _looks(part: Catalog, question: Question, archive: Archive) -> list[datetime]:
    """When to look: never before anything was known. Raises OnPaceError for no look, and for far too many."""
    rule, start = part.rules[question.rule], known_from(question, archive)
    lead, looks = (
        lead_in(rule, part, start, every=question.every),
        instants(rule, part, start, question.end, every=question.every),
    )
    found = [*lead, *islice(looks, MOST_LOOKS + 1)]
    if len(found) > MOST_LOOKS:
        hint = "a shorter stretch" if goes_by_windows(rule) else "a shorter stretch, or a longer step with --every"
        raise OnPaceError(f"more than {MOST_LOOKS:,} looks at rule '{rule.name}': choose {hint}")
    if not found:
        raise OnPaceError(f"no window of rule '{rule.name}' ends between --start and --end: choose a longer stretch")
    return found


def known_from(question: Question, archive: Archive) -> datetime:
    """From when on the answer holds: before the first event had arrived nothing was known."""
    return max(question.start, archive.first_arrival or question.start)


def _nothing(types: Sequence[str], question: Question, first: datetime | None) -> str:
    names = " or ".join(types)
    if first is None:
        return f"no {names} event is in the archive: there is nothing to replay"
    if question.punctual:
        return f"the first {names} event in the archive is of {first:%Y-%m-%d %H:%M} UTC: choose a later --end"
    until = f"{question.end:%Y-%m-%d %H:%M} UTC"
    hint = "; of a history that was loaded later, --arrival event replays it by event time"
    return f"no {names} event in the archive had arrived by {until}: choose a later --end{hint}"


def _answer(question: Question, part: Catalog, archive: Archive, replay: Replay, past: PastTargets) -> Answer:
    rule = part.rules[question.rule]
    alarms = replay.ledger.alarms()
    inside = [one for one in alarms if question.start <= one.fired_at < question.end]
    before = [
        one
        for one in alarms
        if one.fired_at < question.start and (one.cleared_at is None or one.cleared_at > question.start)
    ]
    found = None
    if question.incidents:
        mine = [one for one in question.incidents if one.kpi in (None, rule.kpi)]
        relevant = [one for one in mine if one.start < question.end and one.end > question.start]
        found = score([*before, *inside], relevant, grace=lookback(rule, part))
    return Answer(
        question,
        part,
        archive,
        tuple(inside),
        tuple(before),
        looks=replay.looks,
        unusable=replay.world.refused,
        edited=past.edited,
        score=found,
    )


@dataclass(slots=True)
class Replay:
    """Moves the clock of a world from look to look. What has arrived by then is known, and nothing else."""

    world: World
    arrivals: Arrivals
    past: PastTargets
    rule: str
    progress: Progress
    looks: int = 0
    """So many evaluations it took."""
    ledger: Ledger = field(init=False)
    _reached: datetime | None = None
    _grid: datetime | None = None
    _waiting: list[datetime] = field(default_factory=list)
    _seen: dict[str, datetime] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.rule)

    def run(self, looks: Iterable[datetime]) -> None:
        """Look at each of these instants, in order.

        Of a rule that goes by windows only at those that matter: while no event is late for a window that has been
        complete, and no source is silent, one look at the last of them finds the same as a look at each. When one is
        late for the newest window, there is a look at its arrival as well: that window is then judged again.
        """
        catalog = self.world.catalog
        skipping = goes_by_windows(catalog.rules[self.rule]) and not any(
            isinstance(leaf, ReportedKpi) for kpi in catalog.kpis.values() for leaf in catalog.leaves(kpi)
        )
        for now in looks:
            for part in self.arrivals.until(now):
                self._take(part)
            self._waiting.append(now)
            self._grid = now
            if not skipping or self._silent(now) or len(self._waiting) >= MOST_SKIPPED or self._reached is None:
                self._look()
            self.progress(now, self.arrivals.taken)
        self._look()

    def _take(self, part: Sequence[Arrival]) -> None:
        """Let events arrive; what waits to be judged is judged before one that is late for it, and anew after it."""
        newest, complete_to = self._judged()
        done = 0
        for at, one in enumerate(part):
            arrived = EPOCH + timedelta(milliseconds=one.timestamp)
            self._seen[one.type] = arrived
            if one.time_us >= complete_to:
                continue
            self._look()
            following = part[at + 1].timestamp if at + 1 < len(part) else None
            if one.time_us >= newest and following != one.timestamp:
                self.world.arrive(part[done : at + 1])
                done = at + 1
                self._waiting.append(max(arrived, self._reached or arrived))
                self._look()
        self.world.arrive(part[done:])

    def _judged(self) -> tuple[int, int]:
        """Of a rule on windows: start and end (microseconds since 1970) of the newest that was or is to be judged."""
        rule, catalog = self._rule, self.world.catalog
        reached = self._waiting[-1] if self._waiting else self._grid
        if reached is None or not isinstance(rule, ThresholdRule | ChangeRule | AnomalyRule):
            return 0, 0
        calendar = catalog.kpi(rule.kpi).calendar
        end = window_start(rule.grain, reached - lateness_of(rule, catalog), calendar)
        start = window_start(rule.grain, end - timedelta(microseconds=1), calendar)
        return (start - EPOCH) // timedelta(microseconds=1), (end - EPOCH) // timedelta(microseconds=1)

    def _silent(self, now: datetime) -> bool:
        """Whether a source has said nothing for so long that windows may have to wait."""
        for name, event in self.world.catalog.events.items():
            if event.expected_every and (seen := self._seen.get(name)) and now - seen > event.expected_every:
                return True
        return False

    def _look(self) -> None:
        """Evaluate at the last of the instants that wait, if there are any."""
        if not self._waiting:
            return
        now, since = self._waiting[-1], self._reached
        if since is None or self.past.changes(since, now):
            self.world.memory.save_targets(self.past.known(now))
            self.world.adopt(self.past.catalog_at(now))
        found = self.world.look(now)
        self.ledger.note(found.transitions, self._waiting, lateness_of(self._rule, self.world.catalog))
        self._waiting.clear()
        self._reached, self.looks = now, self.looks + 1

    @property
    def _rule(self) -> Rule:
        return self.world.catalog.rules[self.rule]
