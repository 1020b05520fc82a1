"""Silences and acknowledgements by command: through a running stack, in its folder once it stopped, over a restart."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from stacks import Server, Up, onpace, output, rows, until

pytestmark = pytest.mark.e2e

FILE = """version: 1
defaults: {lateness: 1s, timezone: Europe/Berlin}
events:
  order.placed:
    properties: {amount: {type: number, decimal: 2}, region: {type: string}}
    required: [amount]
kpis:
  - name: revenue
    type: simple
    event: order.placed
    agg: sum
    value: amount
    dimensions: [region]
    direction: higher_is_better
    role: lagging
    targets: [{every: year, value: 1000000000}]
  - name: orders
    type: simple
    event: order.placed
    agg: count
    direction: higher_is_better
    role: leading
    targets: [{every: year, value: 1000000}]
channels: [{name: team, type: log}]
rules:
  - {name: behind, kpi: revenue, when: pace, notify: [team]}
  - {name: far-behind, kpi: orders, when: attainment, below: 50%, notify: [team]}
silences:
  - {name: christmas, rule: behind, by: anna, why: Office closed, from: 2030-12-24, until: 2030-12-27}
"""


class Shop:
    """A stack whose KPIs are far behind, with the log as its channel."""

    def __init__(self, folder: Path) -> None:
        self.kpis, self.data = folder / "kpis", folder / "data"
        self.kpis.mkdir()
        (self.kpis / "shop.yaml").write_text(FILE)
        self.up = Up(self.data, "--kpis", self.kpis).until_ready()

    def page(self) -> Any:
        """What the status page shows."""
        return httpx.get(f"{self.up.address('status page')}/api/status", timeout=20).json()

    def alert(self, rule: str) -> dict[str, Any] | None:
        """The one of a rule, if it fires."""
        return next((alert for alert in self.page()["alerts"] if alert["rule"] == rule), None)

    def told(self, rule: str) -> list[str]:
        """The lines of the log channel about a rule."""
        lines = [json.loads(line) for line in self.up.text.splitlines() if '"event": "notification"' in line]
        return [line["description"] for line in lines if line["alertname"] == rule]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """One stack for this module; the tests stand in the order in which they build on each other."""
    found = Shop(tmp_path_factory.mktemp("silences"))
    yield found
    found.up.end()


def test_a_silence_holds_back_what_fires_in_a_running_stack(shop: Shop) -> None:
    """It shows on the status page, in `onpace status`, in the list and in the metrics; nothing is told."""
    added = output(
        "silence", "add", "--rule", "*behind", "--by", "anna", "--why", "deploy", "--for", "2h", "--data", shop.data
    )
    assert re.fullmatch(r"silence [0-9a-f]{8}: rule=\*behind until .* UTC, by anna \(deploy\)\n", added)
    data = {"amount": 5, "region": "EU"}
    lately = (datetime.now(UTC) - timedelta(minutes=10)).isoformat()
    output("emit", "order.placed", json.dumps(data), "--time", lately, "--data", shop.data)
    until(lambda: shop.alert("behind") and shop.alert("far-behind"), "both alerts")
    assert shop.alert("behind")["silenced"]["by"] == "anna"  # type: ignore[index]
    assert "behind, 20" in output("status", "--data", shop.data)
    assert "silenced until" in output("status", "--data", shop.data)
    listed = rows("silence", "list", "--data", shop.data)
    assert [(one["by"], one["state"], one["declared"]) for one in listed] == [
        ("anna", "active", False),
        ("anna", "pending", True),
    ]
    metrics = httpx.get(shop.up.address("metrics"), timeout=20).text
    assert 'onpace_silences{state="active"} 1.0' in metrics
    assert 'onpace_alerts_suppressed{reason="silenced"} 2.0' in metrics
    assert shop.told("behind") == shop.told("far-behind") == []


def test_an_acknowledged_alert_stays_quiet_when_its_silence_is_ended(shop: Shop) -> None:
    """The other one is told, with who ended it."""
    done = output("ack", "behind", "--by", "ben", "--why", "on it", "--data", shop.data)
    assert re.fullmatch(r"behind, \d{4}, firing since .* UTC: acknowledged by ben\n", done)
    until(lambda: shop.alert("behind")["acknowledged"], "an acknowledged alert")  # type: ignore[index]
    [name] = [one["id"] for one in rows("silence", "list", "--data", shop.data) if not one["declared"]]
    assert "is ended by carl" in output("silence", "end", name, "--by", "carl", "--data", shop.data)
    until(lambda: shop.told("far-behind"), "a message")
    assert "Silence by anna (deploy) ended: ended by carl; firing since" in shop.told("far-behind")[0]
    assert shop.told("behind") == []
    assert "acknowledged by ben (on it)" in output("status", "--data", shop.data)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["add", "--rule", "behnd", "--by", "a", "--why", "b", "--for", "1h"], "(did you mean 'behind'?)"),
        (["add", "--rule", "behind", "--why", "b", "--for", "1h"], "a silence needs an author: --by NAME"),
        (["end", "christmas", "--by", "a"], "silence 'christmas' stands in the KPI files"),
        (["end", "nothing", "--by", "a"], "unknown silence 'nothing'"),
    ],
)
def test_a_mistake_is_one_line_that_says_what_to_do(shop: Shop, arguments: list[str], message: str) -> None:
    """Through the running stack, without a traceback."""
    done = onpace("silence", *arguments, "--data", shop.data)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr
    assert message in done.stderr


def test_the_folder_of_a_stopped_stack_takes_them_too(shop: Shop) -> None:
    """A restart finds the new silence, and knows what was acknowledged and told; without a zone a time is the KPI's."""
    shop.up.stop()
    output(
        "silence",
        "add",
        "--rule",
        "behind",
        "--by",
        "dora",
        "--why",
        "night",
        "--until",
        "2031-01-01",
        "--data",
        shop.data,
    )
    [new] = [one for one in rows("silence", "list", "--data", shop.data) if one["by"] == "dora"]
    assert new["until"] == "2030-12-31T23:00:00+00:00"
    states = [(one["by"], one["state"]) for one in rows("silence", "list", "--all", "--data", shop.data)]
    assert sorted(states) == [("anna", "ended"), ("anna", "pending"), ("dora", "active")]
    assert "ended by carl" in output("silence", "list", "--all", "--data", shop.data)
    shop.up = Up(shop.data).until_ready()
    until(lambda: (shop.alert("behind") or {}).get("silenced"), "a silenced alert")
    assert shop.alert("behind")["acknowledged"]["by"] == "ben"  # type: ignore[index]
    assert shop.told("behind") == shop.told("far-behind") == []


def test_a_server_is_written_to_directly(tmp_path: Path) -> None:
    """Where ClickHouse is apart, nothing else has to run."""
    (tmp_path / "shop.yaml").write_text(FILE)
    with Server(tmp_path / "server") as server:
        place = {"ONPACE_CLICKHOUSE__URL": server.url, "ONPACE_KPIS": tmp_path}
        output("migrate", **place)
        output("silence", "add", "--rule", "behind", "--by", "anna", "--why", "deploy", "--for", "1d", **place)
        assert [one["by"] for one in rows("silence", "list", **place)] == ["anna", "anna"]
        done = onpace("ack", "behind", "--by", "ben", **place)
        assert (done.returncode, done.stderr) == (1, "error: no alert that matches fires now. Firing: nothing\n")


def test_without_data_there_is_nothing_to_silence(tmp_path: Path) -> None:
    """A mistyped folder is not made."""
    done = onpace("silence", "list", "--data", tmp_path / "nowhere")
    assert (done.returncode, done.stdout) == (1, "")
    assert "nowhere: name the folder" in done.stderr
    assert not (tmp_path / "nowhere").exists()
