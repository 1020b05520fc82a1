"""The command `report`: values that no machine emits."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from onpace.config.errors import InvalidReport, OnPaceError
from onpace.config.reporting import ReportedValue, check_begun, parse_report, reported_kpis
from onpace.deploy.cli_events import Kafka, kafka_of
from onpace.deploy.cli_kpis import DocumentFormat
from onpace.deploy.cli_options import Data, Kpis, console, settings_with
from onpace.deploy.data_folder import address_of
from onpace.deploy.stores import catalog_of, now, open_store

if TYPE_CHECKING:
    from onpace.config.catalog import Catalog
    from onpace.config.settings import Settings
    from onpace.ingest.reporting import PlannedReport
    from onpace.processors.reports import Reported, ReportVersion

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Register the command. Numbers may be negative, so what looks like an unknown option is an argument."""
    app.command(context_settings={"ignore_unknown_options": True})(report)


def report(
    kpi: Annotated[str | None, typer.Argument(help="A KPI of type reported.", show_default=False)] = None,
    value: Annotated[str | None, typer.Argument(help="A number, such as 42 or -3.5.", show_default=False)] = None,
    period: Annotated[
        str | None, typer.Option(help="2026, 2026-Q4, 2026-10, 2026-W43 or 2026-10-05.", show_default=False)
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(help="dimension=value; may be repeated. [default: the total]", show_default=False),
    ] = None,
    source: Annotated[str, typer.Option(help="Where the number is from, such as a survey.", show_default=False)] = "",
    note: Annotated[str, typer.Option(help="What a reader should know about it.", show_default=False)] = "",
    csv: Annotated[
        Path | None,
        typer.Option(
            help="A file with the columns kpi, period, value, source, note and dimensions.", show_default=False
        ),
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="Print every version, and what is missing or overdue.")] = False,
    format: Annotated[DocumentFormat, typer.Option(help="With --list: how to print.")] = DocumentFormat.TABLE,
    kafka: Kafka = None,
    data: Data = None,
    kpis: Kpis = None,
) -> None:
    """Report a value for a period of a KPI, or correct it: the earlier version is kept."""
    settings = settings_with(data=data, kpis=kpis)
    catalog = catalog_of(settings)
    if list_:
        _refuse(value is not None or csv is not None, "--list prints what was reported: leave out VALUE and --csv")
        return _list(settings, catalog, kpi, format)
    if csv is not None:
        _refuse(kpi is not None, "--csv FILE holds KPIs and values: leave them out of the command")
        return _report_file(settings, catalog, csv, kafka)
    if kpi is None or value is None or period is None:
        raise OnPaceError(
            "what is to be reported? As in `onpace report nps 42 --period 2026-10`, or --csv FILE, or --list"
        )
    one = parse_report(catalog, kpi, period, value, by=_labels(by or []), source=source, note=note)
    return _report_one(settings, catalog, one, kafka)


def _report_one(settings: Settings, catalog: Catalog, one: ReportedValue, kafka: str | None) -> None:
    check_begun(one, now())
    for planned in _send(settings, catalog, [one], kafka):
        typer.echo(planned.sentence)


def _refuse(wrong: bool, message: str) -> None:
    if wrong:
        raise OnPaceError(message)


def _labels(texts: Sequence[str]) -> dict[str, str]:
    labels: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise OnPaceError(f"--by '{text}': write dimension=value, as in region=EU")
        if name.strip() in labels:
            raise OnPaceError(f"--by {name.strip()} is given twice: report each value by itself")
        labels[name.strip()] = value
    return labels


def _report_file(settings: Settings, catalog: Catalog, path: Path, kafka: str | None) -> None:
    """Bad rows are named and the others reported; exit code 1 if there was a bad one."""
    from onpace.ingest.report_csv import read_reports

    found = read_reports(path, catalog, now())
    for problem in found.problems:
        typer.echo(problem, err=True)
    planned = _send(settings, catalog, found.reports, kafka) if found.reports else []
    for one in planned:
        if one.event:
            typer.echo(one.sentence)
    new = sum(one.event is not None for one in planned)
    unchanged, bad = len(planned) - new, len(found.problems)
    typer.echo(f"{path}: {new} reported, {unchanged} as reported already, {bad} bad rows")
    if found.problems:
        raise typer.Exit(1)


def _send(
    settings: Settings, catalog: Catalog, reports: Sequence[ReportedValue], kafka: str | None
) -> list[PlannedReport]:
    """Through the system that runs, or through a stack of its own."""
    from onpace.deploy.reporting import report_alone, report_through

    held = address_of(settings.data)
    if settings.clickhouse.url or (held and held.kafka):
        broker = kafka_of(settings, kafka)
        with open_store(settings) as store:
            return report_through(broker, store, catalog, reports)
    if kafka:
        settings = settings.model_copy(update={"kafka": settings.kafka.model_copy(update={"bootstrap": kafka})})
    return report_alone(settings, catalog, reports)


def _list(settings: Settings, catalog: Catalog, kpi: str | None, format: DocumentFormat) -> None:
    from onpace.processors.reports import Reports

    names = [one.name for one in reported_kpis(catalog)]
    if kpi is not None and kpi not in names:
        catalog.kpi(kpi)
        raise InvalidReport(f"KPI '{kpi}' is computed from events; those that are reported are: {', '.join(names)}")
    with open_store(settings, catalog) as store:
        reports = Reports(store, catalog)
        versions = reports.versions(kpi)
        reported = {name: one for name, one in reports.reported().items() if kpi in (None, name)}
    if format is DocumentFormat.JSON:
        print(json.dumps(_document(versions, reported), indent=1, ensure_ascii=False))
        return
    if versions:
        _print_versions(versions)
    for name, one in reported.items():
        _print_missing(name, one)


def _document(versions: Sequence[ReportVersion], reported: dict[str, Reported]) -> dict[str, object]:
    at = now()
    return {
        "reports": [
            {
                "kpi": one.kpi,
                "period": one.period,
                "by": dict(one.by),
                "value": float(one.value),
                "source": one.source,
                "note": one.note,
                "reported_at": one.reported_at.isoformat(),
                "current": one.current,
            }
            for one in versions
        ],
        "missing": {name: [str(period) for period in one.missing(at)] for name, one in reported.items()},
        "overdue": {name: late.reason for name, one in reported.items() if (late := one.overdue(at))},
    }


def _print_versions(versions: Sequence[ReportVersion]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None)
    for name in ("KPI", "period", "by", "value", "source", "note", "reported (UTC)", ""):
        table.add_column(name, overflow="fold", justify="right" if name == "value" else "left")
    for one in versions:
        by = " ".join(f"{name}={value}" for name, value in one.by)
        style = "" if one.current else "dim"
        cells = (one.kpi, one.period, by, one.value, one.source, one.note, f"{one.reported_at:%Y-%m-%d %H:%M:%S}")
        table.add_row(*(Text(cell, style) for cell in cells), Text("" if one.current else "replaced", style))
    console().print(table)


def _print_missing(name: str, one: Reported) -> None:
    at = now()
    late = one.overdue(at)
    if late:
        typer.echo(late.reason)
    waiting = [str(period) for period in one.missing(at) if not (late and period in late.periods)]
    if waiting:
        typer.echo(f"{name} for {', '.join(waiting)} is not reported yet, and not due yet")
