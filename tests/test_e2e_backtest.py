"""`onpace backtest` on a data folder, and through the stack that runs on it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from stacks import Up, onpace, output

pytestmark = pytest.mark.e2e

KPIS = """\
version: 1
defaults: {timezone: Europe/Berlin, lateness: 10min}
events:
  order.placed: {properties: {region: {type: string}}}
kpis:
  - name: orders
    type: simple
    event: order.placed
    agg: count
    dimensions: [region]
    grain: 1h
    direction: higher_is_better
    role: leading
rules:
  - {name: few-orders, kpi: orders, when: threshold, below: 3, grain: hour, by: [region]}
"""
NEVER_SENT = """\
version: 1
events:
  visit: {properties: {region: {type: string}}}
kpis:
  - {name: visits, type: simple, event: visit, agg: count, direction: higher_is_better, role: leading}
rules:
  - {name: few-visits, kpi: visits, when: threshold, below: 3, grain: hour}
"""
BEGIN = datetime(2026, 9, 1, tzinfo=UTC)
QUIET = range(30, 33)
"""The hours (after BEGIN) in which one order comes instead of four: 8:00 to 11:00 in Berlin on September 2."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two days of orders, brought in by a replay."""
    folder = tmp_path_factory.mktemp("backtest")
    (folder / "kpis").mkdir()
    (folder / "kpis" / "shop.yaml").write_text(KPIS)
    lines = []
    for hour in range(48):
        for number in range(1 if hour in QUIET else 4):
            time = BEGIN + timedelta(hours=hour, minutes=10 * number)
            head = {"specversion": "1.0", "id": f"{hour}-{number}", "source": "shop", "type": "order.placed"}
            lines.append(json.dumps({**head, "time": time.isoformat(), "data": {"region": "EU"}}))
    (folder / "events.jsonl").write_text("\n".join(lines))
    output(
        *("up", "--data", folder / "data", "--kpis", folder / "kpis", "--replay", folder / "events.jsonl", "--exit"),
        ONPACE_KAFKA__EMBEDDED_PORT=0,
    )
    return folder


SPAN = ("--start", "2026-09-01 12:00", "--end", "2026-09-03")


def test_a_rule_is_backtested_with_its_incidents(folder: Path) -> None:
    """Local times; the first quiet hour ends at 9:00 and is complete at 9:10, of an incident from 8:00 on."""
    (folder / "known.csv").write_text(
        "start,end,label\n2026-09-02 08:00,2026-09-02 11:00,payments down\n2026-09-02 20:00,2026-09-02 21:00,slow\n"
    )
    arguments = ("backtest", "few-orders", *SPAN, "--data", folder / "data", "--arrival", "event")
    text = output(*arguments, "--incidents", folder / "known.csv")
    assert "2026-09-02 09:00  2026-09-02 09:10  2026-09-02 12:00  region=EU  1 is below 3" in text
    assert "1 alarm, 4.7 a week; firing 3 h (8.3%)" in text
    assert "1 of 2 told of (recall 50%), 0 of 1 alarms false (precision 100%)" in text
    assert "2026-09-02 08:00 to 2026-09-02 11:00  told of after 1 h 10 min  payments down" in text
    assert "2026-09-02 20:00 to 2026-09-02 21:00  missed  slow" in text


def test_an_edited_rule_is_backtested_from_its_own_folder(folder: Path) -> None:
    """It has never run; what is in the data folder stays as it is."""
    edited = folder / "edited"
    edited.mkdir()
    (edited / "shop.yaml").write_text(KPIS.replace("below: 3", "below: 5"))
    arguments = ("backtest", "few-orders", *SPAN, "--data", folder / "data", "--arrival", "event", "--format", "json")
    document = json.loads(output(*arguments, "--kpis", edited))
    assert [(one["fired_at"], one["cleared_at"]) for one in document["alarms"]] == []
    assert [one["fired_at"] for one in document["firing_before"]] == ["2026-09-01T01:00:00Z"]
    assert document["firing_seconds"] == 36 * 3600
    assert json.loads(output(*arguments))["alarms"][0]["reason"] == "1 is below 3"


