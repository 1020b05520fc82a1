"""A shop's autumn under a fake clock, through the real engine, a real Alertmanager and a webhook, every message read.

The shop sells 1,000 EUR a day, half of it in the EU, to 100 visitors, and wants that much: 30,000 in November. From the
15th on 60 of the visitors stay away; from the 20th on the EU buys for 40 a day. December is as it should be, until
somebody wants twice as much.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from alerts_fakes import at
from processors_fakes import Record
from processors_world import Worker, world
from stacks import until
from watchdogs import Alertmanager, Receiver

from onpace.alerts.engine import Engine
from onpace.alerts.evidence import Evidence
from onpace.alerts.history import ClickHouseHistory, ClickHouseOutbox
from onpace.alerts.notifiers import Dispatcher
from onpace.alerts.quantities import period_name
from onpace.alerts.senders import senders_for
from onpace.config.calendar import Period
from onpace.config.catalog import Catalog
from onpace.config.loader import load_catalog
from onpace.processors.clickhouse import ClickHouse
from onpace.processors.reader import Reader
from onpace.processors.views import refresh_views

pytestmark = pytest.mark.e2e

STEP = timedelta(hours=12)
FILE = """version: 1
defaults: {{timezone: UTC, owner: sales, lateness: 0s}}
channels:
  - {{name: am, type: alertmanager, url: "{alertmanager}"}}
  - {{name: hook, type: webhook, url: "{hook}/hook"}}
events:
  order.placed: {{properties: {{amount: {{type: number, decimal: 2}}, region: {{type: string}}}}}}
  site.visited: {{properties: {{people: {{type: integer}}}}}}
kpis:
  - name: revenue
    title: Revenue
    unit: EUR
    type: simple
    event: order.placed
    agg: sum
    value: amount
    dimensions: [region]
    grain: 1h
    direction: higher_is_better
    role: lagging
    targets:
      - {{every: month, value: {target}, headline: true}}
      - {{every: month, value: 15000, by: {{region: EU}}}}
  - name: visitors
    title: Visitors
    unit: people
    type: simple
    event: site.visited
    agg: sum
    value: people
    grain: 1h
    direction: higher_is_better
    role: leading
    drives: [{{kpi: revenue, lag: 1d..7d, sign: "+"}}]
    targets: [{{every: month, value: 3000}}]
rules:
  - {{name: revenue-off-pace, kpi: revenue, when: pace, at: off_track, after: 10%, for: 12h, notify: [am, hook]}}
  - {{name: visitors-off-pace, kpi: visitors, when: pace, at: off_track, after: 10%, for: 12h, notify: [am, hook]}}
