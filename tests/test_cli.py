"""The command line: a user's mistake is one line that says what to do, and exit code 1."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path

import pytest
from stacks import onpace, output

from onpace.config.errors import OnPaceError
from onpace.config.settings import Settings
from onpace.deploy.cli_topics import record_and_grow
from onpace.deploy.data_folder import DataFolder
from onpace.deploy.demo import KPIS

BAD = """version: 1
events:
  order.placed:
kpis:
  - {name: orders, type: simple, event: order.placd, agg: count, direction: higher_is_better, role: lagging}
  - {name: revenue, type: simple, event: order.placed, agg: total, direction: higher_is_better, role: lagging}
"""

MISTAKES = {
    "an unknown KPI": (["query", "revenu"], r"unknown KPI 'revenu' \(did you mean 'revenue'\?\)"),
    "an unknown grain": (["query", "revenue", "--grain", "dya"], r"unknown grain 'dya' \(did you mean 'day'\?\)"),
    "no date": (["query", "revenue", "--start", "yesterday"], r"'yesterday' is not a date or time: write 2026-10-01"),
    "no condition": (["query", "revenue", "--where", "EU"], r"--where 'EU': write dimension=value"),
    "no data": (["query", "revenue", "--data", "nowhere"], r"no data in nowhere: name the folder"),
    "no data for a scorecard": (["status", "--data", "nowhere"], r"no data in nowhere: name the folder"),
    "no KPI folder": (["status", "--kpis", "nowhere"], r"nowhere: no such file or folder: name the folder"),
    "an empty KPI folder": (["up", "--kpis", "empty"], r"empty: no KPI files in this folder: put a \.yaml file there"),
    "no file to replay": (["up", "--replay", "none.jsonl", "--exit"], r"none\.jsonl: no such file: give a \.jsonl"),
    "no file at all": (["up", "--exit"], r"--exit needs --replay FILE"),
    "no broker to replay to": (["replay", "events.jsonl"], r"no broker: start `onpace up`, or give --kafka"),
    "no JSON": (["emit", "order.placed", "{"], r"DATA is not JSON"),
    "no JSON object": (["emit", "order.placed", "1"], r"DATA must be a JSON object"),
    "no letter": (["dlq", "show", "x"], r"no data in onpace-data: name the folder"),
    "no letters": (["dlq", "replay"], r"name the letters to replay, or --reason"),
    "no broker to grow": (["topics", "grow", "8"], r"no broker: start `onpace up`, or give --kafka"),
    "no settling time": (["topics", "grow", "8", "--settle", "5m"], r"--settle: '5m' is not a duration.*write 'min'"),
    "a part without Kafka": (["gateway"], r"no Kafka: set ONPACE_KAFKA__BOOTSTRAP=host:port"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_that_says_what_to_do(name: str, tmp_path: Path) -> None:
    """No traceback, nothing on standard output, exit code 1."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "events.jsonl").touch()
    arguments, message = MISTAKES[name]
    done = onpace(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert re.search(message, done.stderr)


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("ONPACE_WEB__PORT", "eighty", r"ONPACE_WEB__PORT: .*integer.*: see docs/operations\.md"),
        ("ONPACE_KAFKA__BOOTSTRAPP", "x:1", r"ONPACE_KAFKA__BOOTSTRAPP: .*not permitted"),
        ("ONPACE_ENGINE__INTERVAL", "10", r"ONPACE_ENGINE__INTERVAL: .*'10' is not a duration"),
        ("ONPACE_LOG", "loud", r"ONPACE_LOG is 'loud': set it to one of debug, info, warning, error"),
    ],
)
def test_a_wrong_setting_is_named(setting: str, value: str, message: str, tmp_path: Path) -> None:
    """One line again."""
    done = onpace("status", cwd=tmp_path, **{setting: value})
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert re.search(message, done.stderr)


def test_validate_names_every_problem_with_file_and_line(tmp_path: Path) -> None:
    """All at once, in file order."""
    (tmp_path / "shop.yaml").write_text(BAD)
    done = onpace("validate", tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    lines = done.stderr.splitlines()
    assert [line.split(": ")[0] for line in lines] == [f"{tmp_path}/shop.yaml:{number}" for number in (5, 6)]
    assert "did you mean 'order.placed'?" in lines[0]


def test_validate_says_what_it_found() -> None:
    """The simulated shop's files are right."""
    assert re.search(r"4 events, 14 KPIs, 4 rules, no problems\n$", output("validate", KPIS))


def test_the_schema_is_one_that_editors_can_use() -> None:
    """JSON Schema of a whole file."""
    schema = json.loads(output("schema"))
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert {"version", "events", "kpis", "rules"} <= set(schema["properties"])


def test_dashboards_writes_the_file_that_grafana_gets(tmp_path: Path) -> None:
    """The same bytes as the committed one."""
    output("dashboards", tmp_path / "new")
    committed = KPIS.parent / "grafana" / "dashboards" / "onpace.json"
    assert (tmp_path / "new" / "onpace.json").read_text() == committed.read_text()


def test_every_command_has_a_help_of_its_own() -> None:
    """And the first page names them all."""
    names = ["up", "gateway", "process", "alert", "validate", "schema", "query", "status", "migrate", "emit", "replay"]
    page = output("--help")
    known = (*names, "dashboards", "dlq", "lint", "rebuild", "topics")
    assert all(re.search(rf"^│ {name} ", page, re.MULTILINE) for name in known)
    assert "--exit" in output("up", "--help")


def test_a_growth_cannot_be_recorded_in_a_folder_that_a_running_stack_holds(tmp_path: Path) -> None:
    """What to do instead is said."""
    with (
        DataFolder(tmp_path),
        pytest.raises(OnPaceError, match=r"in use by process .* stop that process, run this command, start it again"),
    ):
        record_and_grow(Settings(data=tmp_path), 4, 8, timedelta(minutes=1))