def test_a_backtest_goes_through_the_stack_that_runs(folder: Path) -> None:
    """It reads the archive over SQL, and replays it beside the stack."""
    up = Up(folder / "data")
    try:
        up.until_ready()
        arguments = ("backtest", "few-orders", *SPAN, "--data", folder / "data", "--arrival", "event")
        document = json.loads(output(*arguments, "--format", "json"))
    finally:
        assert up.stop() == 0
    assert [one["fired_at"] for one in document["alarms"]] == ["2026-09-02T07:00:00Z"]


def test_a_backtest_of_all_time_is_one_of_what_is_known(folder: Path) -> None:
    """From the first event to now: the rate is that of this time, and the source has been silent since."""
    arguments = ("backtest", "few-orders", "--start", "0001-01-02", "--end", "9999-12-30", "--data", folder / "data")
    document = json.loads(output(*arguments, "--arrival", "event", "--format", "json"))
    assert document["limits"][1].startswith(
        "the archive of these events begins with one that arrived at 2026-09-01 02:00"
    )
    assert [one["fired_at"] for one in document["alarms"]] == ["2026-09-02T07:00:00Z", "2026-09-03T01:00:00Z"]
    weeks = (datetime.fromisoformat(document["end"]) - BEGIN) / timedelta(weeks=1)
    assert document["alarms_per_week"] == pytest.approx(2 / weeks)


def test_what_cannot_be_backtested_is_one_line(folder: Path) -> None:
    """A history that was loaded later had not arrived; names, dates and steps that are wrong."""
    arguments = ("backtest", "few-orders", *SPAN, "--data", folder / "data")
    assert onpace(*arguments).stderr == (
        "error: no order.placed event in the archive had arrived by 2026-09-02 22:00 UTC: choose a later --end; "
        "of a history that was loaded later, --arrival event replays it by event time\n"
    )
    assert (
        "unknown rule 'few-order' (did you mean 'few-orders'?)"
        in onpace("backtest", "few-order", *arguments[2:]).stderr
    )
    never = ("backtest", "few-visits", *SPAN, "--data", folder / "data", "--kpis", folder / "never")
    (folder / "never").mkdir()
    (folder / "never" / "shop.yaml").write_text(NEVER_SENT)
    assert onpace(*never).stderr == "error: no visit event is in the archive: there is nothing to replay\n"
    future = ("--start", "2999-01-01", "--end", "2999-02-01")
    assert "--start lies ahead" in onpace(*arguments[:2], *future, *arguments[-2:]).stderr
    assert "--every '1m' is not a duration" in onpace(*arguments, "--every", "1m").stderr
    (folder / "wrong.csv").write_text("start,end,regio\n2026-09-02,2026-09-03,EU\n")
    assert onpace(*arguments, "--incidents", folder / "wrong.csv").stderr == (
        f"error: {folder}/wrong.csv: KPI 'orders' has no dimension 'regio' (did you mean 'region'?): it has region\n"
    )
    assert "--every '1m' is not a duration" in onpace(*arguments, "--every", "1m").stderr
    ahead = ("--start", "2093-01-01", "--end", "9999-12-31")
    assert "--start lies ahead" in onpace("backtest", "few-orders", *ahead, *arguments[6:]).stderr
    narrow = ("--start", "2026-09-02 08:01", "--end", "2026-09-02 08:02", "--arrival", "event")
    assert (
        "no window of rule 'few-orders' ends between"
        in onpace("backtest", "few-orders", *narrow, *arguments[6:]).stderr
    )
    swapped = ("--start", "2026-09-03", "--end", "2026-09-01")
    assert "--end 2026-09-01 is not after --start" in onpace("backtest", "few-orders", *swapped, *arguments[6:]).stderr
