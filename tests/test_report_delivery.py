"""Reports on their way: through the outbox in ClickHouse to a webhook and a mail server, and by command."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import httpx
import pytest
from alerts_fakes import MemoryHistory, at
from stacks import onpace, output
from structlog.testing import capture_logs
from test_apprise import Inbox, Serve, closing, free_port, json_sender, mail_sender, serve_json, serve_mail
from test_engine import hourly
from test_notifiers import Post, Receiver, receiver
from test_scorecard_reports import office, office_report, report, shop_office

from onpace.alerts.delivery import DeliveryFailed
from onpace.alerts.engine import Engine
from onpace.alerts.history import ClickHouseHistory, ClickHouseOutbox
from onpace.alerts.notifications import Notification
from onpace.alerts.notifiers import Dispatcher
from onpace.alerts.report_log import ClickHouseReportLog
from onpace.alerts.reporter import Reporter
from onpace.alerts.senders import AlertmanagerSender, LogSender, WebhookSender
from onpace.processors.clickhouse import ClickHouse

__all__ = ["closing", "receiver", "serve_json", "serve_mail"]

NOW = at("2026-11-02 08:00")


def test_a_mail_shows_the_scorecard_as_a_table(serve_mail: Serve) -> None:
    """With the verdict as its subject; names that look like HTML are shown and not obeyed."""
    inbox = Inbox(free_port())
    serve_mail(inbox)
    told = shop_office().reports[1]
    mail_sender(inbox.port).send([told], NOW)
    [(_, mail)] = inbox.taken
    assert isinstance(mail, EmailMessage)
    assert mail["subject"] == "The shop: 3 of 4 KPIs of shop are off track"
    html, plain = mail.get_body(("html",)), mail.get_body(("plain",))
    assert html is not None
    assert plain is not None
    page = html.get_content()
    assert "<strong>3 of 4 KPIs of shop are off track: Revenue (15,950 of 19,900 EUR" in page
    assert "<td>off track</td>" in page
    assert "worse: Revenue: on track → off track</li>" in page
    assert "3 of 4 KPIs of shop are off track" in plain.get_content()


def test_a_mail_takes_no_html_from_a_name(serve_mail: Serve) -> None:
    """Dimension values are what anybody sends."""
    inbox = Inbox(free_port())
    serve_mail(inbox)
    one = office_report()
    evil = Notification(
        **{**as_dict(one), "annotations": {**one.annotations, "markdown": "- <script>x</script> & more"}}
    )
    mail_sender(inbox.port).send([evil], NOW)
    [(_, mail)] = inbox.taken
    page = mail.get_body(("html",)).get_content()
    assert "<script>" not in page
    assert "&lt;script&gt;x&lt;/script&gt; &amp; more" in page


def as_dict(one: Notification) -> dict[str, Any]:
    """Its fields."""
    return {name: getattr(one, name) for name in one.__slots__}


def test_a_service_without_html_gets_the_text(serve_json: Serve) -> None:
    """As information: no alert."""
    inbox = Inbox(free_port())
    serve_json(inbox)
    one = office_report()
    json_sender(inbox.port).send([one], NOW)
    [taken] = inbox.taken
    assert (taken["title"], taken["type"]) == ("weekly: the only KPI is on track", "info")
    assert taken["message"].strip() == one.annotations["text"].strip()


def test_alertmanager_takes_none() -> None:
    """`validate` refuses it before; what waits in the outbox for a channel that became one is given up."""
    with httpx.Client() as client, pytest.raises(DeliveryFailed, match="a report is no alert") as caught:
        AlertmanagerSender("http://127.0.0.1:9", client).send([office_report()], NOW)
    assert caught.value.final


def test_the_log_has_a_line_of_it() -> None:
    """The verdict."""
    one = office_report()
    with capture_logs() as logs:
        LogSender().send([one], NOW)
    [line] = logs
    assert (line["state"], line["report"], line["description"]) == ("report", "weekly", "The only KPI is on track.")


def test_it_is_counted_with_the_messages(receiver: Receiver) -> None:
    """`onpace_notifications_total`, failed attempts too."""
    receiver.answers += [500]
    with httpx.Client() as client:
        post = Post(MemoryHistory(), team=WebhookSender(receiver.url, client))
        post.dispatcher.submit([office_report()])
        post.drain()
        post.dispatcher.stop()
    assert (post.count("team", "failed"), post.count("team", "delivered")) == (1, 1)


class Real:
    """The office with its history, outbox and reports in ClickHouse, and a webhook at the end."""

    def __init__(self, store: ClickHouse, receiver: Receiver, client: httpx.Client) -> None:
        self.world = office(report(), events=hourly("2026-09-01", "2026-12-01", lambda _: 100.0))
        self.store, self.receiver, self.client = store, receiver, client
        self.start()

    def start(self) -> None:
        """A new process."""
        senders = {"team": WebhookSender(self.receiver.url, self.client)}
        resend, outbox = timedelta(minutes=1), ClickHouseOutbox(self.store)
        self.dispatcher = Dispatcher(senders, outbox, clock=lambda: NOW, resend=resend, pauses=(0.01,))
        history, world = ClickHouseHistory(self.store), self.world
        self.made = ClickHouseReportLog(self.store)
        reporter = Reporter(world.catalog, world.reader, history, self.made, self.dispatcher)
        self.engine = Engine(world.catalog, world.reader, history, self.dispatcher, reporter=reporter)

    def stop(self) -> None:
        """The process that runs now."""
        self.dispatcher.stop()

    def look(self, moment: datetime) -> None:
        """Evaluate."""
        self.world.reader.clock = moment
        self.engine.evaluate(moment, notify=True)


@pytest.fixture
def real(store: ClickHouse, receiver: Receiver) -> Iterator[Real]:
    """Begun the day before."""
    with httpx.Client() as client, ExitStack() as stack:
        found = Real(store, receiver, client)
        stack.callback(found.stop)
        found.look(NOW - timedelta(days=1))
        yield found


def test_a_report_arrives_once_over_restarts(real: Real, receiver: Receiver) -> None:
    """One that is handed over and not delivered when the process ends is delivered by the next, and not made again."""
    real.look(NOW)
    real.dispatcher.stop()  # before it was ever started: nothing was sent
    assert receiver.posts == []
    real.start()
    real.dispatcher.start()
    real.look(NOW + timedelta(minutes=1))
    [(_, body, key)] = receiver.wait(1)
    assert (body["state"], body["labels"]["report"], body["key"]) == ("report", "weekly", key)
    assert body["annotations"]["description"] == "The only KPI is on track."
    real.look(NOW + timedelta(days=7))
    [_, (_, second, other)] = receiver.wait(2)
    assert other != key
    assert "Since the last report (2026-11-02 08:00)" in second["annotations"]["text"]


def test_one_handed_over_just_before_a_crash_is_not_made_again(real: Real, receiver: Receiver) -> None:
    """The outbox knows its key, though nothing is noted yet."""
    real.look(NOW)
    real.store.command("TRUNCATE TABLE scorecard_reports")
    real.made.save(before := first_row(real))
    real.dispatcher.stop()
    real.start()
    real.dispatcher.start()
    receiver.wait(1)
    real.look(NOW + timedelta(minutes=1))
    last = real.made.last("weekly")
    assert last is not None
    assert (last.outcome, before.outcome) == ("sent", "begun")
    real.look(NOW + timedelta(minutes=2))
    assert len(receiver.posts) == 1


def first_row(real: Real) -> Any:
    """What was noted before the report was due."""
    from onpace.alerts.report_log import ReportRow

    plan = real.world.catalog.reports["weekly"]
    return ReportRow("weekly", plan.schedule, NOW - timedelta(days=7), "begun", NOW - timedelta(days=1))


KPIS = """\
version: 1
events:
  order.placed: {{properties: {{amount: {{type: number, decimal: 2}}}}, required: [amount]}}
