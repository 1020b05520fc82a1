"""What happened to a KPI beside an alert's own steps: changes of its status and of its target. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from onpace.alerts.alert_log import StatusChange
from onpace.alerts.status import format_value
from onpace.alerts.versions import TargetVersion, read_spec
from onpace.alerts.why import Entry, Place
from onpace.config.calendar import Period
from onpace.config.kpi_entities import Kpi

__all__ = ["beside"]


def beside(
    kpi: Kpi, place: Place, at: datetime, changes: Iterable[StatusChange], versions: Sequence[TargetVersion]
) -> list[Entry]:
    """The changes of status of that series and period up to `at`, and of the targets that were for it."""
    series, period = place
    found = [
        Entry(one.at, word, one.reason.removeprefix(f"{word}: "))
        for one in changes
        if (one.series, one.period) == (series, period)
        for word in [one.status.replace("_", " ")]
    ]
    return [*found, *_targets(kpi, place, at, versions)]


def _targets(kpi: Kpi, place: Place, at: datetime, versions: Sequence[TargetVersion]) -> Iterator[Entry]:
    series, period = place
    start, end = Period.parse(period).bounds(kpi.calendar)
    before: dict[str, TargetVersion] = {}
    for one in sorted(versions, key=lambda version: version.first_seen):
        if (one.kpi, one.series) != (kpi.name, series):
            continue
        earlier, before[one.target] = before.get(one.target), one
        if earlier is not None and start <= one.first_seen <= min(at, end) and _is_for(one, earlier, period):
            yield Entry(
                one.first_seen, "target", f"{one.target}: {_aim(earlier, kpi.unit)} became {_aim(one, kpi.unit)}"
            )


def _is_for(one: TargetVersion, earlier: TargetVersion, period: str) -> bool:
    """Whether it may count in that period: by its length, or by its name."""
    target = read_spec(one.spec) or read_spec(earlier.spec)
    return (
        target is not None
        and target.grain is Period.parse(period).grain
        and target.period in (None, Period.parse(period))
    )


def _aim(version: TargetVersion, unit: str) -> str:
    """What it asked for, in a word."""
    target = read_spec(version.spec)
    if target is None:
        return "none"
    if target.increase is not None:
        return f"an increase of {target.increase}"
    if target.value is not None:
        return format_value(target.value, unit)
    return f"{format_value(target.min, unit)} to {format_value(target.max, unit)}"
