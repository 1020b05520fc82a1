"""Every part as a process of its own, watched by Prometheus, telling Alertmanager, webhooks and a mail server.

One stack for all tests; each brings a KPI of its own off track. A KPI is the largest amount of its event type this
year, so an event of a few minutes ago moves it at once.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiosmtpd.controller import Controller
from stacks import Running, Server, until
from watchdogs import Alertmanager, Prometheus, Receiver, needed, run

from onpace.config.settings import ClickHouseSettings
from onpace.ingest.embedded_broker import EmbeddedBroker, free_port
from onpace.processors.clickhouse import ClickHouse

pytestmark = pytest.mark.e2e

KPIS = ("revenue", "margin", "orders", "refunds")
HEAD = """version: 1
defaults: {{lateness: 1s, owner: sales}}
channels:
  - {{name: am, type: alertmanager, url: "{alertmanager}"}}
  - {{name: hook, type: webhook, url: "{hook}/hook"}}
  - {{name: late, type: webhook, url: "{hook}/late"}}
  - {{name: mail, type: apprise, url: "mailto://127.0.0.1:{mail}?from=onpace@example.org&to=boss@example.org&mode=insecure"}}
"""
KPI = """  - name: {name}
    title: Largest {name}
    unit: EUR
    type: simple
    event: {name}.booked
    agg: max
    value: amount
    dimensions: [region]
    direction: higher_is_better
    role: lagging
    targets:
      - {{every: year, value: 100, headline: true}}
      - {{every: year, value: 50, by: {{region: EU}}}}
"""
RULES = """rules:
  - {name: revenue-off-pace, kpi: revenue, when: pace, at: off_track, notify: [am, hook]}
  - {name: revenue-low, kpi: revenue, when: attainment, below: 50%, severity: page, notify: [am]}
  - {name: margin-off-pace, kpi: margin, when: pace, at: off_track, notify: [am, hook]}
  - {name: orders-low, kpi: orders, when: attainment, below: 50%, severity: page, notify: [am, hook]}
  - {name: refunds-low, kpi: refunds, when: attainment, below: 50%, notify: [am, hook, late, mail]}
