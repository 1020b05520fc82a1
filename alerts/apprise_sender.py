"""Tells people through apprise: Slack, e-mail, Teams, PagerDuty and whatever else it has an address for."""

from __future__ import annotations

import logging
import queue
import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from html import escape
from logging.handlers import QueueHandler
from typing import TYPE_CHECKING

from onpace.alerts.delivery import DeliveryFailed, is_final
from onpace.alerts.notifications import Notification
from onpace.config.addresses import MISSING, UnreadableAddress, can_read_addresses, read_address
from onpace.config.errors import OnPaceError
from onpace.config.rules import Channel

if TYPE_CHECKING:
    from apprise import NotifyBase

__all__ = ["AppriseSender", "check_apprise", "words"]

FACTS = {
    "value": "Value",
    "target": "Target",
    "expected": "Expected by now",
    "gap": "Gap",
    "segments": "Segments",
    "forecast": "Forecast",
    "since": "Since",
    "until": "Until",
    "guardrails": "Guardrails",
    "leading": "Leading",
    "note": "Note",
    "dashboard": "Dashboard",
}
"""The annotations that people read, in order."""
KINDS = {"page": "failure", "ticket": "warning", "info": "info"}
"""apprise's notify types, by severity: they choose the colour and the icon."""

PAGE = 10_000
"""Services whose messages may be so long show whole pages; chats with some HTML (Telegram: 4,096) have no tables."""


def check_apprise(channels: Iterable[Channel]) -> None:
    """Raises OnPaceError where a channel needs apprise and it is not installed."""
    names = [channel.name for channel in channels if channel.type == "apprise"]
    if names and not can_read_addresses():
        raise OnPaceError(f"channel '{names[0]}': {MISSING}")


def words(one: Notification) -> tuple[str, str]:
    """What people read: a title, and the facts one a line; of a report its text."""
    if one.state == "report":
        return one.annotations["summary"], one.annotations["text"]
    facts = [f"{title}: {one.annotations[name]}" for name, title in FACTS.items() if name in one.annotations]
    if one.ends_at and "until" not in one.annotations:
        facts.append(f"Until: {one.ends_at:%Y-%m-%d %H:%M UTC}")
    about = f"Rule {one.labels.get('alertname', '')}, severity {one.labels.get('severity', '')}"
    return one.annotations.get("summary", about), "\n".join([*facts, about])


class AppriseSender:
    """Sends through the service that an address stands for, in the caller's thread.

    `Apprise.notify` is left aside: all of a process share one small pool of threads there, so some services that hang
    would hold up the others. How long one may hang is in its address (`cto` and `rto`, seconds; 4 each by default).
    """

    forgets = False

    def __init__(self, url: str) -> None:
        self._url = url
        self._service: NotifyBase | None = None

    def send(self, notifications: Sequence[Notification], now: datetime) -> None:  # noqa: ARG002
        """One message each, by severity, or as a success when it is over."""
        for one in notifications:
            self._tell(one)

    def _tell(self, one: Notification) -> None:
        title, body = words(one)
        kind = _kind(one)
        with _heard() as lines:
            try:
                self._service = self._service or read_address(self._url)
                body, form = _formatted(one, body, self._service)
                done = self._service.notify(body=body, title=title, notify_type=kind, body_format=form)
            except UnreadableAddress as exc:
                raise DeliveryFailed(str(exc)) from exc
            except Exception as exc:  # of any service's own library; the text may hold a token
                raise DeliveryFailed(f"apprise failed with {type(exc).__name__}") from None
        if not done:
            raise _failure(lines)


def _kind(one: Notification) -> str:
    if one.state == "report":
        return "info"
    return KINDS.get(one.labels.get("severity", ""), "warning") if one.state == "firing" else "success"


def _formatted(one: Notification, text: str, service: NotifyBase) -> tuple[str, str]:
    """A report as HTML, with its tables, where the service takes pages of it, as mail does; everything else as text."""
    pages = service.resolve_format().value == "html" and service.body_maxlen >= PAGE
    if one.state != "report" or not pages:
        return text, "text"
    from apprise.conversion import markdown_to_html

    # names in it come from events: what looks like HTML is text
    return markdown_to_html(escape(one.annotations["markdown"], quote=False)), "html"


def _failure(lines: queue.SimpleQueue[logging.LogRecord]) -> DeliveryFailed:
    """A service says yes or no; the status that was answered is found in what it logged, as in `error=403`."""
    found: list[int] = []
    while not lines.empty():
        found += map(int, re.findall(r"\berror=(\d{3})\b", lines.get().getMessage()))
    if not found:
        return DeliveryFailed("the service was not reached or refused it: try `apprise -vvv ADDRESS` on this host")
    answers = ", ".join(str(status) for status in dict.fromkeys(found))
    return DeliveryFailed(f"the service answered {answers}", final=all(is_final(status) for status in found))


@contextmanager
def _heard() -> Iterator[queue.SimpleQueue[logging.LogRecord]]:
    """What apprise logs in this thread meanwhile."""
    lines: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    here = threading.get_ident()
    handler = QueueHandler(lines)
    handler.setLevel(logging.WARNING)
    handler.addFilter(lambda record: record.thread == here)
    logger = logging.getLogger("apprise")
    logger.addHandler(handler)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)
