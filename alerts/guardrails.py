"""What a status says of the KPI's guardrails: on track, but at whose expense? It stays the status that it is. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from onpace.alerts.status import KpiStatus, Labels, target_series
from onpace.config.catalog import Catalog
from onpace.config.kpi_entities import Kpi
from onpace.config.privacy import for_owner

__all__ = ["guardrail_words", "with_guardrails"]

Headlines = Mapping[str, Sequence[KpiStatus]]
"""By KPI, the statuses of its headline target."""

OFF = ("off_track", "missed")
GOOD = ("on_track", "met")


def with_guardrails(
    catalog: Catalog, statuses: Sequence[KpiStatus], known: Callable[[tuple[str, Labels, str]], KpiStatus | None]
) -> list[KpiStatus]:
    """The statuses, with a remark on guardrails that are off. One that was final before (as `known`) is left alone."""
    headlines: dict[str, list[KpiStatus]] = {}
    for status in statuses:
        headline = catalog.kpi(status.kpi).headline
        if headline and (status.series, status.grain) == (target_series(headline), headline.grain):
            headlines.setdefault(status.kpi, []).append(status)
    return [
        status
        if (status.final and status == known(status.key)) or not (catalog.kpi(status.kpi).guardrails or status.remark)
        else _remarked(catalog, status, headlines)
        for status in statuses
    ]


def guardrail_words(status: KpiStatus) -> str:
    """`but guardrail Refund rate is off track`; '' when none is."""
    return status.remark.removeprefix(", ")


def _remarked(catalog: Catalog, status: KpiStatus, headlines: Headlines) -> KpiStatus:
    plain = status.reason.replace(status.remark, "", 1) if status.remark else status.reason
    found = _remark(catalog, catalog.kpi(status.kpi), status, headlines)
    head, colon, rest = plain.partition(":")
    return replace(status, reason=f"{head}{found}{colon}{rest}", remark=found)


def _remark(catalog: Catalog, kpi: Kpi, status: KpiStatus, headlines: Headlines) -> str:
    if status.status == "no_data":
        return ""
    said = []
    for name in kpi.guardrails:
        guardrail = catalog.kpi(name)
        judged = _beside(headlines.get(name, ()), status) if for_owner(kpi, guardrail) else None
        if judged and judged.status in OFF:
            said.append(f"guardrail {guardrail.title or name} is {judged.status.replace('_', ' ')}")
    joint = "but" if status.status in GOOD else "and"
    return f", {joint} {' and '.join(said)}" if said else ""


def _beside(found: Sequence[KpiStatus], status: KpiStatus) -> KpiStatus | None:
    """The guardrail's status in the same period; while that runs, else in its latest one."""
    same = next((one for one in found if one.period == status.period), None)
    if same or status.evaluated_at >= status.period_end:
        return same
    return max(found, key=lambda one: one.period_start, default=None)
