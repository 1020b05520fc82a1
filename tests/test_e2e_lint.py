"""`onpace lint` as a command: over files, over a folder with seven months of events, and over a running stack."""

from __future__ import annotations

import json
import math
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from stacks import Up, onpace, output

from onpace.config.lint.codes import CODES
from onpace.deploy.demo import KPIS

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "lint.md").read_text(encoding="utf-8")

FILE = """version: 1
defaults: {owner: shop}
events:
  order.placed:
    expected_every: 1h
    properties:
      {amount: {type: number}, items: {type: integer}, shop: {type: string}, coupon: {type: string},
       region: {type: string, enum: [EU, US]}, channel: {type: string}, discount: {type: number}}
  ghost.seen: {expected_every: 1h}
kpis:
  - name: revenue
    type: simple
    event: order.placed
    agg: sum
    value: amount
    dimensions: [region, channel]
    direction: higher_is_better
    role: lagging
    targets:
      - {every: month, value: 100000}
      - {every: month, value: 50000, by: {region: EU}}
      - {every: month, value: 40000, by: {region: US}}
  - {name: orders, type: simple, event: order.placed, agg: count, direction: higher_is_better, role: lagging,
     targets: [{every: month, value: 100}]}
  - {name: units, type: simple, event: order.placed, agg: sum, value: items, direction: higher_is_better, role: lagging,
     targets: [{every: year, value: 5000}]}
  - {name: coupons, type: simple, event: order.placed, agg: count, filter: coupon = 'SUMER', role: leading,
     direction: higher_is_better}
  - {name: ghosts, type: simple, event: ghost.seen, agg: count, direction: higher_is_better, role: leading}
  - {name: shops, type: simple, event: order.placed, agg: count_distinct, value: shop, direction: higher_is_better,
     role: leading}
  - {name: discounts, type: simple, event: order.placed, agg: sum, value: discount, direction: lower_is_better,
     role: lagging}
rules:
  - {name: few-orders, kpi: orders, when: threshold, below: 100, grain: hour}
"""
START, DAYS = datetime(2024, 1, 1, tzinfo=UTC), 215  # January to July, and two days; the last one is cut off
FOUND = [
    ("M201", "event 'ghost.seen'", "none has arrived among {count:,} events: ghosts cannot be measured"),
    ("A301", "kpi 'revenue'", "none of 7 whole months (2024-01 to 2024-07) came near its target of 100,000"),
    ("A301", "kpi 'revenue'", "came near its target for region EU of 50,000"),
    ("A301", "kpi 'revenue'", "came near its target for region US of 40,000"),
    ("A302", "kpi 'orders'", "its target of 100 was already met in 7 of 7 whole months"),
    ("A303", "kpi 'revenue'", "add up to 90,000 (EU 50,000 + US 40,000), and the whole has 100,000"),
    ("M203", "kpi 'revenue'", "its dimension channel is null in all of {count:,} order.placed events"),
    ("R402", "kpi 'units'", "says what kpi 'orders' says: their daily values correlate with 1.00"),
    ("M204", "kpi 'coupons'", "the filter, coupon = 'SUMER', lets none of {count:,} events through"),
    ("M206", "kpi 'shops'", "was 1 on each of 214 days"),
    ("M202", "kpi 'discounts'", "its value, discount, is null in"),
    ("A304", "rule 'few-orders'", "its bound was broken by"),
]


def lines() -> list[str]:
    """Orders of each day, from midnight on, as many as a wave says; each tenth with a discount."""
    rng, found = Random(5), list[str]()
    for day in range(DAYS):
        for number in range(round(10 + 5 * math.sin(day * day))):
            data = {"amount": rng.choice([1, 5, 200]), "items": 2, "shop": "one", "coupon": "SUMMER"}
            data |= {"region": rng.choice(["EU", "US"])} | ({"discount": 1} if len(found) % 10 == 0 else {})
            time = (START + timedelta(days=day, hours=number)).isoformat()
            head = {"specversion": "1.0", "id": f"{day}-{number}", "source": "/t", "type": "order.placed"}
            found.append(json.dumps(head | {"time": time, "data": data}))
    return found


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file above, and its events in a data folder."""
    folder = tmp_path_factory.mktemp("lint")
    (folder / "shop.yaml").write_text(FILE)
    (folder / "events.jsonl").write_text("\n".join(lines()) + "\n")
    output(
        "up", "--data", folder / "data", "--kpis", folder / "shop.yaml", "--replay", folder / "events.jsonl", "--exit"
    )
    return folder


def findings(*arguments: object) -> list[dict[str, Any]]:
    """What the command prints as JSON, whatever its exit code is."""
    done = onpace("lint", *arguments, "--format", "json")
    assert done.returncode in (0, 1), done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def about_data(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those that rest on data, and those of segments, whose values the past tells."""
    return [one for one in found if CODES[one["code"]].needs_data or one["code"] == "A303"]


