"""All commands in one, and those that run until they are stopped: up, gateway, process, alert.

What a command needs is imported when it runs, so that `onpace --help` and `onpace validate` are quick.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from onpace.config.errors import OnPaceError
from onpace.deploy import (
    cli_backtest,
    cli_events,
    cli_kpis,
    cli_library,
    cli_lint,
    cli_project,
    cli_rebuild,
    cli_report,
    cli_scorecard,
    cli_silences,
    cli_test,
    cli_topics,
    cli_why,
)
from onpace.deploy.cli_options import Backfill, Data, Kpis, Port, events_file, settings_with
from onpace.deploy.stores import catalog_of

if TYPE_CHECKING:
    from onpace.deploy.up import Urls
    from onpace.ingest.files import ReplayResult

__all__ = ["app_of"]

SERVING = ("up", "gateway", "process", "alert")


def app_of(restore: Callable[[], object]) -> typer.Typer:
    """The command line. `restore` puts the usual signal handlers back, for commands that end by themselves."""
    app = typer.Typer(
        name="onpace",
        help="Business events in; exact KPI values, pace against targets and alerts out.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )

    @app.callback()
    def before(context: typer.Context) -> None:
        if context.invoked_subcommand not in SERVING:
            restore()

    for command in (up, gateway, process, alert):
        app.command()(command)
    cli_kpis.add_to(app)
    cli_scorecard.add_to(app)
    cli_library.add_to(app)
    cli_lint.add_to(app)
    cli_events.add_to(app)
    cli_project.add_to(app)
    cli_rebuild.add_to(app)
    cli_report.add_to(app)
    cli_silences.add_to(app)
    cli_topics.add_to(app)
    cli_why.add_to(app)
    cli_backtest.add_to(app)
    cli_test.add_to(app)
    return app


def up(
    data: Data = None,
    kpis: Kpis = None,
    replay: Annotated[
        Path | None, typer.Option(help="Feed this file of events (.jsonl, .json, .csv; also .gz).", show_default=False)
    ] = None,
    exit_: Annotated[
        bool, typer.Option("--exit", help="With --replay: stop when the file is processed and evaluated.")
    ] = False,
    backfill: Backfill = None,
    port: Port = None,
) -> None:
    """Run the whole system embedded: broker, gateway, processor, alert engine, status page. Ctrl-C stops it.

    Without --kpis and --replay it runs a simulated web shop.
    """
    settings = settings_with(data=data, kpis=kpis, port=port, backfill=backfill)
    file = events_file(replay) if replay else None
    if exit_ and file is None:
        raise OnPaceError("--exit needs --replay FILE: there is nothing to wait for")
    catalog = catalog_of(settings)

    from onpace.deploy import up as stack

    if exit_ and file:
        done = stack.replay_and_exit(settings, catalog, file)
        dead = done.totals.dead + done.result.failed
        typer.echo(
            f"{replay}: {done.result.lines:,} events read, {done.totals.accepted:,} accepted, "
            f"{done.totals.duplicates:,} duplicates, {dead:,} dead letters; {done.kpis} KPIs evaluated",
            err=True,
        )
        return
    demo = settings.kpis is None and file is None
    stack.up(settings, catalog, demo=demo, replay=file, ready=_say_ready, replayed=lambda sent: _say_sent(file, sent))
    typer.echo("OnPace has stopped.")


def _say_ready(urls: Urls) -> None:
    typer.echo(
        f"OnPace is up. Ctrl-C stops it.\n"
        f"  status page  {urls.web}/\n"
        f"  metrics      {urls.web}/metrics\n"
        f"  gateway      {urls.web}/v1/events\n"
        f"  API docs     {urls.web}/docs\n"
        f"  SQL          {urls.clickhouse}\n"
        f"  Kafka        {urls.kafka}"
    )
    sys.stdout.flush()


def _say_sent(file: Path | None, result: ReplayResult) -> None:
    typer.echo(f"{file}: {result.lines:,} events read, {result.sent:,} sent, {result.failed:,} too large")
    sys.stdout.flush()


def gateway(kpis: Kpis = None, port: Port = None) -> None:
    """Take events over HTTP and hand them to Kafka."""
    settings = settings_with(kpis=kpis, port=port)
    catalog = catalog_of(settings)

    from onpace.deploy.parts import run_gateway

    run_gateway(settings, catalog)


def process(data: Data = None, kpis: Kpis = None, backfill: Backfill = None, port: Port = None) -> None:
    """Fold events from Kafka into KPI series in ClickHouse."""
    settings = settings_with(data=data, kpis=kpis, port=port, backfill=backfill)
    catalog = catalog_of(settings)

    from onpace.deploy.parts import run_processor

    run_processor(settings, catalog)


def alert(data: Data = None, kpis: Kpis = None, port: Port = None) -> None:
    """Evaluate KPIs and rules, notify, and serve the status page and KPI metrics."""
    settings = settings_with(data=data, kpis=kpis, port=port)
    catalog = catalog_of(settings)

    from onpace.deploy.parts import run_alert

    run_alert(settings, catalog)
