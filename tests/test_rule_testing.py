"""Rule tests: what passes, what is said of what does not, and what is wrong with a file."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import pytest
from jsonschema import Draft202012Validator
from stacks import onpace

from onpace.config.errors import ConfigError
from onpace.config.loader import load_catalog
from onpace.config.rule_tests import find_suites, load_suite
from onpace.config.schema import rule_test_schema
from onpace.config.settings import Settings
from onpace.config.yaml_lines import read_document
from onpace.deploy.junit import junit_xml
from onpace.deploy.rule_testing import Outcome, run_tests
from onpace.deploy.starter_tests import render_tests
from onpace.deploy.starters import STARTERS, render
from onpace.processors.clickhouse import ClickHouse

ROOT = Path(__file__).parents[1]
KPIS = """\
version: 1
defaults: {timezone: Europe/Berlin, lateness: 10min}
events:
  order.placed:
    properties: {user_id: {type: string}, amount: {type: number, decimal: 2}, region: {type: string}}
    required: [amount]
kpis:
  - name: revenue
    type: simple
    event: order.placed
    agg: sum
    value: amount
    dimensions: [region]
    direction: higher_is_better
    role: lagging
    targets: [{every: month, value: 30000}]
  - name: buyers
    type: simple
    event: order.placed
    agg: count_distinct
    value: user_id
    dimensions: [region]
    direction: higher_is_better
    role: leading
rules:
  - {name: off-pace, kpi: revenue, when: pace, at: off_track, after: 10%, for: 2h}
  - {name: few-buyers, kpi: buyers, when: threshold, below: 3, grain: hour, by: [region], for: 1h}
  - {name: silent, kpi: buyers, when: no_data, after: 2h}
"""

GOOD = """\
tests:
  - name: few buyers for an hour, as known then
    events:
      - type: order.placed
        from: 2026-11-03
        every: 10min
        count: 144
        data: {amount: 5.10, region: EU, user_id: "u{n}"}
      - type: order.placed
        from: 2026-11-03
        every: 30min
        to: 2026-11-04
        data: {amount: 7.5, region: US, user_id: "u{n}"}
      - {type: order.placed, time: 2026-11-03 05:30, arrives: 3h, data: {amount: 100, region: EU}}
      - {type: order.placed, time: 2026-11-03 06:00, id: once, data: {amount: 1, region: EU, user_id: a}}
      - {type: order.placed, time: 2026-11-03 06:00, id: once, arrives: 2026-11-03 07:00, data: {amount: 1, region: EU}}
    values:
      - {kpi: revenue, at: 2026-11-03, by: {region: EU}, value: 835.4, complete: true}
      - {kpi: revenue, at: 2026-11-03, value: 1195.4}
      - {kpi: revenue, at: 2026-11-03 05:00, grain: hour, by: {region: EU}, value: 30.6, as_of: 2026-11-03 08:00}
      - {kpi: revenue, at: 2026-11-03 05:00, grain: hour, by: {region: EU}, value: 130.6, as_of: 2026-11-03 09:00}
      - {kpi: buyers, at: 2026-11-05, value: 0, as_of: 2026-11-06 00:10}
      - {kpi: buyers, at: 2026-11-05, by: {region: ASIA}, value: null, complete: false}
    alerts:
      - {at: 2026-11-03 02:09, rule: few-buyers, firing: [], pending: [{region: US}]}
      - {at: 2026-11-03 02:11, rule: few-buyers, firing: [{region: US}], reason: 2 is below 3}
  - name: behind after a week
    events:
      - {type: order.placed, from: 2026-11-01, every: 1h, to: 2026-11-09, data: {amount: 5, region: EU}}
    statuses:
      - {at: 2026-11-03, kpi: revenue, period: 2026-11, status: off_track, actual: 240, reason: expected by now}
    alerts:
      - {at: 2026-11-03, rule: off-pace, firing: []}
      - {at: 2026-11-08, rule: off-pace, period: 2026-11, firing: [{}]}
      - {at: 2026-11-08, rule: off-pace, period: 2026-10, firing: []}
  - name: a lower target is on its way
    targets: {revenue: [{every: month, value: 3600}]}
    events:
      - {type: order.placed, from: 2026-11-01, every: 1h, to: 2026-11-09, data: {amount: 5, region: EU}}
    statuses: [{at: 2026-11-08 00:10, kpi: revenue, period: 2026-11, status: on_track, expected: 840}]
    alerts: [{at: 2026-11-08, firing: []}]
