"""Attainable: a target between what comes by itself and what never came near; a bound outside the usual."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import median, quantiles

from onpace.config.calendar import Grain, Period
from onpace.config.catalog import Catalog
from onpace.config.increases import Increase, Over
from onpace.config.kpi import KeyResult, Objective, Target
from onpace.config.kpi_entities import Kpi
from onpace.config.lint.evidence import Evidence, PastValue, Segment
from onpace.config.lint.findings import Finding, Judged, Verdict, number
from onpace.config.lint.scope import Scope
from onpace.config.yaml_lines import Keys

__all__ = ["check_attainable", "past_needed"]

ENOUGH = {Grain.DAY: 14, Grain.WEEK: 8, Grain.MONTH: 6, Grain.QUARTER: 4, Grain.YEAR: 3}
ENOUGH |= {Grain.FISCAL_QUARTER: ENOUGH[Grain.QUARTER], Grain.FISCAL_YEAR: ENOUGH[Grain.YEAR]}
"""Whole periods from which on a target can be compared with the past."""
FEWEST = 4
"""The same for periods of any other length."""
NEAR = 0.1
"""Share of the target within which a period came near it."""
MOSTLY_MET = 0.9
"""Share of past periods from which on a target is one that is met anyway."""
ENOUGH_WINDOWS = 100
NOISY = 0.1
"""Share of windows beyond a rule's bound from which on the bound lies inside the usual."""


def past_needed(catalog: Catalog) -> list[tuple[str, Grain, Segment]]:
    """The series of whole periods that targets and key results are compared with."""
    needed: dict[tuple[str, Grain, Segment], None] = {}
    for kpi in catalog.kpis.values():
        for target in kpi.targets:
            needed[kpi.name, target.grain, tuple(sorted(target.by.items()))] = None
    for objective in catalog.objectives.values():
        if objective.period:
            grain = objective.period.grain
            needed |= {(one.kpi, grain, tuple(sorted(one.by.items()))): None for one in objective.key_results}
    return list(needed)


def check_attainable(scope: Scope) -> Iterator[Verdict]:
    """A301, A302 and A304."""
    if scope.evidence is None:
        return
    for kpi in scope.catalog.kpis.values():
        for index, target in enumerate(kpi.targets):
            segment = tuple(sorted(target.by.items()))
            aim = _Aim.of_target(kpi, target)
            growth = scope.evidence.growth.get((kpi.name, index), ())
            found = growth if target.increase else scope.evidence.past.get((kpi.name, target.grain, segment), ())
            past = _comparable(scope, found, target.period)
            if aim and past:
                yield from _judge(_KpiTarget(scope, kpi, segment, ("targets", index)), aim, past)
    for objective in scope.catalog.objectives.values():
        yield from _key_results(scope, scope.evidence, objective)
    yield from _rules(scope, scope.evidence)


@dataclass(frozen=True, slots=True)
class _Aim:
    """What is to be reached: at least `low`, at most `high`, or both."""

    low: float | None
    high: float | None
    near: float
    """How far from it a value still came near."""
    unit: str
    over: str = ""
    """What a growth is over, in words."""
    kept: bool = False
    """Whether it is to be kept rather than reached: that it always was is as it should be."""

    @classmethod
    def of_target(cls, kpi: Kpi, target: Target) -> _Aim | None:
        """None for a target without fixed numbers."""
        if target.min is not None and target.max is not None:
            near = max(target.tolerance or 0.0, NEAR * (target.max - target.min))
            return cls(target.min, target.max, near, kpi.unit, kept=True)
        if target.increase and target.over:
            return cls._of_growth(kpi, target.increase, target.over)
        return None if target.value is None else cls.of_value(kpi, target.value, target.tolerance or 0.0)

    @classmethod
    def _of_growth(cls, kpi: Kpi, increase: Increase, over: Over) -> _Aim:
        """One that lets the KPI get worse by so much only is to be kept."""
        unit = "%" if increase.relative else kpi.unit
        words = " more than a year ago" if over == "year_ago" else " more than the period before"
        worse = increase.amount > 0 if kpi.direction == "lower_is_better" else increase.amount < 0
        aim = cls.of_value(kpi, increase.amount)
        return replace(aim, unit=unit, over=words, kept=worse)

    @classmethod
    def of_value(cls, kpi: Kpi, value: float, tolerance: float = 0.0) -> _Aim:
        near = max(tolerance, NEAR * abs(value))
        low, high = (None, value) if kpi.direction == "lower_is_better" else (value, None)
        return cls(low, high, near, kpi.unit)

    def short(self, value: float) -> float:
        """How much is missing; 0 where it is reached."""
        below = self.low - value if self.low is not None else 0.0
        above = value - self.high if self.high is not None else 0.0
        return max(below, above, 0.0)

    def __str__(self) -> str:
        if self.low is not None and self.high is not None:
            return f"{number(self.low)} to {number(self.high, self.unit)}"
        return number(self.low if self.low is not None else self.high or 0.0, self.unit) + self.over


