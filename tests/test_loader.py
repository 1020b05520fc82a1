"""KPI files: what loads, and what is said about what does not."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from onpace.config.catalog import Catalog
from onpace.config.errors import ConfigError
from onpace.config.loader import load_catalog
from onpace.config.schema import kpi_file_schema
from onpace.config.yaml_lines import read_document

ROOT = Path(__file__).parents[1]
CORPUS = ROOT / "tests" / "corpus"
ENVIRONMENT = {"HOOK_URL": "https://hook.example.org/secret"}
GOOD = [*sorted((CORPUS / "good").glob("*.yaml")), ROOT / "docs/examples/flights/kpis/flights.yaml"]
BAD = sorted((CORPUS / "bad").glob("*.yaml"))


def problems(path: Path) -> list[str]:
    """`line: message` of everything that is wrong, in order."""
    with pytest.raises(ConfigError) as caught:
        load_catalog(path, {})
    return [f"{problem.line}: {problem.message.replace(f'{path.parent}/', '')}" for problem in caught.value.problems]


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_a_bad_file_is_reported_as_its_first_lines_say(path: Path) -> None:
    """Each problem at its line, no more and no less."""
    assert problems(path) == re.findall(r"^# expect: (.*)$", path.read_text(), flags=re.MULTILINE)


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_a_good_file_loads(path: Path) -> None:
    """It gives KPIs."""
    assert load_catalog(path, ENVIRONMENT).kpis


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_the_published_schema_accepts_what_the_loader_accepts(path: Path) -> None:
    """Editors do not underline what is right."""
    schema = kpi_file_schema()
    Draft202012Validator.check_schema(schema)
    assert not list(Draft202012Validator(schema).iter_errors(read_document(path).content))


@pytest.mark.parametrize("stem", ["unknown-key", "wrong-role", "target-every", "top-key", "missing-direction"])
def test_the_published_schema_refuses_wrong_keys_and_words(stem: str) -> None:
    """Editors underline what the models alone can tell."""
    content = read_document(CORPUS / "bad" / f"{stem}.yaml").content
    assert list(Draft202012Validator(kpi_file_schema()).iter_errors(content))


def test_the_whole_example_of_the_format_is_understood(tmp_path: Path) -> None:
    """Wrong are undeclared names, a comma in a bare text and the missing environment; mended, it loads."""
    assert problems(CORPUS / "format-example.yaml") == [
        "45: kpi 'revenue': guardrails: unknown kpi 'refund_rate'",
        "68: kpi 'revenue_28d': unknown key '28 days' (a text that holds a comma stands in quotes)",
        "82: kpi 'mrr': unknown event 'subscription.changed'",
        "87: channel 'hook': the environment variable HOOK_URL is not set",
        "88: channel 'team': the environment variable SLACK_URL is not set",
    ]
    text = (CORPUS / "format-example.yaml").read_text().replace("title: Revenue, 28 days", "title: '28 days'")
    text = text.replace("guardrails: [refund_rate]", "guardrails: [aov]")
    mended = text.replace(
        "\nevents:", "\nevents:\n  subscription.changed: {properties: {account_id: {}, mrr: {type: number}}}"
    )
    (tmp_path / "mended.yaml").write_text(mended)
    catalog = load_catalog(tmp_path, ENVIRONMENT | {"SLACK_URL": "json://localhost/secret"})
    assert len(catalog.kpis) == 14
    assert len(catalog.rules) == 5


@pytest.fixture
def shop() -> Catalog:
    """The example of the format, without what is not supported yet."""
    return load_catalog(CORPUS / "good" / "shop.yaml", ENVIRONMENT)


def test_defaults_apply_where_a_kpi_says_nothing(shop: Catalog) -> None:
    """Time zone, owner and lateness of the file; an owner of its own stays."""
    assert shop.kpi("orders").timezone == "Europe/Berlin"
    assert shop.kpi("orders").owner == "growth"
    assert shop.kpi("revenue").owner == "sales"
    assert shop.lateness(shop.kpi("orders")) == timedelta(minutes=10)


def test_ratio_and_derived_kpis_follow_the_zone_of_their_inputs(shop: Catalog) -> None:
    """Also where the file's default says otherwise."""
    assert shop.kpi("conversion").timezone == shop.kpi("aov").timezone == "Europe/Berlin"


def test_a_list_of_dimensions_names_its_properties(shop: Catalog) -> None:
    """`[region]` is `{region: region}`; a reserved word is quoted."""
    assert next(kpi.dimensions for kpi in shop.simple_kpis()) == {"region": "region", "channel": "channel"}
    other = load_catalog(CORPUS / "good" / "expressions.yaml")
    assert {kpi.name: kpi.dimensions for kpi in other.simple_kpis()}["events"]["from"] == '"from"'


def test_kpis_that_share_no_dimension_have_none_together(shop: Catalog) -> None:
    """A ratio has the dimensions that both inputs have."""
    assert shop.dimensions(shop.kpi("conversion")) == ("region", "channel")
    other = load_catalog(CORPUS / "good" / "expressions.yaml")
    assert other.dimensions(other.kpi("share")) == ()


