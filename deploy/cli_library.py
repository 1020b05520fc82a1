"""Commands about the KPI library: `onpace library` lists and explains it, `onpace init` writes a first KPI file."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import available_timezones

import typer

from onpace.config.errors import OnPaceError, did_you_mean
from onpace.deploy.cli_kpis import DocumentFormat
from onpace.deploy.stores import now

if TYPE_CHECKING:
    from onpace.config.templates import Template

__all__ = ["add_to", "starter_yaml"]

FILE = "kpis.yaml"
TESTS = "rules.test.yaml"


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("library")(show_library)
    app.command()(init)


def show_library(
    name: Annotated[
        str | None, typer.Argument(help="An entry, such as saas.mrr, or a domain. [default: all]", show_default=False)
    ] = None,
    format: Annotated[DocumentFormat, typer.Option(help="How to print.")] = DocumentFormat.TABLE,
) -> None:
    """List the KPIs of the library by domain, or explain one: what it is, what it needs, and how it is used."""
    from onpace.config.templates import library

    shelf = library()
    if name is not None and name not in shelf.domains:
        entry = shelf.find(name)
        text = json.dumps(_document(entry), indent=1, ensure_ascii=False)
        print(text if format is DocumentFormat.JSON else _explained(entry))
        return
    entries = [entry for entry in shelf.templates.values() if name in (None, entry.domain)]
    if format is DocumentFormat.JSON:
        print(json.dumps([_document(entry) for entry in entries], indent=1, ensure_ascii=False))
        return
    width = max(len(entry.key) for entry in entries)
    for domain, title in shelf.domains.items():
        listed = [entry for entry in entries if entry.domain == domain]
        if listed:
            print(f"{title}")
        for entry in listed:
            print(f"  {entry.key:{width}}  {entry.spec['role']:7}  {entry.definition}")


def _document(entry: Template) -> dict[str, Any]:
    return {
        "use": f"library/{entry.key}",
        "title": entry.spec["title"],
        "definition": entry.definition,
        "formula": entry.formula,
        "source": entry.source,
        "unit": entry.spec["unit"],
        "direction": entry.spec["direction"],
        "role": entry.spec["role"],
        "pitfalls": list(entry.pitfalls),
        "guard_with": list(entry.guard_with),
        "levers": list(entry.levers),
        "events": {event: list(names) for event, names in _needs(entry).items()},
        "yaml": starter_yaml(entry),
    }


def _needs(entry: Template) -> dict[str, tuple[str, ...]]:
    from onpace.config.templates import library

    return library().needs(entry)


def _explained(entry: Template) -> str:
    from onpace.config.templates import library

    spec = entry.spec
    lines = [
        f"{spec['title']}  (library/{entry.key})",
        "",
        entry.definition,
        "",
        f"formula     {entry.formula}",
        f"source      {entry.source}",
        f"unit        {spec['unit']}{', yours' if spec['unit'] == 'currency' else ''}",
        f"direction   {spec['direction']}",
        f"role        {spec['role']}",
        "",
        "pitfalls",
        *(f"  - {pitfall}" for pitfall in entry.pitfalls),
        "",
        f"watch beside it: {', '.join(entry.guard_with)}",
        f"what moves it:   {', '.join(entry.levers)}",
        "",
    ]
    if inputs := [part.key for part in library().inputs(entry)]:
        lines += [f"made of: {', '.join(inputs)} (they come along)", ""]
    lines += ["events", *_event_lines(entry), "", "in a KPI file, under kpis:", "", starter_yaml(entry)]
    return "\n".join(lines)


def _event_lines(entry: Template) -> list[str]:
    from onpace.config.templates import library

    needs = _needs(entry)
    if not needs:
        return [f"  none: people report it, as in onpace report {entry.name} 42 --period …"]
    lines = []
    for event, names in needs.items():
        declared = library().events[event]
        lines.append(f"  {event}: {declared['description']}")
        lines += [f"    {name}: {declared['properties'][name]['type']}" for name in names]
    return lines


def starter_yaml(entry: Template) -> str:
    """Lines to paste under `kpis:`, with a target to change and a comment that shows how events are mapped."""
    target = "{every: month, min: 1, max: 2, tolerance: 0.1}"
    if entry.spec["direction"] != "in_range":
        target = "{every: month, value: %s}" % ("0.5" if entry.spec["unit"] == "ratio" else "100")
    every = {"quarter": "quarter", "year": "year"}.get(str(entry.spec.get("cadence")), "month")
    maps = [
        f"    #   {event}: {{{', '.join([f'event: my.{event}', *(f'{name}: my_{name}' for name in names)])}}}"
        for event, names in _needs(entry).items()
    ]
    return "\n".join(
        [
            f"  - use: library/{entry.key}",
            f"    name: {entry.name}",
            "    owner: me",
            f"    targets: [{target.replace('month', every)}]",
            *(["    # map:   # if your events and properties have other names", *maps] if maps else []),
        ]
    )


def init(
    folder: Annotated[Path, typer.Argument(help="Folder for the KPI file.")] = Path("kpis"),
    business: Annotated[
        str | None,
        typer.Option(
            help="shop, saas, b2b, support, operations, content, software or project. [default: asks]",
            show_default=False,
        ),
    ] = None,
    owner: Annotated[str, typer.Option(help="Who answers for these KPIs.")] = "me",
    currency: Annotated[str, typer.Option(help="The unit of money.")] = "EUR",
    timezone: Annotated[str, typer.Option(help="Where days begin and end.")] = "UTC",
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write a first KPI file, with a rule test: three to five KPIs that fit the business, leading and lagging ones."""
    from onpace.config.loader import load_catalog
    from onpace.deploy.starter_tests import render_tests
    from onpace.deploy.starters import render

    chosen = business or _ask()
    _check(chosen, timezone, {"owner": owner, "currency": currency, "timezone": timezone})
    target = folder / FILE
    if target.exists() and not force:
        raise OnPaceError(f"{target} is there already: give another folder, or --force to replace it")
    text = render(chosen, owner=owner, currency=currency, timezone=timezone, now=now())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
        if force or not (folder / TESTS).exists():
            (folder / TESTS).write_text(render_tests(chosen, timezone), encoding="utf-8")
    except OSError as exc:
        raise OnPaceError(f"{target} cannot be written: {exc.strerror}") from exc
    catalog = load_catalog(target)
    typer.echo(
        f"wrote {target}: {len(catalog.kpis)} KPIs over {len(catalog.events)} events. The targets are examples: change "
        f"them, then\n  onpace validate {folder}\n  onpace lint {folder}\n  onpace test {folder}\n"
        f"  onpace up --kpis {folder}"
    )


