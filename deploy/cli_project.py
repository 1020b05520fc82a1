"""The command `onpace emit-project`: a project's critical path and values from its list of tasks, as events."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import uuid4

import typer

from onpace.config.errors import InvalidEvent, OnPaceError
from onpace.deploy.cli_events import Kafka, kafka_of
from onpace.deploy.cli_options import Data, Kpis, settings_with
from onpace.deploy.stores import catalog_of, now

if TYPE_CHECKING:
    from onpace.ingest.critical_path import Project

__all__ = ["add_to"]

SOURCE = "/onpace/emit-project"


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("emit-project")(emit_project)


def emit_project(
    tasks: Annotated[Path, typer.Argument(help="Tasks with id, days and after: .yaml or .csv.")],
    project: Annotated[
        str | None, typer.Option(help="The project's name. [default: `project` in the file]", show_default=False)
    ] = None,
    time: Annotated[str | None, typer.Option(help="Event time with a zone. [default: now]", show_default=False)] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the events instead of sending them.")] = False,
    kafka: Kafka = None,
    data: Data = None,
    kpis: Kpis = None,
) -> None:
    """Compute a project's critical path from its tasks and send it, for the library's KPIs of projects.

    Tasks with planned_value, earned_value and actual_cost are sent too: for CPI and SPI.
    """
    from onpace.ingest.critical_path import critical_path, project_events, read_project

    found = read_project(tasks)
    name = _name(found, project, tasks)
    events = list(project_events(name, found.tasks))
    at = _time(time)
    if dry_run:
        for event_type, content in events:
            head = {"specversion": "1.0", "id": str(uuid4()), "source": SOURCE, "type": event_type}
            print(json.dumps({**head, "time": at.isoformat(), "subject": name, "data": content}, ensure_ascii=False))
        return
    _send(events, name, at, kafka, data, kpis)
    path = critical_path(found.tasks)
    typer.echo(f"{name}: {path.days:g} days: {' -> '.join(path.tasks)}; {len(events)} events sent")


def _name(found: Project, given: str | None, file: Path) -> str:
    name = given or found.name
    if not name:
        raise OnPaceError(f"{file} does not name the project: give --project NAME, or 'project: NAME' in the file")
    return name


def _time(text: str | None) -> datetime:
    try:
        at = datetime.fromisoformat(text) if text else now()
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise OnPaceError(f"--time '{text}': write 2026-10-01T12:00:00Z")
    return at


def _send(
    events: list[tuple[str, dict[str, Any]]],
    name: str,
    at: datetime,
    kafka: str | None,
    data: Path | None,
    kpis: Path | None,
) -> None:
    settings = settings_with(data=data, kpis=kpis)
    types, broker = catalog_of(settings).events, kafka_of(settings, kafka)
    missing = sorted({event_type for event_type, _ in events} - types.keys())
    if missing:
        raise OnPaceError(
            f"no KPI file declares the event {missing[0]}: use library/projects.critical_path_length, cpi and spi there"
        )

    from onpace.ingest.producer import EventProducer

    try:
        with EventProducer(broker, source=SOURCE, event_types=types) as producer:
            for event_type, content in events:
                producer.send(event_type, content, time=at, subject=name)
            producer.flush(60)
    except InvalidEvent as exc:
        raise OnPaceError(f"not sent: {exc}") from None
