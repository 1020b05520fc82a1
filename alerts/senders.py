"""The ways to tell people: the log, a webhook, Alertmanager, and what apprise knows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

import httpx
import structlog

from onpace.alerts.apprise_sender import AppriseSender
from onpace.alerts.delivery import DeliveryFailed, is_final, origin, without_secrets
from onpace.alerts.notifications import Notification
from onpace.alerts.public_hosts import public_route
from onpace.config.rules import Channel

__all__ = ["AlertmanagerSender", "LogSender", "Sender", "WebhookSender", "sender_for", "senders_for"]

log = structlog.get_logger(__name__)

FIRES_ON = timedelta(hours=4)
"""How long Alertmanager keeps an alert firing by itself, should the engine die."""

_JSON = {"content-type": "application/json"}


class Sender(Protocol):
    """One way to tell people."""

    forgets: bool
    """Whether what still fires has to be told again and again."""

    def send(self, notifications: Sequence[Notification], now: datetime) -> None:
        """Deliver these. Raises DeliveryFailed; sending the same again is harmless."""


class LogSender:
    """Writes a line to the log."""

    forgets = False

    def send(self, notifications: Sequence[Notification], now: datetime) -> None:  # noqa: ARG002
        """Log each one."""
        for one in notifications:
            log.warning(
                "notification", state=one.state, **one.labels, description=one.annotations.get("description", "")
            )


class WebhookSender:
    """POSTs each notification as JSON. `key` is in the body and in the Idempotency-Key header."""

    forgets = False

    def __init__(self, url: str, client: httpx.Client, *, private: bool = True) -> None:
        self._url = url
        self._client = client
        self._private = private

    def send(self, notifications: Sequence[Notification], now: datetime) -> None:  # noqa: ARG002
        """One request each; where `private` is not allowed, to public addresses only."""
        for one in notifications:
            headers = _JSON | {"idempotency-key": one.key}
            _post(self._client, self._url, one.to_json(), headers, private=self._private)


class AlertmanagerSender:
    """POSTs to Alertmanager's API v2. What fires is said to end hours ahead and told again; resolved is explicit."""

    forgets = True

    def __init__(self, url: str, client: httpx.Client) -> None:
        self._url = url.rstrip("/") + "/api/v2/alerts"
        self._client = client

    def send(self, notifications: Sequence[Notification], now: datetime) -> None:
        """One request for all. A report is no alert, and refused."""
        if any(one.state == "report" for one in notifications):
            raise DeliveryFailed("a report is no alert: Alertmanager cannot take it", final=True)
        if notifications:
            _post(self._client, self._url, json.dumps(postable_alerts(notifications, now)), _JSON)


def postable_alerts(notifications: Iterable[Notification], now: datetime) -> list[dict[str, Any]]:
    """The bodies that Alertmanager's API v2 takes (postableAlerts in its openapi.yaml).

    An end is when it was (or the start, where that was told later), never later than `now`: one that is still to come
    by Alertmanager's clock leaves the alert firing for the hours that were told before.
    """
    return [
        {
            "labels": dict(one.labels),
            "annotations": dict(one.annotations),
            "startsAt": min(one.starts_at, now).isoformat(),
            "endsAt": _end(one, now).isoformat(),
            **({"generatorURL": link} if (link := one.annotations.get("dashboard")) else {}),
        }
        for one in notifications
    ]


def _end(one: Notification, now: datetime) -> datetime:
    if one.state == "firing":
        return now + FIRES_ON
    return min(max(one.ends_at or now, one.starts_at), now)


def _post(client: httpx.Client, url: str, content: str, headers: Mapping[str, str], *, private: bool = True) -> None:
    target: str | httpx.URL = url
    given, extensions = dict(headers), {}
    if not private:
        route = public_route(url)
        target, given["host"], extensions["sni_hostname"] = route.url, route.host_header, route.tls_name
    try:
        answer = client.post(target, content=content, headers=given, extensions=extensions)
    except (httpx.HTTPError, httpx.InvalidURL) as exc:
        reason = without_secrets(str(exc), url) or type(exc).__name__
        raise DeliveryFailed(f"{origin(url)}: {reason}") from None
    if answer.is_success:
        return
    text = without_secrets(answer.text, url)[:200]
    status = answer.status_code
    raise DeliveryFailed(f"{origin(url)} answered {status}: {text}", final=is_final(status))


def sender_for(channel: Channel, client: httpx.Client, *, private_webhooks: bool = True) -> Sender:
    """The sender that a channel's type asks for."""
    match channel.type:
        case "webhook":
            return WebhookSender(channel.url or "", client, private=private_webhooks)
        case "alertmanager":
            return AlertmanagerSender(channel.url or "", client)
        case "apprise":
            return AppriseSender(channel.url or "")
        case _:
            return LogSender()


def senders_for(channels: Iterable[Channel], *, private_webhooks: bool = True) -> dict[str, Sender]:
    """A sender per channel, by name, over one HTTP client with a timeout of ten seconds."""
    client = httpx.Client(timeout=10)
    return {channel.name: sender_for(channel, client, private_webhooks=private_webhooks) for channel in channels}