"""

WRONG = """\
tests:
  - name: everything else than it is
    events:
      - {type: order.placed, from: 2026-11-03, every: 10min, count: 144, data: {amount: 5, region: EU, user_id: "u{n}"}}
      - {type: order.placed, time: 2026-11-03, data: {amount: many, region: EU}}
    values:
      - {kpi: revenue, at: 2026-11-03, by: {region: EU}, value: 800}
      - {kpi: revenue, at: 2026-11-03, value: 720, complete: false}
    statuses:
      - {at: 2026-11-08, kpi: revenue, period: 2026-11, status: on_track}
      - {at: 2026-11-08, kpi: revenue, period: 2026-12, status: on_track}
    alerts:
      - {at: 2026-11-03 05:00, rule: few-buyers, firing: [{region: EU}]}
      - {at: 2026-11-08, rule: off-pace, firing: []}
      - {at: 2026-11-08, firing: []}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """KPI files, with room for tests beside them."""
    (tmp_path / "shop.yaml").write_text(KPIS)
    return tmp_path


def outcomes(store: ClickHouse, folder: Path, text: str) -> list[Outcome]:
    """What comes of a file of tests."""
    (folder / "rules.test.yaml").write_text(text)
    return list(run_tests(store, [load_suite(folder / "rules.test.yaml")], Settings()))


def test_what_is_as_expected_passes(store: ClickHouse, folder: Path) -> None:
    """Values by dimension, late and twice; statuses and alerts over time; targets of the test's own."""
    found = outcomes(store, folder, GOOD)
    assert [one.problems for one in found] == [(), (), ()]
    assert [one.events for one in found] == [144 + 48 + 3, 192, 192]


def test_what_is_not_as_expected_is_said_with_the_reason(store: ClickHouse, folder: Path) -> None:
    """Each at its line, and what the engine says of it."""
    [found] = outcomes(store, folder, WRONG)
    assert [problem.replace(f"{folder}/", "") for problem in found.problems] == [
        "rules.test.yaml:5: the event is refused: order.placed: data.amount: 'many' is not of type 'number'",
        "rules.test.yaml:13: at 2026-11-03 05:00: few-buyers, region=EU: expected firing, got inactive: "
        "its last complete window, of 2026-11-03 03:00, has 6",
        "rules.test.yaml:10: revenue in 2026-11 at 2026-11-08 00:00: expected on_track, got off_track: "
        "off track: 720 of 6,993 expected by now",
        "rules.test.yaml:11: revenue in 2026-12 at 2026-11-08 00:00: expected on_track, got no status; "
        "there are 2026-11",
        "rules.test.yaml:14: at 2026-11-08 00:00: off-pace (2026-11): expected not firing, got firing: "
        "off track: 720 of 6,993 expected by now",
        "rules.test.yaml:15: at 2026-11-08 00:00: expected nothing to fire, but few-buyers, region=EU does: "
        "0 is below 3",
        "rules.test.yaml:15: at 2026-11-08 00:00: expected nothing to fire, but off-pace does: "
        "off track: 720 of 6,993 expected by now",
        "rules.test.yaml:15: at 2026-11-08 00:00: expected nothing to fire, but silent does: "
        "no order.placed event since 2026-11-03 22:50:00 UTC, longer than 2h",
        "rules.test.yaml:7: revenue, day of 2026-11-03 00:00, region=EU: expected 800, got 720 (complete)",
        "rules.test.yaml:8: revenue, day of 2026-11-03 00:00: expected to be not complete, and it is (value 720)",
    ]


def test_junit_says_what_failed(store: ClickHouse, folder: Path) -> None:
    """One suite a file, one case a test; it can be parsed, whatever a name holds."""
    passed = outcomes(store, folder, GOOD.replace("behind after a week", '"a <week> & \\x07"'))
    failed = outcomes(store, folder, WRONG)
    tree = ElementTree.fromstring(junit_xml([*passed, *failed]))
    assert (tree.get("tests"), tree.get("failures")) == ("4", "1")
    cases = tree.findall("./testsuite/testcase")
    assert [case.get("name") for case in cases] == [one.test.name.replace("\x07", "?") for one in (*passed, *failed)]
    [failure] = [case.find("failure") for case in cases if len(case)]
    assert failure is not None
    assert failure.text == "\n".join(failed[0].problems)
    assert float(cases[0].get("time") or 0) > 0


