"""Cumulative KPIs on their way to a target: they climb over a period from where it began to where it should end. Pure.

A month of a year to date does not begin at nothing, and is no level that should be there from the first day on either:
expected at W is the beginning plus the share of the way that is due. It begins at the target's `from`; else at nothing
where the KPI starts anew with the period; else where the KPI stood at the end of the period before.
"""

from __future__ import annotations

from dataclasses import dataclass

from onpace.config.calendar import FISCAL_GRAINS, Grain, Period, window_start
from onpace.config.catalog import Catalog
from onpace.config.kpi import CumulativeKpi
from onpace.config.kpi_entities import Kpi

__all__ = ["Climb", "climb_of"]

WITHIN = {
    Grain.DAY: (Grain.WEEK, Grain.MONTH, Grain.QUARTER, Grain.FISCAL_QUARTER, Grain.YEAR, Grain.FISCAL_YEAR),
    Grain.MONTH: (Grain.QUARTER, Grain.YEAR),
    Grain.QUARTER: (Grain.YEAR,),
    Grain.FISCAL_QUARTER: (Grain.FISCAL_YEAR,),
}
"""What a period never reaches over the edge of; nor does a month where fiscal years begin on the first of one."""


@dataclass(frozen=True, slots=True)
class Climb:
    """How a cumulative KPI goes through one period."""

    from_nothing: bool
    """It starts anew with the period."""
    like_past: bool
    """Each period is one whole run, so that what share is due can be learned from past ones; else it is linear."""


def climb_of(catalog: Catalog, kpi: Kpi, period: Period) -> Climb | None:
    """The climb of a KPI over a period; None for one that is no running total, or starts anew in the middle of it."""
    if not isinstance(kpi, CumulativeKpi) or kpi.nature or kpi.window or not catalog.accumulates(catalog.kpi(kpi.of)):
        return None
    if kpi.to_date is None:
        return Climb(from_nothing=False, like_past=False)
    run = Grain(kpi.to_date)
    if period.grain is run:
        return Climb(from_nothing=True, like_past=True)
    in_months = period.grain is Grain.MONTH and run in FISCAL_GRAINS and kpi.calendar.fiscal_start[1] == 1
    if run not in WITHIN.get(period.grain, ()) and not in_months:
        return None
    start, _ = period.bounds(kpi.calendar)
    return Climb(from_nothing=window_start(run, start, kpi.calendar) == start, like_past=False)
