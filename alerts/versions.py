"""How targets changed over time: a period is judged by the target that was in force at its end. Pure.

What is recorded decides, not when somebody edited a file: a version counts from the moment it was first seen.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pydantic import ValidationError

from onpace.alerts.status import Labels, target_series
from onpace.config.calendar import Grain
from onpace.config.catalog import Catalog
from onpace.config.kpi import Target
from onpace.config.kpi_entities import Kpi

__all__ = ["TargetHistory", "TargetVersion", "read_spec", "written_spec"]

Place = tuple[str, str, Labels]
"""What versions are versions of: KPI, the target's label, dimension values."""

_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class TargetVersion:
    """A target as it was from `first_seen` on."""

    kpi: str
    target: str
    """Its label."""
    series: Labels
    first_seen: datetime
    spec: str
    """What it asked for, as `written_spec` gives it; empty: it was gone from the KPI files."""

    @property
    def place(self) -> Place:
        """What it is a version of."""
        return self.kpi, self.target, self.series


def written_spec(target: Target) -> str:
    """All that a target is judged by, as JSON; the same target always gives the same text."""
    given: dict[str, Any] = {
        "every": target.every,
        "period": str(target.period) if target.period else None,
        "value": target.value,
        "min": target.min,
        "max": target.max,
        "from": target.start,
        "increase": target.increase.in_file() if target.increase else None,
        "over": target.over,
        "at_risk": target.at_risk,
        "tolerance": target.tolerance,
        "by": dict(sorted(target.by.items())) or None,
    }
    return json.dumps({name: value for name, value in given.items() if value is not None}, ensure_ascii=False)


def read_spec(spec: str) -> Target | None:
    """The inverse; None for a target that was gone, or that this version of OnPace cannot read."""
    try:
        return Target.model_validate(json.loads(spec)) if spec else None
    except (ValidationError, ValueError):
        return None


class TargetHistory:
    """Every version of every target, in order."""

    def __init__(self, versions: Iterable[TargetVersion] = ()) -> None:
        self._versions: dict[Place, list[TargetVersion]] = {}
        self._slices: dict[tuple[str, Labels, Grain], dict[Place, None]] = {}
        """The targets for the same dimension values and length of period, each under its label."""
        self._targets: dict[str, Target | None] = {}
        self.learn(versions)

    def learn(self, versions: Iterable[TargetVersion]) -> None:
        """Take these in. The same again is harmless."""
        for version in versions:
            known = self._versions.setdefault(version.place, [])
            if version not in known:
                known.append(version)
                known.sort(key=lambda one: one.first_seen)
            if target := self._read(version):
                self._slices.setdefault((version.kpi, version.series, target.grain), {})[version.place] = None

    def unseen(self, catalog: Catalog, now: datetime) -> list[TargetVersion]:
        """What the catalog's targets have that was never recorded: new, changed and gone ones, as first seen now."""
        wanted = {
            (kpi.name, target.label, target_series(target)): written_spec(target)
            for kpi in catalog.kpis.values()
            for target in kpi.targets
        }
        found = []
        for place in [*wanted, *(place for place in self._versions if place not in wanted)]:
            last = known[-1] if (known := self._versions.get(place)) else None
            spec = wanted.get(place, "")
            if last is None or last.spec != spec:
                # the clock of a replay may lie behind the one of an earlier run: a change is later than what it changes
                since = now if last is None else max(now, last.first_seen + _MICROSECOND)
                found.append(TargetVersion(*place, since, spec))
        return found

    def ever(self, kpi: str) -> list[Target]:
        """Each target that the KPI ever had, in its last form."""
        places = [place for (name, _, _), slice_ in self._slices.items() if name == kpi for place in slice_]
        forms = [[target for one in self._versions[place] if (target := self._read(one))] for place in places]
        return [targets[-1] for targets in forms]

    def in_force(self, kpi: Kpi, grain: Grain, series: Labels, end: datetime) -> list[Target]:
        """The KPI's targets of that length and those dimension values that were in force just before `end`.

        Before anything was recorded those count that were recorded first; with no record at all, those of the KPI.
        """
        labels = [self._versions[place] for place in self._slices.get((kpi.name, series, grain), ())]
        if not labels:
            return [target for target in kpi.targets if target.grain == grain and target_series(target) == series]
        moment = max(end, min(versions[0].first_seen for versions in labels) + _MICROSECOND)
        found = [_latest_before(moment, versions) for versions in labels]
        targets = [target for version in found if version and (target := self._read(version))]
        return [_with_period_of(kpi, target) if target.period else target for target in targets]

    def _read(self, version: TargetVersion) -> Target | None:
        if version.spec not in self._targets:
            self._targets[version.spec] = read_spec(version.spec)
        return self._targets[version.spec]


def _latest_before(moment: datetime, versions: Sequence[TargetVersion]) -> TargetVersion | None:
    return next((version for version in reversed(versions) if version.first_seen < moment), None)


def _with_period_of(kpi: Kpi, target: Target) -> Target:
    """With the period as the KPI's file has it, where it is still there: a label alone may not say all about it."""
    filed = next((one.period for one in kpi.targets if one.label == target.label), target.period)
    return target.model_copy(update={"period": filed})
