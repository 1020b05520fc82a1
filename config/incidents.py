"""Incidents that people know of, from a YAML or CSV file: what an alert rule should have told of."""

from __future__ import annotations

import csv
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import Field

from onpace.config.errors import ConfigError, Problem
from onpace.config.kpi import Model, Name
from onpace.config.reports import Report
from onpace.config.yaml_lines import Document, Place, read_document

__all__ = ["Incident", "load_incidents"]

COLUMNS = ("start", "end", "kpi", "label")


class Incident(Model):
    """Something that went wrong, from `start` to `end`."""

    start: datetime
    end: datetime
    kpi: Name | None = None
    """The KPI that it was seen in; without one it is for every rule."""
    series: dict[str, str] = Field(default_factory=dict)
    """The dimension values that it concerns; empty means all."""
    label: str = ""
    """What people call it."""


def load_incidents(path: Path, zone: ZoneInfo) -> list[Incident]:
    """The incidents of a file, by their start. Instants without a zone are in `zone`.

    A `.csv` file has the columns start, end and, if wanted, kpi and label; every other column is a dimension. A YAML
    file has `incidents:`, a list of the same. Raises ConfigError with every problem, each at its line.
    """
    report = Report()
    document = _read_csv(path) if path.suffix == ".csv" else read_document(path)
    report.extend(document.problems)
    found = [] if document.problems else _incidents(document, zone, report)
    if problems := report.problems():
        raise ConfigError(problems)
    return sorted(found, key=lambda one: one.start)


def _read_csv(path: Path) -> Document:
    document = Document(str(path))
    entries: list[Any] = []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            for row in rows:
                where = ("incidents", len(entries))
                document.lines[where] = rows.line_num
                if None in row:
                    message = "more cells than the first line has names: a cell that holds a comma stands in quotes"
                    document.problems.append(Problem(str(path), rows.line_num, message))
                    continue
                cells = {name.strip(): (cell or "").strip() for name, cell in row.items() if name}
                given = {name: cell for name, cell in cells.items() if name in COLUMNS and cell}
                series = {name: cell for name, cell in cells.items() if name not in COLUMNS and cell}
                entries.append(given | ({"series": series} if series else {}))
    except OSError as exc:
        document.problems.append(Problem(str(path), 0, f"cannot be read: {exc.strerror}"))
    except (UnicodeDecodeError, csv.Error):
        document.problems.append(Problem(str(path), 0, "is no CSV file in UTF-8"))
    document.content = {"incidents": entries}
    return document


def _incidents(document: Document, zone: ZoneInfo, report: Report) -> list[Incident]:
    top = Place(document)
    content = document.content
    if not isinstance(content, dict) or not isinstance(content.get("incidents"), list):
        report.add(top, "no incidents: write 'incidents:' and a list, as in - {start: 2026-10-05 09:00, end: …}")
        return []
    for key in content.keys() - {"incidents"}:
        report.add(top.at(key), f"unknown key '{key}': the file has 'incidents:' and nothing else")
    found = []
    for index, entry in enumerate(content["incidents"]):
        place = top.at("incidents", index)
        if not isinstance(entry, dict):
            report.add(place, "incident: must be a mapping, as in {start: 2026-10-05 09:00, end: 2026-10-05 11:30}")
        elif incident := _incident(entry, place, zone, report):
            found.append(incident)
    return found


def _incident(entry: dict[str, Any], place: Place, zone: ZoneInfo, report: Report) -> Incident | None:
    given = dict(entry)
    for name in ("start", "end"):
        if name in given:
            at = _instant(given[name], zone)
            if at is None:
                report.add(
                    place.at(name),
                    f"incident: {name} '{given[name]}' is no date or time: write 2026-10-05 or 2026-10-05 09:00",
                )
                return None
            given[name] = at
    incident = report.build(Incident, given, place=place, subject="incident")
    if incident and incident.end <= incident.start:
        report.add(place.at("end"), "incident: must end after its start")
        return None
    return incident


def _instant(value: Any, zone: ZoneInfo) -> datetime | None:
    try:
        found = datetime.fromisoformat(str(value))
        return (found if found.tzinfo else found.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
