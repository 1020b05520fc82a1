"""`onpace why` over the real store: a stopped data folder, a server, and a stack that runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from stacks import Server, Up, onpace, output, until

pytestmark = pytest.mark.e2e

KPIS = """\
version: 1
defaults: {timezone: Europe/Berlin}
events:
  order.placed:
    properties: {amount: {type: number, decimal: 2}, region: {type: string}}
    required: [amount]
kpis:
  - name: revenue
    title: Revenue
    unit: EUR
    event: order.placed
    agg: sum
    value: amount
    dimensions: [region]
    grain: 1h
    direction: higher_is_better
    role: lagging
    targets: [{every: month, value: 7200}]
  - name: orders
    event: order.placed
    agg: count
    grain: 1h
    level: individual
    owner: anna
    direction: higher_is_better
    role: leading
channels: [{name: book, type: log}]
rules:
  - {name: low, kpi: revenue, when: threshold, below: 8, grain: hour, by: [region], notify: [book]}
  - {name: off-pace, kpi: revenue, when: pace, after: 10%, notify: [book]}
  - {name: silent, kpi: revenue, when: no_data, after: 2s, notify: [book]}
  - {name: annas, kpi: orders, when: no_data, after: 2s}
"""
BEGIN = datetime(2026, 9, 1, tzinfo=UTC)


def order(number: int, at: datetime, amount: float, region: str) -> dict[str, Any]:
    """One event."""
    about = {"specversion": "1.0", "id": f"o{number}", "source": "/shop", "type": "order.placed"}
    return about | {"time": at.isoformat(), "data": {"amount": amount, "region": region}}


def orders() -> Iterator[dict[str, Any]]:
    """10 EUR an hour in each region up to September 20; on the 18th at 10:00 UTC (noon in Berlin) only 5 in the EU."""
    for hour in range(20 * 24):
        at = BEGIN + timedelta(hours=hour, minutes=30)
        for place, region in enumerate(("EU", "US")):
            low = region == "EU" and at == datetime(2026, 9, 18, 10, 30, tzinfo=UTC)
            yield order(2 * hour + place, at, 5 if low else 10, region)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder in which all of it was replayed, and stopped."""
    made = tmp_path_factory.mktemp("why")
    (made / "kpis").mkdir()
    (made / "kpis" / "shop.yaml").write_text(KPIS)
    (made / "orders.jsonl").write_text("".join(json.dumps(one) + "\n" for one in orders()))
    where = ("--data", made / "data", "--kpis", made / "kpis")
    done = onpace("up", *where, "--replay", made / "orders.jsonl", "--exit")
    assert done.returncode == 0, done.stderr
    return made


NOON = """\
low: Revenue: fires below 8 EUR, each hour, by region
At 2026-09-18 13:00 Europe/Berlin:

region EU: firing since 2026-09-18 13:00: 5 is below 8
  judged on: 2026-09-18 12:00 to 13:00
  nobody was told: no message is on record (a replay tells nobody)
  2026-09-18 13:00  firing     5 is below 8
  2026-09-18 14:00  resolved   10 is within bounds

region US: did not fire: 10 is within bounds; it fires below 8 EUR
  judged on: 2026-09-18 12:00 to 13:00

Judged on the numbers as they are now; the timeline has what was known then.
"""


def test_a_stopped_folder_answers(folder: Path) -> None:
    """Times are those of the KPI's zone."""
    assert output("why", "low", "--at", "2026-09-18T13:00", "--data", folder / "data") == NOON


def test_a_server_answers_the_same(folder: Path) -> None:
    """Its address is in the environment."""
    with Server(folder / "data") as server:
        asked = ("why", "low", "--at", "2026-09-18T11:00Z", "--kpis", folder / "kpis")
        assert output(*asked, ONPACE_CLICKHOUSE__URL=server.url) == NOON


def test_a_period_rule_answers_as_json(folder: Path) -> None:
    """At the end of the replay: 9,595 are expected to be 4,800 of 7,200."""
    found = json.loads(output("why", "off-pace", "--data", folder / "data", "--format", "json"))
    [alert] = found["alerts"]
    assert (found["timezone"], alert["period"], alert["state"]) == ("Europe/Berlin", "2026-09", "inactive")
    assert alert["why"].startswith("did not fire: on track: 9,595 of")
    assert alert["inputs"]["actual"] == 9595


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lo"], "unknown rule 'lo' (did you mean 'low'?)"),
        (["low", "--series", "region"], "--series 'region': write dimension=value"),
        (["low", "--series", "region=XX"], "rule 'low' has no such series: there are region EU, region US"),
        (["low", "--at", "noon"], "'noon' is not a date or time"),
        (["low", "--at", "2999-01-01"], "2998-12-31 23:00 UTC is yet to come"),
        (["low", "--period", "2026-09"], "rule 'low' is about windows"),
        (["off-pace", "--period", "2026-13"], "--period: '2026-13' is not a period"),
    ],
)
def test_a_mistake_is_one_line(folder: Path, arguments: list[str], message: str) -> None:
    """That says what to do."""
    done = onpace("why", *arguments, "--data", folder / "data")
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {message}")
    assert done.stderr.count("\n") == 1


def test_a_running_stack_answers_by_command_and_on_its_page(folder: Path) -> None:
    """It fires, and whom it told; nothing of what is individual."""
    up = Up(folder / "data", "--kpis", folder / "kpis").until_ready()
    try:
        sent = order(10_000, datetime.now(UTC), 10, "EU")
        answer = httpx.post(up.address("gateway"), json=sent, headers={"content-type": "application/cloudevents+json"})
        assert answer.status_code in (200, 202), answer.text

        def why(**asked: str) -> httpx.Response:
            return httpx.get(f"{up.address('status page')}/api/why", params=asked, timeout=20)

        def told() -> bool:
            found = why(rule="silent").json()
            return "told book at" in found["alerts"][0]["told"]

        until(lambda: why(rule="silent").status_code == 200, "an answer")
        until(told, "the message about the silence")
        text = output("why", "silent", "--data", folder / "data")
        assert "silent: Revenue: fires after 2s of silence" in text
        assert "\nfiring since " in text
        assert "no order.placed event since" in text
        assert "told to book at" in text
        of_eu, _, _ = NOON.partition("\n\nregion US")  # the US fire later, for want of orders
        assert why(rule="low", at="2026-09-18T13:00", format="text").text.startswith(of_eu)
        assert [why(rule=rule).status_code for rule in ("annas", "lo")] == [404, 404]
        assert [why(rule="low", **more).status_code for more in ({"series": "EU"}, {"at": "x"})] == [422, 422]
    finally:
        assert up.stop() == 0
