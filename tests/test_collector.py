"""KPI metrics, the status rows, the scorecard and the page."""

from __future__ import annotations

import io
import json
from dataclasses import replace

from alerts_fakes import at, catalog_of, simple
from prometheus_client import CollectorRegistry, generate_latest
from rich.console import Console
from test_rules import STATUS, pace

from onpace.alerts.collector import KpiCollector
from onpace.alerts.evaluation import Evaluation, Reading
from onpace.alerts.metrics import EngineMetrics
from onpace.alerts.states import Alert
from onpace.alerts.status_page import status_document, status_page, status_rows, status_table

KPIS = [
    simple(
        title="Revenue", unit="EUR", targets=[{"every": "month", "value": 100_000}], dimensions={"region": "region"}
    ),
    simple(
        "conversion", title="Conversion", role="leading", drives=[{"kpi": "revenue", "lag": "1d..7d"}], unit="ratio"
    ),
]
CATALOG = catalog_of(KPIS, [pace(name="off-pace")])
OCTOBER = replace(STATUS, period="2026-10", period_start=at("2026-10-01"), status="missed", final=True)
EVALUATION = Evaluation(
    now=at("2026-11-16 00:10"),
    statuses=(OCTOBER, STATUS),
    readings={"conversion": Reading(0.5, at("2026-11-16"), False)},
    alerts=(
        Alert("off-pace", "revenue", (), "2026-11", state="firing", active_since=at("2026-11-15"), reason="off track"),
        Alert("off-pace", "revenue", (), "2026-10", state="resolved"),
    ),
)


def registry(evaluation: Evaluation | None) -> CollectorRegistry:
    """A registry with a collector over that evaluation."""
    found = CollectorRegistry()
    found.register(KpiCollector(lambda: CATALOG, lambda: evaluation))
    return found


def test_a_kpi_stands_for_its_headline_target_in_the_current_period() -> None:
    """Value, target, expected, attainment, status, completeness."""
    found = registry(EVALUATION)

    def sample(name: str, **more: str) -> float | None:
        return found.get_sample_value(f"onpace_kpi_{name}", {"kpi": "revenue"} | more)

    assert [sample(name) for name in ("value", "target", "expected", "attainment_ratio")] == [
        40_000,
        100_000,
        50_000,
        0.4,
    ]
    assert sample("complete_timestamp_seconds") == at("2026-11-16").timestamp()
    assert (sample("status", status="off_track"), sample("status", status="met"), sample("stale")) == (1, 0, 0)


def test_what_does_not_exist_has_no_sample() -> None:
    """None is not zero."""
    empty = replace(
        STATUS, actual=None, expected=None, attainment=None, target_value=None, as_of=None, status="no_data"
    )
    text = generate_latest(registry(replace(EVALUATION, statuses=(empty,)))).decode()
    for name in ("value", "target", "expected", "attainment_ratio", "complete_timestamp_seconds"):
        assert f'onpace_kpi_{name}{{kpi="revenue"}}' not in text
    assert 'onpace_kpi_status{kpi="revenue",status="no_data"} 1.0' in text
    assert 'onpace_kpi_value{kpi="conversion"} 0.5' in text


def test_alerts_are_counted_by_state() -> None:
    """With zeros, so that a rule that never fired is there too."""
    found = registry(EVALUATION)
    labels = {"rule": "off-pace", "kpi": "revenue", "severity": "ticket"}
    counts = [found.get_sample_value("onpace_alerts", labels | {"state": s}) for s in ("pending", "firing", "resolved")]
    assert counts == [0, 1, 1]


def test_before_the_first_evaluation_there_are_no_samples() -> None:
    """And the engine's metrics share the registry."""
    found = registry(None)
    EngineMetrics(found, version="1.0")
    assert found.get_sample_value("onpace_kpi_value", {"kpi": "revenue"}) is None
    assert found.get_sample_value("onpace_build_info", {"version": "1.0"}) == 1


def test_a_row_has_its_leading_kpis_beneath_and_the_link_is_unproven() -> None:
    """Every KPI has a row of its own too."""
    revenue, conversion = status_rows(EVALUATION, CATALOG)
    assert (revenue["status"], revenue["value"], revenue["gap"]) == ("off_track", 40_000, -10_000)
    assert revenue["previous"] == {"period": "2026-10", "status": "missed", "final": True, "value": 40_000}
    [leading] = revenue["leading"]
    assert (leading["kpi"], leading["status"], leading["link"]) == ("conversion", "no_target", "link unproven")
    assert (conversion["value"], conversion["drives"]) == (0.5, ["revenue"])


def test_the_document_is_json_with_firing_alerts_only() -> None:
    """NaN and the like would break every client."""
    document = json.loads(json.dumps(status_document(EVALUATION, CATALOG), allow_nan=False))
    assert [(alert["rule"], alert["period"]) for alert in document["alerts"]] == [("off-pace", "2026-11")]


def test_the_other_targets_of_a_kpi_are_slices() -> None:
    """EU beneath the total."""
    targets = [{"every": "month", "value": 100_000}, {"every": "month", "value": 40_000, "by": {"region": "EU"}}]
    catalog = catalog_of([simple(targets=targets, dimensions={"region": "region"})])
    eu = replace(STATUS, series=(("region", "EU"),))
    [row] = status_rows(replace(EVALUATION, statuses=(eu, STATUS)), catalog)
    assert row["series"] == {}
    assert [part["series"] for part in row["slices"]] == [{"region": "EU"}]


def test_the_scorecard_shows_the_same_in_a_terminal() -> None:
    """Leading KPIs are indented."""
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(status_table(EVALUATION, CATALOG))
    text = console.export_text()
    assert "Revenue [EUR]" in text
    assert "off track" in text
    assert "↳ Conversion" in text
    assert "link unproven" in text


def test_the_page_needs_nothing_from_elsewhere_and_never_writes_markup() -> None:
    """No external asset; names from KPI files go in as text."""
    page = status_page()
    assert "http" not in page.replace("http-equiv", "")
    assert "innerHTML" not in page
    assert 'fetch("api/status"' in page


def test_a_ratio_is_in_percent_in_a_terminal_and_its_gap_in_points() -> None:
    """As on the page and in the scorecard."""
    catalog = catalog_of(
        [simple(name="revenue", title="Share", unit="ratio", targets=[{"every": "month", "value": 0.1}])]
    )
    status = replace(STATUS, actual=0.1395, target_value=0.1, gap=0.0395)
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(status_table(replace(EVALUATION, statuses=(status,), readings={}, alerts=()), catalog))
    [line] = [one for one in console.export_text().splitlines() if one.startswith("Share")]
    assert line.split("  ")[0] == "Share"
    assert all(words in line for words in ("13.95 %", "10 %", "3.95 pts"))
