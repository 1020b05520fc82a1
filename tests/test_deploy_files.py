"""The files that operations use: what can be checked of them without a container engine is checked here."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from ruamel.yaml import YAML
from watchdogs import needed, run

from onpace.alerts.collector import KpiCollector
from onpace.alerts.metrics import EngineMetrics
from onpace.config.catalog import Catalog
from onpace.config.loader import load_catalog
from onpace.config.settings import Settings
from onpace.deploy.dashboard import dashboard, panel_queries, render
from onpace.deploy.demo import KPIS
from onpace.deploy.reloading import LiveCatalog
from onpace.processors.clickhouse import ClickHouse
from onpace.processors.metrics import ProcessorMetrics
from onpace.processors.views import refresh_views

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"
FLIGHTS = ROOT / "docs" / "examples" / "flights" / "kpis"


def read_yaml(path: Path) -> Any:
    """A YAML file as plain values, merges applied."""
    return YAML(typ="safe").load(path)


@pytest.fixture(scope="module")
def shop() -> Catalog:
    """The demo shop's catalog."""
    return load_catalog(KPIS)


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    """The services of the compose file."""
    found: dict[str, Any] = read_yaml(DEPLOY / "compose.yaml")["services"]
    return found


def test_the_committed_dashboard_is_the_generated_one(shop: Catalog) -> None:
    """Run `onpace dashboards` when this fails."""
    assert (DEPLOY / "grafana" / "dashboards" / "onpace.json").read_text() == render(shop)


def test_every_kpi_is_on_the_dashboard_and_no_panels_overlap(shop: Catalog) -> None:
    """Each has a chart, and those with a target a status."""
    panels = dashboard(shop)["panels"]
    titles = [panel["title"] for panel in panels]
    assert [f"{kpi.title} (hour)" for kpi in shop.kpis.values()] == [title for title in titles if "(hour)" in title]
    assert {kpi.title for kpi in shop.kpis.values() if kpi.headline} <= set(titles)
    cells: set[tuple[int, int]] = set()
    for grid in (panel["gridPos"] for panel in panels):
        covered = {(grid["x"] + x, grid["y"] + y) for x in range(grid["w"]) for y in range(grid["h"])}
        assert not covered & cells
        assert max(x for x, _ in covered) < 24
        cells |= covered
    assert len({panel["id"] for panel in panels}) == len(panels)


@pytest.mark.parametrize("folder", [KPIS, FLIGHTS], ids=["shop", "flights"])
def test_every_sql_of_the_dashboard_runs_on_the_engine(store: ClickHouse, folder: Path) -> None:
    """Against the views that the same catalog gets; Grafana's macro stands for two comparisons."""
    catalog = load_catalog(folder)
    refresh_views(store, catalog, "events")
    queries = [query for query in panel_queries(dashboard(catalog)) if query.language == "sql"]
    assert len(queries) == len(catalog.kpis)
    for query in queries:
        sql = re.sub(r"\$__timeFilter\((\w+)\)", r"\1 >= toDateTime(0) AND \1 <= toDateTime(4000000000)", query.text)
        assert "$__" not in sql
        assert store.query(sql) == []


def test_every_promql_of_the_dashboard_is_valid(shop: Catalog, tmp_path: Path) -> None:
    """promtool reads each as a recording rule."""
    promtool = needed("promtool", "the PromQL of the dashboard is not checked")
    queries = [query for query in panel_queries(dashboard(shop)) if query.language == "promql"]
    rules = [{"record": f"panel:query_{at}", "expr": query.text} for at, query in enumerate(queries)]
    with (tmp_path / "rules.yml").open("w") as file:
        YAML().dump({"groups": [{"name": "panels", "rules": rules}]}, file)
    assert f"{len(rules)} rules found" in run(promtool, "check", "rules", str(tmp_path / "rules.yml"))


def exported_names(catalog: Catalog) -> set[str]:
    """Every metric name that OnPace exports, with the suffixes of counters and histograms."""
    registry = CollectorRegistry()
    ProcessorMetrics(registry)
    EngineMetrics(registry, "0")
    LiveCatalog(Settings(), catalog, registry)
    families = [*registry.collect(), *KpiCollector(lambda: catalog, lambda: None).describe()]
    suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}
    gateway = {"onpace_gateway_requests_total", "onpace_gateway_events_total"}
    return gateway | {family.name + suffix for family in families for suffix in suffixes.get(family.type, ("",))}


def test_rules_and_panels_ask_only_for_metrics_that_exist(shop: Catalog) -> None:
    """A renamed metric would silence them without a word."""
    rules = (DEPLOY / "prometheus" / "onpace.rules.yml").read_text()
    texts = [rules, *(query.text for query in panel_queries(dashboard(shop)) if query.language == "promql")]
    assert {name for text in texts for name in re.findall(r"onpace_\w+", text)} <= exported_names(shop)