def test_the_environment_is_read_in_channels_only(shop: Catalog) -> None:
    """And never shown in a message."""
    assert shop.channels["hook"].url == ENVIRONMENT["HOOK_URL"]
    with pytest.raises(ConfigError) as caught:
        load_catalog(CORPUS / "good" / "shop.yaml", {"HOOK_URL": "s3cret"})
    assert "url must begin with http" in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_all_files_of_a_folder_make_one_catalog(tmp_path: Path) -> None:
    """References cross files; other files and folders are left alone."""
    text = (CORPUS / "good" / "minimal.yaml").read_text()
    (tmp_path / "b.yaml").write_text(text)
    (tmp_path / "a.yml").write_text(
        "version: 1\nkpis:\n"
        "  - {name: twice, type: derived, expr: orders * 2, direction: higher_is_better, role: lagging}\n"
    )
    (tmp_path / "notes.txt").write_text("no YAML: [")
    (tmp_path / "old.yaml").mkdir()
    assert list(load_catalog(tmp_path, {}).kpis) == ["twice", "orders"]


def test_a_name_in_two_files_is_an_error_that_names_both(tmp_path: Path) -> None:
    """KPIs and events alike."""
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text((CORPUS / "good" / "minimal.yaml").read_text())
    with pytest.raises(ConfigError) as caught:
        load_catalog(tmp_path, {})
    assert [str(problem) for problem in caught.value.problems] == [
        f"{tmp_path}/b.yaml:3: event 'order.placed': declared twice: also at {tmp_path}/a.yaml:3",
        f"{tmp_path}/b.yaml:5: kpi 'orders': declared twice: also at {tmp_path}/a.yaml:5",
    ]


def test_problems_of_all_files_come_at_once_in_order(tmp_path: Path) -> None:
    """By file, then line."""
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text("version: 1\nkpi: []\nrule: []\n")
    with pytest.raises(ConfigError) as caught:
        load_catalog(tmp_path, {})
    assert [(Path(problem.path).name, problem.line) for problem in caught.value.problems] == [
        ("a.yaml", 2),
        ("a.yaml", 3),
        ("b.yaml", 2),
        ("b.yaml", 3),
    ]


def test_an_empty_or_missing_folder_says_what_to_do(tmp_path: Path) -> None:
    """One line, with the path."""
    with pytest.raises(ConfigError, match=r"no KPI files in this folder: put a \.yaml file there"):
        load_catalog(tmp_path)
    with pytest.raises(ConfigError, match="no such file or folder"):
        load_catalog(tmp_path / "nowhere")


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"\x00", b"[" * 1000, b"%", b"? [a]\n: b"])
def test_a_file_that_is_no_yaml_is_a_problem_and_no_crash(tmp_path: Path, content: bytes) -> None:
    """Whatever the bytes."""
    path = tmp_path / "x.yaml"
    path.write_bytes(content)
    assert problems(path)


def test_yaml_is_version_1_2(tmp_path: Path) -> None:
    """NO is a text, dates stay texts, a key of any kind is a text."""
    path = tmp_path / "x.yaml"
    path.write_text("NO: NO\non: 2026-10-05\nn: [0x1F, 1e3, 07, ~, true, '1']\n")
    assert read_document(path).content == {"NO": "NO", "on": "2026-10-05", "n": [31, 1000.0, 7, None, True, "1"]}


def _ways(value: Any, keys: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value of a tree."""
    yield keys
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from _ways(inner, (*keys, key))


SHOP = read_document(CORPUS / "good" / "shop.yaml").content
ODD = [None, [], {}, "", "x", -1, 0, True, 1e308, [None], {"a": 1}, "1d", "revenue", "${X}", 10**30, [[]], "sum(a)"]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(list(_ways(SHOP))[1:]), st.sampled_from(ODD)), min_size=1, max_size=3))
def test_whatever_stands_where_something_else_should_is_a_problem_and_no_crash(
    tmp_path: Path, changes: list[tuple[tuple[Any, ...], Any]]
) -> None:
    """A catalog or a ConfigError, never another error."""
    content = json.loads(json.dumps(SHOP))
    for keys, odd in changes:
        holder = content
        for key in keys[:-1]:
            if not isinstance(holder, dict | list) or (isinstance(holder, list) and not isinstance(key, int)):
                break
            holder = holder.get(key) if isinstance(holder, dict) else holder[key] if key < len(holder) else None
        if isinstance(holder, dict) or (
            isinstance(holder, list) and isinstance(keys[-1], int) and keys[-1] < len(holder)
        ):
            holder[keys[-1]] = odd
    (tmp_path / "x.yaml").write_text(json.dumps(content))
    with suppress(ConfigError):
        load_catalog(tmp_path, ENVIRONMENT)


def test_a_silence_without_a_zone_follows_the_default_one() -> None:
    """A date is its first moment; one without a name has an identity of its own that stays."""
    first, second, third, fourth = load_catalog(CORPUS / "good" / "silences.yaml").silences
    assert (first.id, first.start, first.until) == (
        "stock-taking",
        datetime(2026, 11, 27, 23, tzinfo=UTC),
        datetime(2026, 11, 30, 5, tzinfo=UTC),
    )
    assert (second.start, second.until) == (None, datetime(2026, 12, 1, 8, tzinfo=UTC))
    assert third.until == datetime(2026, 12, 1, 6, tzinfo=UTC)
    assert third.matchers.period == "2026"
    assert len({second.id, third.id, fourth.id}) == 3
    assert load_catalog(CORPUS / "good" / "silences.yaml").silences[1].id == second.id
