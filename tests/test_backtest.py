"""Backtests: what a rule would have done equals what it did, and nothing is known before it arrived."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from alerts_fakes import MemoryNotifier
from processors_fakes import REGION, TOPIC, Record, Sent, catalog_of, order, simple
from processors_world import world

from onpace.alerts.backtest import Alarm, Ledger
from onpace.alerts.engine import Engine
from onpace.alerts.evaluation import Transition
from onpace.alerts.history import ClickHouseHistory
from onpace.alerts.instants import instants, lateness_of, lead_in
from onpace.alerts.past_targets import PastTargets
from onpace.alerts.states import Alert
from onpace.alerts.versions import TargetVersion, written_spec
from onpace.config.catalog import Catalog
from onpace.config.kpi import Target
from onpace.config.narrowing import narrowed
from onpace.config.rules import AnomalyRule, ForecastRule, NoDataRule, PaceRule, Rule, ThresholdRule
from onpace.config.settings import Settings
from onpace.deploy import backtesting
from onpace.deploy.archive import Arrivals, copy_archive
from onpace.deploy.backtesting import Replay
from onpace.deploy.world import World, emptied
from onpace.processors.clickhouse import ClickHouse
from onpace.processors.reader import Reader

DAY = datetime(2026, 4, 6, tzinfo=UTC)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
LATE = timedelta(minutes=5)

FEW = ThresholdRule.model_validate(
    {
        "name": "few",
        "kpi": "orders",
        "when": "threshold",
        "below": 4,
        "clear": {"above": 5},
        "for": "1h",
        "by": ["region"],
    }
)
BEHIND = PaceRule.model_validate({"name": "behind", "kpi": "orders", "when": "pace", "at": "off_track", "for": "1h"})
SILENT = NoDataRule.model_validate({"name": "silent", "kpi": "orders", "when": "no_data", "after": "3h"})
ODD = AnomalyRule.model_validate(
    {"name": "odd", "kpi": "orders", "when": "anomaly", "grain": "hour", "method": "xmr", "direction": "high"}
)

LIKELY = ForecastRule.model_validate({"name": "likely", "kpi": "orders", "when": "forecast", "probability": "60%"})

Arrived = tuple[datetime, Sent]
"""When an event arrived, and the event."""


def shop(*rules: Rule, targets: Sequence[dict[str, Any]] = (), **more: Any) -> Catalog:
    """Orders by region, hourly, with these rules; KPIs that no rule needs beside them."""
    orders = simple("orders", "count", dimensions=REGION, grain="1h", targets=targets, **more)
    catalog = catalog_of(
        orders, simple("revenue", "sum", value="amount"), simple("buyers", "count_distinct", value="user_id")
    )
    return replace(catalog, rules={rule.name: rule for rule in rules})


def stream(seed: int, hours: int) -> list[Arrived]:
    """A restless shop of two regions: 5 orders an hour each, or nearly none, or many; a tenth late, some twice."""
    rng = random.Random(seed)
    found: list[Arrived] = []
    for hour in range(hours):
        for region in ("EU", "US"):
            for number in range(40 if hour == 22 else rng.choice([1, 2, 6, 7, 8])):
                time = DAY + hour * HOUR + rng.random() * HOUR
                delay = timedelta(hours=rng.uniform(0.1, 5)) if rng.random() < 0.1 else timedelta(seconds=rng.random())
                one = order(f"{region}-{hour}-{number}", time, region=region)
                found.append((time + delay, one))
                if rng.random() < 0.05:
                    found.append((time + delay + timedelta(minutes=rng.uniform(1, 90)), one))
    return sorted(found, key=lambda one: one[0])


def when(one: Arrived) -> datetime:
    """Its arrival as the log has it, in whole milliseconds."""
    return datetime.fromtimestamp(int(one[0].timestamp() * 1000) / 1000, UTC)


def logs(arrived: Sequence[Arrived], partitions: int = 2) -> dict[int, list[Record]]:
    """The stream as it lies in the partitions."""
    found: dict[int, list[Record]] = {number: [] for number in range(partitions)}
    for at, one in arrived:
        log = found[len(one.id) % partitions if partitions > 1 else 0]
        log.append(Record(len(log), int(at.timestamp() * 1000), one.value))
    return found


def archive(store: ClickHouse, catalog: Catalog, arrived: Sequence[Arrived]) -> None:
    """Bring the stream in, as a processor does."""
    whole = logs(arrived)
    worker = world(store, catalog, whole)
    for partition, log in whole.items():
        worker.take(partition, len(log))
    worker.flush()


def live(store: ClickHouse, catalog: Catalog, arrived: Sequence[Arrived], looks: Sequence[datetime]) -> list[Alarm]:
    """What an engine records in `alert_transitions` that runs beside the processor and evaluates at `looks`."""
    whole = logs(arrived)
    worker = world(store, catalog, whole)
    engine = Engine(catalog, Reader(store, catalog), ClickHouseHistory(store), MemoryNotifier())
    for now in looks:
        for partition, log in whole.items():
            ready = sum(record.timestamp <= int(now.timestamp() * 1000) for record in log)
            worker.take(partition, ready - (worker.processor.positions.get(partition) or 0))
        worker.flush(caught_up=dict.fromkeys(whole, now))
        engine.evaluate(now, notify=True)
    return recorded(store)


def recorded(store: ClickHouse) -> list[Alarm]:
    """The alarms in the table."""
    rows = store.query_dicts("SELECT * FROM alert_transitions ORDER BY at, state != 'firing'")
    found: dict[Any, Alarm] = {}
    done = []
    for row in rows:
        series = tuple(json.loads(row["series"]).items())
        key = (series, row["period"])
        if row["state"] == "firing":
            found[key] = Alarm(series, row["period"], row["at"], row["at"], row["value"], row["reason"])
        elif row["before"] == "firing":
            done.append(replace(found.pop(key), cleared_at=row["at"], ended_by=row["reason"]))
    return sorted([*done, *found.values()], key=lambda one: (one.fired_at, str(one.series), one.period))


def replayed(
    store: ClickHouse,
    catalog: Catalog,
    rule: str,
    span: tuple[datetime, datetime],
    folder: Path,
    *,
    punctual: bool = False,
    versions: Sequence[TargetVersion] = (),
    every: timedelta | None = None,
) -> Replay:
    """The backtest of what is in the store's archive, over the same store emptied."""
    part = narrowed(catalog, [rule])
    found = part.rules[rule]
    looks = [*lead_in(found, part, span[0], every=every), *instants(found, part, *span, every=every)]
    types = sorted({name for kpi in part.kpis.values() for name in part.event_types(kpi)})
    copy = copy_archive(store, TOPIC, types, looks[-1], folder / "events.arrow", punctual=punctual)
    past = PastTargets.of(part, versions, looks[-1] + timedelta(days=900))
    there = World(emptied(store), past.catalog_at(looks[0]), Settings(), looks[0])
    replay = Replay(there, Arrivals(copy), past, rule, lambda *_: None)
    replay.run(looks)
    return replay


