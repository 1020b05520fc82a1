"""Commands about KPIs: validate, schema, query, status, migrate, dashboards."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator, Sequence
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from onpace.config.errors import OnPaceError, did_you_mean
from onpace.deploy.cli_options import Data, Kpis, Owner, console, instant, settings_with
from onpace.deploy.stores import catalog_of, now, open_store, prepare_store

if TYPE_CHECKING:
    from onpace.config.calendar import Grain
    from onpace.processors.reader import Series

__all__ = ["add_to"]


class RowFormat(StrEnum):
    """How rows are printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


class DocumentFormat(StrEnum):
    """How a document is printed."""

    TABLE = "table"
    JSON = "json"


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    for command in (validate, schema, query, status, migrate, dashboards):
        app.command()(command)


def validate(folder: Annotated[Path, typer.Argument(help="Folder of KPI files, or one file.")]) -> None:
    """Check KPI files: every problem at once, each with file and line. Exit code 1 if there is any."""
    from onpace.config.loader import load_catalog

    catalog = load_catalog(folder, private_webhooks=settings_with(kpis=folder).engine.private_webhooks)
    typer.echo(
        f"{folder}: {len(catalog.events)} events, {len(catalog.kpis)} KPIs, {len(catalog.rules)} rules, no problems"
    )


def schema(tests: Annotated[bool, typer.Option("--tests", help="Of files of rule tests instead.")] = False) -> None:
    """Print the JSON Schema of KPI files, for editors."""
    from onpace.config.schema import kpi_file_schema, rule_test_schema

    print(json.dumps(rule_test_schema() if tests else kpi_file_schema(), indent=2, ensure_ascii=False))


def query(
    kpi: str,
    grain: Annotated[
        str, typer.Option(help="minute, hour, day, week, month, quarter, year, fiscal_quarter or fiscal_year.")
    ] = "day",
    start: Annotated[
        str | None,
        typer.Option(help="First window; in the KPI's time zone. [default: its first event]", show_default=False),
    ] = None,
    end: Annotated[str | None, typer.Option(help="End (exclusive). [default: now]", show_default=False)] = None,
    by: Annotated[str, typer.Option(help="Dimensions, with commas between.")] = "",
    where: Annotated[
        list[str] | None, typer.Option(help="dimension=value; may be repeated.", show_default=False)
    ] = None,
    format: Annotated[RowFormat, typer.Option(help="How to print.")] = RowFormat.TABLE,
    data: Data = None,
    kpis: Kpis = None,
) -> None:
    """Print a KPI's values by window and dimension."""
    settings = settings_with(data=data, kpis=kpis)
    catalog = catalog_of(settings)
    zone = catalog.kpi(kpi).zone
    dims = [name.strip() for name in by.split(",") if name.strip()]
    conditions = dict(_condition(text) for text in where or [])
    wanted = _grain(grain)
    first = instant(start, zone) if start else None
    last = instant(end, zone) if end else now()
    with open_store(settings, catalog) as store:
        from onpace.processors.reader import Reader

        reader = Reader(store, catalog)
        try:
            series = reader.series(
                kpi, wanted, first or reader.first_event(kpi) or last, last, by=dims, where=conditions
            )
        except ValueError as exc:
            raise OnPaceError(str(exc)) from None
    _print(list(_rows(series, dims)), dims, format)


def _grain(text: str) -> Grain:
    from onpace.config.calendar import Grain

    aliases = {"1min": "minute", "1h": "hour", "1d": "day"}
    try:
        return Grain(aliases.get(text, text))
    except ValueError:
        known = [str(grain) for grain in Grain]
        raise OnPaceError(f"unknown grain '{text}'{did_you_mean(text, known)}: one of {', '.join(known)}") from None


def _condition(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise OnPaceError(f"--where '{text}': write dimension=value")
    return name.strip(), value


def _rows(series: Series, dims: Sequence[str]) -> Iterator[dict[str, Any]]:
    flat = [(point.window_start, key, point) for key, points in series.items() for point in points]
    for opened, key, point in sorted(flat, key=lambda row: (row[0], [part or "" for part in row[1]])):
        yield {
            "window_start": _text(opened),
            **dict(zip(dims, key, strict=True)),
            "value": point.value,
            "complete": point.complete,
        }


def _text(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def _print(rows: list[dict[str, Any]], dims: Sequence[str], format: RowFormat) -> None:
    names = ["window_start", *dims, "value", "complete"]
    match format:
        case RowFormat.JSON:
            print(json.dumps(rows, indent=1, ensure_ascii=False))
        case RowFormat.CSV:
            writer = csv.DictWriter(sys.stdout, names, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        case RowFormat.TABLE:
            from rich.table import Table
            from rich.text import Text

            table = Table(*names, box=None)
            for row in rows:
                table.add_row(*(Text("" if row[name] is None else str(row[name])) for name in names))
            console().print(table)


def status(
    owner: Owner = None,
    format: Annotated[DocumentFormat, typer.Option(help="How to print.")] = DocumentFormat.TABLE,
    data: Data = None,
    kpis: Kpis = None,
) -> None:
    """Print where every KPI stands now: value, target, gap and status."""
    settings = settings_with(data=data, kpis=kpis)
    catalog = catalog_of(settings)
    with open_store(settings, catalog) as store:
        from prometheus_client import CollectorRegistry

        from onpace.alerts.silence_rows import quiet_lines
        from onpace.alerts.status_page import overdue_lines, status_document, status_table
        from onpace.deploy.wiring import AlertPart

        evaluation = AlertPart(settings, catalog, store, CollectorRegistry()).preview()
    if format is DocumentFormat.JSON:
        print(json.dumps(status_document(evaluation, catalog, owner), indent=1, ensure_ascii=False))
    else:
        console().print(status_table(evaluation, catalog, owner))
        for line in (*overdue_lines(evaluation, catalog, owner), *quiet_lines(evaluation, catalog, owner)):
            typer.echo(line)


def migrate(data: Data = None, kpis: Kpis = None) -> None:
    """Bring ClickHouse's tables and views up to date. Safe to repeat."""
    settings = settings_with(data=data, kpis=kpis)
    catalog = catalog_of(settings)
    with open_store(settings, write=True) as store:
        prepare_store(store, catalog, settings.kafka.topic)
        typer.echo(f"{store.address}: tables and views are up to date")


def dashboards(folder: Annotated[Path, typer.Argument(help="Where to write onpace.json.")], kpis: Kpis = None) -> None:
    """Write the Grafana dashboard of the KPI files."""
    from onpace.deploy.dashboard import render

    catalog = catalog_of(settings_with(kpis=kpis))
    target = folder / "onpace.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        target.write_text(render(catalog))
    except OSError as exc:
        raise OnPaceError(f"{target} cannot be written: {exc.strerror}") from exc
    typer.echo(f"wrote {target}")
