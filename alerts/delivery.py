"""What becomes of a message that a channel did not take, and how that is said without the channel's secrets. Pure."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

from onpace.config.errors import OnPaceError

__all__ = ["DeliveryFailed", "is_final", "origin", "without_secrets"]

SECRET_LENGTH = 8
"""Parts of an address that are at least so long may be a token."""


class DeliveryFailed(OnPaceError):
    """A channel did not take a message. `final`: it never will (the receiver called the message itself wrong)."""

    def __init__(self, message: str, *, final: bool = False) -> None:
        self.final = final
        super().__init__(message)


def is_final(status: int) -> bool:
    """Whether this HTTP status says that the message is wrong, rather than the receiver or the way to it."""
    return 400 <= status < 500 and status not in (401, 403, 404, 408, 425, 429)


def origin(url: str) -> str:
    """The address without user, password, path and query, any of which may be a secret."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "the address"
    return f"{parts.scheme}://{host}" + (f":{port}" if port else "")


def without_secrets(text: str, url: str) -> str:
    """A receiver's answer without what it repeats of the address that was called."""
    host = urlsplit(url).hostname
    for part in re.split(r"[/?&=#:@;,]+", url.partition("://")[2]):
        for word in {part, unquote(part)}:
            if len(word) >= SECRET_LENGTH and word != host:
                text = text.replace(word, "…")
    return text