@pytest.mark.e2e
def test_the_past_of_a_folder_is_judged(shop: Path) -> None:
    """Exactly what was put in, with its numbers."""
    found = about_data(findings(shop / "shop.yaml", "--data", shop / "data"))
    told = [(one["code"], one["subject"]) for one in found]
    assert sorted(told) == sorted((code, subject) for code, subject, _ in FOUND)
    for code, subject, message in FOUND:
        wanted = message.format(count=len(lines()))
        said = [one["message"] for one in found if (one["code"], one["subject"]) == (code, subject)]
        assert any(wanted in one for one in said), said


@pytest.mark.e2e
def test_a_running_stack_says_the_same(shop: Path) -> None:
    """Through its read-only interface. Only of the last hour it cannot know yet that nothing more will come."""
    up = Up(shop / "data", "--kpis", shop / "shop.yaml")
    try:
        up.until_ready()
        found = about_data(findings(shop / "shop.yaml", "--data", shop / "data"))
        assert sorted((one["code"], one["subject"]) for one in found) == sorted(one[:2] for one in FOUND)
        assert any("none of 7 whole months" in one["message"] for one in found)
    finally:
        assert up.stop() == 0


@pytest.mark.e2e
def test_a_draft_leaves_the_folder_as_it_is(shop: Path) -> None:
    """A KPI that is only in the draft is judged by the archive, has no past, and gets no view."""
    draft = shop / "draft.yaml"
    new = "  - {name: late, type: simple, event: order.placed, agg: count, filter: shop = 'two',"
    draft.write_text(FILE.replace("rules:", f"{new} direction: higher_is_better, role: leading}}\nrules:"))
    found = findings(draft, "--data", shop / "data")
    assert [one["code"] for one in about_data(found) if one["subject"] == "kpi 'late'"] == ["M204"]
    assert findings(shop / "shop.yaml", "--data", shop / "data")


@pytest.mark.parametrize("kpis", [KPIS, ROOT / "docs/examples/flights/kpis"], ids=["shop", "flights"])
def test_the_shipped_examples_have_nothing_left_to_find(kpis: Path) -> None:
    """What is waived there has its reason."""
    done = onpace("lint", kpis)
    assert (done.returncode, done.stdout) == (0, "")
    assert re.fullmatch(r"0 warnings, 0 infos, \d+ waived: nothing to change\n", done.stderr)
    assert all(one["waived"] for one in findings(kpis))


def test_a_warning_fails_unless_told_otherwise(tmp_path: Path) -> None:
    """Information does not."""
    (tmp_path / "shop.yaml").write_text(FILE)
    assert onpace("lint", tmp_path).returncode == 1
    done = onpace("lint", tmp_path, "--exit-zero")
    assert done.returncode == 0
    assert re.search(r"shop\.yaml:11 .*A303 .*kpi 'revenue'", done.stdout) is None
    assert re.search(
        r"^\S+/shop\.yaml:11 +R403 +kpi 'revenue' has a target and no levers: .* → add levers:", done.stdout, re.M
    )
    assert re.search(r"^\S+/shop\.yaml:11 +O601 \(info\) +no objective is declared", done.stdout, re.M)


def test_annotations_are_what_github_reads(tmp_path: Path) -> None:
    """A line each; commas and colons of a path, and percent signs, are escaped."""
    path = tmp_path / "a,b.yaml"
    path.write_text(FILE.replace("agg: count,", "agg: count, unit: 'per\\tcent %',", 1))
    printed = onpace("lint", path, "--format", "github").stdout.splitlines()
    assert all(
        re.match(r"::(warning|notice) file=\S+/a%2Cb\.yaml,line=\d+,title=[A-Z]\d{3}::", line) for line in printed
    )
    assert {line.split(" ")[0] for line in printed} == {"::warning", "::notice"}


def test_a_file_that_is_wrong_is_not_linted(tmp_path: Path) -> None:
    """Its problems are those of validate."""
    (tmp_path / "shop.yaml").write_text(FILE.replace("agg: sum", "agg: total"))
    done = onpace("lint", tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "agg 'total' is not one of" in done.stderr


def test_data_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    """It says what to name."""
    (tmp_path / "shop.yaml").write_text(FILE)
    done = onpace("lint", tmp_path, "--data", tmp_path / "nowhere")
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"error: no data in \S+nowhere: name the folder .*\n", done.stderr)


def test_the_page_explains_exactly_the_codes_that_there_are() -> None:
    """With their titles; what needs data and what is information says so."""
    rows = re.findall(r"^\| `([A-Z]\d{3})` \| ([^|]*) \| ([^|]*) \| ([^|]+) \|$", PAGE, re.MULTILINE)
    assert [(code, title) for code, title, *_ in rows] == [(code.code, code.title) for code in CODES.values()]
    for name, _, when, _ in rows:
        assert when.startswith("data: ") == CODES[name].needs_data, name
        assert when.startswith("info: ") == (CODES[name].severity == "info"), name


def test_a_newcomers_first_file_fails_on_nothing(tmp_path: Path) -> None:
    """The README's example: what is left is information."""
    [example] = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "shop.yaml").write_text(example)
    assert onpace("lint", tmp_path).returncode == 0
    assert {(one["code"], one["severity"]) for one in findings(tmp_path)} == {
        ("M205", "info"),
        ("O601", "info"),
        ("S102", "info"),
    }
