"""Channels of type apprise: what arrives at real receivers, once, and what nobody gets to see."""

from __future__ import annotations

import builtins
import json
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from pathlib import Path
from typing import Any

import apprise
import httpx
import pytest
from aiosmtpd.controller import Controller
from alerts_fakes import MemoryHistory
from prometheus_client import generate_latest
from structlog.testing import capture_logs
from test_notifiers import CATALOG, FIRING, NOW, Post, message
from test_rules import STATUS

from onpace.alerts.apprise_sender import AppriseSender, check_apprise, words
from onpace.alerts.evaluation import Evaluation
from onpace.alerts.notifications import Notification, compose
from onpace.alerts.senders import WebhookSender, senders_for
from onpace.alerts.states import Alert
from onpace.config import addresses
from onpace.config.errors import OnPaceError
from onpace.config.loader import load_catalog
from onpace.config.rules import Channel

CORPUS = Path(__file__).parent / "corpus"
SECRET = "t0ken-of-ours"
OFF_PACE = replace(FIRING, series=())
"""With a target: its status is known."""
TITLE = (
    "Revenue is off track in November 2026: "
    "40,000 EUR so far, 50,000 EUR expected by now (−10,000 EUR), target 100,000 EUR"
)
BODY = """\
Value: 40,000 EUR
Target: 100,000 EUR
Expected by now: 50,000 EUR
Gap: −10,000 EUR
Since: 2026-11-16 09:00 UTC
Leading: Visits has no target (link unproven)
Rule off-pace, severity ticket"""


def told(channel: str = "team", alert: Alert = OFF_PACE) -> Notification:
    """A message about a KPI that has a target."""
    return compose(alert, channel, CATALOG, Evaluation(NOW, statuses=(STATUS,)))


@dataclass
class Inbox:
    """What a receiver on loopback took, and where it is."""

    port: int
    taken: list[Any] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    arrived: threading.Condition = field(default_factory=threading.Condition)

    def take(self, one: Any) -> None:
        """Record one."""
        with self.arrived:
            self.taken.append(one)
            self.arrived.notify_all()

    def wait(self, count: int) -> list[Any]:
        """Block until so many arrived."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.taken) >= count, timeout=20), self.taken
            return list(self.taken)


def free_port() -> int:
    """A port on loopback where nobody listens yet."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


Serve = Callable[[Inbox], None]


