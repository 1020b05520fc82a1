"""The KPI library: every entry is complete, computes what its definition says, and is used as its page says."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from library_cases import CASES, REPORTS, Case
from processors_fakes import Sent, log_of
from processors_world import drain, world

from onpace.config.calendar import Grain, window_end
from onpace.config.catalog import Catalog
from onpace.config.kpi import SimpleKpi
from onpace.config.kpi_entities import REPORT, BalanceKpi, ConversionKpi
from onpace.config.loader import load_catalog
from onpace.config.templates import Template, library
from onpace.processors.clickhouse import ClickHouse
from onpace.processors.reader import Reader

ARRIVAL = datetime(2026, 4, 25, tzinfo=UTC)
OWN = {domain: set(CASES[domain].values) for domain in CASES}
"""Names of the entries that a domain's catalog declares itself, so that they do not come along."""
MEDIAN_ERROR = 0.01
"""Medians are within 1 %: see docs/kpi-format.md, percentile."""


def entries(domain: str) -> list[Template]:
    """Those of one domain."""
    return [template for template in library().templates.values() if template.domain == domain]


def used(domain: str, folder: Path) -> Catalog:
    """A catalog of every entry of a domain, each used under its own name."""
    lines = [f"  - {{use: library/{entry.key}, name: {entry.name}}}" for entry in entries(domain)]
    path = folder / "kpis.yaml"
    path.write_text("\n".join(["version: 1", "kpis:", *lines, ""]))
    return load_catalog(path, {})


def renamed(data: Mapping[str, Any]) -> dict[str, Any]:
    """Properties under names that the library does not know."""
    return {f"my_{name}": content for name, content in data.items()}


def mapped(domain: str, folder: Path) -> Catalog:
    """The same over own events, whose types and properties all have other names."""
    wanted = {event for entry in entries(domain) for event in library().needs(entry)}
    events = {f"my.{event}": {"properties": renamed(library().events[event]["properties"])} for event in wanted}
    kpis = [
        {
            "use": f"library/{entry.key}",
            "name": entry.name,
            "map": {
                event: {"event": f"my.{event}", **{name: f"my_{name}" for name in names}}
                for event, names in library().needs(entry, OWN[domain] - {entry.name}).items()
            },
        }
        for entry in entries(domain)
    ]
    path = folder / "kpis.yaml"
    path.write_text(json.dumps({"version": 1, "events": events, "kpis": kpis}))
    return load_catalog(path, {})


def value(reader: Reader, name: str, case: Case) -> float | None:
    """What the engine says."""
    grain, start = Grain(case.grain), datetime.fromisoformat(case.start).replace(tzinfo=UTC)
    end = window_end(grain, start, ZoneInfo("UTC"))
    where, by = (dict([case.by]), [case.by[0]]) if case.by else ({}, [])
    points = [point for found in reader.series(name, grain, start, end, by=by, where=where).values() for point in found]
    return points[0].value if len(points) == 1 else math.nan


def wrong_values(store: ClickHouse, domain: str, catalog: Catalog, events: Sequence[Sent]) -> list[str]:
    """What is not as it was computed by hand, once the engine has processed the events and the domain's reports."""
    logs = {0: log_of([*events, *REPORTS.get(domain, ())], ARRIVAL)}
    drain(world(store, catalog, logs), logs)
    assert store.query("SELECT reason, message FROM dead_letters") == []
    reader = Reader(store, catalog)
    wrong = []
    for name, expected in CASES[domain].values.items():
        case = expected if isinstance(expected, Case) else Case(expected)
        kpi = catalog.kpi(name)
        median = isinstance(kpi, ConversionKpi) and kpi.measure == "median_time"
        found = value(reader, name, case)
        if found is None or not math.isclose(found, case.value, rel_tol=MEDIAN_ERROR if median else 1e-12):
            wrong.append(f"{name}: {found} instead of {case.value}")
    return wrong


@pytest.mark.parametrize("domain", CASES)
def test_every_entry_gives_what_was_computed_by_hand(domain: str, store: ClickHouse, tmp_path: Path) -> None:
    """Through the real engine, on a few events."""
    assert wrong_values(store, domain, used(domain, tmp_path), CASES[domain].events) == []


@pytest.mark.parametrize("domain", CASES)
def test_every_entry_gives_the_same_over_events_of_other_names(domain: str, store: ClickHouse, tmp_path: Path) -> None:
    """Each event type and property that is used has been mapped."""
    events = [replace(sent, type=f"my.{sent.type}", data=renamed(sent.data)) for sent in CASES[domain].events]
    assert wrong_values(store, domain, mapped(domain, tmp_path), events) == []


