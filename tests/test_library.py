"""The KPI library: every entry is complete, computes what its definition says, and is used as its page says."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from library_cases import CASES, REPORTS, Case
from processors_fakes import log_of
from processors_world import drain, world

from onpace.config.calendar import Grain, window_end
from onpace.config.catalog import Catalog
from onpace.config.kpi_entities import ConversionKpi
from onpace.config.loader import load_catalog
from onpace.config.templates import library
from onpace.processors.clickhouse import ClickHouse
from onpace.processors.reader import Reader

ARRIVAL = datetime(2026, 4, 25, tzinfo=UTC)
MEDIAN_ERROR = 0.01
"""Medians are within 1 %: see docs/kpi-format.md, percentile."""


def used(domain: str, folder: Path) -> Catalog:
    """A catalog of every entry of a domain, each used under its own name."""
    keys = [template.key for template in library().templates.values() if template.domain == domain]
    lines = [f"  - {{use: library/{key}, name: {key.partition('.')[2]}}}" for key in keys]
    path = folder / "kpis.yaml"
    path.write_text("\n".join(["version: 1", "kpis:", *lines, ""]))
    return load_catalog(path, {})


def value(reader: Reader, name: str, case: Case) -> float | None:
    """What the engine says."""
    grain, start = Grain(case.grain), datetime.fromisoformat(case.start).replace(tzinfo=UTC)
    end = window_end(grain, start, ZoneInfo("UTC"))
    where, by = (dict([case.by]), [case.by[0]]) if case.by else ({}, [])
    points = [point for found in reader.series(name, grain, start, end, by=by, where=where).values() for point in found]
    return points[0].value if len(points) == 1 else math.nan


@pytest.mark.parametrize("domain", CASES)
def test_every_entry_gives_what_was_computed_by_hand(domain: str, store: ClickHouse, tmp_path: Path) -> None:
    """Through the real engine, on a few events."""
    catalog = used(domain, tmp_path)
    logs = {0: log_of([*CASES[domain].events, *REPORTS.get(domain, ())], ARRIVAL)}
    drain(world(store, catalog, logs), logs)
    assert store.query("SELECT reason, message FROM dead_letters") == []
    reader = Reader(store, catalog)
    wrong = []
    for name, expected in CASES[domain].values.items():
        case = expected if isinstance(expected, Case) else Case(expected)
        kpi = catalog.kpi(name)
        median = isinstance(kpi, ConversionKpi) and kpi.measure == "median_time"
        found = value(reader, name, case)
        if found is None or not math.isclose(found, case.value, rel_tol=MEDIAN_ERROR if median else 1e-12):
            wrong.append(f"{name}: {found} instead of {case.value}")
    assert wrong == []


def test_every_entry_has_a_value_computed_by_hand() -> None:
    """And nothing else has."""
    cases = {f"{domain}.{name}" for domain, world in CASES.items() for name in world.values}
    assert cases == {template.key for template in library().templates.values()}