BAD = {
    "tests: []\nkpi: .\n": [
        "1: there is no test: begin one with '- name: …'",
        "2: test file: unknown key 'kpi' (did you mean 'kpis'?)",
    ],
    "kpis: nowhere\ntests: []\n": ["1: no folder 'nowhere' beside this file: name the folder of the KPI files"],
    "- tests\n": ["1: the file is no mapping: it begins with 'kpis: FOLDER', then tests:"],
    "timezone: Berlin\ntests: []\n": [
        "1: unknown time zone 'Berlin': write one such as Europe/Berlin",
        "2: there is no test: begin one with '- name: …'",
    ],
    "tests:\n  - name: t\n    every: 0s\n    alerts: [{at: 2026-11-03, firing: []}]\n": [
        "3: test 't': every must be longer than 0s"
    ],
    "tests:\n  - name: t\n    alerts: [{at: 2126-11-03, firing: []}]\n": [
        "3: test file: tests: alerts: at: '2126-11-03' is not in the years 1971 to 2094, which OnPace can hold"
    ],
    "tests:\n  - name: t\n    alerts: [{at: 2026-11-03, firing: []}]\n    events:\n"
    "      - {type: order.placed, from: 2026-11-03, every: 1w, count: 999999}\n"
    "      - {type: order.placed, time: 2026-11-03, arrives: 5000w}\n": [
        "5: test 't': event 'order.placed': goes on beyond 2094: send fewer, or let it arrive sooner",
        "6: test 't': event 'order.placed': goes on beyond 2094: send fewer, or let it arrive sooner",
    ],
    "tests:\n  - name: nothing\n": ["2: test 'nothing': checks nothing: give it values:, statuses: or alerts:"],
    "tests:\n  - name: t\n    alerts:\n      - {at: noon, rule: few-buyers}\n": [
        "4: test file: tests: alerts: at: 'noon' is no date or time: write 2026-11-03 or 2026-11-03 10:00"
    ],
    "tests:\n  - name: t\n    alerts: [{at: 2026-11-03, rule: few-buyer, firing: []}]\n": [
        "3: test 't': unknown rule 'few-buyer' (did you mean 'few-buyers'?)"
    ],
    "tests:\n  - name: t\n    alerts: [{at: 2026-11-03, rule: few-buyers, firing: [{regio: EU}]}]\n": [
        "3: test 't': unknown dimension of rule 'few-buyers' 'regio' (did you mean 'region'?)"
    ],
    "tests:\n  - name: t\n    alerts: [{at: 2026-11-03, firing: [{region: EU}]}]\n": [
        "3: test 't': without 'rule' it says that nothing fires: name the rule, or write 'firing: []'"
    ],
    "tests:\n  - name: t\n    values: [{kpi: revenues, at: 2026-11-03, value: 1}]\n": [
        "3: test 't': unknown kpi 'revenues' (did you mean 'revenue'?)"
    ],
    "tests:\n  - name: t\n    values: [{kpi: revenue, at: 2026-11-03, value: 1, by: {area: EU}}]\n": [
        "3: test 't': unknown dimension of 'revenue' 'area': there are region"
    ],
    "tests:\n  - name: t\n    targets: {revenue: [{every: month}]}\n    alerts: [{at: 2026-11-03, firing: []}]\n": [
        "3: test 't': target of 'revenue': 'value' is missing"
    ],
    "tests:\n  - name: t\n    alerts: [{at: 2026-11-03, firing: []}]\n    events:\n"
    "      - {type: order.paid, time: 2026-11-03}\n"
    "      - {type: order.placed}\n"
    "      - {type: order.placed, time: 2026-11-03, count: 2}\n"
    "      - {type: order.placed, from: 2026-11-03, count: 2}\n"
    "      - {type: order.placed, from: 2026-11-03, every: 1h}\n"
    "      - {type: order.placed, from: 2026-11-03, every: 1h, to: 2026-11-02}\n"
    "      - {type: order.placed, from: 2000-11-03, every: 1s, to: 2026-11-02}\n"
    "      - {type: order.placed, from: 2026-11-03, every: 1h, count: 2, id: a}\n": [
        "5: test 't': unknown event 'order.paid' (did you mean 'order.placed'?)",
        "6: test 't': event 'order.placed': give either 'time', for one event, or 'from' with 'every', for many",
        "7: test 't': event 'order.placed': 'every', 'count' and 'to' go with 'from', not with 'time'",
        "8: test 't': event 'order.placed': 'from' needs 'every', longer than 0s, as in every: 10min",
        "9: test 't': event 'order.placed': 'from' needs either 'count' or 'to'",
        "10: test 't': event 'order.placed': 'to' must be after 'from'",
        "11: test 't': event 'order.placed': more than 1,000,000 events: send fewer",
        "12: test 't': event 'order.placed': an 'id' is for one event: many cannot have the same",
    ],
    "tests:\n  - name: t\n    now: 2026-11-02\n    alerts: [{at: 2026-11-03, firing: []}]\n"
    "    values: [{kpi: revenue, at: 2026-11-01, value: 0, as_of: 2026-11-02 00:01}]\n": [
        "4: test 't': at 2026-11-03 is after the test's end, now: 2026-11-02",
        "5: test 't': as_of 2026-11-02 00:01 is after the test's end, now: 2026-11-02",
    ],
    "tests:\n  - name: t\n    alerts: [{at: 2026-11-03, firing: []}]\n    events:\n"
    "      - {type: order.placed, time: 2026-11-03, arrives: soon}\n": [
        "5: test file: tests: events: arrives: 'soon' is neither a time nor a delay: write 2026-11-03 10:00 or 2h"
    ],
}