def alarms(replay: Replay) -> list[Alarm]:
    """Without when people were told, which the table does not hold."""
    return [replace(one, told_at=one.fired_at, cleared_told_at=None) for one in replay.ledger.alarms()]


@pytest.mark.parametrize("rule", [FEW, ODD], ids=lambda rule: rule.name)
def test_a_window_rule_would_have_done_what_it_did(store: ClickHouse, tmp_path: Path, rule: Rule) -> None:
    """The live engine looked every half hour and when something came late; the backtest where it matters."""
    catalog, arrived = shop(rule), stream(1, 26)
    end = DAY + 24 * HOUR
    grid = {DAY + 30 * MINUTE * number + LATE for number in range(24 * 2 + 1)}
    late = {when(one) for one in arrived if one[0] - one[1].time > LATE and one[0] < end}
    looks = sorted(grid | late)
    known = live(store, catalog, arrived, looks)
    replay = replayed(store, catalog, rule.name, (DAY, end + MINUTE), tmp_path)
    assert alarms(replay) == known
    assert known
    assert replay.looks < len(looks)


def test_a_pace_rule_would_have_done_what_it_did(store: ClickHouse, tmp_path: Path) -> None:
    """Daily targets, in total and of one region. A backtest that begins in the middle knows what fires by then."""
    catalog = shop(
        BEHIND, targets=[{"every": "day", "value": 290}, {"every": "day", "value": 160, "by": {"region": "EU"}}]
    )
    arrived, span = stream(2, 28), (DAY, DAY + 27 * HOUR)
    looks = list(instants(BEHIND, catalog, *span))
    known = live(store, catalog, arrived, looks)
    rows = store.query_arrow("SELECT * FROM events")
    assert alarms(replayed(store, catalog, BEHIND.name, span, tmp_path)) == known
    store.insert_arrow("events", rows)
    later = DAY + 15 * HOUR
    assert any(one.fired_at < later < (one.cleared_at or later) for one in known)
    assert alarms(replayed(store, catalog, BEHIND.name, (later, span[1]), tmp_path)) == known
    assert any(one.cleared_at for one in known)


