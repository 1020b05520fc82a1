"""What every check looks at: the catalog with its places, the day, what was read of the past, and who uses whom."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import cached_property

from onpace.config.calendar import Period
from onpace.config.catalog import Catalog
from onpace.config.declarations import Declarations
from onpace.config.kpi import SimpleKpi
from onpace.config.kpi_entities import Kpi, Leaf, ReportedKpi, streams_of
from onpace.config.lint.codes import CODES
from onpace.config.lint.evidence import Evidence
from onpace.config.lint.findings import Finding, Judged
from onpace.config.rules import WindowRule
from onpace.config.yaml_lines import Keys

__all__ = ["Scope"]


@dataclass(frozen=True)
class Scope:
    """One run of the linter. `evidence` is None without data: then nothing that needs it is judged."""

    catalog: Catalog
    found: Declarations
    today: date
    evidence: Evidence | None = None

    def kpi(self, code: str, name: str, message: str, remedy: str, *, at: Keys = ()) -> Finding:
        """A finding about a KPI, at its line or at that of a key in it.

        How a KPI is described weighs less while no goal rests on it: such a finding is information.
        """
        severity = "info" if code.startswith("S") and name not in self.goals else CODES[code].severity
        place = self.found.kpis[name].place.at(*at)
        return Finding(code, severity, place, f"kpi '{name}'", message, remedy)

    def judged(self, code: str, name: str) -> Judged:
        """That there was enough data to judge a KPI by a code."""
        return Judged(code, self.found.kpis[name].place, f"kpi '{name}'")

    def objective(self, code: str, name: str, message: str, remedy: str, *, at: Keys = ()) -> Finding:
        """A finding about an objective."""
        place = self.found.objectives[name].place.at(*at)
        return Finding(code, CODES[code].severity, place, f"objective '{name}'", message, remedy)

    def event(self, code: str, name: str, message: str, remedy: str) -> Finding:
        """A finding about an event."""
        place = self.found.events[name].place
        return Finding(code, CODES[code].severity, place, f"event '{name}'", message, remedy)

    def rule(self, code: str, name: str, message: str, remedy: str) -> Finding:
        """A finding about a rule."""
        place = self.found.rules[name].place
        return Finding(code, CODES[code].severity, place, f"rule '{name}'", message, remedy)

    @cached_property
    def results(self) -> frozenset[str]:
        """KPIs that are key results."""
        return frozenset(result.kpi for one in self.catalog.objectives.values() for result in one.key_results)

    @cached_property
    def goals(self) -> frozenset[str]:
        """KPIs that a goal rests on: they have a target or are a key result."""
        return frozenset(kpi.name for kpi in self.catalog.kpis.values() if kpi.targets) | self.results

    @cached_property
    def inputs(self) -> frozenset[str]:
        """KPIs that others are computed from."""
        return frozenset(part.name for kpi in self.catalog.kpis.values() for part in self.catalog.inputs(kpi))

    @cached_property
    def guardrails(self) -> frozenset[str]:
        """KPIs that guard others."""
        return frozenset(name for kpi in self.catalog.kpis.values() for name in kpi.guardrails)

    @cached_property
    def ruled(self) -> frozenset[str]:
        """KPIs that a rule looks at, be it for its volume only."""
        rules = self.catalog.rules.values()
        volumes = (rule.min_volume.kpi for rule in rules if isinstance(rule, WindowRule) and rule.min_volume)
        return frozenset({rule.kpi for rule in rules} | set(volumes))

    @cached_property
    def driven(self) -> frozenset[str]:
        """KPIs that others claim to drive."""
        return frozenset(drive.kpi for kpi in self.catalog.kpis.values() for drive in kpi.drives)

    def over(self, period: Period, kpi: Kpi | None = None) -> bool:
        """Whether a period has ended before today, in the KPI's calendar or else in that of the first KPI."""
        followed = kpi or next(iter(self.catalog.kpis.values()), None)
        following = period.next()
        return (following.begins(followed.calendar) if followed else following.first_day) <= self.today

    def linked(self, objective: str) -> tuple[Kpi, ...]:
        """The KPIs of an objective: its key results and those that name it, each once."""
        results = [result.kpi for result in self.catalog.objectives[objective].key_results]
        naming = [kpi.name for kpi in self.catalog.kpis.values() if kpi.objective == objective]
        return tuple(self.catalog.kpi(name) for name in dict.fromkeys([*results, *naming]))

    def made_of(self, kpi: Kpi) -> frozenset[str]:
        """Everything that it is computed from, at any depth, and itself."""
        return frozenset({kpi.name}.union(*(self.made_of(part) for part in self.catalog.inputs(kpi))))

    def streams(self) -> Iterator[tuple[Kpi, SimpleKpi]]:
        """What each KPI takes from events: itself, or the parts of one that follows entities. Reports are no events."""
        for kpi in self.catalog.kpis.values():
            if isinstance(kpi, Leaf) and not isinstance(kpi, ReportedKpi):
                yield from ((kpi, stream) for stream in streams_of(kpi))

    def goal_kpis(self) -> Iterator[Kpi]:
        """In file order."""
        return (kpi for kpi in self.catalog.kpis.values() if kpi.name in self.goals)
