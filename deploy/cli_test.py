"""`onpace test`: rule tests, from events to alerts."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from onpace.config.errors import ConfigError, OnPaceError, Problem
from onpace.deploy.cli_backtest import quietly
from onpace.deploy.cli_options import settings_with

if TYPE_CHECKING:
    from onpace.config.rule_tests import Suite
    from onpace.deploy.rule_testing import Outcome

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("test")(run_rule_tests)


def run_rule_tests(
    folder: Annotated[Path, typer.Argument(help="Folder with *.test.yaml files, in it or below, or one file.")],
    junit: Annotated[
        Path | None, typer.Option(help="Write the outcome as JUnit XML as well.", show_default=False)
    ] = None,
) -> None:
    """Test rules: events are sent through the processor, and values, statuses and alerts are compared. No Kafka needed.

    Exit code 1 if anything is other than expected.
    """
    suites = _suites(folder)

    from onpace.deploy.rule_testing import run_tests
    from onpace.deploy.world import temporary_store

    begun = time.perf_counter()
    quietly()
    with temporary_store() as store:
        outcomes = list(_shown(run_tests(store, suites, settings_with())))
    if junit is not None:
        _write(junit, outcomes)
    failed = sum(bool(one.problems) for one in outcomes)
    print(f"{len(outcomes)} tests, {failed} failed, {time.perf_counter() - begun:.1f} s")
    if failed:
        raise typer.Exit(1)


def _suites(folder: Path) -> list[Suite]:
    from onpace.config.rule_tests import find_suites, load_suite

    if not folder.exists():
        raise OnPaceError(f"{folder}: no such file or folder: name the one that holds *.test.yaml files")
    paths = find_suites(folder)
    if not paths:
        raise OnPaceError(
            f"no rule tests in {folder}: put a file such as rules.test.yaml there (docs/testing-rules.md)"
        )
    private = settings_with().engine.private_webhooks
    suites: list[Suite] = []
    problems: list[Problem] = []
    for path in paths:
        try:
            suites.append(load_suite(path, private_webhooks=private))
        except ConfigError as exc:
            problems += exc.problems
    if problems:
        raise ConfigError(dict.fromkeys(problems))
    return suites


def _shown(outcomes: Iterable[Outcome]) -> Iterable[Outcome]:
    """Each is printed as soon as it is there."""
    path = None
    for one in outcomes:
        if one.suite.path != path:
            path = one.suite.path
            print(path)
        word = "FAIL" if one.problems else "ok"
        print(f"  {word:4}  {one.test.name}  ({one.events:,} events, {one.seconds:.2f} s)", flush=True)
        for problem in one.problems:
            print(f"        {problem}")
        yield one


def _write(path: Path, outcomes: list[Outcome]) -> None:
    from onpace.deploy.junit import junit_xml

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(junit_xml(outcomes), encoding="utf-8")
    except OSError as exc:
        raise OnPaceError(f"{path} cannot be written: {exc.strerror}") from exc