"""


def sales(moment: datetime) -> dict[str, float]:
    """What is sold in the twelve hours that begin here, by region."""
    quiet = at("2025-11-20") <= moment < at("2025-12-01")
    return {"EU": 20.0 if quiet else 250.0, "US": 250.0}


def visitors(moment: datetime) -> int:
    """Who comes in the twelve hours that begin here."""
    return 20 if at("2025-11-15") <= moment < at("2025-12-01") else 50


LATE = 5_060.0
"""What the EU turns out to have bought on November 25: just what was missing."""


class Shop:
    """The stream, the processor, the engine and who is told, moved by hand."""

    def __init__(self, store: ClickHouse, folder: Path, receiver: Receiver, alertmanager: Alertmanager) -> None:
        self._store, self._folder, self.receiver, self._alertmanager = store, folder, receiver, alertmanager
        self._outbox = ClickHouseOutbox(store)
        self.clock = at("2025-01-01")
        self.told: list[tuple[datetime, dict[str, Any]]] = []
        """What the webhook was told, and when by the shop's clock."""
        self._log: list[Record] = []
        self.catalog = self._catalog()
        refresh_views(store, self.catalog, "events")
        self._worker: Worker = world(store, self.catalog, {0: self._log})
        self.dispatcher = Dispatcher(
            senders_for(self.catalog.channels.values()),
            self._outbox,
            clock=lambda: datetime.now(UTC),  # Alertmanager has no other
            resend=timedelta(minutes=1),
        )
        self.dispatcher.start()
        self._start_engine()

    def _catalog(self, target: int = 30_000) -> Catalog:
        text = FILE.format(alertmanager=self._alertmanager.url, hook=self.receiver.url, target=target)
        (self._folder / "shop.yaml").write_text(text)
        return load_catalog(self._folder, {})

    def _start_engine(self) -> None:
        history, told = ClickHouseHistory(self._store), self.dispatcher.told
        reader = Reader(self._store, self.catalog)
        evidence = Evidence(self.catalog, reader)
        self.engine = Engine(self.catalog, reader, history, self.dispatcher, evidence=evidence, told_before=told)

    def want(self, revenue: int) -> None:
        """Another target in the KPI files, taken up at once."""
        self.catalog = self._catalog(revenue)
        self._worker.adopt(self.catalog)
        self._start_engine()

    def send(self, kind: str, moment: datetime, **data: object) -> None:
        """An event that arrives now."""
        event = {"specversion": "1.0", "id": str(len(self._log)), "source": "/shop", "type": kind}
        event |= {"time": moment.isoformat(), "data": data}
        self._log.append(Record(len(self._log), int(self.clock.timestamp() * 1000), json.dumps(event).encode()))

    def open(self, until_: str) -> None:
        """Sell to the end of that time; nobody looks yet."""
        while self.clock < at(until_):
            self._sell()
        self._take()

    def live(self, until_: str) -> None:
        """Sell, and evaluate twice a day, to the end of that time."""
        while self.clock < at(until_):
            self._sell()
            self._take()
            self._evaluate()

    def _sell(self) -> None:
        middle = self.clock + STEP / 2
        for region, amount in sales(self.clock).items():
            self.send("order.placed", middle, amount=amount, region=region)
        self.send("site.visited", middle, people=visitors(self.clock))
        self.clock += STEP

    def _take(self) -> None:
        self._worker.take(0, len(self._log))
        self._worker.flush(caught_up={0: self.clock})

    def _evaluate(self) -> None:
        self.engine.evaluate(self.clock, notify=True)
        until(lambda: not self._outbox.waiting(), "all is delivered")
        self.told += [(self.clock, body) for body in self.receiver.bodies("/hook")[len(self.told) :]]
        until(lambda: self._outside() == self._inside(), "Alertmanager has told what it was told")

    def _inside(self) -> set[tuple[str, str]]:
        """By the webhook: who fires."""
        last = {_who(body["labels"]): body["state"] for body in self.receiver.bodies("/hook")}
        return {who for who, state in last.items() if state == "firing"}

    def _outside(self) -> set[tuple[str, str]]:
        """By Alertmanager's messages: who fires."""
        told = [alert for body in self.receiver.bodies("/tickets") for alert in body["alerts"]]
        last = {_who(alert["labels"]): alert["status"] for alert in told}
        return {who for who, state in last.items() if state == "firing"}


def _who(labels: dict[str, str]) -> tuple[str, str]:
    return " ".join([labels["kpi"], *([labels["dim_region"]] if "dim_region" in labels else [])]), labels["period"]


@pytest.fixture
def shop(store: ClickHouse, tmp_path: Path) -> Iterator[Shop]:
    """Since January, without a look before November."""
    with ExitStack() as held:
        receiver = Receiver()
        held.callback(receiver.close)
        alertmanager = held.enter_context(Alertmanager(tmp_path / "alertmanager", receiver.url))
        (tmp_path / "kpis").mkdir()
        made = Shop(store, tmp_path / "kpis", receiver, alertmanager)
        held.callback(made.dispatcher.stop)
        made.open("2025-11-01")
        yield made


def worth(who: str, until_: datetime, late: float = 0.0) -> str:
    """A recount of a KPI from the start of the month to that time, as people read it."""
    moment, total = (until_ - timedelta(seconds=1)).replace(day=1, hour=0, minute=0, second=0), late
    while moment < until_:
        sold = sales(moment)
        total += {"visitors": visitors(moment), "revenue": sum(sold.values()), "revenue EU": sold["EU"]}[who]
        moment += STEP
    return f"{total:,.0f} {'people' if who == 'visitors' else 'EUR'}"