"""


class Part(Running):
    """One part, with its web interface."""

    def __init__(self, name: str, port: int, kpis: Path, **settings: object) -> None:
        super().__init__(name, "--kpis", kpis, "--port", port, **settings)
        self.url = f"http://127.0.0.1:{port}"

    def get(self, path: str) -> str:
        """What it answers there."""
        return httpx.get(self.url + path, timeout=20).raise_for_status().text


class Mailbox:
    """A mail server that is not there until it is opened."""

    def __init__(self) -> None:
        self.port = free_port()
        self.mails: list[EmailMessage] = []
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port)

    def open(self) -> None:
        """Take mail from now on."""
        self._controller.start()

    def close(self) -> None:
        """If it was open."""
        self._controller.stop(no_assert=True)

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        """Keep one."""
        found = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(found, EmailMessage)
        self.mails.append(found)
        return "250 taken"


class Stack:
    """All of it."""

    def __init__(self, folder: Path, held: ExitStack) -> None:
        self.receiver = Receiver()
        held.callback(self.receiver.close)
        self.mailbox = Mailbox()
        held.callback(self.mailbox.close)
        self.alertmanager = Alertmanager(folder / "alertmanager", self.receiver.url, group_wait="3s")
        held.enter_context(self.alertmanager)
        server = held.enter_context(Server(folder / "server"))
        broker = held.enter_context(EmbeddedBroker(free_port()))
        self._settings = {
            "ONPACE_KAFKA__BOOTSTRAP": broker.address,
            "ONPACE_KAFKA__SESSION_TIMEOUT": "6s",
            "ONPACE_CLICKHOUSE__URL": server.url,
            "ONPACE_ENGINE__INTERVAL": "1s",
            "ONPACE_ENGINE__RESEND": "1s",
        }
        self.store = ClickHouse.connect(ClickHouseSettings(url=server.url), folder)
        held.callback(self.store.close)
        self._kpis = folder / "kpis"
        self._write_catalog()
        self._held = held
        self.ports = {f"onpace-{name}": free_port() for name in ("gateway", "process", "alert")}
        self.parts = {name: self._spawn(name) for name in ("process", "gateway", "alert")}
        for part in self.parts.values():
            part.until_printed('"serving"', 120)

    def _write_catalog(self) -> None:
        head = HEAD.format(alertmanager=self.alertmanager.url, hook=self.receiver.url, mail=self.mailbox.port)
        properties = "{properties: {amount: {type: number}, region: {type: string}}}"
        events = "".join(f"  {name}.booked: {properties}\n" for name in KPIS)
        kpis = "".join(KPI.format(name=name) for name in KPIS)
        self._kpis.mkdir()
        (self._kpis / "shop.yaml").write_text(f"{head}events:\n{events}kpis:\n{kpis}{RULES}")

    def _spawn(self, name: str) -> Part:
        part = Part(name, self.ports[f"onpace-{name}"], self._kpis, **self._settings)
        self._held.callback(part.end)
        return part

    def kill_engine(self) -> None:
        """As the kernel would."""
        self.parts["alert"].process.kill()
        self.parts["alert"].process.wait()

    def start_engine(self) -> None:
        """Over the same store."""
        self.parts["alert"] = self._spawn("alert")
        self.parts["alert"].until_printed('"serving"', 120)

    def book(self, kpi: str, **amounts: float) -> None:
        """An event for each region, five minutes ago."""
        at = datetime.now(UTC) - timedelta(minutes=5)
        for region, amount in amounts.items():
            event = {"specversion": "1.0", "id": f"{kpi}{region}{amount}", "source": "/shop", "type": f"{kpi}.booked"}
            event |= {"time": at.isoformat(), "data": {"amount": amount, "region": region}}
            url = f"http://127.0.0.1:{self.ports['onpace-gateway']}/v1/events"
            assert httpx.post(url, json=event, timeout=20).status_code == 202

    def status(self, kpi: str) -> dict[str, Any]:
        """By the status page."""
        found = json.loads(self.parts["alert"].get("/api/status"))["kpis"]
        return next(one for one in found if one["kpi"] == kpi)

    def messages(self, path: str, kpi: str) -> list[tuple[str, list[str]]]:
        """Of Alertmanager's under a path: state, and of each alert the rule and region."""
        found = [body for body in self.receiver.bodies(path) if body["groupLabels"].get("kpi") == kpi]
        return [(body["status"], sorted(_name(one["labels"]) for one in body["alerts"])) for body in found]

    def told(self, path: str, kpi: str) -> list[tuple[str, str]]:
        """Of OnPace's own under a path: rule and region, state."""
        found = [body for body in self.receiver.bodies(path) if body["labels"]["kpi"] == kpi]
        return [(_name(body["labels"]), body["state"]) for body in found]


def _name(labels: dict[str, str]) -> str:
    return " ".join([labels["alertname"], *([labels["dim_region"]] if "dim_region" in labels else [])])


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """All of it, ended in the reverse order."""
    with ExitStack() as held:
        yield Stack(tmp_path_factory.mktemp("stack"), held)


