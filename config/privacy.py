"""Who may see what: KPIs and objectives of level `individual` are for their owner only."""

from __future__ import annotations

from onpace.config.catalog import Catalog
from onpace.config.kpi import Objective
from onpace.config.kpi_entities import Kpi

__all__ = ["for_owner", "is_individual", "shared_kpis", "shown_to"]


def is_individual(subject: Kpi | Objective) -> bool:
    """Whether it is about one person."""
    return subject.level == "individual"


def shown_to(owner: str | None, subject: Kpi | Objective) -> bool:
    """Whether it is in an overview: with an owner, what is the owner's; without, all that is about no single person."""
    return subject.owner == owner if owner is not None else not is_individual(subject)


def for_owner(subject: Kpi | Objective, other: Kpi) -> bool:
    """Whether what is said about `subject` may tell of `other`: shared KPIs always, individual ones to their owner."""
    return not is_individual(other) or (is_individual(subject) and subject.owner == other.owner)


def shared_kpis(catalog: Catalog) -> dict[str, Kpi]:
    """The KPIs that everybody may see, in file order."""
    return {name: kpi for name, kpi in catalog.kpis.items() if not is_individual(kpi)}