def test_docker_compose_accepts_the_file() -> None:
    """`docker compose config` resolves every variable, merge and dependency."""
    docker = needed("docker", "the compose file is only read as YAML")
    if subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode != 0:
        pytest.skip("DOCKER HAS NO COMPOSE PLUGIN: the compose file is only read as YAML")
    run(docker, "compose", "-f", str(DEPLOY / "compose.yaml"), "config", "--quiet")


def test_every_image_is_pinned_and_every_server_is_checked(services: dict[str, Any]) -> None:
    """No `latest`; OnPace's own parts have the image's health check."""
    for name, service in services.items():
        _, _, tag = service["image"].rpartition(":")
        assert re.search(r"\d+\.\d+", tag), name
        assert "build" in service or service["healthcheck"]["test"][0] == "CMD", name
    assert "HEALTHCHECK" in (DEPLOY / "Dockerfile").read_text()


def test_everything_that_is_mounted_exists(services: dict[str, Any]) -> None:
    """A missing file would be mounted as an empty folder."""
    for service in services.values():
        for volume in service["volumes"]:
            source = re.sub(r"\$\{\w+:-(.*?)\}", r"\1", volume).split(":")[0]
            assert not source.startswith(".") or (DEPLOY / source).exists(), volume


def test_the_parts_are_commands_with_settings_that_exist(
    services: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The images' commands and environment, as they are."""
    parts = {name: service for name, service in services.items() if "build" in service}
    assert set(parts) == {"migrate", "gateway", "process", "alert"}
    for name, value in parts["process"]["environment"].items():
        monkeypatch.setenv(name, re.sub(r"\$\{\w+:-(.*?)\}", r"\1", value))
    settings = Settings()
    assert (settings.kafka.bootstrap, settings.clickhouse.url) == ("kafka:9092", "http://clickhouse:8123")
    assert (settings.clickhouse.username, settings.clickhouse.password.get_secret_value()) == ("onpace", "onpace")
    assert (settings.kpis, settings.web.host, settings.web.port) == (Path("/kpis"), "0.0.0.0", 8080)
    for part in parts.values():
        run(str(Path(sys.executable).parent / "onpace"), *part["command"], "--help")


def test_the_compose_stack_notifies_alertmanager_under_the_same_channel_names() -> None:
    """deploy/channels.yaml takes the place of the shop's own."""
    own, stack = (read_yaml(path)["channels"] for path in (KPIS / "channels.yaml", DEPLOY / "channels.yaml"))
    assert [channel["name"] for channel in own] == [channel["name"] for channel in stack]
    assert {channel["type"] for channel in stack} == {"alertmanager"}


def test_the_image_gets_every_package_and_runs_as_nobody_special() -> None:
    """What is listed for shipping is copied, and root is left before the entry point."""
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    folders = {name.split(".")[1] for name in listed}
    assert folders == set(re.findall(r"^COPY (\w+) \w+$", dockerfile, re.MULTILINE))
    assert dockerfile.index("USER onpace") < dockerfile.index("ENTRYPOINT")
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert all(f"!{name}" in ignored for name in (*folders, "pyproject.toml", "constraints.txt", "README.md"))


def test_grafana_is_provisioned_with_what_the_dashboard_uses(shop: Catalog) -> None:
    """Data sources by uid, the user that ClickHouse knows, and its password from the same variable."""
    sources = read_yaml(DEPLOY / "grafana" / "provisioning" / "datasources" / "onpace.yaml")["datasources"]
    uids = {source["uid"]: source["type"] for source in sources}
    used = {
        panel["datasource"]["uid"]: panel["datasource"]["type"]
        for panel in dashboard(shop)["panels"]
        if "targets" in panel
    }
    assert used == uids
    users = ET.parse(DEPLOY / "clickhouse" / "users.d" / "grafana.xml").getroot().find("users")
    assert users is not None
    clickhouse = next(source for source in sources if source["type"].endswith("clickhouse-datasource"))
    user = users.find(clickhouse["jsonData"]["username"])
    assert user is not None
    password = user.find("password")
    assert password is not None
    assert clickhouse["secureJsonData"]["password"] == "$" + password.attrib["from_env"]


def test_the_image_and_make_up_can_deliver_through_apprise() -> None:
    """The extra that a plain install leaves out."""
    assert "constraints.txt '.[apprise]'" in (DEPLOY / "Dockerfile").read_text()
    assert "-e '.[embedded,apprise]'" in (ROOT / "Makefile").read_text()
