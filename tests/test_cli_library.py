"""`onpace library` and `onpace init`: what they print can be used as it is."""

from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from stacks import onpace, output, rows

from onpace.config.lint.linter import lint
from onpace.config.lint.scope import Scope
from onpace.config.loader import load_catalog, load_with_places
from onpace.config.templates import library
from onpace.deploy.cli_library import starter_yaml
from onpace.deploy.starters import STARTERS, render

NOW = datetime(2026, 11, 24, tzinfo=UTC)


def test_library_lists_every_entry_by_domain() -> None:
    """One line each: key, role, definition."""
    listed = output("library")
    assert re.findall(r"^  (\S+) ", listed, re.MULTILINE) == [entry.key for entry in library().templates.values()]
    assert re.search(r"^  saas\.mrr +lagging  Monthly recurring revenue: what all accounts", listed, re.MULTILINE)
    assert re.findall(r"^(\S.*)$", listed, re.MULTILINE) == list(library().domains.values())


def test_library_lists_one_domain() -> None:
    """By the name before the dot."""
    assert re.findall(r"^  (\w+)\.", output("library", "saas"), re.MULTILINE) == ["saas"] * 6


def test_library_explains_an_entry() -> None:
    """All that a person must know of it, and the events of its inputs too."""
    said = output("library", "saas.net_revenue_retention")
    for part in (
        "formula ",
        "source ",
        "pitfalls",
        "89 % a year",
        "watch beside it",
        "made of: saas.mrr_change_existing",
    ):
        assert part in said
    assert re.search(r"^  subscription\.moved: .*\n    amount: number\n    kind: string$", said, re.MULTILINE)
    assert re.search(r"^  - use: library/saas\.net_revenue_retention$", said, re.MULTILINE)


def test_library_as_json_has_the_same() -> None:
    """For other tools."""
    entries = rows("library", "sales")
    assert entries[0]["use"] == "library/sales.sales"
    assert entries[0]["events"] == {"order.paid": ["amount"]}
    assert json.loads(output("library", "sales.sales", "--format", "json")) == entries[0]


@pytest.mark.parametrize("name", ["saas.mr", "finance.mrr", "mmr"])
def test_library_suggests_what_was_meant(name: str) -> None:
    """One line, exit code 1."""
    done = onpace("library", name)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(rf"error: '{name}' is not in the library \(did you mean '(saas\.)?mrr'\?\)\n", done.stderr)


def test_what_library_prints_can_be_pasted(tmp_path: Path) -> None:
    """Each entry in a file of its own, also with the comment about own events made true."""
    for entry in library().templates.values():
        pasted = starter_yaml(entry)
        file = tmp_path / f"{entry.name}.yaml"
        file.write_text(f"version: 1\nkpis:\n{pasted}\n")
        assert load_catalog(file, {}).kpi(entry.name).targets
        if entry.spec["type"] == "reported":
            continue
        needs = library().needs(entry)
        events = {
            f"my.{event}": {"properties": {f"my_{name}": library().events[event]["properties"][name] for name in names}}
            for event, names in needs.items()
        }
        own = re.sub(r"^    #( *)   # if your.*$", "", pasted, flags=re.MULTILINE)
        own = re.sub(r"^    # map:.*$", "    map:", own, flags=re.MULTILINE)
        own = re.sub(r"^    #  ", "      ", own, flags=re.MULTILINE)
        file.write_text(f"version: 1\nevents: {json.dumps(events)}\nkpis:\n{own}\n")
        assert set(load_catalog(file, {}).events) == set(events), entry.key


@pytest.mark.parametrize("business", STARTERS)
def test_a_starter_file_is_a_good_one(business: str, tmp_path: Path) -> None:
    """It loads, the linter has no warning, and its KPIs are few, with both leading and lagging ones."""
    file = tmp_path / "kpis.yaml"
    file.write_text(render(business, owner="ann", currency="CHF", timezone="Europe/Zurich", now=NOW))
    catalog, places = load_with_places(file, {})
    picked = [catalog.kpi(pick.name) for pick in STARTERS[business].picks]
    assert 3 <= len(picked) <= 5
    assert {kpi.role for kpi in picked} == {"leading", "lagging"}
    assert all(kpi.objective and kpi.targets and kpi.owner == "ann" for kpi in picked)
    assert {kpi.timezone for kpi in catalog.kpis.values()} == {"Europe/Zurich"}
    [objective] = catalog.objectives.values()
    assert str(objective.period) == "2026-Q4"
    findings = lint(Scope(catalog, places, date(2026, 11, 24), None))
    assert [f"{one.code} {one.subject}" for one in findings if one.severity == "warning"] == []


def test_init_writes_a_file_once(tmp_path: Path) -> None:
    """A second time only with --force."""
    said = output("init", "kpis", "--business", "shop", cwd=tmp_path)
    assert said.startswith("wrote kpis/kpis.yaml: 5 KPIs over 2 events.")
    assert "no problems" in output("validate", "kpis", cwd=tmp_path)
    assert (tmp_path / "kpis" / "rules.test.yaml").read_text().startswith("# Rule tests")
    file = tmp_path / "kpis" / "kpis.yaml"
    file.write_text("mine")
    again = onpace("init", "kpis", "--business", "shop", cwd=tmp_path)
    assert again.returncode == 1
    assert "kpis/kpis.yaml is there already: give another folder, or --force to replace it" in again.stderr
    assert file.read_text() == "mine"
    output("init", "kpis", "--business", "saas", "--force", cwd=tmp_path)
    assert "library/saas.mrr" in file.read_text()


MISTAKES = {
    "no business": ([], r"give --business with one of shop, saas"),
    "an unknown business": (["--business", "shp"], r"unknown business 'shp' \(did you mean 'shop'\?\)"),
    "no time zone": (["--business", "shop", "--timezone", "Mars"], r"unknown time zone 'Mars'"),
    "no word": (["--business", "shop", "--owner", "a: b"], r"--owner 'a: b': write one word"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_writes_no_file(name: str, tmp_path: Path) -> None:
    """And says what to do, without a traceback."""
    arguments, message = MISTAKES[name]
    done = onpace("init", "kpis", *arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.search(message, done.stderr)
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "kpis").exists()


@pytest.mark.e2e
def test_a_starter_file_runs(tmp_path: Path) -> None:
    """From `init` to a value."""
    output("init", "kpis", "--business", "shop", cwd=tmp_path)
    lines = [
        {"id": f"o{n}", "type": "order.paid", "data": {"customer_id": "c", "visitor_id": "v", "amount": n, "cost": 1}}
        for n in (2, 6)
    ]
    common = {"specversion": "1.0", "source": "/shop", "time": "2026-10-05T10:00:00Z"}
    (tmp_path / "events.jsonl").write_text("\n".join(json.dumps(common | line) for line in lines))
    output("up", "--data", "d", "--kpis", "kpis", "--replay", "events.jsonl", "--exit", cwd=tmp_path)
    arguments = ["query", "average_margin", "--data", "d", "--grain", "month"]
    found = rows(*arguments, "--start", "2026-10-01", "--end", "2026-11-01", cwd=tmp_path)
    assert [row["value"] for row in found] == [0.75]  # (2 - 1 + 6 - 1) / (2 + 6)
