"""`onpace backtest`: when a rule would have fired, replayed from the archive as it was known then."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from onpace.config.durations import parse_duration
from onpace.config.errors import OnPaceError, UnknownName
from onpace.deploy.cli_kpis import DocumentFormat
from onpace.deploy.cli_options import Data, Kpis, instant, settings_with
from onpace.deploy.stores import catalog_of

if TYPE_CHECKING:
    from onpace.config.catalog import Catalog
    from onpace.deploy.backtesting import Progress, Question

__all__ = ["add_to", "quietly"]

SAY_EVERY_SECONDS = 10.0
"""How often progress is said where there is no terminal."""


class ArrivalChoice(StrEnum):
    """When an event counts as known."""

    RECORDED = "recorded"
    EVENT = "event"


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(backtest)


def backtest(
    rule: Annotated[str, typer.Argument(help="A rule of the KPI files; it need not have run yet.")],
    start: Annotated[str, typer.Option(help="From when on; in the KPI's time zone.")],
    end: Annotated[str, typer.Option(help="Until when (exclusive).")],
    every: Annotated[
        str | None,
        typer.Option(
            help="For rules on targets and no_data rules: how far apart to look, as in 15min. [default: by the rule]",
            show_default=False,
        ),
    ] = None,
    arrival: Annotated[
        ArrivalChoice,
        typer.Option(
            help="When events became known: as recorded, or when they happened, for a history that was loaded later."
        ),
    ] = ArrivalChoice.RECORDED,
    incidents: Annotated[
        Path | None,
        typer.Option(help="Incidents that should have been told of: a YAML or CSV file.", show_default=False),
    ] = None,
    format: Annotated[DocumentFormat, typer.Option(help="How to print.")] = DocumentFormat.TABLE,
    data: Data = None,
    kpis: Kpis = None,
) -> None:
    """Print when a rule would have fired and cleared, how often a week, and how soon it would have told of incidents.

    The archive is replayed in the order in which events arrived, so nothing is known before it was.
    """
    from onpace.deploy.backtest_text import answer_document, answer_lines
    from onpace.deploy.backtesting import backtest as answer

    settings = settings_with(data=data, kpis=kpis)
    catalog = catalog_of(settings)
    question = _question(catalog, rule, start, end, incidents)
    question = replace(question, every=_step(every), punctual=arrival is ArrivalChoice.EVENT)
    quietly()
    with _progress(f"backtest of {rule}", question.start, question.end) as told:
        found = answer(settings, catalog, question, told)
    if format is DocumentFormat.JSON:
        print(json.dumps(answer_document(found), indent=1, ensure_ascii=False))
    else:
        for line in answer_lines(found):
            print(line)


def _question(catalog: Catalog, rule: str, start: str, end: str, incidents: Path | None) -> Question:
    """What is asked, checked against the KPI files. Raises OnPaceError."""
    from onpace.config.incidents import load_incidents
    from onpace.deploy.backtesting import Question, check_incidents, part_for

    zone = part_for(catalog, rule).kpi(catalog.rules[rule].kpi).zone
    first, last = instant(start, zone), instant(end, zone)
    if last <= first:
        raise OnPaceError(f"--end {end} is not after --start {start}")
    known = load_incidents(incidents, zone) if incidents else []
    try:
        check_incidents(known, catalog, rule)
    except UnknownName as exc:
        raise OnPaceError(f"{incidents}: {exc}") from None
    return Question(rule, first, last, incidents=tuple(known))


def _step(text: str | None) -> timedelta | None:
    if text is None:
        return None
    try:
        found = parse_duration(text)
    except ValueError as exc:
        raise OnPaceError(f"--every {exc}") from None
    if not found:
        raise OnPaceError("--every 0s: write how far apart to look, as in 15min")
    return found


def quietly() -> None:
    """Alerts of a world that is not the real one are not logged as if they were."""
    import structlog

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))


@contextmanager
def _progress(title: str, start: datetime, end: datetime) -> Iterator[Progress]:
    """A bar on standard error where that is a terminal, else a line now and then."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[at]}, {task.fields[events]:,} events"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=(end - start).total_seconds(), at="reading the archive", events=0)

        said = time.monotonic()

        def told(now: datetime, events: int) -> None:
            nonlocal said
            if not console.is_terminal and time.monotonic() - said > SAY_EVERY_SECONDS:
                said = time.monotonic()
                print(f"{title}: {now:%Y-%m-%d}, {events:,} events", file=sys.stderr, flush=True)
            bar.update(task, completed=max((now - start).total_seconds(), 0), at=f"{now:%Y-%m-%d}", events=events)

        yield told