@pytest.fixture
def closing() -> Iterator[ExitStack]:
    """What a test opened, closed after it."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def serve_json(closing: ExitStack) -> Serve:
    """Starts an HTTP server that records what is posted."""

    def serve(inbox: Inbox) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                status = inbox.answers.pop(0) if inbox.answers else 200
                self.send_response(status)
                self.end_headers()
                if status == 200:
                    inbox.take(body)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", inbox.port), Handler)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        closing.callback(server.server_close)
        closing.callback(server.shutdown)

    return serve


@pytest.fixture
def serve_mail(closing: ExitStack) -> Serve:
    """Starts a mail server that records what it is handed."""

    def serve(inbox: Inbox) -> None:
        class Handler:
            async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
                inbox.take((envelope.rcpt_tos, message_from_bytes(envelope.content, policy=policy.default)))
                return "250 taken"

        controller = Controller(Handler(), hostname="127.0.0.1", port=inbox.port)
        controller.start()
        closing.callback(controller.stop)

    return serve


@pytest.fixture
def logged(closing: ExitStack) -> StringIO:
    """All that the process would log at the most talkative level."""
    found = StringIO()
    handler, root, theirs = logging.StreamHandler(found), logging.getLogger(), logging.getLogger("apprise")
    root.addHandler(handler)
    closing.callback(root.removeHandler, handler)
    closing.callback(theirs.setLevel, theirs.level)
    theirs.setLevel(logging.DEBUG)
    return found


def json_sender(port: int) -> AppriseSender:
    """Posts to loopback; the path stands for a token."""
    return AppriseSender(f"json://127.0.0.1:{port}/{SECRET}")


def mail_sender(port: int) -> AppriseSender:
    """Mails through loopback."""
    return AppriseSender(f"mailto://127.0.0.1:{port}?from=onpace@example.org&to=boss@example.org&mode=insecure&cto=2")


def test_a_json_receiver_reads_title_value_and_target(serve_json: Serve) -> None:
    """By severity while it fires, and as a success once it is over."""
    inbox = Inbox(free_port())
    serve_json(inbox)
    post = Post(MemoryHistory(), team=json_sender(inbox.port))
    paged, over = replace(OFF_PACE, severity="page"), replace(OFF_PACE, state="resolved", resolved_at=NOW)
    for alert in (OFF_PACE, paged, over):
        post.dispatcher.submit([told(alert=replace(alert, rule=f"{alert.rule}-{alert.severity}"))])
    inbox.wait(3)
    post.drain()
    post.dispatcher.stop()
    first, second, third = inbox.taken
    assert (first["title"], first["message"]) == (TITLE, BODY.replace("off-pace,", "off-pace-ticket,"))
    assert [one["type"] for one in (first, second, third)] == ["warning", "failure", "success"]
    assert third["title"] == f"Resolved: {TITLE}"
    assert "Until: 2026-11-16 12:00 UTC" in third["message"]
    assert post.count("team", "delivered") == 3


def test_a_mail_has_the_title_as_subject_and_the_facts_in_lines(serve_mail: Serve) -> None:
    """To whom the address says."""
    inbox = Inbox(free_port())
    serve_mail(inbox)
    mail_sender(inbox.port).send([told()], NOW)
    [(to, mail)] = inbox.taken
    assert isinstance(mail, EmailMessage)
    assert (to, mail["subject"], mail["from"]) == (["boss@example.org"], TITLE, "onpace@example.org")
    part = mail.get_body(("plain",))
    assert part is not None
    assert part.get_content().splitlines() == BODY.splitlines()


@pytest.mark.parametrize("kind", ["json", "mail"])
def test_a_receiver_that_was_away_gets_a_message_once(
    kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The attempts in between are counted."""
    monkeypatch.setattr(apprise.NotificationManager()["mailto"], "request_rate_per_sec", 0)
    inbox = Inbox(free_port())
    sender = {"json": json_sender, "mail": mail_sender}[kind](inbox.port)
    post = Post(MemoryHistory(), team=sender)
    post.dispatcher.submit([told()])
    post.until("team", "failed", 2)
    serve: Serve = request.getfixturevalue(f"serve_{kind}")
    serve(inbox)
    post.drain()
    post.dispatcher.submit([told()])
    post.dispatcher.submit([told(alert=replace(OFF_PACE, rule="another"))])
    inbox.wait(2)
    post.drain()
    post.dispatcher.stop()
    assert len(inbox.taken) == 2
    assert post.count("team", "delivered") == 2


def test_a_service_that_hangs_delays_no_other(serve_json: Serve) -> None:
    """Any number of them: each waits in a thread of its own, for as long as its address says."""
    inbox = Inbox(free_port())
    serve_json(inbox)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"json://127.0.0.1:{silent.getsockname()[1]}/?rto=60&cto=60"
        hanging = {f"hangs{number}": AppriseSender(address) for number in range(20)}
        post = Post(MemoryHistory(), **hanging, team=json_sender(inbox.port))
        post.dispatcher.submit([told(name) for name in hanging])
        post.dispatcher.submit([told()])
        inbox.wait(1)
        assert {one.channel for one in post.outbox.waiting()} >= set(hanging)
    post.dispatcher.stop()
    assert post.count("team", "delivered") == 1


