"""The command `onpace why`: why an alert fired at a moment, and why it did not."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from onpace.config.catalog import Catalog
from onpace.config.errors import OnPaceError
from onpace.deploy.cli_options import Data, Kpis, TextFormat, instant, settings_with
from onpace.deploy.stores import catalog_of, open_store

if TYPE_CHECKING:
    from onpace.config.calendar import Period

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(why)


def why(
    rule: str,
    at: Annotated[
        str | None,
        typer.Option(help="As of when; without a zone in that of the rule's KPI. [default: now]", show_default=False),
    ] = None,
    series: Annotated[
        list[str] | None, typer.Option(help="dimension=value; may be repeated.", show_default=False)
    ] = None,
    period: Annotated[
        str | None,
        typer.Option(help="Of a rule on a target, as in 2026-11. [default: the current one]", show_default=False),
    ] = None,
    format: Annotated[TextFormat, typer.Option(help="How to print.")] = TextFormat.TEXT,
    data: Data = None,
    kpis: Kpis = None,
) -> None:
    """Say why a rule's alerts fired, and why they did not: what was judged, what happened and who was told."""
    settings = settings_with(data=data, kpis=kpis)
    catalog = catalog_of(settings)
    moment = _moment(at, rule, catalog)
    chosen = dict(_condition(text) for text in series or [])
    asked = _period(period) if period else None
    with open_store(settings, catalog) as store:
        from prometheus_client import CollectorRegistry

        from onpace.alerts.why_text import why_document, why_text
        from onpace.deploy.wiring import AlertPart

        alerts = AlertPart(settings, catalog, store, CollectorRegistry())
        found = alerts.explain(rule, moment, chosen, asked)
    if format is TextFormat.JSON:
        print(json.dumps(why_document(found), indent=1, ensure_ascii=False))
    else:
        print(why_text(found), end="")


def _moment(at: str | None, rule: str, catalog: Catalog) -> datetime | None:
    from zoneinfo import ZoneInfo

    if at is None:
        return None
    known = catalog.rules.get(rule)
    return instant(at, catalog.kpi(known.kpi).zone if known else ZoneInfo("UTC"))


def _condition(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise OnPaceError(f"--series '{text}': write dimension=value")
    return name.strip(), value


def _period(text: str) -> Period:
    from onpace.config.calendar import Period

    try:
        return Period.parse(text)
    except ValueError as exc:
        raise OnPaceError(f"--period: {exc}") from None
