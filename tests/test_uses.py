"""`use: library/…`: what the user says, and what ordinary KPIs come of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from onpace.config.catalog import Catalog
from onpace.config.expressions import parse_event_expression
from onpace.config.kpi import DerivedKpi, RatioKpi, SimpleKpi
from onpace.config.loader import load_catalog
from onpace.config.substitution import EventMap, rename_inputs
from onpace.config.templates import library

EVENTS = """
  basket.paid:
    properties:
      buyer: {type: string}
      total: {type: number, decimal: 2}
      buy_price: {type: number, decimal: 2}
      freight: {type: number, decimal: 2}
      test: {type: boolean}
"""
BASKET = "map: {order.paid: {event: basket.paid, amount: total, cost: buy_price + freight}}"

TOTAL = "type: simple, event: basket.paid, agg: sum, value: total, direction: higher_is_better, role: lagging"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a test writes its files."""
    return tmp_path


def load(folder: Path, *uses: str, defaults: str = "", events: str = EVENTS) -> Catalog:
    """The catalog of a file with these KPIs."""
    lines = [
        "version: 1",
        f"defaults: {{{defaults}}}",
        f"events:{events}",
        "kpis:",
        *(f"  - {{{use}}}" for use in uses),
    ]
    (folder / "kpis.yaml").write_text("\n".join([*lines, ""]))
    return load_catalog(folder, {})


def simple(catalog: Catalog, name: str) -> SimpleKpi:
    """A KPI that must be simple."""
    kpi = catalog.kpi(name)
    assert isinstance(kpi, SimpleKpi)
    return kpi


def test_own_expressions_take_the_place_of_properties(folder: Path) -> None:
    """As one operand each, whatever stands around them."""
    catalog = load(folder, f"use: library/sales.sales_margin, name: margin, {BASKET}")
    assert list(catalog.events) == ["basket.paid"]
    assert (simple(catalog, "margin").event, simple(catalog, "margin").value) == (
        "basket.paid",
        "total - (buy_price + freight)",
    )


def test_an_event_with_the_same_properties_needs_its_name_only(folder: Path) -> None:
    """And keeps every expression as it is."""
    events = "\n  nps.answered:\n    properties: {survey: {type: string}, score: {type: integer}}\n"
    kpi = simple(
        load(folder, "use: library/customer.nps, name: nps, map: {survey.answered: nps.answered}", events=events), "nps"
    )
    assert (kpi.event, kpi.filter, kpi.value) == (
        "nps.answered",
        "survey = 'nps'",
        library().templates["nps"].spec["value"],
    )


def test_events_that_are_neither_mapped_nor_declared_are_declared(folder: Path) -> None:
    """As the library has them; a declaration of one's own stands."""
    catalog = load(folder, "use: library/sales.orders, name: orders", events="")
    assert catalog.events["order.paid"].properties == library().events["order.paid"]["properties"]
    own = "\n  order.paid:\n    expected_every: 1h\n    properties: {amount: {type: number}}\n"
    catalog = load(folder, "use: library/sales.sales, name: sales", events=own)
    assert list(catalog.events["order.paid"].properties) == ["amount"]


def test_keys_beside_use_replace_those_of_the_library(folder: Path) -> None:
    """All but the filter, which narrows."""
    more = "title: Takings, unit: points, grain: 15min, owner: ann, direction: in_range"
    kpi = simple(
        load(
            folder,
            f"use: library/sales.sales, name: takings, {more}, {BASKET.replace(', cost: buy_price + freight', '')}",
        ),
        "takings",
    )
    assert (kpi.title, kpi.unit, kpi.grain, kpi.owner, kpi.direction) == (
        "Takings",
        "points",
        "15min",
        "ann",
        "in_range",
    )
    assert kpi.description == library().templates["sales"].definition
    assert kpi.levers == library().templates["sales"].levers


def test_a_filter_narrows_that_of_the_library(folder: Path) -> None:
    """Neither of them can widen the other."""
    catalog = load(folder, "use: library/finance.revenue, name: eu, filter: region = 'EU' OR region = 'UK'", events="")
    assert simple(catalog, "eu").filter == "(category = 'revenue') AND (region = 'EU' OR region = 'UK')"