def test_a_month_that_is_missed_is_told_in_few_messages_and_the_right_ones(shop: Shop) -> None:
    """Quiet at first; a leading KPI, a segment, the total; the end of the month; a late correction; another target."""
    shop.live("2025-12-03")
    shop.send("order.placed", at("2025-11-25 12:00"), amount=LATE, region="EU")
    shop.live("2025-12-05")
    shop.want(60_000)
    shop.live("2025-12-08")
    shop.want(30_000)
    shop.live("2025-12-10")

    november, december = at("2025-12-01"), "2025-12"
    wanted = [
        ("2025-11-17 00:00", "visitors", "2025-11", "firing", "off track"),
        ("2025-11-22 00:00", "revenue EU", "2025-11", "firing", "off track"),
        ("2025-11-23 12:00", "revenue", "2025-11", "firing", "off track"),
        ("2025-12-01 00:00", "revenue", "2025-11", "resolved", "missed"),
        ("2025-12-01 00:00", "revenue EU", "2025-11", "resolved", "missed"),
        ("2025-12-01 00:00", "visitors", "2025-11", "resolved", "missed"),
        ("2025-12-03 12:00", "revenue", "2025-11", "resolved", "met"),
        ("2025-12-03 12:00", "revenue EU", "2025-11", "resolved", "met"),
        ("2025-12-06 00:00", "revenue", december, "firing", "off track"),
        ("2025-12-08 12:00", "revenue", december, "resolved", "on track"),
    ]
    by_time = sorted(shop.told, key=lambda one: (one[0], _who(one[1]["labels"])))  # at one time they come in any order
    told = [(f"{when:%Y-%m-%d %H:%M}", *_who(body["labels"]), body["state"]) for when, body in by_time]
    assert told == [line[:4] for line in wanted]
    for (when, who, period, _, words), (_, body) in zip(wanted, by_time, strict=True):
        annotations, upto = body["annotations"], min(at(when), november) if period == "2025-11" else at(when)
        value = worth(who, upto, late=LATE if words == "met" else 0.0)
        assert annotations["value"] == value, annotations
        month = period_name(Period.parse(period))
        assert all(fact in annotations["summary"] for fact in (words, value, month)), annotations
        assert "Visitors" in annotations["description"], annotations  # itself, or as what leads revenue
        named = annotations.get("segments", "").startswith("Region EU explains all of the gap")
        assert named == (who == "revenue" and (period, words) in {("2025-11", "off track"), ("2025-11", "missed")})
    assert len({body["key"] for _, body in shop.told}) == len(shop.told)

    outside = [
        (body["status"], body["groupLabels"], sorted((*_who(one["labels"]), one["status"]) for one in body["alerts"]))
        for body in shop.receiver.bodies("/tickets")
    ]
    group = {"kpi": "revenue", "period": "2025-11"}
    total, eu, visits = ("revenue", "2025-11"), ("revenue EU", "2025-11"), ("visitors", "2025-11")
    ends = [
        ("resolved", group, [(*total, "resolved"), (*eu, "resolved")]),
        ("resolved", {"kpi": "visitors", "period": "2025-11"}, [(*visits, "resolved")]),
    ]
    assert outside[:3] == [
        ("firing", {"kpi": "visitors", "period": "2025-11"}, [(*visits, "firing")]),
        ("firing", group, [(*eu, "firing")]),
        ("firing", group, [(*total, "firing"), (*eu, "firing")]),
    ]
    assert sorted(outside[3:5], key=lambda one: one[1]["kpi"]) == ends
    assert outside[5:] == [
        (state, {"kpi": "revenue", "period": december}, [("revenue", december, state)])
        for state in ("firing", "resolved")
    ]
    assert shop.receiver.bodies("/pages") == []
