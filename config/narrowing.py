"""The part of a catalog that some rules and KPIs need, for those who look at nothing else. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace

from onpace.config.catalog import Catalog
from onpace.config.kpi_entities import Kpi
from onpace.config.rules import AnomalyRule, ChangeRule, NoDataRule, Rule, ThresholdRule

__all__ = ["narrowed"]


def narrowed(
    catalog: Catalog, rules: Collection[str], *, judged: Collection[str] = (), read: Collection[str] = ()
) -> Catalog:
    """The rules with all that they look at, the KPIs `judged` with their targets, and those `read` without.

    What other KPIs say of the same events stays out, but for one of each calendar: a source that is silent while any
    KPI that it feeds is open is overdue. Nobody is notified: rules name no channels. Raises UnknownName for a KPI.
    """
    chosen = {name: rule for name, rule in catalog.rules.items() if name in rules}
    aims = {*judged, *(rule.kpi for rule in chosen.values() if _on_targets(rule))}
    aims |= {guard for name in sorted(aims) for guard in catalog.kpi(name).guardrails}
    wanted = {*aims, *read, *(name for rule in chosen.values() for name in _looked_at(rule))}
    kept = {part.name for name in sorted(wanted) for part in _with_inputs(catalog, catalog.kpi(name))}
    kept |= {part.name for kpi in _of_other_calendars(catalog, kept) for part in _with_inputs(catalog, kpi)}
    kpis = {name: _as_needed(kpi, name in aims, kept) for name, kpi in catalog.kpis.items() if name in kept}
    types = {name for kpi in kpis.values() for name in catalog.event_types(kpi)}
    return replace(
        catalog,
        events={name: event for name, event in catalog.events.items() if name in types},
        kpis=kpis,
        objectives={},
        channels={},
        silences=(),
        reports={},
        rules={name: rule.model_copy(update={"notify": ()}) for name, rule in chosen.items()},
    )


def _on_targets(rule: Rule) -> bool:
    return not isinstance(rule, ThresholdRule | ChangeRule | AnomalyRule | NoDataRule)


def _looked_at(rule: Rule) -> Iterator[str]:
    yield rule.kpi
    volume = getattr(rule, "min_volume", None)
    if volume is not None:
        yield volume.kpi


def _with_inputs(catalog: Catalog, kpi: Kpi) -> Iterator[Kpi]:
    yield kpi
    for part in catalog.inputs(kpi):
        yield from _with_inputs(catalog, part)


def _of_other_calendars(catalog: Catalog, kept: Collection[str]) -> list[Kpi]:
    """Where KPIs that are kept have closed days, one more KPI of each other calendar over the same events."""
    inside = [catalog.kpi(name) for name in sorted(kept)]
    if not any(kpi.calendar.business for kpi in inside):
        return []
    known = {kpi.calendar for kpi in inside}
    types = {name for kpi in inside for name in catalog.event_types(kpi)}
    found = []
    for kpi in catalog.kpis.values():
        if kpi.calendar not in known and types & set(catalog.event_types(kpi)):
            known.add(kpi.calendar)
            found.append(kpi)
    return found


def _as_needed(kpi: Kpi, judged: bool, kept: Collection[str]) -> Kpi:
    guardrails = tuple(name for name in kpi.guardrails if judged and name in kept)
    return kpi.model_copy(
        update={"targets": kpi.targets if judged else (), "guardrails": guardrails, "drives": (), "objective": None}
    )