def test_inputs_come_along_with_what_is_said_of_the_kpi(folder: Path) -> None:
    """Dimensions and filter are theirs; a target is not."""
    said = "owner: ann, timezone: Asia/Tokyo, dimensions: [buyer], filter: NOT test, targets: [{every: year, value: 1}]"
    catalog = load(
        folder, f"use: library/sales.average_margin, name: margin, {said}, {BASKET}", defaults="currency: CHF"
    )
    assert list(catalog.kpis) == ["margin", "sales_margin", "sales"]
    for part in (simple(catalog, name) for name in ("sales_margin", "sales")):
        assert (part.owner, part.timezone, part.unit, part.filter) == ("ann", "Asia/Tokyo", "CHF", "NOT test")
        assert (part.dimensions, part.targets) == ({"buyer": "buyer"}, ())
    assert catalog.kpi("margin").unit == "ratio"
    assert catalog.kpi("margin").timezone == "Asia/Tokyo"


def test_a_kpi_of_ones_own_takes_the_place_of_an_input(folder: Path) -> None:
    """Under the input's name, or under another one that is given; it may stand further down."""
    catalog = load(folder, f"use: library/sales.average_margin, name: margin, {BASKET}", f"name: sales, {TOTAL}")
    assert list(catalog.kpis) == ["margin", "sales_margin", "sales"]
    assert simple(catalog, "sales").event == "basket.paid"
    given = "use: library/sales.average_margin, name: margin, inputs: {sales: takings}"
    catalog = load(folder, f"{given}, {BASKET}", f"name: takings, {TOTAL}")
    margin = catalog.kpi("margin")
    assert isinstance(margin, RatioKpi)
    assert (margin.denominator, set(catalog.kpis)) == ("takings", {"margin", "sales_margin", "takings"})


def test_only_the_events_of_what_comes_along_matter(folder: Path) -> None:
    """Here `order.paid` has no amount, which only `sales`, one's own, would need."""
    events = f"{EVENTS}  order.paid:\n    properties: {{customer_id: {{type: string}}}}\n"
    catalog = load(
        folder, "use: library/customer.revenue_per_customer, name: arpu", f"name: sales, {TOTAL}", events=events
    )
    assert set(catalog.kpis) == {"arpu", "buyers", "sales"}


def test_an_input_of_two_kpis_is_declared_once(folder: Path) -> None:
    """When both need it alike."""
    catalog = load(folder, "use: library/projects.cpi, name: cost", "use: library/projects.spi, name: time", events="")
    assert list(catalog.kpis) == ["cost", "earned_value", "actual_cost", "time", "planned_value"]


def test_the_currency_is_the_nearest_that_is_said(folder: Path) -> None:
    """Of the KPI, else its own unit, else of the file, else none."""
    uses = [
        "use: library/saas.mrr, name: a, currency: JPY",
        "use: library/saas.mrr, name: b, unit: USD",
        "use: library/saas.mrr, name: c",
    ]
    catalog = load(folder, *uses, events="", defaults="currency: EUR")
    assert [catalog.kpi(name).unit for name in "abc"] == ["JPY", "USD", "EUR"]
    assert load(folder, uses[2], events="").kpi("c").unit == ""
    arr = load(folder, "use: library/saas.arr, name: arr, unit: USD", events="")
    assert [kpi.unit for kpi in arr.kpis.values()] == ["USD", "USD"]


def test_inputs_are_renamed_wherever_they_stand(folder: Path) -> None:
    """Also in offset(…); words in quotes are left alone."""
    spec = {"type": "derived", "expr": "month / offset(month, '1 month') - 1"}
    assert rename_inputs(spec, {"month": "mine"})["expr"] == "mine / offset(mine, '1 month') - 1"
    own = f"name: takings, {TOTAL}"
    growth = load(folder, "use: library/sales.sales_growth, name: growth, inputs: {sales: takings}", own).kpi("growth")
    assert isinstance(growth, DerivedKpi)
    assert growth.expr == "takings / offset(takings, '1 month') - 1"


@pytest.mark.parametrize(
    "text",
    [
        "if(a IN ('x', 'y'), b, -b)",
        "CASE WHEN a >= 9 THEN 100 WHEN a <= 6 THEN -100 ELSE 0 END",
        "NOT a AND b NOT IN (1, 2) OR c IS NULL",
        "a % b - (c - d) / nullif(a, 0)",
        "a LIKE 'it''s %' OR a BETWEEN 1 AND 2",
    ],
)
def test_replacing_a_property_by_itself_changes_no_meaning(text: str) -> None:
    """The expression that is written back is read as the same one."""
    names = parse_event_expression(text).names
    there = EventMap("e", {name: f"my_{name}" for name in names}).expression(text)
    back = EventMap("e", {f"my_{name}": name for name in names}).expression(there)
    assert parse_event_expression(back).names == names
    assert EventMap("e", {names[0]: names[0]}).expression(text) == back
