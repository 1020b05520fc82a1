"""Reports on their way in: what is taken, and what is said about the rest."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from processors_fakes import log_of
from processors_world import drain, world
from reports_fakes import report, reported, reporting

from onpace.config.errors import InvalidEvent, InvalidReport, UnknownName
from onpace.config.kpi_entities import REPORT
from onpace.config.reporting import parse_report
from onpace.ingest.validation import DataDecoder, EventValidator
from onpace.processors.clickhouse import ClickHouse

CATALOG = reporting(
    reported("nps", dimensions=["region"]),
    reported("pulse", "week"),
    reported("cash", "day"),
    reported("close", "quarter", dimensions=["unit"]),
    reported("audit", "year"),
)

GOOD: list[dict[str, Any]] = [
    {"kpi": "nps", "period": "2026-10", "value": -12},
    {"kpi": "nps", "period": "2026-10", "value": 41.5, "by": {"region": "EU"}, "source": "survey", "note": "n=210"},
    {"kpi": "nps", "period": "2026-10", "value": 41.5, "by": {}},
    {"kpi": "pulse", "period": "2026-W53", "value": 1e300},
    {"kpi": "cash", "period": "2028-02-29", "value": 0},
    {"kpi": "close", "period": "2026-Q4", "value": 0.1, "by": {"unit": "a"}},
    {"kpi": "audit", "period": "2026", "value": 3},
]
BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"kpi": "npss", "period": "2026-10", "value": 1}, "data.kpi", "'npss' is not one of ['nps', "),
    ({"kpi": "nps", "period": "2026-10-01", "value": 1}, "data.period", "'2026-10-01' is not a 'month, as in 2026-10'"),
    ({"kpi": "nps", "period": "2026-13", "value": 1}, "data.period", "is not a 'month"),
    ({"kpi": "nps", "period": "10/2026", "value": 1}, "data.period", "is not a 'month"),
    ({"kpi": "nps", "period": "2096-01", "value": 1}, "data.period", "is not a 'month"),
    ({"kpi": "pulse", "period": "2027-W53", "value": 1}, "data.period", "is not a 'week, as in 2026-W43'"),
    ({"kpi": "cash", "period": "2027-02-29", "value": 1}, "data.period", "is not a 'day, as in 2026-10-05'"),
    ({"kpi": "audit", "period": 2026, "value": 1}, "data.period", "2026 is not of type 'string'"),
    ({"kpi": "nps", "period": "2026-10", "value": "42"}, "data.value", "'42' is not of type 'number'"),
    ({"kpi": "nps", "period": "2026-10", "value": None}, "data.value", "None is not of type 'number'"),
    ({"kpi": "nps", "period": "2026-10"}, "data.value", "is required"),
    ({"kpi": "nps", "period": "2026-10", "value": 1, "by": {"regoin": "EU"}}, "data.by", "'regoin' was unexpected"),
    ({"kpi": "nps", "period": "2026-10", "value": 1, "by": {"unit": "a"}}, "data.by", "'unit' was unexpected"),
    ({"kpi": "nps", "period": "2026-10", "value": 1, "by": {"region": 1}}, "data.by.region", "not of type 'string'"),
    ({"kpi": "nps", "period": "2026-10", "value": 1, "notes": "x"}, "data", "'notes' was unexpected"),
]


@pytest.mark.parametrize("data", GOOD, ids=str)
def test_a_report_that_fits_its_kpi_is_taken(data: dict[str, Any]) -> None:
    """By the judge of one event and by that of a batch."""
    raw = msgspec.json.encode(data)
    EventValidator(CATALOG.events[REPORT]).check(raw)
    assert DataDecoder(CATALOG.events[REPORT], ["value", "by.region"]).decode([raw]).good == [0]


@pytest.mark.parametrize(("data", "field", "message"), BAD, ids=str)
def test_a_report_that_does_not_fit_is_refused_with_its_field(data: dict[str, Any], field: str, message: str) -> None:
    """An unknown KPI, a period of another length or none, an unknown dimension, no number."""
    raw = msgspec.json.encode(data)
    with pytest.raises(InvalidEvent) as caught:
        EventValidator(CATALOG.events[REPORT]).check(raw)
    assert (caught.value.reason, caught.value.field) == ("schema_violation", field)
    assert message in str(caught.value)
    [(_, problem)] = DataDecoder(CATALOG.events[REPORT], ["value"]).decode([raw]).bad
    assert str(problem) == str(caught.value)


def test_a_report_in_kafka_that_does_not_fit_becomes_a_dead_letter(store: ClickHouse) -> None:
    """The others of its batch are kept."""
    sent = [
        report("a", "nps", "2026-03", 40, by={"region": "EU"}),
        report("b", "nps", "2026-W10", 41),
        report("c", "nsp", "2026-03", 42),
        report("d", "audit", "2025", 7.25),
    ]
    drain(world(store, CATALOG, logs := {0: log_of(sent)}), logs)
    assert store.query("SELECT kpi, id, entity, dims, total FROM facts FINAL ORDER BY id") == [
        ("nps.report", "a", "2026-03", '["EU"]', 40.0),
        ("audit.report", "d", "2025", "[]", 7.25),
    ]
    assert store.query("SELECT reason, field, offset FROM dead_letters ORDER BY offset") == [
        ("schema_violation", "data.period", 1),
        ("schema_violation", "data.kpi", 2),
    ]


def test_reports_move_no_watermark(store: ClickHouse) -> None:
    """When somebody writes a number down says nothing about how far the stream has come."""
    drain(world(store, CATALOG, logs := {0: log_of([report("a", "nps", "2026-03", 40)])}), logs)
    assert store.query("SELECT count() FROM watermarks WHERE event_type != ''") == [(0,)]


def test_a_catalog_without_reported_kpis_knows_no_reports() -> None:
    """There is nothing that they could be about."""
    assert reporting().events == {}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("nps", "2026-10-05", "1", {}), "'2026-10-05' is no month: 'nps' is reported per month, as in 2026-10"),
        (("nps", "2026-10", "1,5", {}), "'1,5' is not a number: write 42 or 41.5"),
        (("nps", "2026-10", "nan", {}), "'nan' is not a number"),
        (("nps", "2026-10", "1e999", {}), "'1e999' is not a number"),
        (("nps", "2026-10", "", {}), "'' is not a number"),
        (("nps", "2026-10", "1", {"regoin": "EU"}), "has no dimension 'regoin' (did you mean 'region'?)"),
        (("pulse", "2026-W10", "1", {"region": "EU"}), "KPI 'pulse' has no dimension 'region': it has none"),
        (("nps", "2026-10", "1", {"region": ""}), "dimension 'region' needs a value"),
    ],
)
def test_a_person_is_told_what_to_write(given: tuple[str, str, str, dict[str, str]], message: str) -> None:
    """In words about their KPI."""
    kpi, period, value, by = given
    with pytest.raises(InvalidReport) as caught:
        parse_report(CATALOG, kpi, period, value, by=by)
    assert message in str(caught.value)


def test_an_unknown_kpi_comes_with_a_suggestion() -> None:
    """As everywhere."""
    with pytest.raises(UnknownName, match="did you mean 'nps'"):
        parse_report(CATALOG, "npss", "2026-10", "1", by={})


def test_a_report_keeps_its_digits_and_orders_its_dimensions() -> None:
    """As the KPI declares them."""
    catalog = reporting(reported("x", dimensions=["a", "b"]))
    one = parse_report(catalog, "x", "2026-10", "1.50", by={"b": "2", "a": "1"})
    assert (one.subject, one.value) == ("x 2026-10 a=1 b=2", "1.50")
