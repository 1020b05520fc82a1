"""The store of silences and acknowledgements: the same contract in memory and in ClickHouse."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from alerts_fakes import at
from silences_fakes import MemorySilences, matchers
from test_notifiers import FIRING, NOW

from onpace.alerts.history import ClickHouseHistory
from onpace.alerts.silence_store import ClickHouseSilences, SilenceStore
from onpace.alerts.silences import Acknowledgement
from onpace.config.silences import Silence
from onpace.processors.clickhouse import ClickHouse

EU = (("region", "EU"), ("tier", None))
KNOWN = Acknowledgement("low", "revenue", EU, "2026-11", NOW, "ben", "on it", NOW + timedelta(microseconds=1))


@pytest.fixture(params=["memory", "clickhouse"])
def silences(request: pytest.FixtureRequest) -> SilenceStore:
    """An empty one."""
    return MemorySilences() if request.param == "memory" else ClickHouseSilences(request.getfixturevalue("store"))


def silence(id: str, start: datetime, until: datetime) -> Silence:
    """With every kind of matcher."""
    meant = matchers(rule="low*", kpi="revenue", severity="page", period="2026-*", match={"region": "Köln '\"\\ EU"})
    return Silence(id=id, matchers=meant, by="anna", why='it\'s "deploy" day', start=start, until=until)


def test_what_is_over_is_not_current_and_stays_on_record(silences: SilenceStore) -> None:
    """As it went in, to the microsecond; an end is exclusive; what held something back can be asked for."""
    past = silence("past", at("2026-10-01"), NOW)
    running = silence("running", at("2026-10-01"), NOW + timedelta(microseconds=1))
    planned = silence("planned", NOW + timedelta(days=1), NOW + timedelta(days=2))
    for one in (past, running, planned):
        silences.save(one, NOW)
    assert silences.current(NOW, []) == [running, planned]
    assert {one.id for one in silences.current(NOW, ["past", "unknown"])} == {"past", "running", "planned"}
    assert silences.all() == [past, running, planned]


def test_one_that_somebody_ended_is_over(silences: SilenceStore) -> None:
    """Who and when is kept."""
    one = silence("s", at("2026-10-01"), NOW + timedelta(days=1))
    silences.save(one, at("2026-10-01"))
    ended = one.model_copy(update={"ended_at": NOW, "ended_by": "carl"})
    silences.save(ended, NOW)
    assert silences.current(NOW, []) == []
    assert silences.current(NOW, ["s"]) == silences.all() == [ended]


def test_the_latest_acknowledgement_of_each_firing_comes_back(silences: SilenceStore) -> None:
    """Firings before the one that is asked for are left out."""
    later = replace(KNOWN, by="carl", at=KNOWN.at + timedelta(seconds=1))
    next_firing = replace(KNOWN, fired_at=NOW + timedelta(hours=1), at=NOW + timedelta(hours=2))
    silences.acknowledge([KNOWN, next_firing])
    silences.acknowledge([later])
    silences.acknowledge([])
    assert silences.acknowledgements(NOW) == [later, next_firing]
    assert silences.acknowledgements(NOW + timedelta(microseconds=1)) == [next_firing]


def test_the_alerts_that_fire_are_those_of_the_history(store: ClickHouse) -> None:
    """The others cannot be acknowledged."""
    over = replace(FIRING, period="2026-09", state="resolved", resolved_at=NOW)
    ClickHouseHistory(store).save_alerts([FIRING, over], [], NOW)
    assert ClickHouseSilences(store).firing() == [FIRING]


def test_what_was_told_before_there_were_silences_was_told_to_everybody(store: ClickHouse) -> None:
    """So that an upgrade tells nobody twice."""
    store.command(
        "INSERT INTO alerts (rule, kpi, series, state, notified) VALUES ('low', 'k', '{}', 'firing', 'firing')"
    )
    [alert] = ClickHouseHistory(store).alerts()
    assert (alert.heard, alert.held_by) == ("firing", "")
