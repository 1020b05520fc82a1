"""Commands that keep alerts quiet: silence add, list and end, and ack."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, TypeVar
from zoneinfo import ZoneInfo

import typer

from onpace.config.durations import parse_duration
from onpace.config.errors import OnPaceError
from onpace.deploy.cli_kpis import DocumentFormat
from onpace.deploy.cli_options import Data, Kpis, console, settings_with
from onpace.deploy.stores import catalog_of, now

if TYPE_CHECKING:
    from pydantic import BaseModel

    from onpace.config.catalog import Catalog
    from onpace.config.silences import Silence

__all__ = ["add_to"]

M = TypeVar("M", bound="BaseModel")

Kpi = Annotated[str | None, typer.Option(help="Only alerts of this KPI.", show_default=False)]
Period = Annotated[str | None, typer.Option(help="Only alerts of this period, as in 2026-11.", show_default=False)]
Severity = Annotated[str | None, typer.Option(help="Only info, ticket or page.", show_default=False)]
Match = Annotated[
    list[str] | None,
    typer.Option(
        help="dimension=value; may be repeated. `*` stands for any text, here and in names.", show_default=False
    ),
]
By = Annotated[str | None, typer.Option(help="Who you are.", show_default=False)]
Why = Annotated[str | None, typer.Option(help="Why.", show_default=False)]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    silence = typer.Typer(help="Silences: for a while direct channels hear nothing.", no_args_is_help=True)
    silence.command("add")(add)
    silence.command("list")(list_silences)
    silence.command("end")(end)
    app.add_typer(silence, name="silence")
    app.command("ack")(acknowledge)


def add(
    rule: Annotated[str | None, typer.Option(help="Only alerts of this rule.", show_default=False)] = None,
    kpi: Kpi = None,
    severity: Severity = None,
    period: Period = None,
    match: Match = None,
    by: By = None,
    why: Why = None,
    for_: Annotated[str | None, typer.Option("--for", help="How long, as in 2h.", show_default=False)] = None,
    until: Annotated[
        str | None, typer.Option(help="Or when it ends; in the KPI's time zone.", show_default=False)
    ] = None,
    from_: Annotated[
        str | None, typer.Option("--from", help="When it begins. [default: now]", show_default=False)
    ] = None,
    data: Data = None,
    kpis: Kpis = None,
) -> None:
    """Hold back what direct channels would be told of the alerts that match. Their states go on as ever."""
    settings = settings_with(data=data, kpis=kpis)
    catalog = catalog_of(settings)

    from onpace.deploy.silencing import NewSilence, desk_for, managers_of

    _need(by, "a silence needs an author: --by NAME")
    _need(why, "a silence needs a reason: --why TEXT")
    zone = _zone(catalog, rule, kpi)
    start = _instant("--from", from_, zone) if from_ else None
    named = {"rule": rule, "kpi": kpi, "severity": severity, "period": period, "match": _labels(match or [])}
    wanted = _built(NewSilence, named | {"by": by, "why": why, "from": start, "until": _end(for_, until, start, zone)})
    with desk_for(settings, catalog) as desk:
        made = desk.add(wanted)
    typer.echo(f"silence {made.id}: {_sentence(made)}")
    if managers := managers_of(catalog, wanted.matchers):
        typer.echo(f"{', '.join(managers)} is told all the same: an Alertmanager silences by itself", err=True)


def list_silences(
    all_: Annotated[bool, typer.Option("--all", help="Those that are over as well.")] = False,
    format: Annotated[DocumentFormat, typer.Option(help="How to print.")] = DocumentFormat.TABLE,
    data: Data = None,
    kpis: Kpis = None,
) -> None:
    """List silences that hold or are yet to begin, by their end."""
    settings = settings_with(data=data, kpis=kpis)
    catalog = catalog_of(settings)

    from onpace.alerts.silence_rows import silence_row
    from onpace.deploy.silencing import desk_for

    with desk_for(settings, catalog) as desk:
        found = desk.silences(over=all_)
    if format is DocumentFormat.JSON:
        print(json.dumps([silence_row(one, now()) for one in found], indent=1, ensure_ascii=False))
    elif found:
        _print(found)
    else:
        typer.echo(f"no silences{'' if all_ else '; --all lists those that are over'}", err=True)


def end(
    silence: Annotated[str, typer.Argument(help="As `silence list` names it.")],
    by: By = None,
    data: Data = None,
    kpis: Kpis = None,
) -> None:
    """End a silence now: what it held back and still fires is told with the next evaluation."""
    settings = settings_with(data=data, kpis=kpis)
    catalog = catalog_of(settings)

    from onpace.deploy.silencing import desk_for

    author = _need(by, "who ends it? --by NAME")
    with desk_for(settings, catalog) as desk:
        ended = desk.end(silence, author)
    typer.echo(f"silence {ended.id} by {ended.words} is ended by {ended.ended_by}")


def acknowledge(
    rule: Annotated[str, typer.Argument(help="The rule whose alerts fire.")],
    kpi: Kpi = None,
    severity: Severity = None,
    period: Period = None,
    match: Match = None,
    by: By = None,
    why: Why = None,
    data: Data = None,
    kpis: Kpis = None,
) -> None:
    """Say that you know of what fires: direct channels hear of it again when it ends, and then that you knew."""
    settings = settings_with(data=data, kpis=kpis)
    catalog = catalog_of(settings)

    from onpace.alerts.silence_rows import alert_words
    from onpace.alerts.silences import moment_words
    from onpace.deploy.silencing import NewAcknowledgement, desk_for, managers_of

    _need(by, "who acknowledges it? --by NAME")
    named = {"rule": rule, "kpi": kpi, "severity": severity, "period": period, "match": _labels(match or [])}
    wanted = _built(NewAcknowledgement, named | {"by": by, "why": why or ""})
    with desk_for(settings, catalog) as desk:
        known = desk.acknowledge(wanted)
    for one in known:
        typer.echo(f"{alert_words(one)}, firing since {moment_words(one.fired_at)}: acknowledged by {one.by}")
    if managers := managers_of(catalog, wanted):
        typer.echo(f"{', '.join(managers)} goes on all the same: an Alertmanager knows silences only", err=True)


def _need(text: str | None, message: str) -> str:
    if text is None or not text.strip():
        raise OnPaceError(message)
    return text


def _labels(texts: Sequence[str]) -> dict[str, str]:
    labels: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise OnPaceError(f"--match '{text}': write dimension=value, as in region=EU")
        labels[name.strip()] = value
    return labels


def _zone(catalog: Catalog, rule: str | None, kpi: str | None) -> ZoneInfo:
    """That of times which name none: of the KPI that it is about, or of all KPIs if they have the same; else UTC."""
    name = catalog.rules[rule].kpi if rule in catalog.rules else kpi
    meant = [catalog.kpis[name]] if name in catalog.kpis else list(catalog.kpis.values())
    zones = {one.timezone for one in meant}
    return ZoneInfo(zones.pop() if len(zones) == 1 else "UTC")


def _instant(option: str, text: str, zone: ZoneInfo) -> datetime:
    from onpace.config.silences import instant_in

    try:
        return instant_in(text, zone)
    except ValueError as exc:
        raise OnPaceError(f"{option}: {exc}") from None


def _end(length: str | None, until: str | None, start: datetime | None, zone: ZoneInfo) -> datetime:
    if (length is None) == (until is None):
        raise OnPaceError("a silence needs an end: --for 2h, or --until 2026-11-30T06:00")
    if until is not None:
        return _instant("--until", until, zone)
    try:
        return (start or now()) + parse_duration(length or "")
    except ValueError as exc:
        raise OnPaceError(f"--for: {exc}") from None
    except OverflowError:
        raise OnPaceError(f"--for {length} is too long: write it as in 2h") from None


def _built(model: type[M], given: dict[str, Any]) -> M:
    from pydantic import ValidationError

    try:
        return model.model_validate(given)
    except ValidationError as exc:
        first = exc.errors()[0]
        cause = first.get("ctx", {}).get("error") or f"'{first['input']}': {first['msg']}"
        raise OnPaceError(f"--{first['loc'][0]}: {cause}") from None


def _sentence(one: Silence) -> str:
    from onpace.alerts.silences import moment_words

    begins = f" from {moment_words(one.start)}" if one.start and one.start > now() else ""
    return f"{one.matchers}{begins} until {moment_words(one.until)}, by {one.words}"


def _print(silences: Sequence[Silence]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None)
    for name in ("silence", "state", "alerts", "by", "why", "from (UTC)", "until (UTC)", ""):
        table.add_column(name, overflow="fold", no_wrap=name == "silence")
    at = now()
    for one in silences:
        state = one.state(at) + (f" by {one.ended_by}" if one.ended_by else "")
        start = f"{one.start:%Y-%m-%d %H:%M}" if one.start else ""
        cells = (one.id, state, str(one.matchers), one.by, one.why, start, f"{one.until:%Y-%m-%d %H:%M}")
        table.add_row(*map(Text, cells), Text("KPI files" if one.declared else "", style="dim"))
    console().print(table)
