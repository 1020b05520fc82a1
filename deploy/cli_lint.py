"""`onpace lint`: is each of these a good KPI?"""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from onpace.deploy.cli_options import Data, console, settings_with
from onpace.deploy.stores import now, open_store

if TYPE_CHECKING:
    from onpace.config.catalog import Catalog
    from onpace.config.lint.evidence import Evidence
    from onpace.config.lint.findings import Finding
    from onpace.config.settings import Settings

__all__ = ["add_to"]


class FindingFormat(StrEnum):
    """How findings are printed."""

    TABLE = "table"
    JSON = "json"
    GITHUB = "github"


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(lint)


def lint(
    folder: Annotated[Path, typer.Argument(help="Folder of KPI files, or one file.")],
    data: Data = None,
    format: Annotated[FindingFormat, typer.Option(help="How to print; github: as annotations.")] = FindingFormat.TABLE,
    exit_zero: Annotated[bool, typer.Option("--exit-zero", help="Exit code 0 whatever is found.")] = False,
) -> None:
    """Say what makes a bad KPI, and what to change. Exit code 1 if a warning is left that is not waived.

    With --data (or ONPACE_CLICKHOUSE__URL) also by what the archive and the KPIs' past say. docs/lint.md explains each
    code.
    """
    from onpace.config.lint.linter import lint as findings_of
    from onpace.config.lint.scope import Scope
    from onpace.config.loader import load_with_places

    settings = settings_with(data=data, kpis=folder)
    catalog, places = load_with_places(folder, private_webhooks=settings.engine.private_webhooks)
    wanted = data is not None or settings.clickhouse.url is not None
    evidence = _evidence(settings, catalog) if wanted else None
    findings = findings_of(Scope(catalog, places, now().date(), evidence))
    _print(findings, format)
    if any(one.severity == "warning" and one.waived is None for one in findings) and not exit_zero:
        raise typer.Exit(1)


def _evidence(settings: Settings, catalog: Catalog) -> Evidence:
    """Read only: neither views nor definitions of these files are made, for they may be a draft."""
    with open_store(settings) as store:
        from onpace.alerts.lint_evidence import with_past
        from onpace.config.lint.evidence import Evidence
        from onpace.processors.archive_facts import arrived_events, field_facts, report_facts
        from onpace.processors.reader import Reader

        arrived = arrived_events(store)
        evidence = Evidence(arrived, field_facts(store, catalog, arrived), report_facts(store, catalog))
        return with_past(evidence, catalog, Reader(store, catalog), now())


def _print(findings: Sequence[Finding], format: FindingFormat) -> None:
    match format:
        case FindingFormat.JSON:
            print(json.dumps([_row(one) for one in findings], indent=1, ensure_ascii=False))
        case FindingFormat.GITHUB:
            for one in findings:
                if one.waived is None:
                    print(_annotation(one))
        case FindingFormat.TABLE:
            _print_table([one for one in findings if one.waived is None])
            typer.echo(_summary(findings), err=True)


def _row(one: Finding) -> dict[str, Any]:
    from onpace.config.lint.codes import CODES

    return {
        "code": one.code,
        "title": CODES[one.code].title,
        "severity": one.severity,
        "file": one.place.document.path,
        "line": one.place.line,
        "subject": one.subject,
        "message": one.message,
        "remedy": one.remedy,
        "waived": one.waived,
    }


def _annotation(one: Finding) -> str:
    """A GitHub workflow command: https://docs.github.com/actions/reference/workflow-commands-for-github-actions."""
    kind = "warning" if one.severity == "warning" else "notice"
    where = f"file={_escaped(one.place.document.path, ',:')},line={one.place.line},title={one.code}"
    return f"::{kind} {where}::{_escaped(f'{_sentence(one)}; {one.remedy}')}"


def _escaped(text: str, more: str = "") -> str:
    return "".join(f"%{ord(char):02X}" if char in f"%\r\n{more}" else char for char in text)


def _sentence(one: Finding) -> str:
    return f"{one.subject} {one.message}" if one.subject else one.message


def _print_table(findings: Sequence[Finding]) -> None:
    from rich.table import Table
    from rich.text import Text

    if not findings:
        return
    table = Table("where", "code", "what is wrong, and what to change", box=None, padding=(0, 2, 0, 0))
    for one in findings:
        mark = f"{one.code}{' (info)' if one.severity == 'info' else ''}"
        table.add_row(Text(str(one.place), overflow="fold"), mark, Text(f"{_sentence(one)}. → {one.remedy}"))
    console().print(table)


def _summary(findings: Sequence[Finding]) -> str:
    left = [one for one in findings if one.waived is None]
    warnings = sum(one.severity == "warning" for one in left)
    counts = f"{warnings} warnings, {len(left) - warnings} infos, {len(findings) - len(left)} waived"
    return f"{counts}; docs/lint.md explains each code" if left else f"{counts}: nothing to change"