def test_a_forecast_would_have_done_what_it_did(store: ClickHouse, tmp_path: Path) -> None:
    """Seventeen days with about 24 orders and a last one without, looked at every six hours."""
    rng = random.Random(7)
    days = 18
    times = [
        DAY + timedelta(days=day, hours=hour, minutes=rng.randrange(60))
        for day in range(days)
        for hour in range(24)
        for _ in range(0 if day == days - 1 and hour > 3 else rng.choice([0, 1, 1, 2]))
    ]
    arrived = [(time + timedelta(seconds=1), order(str(number), time)) for number, time in enumerate(sorted(times))]
    catalog = shop(LIKELY, targets=[{"every": "day", "value": 20}])
    span = DAY, DAY + timedelta(days=days)
    looks = list(instants(LIKELY, catalog, *span, every=6 * HOUR))
    known = live(store, catalog, arrived, looks)
    assert alarms(replayed(store, catalog, LIKELY.name, span, tmp_path, every=6 * HOUR)) == known
    assert known[-1].period == "2026-04-23"


def test_a_silence_would_have_been_told(store: ClickHouse, tmp_path: Path) -> None:
    """Orders until 6:00 and from 12:00 on; 3 hours of silence are noticed at the first look after 9:00."""
    arrived = [(at, order(str(at), at)) for at in [DAY + HOUR * hour for hour in (*range(7), *range(12, 15))]]
    catalog = shop(SILENT)
    archive(store, catalog, arrived)
    [one] = replayed(store, catalog, SILENT.name, (DAY, DAY + 14 * HOUR), tmp_path).ledger.alarms()
    assert (one.fired_at, one.cleared_at) == (DAY + 9.75 * HOUR, DAY + 12 * HOUR)  # looked at every 45 minutes
    assert one.reason == "no order.placed event since 2026-04-06 06:00:00 UTC, longer than 3h"


