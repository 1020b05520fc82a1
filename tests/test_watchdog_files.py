"""What deploy/ gives Prometheus and Alertmanager, as promtool and amtool read it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from ruamel.yaml import YAML
from watchdogs import DEPLOY, needed, run

from onpace.alerts.metrics import EngineMetrics

RULES = DEPLOY / "prometheus" / "onpace.rules.yml"
ALERTMANAGER = DEPLOY / "alertmanager" / "alertmanager.yml"


def read_yaml(path: Path) -> Any:
    """A YAML file as plain values."""
    return YAML(typ="safe").load(path)


@pytest.fixture(scope="module")
def rules() -> list[dict[str, Any]]:
    """The alerting rules."""
    return [rule for group in read_yaml(RULES)["groups"] for rule in group["rules"]]


def test_every_rule_says_how_bad_it_is_and_what_to_do(rules: list[dict[str, Any]]) -> None:
    """A page at night without an action is noise."""
    for rule in rules:
        assert rule["labels"]["severity"] in ("page", "ticket"), rule["alert"]
        assert set(rule["annotations"]) == {"summary", "action"}, rule["alert"]


def test_every_rule_is_tested_firing_and_quiet(rules: list[dict[str, Any]]) -> None:
    """In the unit tests that promtool runs."""
    cases = [
        case
        for test in read_yaml(RULES.with_name("onpace.rules.test.yml"))["tests"]
        for case in test["alert_rule_test"]
    ]
    for fires in (True, False):
        tested = {case["alertname"] for case in cases if bool(case["exp_alerts"]) == fires}
        assert {rule["alert"] for rule in rules} - tested == set(), f"fires: {fires}"


def test_promtool_accepts_the_rules_and_their_tests_pass(rules: list[dict[str, Any]]) -> None:
    """The watchdog fires when the engine or a processor is gone, and is quiet else."""
    promtool = needed("promtool", "the Prometheus rules are not tested")
    assert f"{len(rules)} rules found" in run(promtool, "check", "rules", str(RULES))
    run(promtool, "check", "config", str(RULES.with_name("prometheus.yml")))
    run(promtool, "test", "rules", str(RULES.with_name("onpace.rules.test.yml")))


def test_amtool_accepts_alertmanagers_configuration() -> None:
    """Two receivers, to be filled in."""
    said = run(needed("amtool", "Alertmanager's configuration is not checked"), "check-config", str(ALERTMANAGER))
    assert "4 inhibit rules" in said
    assert "2 receivers" in said


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        ("alertname=revenue-off-pace kpi=revenue period=2026-11 severity=ticket", "tickets"),
        ("alertname=conversion-low kpi=conversion severity=page dim_region=EU", "pages"),
        ("alertname=orders-odd kpi=orders severity=info", "tickets"),
        ("alertname=pipeline-stale severity=ticket dim_event_type=order.placed", "tickets"),
        ("alertname=OnPaceEngineGone severity=page", "pages"),
    ],
)
def test_pages_page_and_everything_else_is_a_ticket(labels: str, receiver: str) -> None:
    """Whatever it is about."""
    amtool = needed("amtool", "routes are not tested")
    said = run(amtool, "config", "routes", "test", f"--config.file={ALERTMANAGER}", *labels.split())
    assert said.strip().splitlines()[-1] == receiver


def test_nothing_is_repeated_after_alertmanager_has_forgotten_that_it_told() -> None:
    """It remembers for 120 hours unless told otherwise; a longer repeat_interval would not be kept."""
    hours = {"h": 1, "d": 24}

    def repeats(route: dict[str, Any]) -> list[int]:
        own = route.get("repeat_interval", "0h")
        return [int(own[:-1]) * hours[own[-1]], *(hour for one in route.get("routes", []) for hour in repeats(one))]

    assert max(repeats(read_yaml(ALERTMANAGER)["route"])) < 120


def test_a_channel_is_exposed_before_its_first_message() -> None:
    """Prometheus sees a counter grow only if it has seen it before."""
    registry = CollectorRegistry()
    EngineMetrics(registry).expect(["team"])
    text = generate_latest(registry).decode()
    for outcome in ("delivered", "failed", "rejected"):
        assert f'onpace_notifications_total{{channel="team",outcome="{outcome}"}} 0.0' in text
