"""Values that people report: the event they arrive as, and what a report must be to be taken."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from onpace.config.calendar import Grain, Period
from onpace.config.catalog import Catalog
from onpace.config.errors import InvalidReport, did_you_mean
from onpace.config.kpi import EventType
from onpace.config.kpi_entities import REPORT, Kpi, ReportedKpi

__all__ = [
    "PERIOD_FORMATS",
    "ReportedValue",
    "check_begun",
    "is_period_of",
    "parse_report",
    "report_event",
    "reported_kpis",
    "with_reports",
]

_EXAMPLES = {
    Grain.DAY: "2026-10-05",
    Grain.WEEK: "2026-W43",
    Grain.MONTH: "2026-10",
    Grain.QUARTER: "2026-Q4",
    Grain.YEAR: "2026",
}
PERIOD_FORMATS: Mapping[str, Grain] = {f"{grain}, as in {text}": grain for grain, text in _EXAMPLES.items()}
"""What `format` says in the event's schema -> the length of the periods that it allows."""

_YEARS = range(1971, 2096)
"""Periods that every table can hold, in any time zone."""
_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")
_LONGEST = 1000
_TEXT = {"type": "string", "maxLength": _LONGEST}
_DIMENSION = {"type": "string", "minLength": 1, "maxLength": _LONGEST}


class ReportEvent(EventType):
    """`onpace.reported`: a value of a period. Not for files: `report_event` makes it from the reported KPIs."""

    kpis: tuple[ReportedKpi, ...]

    @property
    def json_schema(self) -> dict[str, Any]:
        """What a report may hold, with the periods and dimensions of each KPI."""
        return super().json_schema | {"allOf": [_rule(kpi) for kpi in self.kpis]}


def _rule(kpi: ReportedKpi) -> dict[str, Any]:
    """If it is about this KPI, then with a period of its cadence, and with no dimension but its own."""
    wanted = next(name for name, grain in PERIOD_FORMATS.items() if grain is kpi.base_grain)
    by = {"properties": dict.fromkeys(kpi.dimensions, True), "additionalProperties": False}
    return {
        "if": {"properties": {"kpi": {"const": kpi.name}}, "required": ["kpi"]},
        "then": {"properties": {"period": {"format": wanted}, "by": by}},
    }


def reported_kpis(catalog: Catalog) -> tuple[ReportedKpi, ...]:
    """The KPIs that people report, in file order."""
    return tuple(kpi for kpi in catalog.kpis.values() if isinstance(kpi, ReportedKpi))


def report_event(kpis: Iterable[ReportedKpi]) -> ReportEvent:
    """The event type that carries the values of these KPIs (at least one)."""
    kpis = tuple(kpis)
    dimensions = dict.fromkeys(name for kpi in kpis for name in kpi.dimensions)
    by = {"type": "object", "properties": dict.fromkeys(dimensions, _DIMENSION), "additionalProperties": False}
    return ReportEvent(
        name=REPORT,
        description="A value that somebody reports for a period of a KPI.",
        properties={
            "kpi": {"type": "string", "enum": [kpi.name for kpi in kpis]},
            "period": {"type": "string"},
            "value": {"type": "number"},
            "by": by,
            "source": _TEXT,
            "note": _TEXT,
        },
        required=("kpi", "period", "value"),
        additionalProperties=False,
        kpis=kpis,
    )


def with_reports(events: Mapping[str, EventType], kpis: Iterable[Kpi]) -> dict[str, EventType]:
    """The events, with the one that carries reported values if there are KPIs that need it."""
    reported = [kpi for kpi in kpis if isinstance(kpi, ReportedKpi)]
    return {**events, REPORT: report_event(reported)} if reported else dict(events)


def is_period_of(grain: Grain, text: str) -> bool:
    """Whether the text names a period of that length, in the years that OnPace can hold."""
    try:
        period = Period.parse(text)
    except ValueError:
        return False
    return period.grain is grain and period.first_day.year in _YEARS


@dataclass(frozen=True, slots=True)
class ReportedValue:
    """A value for a period of a KPI, in total or for some dimension values."""

    kpi: ReportedKpi
    period: Period
    value: str
    """A JSON number, with the digits that were given."""
    by: tuple[tuple[str, str], ...] = ()
    """In the order of the KPI's dimensions."""
    source: str = ""
    note: str = ""

    @property
    def subject(self) -> str:
        """`nps 2026-10 region=EU`."""
        return " ".join([self.kpi.name, str(self.period), *(f"{name}={value}" for name, value in self.by)])


def parse_report(
    catalog: Catalog, kpi: str, period: str, value: str, *, by: Mapping[str, str], source: str = "", note: str = ""
) -> ReportedValue:
    """A report from texts. Raises InvalidReport, or UnknownName for a KPI that does not exist."""
    found = catalog.kpi(kpi)
    if not isinstance(found, ReportedKpi):
        names = ", ".join(one.name for one in reported_kpis(catalog)) or "none"
        raise InvalidReport(f"KPI '{kpi}' is computed from events; those that are reported are: {names}")
    for name, text in by.items():
        if name not in found.dimensions:
            has = f"its dimensions are {', '.join(found.dimensions)}" if found.dimensions else "it has none"
            raise InvalidReport(f"KPI '{kpi}' has no dimension '{name}'{did_you_mean(name, found.dimensions)}: {has}")
        if not 0 < len(text) <= _LONGEST:
            raise InvalidReport(f"dimension '{name}' needs a value of 1 to {_LONGEST} characters, as in {name}=EU")
    for name, text in (("source", source), ("note", note)):
        if len(text) > _LONGEST:
            raise InvalidReport(f"the {name} has {len(text)} characters; at most {_LONGEST} are kept")
    ordered = tuple((name, by[name]) for name in found.dimensions if name in by)
    return ReportedValue(found, _period(found, period), _number(value), ordered, source, note)


def check_begun(report: ReportedValue, now: datetime) -> None:
    """Raise InvalidReport for a period that has not begun."""
    if report.period.bounds(report.kpi.calendar)[0] > now:
        raise InvalidReport(f"{report.period} has not begun: a report says what was; what should be is a target")


def _period(kpi: ReportedKpi, text: str) -> Period:
    if not is_period_of(kpi.base_grain, text):
        raise InvalidReport(
            f"'{text}' is no {kpi.cadence}: '{kpi.name}' is reported per {kpi.cadence}, as in "
            f"{_EXAMPLES[kpi.base_grain]}, from {_YEARS[0]} to {_YEARS[-1]}"
        )
    return Period.parse(text)


def _number(text: str) -> str:
    try:
        fits = _NUMBER.fullmatch(text) and abs(float(text)) < float("inf")
    except ValueError:
        fits = False
    if not fits:
        raise InvalidReport(f"'{text}' is not a number: write 42 or 41.5, with a point and without a unit")
    return text
