"""Addresses of dashboards, with places for what a message is about: `https://grafana/d/x?from={from}&to={to}`. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated
from urllib.parse import quote, urlsplit

from pydantic import AfterValidator

from onpace.config.errors import did_you_mean

__all__ = ["PLACES", "DashboardUrl", "dashboard_link"]

PLACES = ("kpi", "rule", "period", "from", "to")
"""What may stand in braces; `from` and `to` are milliseconds since 1970, as in Grafana's addresses."""

_PLACE = re.compile(r"\{([^{}]*)\}")


def _checked(text: str) -> str:
    for name in _PLACE.findall(text):
        if name not in PLACES:
            known = did_you_mean(name, PLACES) or f" (known are {', '.join(f'{{{place}}}' for place in PLACES)})"
            raise ValueError(f"unknown place {{{name}}} in the address{known}")
    plain = _PLACE.sub("x", text)
    if "{" in plain or "}" in plain:
        raise ValueError("a brace in the address is not closed, or not opened: write {kpi}")
    if re.search(r"\s", plain) or not re.match(r"https?://", plain) or not _host(plain):
        raise ValueError("the address of a dashboard is like https://grafana.example.com/d/sales?from={from}&to={to}")
    return text


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


DashboardUrl = Annotated[str, AfterValidator(_checked)]
"""An address that people can follow; what is in braces is filled in for each message."""


def dashboard_link(template: str, values: Mapping[str, str]) -> str:
    """The address with its places filled in, escaped; a place without a value is left empty."""
    return _PLACE.sub(lambda place: quote(values.get(place[1], ""), safe=""), template)