@pytest.mark.parametrize("seed", range(3))
def test_skipped_looks_would_have_found_the_same(
    store: ClickHouse, tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when people were told; a source that falls silent is looked at each time."""
    catalog, arrived = shop(FEW), stream(seed, 30)
    if seed == 2:
        late = [one for one in arrived if not DAY + 12 * HOUR < one[0] < DAY + 20 * HOUR]
        catalog = replace(catalog, events=catalog_of(order={"expected_every": 2 * HOUR}).events)
        arrived = late
    archive(store, catalog, arrived)
    rows = store.query_arrow("SELECT * FROM events")
    few = replayed(store, catalog, FEW.name, (DAY, DAY + 28 * HOUR), tmp_path)
    store.insert_arrow("events", rows)
    monkeypatch.setattr(backtesting, "MOST_SKIPPED", 1)
    each = replayed(store, catalog, FEW.name, (DAY, DAY + 28 * HOUR), tmp_path)
    assert few.ledger.alarms() == each.ledger.alarms() != []
    assert few.looks < each.looks


def hourly(per_hour: int, hours: int) -> Iterator[Arrived]:
    """So many orders an hour, on time."""
    for hour in range(hours):
        for number in range(per_hour):
            time = DAY + hour * HOUR + (number + 1) * MINUTE
            yield time, order(f"{hour}-{number}", time, region="EU")


def test_what_came_late_is_not_known_before(store: ClickHouse, tmp_path: Path) -> None:
    """From 3:00 on two orders of six arrived by 4:05; the others at 4:20. The alarm was given, and then ended."""
    rule = FEW.model_copy(update={"hold": timedelta()})
    arrived = [one for one in hourly(6, 8) if not one[1].id.startswith("3-") or one[1].id in ("3-0", "3-1")]
    time = DAY + 3.5 * HOUR
    arrived += [(DAY + 4 * HOUR + 20 * MINUTE, order(f"late-{number}", time, region="EU")) for number in range(4)]
    catalog = shop(rule)
    archive(store, catalog, sorted(arrived, key=lambda one: one[0]))
    rows = store.query_arrow("SELECT * FROM events")
    [one] = replayed(store, catalog, "few", (DAY, DAY + 7 * HOUR), tmp_path).ledger.alarms()
    assert (one.fired_at, one.told_at, one.value) == (DAY + 4 * HOUR, DAY + 4 * HOUR + LATE, 2)
    assert one.cleared_told_at == DAY + 4 * HOUR + 20 * MINUTE
    assert one.ended_by == "corrected by late events, was 2: 6 is within bounds"
    store.insert_arrow("events", rows)
    assert replayed(store, catalog, "few", (DAY, DAY + 7 * HOUR), tmp_path, punctual=True).ledger.alarms() == []


def test_a_late_event_counts_from_its_arrival_on(store: ClickHouse, tmp_path: Path) -> None:
    """Off pace at 6:00; what arrives at 9:30 of the hours before brings it back at the next look, and not earlier."""
    catalog = shop(BEHIND, targets=[{"every": "day", "value": 300}])
    arrived = [*hourly(13, 6), *((DAY + 9.5 * HOUR, order(f"late-{n}", DAY + 6.5 * HOUR)) for n in range(80))]
    arrived += [(at, order(f"on-{at}", at)) for at in [DAY + (6 + part / 5) * HOUR for part in range(30)]]
    archive(store, catalog, sorted(arrived, key=lambda one: one[0]))
    replay = replayed(store, catalog, "behind", (DAY, DAY + 12 * HOUR), tmp_path, every=15 * MINUTE)
    [one] = replay.ledger.alarms()
    assert DAY + 7 * HOUR <= one.fired_at < DAY + 9 * HOUR
    assert one.cleared_told_at is not None
    assert DAY + 9.5 * HOUR <= one.cleared_told_at <= DAY + 9.5 * HOUR + 15 * MINUTE


def version(value: float, since: datetime) -> TargetVersion:
    """The daily target of orders, as it was from an instant on."""
    target = Target.model_validate({"every": "day", "value": value})
    return TargetVersion("orders", target.label, (), since, written_spec(target))


def test_a_running_period_is_judged_by_the_target_of_then(store: ClickHouse, tmp_path: Path) -> None:
    """120 a day until 8:00, when it was raised to 480: 10 an hour were enough before, and off track after."""
    catalog = shop(BEHIND, targets=[{"every": "day", "value": 480}])
    archive(store, catalog, list(hourly(10, 14)))
    versions = [version(120, DAY - 24 * HOUR), version(480, DAY + 8 * HOUR)]
    rows = store.query_arrow("SELECT * FROM events")
    [one] = replayed(store, catalog, "behind", (DAY, DAY + 12 * HOUR), tmp_path, versions=versions).ledger.alarms()
    assert DAY + 8 * HOUR <= one.fired_at <= DAY + 10 * HOUR
    store.insert_arrow("events", rows)
    [one] = replayed(store, catalog, "behind", (DAY, DAY + 12 * HOUR), tmp_path).ledger.alarms()
    assert one.fired_at <= DAY + 2 * HOUR  # with no record the file's counts throughout


def test_targets_that_were_edited_since_count_throughout() -> None:
    """Whoever edits a target and asks for a backtest asks it of the edited one; others are as they were."""
    catalog = shop(BEHIND, targets=[{"every": "day", "value": 480, "headline": True}])
    same = PastTargets.of(catalog, [version(120, DAY), version(480, DAY + HOUR)], DAY + 24 * HOUR)
    assert [
        target.value for at in (DAY - HOUR, DAY, DAY + HOUR) for target in same.catalog_at(at).kpi("orders").targets
    ] == [*(120, 120, 480)]
    assert same.catalog_at(DAY).kpi("orders").targets[0].headline
    assert same.changes(DAY - HOUR, DAY + 24 * HOUR) == [DAY, DAY + HOUR]
    other = PastTargets.of(catalog, [version(120, DAY), version(130, DAY + HOUR)], DAY + 24 * HOUR)
    assert (other.edited, other.versions) == (("orders",), ())
    assert other.catalog_at(DAY) == catalog


def test_the_ledger_keeps_to_its_rule_and_tells_when_a_window_was_complete() -> None:
    """One look stands for three: each alarm is told at the first of them after its window was complete."""
    ledger = Ledger("few")
    looks = [DAY + hour * HOUR + LATE for hour in (1, 2, 3)]
    firing = Alert("few", "orders", state="firing", reason="low", value=1.0)
    over = replace(firing, state="resolved", reason="fine")
    ledger.note([Transition(firing, "pending", DAY + HOUR), Transition(over, "firing", DAY + 3 * HOUR)], looks, LATE)
    ledger.note([Transition(replace(firing, rule="other"), "pending", DAY + HOUR)], looks, LATE)
    [one] = ledger.alarms()
    assert (one.told_at, one.cleared_told_at, one.ended_by) == (looks[0], looks[2], "fine")


def test_a_rule_on_windows_is_looked_at_as_each_becomes_complete() -> None:
    """An hour in which the clocks change has its place; lateness is that of the KPI and of the volume it needs."""
    catalog = shop(FEW, timezone="Europe/Berlin", lateness="10min")
    looks = list(instants(FEW, catalog, datetime(2026, 3, 28, 23, tzinfo=UTC), datetime(2026, 3, 29, 2, tzinfo=UTC)))
    assert looks == [datetime(2026, 3, 28, 23, 10, tzinfo=UTC) + hour * HOUR for hour in range(3)]
    assert lateness_of(FEW, catalog) == 10 * MINUTE
