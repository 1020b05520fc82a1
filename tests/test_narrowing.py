"""The part of a catalog that a rule needs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from processors_fakes import REGION, catalog_of, derived, ratio, simple

from onpace.config.calendars import CalendarRules
from onpace.config.catalog import Catalog
from onpace.config.errors import UnknownName
from onpace.config.narrowing import narrowed
from onpace.config.rules import PaceRule, ThresholdRule

TARGETS = [{"every": "month", "value": 1}]


def shop(**kpi: object) -> Catalog:
    """A ratio with a rule on it, a guardrail, and KPIs that nobody needs."""
    catalog = catalog_of(
        simple("orders", "count", dimensions=REGION, targets=TARGETS, **kpi),
        simple("visits", "count", event="site.visited", dimensions=REGION),
        simple("gross", "sum", value="amount"),
        simple("other", "sum", value="score"),
        ratio("conversion", "orders", "visits", targets=TARGETS, guardrails=["spread"]),
        derived("spread", "gross / orders", targets=TARGETS),
    )
    low = {"name": "low", "kpi": "conversion", "when": "threshold", "below": 1, "notify": ["ops"]}
    rules = [
        ThresholdRule.model_validate(low | {"min_volume": {"kpi": "gross", "at_least": 1}}),
        PaceRule.model_validate({"name": "pace", "kpi": "conversion", "when": "pace"}),
    ]
    return replace(catalog, rules={rule.name: rule for rule in rules})


def test_a_rule_on_windows_needs_its_kpi_its_inputs_and_its_volume() -> None:
    """Targets are nothing to it, and nobody is notified."""
    part = narrowed(shop(), ["low"])
    assert list(part.kpis) == ["orders", "visits", "gross", "conversion"]
    assert not any(kpi.targets or kpi.guardrails for kpi in part.kpis.values())
    assert list(part.rules) == ["low"]
    assert part.rules["low"].notify == ()


def test_a_rule_on_targets_needs_guardrails_too() -> None:
    """Their statuses are in its reasons; inputs keep no targets of their own."""
    part = narrowed(shop(), ["pace"])
    assert list(part.kpis) == ["orders", "visits", "gross", "conversion", "spread"]
    assert [name for name, kpi in part.kpis.items() if kpi.targets] == ["conversion", "spread"]


def test_another_calendar_over_the_same_events_stays() -> None:
    """A source that is silent at the weekend is overdue where one of its KPIs is open then."""
    weekend = CalendarRules.model_validate({"name": "office", "weekend": ["sat", "sun"]})
    closed = shop(calendar=weekend)
    orders = ThresholdRule.model_validate({"name": "few", "kpi": "orders", "when": "threshold", "below": 1})
    assert list(narrowed(replace(closed, rules={"few": orders}), ["few"]).kpis) == ["orders", "gross"]
    assert list(narrowed(replace(shop(), rules={"few": orders}), ["few"]).kpis) == ["orders"]


def test_what_is_judged_keeps_its_targets_and_what_is_read_does_not() -> None:
    """Events that feed nothing of it are left out."""
    part = narrowed(shop(), [], judged=["orders"], read=["other"])
    assert {name: bool(kpi.targets) for name, kpi in part.kpis.items()} == {"orders": True, "other": False}
    assert list(part.events) == ["order.placed"]
    with pytest.raises(UnknownName, match="did you mean 'orders'"):
        narrowed(shop(), [], judged=["order"])