kpis:
  - name: revenue
    title: Revenue
    unit: EUR
    event: order.placed
    agg: sum
    value: amount
    grain: 1h
    direction: higher_is_better
    role: lagging
    targets: [{{every: month, value: 720}}]
channels: [{{name: hook, type: webhook, url: "{url}"}}]
reports: [{{name: weekly, title: Our week, every: week, notify: [hook]}}]
"""


@pytest.mark.e2e
def test_a_report_can_be_tried_out_at_once(tmp_path: Path, receiver: Receiver) -> None:
    """Printed, and sent where that is asked for; the timetable goes on as before."""
    (tmp_path / "shop.yaml").write_text(KPIS.format(url=receiver.url))
    about = {"specversion": "1.0", "source": "/t", "type": "order.placed"}
    times = [at("2025-09-01 00:30") + timedelta(hours=n) for n in range(24 * 45)]
    lines = [json.dumps(about | {"id": str(t), "time": t.isoformat(), "data": {"amount": 1}}) + "\n" for t in times]
    (tmp_path / "orders.jsonl").write_text("".join(lines))
    where = ("--data", tmp_path / "data", "--kpis", tmp_path / "shop.yaml")
    assert onpace("up", *where, "--replay", tmp_path / "orders.jsonl", "--exit").returncode == 0
    printed = output("scorecard", "--report", "weekly", *where)
    assert printed.startswith("Our week: the only KPI is on track\n\nThe only KPI is on track.\n")
    assert "- Revenue: 360 of 720 EUR (50 %), on track" in printed
    assert "| Revenue [EUR] | 360 | 720 |" in output("scorecard", "--report", "weekly", "--format", "markdown", *where)
    [message] = json.loads(output("scorecard", "--report", "weekly", "--format", "json", *where))
    assert (message["state"], message["channel"]) == ("report", "hook")
    assert receiver.posts == []
    sent = onpace("scorecard", "--report", "weekly", "--send", *where)
    assert (sent.returncode, sent.stderr) == (0, "sent to hook\n")
    [(_, body, _)] = receiver.wait(1)
    assert body["annotations"]["description"] == "The only KPI is on track."
    receiver.answers += [400]
    refused = onpace("scorecard", "--report", "weekly", "--send", *where)
    assert (refused.returncode, refused.stderr[:30]) == (1, "error: not sent to hook: http:")
    for arguments, wrong in (
        (["--report", "weakly"], "unknown report 'weakly' (did you mean 'weekly'?)"),
        (["--report", "weekly", "--period", "2025-10"], "--report: its period, owner and team are in the KPI files"),
        (["--send"], "--send needs --report NAME"),
    ):
        done = onpace("scorecard", *arguments, *where)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert done.stderr.startswith(f"error: {wrong}")
