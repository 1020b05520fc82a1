"""Webhooks that may only go to the public internet."""

from __future__ import annotations

import socket
from pathlib import Path

import httpx
import pytest
from test_notifiers import NOW, message

from onpace.alerts import public_hosts
from onpace.alerts.delivery import DeliveryFailed
from onpace.alerts.senders import WebhookSender
from onpace.config.errors import ConfigError
from onpace.config.loader import load_catalog
from onpace.config.networks import is_private
from onpace.deploy.cli_kpis import validate

CORPUS = Path(__file__).parent / "corpus"
INSIDE = (
    "127.0.0.1",
    "localhost",
    "api.localhost.",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",
    "224.0.0.1",
    "[::1]",
    "::",
    "fe80::1%eth0",
    "fd00::1",
    "::ffff:10.0.0.1",
    "2002:7f00:1::",
    "64:ff9b::a00:1",
)
PUBLIC = ("93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "64:ff9b::5db8:d70e", "hook.example.org")


def test_what_is_inside_is_known_by_its_address() -> None:
    """Also where one kind of address holds another."""
    assert [host for host in INSIDE if not is_private(host)] == []
    assert [host for host in PUBLIC if is_private(host)] == []


def answers(monkeypatch: pytest.MonkeyPatch, *found: str) -> None:
    """Every name has these addresses."""
    entries = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 443)) for address in found]
    monkeypatch.setattr(public_hosts.socket, "getaddrinfo", lambda *_, **__: entries)


def test_a_public_name_is_connected_to_by_the_address_that_was_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under its own name in the Host header and in TLS, so its certificate is checked as ever."""
    answers(monkeypatch, "93.184.215.14")
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200)

    with httpx.Client(transport=httpx.MockTransport(answer)) as client:
        WebhookSender("https://hook.example.org:8443/in?k=1", client, private=False).send([message()], NOW)
    [request] = seen
    assert str(request.url) == "https://93.184.215.14:8443/in?k=1"
    assert request.headers["host"] == "hook.example.org:8443"
    assert request.extensions["sni_hostname"] == "hook.example.org"


@pytest.mark.parametrize("found", [("10.0.0.7",), ("93.184.215.14", "127.0.0.1")])
def test_a_name_with_a_private_address_is_refused_and_waits(
    monkeypatch: pytest.MonkeyPatch, found: tuple[str, ...]
) -> None:
    """One is enough; nothing is sent, and the message stays for when names or settings change."""
    answers(monkeypatch, *found)
    never = httpx.MockTransport(lambda request: pytest.fail(f"sent to {request.url}"))
    with httpx.Client(transport=never) as client, pytest.raises(DeliveryFailed, match="is a private address") as caught:
        WebhookSender("https://hook.example.org/t0ken", client, private=False).send([message()], NOW)
    assert not caught.value.final
    assert "t0ken" not in str(caught.value)


@pytest.mark.parametrize("host", ["127.1", "2130706433", "localhost"])
def test_another_way_to_write_loopback_is_refused(host: str) -> None:
    """What the system makes of it counts."""
    never = httpx.MockTransport(lambda request: pytest.fail(f"sent to {request.url}"))
    with httpx.Client(transport=never) as client, pytest.raises(DeliveryFailed):
        WebhookSender(f"http://{host}:9/", client, private=False).send([message()], NOW)


def test_validate_refuses_a_private_webhook_where_the_setting_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """By default it is allowed, and an Alertmanager beside OnPace always."""
    path = CORPUS / "good" / "channels.yaml"
    environment = {"HOOK_URL": "http://user:t0ken@192.168.7.7/t0ken"}
    assert load_catalog(path, environment).channels
    with pytest.raises(ConfigError) as caught:
        load_catalog(path, environment, private_webhooks=False)
    assert str(caught.value).count("\n") == 0
    assert "18: channel 'hook': url is a private address: set ONPACE_ENGINE__PRIVATE_WEBHOOKS=true" in str(caught.value)
    assert "t0ken" not in str(caught.value)
    monkeypatch.setenv("HOOK_URL", environment["HOOK_URL"])
    monkeypatch.setenv("ONPACE_ENGINE__PRIVATE_WEBHOOKS", "false")
    with pytest.raises(ConfigError, match="url is a private address"):
        validate(path)