def test_a_service_that_hangs_is_given_up_and_tried_again() -> None:
    """After the seconds that its address says."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        sender = AppriseSender(f"json://127.0.0.1:{silent.getsockname()[1]}/?rto=0.1")
        with pytest.raises(OnPaceError, match="not reached or refused it") as caught:
            sender.send([told()], NOW)
    assert not caught.value.final  # type: ignore[attr-defined]


def test_a_refused_message_is_given_up_and_a_failed_one_tried_again(serve_json: Serve) -> None:
    """By the status that the service answered, as for webhooks."""
    inbox = Inbox(free_port(), answers=[500, 429, 403, 200, 400])
    serve_json(inbox)
    post = Post(MemoryHistory(), team=json_sender(inbox.port))
    with capture_logs() as logs:
        post.dispatcher.submit([told()])
        inbox.wait(1)
        post.dispatcher.submit([told(alert=replace(OFF_PACE, rule="another"))])
        post.drain()
        post.dispatcher.stop()
    assert [post.count("team", name) for name in ("failed", "delivered", "rejected")] == [3, 1, 1]
    assert [line["error"] for line in logs] == [f"the service answered {status}" for status in (500, 429, 403, 400)]


def test_no_address_is_in_a_log_an_error_or_a_metric(
    serve_json: Serve, logged: StringIO, capfd: pytest.CaptureFixture[str]
) -> None:
    """Neither ours nor apprise's, whatever goes wrong and however much is logged."""
    inbox = Inbox(free_port(), answers=[500, 500])
    serve_json(inbox)
    urls = [
        f"json://127.0.0.1:{inbox.port}/{SECRET}",
        f"json://user:{SECRET}@127.0.0.1:9/",
        f"mailto://{SECRET}",
        f"pigeon://{SECRET}",
        SECRET,
    ]
    channels = [Channel(name=f"c{number}", type="apprise", url=url) for number, url in enumerate(urls)]
    post = Post(MemoryHistory(), **senders_for(channels))
    with capture_logs() as logs:
        post.dispatcher.submit([told(channel.name) for channel in channels])
        for channel in channels:
            post.until(channel.name, "failed", 1)
        post.dispatcher.stop()
    metrics = generate_latest(post.registry).decode()
    assert 'channel="c0",outcome="failed"' in metrics
    seen = [str(logs), logged.getvalue(), *capfd.readouterr(), repr(channels), metrics]
    assert len(logs) >= 5
    assert not [text for text in seen if SECRET in text]


def test_no_webhook_shows_its_path_or_what_is_repeated_of_it() -> None:
    """The host is enough to know whose it is."""

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.startswith("/away"):
            raise httpx.ConnectError(f"cannot reach {request.url}")
        return httpx.Response(404, text=f"Cannot POST {request.url.path}")

    with httpx.Client(transport=httpx.MockTransport(answer)) as client:
        for path, why in (("in", "answered 404: Cannot POST /in/…"), ("away", ": cannot reach ")):
            with pytest.raises(OnPaceError) as caught:
                WebhookSender(f"https://me:{SECRET}@hook.example.org:8443/{path}/{SECRET}?k={SECRET}", client).send(
                    [message()], NOW
                )
            assert str(caught.value).startswith("https://hook.example.org:8443")
            assert why in str(caught.value)
            assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("stem", "words_"),
    [
        ("channel-apprise", "does not understand this address"),
        ("channel-apprise-kind", "does not know this kind of address"),
    ],
)
def test_a_wrong_address_is_not_shown_by_validate(stem: str, words_: str, logged: StringIO) -> None:
    """Nor logged by apprise."""
    with pytest.raises(OnPaceError, match=words_) as caught:
        load_catalog(CORPUS / "bad" / f"{stem}.yaml", {})
    assert not [part for part in ("mailto://x", "token", "loft") if part in str(caught.value) + logged.getvalue()]


def test_a_service_that_needs_another_package_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    """apprise has services that use libraries which it does not bring."""
    monkeypatch.setattr(apprise.NotificationManager()["mqtt"], "enabled", False)
    with pytest.raises(OnPaceError, match=r"apprise cannot use MQTT Notification on this host: pip install 'paho-mqtt"):
        addresses.read_address("mqtt://broker.example.org/topic")


def test_a_host_without_apprise_may_validate_and_not_deliver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It knows nothing of the address then; the engine says at its start what to install."""
    given = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        assert name != "apprise"
        return given(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.setattr(addresses, "find_spec", lambda name: None)
    catalog = load_catalog(CORPUS / "bad" / "channel-apprise-kind.yaml", {})
    missing = r"channel 'team': .*not installed here: pip install 'onpace\[apprise\]'"
    with pytest.raises(OnPaceError, match=missing):
        check_apprise(catalog.channels.values())
    with pytest.raises(OnPaceError, match="not installed here"):
        senders_for(catalog.channels.values())["team"].send([told()], NOW)
    check_apprise([Channel(name="hook", type="webhook", url="https://hook.example.org")])


def test_a_message_without_figures_still_says_which_rule_it_is() -> None:
    """A pipeline that is behind has neither value nor target."""
    title, body = words(told(alert=Alert("pipeline-behind", "", state="firing", fired_at=NOW, reason="behind")))
    assert title == "Pipeline: behind"
    assert body == "Rule pipeline-behind, severity ticket"
