"""The store of statuses, alerts and notifications: the same contract in memory and in ClickHouse."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from alerts_fakes import MemoryHistory, at
from test_notifiers import FIRING, NOW, message
from test_rules import STATUS

from onpace.alerts.evaluation import Transition
from onpace.alerts.history import ClickHouseHistory, ClickHouseOutbox, Outbox, StatusStore
from onpace.processors.clickhouse import ClickHouse

EU = (("region", "EU"), ("tier", None))


@pytest.fixture(params=["memory", "clickhouse"])
def stores(request: pytest.FixtureRequest) -> tuple[StatusStore, Outbox]:
    """An empty store and an empty outbox."""
    if request.param == "memory":
        return MemoryHistory(), MemoryHistory()
    store: ClickHouse = request.getfixturevalue("store")
    return ClickHouseHistory(store), ClickHouseOutbox(store)


@pytest.fixture
def history(stores: tuple[StatusStore, Outbox]) -> StatusStore:
    """An empty store."""
    return stores[0]


@pytest.fixture
def outbox(stores: tuple[StatusStore, Outbox]) -> Outbox:
    """An empty outbox."""
    return stores[1]


def test_the_latest_status_of_each_target_and_period_comes_back(history: StatusStore) -> None:
    """As it went in, to the microsecond, with nulls and null dimension values."""
    old = replace(STATUS, series=EU, target_value=None, target_min=1.5, as_of=None)
    new = replace(old, evaluated_at=old.evaluated_at + timedelta(microseconds=1), status="at_risk", stale=True)
    other = replace(old, period="2026-10", period_start=at("2026-10-01"), period_end=at("2026-11-01"), final=True)
    history.save_statuses([old, other], [None, None])
    history.save_statuses([new], ["off_track"])
    assert sorted(history.statuses(), key=lambda status: status.period) == [other, new]


def test_a_rewrite_within_the_same_moment_wins(history: StatusStore) -> None:
    """In a replay the clock may stand still."""
    history.save_statuses([STATUS], [None])
    history.save_statuses([replace(STATUS, status="met")], ["off_track"])
    assert [status.status for status in history.statuses()] == ["met"]


def test_the_latest_state_of_each_alert_comes_back(history: StatusStore) -> None:
    """One row per rule, KPI, series and period."""
    other = replace(FIRING, period="2026-12", state="pending", fired_at=None, notified="")
    history.save_alerts([FIRING, other], [Transition(FIRING, "pending", NOW, {"value": 0.5, "why": None})], NOW)
    ended = replace(FIRING, state="resolved", resolved_at=NOW, notified="resolved", evaluated_to=NOW)
    history.save_alerts([ended], [], NOW + timedelta(seconds=1))
    assert history.alerts() == [ended, other]


def test_saving_nothing_is_harmless(history: StatusStore, outbox: Outbox) -> None:
    """An evaluation without changes."""
    history.save_statuses([], [])
    history.save_alerts([], [], NOW)
    outbox.put([])
    assert (history.statuses(), history.alerts(), outbox.waiting()) == ([], [], [])


def test_a_notification_waits_until_it_is_settled(outbox: Outbox) -> None:
    """Put twice it is one; delivered and rejected ones are not offered again."""
    first, second = message("a"), message("b")
    outbox.put([first, second])
    outbox.put([first])
    assert sorted(one.channel for one in outbox.waiting()) == ["a", "b"]
    outbox.settle(first, "delivered", NOW)
    outbox.put([first])
    assert outbox.waiting() == [second]
    outbox.settle(second, "rejected", NOW)
    assert outbox.waiting() == []
    waits = message("c")
    outbox.put([waits])
    keys = [first.key, second.key, waits.key, "another"]
    assert outbox.known(keys) == {("a", first.key): True, ("b", second.key): True, ("c", waits.key): False}
    assert outbox.known([]) == {}


def test_every_change_is_on_record(store: ClickHouse) -> None:
    """Append-only, with what the rule looked at."""
    history = ClickHouseHistory(store)
    history.save_statuses([STATUS, replace(STATUS, period="2026-12")], ["at_risk", "off_track"])
    history.save_alerts([FIRING], [Transition(FIRING, "pending", NOW, {"value": 0.5})], NOW)
    assert store.query("SELECT before, status FROM kpi_status_changes") == [("at_risk", "off_track")]
    assert store.query("SELECT before, state, inputs FROM alert_transitions") == [
        ("pending", "firing", '{"value": 0.5}')
    ]


def test_what_a_channel_was_last_told_to_fire_comes_back(outbox: Outbox) -> None:
    """By labels; what ended since, was refused or went elsewhere does not."""
    fires, paged = message("am"), message("am", replace(FIRING, severity="page"))
    ended = message("am", replace(FIRING, severity="page", state="resolved", resolved_at=NOW))
    refused = message("am", replace(FIRING, rule="refused"))
    outbox.put([fires, paged, refused, message("hook", replace(FIRING, rule="elsewhere"))])
    outbox.settle(fires, "delivered", NOW)
    outbox.settle(refused, "rejected", NOW)
    outbox.put([replace(ended, created_at=NOW + timedelta(seconds=1))])
    assert outbox.firing("am") == [fires]


def test_any_number_of_keys_is_asked_for_in_addresses_that_a_server_takes(store: ClickHouse) -> None:
    """After a start with 10,000 firing series nobody knows yet which of them were told."""
    outbox, asked = ClickHouseOutbox(store), []
    first = message("a")
    outbox.put([first])
    query = store.query

    def counted(sql: str, parameters: Mapping[str, object] | None = None) -> list[tuple[Any, ...]]:
        asked.append(len(str(parameters)))
        return query(sql, parameters)

    store.query = counted  # type: ignore[method-assign]
    keys = [first.key, *(f"{number:032x}" for number in range(10_000))]
    assert outbox.known(keys) == {("a", first.key): False}
    assert max(asked) < 100_000
    assert outbox.known([]) == {}
