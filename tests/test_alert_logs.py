"""What is recorded of alerts and reports: the same in memory, as the fakes have it, and in ClickHouse."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from uuid import uuid4

import pytest
from alerts_fakes import FakeReader, MemoryHistory, MemoryNotifier, at, catalog_of, simple
from test_notifiers import FIRING, NOW, message
from test_rules import STATUS
from test_scorecard_reports import MemoryReportLog, office_report
from why_fakes import MemoryAlertLog

from onpace.alerts.alert_log import LAST, AlertLog, ClickHouseAlertLog
from onpace.alerts.evaluation import Transition
from onpace.alerts.history import ClickHouseHistory, ClickHouseOutbox, StatusStore
from onpace.alerts.notifications import Notification
from onpace.alerts.report_log import ClickHouseReportLog, ReportLog, ReportRow
from onpace.alerts.report_text import Fired
from onpace.alerts.states import Alert, AlertState
from onpace.alerts.why import Step
from onpace.processors.clickhouse import ClickHouse

HOUR = timedelta(hours=1)


@dataclass
class Logs:
    """Both logs, what they read from, and how messages get there."""

    history: StatusStore
    alerts: AlertLog
    reports: ReportLog
    submit: Callable[[Sequence[Notification]], None]


@pytest.fixture(params=["memory", "clickhouse"])
def logs(request: pytest.FixtureRequest) -> Logs:
    """All empty."""
    if request.param == "memory":
        history, notifier = MemoryHistory(), MemoryNotifier()
        reader = FakeReader(catalog_of([simple()]), {}, NOW)
        return Logs(history, MemoryAlertLog(history, reader), MemoryReportLog(history, notifier), notifier.submit)
    store: ClickHouse = request.getfixturevalue("store")
    outbox = ClickHouseOutbox(store)
    return Logs(ClickHouseHistory(store), ClickHouseAlertLog(store), ClickHouseReportLog(store), outbox.put)


def alternating(alert: Alert, count: int) -> list[Transition]:
    """Fires, ends, fires and so on, each hour."""
    states: tuple[AlertState, AlertState] = ("firing", "resolved")
    return [
        Transition(replace(alert, state=states[n % 2], reason=f"step {n}"), states[1 - n % 2], NOW + n * HOUR, {"n": n})
        for n in range(count)
    ]


def test_the_last_steps_of_each_alert_and_the_next_one_come_back_in_order(logs: Logs) -> None:
    """Repeated ones, as after a crash, once; those of other rules never."""
    other, foreign = replace(FIRING, series=()), replace(FIRING, rule="other")
    steps = alternating(FIRING, 20)
    logs.history.save_alerts([], steps, NOW)
    logs.history.save_alerts([], [*alternating(other, 1), *alternating(foreign, 3)], NOW)
    found = logs.alerts.steps("off-pace", NOW + 14.5 * HOUR)
    mine = [step for step in found if step.place == (FIRING.series, "2026-11")]
    assert [step.reason for step in mine] == [f"step {n}" for n in range(15 - LAST, 16)]
    assert mine[0] == Step(mine[0].place, NOW + 7 * HOUR, "firing", "resolved", 40_000, "step 7")
    assert [step.place for step in found if step not in mine] == [((), "2026-11")]
    assert [step.at for step in found] == sorted(step.at for step in found)
    assert logs.alerts.steps("off-pace", NOW - HOUR)[-1].reason == "step 0"


def test_changes_of_status_come_back_up_to_a_moment(logs: Logs) -> None:
    """With what was before."""
    later = replace(STATUS, status="on_track", evaluated_at=STATUS.evaluated_at + HOUR, reason="on track: again")
    logs.history.save_statuses([STATUS], [None])
    logs.history.save_statuses([later], ["off_track"])
    found = logs.alerts.changes("revenue", STATUS.evaluated_at + HOUR)
    assert [(one.before, one.status, one.at, one.period) for one in found] == [
        ("", "off_track", STATUS.evaluated_at, "2026-11"),
        ("off_track", "on_track", STATUS.evaluated_at + HOUR, "2026-11"),
    ]
    assert [one.status for one in logs.alerts.changes("revenue", STATUS.evaluated_at)] == ["off_track"]
    assert logs.alerts.changes("other", later.evaluated_at) == []


def test_what_became_of_a_report_comes_back(logs: Logs) -> None:
    """The latest, and the latest that was sent; saving it again changes nothing."""
    first = ReportRow("weekly", "every week", NOW, "begun", NOW)
    told = (("off-pace", "revenue", '{"region": "EU"}', "2026-11", NOW.isoformat()),)
    sent = ReportRow("weekly", "every week", NOW + HOUR, "sent", NOW + HOUR, {"revenue": ("met", "2026-10")}, told)
    left_out = ReportRow("weekly", "every week", NOW + 2 * HOUR, "skipped", NOW + 5 * HOUR)
    anew = ReportRow("weekly", "every day", NOW + HOUR, "begun", NOW + 6 * HOUR)
    assert logs.reports.last("weekly") is None
    for row in (first, sent, sent):
        logs.reports.save(row)
    assert (logs.reports.last("weekly"), logs.reports.last("weekly", sent=True)) == (sent, sent)
    logs.reports.save(anew)
    assert (logs.reports.last("weekly"), logs.reports.last("weekly", sent=True)) == (anew, sent)
    logs.reports.save(left_out)
    assert (logs.reports.last("weekly"), logs.reports.last("weekly", sent=True)) == (left_out, sent)
    assert logs.reports.last("other") is None


def test_a_report_that_was_handed_over_is_known(logs: Logs) -> None:
    """Whether it was delivered or not."""
    one = office_report()
    assert logs.reports.submitted([one.key]) == set()
    logs.submit([one])
    assert logs.reports.submitted([one.key, "another"]) == {one.key}


def test_what_fired_since_comes_back_in_order(logs: Logs) -> None:
    """Only the firing."""
    logs.history.save_alerts([], alternating(FIRING, 5), NOW)
    found = logs.reports.fired(NOW + HOUR)
    assert found == [
        Fired("off-pace", "revenue", FIRING.series, "2026-11", NOW + n * HOUR, still=False) for n in (2, 4)
    ]


def test_messages_come_back_with_what_became_of_them(store: ClickHouse) -> None:
    """Waiting, then delivered; a null dimension value is not an empty one."""
    outbox, log = ClickHouseOutbox(store), ClickHouseAlertLog(store)
    outbox.put([message("hook"), message("team"), office_report()])
    outbox.settle(message("hook"), "delivered", NOW + HOUR)
    found = {one.channel: one for one in log.told("off-pace")}
    assert found.keys() == {"hook", "team"}
    assert (found["hook"].outcome, found["hook"].settled_at) == ("delivered", NOW + HOUR)
    assert (found["team"].outcome, found["team"].settled_at) == ("waiting", None)
    assert found["team"].place == ((("region", "EU"), ("tier", None)), "2026-11")
    assert (found["team"].starts_at, found["team"].created_at) == (FIRING.active_since, NOW)


def test_what_had_arrived_by_a_moment_is_read_from_the_archive(store: ClickHouse) -> None:
    """A late event breaks the silence when it arrives; what arrived later had not been seen."""
    columns = ["topic", "incarnation", "partition", "offset", "type", "source", "id", "time", "arrival", "data"]
    topic, more = uuid4(), ["duplicate", "id_hash", "data_hash"]
    arrivals = [(at("2026-11-16 08:00"), at("2026-11-16 08:00")), (at("2026-11-16 07:00"), at("2026-11-16 09:00"))]
    rows = [
        ["events", topic, 0, n, "order.placed", "/t", str(n), time, arrival, "{}", 0, b"0" * 16, 0]
        for n, (time, arrival) in enumerate([*arrivals, (at("2026-11-16 11:00"), at("2026-11-16 11:00"))])
    ]
    store.insert("events", [*columns, *more], rows)
    log = ClickHouseAlertLog(store)
    assert log.last_seen(["order.placed", "visit"], at("2026-11-16 10:00")) == {"order.placed": at("2026-11-16 09:00")}
    assert log.last_seen(["order.placed"], at("2026-11-16 08:30")) == {"order.placed": at("2026-11-16 08:00")}
    assert log.last_seen(["order.placed"], at("2026-11-16 07:30")) == {}


def test_steps_of_one_instant_come_back_as_one_led_to_the_other(logs: Logs) -> None:
    """Late events correct a window that was judged: fires and ends within it, and fires again after the next."""
    fires, ends, again = alternating(FIRING, 3)
    waits = Transition(replace(FIRING, state="pending", reason="first"), "inactive", NOW)
    steps = [waits, replace(fires, before="pending"), replace(ends, at=NOW), replace(again, before="resolved")]
    logs.history.save_alerts([], steps, NOW)
    found = [step for step in logs.alerts.steps("off-pace", NOW + 5 * HOUR) if step.at == NOW]
    assert [(step.before, step.state) for step in found] == [
        ("inactive", "pending"),
        ("pending", "firing"),
        ("firing", "resolved"),
    ]
