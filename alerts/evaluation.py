"""What one evaluation found: statuses, alerts, the transitions it caused and the stale sources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from onpace.alerts.forecasts import Forecast
from onpace.alerts.overdue import Late
from onpace.alerts.rules import Inputs
from onpace.alerts.silences import Quiet
from onpace.alerts.states import Alert, AlertState
from onpace.alerts.status import KpiStatus, Labels, target_series
from onpace.config.kpi_entities import Kpi

__all__ = ["Evaluation", "Reading", "Transition"]


@dataclass(frozen=True, slots=True)
class Transition:
    """An alert went from one state to another at `at`, because of `inputs`."""

    alert: Alert
    """The alert after the transition."""
    before: AlertState
    at: datetime
    inputs: Inputs = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reading:
    """The value so far today of a KPI that has no target, or in its last period if those are longer than a day."""

    value: float | None
    as_of: datetime | None
    stale: bool
    period: str = "today"


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Everything known after an evaluation at `now`."""

    now: datetime
    statuses: tuple[KpiStatus, ...] = ()
    """Every target in its current period, and in each ended period that is not final or became so just now."""
    readings: Mapping[str, Reading] = field(default_factory=dict)
    """By KPI, for those without a target."""
    alerts: tuple[Alert, ...] = ()
    """Every alert that is known, in whatever state."""
    transitions: tuple[Transition, ...] = ()
    stale: Mapping[str, str] = field(default_factory=dict)
    """Stale event types, each with the reason."""
    held: Mapping[str, int] = field(default_factory=dict)
    """Of rules with more firing series than people are told of: how many more."""
    late: Late = field(default_factory=dict)
    """KPIs with overdue reports, their own or those they are made of."""
    forecasts: Mapping[tuple[str, Labels, str], Forecast] = field(default_factory=dict)
    """By the key of the status whose end they are about, while its period runs."""
    quiet: Quiet = field(default_factory=Quiet)
    """The silences and acknowledgements that count."""

    def headline(self, kpi: Kpi) -> KpiStatus | None:
        """The status of the KPI's headline target in the latest period it is judged in."""
        if kpi.headline is None:
            return None
        series, grain = target_series(kpi.headline), kpi.headline.grain
        found = [s for s in self.statuses if (s.kpi, s.series, s.grain) == (kpi.name, series, grain)]
        return max(found, key=lambda status: status.period_start, default=None)

    def status_of(self, kpi: str, series: Labels, period: str) -> KpiStatus | None:
        """The status of a target in one period, if it was judged."""
        return next((status for status in self.statuses if status.key == (kpi, series, period)), None)
