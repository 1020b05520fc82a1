"""A catalog with nothing to find in it, to be changed; and what the linter says about it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from copy import deepcopy
from datetime import date
from pathlib import Path
from typing import Any

from onpace.config.lint.evidence import Evidence
from onpace.config.lint.findings import Finding
from onpace.config.lint.linter import lint
from onpace.config.lint.scope import Scope
from onpace.config.loader import load_with_places

TODAY = date(2026, 11, 24)
Content = dict[str, Any]
Change = Callable[[Content], object]

ORDER: Content = {
    "expected_every": "1h",
    "properties": {
        "user_id": {"type": "string"},
        "amount": {"type": "number"},
        "region": {"type": "string", "enum": ["EU", "US"]},
        "address": {"type": "object", "properties": {"city": {"type": "string"}}},
        "gift": {"type": "boolean"},
    },
}
VISIT: Content = {"expected_every": "1h", "properties": {"region": {"type": "string"}, "page": {"type": "string"}}}


def kpi(name: str, **more: Any) -> Content:
    """A simple KPI over orders, with everything that makes it specific."""
    given = {"name": name, "title": name.title(), "description": f"What {name} counts.", "unit": "orders"}
    kind = {"type": "simple", "event": "order.placed", "agg": "count"}
    return given | kind | {"direction": "higher_is_better", "role": "leading"} | more


def ratio(name: str, numerator: str, denominator: str, **more: Any) -> Content:
    """A ratio of two KPIs."""
    made = {"type": "ratio", "numerator": numerator, "denominator": denominator, "unit": "ratio"}
    return {key: value for key, value in (kpi(name) | made | more).items() if key not in ("event", "agg")}


def conversion(name: str = "bought", **more: Any) -> Content:
    """Visits that become orders."""
    made = {
        "type": "conversion",
        "base": {"event": "page.seen", "filter": "page = 'checkout'"},
        "conversion": {"event": "order.placed"},
        "entity": "region",
        "window": "7d",
        "constant": ["region"],
        "drives": [{"kpi": "revenue", "lag": "1d"}],
    }
    return {key: value for key, value in (kpi(name) | made | more).items() if key not in ("event", "agg")}


def balance(name: str = "stock", **more: Any) -> Content:
    """The last amount of each user."""
    made = {"type": "balance", "entity": "user_id", "value": "amount", "drives": [{"kpi": "revenue", "lag": "1d"}]}
    return {key: value for key, value in (kpi(name) | made | more).items() if key != "agg"}


def reported(name: str = "nps", **more: Any) -> Content:
    """A value that people report each month."""
    made = {"type": "reported", "cadence": "month", "drives": [{"kpi": "revenue", "lag": "1d"}]}
    return {key: value for key, value in (kpi(name) | made | more).items() if key not in ("event", "agg")}


def clean() -> Content:
    """An objective with a lagging KPI, two leading ones and a guardrail."""
    monthly = [{"every": "month", "value": 1000}]
    return {
        "version": 1,
        "defaults": {"owner": "sales"},
        "events": {"order.placed": deepcopy(ORDER), "page.seen": deepcopy(VISIT)},
        "objectives": [
            {
                "name": "grow",
                "title": "Sell more",
                "period": "2026-Q4",
                "key_results": [{"kpi": "revenue", "from": 1, "value": 3000}],
            }
        ],
        "kpis": [
            kpi(
                "revenue",
                agg="sum",
                value="amount",
                unit="EUR",
                role="lagging",
                dimensions=["region"],
                levers=["more visits"],
                guardrails=["gifts"],
                targets=deepcopy(monthly),
            ),
            kpi("orders", dimensions=["region"]),
            kpi("visits", event="page.seen", dimensions=["region"], unit="pages"),
            ratio(
                "conversion",
                "orders",
                "visits",
                objective="grow",
                levers=["a shorter form"],
                guardrails=["gifts"],
                targets=[{"every": "month", "value": 0.5, "tolerance": 0.02}],
            ),
            kpi(
                "shoppers",
                agg="count_distinct",
                value="user_id",
                unit="people",
                objective="grow",
                levers=["advertising"],
                guardrails=["gifts"],
                targets=[{"every": "month", "value": 100}],
            ),
            kpi("gifts", filter="gift", direction="lower_is_better"),
        ],
        "channels": [{"name": "log", "type": "log"}],
        "rules": [{"name": "low", "kpi": "orders", "when": "threshold", "below": 5, "notify": ["log"]}],
    }


def of(content: Content, name: str) -> Content:
    """The KPI of that name in a file."""
    found: Content = next(kpi for kpi in content["kpis"] if kpi["name"] == name)
    return found


def linted(
    folder: Path, change: Change = lambda content: None, evidence: Evidence | None = None, today: date = TODAY
) -> list[Finding]:
    """All findings about the changed catalog."""
    content = clean()
    change(content)
    path = folder / "kpis.yaml"
    path.write_text(json.dumps(content, indent=1))
    catalog, places = load_with_places(path, {})
    return lint(Scope(catalog, places, today, evidence))


def codes(findings: list[Finding]) -> list[tuple[str, str]]:
    """Code and subject of each that is not waived."""
    return [(one.code, one.subject) for one in findings if one.waived is None]


def setting(name: str, **changes: Any) -> Change:
    """Change keys of one KPI; None removes one."""

    def change(content: Content) -> None:
        found = of(content, name)
        for key, value in changes.items():
            if value is None:
                found.pop(key, None)
            else:
                found[key] = deepcopy(value)

    return change


def objective(**changes: Any) -> Change:
    """Change keys of the objective; None removes one."""

    def change(content: Content) -> None:
        found: Content = content["objectives"][0]
        for key, value in changes.items():
            if value is None:
                found.pop(key, None)
            else:
                found[key] = deepcopy(value)

    return change


def adding(*kpis: Mapping[str, Any]) -> Change:
    """More KPIs."""
    return lambda content: content["kpis"].extend(kpis)


def both(*changes: Change) -> Change:
    """One change after the other."""

    def change(content: Content) -> None:
        for one in changes:
            one(content)

    return change
