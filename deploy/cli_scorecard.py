"""The command `onpace scorecard`: objectives and KPIs of a period by perspective, for a terminal or a weekly report."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from onpace.config.catalog import Catalog
from onpace.config.errors import OnPaceError, did_you_mean
from onpace.deploy.cli_options import Data, Kpis, Owner, console, settings_with
from onpace.deploy.cli_reports import print_report
from onpace.deploy.stores import catalog_of, open_store

if TYPE_CHECKING:
    from onpace.alerts.scorecard import Scorecard
    from onpace.config.calendar import Period

__all__ = ["add_to"]


class CardFormat(StrEnum):
    """How a scorecard is printed."""

    TABLE = "table"
    MARKDOWN = "markdown"
    JSON = "json"


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(scorecard)


def scorecard(
    period: Annotated[
        str | None,
        typer.Option(help="As in 2026, 2026-Q4 or 2026-10. [default: the current quarter]", show_default=False),
    ] = None,
    owner: Owner = None,
    team: Annotated[str | None, typer.Option(help="Only what is this team's.", show_default=False)] = None,
    format: Annotated[CardFormat, typer.Option(help="How to print.")] = CardFormat.TABLE,
    report: Annotated[
        str | None,
        typer.Option(help="Print this report of the KPI files, as it would be sent now.", show_default=False),
    ] = None,
    send: Annotated[bool, typer.Option("--send", help="With --report: send it to its channels as well.")] = False,
    data: Data = None,
    kpis: Kpis = None,
) -> None:
    """Print objectives and KPIs by perspective: progress, value, target, attainment, status and trend."""
    settings = settings_with(data=data, kpis=kpis)
    catalog = catalog_of(settings)
    if report is not None:
        if period or owner or team:
            raise OnPaceError("--report: its period, owner and team are in the KPI files: leave the options out")
        print_report(settings, catalog, report, send=send, form=format.value)
        return
    if send:
        raise OnPaceError("--send needs --report NAME: a report says whom it is sent to")
    for name, given in (("owner", owner), ("team", team)):
        _check(name, given, catalog)
    asked = _period(period) if period else None
    with open_store(settings, catalog) as store:
        from prometheus_client import CollectorRegistry

        from onpace.deploy.wiring import AlertPart

        alerts = AlertPart(settings, catalog, store, CollectorRegistry())
        card = alerts.scorecard(alerts.preview(), asked, owner, team)
    _print(card, format)


def _check(name: str, given: str | None, catalog: Catalog) -> None:
    known = {getattr(one, name) for one in (*catalog.kpis.values(), *catalog.objectives.values())} - {""}
    if given is not None and given not in known:
        listed = did_you_mean(given, known) or f": there are {', '.join(sorted(known)) or 'none'}"
        raise OnPaceError(f"no KPI or objective has {name} '{given}'{listed}")


def _period(text: str) -> Period:
    from onpace.config.calendar import Period

    try:
        return Period.parse(text)
    except ValueError as exc:
        raise OnPaceError(f"--period: {exc}") from None


def _print(card: Scorecard, format: CardFormat) -> None:
    from onpace.alerts.scorecard_text import scorecard_document, scorecard_markdown, scorecard_table

    match format:
        case CardFormat.JSON:
            print(json.dumps(scorecard_document(card), indent=1, ensure_ascii=False))
        case CardFormat.MARKDOWN:
            print(scorecard_markdown(card), end="")
        case CardFormat.TABLE:
            console().print(scorecard_table(card))
