"""Notifications: what they say, and that they arrive once their channel takes them."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from alerts_fakes import MemoryHistory, at, catalog_of, simple
from prometheus_client import CollectorRegistry

from onpace.alerts.evaluation import Evaluation
from onpace.alerts.metrics import EngineMetrics
from onpace.alerts.notifications import Notification, compose
from onpace.alerts.notifiers import Dispatcher
from onpace.alerts.senders import AlertmanagerSender, LogSender, Sender, WebhookSender, sender_for, senders_for
from onpace.alerts.states import Alert
from onpace.config.rules import Channel

NOW = at("2026-11-16 12:00")
FIRING = Alert(
    "off-pace",
    "revenue",
    (("region", "EU"), ("tier", None)),
    "2026-11",
    state="firing",
    active_since=NOW - timedelta(hours=3),
    fired_at=NOW - timedelta(hours=1),
    value=40_000.0,
    reason="off track: 40,000 of 50,000 expected by now",
)
CATALOG = catalog_of(
    [
        simple(title="Revenue", unit="EUR"),
        simple("visits", title="Visits", agg="count", value=None, drives=[{"kpi": "revenue", "lag": "1d..7d"}]),
    ]
)


def message(channel: str = "hook", alert: Alert = FIRING) -> Notification:
    """What a channel would be told about the alert."""
    return compose(alert, channel, CATALOG, Evaluation(NOW))


@dataclass
class Receiver:
    """A local HTTP server that records what is posted, and answers what it is told to."""

    url: str = ""
    posts: list[tuple[str, Any, str | None]] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    arrived: threading.Condition = field(default_factory=threading.Condition)

    def wait(self, count: int) -> list[tuple[str, Any, str | None]]:
        """Block until so many posts arrived."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.posts) >= count, timeout=10), self.posts
            return list(self.posts)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver on a free port."""
    found = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with found.arrived:
                self.send_response(found.answers.pop(0) if found.answers else 200)
                self.end_headers()
                found.posts.append((self.path, body, self.headers.get("idempotency-key")))
                found.arrived.notify_all()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    found.url = f"http://127.0.0.1:{server.server_port}"
    yield found
    server.shutdown()
    server.server_close()


class Post:
    """A dispatcher over some senders, its outbox and its metrics."""

    def __init__(self, outbox: MemoryHistory, clock: Callable[[], datetime] = lambda: NOW, **senders: Sender) -> None:
        self.registry = CollectorRegistry()
        self.outbox = outbox
        self.settled = threading.Condition()
        settle = outbox.settle

        def settled(*given: Any) -> None:
            with self.settled:
                settle(*given)
                self.settled.notify_all()

        outbox.settle = settled  # type: ignore[method-assign]
        metrics = EngineMetrics(self.registry)
        resend = timedelta(minutes=1)
        self.dispatcher = Dispatcher(senders, outbox, clock=clock, resend=resend, metrics=metrics, pauses=(0.01,))
        self.attempted = threading.Condition()
        count = self.dispatcher.count

        def counted(*given: Any) -> None:
            with self.attempted:
                count(*given)
                self.attempted.notify_all()

        self.dispatcher.count = counted  # type: ignore[method-assign]
        self.dispatcher.start()

    def drain(self) -> None:
        """Block until nothing waits in the outbox."""
        with self.settled:
            assert self.settled.wait_for(lambda: not self.outbox.waiting(), timeout=10)

    def until(self, channel: str, outcome: str, times: int) -> None:
        """Block until so many attempts ended like this."""
        with self.attempted:
            assert self.attempted.wait_for(lambda: self.count(channel, outcome) >= times, timeout=20), channel

    def count(self, channel: str, outcome: str) -> float:
        """How many attempts ended like this."""
        labels = {"channel": channel, "outcome": outcome}
        return self.registry.get_sample_value("onpace_notifications_total", labels) or 0.0


def test_a_message_says_who_what_and_since_when() -> None:
    """Identity in the labels, values and a sentence in the annotations."""
    one = message()
    assert one.labels == {
        "alertname": "off-pace",
        "service": "onpace",
        "severity": "ticket",
        "kpi": "revenue",
        "period": "2026-11",
        "dim_region": "EU",
        "dim_tier": "(null)",
    }
    assert one.annotations["description"] == (
        "Revenue (region EU, tier (null)) in November 2026: off track: 40,000 of 50,000 expected by now. "
        "Leading: Visits has no target (link unproven). Since 2026-11-16 09:00 UTC."
    )
    assert Notification.from_json(one.to_json()) == one


def test_the_key_is_stable_for_a_transition_and_differs_between_them() -> None:
    """So that a receiver can drop what it knows."""
    later = compose(FIRING, "hook", CATALOG, Evaluation(NOW + timedelta(hours=1)))
    assert message().key == later.key
    assert message("other").key != message().key


def test_a_webhook_gets_each_message_once_with_its_key(receiver: Receiver) -> None:
    """Submitting the same again is ignored."""
    with httpx.Client() as client:
        post = Post(MemoryHistory(), hook=WebhookSender(receiver.url + "/in", client))
        post.dispatcher.submit([message()])
        post.dispatcher.submit([message()])
        post.drain()
        post.dispatcher.stop()
    [(path, body, key)] = receiver.posts
    assert (path, key, body["key"], body["state"]) == ("/in", message().key, message().key, "firing")
    assert post.count("hook", "delivered") == 1


def test_what_was_delivered_before_a_kill_is_not_delivered_again(receiver: Receiver) -> None:
    """The engine was killed before it kept that it had told, so the next one tells the same."""
    outbox = MemoryHistory()
    with httpx.Client() as client:
        for _ in range(2):
            post = Post(outbox, hook=WebhookSender(receiver.url, client))
            post.dispatcher.submit([message()])
            post.drain()
            post.dispatcher.stop()
    assert len(receiver.posts) == 1


def test_a_dead_channel_never_blocks_another(receiver: Receiver) -> None:
    """And what it did not take waits in its outbox for the next start."""
    outbox = MemoryHistory()
    with httpx.Client() as client:
        dead = WebhookSender("http://127.0.0.1:9", client)
        post = Post(outbox, dead=dead, hook=WebhookSender(receiver.url, client))
        post.dispatcher.submit([message("dead"), message("hook")])
        receiver.wait(1)
        post.dispatcher.stop()
        assert [one.channel for one in outbox.waiting()] == ["dead"]
        again = Post(outbox, dead=WebhookSender(receiver.url, client))
        again.drain()
        again.dispatcher.stop()
    assert receiver.posts[-1][2] == message("dead").key


def test_what_waits_for_a_channel_that_changes_goes_where_it_is_now(receiver: Receiver) -> None:
    """The KPI files name another address while messages for the old one could not be delivered."""
    with httpx.Client() as client:
        post = Post(MemoryHistory(), hook=WebhookSender("http://127.0.0.1:9", client))
        post.dispatcher.submit([message()])
        post.dispatcher.serve({"hook": WebhookSender(receiver.url, client)})
        assert receiver.wait(1)[0][2] == message().key
        post.dispatcher.stop()


def test_a_failing_receiver_is_tried_again_and_a_refusing_one_is_not(receiver: Receiver) -> None:
    """500 and 429 pass; 400 will never do."""
    receiver.answers = [500, 429, 200, 400]
    with httpx.Client() as client:
        post = Post(MemoryHistory(), hook=WebhookSender(receiver.url, client))
        post.dispatcher.submit([message()])
        receiver.wait(3)
        post.dispatcher.submit([message(alert=Alert("other", "revenue", state="firing", fired_at=NOW))])
        post.drain()
        post.dispatcher.stop()
    assert [post.count("hook", name) for name in ("failed", "delivered", "rejected")] == [2, 1, 1]


def test_alertmanager_is_told_that_it_fires_for_hours_and_that_it_is_over_now(receiver: Receiver) -> None:
    """It starts when that is first told, so that Alertmanager waits for the rest of its group; resolved is explicit."""
    ended = Alert(
        **{name: getattr(FIRING, name) for name in FIRING.__slots__} | {"state": "resolved", "resolved_at": NOW}
    )
    with httpx.Client() as client:
        post = Post(MemoryHistory(), am=AlertmanagerSender(receiver.url + "/", client))
        post.dispatcher.submit([message("am"), message("am", ended)])
        post.drain()
        post.dispatcher.stop()
    (path, [fires], _), (_, [over], _) = receiver.posts
    assert path == "/api/v2/alerts"
    assert datetime.fromisoformat(fires["endsAt"]) == NOW + timedelta(hours=4)
    assert datetime.fromisoformat(fires["startsAt"]) == NOW
    assert fires["annotations"]["since"] == "2026-11-16 09:00 UTC"
    assert datetime.fromisoformat(over["endsAt"]) == NOW
    assert fires["labels"] == over["labels"]


def test_what_still_fires_is_told_again_every_resend(receiver: Receiver) -> None:
    """To Alertmanager only, all in one request."""
    with httpx.Client() as client:
        am, hook = AlertmanagerSender(receiver.url, client), WebhookSender(receiver.url, client)
        post = Post(MemoryHistory(), am=am, hook=hook)
        both = [message("am"), message("am", Alert("other", "revenue", state="firing", fired_at=NOW)), message("hook")]
        for seconds in (0, 30, 60, 90, 120):
            post.dispatcher.refresh(both, NOW + timedelta(seconds=seconds))
            if seconds in (60, 120):
                receiver.wait(seconds // 60)
        post.dispatcher.stop()
    assert [(path, len(body)) for path, body, _ in receiver.posts] == [("/api/v2/alerts", 2)] * 2


def test_each_channel_type_has_its_sender(receiver: Receiver) -> None:
    """And the log takes everything."""
    with httpx.Client() as client:
        kinds = [
            type(sender_for(Channel(name="c", type=kind, url=receiver.url), client))
            for kind in ("log", "webhook", "alertmanager")
        ]
    assert kinds == [LogSender, WebhookSender, AlertmanagerSender]
    assert list(senders_for([Channel(name="ops", type="log")])) == ["ops"]
    LogSender().send([message()], NOW)