@dataclass(frozen=True, slots=True)
class _KpiTarget:
    """Whom a finding is about."""

    scope: Scope
    kpi: Kpi
    segment: Segment = ()
    at: Keys = ()
    objective: str = ""

    def finding(self, code: str, message: str, remedy: str) -> Finding:
        if self.objective:
            return self.scope.objective(code, self.objective, f"kpi '{self.kpi.name}': {message}", remedy, at=self.at)
        return self.scope.kpi(code, self.kpi.name, message, remedy, at=self.at)

    def judged(self, code: str) -> Judged:
        if self.objective:
            return Judged(code, self.scope.found.objectives[self.objective].place, f"objective '{self.objective}'")
        return self.scope.judged(code, self.kpi.name)

    @property
    def who(self) -> str:
        return f" for {', '.join(f'{name} {value}' for name, value in self.segment)}" if self.segment else ""


def _comparable(scope: Scope, found: Sequence[PastValue], period: Period | None) -> Sequence[PastValue]:
    """The periods that a target can be compared with: none if its own is over, or if they are too few."""
    if period and scope.over(period):
        return ()
    past = [one for one in found if period is None or one.period.first_day < period.first_day]
    return past if past and len(past) >= ENOUGH.get(past[0].period.grain, FEWEST) else ()


def _judge(who: _KpiTarget, aim: _Aim, past: Sequence[PastValue]) -> Iterator[Verdict]:
    unit, grain = aim.unit, past[0].period.grain
    yield who.judged("A301")
    best = min(past, key=lambda one: aim.short(one.value))
    span = f"{len(past)} whole {grain}s ({past[0].period} to {past[-1].period})"
    if aim.short(best.value) > aim.near:
        yield who.finding(
            "A301",
            f"none of {span} came near its target{who.who} of {aim}: the best was "
            f"{number(best.value, unit)}, in {best.period}",
            "aim for what its levers can move, or come to it in steps: a target for each period",
        )
    met = sum(aim.short(one.value) == 0 for one in past)
    if aim.kept or who.kpi.name in who.scope.guardrails:
        return
    yield who.judged("A302")
    if met / len(past) >= MOSTLY_MET:
        values = [one.value for one in past]
        quarter = quantiles(values, n=4)[2 if aim.low is not None else 0]
        yield who.finding(
            "A302",
            f"its target{who.who} of {aim} was already met in {met} of {span}, half of which had "
            f"{number(median(values), unit)} or better: it asks for nothing new",
            f"raise it (the best quarter of them had {number(quarter, unit)} or better), or make it a guardrail"
            if aim.low is not None
            else f"tighten it (the best quarter had {number(quarter, unit)} or less), or make it a guardrail",
        )


def _key_results(scope: Scope, evidence: Evidence, objective: Objective) -> Iterator[Verdict]:
    """A key result that repeats a target of its KPI is judged there."""
    period = objective.period
    for index, result in enumerate(objective.key_results if period else ()):
        kpi = scope.catalog.kpi(result.kpi)
        if period is None or kpi.direction == "in_range":
            continue
        if any(_repeats(one, result, period.grain) for one in kpi.targets):
            continue
        segment = tuple(sorted(result.by.items()))
        past = _comparable(scope, evidence.past.get((kpi.name, period.grain, segment), ()), period)
        if past:
            who = _KpiTarget(scope, kpi, segment, ("key_results", index), objective.name)
            yield from _judge(who, _Aim.of_value(kpi, result.value), past)


def _repeats(target: Target, result: KeyResult, grain: Grain) -> bool:
    return (target.value, target.grain, target.by) == (result.value, grain, result.by)


def _rules(scope: Scope, evidence: Evidence) -> Iterator[Verdict]:
    for name, facts in evidence.rules.items():
        if facts.windows < ENOUGH_WINDOWS:
            continue
        yield Judged("A304", scope.found.rules[name].place, f"rule '{name}'")
        share = facts.broken / facts.windows
        if share >= NOISY:
            yield scope.rule(
                "A304",
                name,
                f"its bound was broken by {facts.broken:,} of {facts.windows:,} past windows ({share:.0%}): that is "
                "how the KPI usually is, and an alert on it will be ignored",
                "set the bound outside of what is usual, look at a longer grain, or give it a min_volume",
            )