def test_an_off_track_kpi_is_one_message_a_receiver_and_ends_explicitly(stack: Stack) -> None:
    """The total and a segment together; amtool sees who it is, and that it is over once it is."""
    stack.book("revenue", US=40, EU=10)
    both = ["revenue-off-pace", "revenue-off-pace EU"]
    until(lambda: stack.messages("/tickets", "revenue") == [("firing", both)], "one ticket", 60)
    until(lambda: stack.messages("/pages", "revenue") == [("firing", ["revenue-low"])], "one page")
    year = str(datetime.now(UTC).year)
    query = ("alert", "query", "kpi=revenue", "severity=ticket", "--output=json")
    found = {_name(one["labels"]): one for one in json.loads(stack.alertmanager.amtool(*query))}
    labels = {"alertname": both[0], "kpi": "revenue", "owner": "sales", "period": year, "service": "onpace"}
    assert found[both[0]]["labels"] == labels | {"severity": "ticket"}
    assert found[both[1]]["labels"] == labels | {"severity": "ticket", "dim_region": "EU"}
    annotations = found[both[0]]["annotations"]
    assert (annotations["value"], annotations["target"], annotations["unit"]) == ("40 EUR", "100 EUR", "EUR")
    assert "Largest revenue" in annotations["summary"]
    assert [one["receiver"] for one in stack.receiver.bodies("/pages")] == ["pages"]
    stack.book("revenue", EU=200)
    until(lambda: stack.messages("/tickets", "revenue")[1:] == [("resolved", both)], "the ticket ends")
    until(lambda: stack.messages("/pages", "revenue")[1:] == [("resolved", ["revenue-low"])], "the page ends")
    assert json.loads(stack.alertmanager.amtool(*query)) == []
    people = stack.told("/hook", "revenue")  # who have no Alertmanager to group: the total, and not its parts beside it
    assert people == [("revenue-off-pace", "firing"), ("revenue-off-pace", "resolved")]


def test_prometheus_scrapes_every_part_and_has_the_numbers_of_the_status_page(stack: Stack, tmp_path: Path) -> None:
    """Of every KPI, by the scrape configuration as shipped; promtool likes what each part exposes."""
    promtool = needed("promtool", "what the parts expose is not checked")
    stack.book("margin", US=300)
    until(lambda: stack.status("margin")["value"] == 300, "a value", 60)
    for part in stack.parts.values():
        run(promtool, "check", "metrics", text=part.get("/metrics"))
    with Prometheus(tmp_path / "prometheus", stack.alertmanager.url, stack.ports) as prometheus:
        prometheus.until_all_up()
        assert prometheus.healths() == dict.fromkeys(["onpace-gateway", "onpace-process", "onpace-alert"], "up")
        shown = {name: stack.status(name) for name in KPIS}
        fields = {"value": "value", "target": "target", "expected": "expected", "attainment_ratio": "attainment"}
        for metric, field in fields.items():
            found = prometheus.query(f"onpace_kpi_{metric}", by="kpi")
            assert found == {name: one[field] for name, one in shown.items() if one[field] is not None}, metric
        statuses = prometheus.query("max by (status) (onpace_kpi_status{kpi='margin'})", by="status")
        assert [name for name, holds in statuses.items() if holds] == [shown["margin"]["status"]]
        assert httpx.get(f"{prometheus.url}/api/v1/alertmanagers").json()["data"]["activeAlertmanagers"]


def test_a_killed_engine_neither_loses_nor_ends_an_alert(stack: Stack) -> None:
    """Nor is anybody told twice; an Alertmanager that has lost its memory has it again; and it ends when it is over."""
    stack.book("orders", US=30)
    once = [("firing", ["orders-low"])]
    until(lambda: stack.messages("/pages", "orders") == once, "a page", 60)
    [before] = stack.alertmanager.alerts(kpi="orders")
    stack.kill_engine()
    assert [one["status"]["state"] for one in stack.alertmanager.alerts(kpi="orders")] == ["active"]
    stack.start_engine()
    back = datetime.now(UTC)
    until(lambda: _updated(stack, "orders") > back, "told again", 30)
    [after] = stack.alertmanager.alerts(kpi="orders")
    same = ("fingerprint", "startsAt", "labels")
    assert [after[name] for name in same] == [before[name] for name in same]
    assert after["status"]["state"] == "active"
    assert stack.messages("/pages", "orders") == once
    stack.alertmanager.kill()
    stack.alertmanager.start()
    until(lambda: stack.alertmanager.alerts(kpi="orders"), "known again")
    [after] = stack.alertmanager.alerts(kpi="orders")
    assert [after[name] for name in same] == [before[name] for name in same]
    assert stack.told("/hook", "orders") == [("orders-low", "firing")]
    until(lambda: stack.messages("/pages", "orders") == once * 2, "Alertmanager, which forgot, tells of it anew")
    stack.book("orders", US=400)
    until(lambda: stack.messages("/pages", "orders")[2:] == [("resolved", ["orders-low"])], "its end")
    assert stack.alertmanager.alerts(kpi="orders") == []
    assert stack.told("/hook", "orders") == [("orders-low", "firing"), ("orders-low", "resolved")]


