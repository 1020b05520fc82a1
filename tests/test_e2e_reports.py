"""Reported values from the command line, HTTP and CSV to what is read, through real processes."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest
from stacks import Up, onpace, output, rows, until
from watchdogs import missing, run

pytestmark = pytest.mark.e2e

KPIS = """version: 1
events:
  order.placed: {properties: {amount: {type: number, decimal: 2}}}
kpis:
  - {name: orders, type: simple, event: order.placed, agg: count, direction: higher_is_better, role: leading}
  - name: nps
    type: reported
    cadence: month
    due: 5d
    owner: marketing
    dimensions: [region]
    direction: higher_is_better
    role: leading
  - name: cost
    type: reported
    cadence: month
    merge: sum
    dimensions: [region]
    direction: lower_is_better
    role: lagging
"""


def order(id: str, time: str) -> str:
    """A line of a file of events."""
    event = {"specversion": "1.0", "id": id, "source": "/t", "type": "order.placed"}
    return json.dumps(event | {"time": time, "data": {"amount": 1.5}}) + "\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """KPI files and a replayed day of 2020 whose input is finished."""
    (tmp_path / "kpis").mkdir()
    (tmp_path / "kpis" / "k.yaml").write_text(KPIS)
    times = ("2020-03-01T10:00:00Z", "2020-03-01T11:59:00Z")
    (tmp_path / "e.jsonl").write_text("".join(order(time, time) for time in times))
    given = ("--data", tmp_path / "d", "--kpis", tmp_path / "kpis")
    output("up", *given, "--replay", tmp_path / "e.jsonl", "--exit")
    return tmp_path


def test_a_folder_that_nothing_runs_on_takes_reports(folder: Path) -> None:
    """And everything else stays as complete as it was: neither further, nor less far."""
    data = ("--data", folder / "d")
    hours = rows("query", "orders", *data, "--grain", "hour")
    assert [(row["value"], row["complete"]) for row in hours] == [(1.0, True), (1.0, True)]
    said = [
        output("report", "nps", "40", "--period", "2020-02", "--source", "survey", *data),
        output("report", "nps", "-42.5", "--period", "2020-02", *data),
        output("report", "nps", "-42.5", "--period", "2020-02", *data),
    ]
    assert said == [
        "nps 2020-02: 40\n",
        "nps 2020-02: -42.5 (was 40, kept as an earlier version)\n",
        "nps 2020-02: -42.5, as reported already: nothing changed\n",
    ]
    [month] = rows("query", "nps", *data, "--grain", "month", "--end", "2020-03-01")
    assert month == {"window_start": "2020-02-01T00:00:00Z", "value": -42.5, "complete": True}
    assert rows("query", "orders", *data, "--grain", "hour") == hours
    listed = json.loads(output("report", "--list", "nps", "--format", "json", *data))
    assert [(one["value"], one["current"]) for one in listed["reports"]] == [(40, False), (-42.5, True)]
    assert listed["overdue"]["nps"].startswith("nps for 2020-03 is overdue since 2020-04-06, and ")
    assert listed["overdue"]["nps"] in output("report", "--list", *data)


def test_a_running_stack_takes_reports_from_every_side(folder: Path) -> None:
    """The command line, a file and HTTP; what does not fit is refused with its field."""
    data = ("--data", folder / "d")
    up = Up(folder / "d", "--kpis", folder / "kpis")
    try:
        web = up.until_ready().address("status page")
        assert output("report", "cost", "0.1", "--period", "2020-01", "--by", "region=EU", *data).startswith(
            "cost 2020-01"
        )
        (folder / "f.csv").write_text(
            "kpi,period,value,region,source,note\n"
            "cost,2020-01,0.2,US,ledger,\n"
            "cost,2020-02,5,EU,ledger,\n"
            "cost,2020-02,7,,ledger,the whole\n"
            "cost,2020-13,7,,ledger,\n"
        )
        done = onpace("report", "--csv", folder / "f.csv", *data)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert "f.csv:5: '2020-13' is no month" in done.stderr
        assert done.stdout.endswith("f.csv: 3 reported, 0 as reported already, 1 bad rows\n")
        again = onpace("report", "--csv", folder / "f.csv", *data).stdout
        assert again == f"{folder}/f.csv: 0 reported, 3 as reported already, 1 bad rows\n"

        def sent(period: str) -> httpx.Response:
            event = {"specversion": "1.0", "id": period, "source": "/crm", "type": "onpace.reported"}
            content = {"kpi": "nps", "period": period, "value": 12, "by": {"region": "EU"}}
            body = event | {"time": "2020-05-01T00:00:00Z", "data": content}
            return httpx.post(f"{web}/v1/events", json=body, headers={"content-type": "application/cloudevents+json"})

        assert sent("2020-04").status_code == 202
        refused = sent("2020-W04")
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "data.period")
        until(lambda: rows("query", "nps", *data, "--grain", "month", "--by", "region"), "the report is there")
        until(lambda: "onpace_report_overdue{" in httpx.get(f"{web}/metrics").text, "the metric is there")
        exposed = httpx.get(f"{web}/metrics").text
    finally:
        up.stop()
    if not missing("promtool"):  # which has more to say of names than that they are there
        run("promtool", "check", "metrics", text=exposed)
    quarter = rows("query", "cost", *data, "--grain", "quarter", "--end", "2020-04-01")
    assert [(row["value"], row["complete"]) for row in quarter] == [(7.3, False)]
    assert "cost for 2020-03 is overdue since 2020-04-01" in output("status", *data)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nps"], "what is to be reported? As in `onpace report nps 42 --period 2026-10`"),
        (
            ["orders", "1", "--period", "2020-01"],
            "KPI 'orders' is computed from events; those that are reported are: nps",
        ),
        (["nps", "1", "--period", "2999-01"], "is no month"),
        (["nps", "1", "--period", "2090-01"], "2090-01 has not begun"),
        (["nps", "1", "--period", "2020-01", "--by", "EU"], "--by 'EU': write dimension=value"),
        (["nps", "1", "--period", "2020-01", "--by", "region=a", "--by", "region=b"], "--by region is given twice"),
        (["nps", "--csv", "f.csv"], "--csv FILE holds KPIs and values"),
        (["nps", "1", "--list"], "--list prints what was reported"),
        (["--list", "orders"], "KPI 'orders' is computed from events"),
        (["--csv", "f.csv"], "f.csv: No such file or directory"),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, arguments: list[str], message: str) -> None:
    """That says what to do."""
    (tmp_path / "k.yaml").write_text(KPIS)
    done = onpace("report", *arguments, "--kpis", "k.yaml", "--data", "d", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
