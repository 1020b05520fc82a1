"""Addresses in the notation of apprise, as in `slack://…` or `mailto://…`: read here, never sent to.

They hold tokens and passwords: neither an error nor a log line shows any part of one. apprise itself logs them, so its
log goes nowhere.
"""

from __future__ import annotations

import logging
from importlib.util import find_spec
from typing import TYPE_CHECKING

from onpace.config.errors import OnPaceError

if TYPE_CHECKING:
    from apprise import NotifyBase

__all__ = ["MISSING", "UnreadableAddress", "can_read_addresses", "read_address"]

MISSING = "channels of type apprise need a package that is not installed here: pip install 'onpace[apprise]'"


class UnreadableAddress(OnPaceError):
    """apprise can do nothing with an address; the message says why, without the address."""


def can_read_addresses() -> bool:
    """Whether apprise is installed."""
    return find_spec("apprise") is not None


def read_address(url: str) -> NotifyBase:
    """The service that an address stands for; nothing is sent. Raises UnreadableAddress."""
    if not can_read_addresses():
        raise UnreadableAddress(MISSING)
    from apprise import Apprise, AppriseAsset, PersistentStoreMode

    logging.getLogger("apprise").propagate = False
    asset = AppriseAsset(app_id="OnPace", app_desc="OnPace", storage_mode=PersistentStoreMode.MEMORY)
    service = Apprise.instantiate(url, asset=asset)
    if service is None:
        raise UnreadableAddress(_why(url))
    return service


def _why(url: str) -> str:
    from apprise import NotificationManager

    services = NotificationManager()  # type: ignore[no-untyped-call]
    kind, separator, _ = url.partition("://")
    if not separator or kind.lower() not in services:
        return "apprise does not know this kind of address (it knows slack://…, mailto://… and many more)"
    service = services[kind.lower()]
    name = str(service.service_name)
    if service.enabled:
        return f"apprise does not understand this address: see its documentation about {name}"
    needed = service.requirements.get("packages_required") or ()
    packages = ", ".join([needed] if isinstance(needed, str) else needed)
    return f"apprise cannot use {name} on this host" + (f": pip install '{packages}'" if packages else "")