def _updated(stack: Stack, kpi: str) -> datetime:
    return max(datetime.fromisoformat(one["updatedAt"]) for one in stack.alertmanager.alerts(kpi=kpi))


def test_what_was_stored_and_not_sent_is_sent_by_the_next_engine_and_a_dead_channel_holds_up_no_other(
    stack: Stack,
) -> None:
    """Mail, a webhook and Alertmanager are away, the engine is killed; each gets a message once, and it reads well."""
    stack.receiver.away.add("/late")
    stack.alertmanager.kill()
    stack.book("refunds", EU=20)
    until(lambda: stack.told("/hook", "refunds") == [("refunds-low", "firing")], "the webhook that is there", 60)
    waiting = "SELECT channel FROM notifications FINAL WHERE settled = 0 ORDER BY channel"
    until(lambda: stack.store.query(waiting) == [("am",), ("late",), ("mail",)], "the others wait")
    stack.kill_engine()
    stack.mailbox.open()
    stack.alertmanager.start()
    stack.receiver.away.clear()
    stack.start_engine()
    until(lambda: stack.messages("/tickets", "refunds") == [("firing", ["refunds-low"])], "Alertmanager", 60)
    stack.book("refunds", EU=500)
    until(lambda: stack.messages("/tickets", "refunds")[1:] == [("resolved", ["refunds-low"])], "its end")
    until(lambda: not stack.store.query(waiting), "nothing waits", 60)
    both = [("refunds-low", "firing"), ("refunds-low", "resolved")]
    assert (stack.told("/hook", "refunds"), stack.told("/late", "refunds")) == (both, both)
    keys = [body["key"] for path in ("/hook", "/late") for body in stack.receiver.bodies(path)]
    assert len(set(keys)) == len(keys)
    fires, over = stack.mailbox.mails
    for mail, words in ((fires, ("20",)), (over, ("resolved", "500"))):
        assert (mail["to"], mail["from"]) == ("boss@example.org", "onpace@example.org")
        assert all(word in mail["subject"].lower() for word in ("largest refunds", str(datetime.now(UTC).year), *words))
    text = str(fires.get_body(("plain",)).get_content()).replace("\xa0", " ")  # type: ignore[union-attr]
    assert all(fact in text for fact in ("Value: 20 EUR", "Target: 100 EUR", "refunds-low", "ticket"))


def test_an_end_that_is_to_come_by_alertmanagers_clock_leaves_the_alert_firing(stack: Stack) -> None:
    """Why an end is told as of when it was, and more than once: so it goes with a clock half a second behind."""
    now = datetime.now(UTC)
    labels, url = {"alertname": "clock", "severity": "ticket"}, f"{stack.alertmanager.url}/api/v2/alerts"
    for ahead in (timedelta(hours=4), timedelta(seconds=0.5)):
        one = {"labels": labels, "startsAt": now.isoformat(), "endsAt": (datetime.now(UTC) + ahead).isoformat()}
        assert httpx.post(url, json=[one]).is_success
    time.sleep(0.6)
    assert stack.alertmanager.alerts(alertname="clock") != []
    assert httpx.post(url, json=[one]).is_success
    assert stack.alertmanager.alerts(alertname="clock") == []
