"""Puts before a forecaster what was read of a target and its past periods, and keeps the forecast until W moves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from onpace.alerts.forecasts import Case, Forecast, Forecaster, PastPeriod
from onpace.alerts.judgement import Judgement
from onpace.alerts.reading import Span
from onpace.alerts.seasonal_shape import SeasonalShape
from onpace.alerts.status import KpiStatus, Labels, Wanted, finite
from onpace.config.calendar import Grain
from onpace.config.catalog import Catalog
from onpace.config.kpi import Target
from onpace.config.kpi_entities import Kpi
from onpace.config.open_time import open_time
from onpace.config.rules import AttainmentRule, ForecastRule, PaceRule

__all__ = ["Foresight", "Outcome"]

StatusKey = tuple[str, Labels, str]
Outcome = Callable[[StatusKey], KpiStatus | None]
"""The latest status of a KPI, series and period, if any."""

_Asked = tuple[str, datetime | None, float | None, Wanted]
_Place = tuple[str, Labels, Grain]
"""Of a target only one period runs at a time."""


class Foresight:
    """Forecasts of targets in running periods: of all targets of a KPI that a rule on targets is about, and of the
    headline of every other KPI that adds up, of which much of the past is read anyway."""

    def __init__(self, catalog: Catalog, forecaster: Forecaster | None = None) -> None:
        self._catalog = catalog
        self._forecaster = forecaster or SeasonalShape()
        rules = catalog.rules.values()
        self._ruled = {rule.kpi for rule in rules if isinstance(rule, PaceRule | AttainmentRule | ForecastRule)}
        self._kept: dict[_Place, tuple[_Asked, Forecast]] = {}

    def wants(self, kpi: Kpi, target: Target) -> bool:
        """Whether the target is forecast."""
        return kpi.name in self._ruled or (self._catalog.accumulates(kpi) and target == kpi.headline)

    def forecast(
        self, judgement: Judgement, status: KpiStatus, values: Mapping[Span, float | None], outcome: Outcome
    ) -> Forecast | None:
        """What the status will end as, from the values of the judgement's spans; None where it is not forecast, where
        its period is over and where there is nothing to judge."""
        if not judgement.foreseen or status.as_of is None or status.actual is None:
            return None
        if judgement.ended or status.as_of >= status.period_end or status.status == "no_data":
            return None
        wanted = Wanted.of(judgement.resolved(values).target, judgement.kpi.direction)
        asked = status.period, status.as_of, status.actual, wanted
        place = status.kpi, status.series, status.grain
        kept = self._kept.get(place)
        if kept is None or kept[0] != asked:
            case = Case(
                as_of=status.as_of,
                actual=status.actual,
                open_time=open_time([judgement.kpi.calendar], *judgement.bounds),
                wanted=wanted,
                adds_up=judgement.is_total,
                past=_past(judgement, values, outcome),
            )
            kept = self._kept[place] = asked, self._forecaster.forecast(case)
        return kept[1]


def _past(judgement: Judgement, values: Mapping[Span, float | None], outcome: Outcome) -> tuple[PastPeriod, ...]:
    """The past periods of which both values are there, oldest first."""
    kpi, found = judgement.kpi, []
    finites = {span: finite(value) for span, value in values.items()}
    for period, point in reversed(judgement.history):
        reached = point.reached(finites, from_nothing=judgement.is_total)
        if reached is None:
            continue
        at_point, final = reached
        ended = outcome((kpi.name, judgement.due.series, str(period)))
        found.append(
            PastPeriod(
                name=str(period),
                at_point=at_point,
                final=final,
                open_time=open_time([kpi.calendar], point.start, point.end),
                wanted=_wanted_then(ended, kpi) if ended else None,
            )
        )
    return tuple(found)


def _wanted_then(ended: KpiStatus, kpi: Kpi) -> Wanted | None:
    """What the period was judged by; None where it could not be."""
    if not ended.final or ended.status not in ("met", "missed"):
        return None
    return Wanted.asked(ended.target_min, ended.target_max, ended.target_value, kpi.direction)
