"""`onpace rebuild`: the history of new and redefined KPIs, recomputed from the raw archive."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from onpace.config.errors import DataFolderBusy, OnPaceError
from onpace.deploy.cli_options import Data, Kpis, settings_with
from onpace.deploy.stores import catalog_of, now, open_store, prepare_store

if TYPE_CHECKING:
    from onpace.processors.rebuild import Gap

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(rebuild)


def rebuild(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[KPI]...", help="[default: all that need it]", show_default=False)
    ] = None,
    data: Data = None,
    kpis: Kpis = None,
) -> None:
    """Backfill from the raw archive what the stream does not hold of KPIs: those that are new or defined otherwise.

    A running processor does so by itself; this is for a store that nothing runs on, or to have it done at once.
    """
    from onpace.processors.rebuild import NEVER_STREAMED, Rebuilder

    settings = settings_with(data=data, kpis=kpis)
    catalog = catalog_of(settings)
    wanted = {stream.name for name in names or catalog.kpis for stream in catalog.streams(catalog.kpi(name))}
    try:
        with open_store(settings, catalog, write=True) as store:
            prepare_store(store, catalog, settings.kafka.topic)
            rebuilder = Rebuilder(store, catalog, settings.kafka.topic, settings.processor, now)
            gaps = [part for gap in rebuilder.gaps() if (part := gap.only(wanted))]
            served = settings.clickhouse.url is not None
            unknown = [gap for gap in gaps if served and gap.start == NEVER_STREAMED and rebuilder.lives(gap)]
            if unknown:
                raise OnPaceError(
                    f"no processor has taken up {', '.join(_kpis(unknown))} yet: give it these KPI files, "
                    "and it rebuilds by itself"
                )
            for gap in gaps:
                rebuilder.fill(gap)
    except DataFolderBusy as exc:
        raise OnPaceError(f"{exc}; a stack that runs on it rebuilds by itself") from None
    typer.echo(f"rebuilt from the archive: {', '.join(_kpis(gaps))}" if gaps else "nothing to rebuild")


def _kpis(gaps: Sequence[Gap]) -> list[str]:
    """The KPIs in the files: what the stream holds of one that follows entities is named `kpi.part`."""
    return sorted({name.partition(".")[0] for gap in gaps for name in gap.kpis})
