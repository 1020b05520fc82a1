"""What was recorded of alerts, out of what the fakes of the alert engine remember."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from alerts_fakes import FakeReader, MemoryHistory
from test_engine import World

from onpace.alerts.alert_log import LAST, StatusChange, label_place
from onpace.alerts.explaining import Explainer, Question
from onpace.alerts.why import Answer, Explanation, Step, Told
from onpace.config.calendar import Period


class MemoryAlertLog:
    """An AlertLog over a store in memory."""

    def __init__(self, history: MemoryHistory, reader: FakeReader, told: Sequence[Told] = ()) -> None:
        self._history = history
        self._reader = reader
        self._told = list(told)

    def steps(self, rule: str, at: datetime) -> list[Step]:
        """The last ones up to `at` and the first after it, of each alert."""
        found: dict[object, list[Step]] = {}
        for one in self._history.transitions:
            if one.alert.rule == rule:
                place = (one.alert.series, one.alert.period)
                step = Step(place, one.at, one.before, one.alert.state, one.alert.value, one.alert.reason)
                found.setdefault(place, []).append(step)
        kept: list[Step] = []
        for steps in found.values():
            upto = [step for step in steps if step.at <= at]
            kept += [*upto[-LAST:], *steps[len(upto) : len(upto) + 1]]
        return sorted(kept, key=lambda step: step.at)

    def told(self, rule: str) -> list[Told]:  # noqa: ARG002
        """As given."""
        return self._told

    def changes(self, kpi: str, at: datetime) -> list[StatusChange]:
        """All of them."""
        return [
            StatusChange(status.series, status.period, status.evaluated_at, before or "", status.status, status.reason)
            for before, status in self._history.changes
            if status.kpi == kpi and status.evaluated_at <= at
        ]

    def last_seen(self, event_types: Sequence[str], at: datetime) -> dict[str, datetime]:
        """Every event arrived at once."""
        return {
            name: max(event.time for event in events if event.time <= at)
            for name, events in self._reader.events.items()
            if name in event_types and any(event.time <= at for event in events)
        }


def explained(
    world: World,
    rule: str,
    moment: datetime,
    *,
    series: Mapping[str, str] | None = None,
    period: str = "",
    live: bool = True,
) -> Explanation:
    """The answer about an instant of a world, as of its clock."""
    told = [
        Told(
            label_place(one.labels), one.channel, one.state, one.starts_at, one.created_at, "delivered", one.created_at
        )
        for one in world.notifier.sent
        if one.labels["alertname"] == rule
    ]
    log = MemoryAlertLog(world.history, world.reader, told)
    wanted = Period.parse(period) if period else None
    question = Question(rule, moment, world.reader.clock, series or {}, wanted, live)
    return Explainer(world.catalog, world.reader, world.history, log).explain(question)


def answered(world: World, rule: str, moment: datetime, **more: str) -> Answer:
    """The one answer about the total, or about one series."""
    [found] = explained(world, rule, moment, series=more).answers
    return found
