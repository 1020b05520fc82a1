"""KPIs that follow entities (users, accounts) from event to event, and KPIs that people report."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import Field

from onpace.config.calendar import Grain
from onpace.config.durations import Duration
from onpace.config.kpi import (
    CumulativeKpi,
    DerivedKpi,
    EventKpi,
    KpiCommon,
    Model,
    Name,
    RatioKpi,
    SimpleKpi,
    Sql,
    StreamedKpi,
    fingerprint,
)

__all__ = [
    "REPORT",
    "BalanceKpi",
    "ConversionKpi",
    "EntityKpi",
    "EventChoice",
    "FactStream",
    "Kpi",
    "Leaf",
    "ReportedKpi",
    "RetentionKpi",
    "streams_of",
]

Cadence = Literal["day", "week", "month", "quarter", "year"]
REPORT = "onpace.reported"
"""The type of the events that carry reported values: `{kpi, period, value, by, source, note}`."""


class EventChoice(Model):
    """Which events are meant: a type, narrowed by a filter."""

    event: str
    filter: Sql | None = None


class ConversionKpi(StreamedKpi):
    """How many base events are followed by a conversion event of the same entity within a window.

    Booked on the base event: a window is complete once its last event has had the whole `window` to convert.
    """

    type: Literal["conversion"]
    base: EventChoice
    conversion: EventChoice
    entity: Sql
    window: Duration
    """A conversion counts from the base event's time (inclusive, unless both are of one type) to that long after it
    (exclusive)."""
    constant: tuple[str, ...] = ()
    """Properties that must be equal in both events; null equals nothing."""
    measure: Literal["rate", "count", "median_time"] = "rate"
    """Share of base events, their number, or the median number of seconds to the first conversion."""


class RetentionKpi(EventKpi):
    """The share of a cohort that comes back: entities by the period of their first start event ever.

    Booked on the cohort's period; dimensions are those of the entity's first start event.
    """

    type: Literal["retention"]
    start: EventChoice
    back: EventChoice = Field(alias="return")
    entity: Sql
    period: Cadence
    n: int = Field(ge=1, le=1000)
    kind: Literal["exact", "rolling"] = "exact"
    """Back in the n-th period after the cohort's, or in that or any later one."""

    @property
    def base_grain(self) -> Grain:
        """The length of a cohort's period."""
        return Grain(self.period)


class BalanceKpi(StreamedKpi):
    """The last value of each entity at a window's end, summed over entities.

    "Last" goes by event time, then source, then id. An entity that changes a dimension value takes its value along.
    """

    type: Literal["balance"]
    event: str
    entity: Sql
    value: Sql
    filter: Sql | None = None


class ReportedKpi(KpiCommon):
    """Numbers that people report, one per period (and per combination of dimension values)."""

    type: Literal["reported"]
    cadence: Cadence
    due: Duration = timedelta(0)
    """How long after a period's end its value may take."""
    merge: Literal["last", "sum", "avg"] = "last"
    """How the values of several periods make that of a longer one."""
    dimensions: tuple[Name, ...] = ()

    @property
    def base_grain(self) -> Grain:
        """The length of a period that is reported."""
        return Grain(self.cadence)


EntityKpi = ConversionKpi | RetentionKpi | BalanceKpi
Leaf = SimpleKpi | ConversionKpi | RetentionKpi | BalanceKpi | ReportedKpi
"""KPIs that are not made of other KPIs."""
Kpi = Leaf | RatioKpi | DerivedKpi | CumulativeKpi


class FactStream(SimpleKpi):
    """Events of one kind, kept one by one with their entity: what entity KPIs are computed from when they are read.

    Not for files: `streams_of` makes them. `value` is the entity (of a reported KPI the period), `amount` the number
    that goes with it, and `dimensions` begin with the constant properties, named `=property`.
    """

    name: str
    agg: Literal["facts"]  # type: ignore[assignment]
    amount: Sql | None = None

    @property
    def definition(self) -> int:
        """A fingerprint of what decides the stored rows."""
        return fingerprint(["facts", self.event, self.value, self.amount, self.filter, list(self.dimensions.items())])


def streams_of(leaf: Leaf) -> tuple[SimpleKpi, ...]:
    """What the processor folds for a KPI: itself, or the facts it is computed from."""
    match leaf:
        case SimpleKpi():
            return (leaf,)
        case ConversionKpi():
            constants = _constants(leaf)
            return (
                _facts(leaf, "base", leaf.base, constants | leaf.dimensions),
                _facts(leaf, "conversion", leaf.conversion, constants),
            )
        case RetentionKpi():
            return (_facts(leaf, "start", leaf.start, leaf.dimensions), _facts(leaf, "return", leaf.back, {}))
        case BalanceKpi():
            choice = EventChoice(event=leaf.event, filter=leaf.filter)
            return (_facts(leaf, "change", choice, leaf.dimensions, leaf.value),)
        case ReportedKpi():
            choice = EventChoice(event=REPORT, filter=f"kpi = '{leaf.name}'")
            return (_facts(leaf, "report", choice, {name: f'"by"."{name}"' for name in leaf.dimensions}, "value"),)


def _constants(leaf: ConversionKpi) -> dict[str, str]:
    """Named so that no dimension can have the same name."""
    return {f"={name}": '"' + name.replace(".", '"."') + '"' for name in leaf.constant}


def _facts(
    leaf: EntityKpi | ReportedKpi, part: str, choice: EventChoice, dimensions: dict[str, str], amount: str | None = None
) -> FactStream:
    return FactStream.model_construct(
        name=f"{leaf.name}.{part}",
        direction=leaf.direction,
        role=leaf.role,
        timezone=leaf.timezone,
        event=choice.event,
        filter=choice.filter,
        agg="facts",
        value="period" if isinstance(leaf, ReportedKpi) else leaf.entity,
        amount=amount,
        dimensions=dimensions,
        grain="1min",
        lateness=timedelta() if isinstance(leaf, ReportedKpi) else leaf.lateness,
    )