def _check(business: str, timezone: str, words: Mapping[str, str]) -> None:
    """Raises OnPaceError for what would make a wrong file."""
    from onpace.deploy.starters import STARTERS

    if business not in STARTERS:
        hint = did_you_mean(business, STARTERS)
        raise OnPaceError(f"unknown business '{business}'{hint}: give --business with one of {', '.join(STARTERS)}")
    for option, text in words.items():
        if not re.fullmatch(r"[A-Za-z][\w+/.-]*", text):
            raise OnPaceError(f"--{option} '{text}': write one word, such as finance, EUR or Europe/Berlin")
    if timezone not in available_timezones():
        raise OnPaceError(f"unknown time zone '{timezone}'{did_you_mean(timezone, available_timezones())}")


def _ask() -> str:
    from onpace.deploy.starters import STARTERS

    if not sys.stdin.isatty():
        raise OnPaceError(f"give --business with one of {', '.join(STARTERS)}")
    typer.echo("What is the business?")
    choices = list(STARTERS)
    for number, choice in enumerate(choices, 1):
        typer.echo(f"  {number}  {choice:10}  {STARTERS[choice].title}")
    answer = str(typer.prompt("Number or word")).strip()
    by_number = dict(zip(map(str, range(1, len(choices) + 1)), choices, strict=True))
    return by_number.get(answer, answer)
