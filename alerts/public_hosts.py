"""For webhooks that may only go to the public internet: the address is looked up once, judged, and connected to itself.

So a name that answers differently the next time leads nowhere else (DNS rebinding).
"""

from __future__ import annotations

import socket
from dataclasses import dataclass

import httpx

from onpace.alerts.delivery import DeliveryFailed, origin
from onpace.config.networks import is_private

__all__ = ["Route", "public_route"]


@dataclass(frozen=True, slots=True)
class Route:
    """Where to connect, and the name to give there."""

    url: httpx.URL
    host_header: str
    tls_name: str


def public_route(url: str) -> Route:
    """The way to a host all of whose addresses are public. Raises DeliveryFailed, not finally: names may change."""
    try:
        asked = httpx.URL(url)
        port = asked.port or (443 if asked.scheme == "https" else 80)
        found = socket.getaddrinfo(asked.host, port, type=socket.SOCK_STREAM)
    except (httpx.InvalidURL, OSError, UnicodeError) as exc:
        raise DeliveryFailed(f"{origin(url)}: its name cannot be looked up") from exc
    addresses = [str(sockaddr[0]) for *_, sockaddr in found]
    if not addresses or any(map(is_private, addresses)):
        allow = "set ONPACE_ENGINE__PRIVATE_WEBHOOKS=true to allow it"
        raise DeliveryFailed(f"{origin(url)} is a private address: {allow}")
    return Route(asked.copy_with(host=addresses[0]), asked.netloc.decode(), asked.host)