def test_every_entry_has_a_value_computed_by_hand() -> None:
    """And nothing else has."""
    cases = {f"{domain}.{name}" for domain, world in CASES.items() for name in world.values}
    assert cases == {template.key for template in library().templates.values()}


def test_every_entry_says_what_a_person_must_know() -> None:
    """In whole sentences where they are sentences, and with two or three real pitfalls."""
    for entry in library().templates.values():
        assert entry.definition.endswith("."), entry.key
        assert len(entry.definition) > 15, entry.key
        assert entry.formula, entry.key
        assert entry.source, entry.key
        assert 2 <= len(entry.pitfalls) <= 3, entry.key
        assert all(pitfall.endswith((".", "!")) for pitfall in entry.pitfalls), entry.key
        assert entry.guard_with, entry.key
        assert entry.levers, entry.key
        assert {"title", "unit", "direction", "role", "perspective"} <= entry.spec.keys(), entry.key


@pytest.mark.parametrize("key", [entry.key for entry in library().templates.values()])
def test_every_entry_can_be_used_alone(key: str, tmp_path: Path) -> None:
    """With the inputs and events that it needs, and no others; filters reach everything it is made of."""
    path = tmp_path / "kpis.yaml"
    path.write_text(f"version: 1\ndefaults: {{currency: EUR}}\nkpis:\n  - {{use: library/{key}, name: mine}}\n")
    catalog = load_catalog(path, {})
    entry = library().find(key)
    parts = {part.name for part in library().closure(entry)} - {entry.name}
    assert set(catalog.kpis) == {"mine"} | parts
    assert catalog.kpi("mine").unit == entry.spec["unit"].replace("currency", "EUR")
    assert set(catalog.events) - {REPORT} == set(library().needs(entry))
    assert all(isinstance(leaf, SimpleKpi | BalanceKpi) for name in parts for leaf in catalog.leaves(catalog.kpi(name)))


def test_every_event_of_the_library_is_used() -> None:
    """With all properties that templates name."""
    needs = [library().needs(entry) for entry in library().templates.values()]
    assert {event for need in needs for event in need} == set(library().events)
    assert not [event for event in library().events if not library().events[event].get("description")]


def test_every_number_asked_for_is_there() -> None:
    """The list that the library was made for, in its words."""
    wanted = """
    sales_growth average_margin arr mrr revenue_per_customer net_revenue_retention net_profit_margin
    gross_margin ebitda working_capital operating_cash_flow roi nps csat cac customer_retention customer_churn
    total_customers new_customers clv complaints complaint_resolution_rate resolution_rate ticket_volume
    first_response_time brand_favourability throughput lead_time cycle_time first_time_right efficiency_ratio
    dso error_tickets employee_retention employee_turnover employee_satisfaction salary_competitiveness
    market_penetration deal_conversion renewal_rate qualified_leads lead_conversion cost_per_lead followers
    downloads click_through_rate impressions shares post_traffic post_traffic_value bounce_rate search_ranking
    brand_mentions likes follows replies comments repeat_purchase visit_to_purchase keywords_per_post
    internal_links_per_post hours_per_asset support_reply_rate hr_complaints new_hire_turnover
    labour_cost_per_project profit_by_region average_monthly_cost deals_won deal_value earned_value cpi spi
    critical_path_length deployment_frequency lead_time_for_changes change_failure_rate time_to_restore
    """
    assert set(wanted.split()) - library().templates.keys() == set()


PAGE = (Path(__file__).parents[1] / "docs/library.md").read_text(encoding="utf-8")


def test_the_page_lists_every_entry() -> None:
    """As the library has it, by domain."""
    rows = re.findall(r"^\| `(\w+\.\w+)` \| (.*) \| (\w+) \| (\w+) \| (.*) \|$", PAGE, re.MULTILINE)
    assert rows == [
        (entry.key, entry.spec["title"], entry.spec["unit"], entry.spec["role"], entry.definition)
        for entry in library().templates.values()
    ]
    assert set(library().domains.values()) <= set(re.findall(r"^## (.*)$", PAGE, re.MULTILINE))


def test_the_example_of_the_page_loads(tmp_path: Path) -> None:
    """With its own events."""
    example = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)[0]
    (tmp_path / "kpis.yaml").write_text(f"version: 1\n{example}")
    kpi = load_catalog(tmp_path, {}).kpi("mrr")
    assert isinstance(kpi, BalanceKpi)
    assert (kpi.event, kpi.entity, kpi.value, kpi.unit) == (
        "billing.subscription_updated",
        "customer",
        "cents / 100",
        "EUR",
    )
