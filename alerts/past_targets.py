"""Which targets a KPI had at an earlier instant, from what was recorded of them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from onpace.alerts.status import Labels, target_series
from onpace.alerts.versions import TargetHistory, TargetVersion
from onpace.config.catalog import Catalog
from onpace.config.kpi import Target
from onpace.config.kpi_entities import Kpi

__all__ = ["PastTargets"]

_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class PastTargets:
    """The recorded versions of the targets of a catalog, of those KPIs whose files still say what was recorded last.

    Targets that were edited since count throughout: whoever asks what a rule would have done asks it with them.
    """

    catalog: Catalog
    versions: tuple[TargetVersion, ...] = ()
    edited: tuple[str, ...] = field(default=())
    """KPIs whose targets are other ones now than those recorded last."""

    @classmethod
    def of(cls, catalog: Catalog, versions: Sequence[TargetVersion], now: datetime) -> PastTargets:
        """Those of a catalog's KPIs. `now` is later than every version."""
        mine = [one for one in versions if one.kpi in catalog.kpis and catalog.kpi(one.kpi).targets]
        unseen = {one.kpi for one in TargetHistory(mine).unseen(catalog, now)} & {one.kpi for one in mine}
        return cls(catalog, tuple(one for one in mine if one.kpi not in unseen), tuple(sorted(unseen)))

    def changes(self, start: datetime, end: datetime) -> list[datetime]:
        """When a target changed in `(start, end]`, in order."""
        return sorted({one.first_seen for one in self.versions if start < one.first_seen <= end})

    def known(self, at: datetime) -> list[TargetVersion]:
        """The versions that were recorded by then."""
        return [one for one in self.versions if one.first_seen <= at]

    def catalog_at(self, at: datetime) -> Catalog:
        """The catalog with the targets that were in force then; before the first record those that it begins with."""
        history = TargetHistory(self.versions)
        recorded = {one.kpi for one in self.versions}
        kpis = {
            name: kpi.model_copy(update={"targets": _targets_at(kpi, history, at)}) if name in recorded else kpi
            for name, kpi in self.catalog.kpis.items()
        }
        return replace(self.catalog, kpis=kpis)


def _targets_at(kpi: Kpi, history: TargetHistory, at: datetime) -> tuple[Target, ...]:
    filed: dict[tuple[str, Labels], Target] = {(one.label, target_series(one)): one for one in kpi.targets}
    slices = dict.fromkeys((one.grain, target_series(one)) for one in [*kpi.targets, *history.ever(kpi.name)])
    found = [one for grain, series in slices for one in history.in_force(kpi, grain, series, at + _MICROSECOND)]
    places = list(filed)

    def order(target: Target) -> int:
        key = (target.label, target_series(target))
        return places.index(key) if key in filed else len(places)

    headline = {key for key, one in filed.items() if one.headline}
    marked = [
        one.model_copy(update={"headline": True}) if (one.label, target_series(one)) in headline else one
        for one in found
    ]
    return tuple(sorted(marked, key=order))
