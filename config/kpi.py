"""KPIs and what they are made of, as frozen models: the Python form of a KPI file."""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from onpace.config.calendar import BASE_GRAINS, Calendar, Grain, Period
from onpace.config.calendars import CalendarName, Day, calendar_of
from onpace.config.dashboards import DashboardUrl
from onpace.config.durations import Duration
from onpace.config.increases import IncreaseInFile, Over

__all__ = [
    "Aggregation",
    "CumulativeKpi",
    "DerivedKpi",
    "Direction",
    "Drive",
    "EventKpi",
    "EventType",
    "KeyResult",
    "KpiCommon",
    "Model",
    "Name",
    "Objective",
    "Perspective",
    "RatioKpi",
    "SimpleKpi",
    "Sql",
    "Status",
    "StreamedKpi",
    "Target",
    "Waiver",
    "fingerprint",
]

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=63)]
SlugName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$", max_length=63)]
Status = Literal["on_track", "at_risk", "off_track", "no_data", "met", "missed"]
Direction = Literal["higher_is_better", "lower_is_better", "in_range"]
Aggregation = Literal["count", "sum", "avg", "min", "max", "count_distinct", "percentile", "first", "last"]
Level = Literal["strategic", "operational", "functional", "individual"]
Perspective = Literal["financial", "customer", "process", "growth"]
Every = Literal["day", "week", "month", "quarter", "year", "fiscal_quarter", "fiscal_year"]
MAX_SERIES = 10_000
"""A KPI's `max_series` unless it says otherwise."""


class Model(BaseModel):
    """Frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class EventType(Model):
    """An event that applications send: its name and the JSON Schema of its data."""

    name: str
    description: str = ""
    expected_every: Duration | None = None
    """Silent for longer than this, the source counts as stale."""
    properties: dict[str, dict[str, Any]] = {}
    """JSON Schema of each property; `decimal: n` marks an exact number of n digits."""
    required: tuple[str, ...] = ()
    additional_properties: bool = Field(default=True, alias="additionalProperties")

    @property
    def json_schema(self) -> dict[str, Any]:
        """The JSON Schema (2020-12) of the event's data."""
        return {
            "type": "object",
            "properties": self.properties,
            "required": list(self.required),
            "additionalProperties": self.additional_properties,
        }


def _period(value: Any) -> Any:
    return Period.parse(str(value)) if isinstance(value, str | int) else value


CalendarPeriod = Annotated[
    Period,
    BeforeValidator(_period),
    WithJsonSchema(
        {
            "type": ["string", "integer"],
            "pattern": r"^(\d{4}(-(Q[1-4]|\d{2}|W\d{2}|\d{2}-\d{2}))?|FY\d{4}(-Q[1-4])?)$",
            "examples": ["2026", "2026-Q4", "2026-10", "2026-W43", "2026-10-05", "FY2027", "FY2027-Q1"],
        }
    ),
]


def _positive(value: timedelta) -> timedelta:
    if not value:
        raise ValueError("must be longer than 0s")
    return value


def _sql(value: Any) -> Any:
    """YAML reads `value: 1` and `filter: true` as a number and a boolean; they are expressions all the same."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else value


Sql = Annotated[str, BeforeValidator(_sql), WithJsonSchema({"type": ["string", "number", "boolean"]})]
"""An expression, in the SQL of `onpace.config.expressions`."""


class Target(Model):
    """What a KPI should reach in one period, in the KPI's own unit."""

    every: Every | None = None
    period: CalendarPeriod | None = None
    value: float | None = None
    min: float | None = None
    max: float | None = None
    start: float | None = Field(default=None, alias="from")
    """Where the way to the target begins; attainment is then the share of that way."""
    increase: IncreaseInFile | None = None
    """Instead of a value: how much more than the baseline, which is the KPI's value in another period."""
    over: Over | None = None
    """Which period the baseline is taken from."""
    at_risk: float = Field(default=0.95, gt=0, le=1)
    """Share of the expected value below which the KPI is off track."""
    tolerance: float | None = Field(default=None, ge=0)
    """Absolute, in the KPI's unit; replaces `at_risk`."""
    by: dict[str, str] = {}
    """Dimension values this target is narrowed to; empty means the total."""
    headline: bool = False

    @property
    def grain(self) -> Grain:
        """The length of the period this target is for."""
        return self.period.grain if self.period else Grain(self.every or "month")

    @property
    def label(self) -> str:
        """How the target is named in tables and labels: its period, or how often it comes."""
        return str(self.period) if self.period else f"every {self.every}"


class Waiver(Model):
    """A finding of `onpace lint` that is accepted here, and why."""

    code: str = Field(pattern=r"^[A-Z]\d{3}$")
    reason: str = Field(pattern=r"\S")


class Drive(Model):
    """A claim that this (leading) KPI moves another one after a lag. Unproven until tested out of sample."""

    kpi: Name
    lag: str = Field(pattern=r"^\d+(s|min|h|d|w)(\.\.\d+(s|min|h|d|w))?$")
    sign: Literal["+", "-"] = "+"


