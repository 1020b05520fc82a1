"""A backtest over real data: the days of February 2013 on which New York's flights were cancelled."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from flights_example import EXAMPLE, script, sdist
from processors_fakes import Record
from processors_world import drain, world
from test_backtest import replayed

from onpace.alerts.backtest import per_week, score
from onpace.config.incidents import Incident
from onpace.config.loader import load_catalog
from onpace.config.narrowing import narrowed
from onpace.config.rules import ThresholdRule
from onpace.processors.clickhouse import ClickHouse

NEW_YORK = ZoneInfo("America/New_York")
BAD_DAY = ThresholdRule.model_validate(
    {"name": "bad-day", "kpi": "cancellation_rate", "when": "threshold", "above": 0.1, "grain": "day"}
)


def midnight(day: int, month: int = 2) -> datetime:
    """In New York, 2013."""
    return datetime(2013, month, day, tzinfo=NEW_YORK).astimezone(UTC)


def test_the_blizzard_is_told_of(store: ClickHouse, tmp_path: Path) -> None:
    """The days are those that a plain count of the table finds; the storm of February 8 is known after midnight."""
    tables = script("tables").Tables(sdist())
    due: Counter[int] = Counter()
    gone: Counter[int] = Counter()
    for flight in tables.flights([2], None):
        due[flight.day.day] += 1
        gone[flight.day.day] += flight.dep_time is None
    bad = sorted(day for day in due if gone[day] > due[day] / 10)
    catalog = load_catalog(EXAMPLE / "kpis")
    catalog = replace(catalog, rules={BAD_DAY.name: BAD_DAY})
    wanted = narrowed(catalog, [BAD_DAY.name])
    lines = [
        (event.time, event.line().encode())
        for event in script("convert").events(tables, [2])
        if event.type in wanted.events
    ]
    logs = {0: [Record(at, int(time.timestamp() * 1000), line) for at, (time, line) in enumerate(lines)]}
    drain(world(store, wanted, logs), logs)

    span = midnight(1), midnight(1, 3)
    replay = replayed(store, catalog, BAD_DAY.name, span, tmp_path, punctual=True)
    alarms = replay.ledger.alarms()
    assert bad == [8, 9]
    assert [(one.fired_at, one.cleared_at) for one in alarms] == [(midnight(9), midnight(11))]
    assert alarms[0].value == gone[8] / due[8]
    assert per_week(len(alarms), *span) == 0.25
    nemo = Incident(start=midnight(8), end=midnight(10), label="Nemo")
    found = score(alarms, [nemo], grace=midnight(2) - midnight(1))
    assert (found.recall, found.precision) == (1.0, 1.0)
    assert found.incidents[0].delay == (midnight(9) - midnight(8)) + replay.world.catalog.lateness(
        catalog.kpi("cancellation_rate")
    )
