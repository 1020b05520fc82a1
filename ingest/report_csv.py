"""Reports from a CSV file: a row each, and every bad row with its line."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from onpace.config.catalog import Catalog
from onpace.config.errors import InvalidReport, OnPaceError, UnknownName
from onpace.config.reporting import ReportedValue, check_begun, parse_report
from onpace.ingest.reporting import ReportKey, key_of

__all__ = ["ReportFile", "read_reports"]

REQUIRED = ("kpi", "period", "value")
COLUMNS = (*REQUIRED, "source", "note")


@dataclass(slots=True)
class ReportFile:
    """The reports of a file, in its order, and what is wrong with the other rows."""

    reports: list[ReportedValue] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """`file:line: what is wrong`."""


def read_reports(path: Path, catalog: Catalog, now: datetime) -> ReportFile:
    """The reports of a CSV file with the columns kpi, period, value, source, note and one for each dimension.

    An empty cell is nothing. A period that has not begun at `now` is wrong.
    Raises OnPaceError for a file that cannot be read or lacks a column.
    """
    found = ReportFile()
    lines: dict[ReportKey, int] = {}
    for line, cells in _rows(path):
        try:
            report = _report(catalog, cells)
            check_begun(report, now)
            first = lines.setdefault(key_of(report), line)
            if first != line:
                raise InvalidReport(f"{report.subject} is on line {first} already: leave one of them out")
        except (InvalidReport, UnknownName) as exc:
            found.problems.append(f"{path}:{line}: {exc}")
        else:
            found.reports.append(report)
    return found


def _report(catalog: Catalog, cells: Mapping[str, str]) -> ReportedValue:
    if None in cells:
        raise InvalidReport("more cells than columns: put text that holds a comma in quotes")
    for name in REQUIRED:
        if not cells[name]:
            raise InvalidReport(f"'{name}' is empty")
    by = {name: cell for name, cell in cells.items() if name not in COLUMNS and cell}
    return parse_report(
        catalog,
        cells["kpi"],
        cells["period"],
        cells["value"],
        by=by,
        source=cells.get("source", ""),
        note=cells.get("note", ""),
    )


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """(line, cells by column), without spaces around; empty lines are left out."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from _cells(path, csv.DictReader(file, strict=True))
    except (OSError, UnicodeDecodeError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else "is not UTF-8"
        raise OnPaceError(f"{path}: {why}: give a CSV file with the columns {', '.join(COLUMNS)}") from exc


def _cells(path: Path, reader: csv.DictReader[str]) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        names = [name.strip() for name in reader.fieldnames or ()]
        _check_columns(path, names)
        reader.fieldnames = names
        for row in reader:
            cells = {name: cell.strip() if isinstance(cell, str) else "" for name, cell in row.items()}
            if any(cells.values()) or None in cells:
                yield reader.line_num, cells
    except csv.Error as exc:
        raise OnPaceError(f"{path}: no CSV after line {reader.line_num}: {exc}") from exc


def _check_columns(path: Path, names: list[str]) -> None:
    if missing := [name for name in REQUIRED if name not in names]:
        what = "column" if len(missing) == 1 else "columns"
        raise OnPaceError(f"{path}:1: {what} {', '.join(missing)} missing: the first line names {', '.join(COLUMNS)}")
    for at, name in enumerate(names):
        if name in names[:at]:
            raise OnPaceError(f"{path}:1: column '{name}' is there twice")
