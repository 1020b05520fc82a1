"""Reports that are late: statuses, the metric, the page and alerts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from alerts_fakes import MemoryHistory, MemoryNotifier, at
from processors_fakes import log_of
from processors_world import drain, world
from prometheus_client import CollectorRegistry
from reports_fakes import report, reported
from rich.console import Console

from onpace.alerts.collector import KpiCollector
from onpace.alerts.engine import Engine
from onpace.alerts.evaluation import Evaluation
from onpace.alerts.overdue import overdue_verdict
from onpace.alerts.status_page import overdue_lines, status_document, status_table
from onpace.config.calendar import Period
from onpace.config.catalog import Catalog
from onpace.config.kpi import DerivedKpi
from onpace.config.reporting import with_reports
from onpace.config.rules import Channel, NoDataRule
from onpace.processors.clickhouse import ClickHouse
from onpace.processors.reader import Reader
from onpace.processors.reports import Overdue, Reports

REASON = "nps for 2026-03 is overdue since 2026-04-06 (owner: marketing)"
NPS = reported(
    "nps", due="5d", owner="marketing", title="NPS", targets=[{"every": "month", "value": 40}], nature="level"
)
LOYAL = DerivedKpi.model_validate(
    {"type": "derived", "name": "loyal", "expr": "nps / 100", "direction": "higher_is_better", "role": "leading"}
)


def rule(kpi: str = "nps", **more: Any) -> NoDataRule:
    """Tells the team when a value is overdue."""
    given = {"name": f"{kpi}-late", "kpi": kpi, "when": "no_data", "notify": ["team"]}
    return NoDataRule.model_validate(given | more)


CATALOG = Catalog(
    events=with_reports({}, [NPS]),
    kpis={"nps": NPS, "loyal": LOYAL},
    channels={"team": Channel(name="team", type="log")},
    rules={"nps-late": rule(), "loyal-late": rule("loyal", after="2d")},
)


class Place:
    """An engine over a store into which reports come."""

    def __init__(self, store: ClickHouse) -> None:
        self._logs: dict[int, Any] = {0: []}
        self._worker = world(store, CATALOG, self._logs)
        self.notifier = MemoryNotifier()
        reader = Reader(store, CATALOG)
        self.engine = Engine(CATALOG, reader, MemoryHistory(), self.notifier, reports=Reports(store, CATALOG))

    def report(self, period: str, value: float, *, minutes: int = 0) -> None:
        """As people do."""
        log = self._logs[0]
        log += log_of([report(f"{period}-{minutes}", "nps", period, value, at=minutes)], start=len(log))
        drain(self._worker, self._logs)

    def look(self, now: str) -> Evaluation:
        """Evaluate."""
        return self.engine.evaluate(at(now), notify=True)

    def told(self) -> list[tuple[str, str]]:
        """Rule and state of every message."""
        return [(one.labels["alertname"], one.state) for one in self.notifier.sent]


@pytest.fixture
def place(store: ClickHouse) -> Place:
    """February was reported: 42."""
    found = Place(store)
    found.report("2026-02", 42)
    return found


def statuses(evaluation: Evaluation) -> Mapping[str, tuple[str, float | None, str]]:
    """Period -> status, actual, reason."""
    return {one.period: (one.status, one.actual, one.reason) for one in evaluation.statuses}


def test_a_missing_value_is_no_data_and_overdue_once_it_was_due(place: Place) -> None:
    """February is met; March is not there yet, and from the sixth of April on it is late."""
    found = statuses(place.look("2026-04-05 23:59"))
    assert found["2026-02"][:2] == ("met", 42)
    assert found["2026-03"] == ("no_data", None, "no data in the period")
    found = statuses(place.look("2026-04-06 00:00"))
    assert found["2026-03"] == ("no_data", None, REASON)


def test_a_rule_fires_when_it_is_overdue_and_resolves_when_it_is_reported(place: Place) -> None:
    """That of the KPI itself at once, that of one made of it after its two days; both are told."""
    place.look("2026-04-05 12:00")
    assert place.told() == []
    fired = place.look("2026-04-06 00:00")
    assert place.told() == [("nps-late", "firing")]
    assert [alert.reason for alert in fired.alerts if alert.state == "firing"] == [REASON]
    place.look("2026-04-08 00:01")
    assert place.told()[1:] == [("loyal-late", "firing")]
    place.report("2026-03", 39, minutes=1)
    found = statuses(place.look("2026-04-08 00:02"))
    assert found["2026-03"][:2] == ("missed", 39)
    assert sorted(place.told()[2:]) == [("loyal-late", "resolved"), ("nps-late", "resolved")]


def test_the_metric_counts_overdue_periods(place: Place) -> None:
    """Of reported KPIs only; none is 0."""
    place.look("2026-04-05 12:00")
    registry = CollectorRegistry()
    registry.register(KpiCollector(lambda: CATALOG, lambda: place.engine.latest))
    assert registry.get_sample_value("onpace_report_overdue", {"kpi": "nps"}) == 0
    place.look("2026-06-10 12:00")
    assert registry.get_sample_value("onpace_report_overdue", {"kpi": "nps"}) == 3
    assert registry.get_sample_value("onpace_report_overdue", {"kpi": "loyal"}) is None


def test_the_page_and_the_table_say_what_is_waited_for(place: Place) -> None:
    """Of the KPI, and of what is made of it."""
    evaluation = place.look("2026-04-06 12:00")
    rows = {row["kpi"]: row for row in status_document(evaluation, CATALOG)["kpis"]}
    assert rows["nps"]["overdue"] == rows["loyal"]["overdue"] == REASON
    assert (rows["loyal"]["value"], rows["loyal"]["period"]) == (0.42, "2026-02")
    assert overdue_lines(evaluation, CATALOG) == [REASON]
    console = Console(width=120, record=True)
    console.print(status_table(evaluation, CATALOG))
    assert "no data, overdue" in console.export_text()


@pytest.mark.parametrize(("hours", "breached"), [(23, False), (24, True)])
def test_a_rule_may_wait_longer_than_a_value_may_take(hours: int, breached: bool) -> None:
    """`after` is added to `due`."""
    late: Sequence[Overdue] = [Overdue(NPS, (Period.parse("2026-03"),))]
    now: datetime = at("2026-04-06") + timedelta(hours=hours)
    assert overdue_verdict(rule(after="24h"), late, now).breached is breached


def test_nothing_overdue_is_no_breach() -> None:
    """So that an alert resolves."""
    assert overdue_verdict(rule(), [], at("2026-04-06")).breached is False