@pytest.mark.parametrize("text", list(BAD), ids=range(len(BAD)))
def test_a_wrong_file_is_reported_at_its_lines(folder: Path, text: str) -> None:
    """Each problem with what to do."""
    path = folder / "rules.test.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_suite(path)
    assert [f"{one.line}: {one.message}" for one in caught.value.problems] == BAD[text]


def test_the_example_of_the_docs_passes(store: ClickHouse, folder: Path) -> None:
    """As it stands on the page."""
    [text] = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "testing-rules.md").read_text(), re.DOTALL)
    names = KPIS.replace("few-buyers", "few-orders").replace("off-pace", "revenue-off-pace")
    (folder / "shop.yaml").write_text(names.replace("count_distinct\n    value: user_id", "count"))
    assert [one.problems for one in outcomes(store, folder, text)] == [(), ()]


@pytest.mark.parametrize("business", STARTERS)
def test_what_init_writes_passes(store: ClickHouse, tmp_path: Path, business: str) -> None:
    """For every kind of business, in a zone of its own."""
    now = datetime(2026, 11, 3, tzinfo=UTC)
    kpis = render(business, owner="me", currency="EUR", timezone="America/New_York", now=now)
    (tmp_path / "kpis.yaml").write_text(kpis)
    [found] = outcomes(store, tmp_path, render_tests(business, "America/New_York"))
    assert found.problems == ()
    assert found.events


def test_tests_may_lie_among_kpi_files(folder: Path) -> None:
    """They are no KPI files; found are those in the folder and below."""
    (folder / "rules.test.yaml").write_text(GOOD)
    (folder / "more").mkdir()
    (folder / "more" / "others.yaml").write_text("kpis: ..\n" + GOOD)
    assert find_suites(folder) == [folder / "more" / "others.yaml", folder / "rules.test.yaml"]
    assert load_catalog(folder).rules
    assert load_suite(folder / "more" / "others.yaml").catalog.rules


def test_the_published_schema_accepts_what_is_read(folder: Path) -> None:
    """And refuses a wrong key."""
    schema = rule_test_schema()
    Draft202012Validator.check_schema(schema)
    path = folder / "rules.test.yaml"
    path.write_text(GOOD)
    assert not list(Draft202012Validator(schema).iter_errors(read_document(path).content))
    path.write_text(GOOD.replace("statuses:", "status:"))
    assert list(Draft202012Validator(schema).iter_errors(read_document(path).content))


def test_the_command_fails_when_a_test_does(folder: Path) -> None:
    """Exit code 1, the problems printed, JUnit written; a wrong file is no traceback either."""
    (folder / "rules.test.yaml").write_text(GOOD[: GOOD.index("  - name: behind")].replace("835.4", "835.5"))
    done = onpace("test", folder, "--junit", folder / "out" / "junit.xml")
    assert done.returncode == 1, done.stderr
    assert "FAIL  few buyers" in done.stdout
    assert "expected 835.5, got 835.4 (complete)" in done.stdout
    assert "1 tests, 1 failed" in done.stdout
    assert ElementTree.parse(folder / "out" / "junit.xml").getroot().get("failures") == "1"
    (folder / "rules.test.yaml").write_text("tests:\n  - name: nothing\n")
    done = onpace("test", folder)
    assert (done.returncode, done.stderr) == (
        1,
        f"{folder}/rules.test.yaml:2: test 'nothing': checks nothing: give it values:, statuses: or alerts:\n",
    )
    (folder / "rules.test.yaml").unlink()
    assert "no rule tests in" in onpace("test", folder).stderr


def test_the_schema_of_tests_is_printed() -> None:
    """For editors."""
    assert json.loads(onpace("schema", "--tests").stdout)["title"] == "OnPace rule tests"
