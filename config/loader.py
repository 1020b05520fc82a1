"""Loads a folder of KPI files into a catalog, or says everything that is wrong with them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from onpace.config.catalog import Catalog
from onpace.config.checks_calendars import check_calendars, check_fiscal_objectives
from onpace.config.checks_events import check_events
from onpace.config.checks_kpis import check_kpis
from onpace.config.checks_objectives import check_objectives
from onpace.config.checks_owners import check_owners
from onpace.config.checks_reports import check_reports
from onpace.config.checks_rules import check_channels, check_rules
from onpace.config.checks_silences import check_silences
from onpace.config.checks_waivers import check_waivers
from onpace.config.declarations import Declarations, Declared, collect
from onpace.config.errors import ConfigError, Problem
from onpace.config.reporting import with_reports
from onpace.config.reports import Report
from onpace.config.yaml_lines import Document, read_document

__all__ = ["load_catalog", "load_with_places"]

M = TypeVar("M")


def load_catalog(
    folder: Path, environment: Mapping[str, str] | None = None, *, private_webhooks: bool = True
) -> Catalog:
    """The catalog of all `*.yaml` and `*.yml` files in a folder (not in folders below it), or of one file. Rule tests
    (`*.test.yaml`) that lie there are left out.

    `environment` is what `${NAME}` in channels is taken from; by default that of the process. Raises ConfigError with
    every problem, each at its file and line; files that are not valid YAML are reported before anything else.
    """
    return load_with_places(folder, environment, private_webhooks=private_webhooks)[0]


def load_with_places(
    folder: Path, environment: Mapping[str, str] | None = None, *, private_webhooks: bool = True
) -> tuple[Catalog, Declarations]:
    """The same, with the declarations that it was made from: they know the file and line of everything."""
    report = Report()
    documents = _read(folder, report)
    _raise(report)
    found = collect(documents, os.environ if environment is None else environment, report)
    check_channels(found, report, private_webhooks=private_webhooks)
    catalog = _assemble(found, report)
    _raise(report)
    return catalog, found


def _raise(report: Report) -> None:
    if problems := report.problems():
        raise ConfigError(problems)


def _read(folder: Path, report: Report) -> list[Document]:
    if folder.is_dir():
        found = (path for path in folder.iterdir() if path.suffix in (".yaml", ".yml") and path.is_file())
        paths = sorted(path for path in found if ".test" not in path.suffixes)
        if not paths:
            hint = "put a .yaml file there, beginning with 'version: 1'"
            report.extend([Problem(str(folder), 0, f"no KPI files in this folder: {hint}")])
    elif folder.exists():
        paths = [folder]
    else:
        paths = []
        report.extend([Problem(str(folder), 0, "no such file or folder: name the folder that holds the KPI files")])
    documents = [read_document(path) for path in paths]
    for document in documents:
        report.extend(document.problems)
    return documents


def _assemble(found: Declarations, report: Report) -> Catalog:
    check_calendars(found, report)
    events = check_events(found, report)
    kpis = check_kpis(found, events, report)
    sound = Catalog(kpis=kpis)
    check_objectives(found, sound, report)
    check_fiscal_objectives(found, sound.kpis, report)
    check_rules(found, sound, report)
    check_owners(found, report)
    check_reports(found, sound, report)
    check_waivers(found, report)
    channels, rules = _models(found.channels), _models(found.rules)
    return Catalog(
        events=with_reports(events, kpis.values()),
        kpis=kpis,
        objectives=_models(found.objectives),
        channels=channels,
        rules=rules,
        reports=_models(found.reports),
        silences=check_silences(found, Catalog(kpis=kpis, channels=channels, rules=rules), report),
    )


def _models(section: Mapping[str, Declared[M]]) -> dict[str, M]:
    return {name: declared.model for name, declared in section.items() if declared.model is not None}
