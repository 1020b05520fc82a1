"""Incidents that people know of: reading them, and how alarms meet them, recounted by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from alerts_fakes import at

from onpace.alerts.backtest import Alarm, per_week, score, total_firing
from onpace.config.errors import ConfigError
from onpace.config.incidents import Incident, load_incidents

BERLIN = ZoneInfo("Europe/Berlin")
HOUR = timedelta(hours=1)


def incident(start: str, end: str, **more: Any) -> Incident:
    """An incident, in UTC."""
    return Incident(start=at(start), end=at(end), **more)


def alarm(told: str, cleared: str | None = None, **series: str | None) -> Alarm:
    """An alarm of the window that ended five minutes before people were told."""
    fired = at(told) - timedelta(minutes=5)
    over = at(cleared) if cleared else None
    return Alarm(tuple(series.items()), "", fired, at(told), 1.0, "low", over, over)


def test_a_yaml_file_and_a_csv_file_say_the_same(tmp_path: Path) -> None:
    """In the KPI's zone where they name none; by their start."""
    (tmp_path / "known.yaml").write_text(
        "incidents:\n"
        "  - {start: 2026-10-05 09:00, end: 2026-10-05 11:30, kpi: orders, series: {region: EU}, label: payment down}\n"
        "  - {start: 2026-10-01T00:00:00Z, end: 2026-10-02}\n"
    )
    (tmp_path / "known.csv").write_text(
        "start,end,kpi,region,label\n"
        "2026-10-05 09:00,2026-10-05 11:30,orders,EU,payment down\n"
        "2026-10-01T00:00:00Z,2026-10-02,,,\n"
    )
    found = load_incidents(tmp_path / "known.yaml", BERLIN)
    assert found == load_incidents(tmp_path / "known.csv", BERLIN)
    assert [one.start for one in found] == [at("2026-10-01 00:00"), at("2026-10-05 07:00")]
    assert (found[1].series, found[1].kpi, found[1].label) == ({"region": "EU"}, "orders", "payment down")
    assert found[0].end == datetime(2026, 10, 1, 22, tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "text", "problems"),
    [
        ("a.yaml", "incidents: [{start: 2026-10-05, end: soon}]", [
            "1: incident: end 'soon' is no date or time: write 2026-10-05 or 2026-10-05 09:00"
        ]),
        ("a.yaml", "incidents: [{start: 2026-10-05, end: 2026-10-05}]", ["1: incident: must end after its start"]),
        ("a.yaml", "incidents: [{start: 2026-10-05}]", ["1: incident: 'end' is missing"]),
        ("a.yaml", "incidents:\n  - {start: 2026-10-05, end: 2026-10-06, labels: x}", [
            "2: incident: unknown key 'labels' (did you mean 'label'?)"
        ]),
        ("a.yaml", "incidents:\n  - yesterday", [
            "2: incident: must be a mapping, as in {start: 2026-10-05 09:00, end: 2026-10-05 11:30}"
        ]),
        ("a.yaml", "known: []", [
            "1: no incidents: write 'incidents:' and a list, as in - {start: 2026-10-05 09:00, end: …}"
        ]),
        ("a.csv", "start,end\n2026-10-05,2026-10-06\n2026-10-05,noon\n", [
            "3: incident: end 'noon' is no date or time: write 2026-10-05 or 2026-10-05 09:00"
        ]),
        ("a.csv", "start,end,label\n2026-10-05,2026-10-06,one, two\n", [
            "2: more cells than the first line has names: a cell that holds a comma stands in quotes"
        ]),
        ("a.csv", "when\n2026-10-05\n", ["2: incident: 'start' is missing", "2: incident: 'end' is missing"]),
    ],
)  # fmt: skip
def test_a_wrong_file_of_incidents_is_reported(tmp_path: Path, name: str, text: str, problems: list[str]) -> None:
    """Each problem at its line."""
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_incidents(tmp_path / name, BERLIN)
    assert sorted(f"{one.line}: {one.message}" for one in caught.value.problems) == sorted(problems)


def test_a_missing_file_of_incidents_is_one_line(tmp_path: Path) -> None:
    """Whatever its ending."""
    for name in ("none.csv", "none.yaml"):
        with pytest.raises(ConfigError, match="cannot be read: No such file"):
            load_incidents(tmp_path / name, BERLIN)


def test_the_delay_is_counted_from_the_begin_to_the_message() -> None:
    """Told at 10:05 of an incident from 9:10 on: 55 minutes. One told at 12:05 is later, and no false alarm."""
    known = [incident("2026-10-05 09:10", "2026-10-05 11:30")]
    found = score([alarm("2026-10-05 10:05", "2026-10-05 11:05"), alarm("2026-10-05 12:05")], known, grace=HOUR)
    assert found.incidents[0].delay == timedelta(minutes=55)
    assert (found.detected, found.recall, found.precision) == (1, 1.0, 1.0)


def test_the_last_window_is_judged_after_the_end() -> None:
    """An incident of 20 minutes in an hour that is judged at 11:05: within the grace it is told of, else missed."""
    known = [incident("2026-10-05 10:10", "2026-10-05 10:30")]
    told = [alarm("2026-10-05 11:05")]
    assert score(told, known, grace=timedelta(minutes=65)).incidents[0].delay == timedelta(minutes=55)
    missed = score(told, known, grace=timedelta(minutes=30))
    assert (missed.detected, missed.recall, missed.precision) == (0, 0.0, 0.0)
    assert missed.false_alarms == tuple(told)


def test_an_alarm_that_fires_already_tells_at_once() -> None:
    """One that has ended by then does not."""
    known = [incident("2026-10-05 10:00", "2026-10-05 12:00")]
    fires = [alarm("2026-10-05 08:05", "2026-10-05 10:30")]
    assert score(fires, known, grace=HOUR).incidents[0].delay == timedelta(0)
    over = [alarm("2026-10-05 08:05", "2026-10-05 09:59")]
    assert score(over, known, grace=HOUR).incidents[0].delay is None


def test_only_alarms_of_the_same_series_tell_of_an_incident() -> None:
    """The total tells of one in a region, and a region of one that is everywhere."""
    local = [incident("2026-10-05 10:00", "2026-10-05 12:00", series={"region": "EU"})]
    assert score([alarm("2026-10-05 11:05", region="US")], local, grace=HOUR).detected == 0
    assert score([alarm("2026-10-05 11:05", region="EU")], local, grace=HOUR).detected == 1
    assert score([alarm("2026-10-05 11:05")], local, grace=HOUR).detected == 1
    everywhere = [incident("2026-10-05 10:00", "2026-10-05 12:00")]
    assert score([alarm("2026-10-05 11:05", region="US")], everywhere, grace=HOUR).detected == 1


def test_shares_of_nothing_are_none() -> None:
    """No alarm has no precision, no incident no recall."""
    assert score([], [], grace=HOUR).precision is None
    assert score([], [], grace=HOUR).recall is None


def test_firing_time_counts_series_that_fire_together_once() -> None:
    """9:00 to 11:00 and 10:00 to 12:00 are three hours; what began before or has not ended is cut off."""
    day = at("2026-10-05"), at("2026-10-06")
    told = [
        alarm("2026-10-05 09:05", "2026-10-05 11:00", region="EU"),
        alarm("2026-10-05 10:05", "2026-10-05 12:00", region="US"),
        alarm("2026-10-04 20:05", "2026-10-05 01:00", region="EU"),
        alarm("2026-10-05 23:05", None, region="EU"),
    ]
    assert total_firing(told, *day) == 5 * HOUR
    assert per_week(3, at("2026-10-05"), at("2026-10-26")) == 1.0
