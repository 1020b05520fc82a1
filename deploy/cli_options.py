"""What several commands share: options, how they become settings, and how tables are printed."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

import typer

from onpace.config.errors import ConfigError, OnPaceError, Problem

if TYPE_CHECKING:
    from rich.console import Console

    from onpace.config.settings import Settings

__all__ = [
    "Backfill",
    "Data",
    "Kpis",
    "Owner",
    "Port",
    "TextFormat",
    "console",
    "events_file",
    "instant",
    "settings_with",
]

Data = Annotated[
    Path | None, typer.Option(help="Data folder of the embedded engine. [default: onpace-data]", show_default=False)
]
Kpis = Annotated[
    Path | None,
    typer.Option(
        help="Folder of KPI files. [default: the one the data folder was last used with, or the simulated shop's]",
        show_default=False,
    ),
]
Owner = Annotated[
    str | None,
    typer.Option(help="Only what is this owner's; the owner's individual KPIs are shown too.", show_default=False),
]
Backfill = Annotated[
    bool | None,
    typer.Option(
        "--backfill/--no-backfill",
        help="Rebuild the history of new and changed KPIs from the archive, or leave it to `onpace rebuild`. "
        "[default: backfill]",
        show_default=False,
    ),
]
Port = Annotated[
    int | None, typer.Option(min=0, max=65535, help="Port to listen on. [default: 8080]", show_default=False)
]


class TextFormat(StrEnum):
    """How sentences are printed."""

    TEXT = "text"
    JSON = "json"


WIDE = 400
"""Columns of a table that is not printed on a terminal: whatever reads it wants all of it."""


def settings_with(
    *, data: Path | None = None, kpis: Path | None = None, port: int | None = None, backfill: bool | None = None
) -> Settings:
    """The settings from the environment, with what the command line says on top. Raises ConfigError."""
    from onpace.deploy.data_folder import last_address

    settings = _from_environment()
    if data is not None:
        settings = settings.model_copy(update={"data": data})
    if kpis is None and settings.kpis is None and settings.clickhouse.url is None:
        last = last_address(settings.data)
        kpis = Path(last.kpis) if last and last.kpis else None
    if kpis is not None:
        settings = settings.model_copy(update={"kpis": kpis})
    if backfill is not None:
        processor = settings.processor.model_copy(update={"backfill": backfill})
        settings = settings.model_copy(update={"processor": processor})
    if port is not None:
        settings = settings.model_copy(update={"web": settings.web.model_copy(update={"port": port})})
    return settings


def _from_environment() -> Settings:
    from pydantic import ValidationError
    from pydantic_settings import SettingsError

    from onpace.config.settings import Settings

    try:
        return Settings()
    except ValidationError as exc:
        names = {"ONPACE_" + "__".join(str(part).upper() for part in error["loc"]): error for error in exc.errors()}
        raise ConfigError(
            Problem(name, 0, f"{error['msg']}: see docs/operations.md") for name, error in names.items()
        ) from None
    except SettingsError as exc:
        raise OnPaceError(f"settings: {exc}") from None


def events_file(path: Path) -> Path:
    """The path of a file of events. Raises OnPaceError when there is none."""
    if not path.is_file():
        raise OnPaceError(f"{path}: no such file: give a .jsonl, .jsonl.gz, .json or .csv file of events")
    return path


def instant(text: str, zone: ZoneInfo) -> datetime:
    """A date or time as given on the command line; without a zone it is in the KPI's. Raises OnPaceError."""
    try:
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise OnPaceError(f"'{text}' is not a date or time: write 2026-10-01 or 2026-10-01T12:00:00Z") from None


def console() -> Console:
    """Standard output; wide where it is no terminal, so that nothing is cut off."""
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=WIDE)