class KeyResult(Model):
    """One measure of an objective: a KPI, where it starts and where it should get."""

    kpi: Name
    start: float | None = Field(default=None, alias="from")
    value: float
    by: dict[str, str] = {}
    """Dimension values it is narrowed to; empty means the total."""
    weight: float = Field(default=1.0, gt=0)
    """How much it counts in the mean of the key results."""


class Objective(Model):
    """An aim for a period, measured by key results; without any, by the KPIs that name it."""

    name: SlugName
    title: str = ""
    description: str = ""
    owner: str = ""
    team: str = ""
    period: CalendarPeriod | None = None
    kind: Literal["committed", "aspirational"] = "committed"
    level: Level | None = None
    perspective: Perspective | None = None
    key_results: tuple[KeyResult, ...] = ()
    waive: tuple[Waiver, ...] = ()


class KpiCommon(Model):
    """What every KPI has, whatever its type."""

    name: Name
    title: str = ""
    description: str = ""
    owner: str = ""
    objective: str | None = None
    unit: str = ""
    direction: Direction
    role: Literal["leading", "lagging"]
    team: str = ""
    level: Level | None = None
    perspective: Perspective | None = None
    guardrails: tuple[Name, ...] = ()
    targets: tuple[Target, ...] = ()
    drives: tuple[Drive, ...] = ()
    levers: tuple[Annotated[str, Field(pattern=r"\S")], ...] = ()
    """What its owner can do to move it."""
    review_every: Annotated[Duration, AfterValidator(_positive)] | None = None
    """How often somebody asks whether it is still the right KPI."""
    reviewed: Day | None = None
    """When somebody last did."""
    waive: tuple[Waiver, ...] = ()
    dashboard: DashboardUrl | None = None
    """Where to look further, in messages about it; unset means that of the settings."""
    timezone: str = "UTC"
    nature: Literal["accumulates", "level"] | None = None
    observes: CalendarName | None = Field(default=None, alias="calendar")
    """Its open days, and where its weeks and fiscal years begin; in a file, the name of one of `calendars`."""

    @property
    def zone(self) -> ZoneInfo:
        """The time zone that its days and longer windows follow."""
        return ZoneInfo(self.timezone)

    @property
    def calendar(self) -> Calendar:
        """What its windows and periods follow: its time zone, weeks, fiscal years and open days."""
        return calendar_of(self.timezone, self.observes)

    @property
    def headline(self) -> Target | None:
        """The one target that stands for the KPI: the one marked `headline`, else the first."""
        return next((t for t in self.targets if t.headline), self.targets[0] if self.targets else None)


class EventKpi(KpiCommon):
    """What every KPI has that is made of events itself, rather than of other KPIs."""

    dimensions: dict[Name, Sql] = {}
    """Dimension name -> SQL expression; a list of properties in the file becomes name -> name."""
    lateness: Duration = timedelta(minutes=5)


class StreamedKpi(EventKpi):
    """One with windows of its own."""

    grain: Literal["1min", "5min", "15min", "30min", "1h", "1d"] = "1min"

    @property
    def base_grain(self) -> Grain:
        """The windows that the stream is folded into."""
        return BASE_GRAINS[self.grain]


class SimpleKpi(StreamedKpi):
    """One aggregation over the events of one type."""

    type: Literal["simple"] = "simple"
    event: str
    agg: Aggregation
    value: Sql | None = None
    """SQL expression over the event's properties; required for all but count."""
    p: float | None = Field(default=None, ge=0, le=1)
    filter: Sql | None = None
    max_series: int = Field(default=MAX_SERIES, ge=1, le=1_000_000, strict=True)
    """How many combinations of dimension values have rows of their own, per partition; the rest goes to `__other__`."""

    @property
    def definition(self) -> int:
        """A 63-bit fingerprint of all that decides the KPI's values; another definition is another series."""
        aggregate = [self.event, self.agg, self.value, self.p, self.filter]
        ceiling = [self.max_series] if self.dimensions and self.max_series != MAX_SERIES else []
        return fingerprint([*aggregate, list(self.dimensions.items()), self.grain, self.timezone, *ceiling])

    @property
    def key(self) -> str:
        """Name and definition: what its stored values are found under."""
        return f"{self.name}/{self.definition}"


FOLD_VERSION = 1
"""Raised when the fold itself changes the values that it gives for the same definition."""


def fingerprint(parts: list[Any]) -> int:
    """63 bits of the SHA-256 of everything that decides stored values."""
    digest = hashlib.sha256(json.dumps([FOLD_VERSION, *parts]).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


class RatioKpi(KpiCommon):
    """One KPI divided by another, each summed first. Null below `min_denominator` and on a zero denominator."""

    type: Literal["ratio"]
    numerator: Name
    denominator: Name
    min_denominator: float | None = Field(default=None, ge=0)


class DerivedKpi(KpiCommon):
    """An SQL expression over other KPIs' merged values."""

    type: Literal["derived"]
    expr: Sql


class CumulativeKpi(KpiCommon):
    """Another KPI merged over more than one window: the period to date, a trailing stretch, or everything so far."""

    type: Literal["cumulative"]
    of: Name
    to_date: Every | None = None
    window: Duration | None = None
    """A trailing stretch that ends with the window; whole days are days of the calendar."""
