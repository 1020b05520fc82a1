"""The catalog: everything a folder of KPI files declares, checked and resolved."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta

from onpace.config.calendar import Grain
from onpace.config.errors import UnknownName, did_you_mean
from onpace.config.expressions import parse_kpi_expression
from onpace.config.kpi import CumulativeKpi, DerivedKpi, EventType, Objective, RatioKpi, SimpleKpi
from onpace.config.kpi_entities import ConversionKpi, Kpi, Leaf, ReportedKpi, streams_of
from onpace.config.offsets import split_name
from onpace.config.rules import Channel, Rule
from onpace.config.scorecard_reports import ScorecardReport
from onpace.config.silences import Silence
from onpace.config.terms import finest_grain

__all__ = ["Catalog"]


@dataclass(frozen=True, slots=True)
class Catalog:
    """Events, KPIs, objectives, channels, rules and reports by name, in file order. References between them hold."""

    events: dict[str, EventType] = field(default_factory=dict)
    kpis: dict[str, Kpi] = field(default_factory=dict)
    objectives: dict[str, Objective] = field(default_factory=dict)
    channels: dict[str, Channel] = field(default_factory=dict)
    rules: dict[str, Rule] = field(default_factory=dict)
    silences: tuple[Silence, ...] = ()
    reports: dict[str, ScorecardReport] = field(default_factory=dict)

    def kpi(self, name: str) -> Kpi:
        """The KPI of that name. Raises UnknownName with a suggestion."""
        if name not in self.kpis:
            known = did_you_mean(name, self.kpis) or f": there are {', '.join(self.kpis) or 'none'}"
            raise UnknownName(f"unknown KPI '{name}'{known}")
        return self.kpis[name]

    def simple_kpis(self) -> Iterator[SimpleKpi]:
        """What is folded from the stream: the simple KPIs, and the facts that entity KPIs are computed from."""
        leaves = (kpi for kpi in self.kpis.values() if isinstance(kpi, Leaf))
        return (stream for leaf in leaves for stream in streams_of(leaf))

    def inputs(self, kpi: Kpi) -> tuple[Kpi, ...]:
        """The KPIs that `kpi` is computed from, one step down, each once; none for one that is made of events."""
        match kpi:
            case RatioKpi():
                return (self.kpi(kpi.numerator), self.kpi(kpi.denominator))
            case DerivedKpi():
                names = (split_name(name)[0] for name in parse_kpi_expression(kpi.expr).names)
                return tuple(self.kpi(name) for name in dict.fromkeys(names))
            case CumulativeKpi():
                return (self.kpi(kpi.of),)
            case _:
                return ()

    def leaves(self, kpi: Kpi) -> tuple[Leaf, ...]:
        """The KPIs of events or reports that `kpi` is made of in the end (perhaps itself), each once, in order."""
        if isinstance(kpi, Leaf):
            return (kpi,)
        found = {leaf.name: leaf for part in self.inputs(kpi) for leaf in self.leaves(part)}
        return tuple(found.values())

    def streams(self, kpi: Kpi) -> tuple[SimpleKpi, ...]:
        """What of the stream `kpi` is made of."""
        return tuple(stream for leaf in self.leaves(kpi) for stream in streams_of(leaf))

    def dimensions(self, kpi: Kpi) -> tuple[str, ...]:
        """The dimensions that all of its inputs share, in the order of the first."""
        first, *others = self.leaves(kpi)
        return tuple(name for name in first.dimensions if all(name in other.dimensions for other in others))

    def base_grain(self, kpi: Kpi) -> Grain:
        """The finest grain it can be read at: the coarsest base grain of its inputs, and of what it looks back over."""
        if isinstance(kpi, Leaf):
            return kpi.base_grain
        inputs = [self.base_grain(part) for part in self.inputs(kpi)]
        own = [finest_grain(kpi)] if isinstance(kpi, CumulativeKpi) else []
        return max(inputs + own, key=lambda grain: grain.rank)

    def event_types(self, kpi: Kpi) -> tuple[str, ...]:
        """The event types it is fed by."""
        return tuple(dict.fromkeys(stream.event for stream in self.streams(kpi)))

    def lateness(self, kpi: Kpi) -> timedelta:
        """How long after its end a window waits for late events: the longest of its inputs."""
        return max((stream.lateness for stream in self.streams(kpi)), default=timedelta())

    def accumulates(self, kpi: Kpi) -> bool:
        """Whether its values add up over time (count, sum, count_distinct, …) or are a level."""
        if kpi.nature:
            return kpi.nature == "accumulates"
        match kpi:
            case SimpleKpi():
                return kpi.agg in ("count", "sum", "count_distinct")
            case ConversionKpi():
                return kpi.measure == "count"
            case ReportedKpi():
                return kpi.merge == "sum"
            case _:
                return False

    def leading(self, kpi: Kpi) -> tuple[Kpi, ...]:
        """The KPIs that claim to drive `kpi`."""
        return tuple(other for other in self.kpis.values() if any(drive.kpi == kpi.name for drive in other.drives))
