"""What must hold for what is individual: it has an owner, and nobody else hears of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from onpace.config.declarations import Declarations
from onpace.config.kpi import Objective
from onpace.config.kpi_entities import Kpi
from onpace.config.privacy import for_owner, is_individual
from onpace.config.reports import Report
from onpace.config.yaml_lines import Keys

__all__ = ["check_owners"]


def check_owners(found: Declarations, report: Report) -> None:
    """Report individual KPIs and objectives without an owner, and whatever would tell others of them."""
    kpis = {name: declared.model for name, declared in found.kpis.items() if declared.model}
    subjects: list[tuple[str, Kpi | Objective, Sequence[tuple[Keys, str]]]] = [
        *(("kpi", kpi, [(("guardrails", at), one) for at, one in enumerate(kpi.guardrails)]) for kpi in kpis.values()),
        *(
            ("objective", one.model, [(("key_results", at), r.kpi) for at, r in enumerate(one.model.key_results)])
            for one in found.objectives.values()
            if one.model
        ),
    ]
    for kind, subject, named in subjects:
        section = found.kpis if kind == "kpi" else found.objectives
        place = section[subject.name].place
        if is_individual(subject) and not subject.owner:
            report.add(place.at("level"), f"{kind} '{subject.name}': level individual needs an owner: whose it is")
        for keys, name in named:
            if name in kpis and not for_owner(subject, kpis[name]):
                told = f"{kind} '{subject.name}': kpi '{name}' is individual: only what is individual and its owner's"
                report.add(place.at(*keys), f"{told} ({kpis[name].owner or 'nobody'}) may name it")
    for name, message in _leaks(found, kpis):
        report.add(found.rules[name].place.at("notify"), f"rule '{name}': {message}")


def _leaks(found: Declarations, kpis: dict[str, Kpi]) -> Iterator[tuple[str, str]]:
    """Rules that would tell others of an individual KPI, with the channels that would."""
    for name, declared in found.rules.items():
        rule = declared.model
        kpi = kpis.get(rule.kpi) if rule else None
        if rule is None or kpi is None or not is_individual(kpi) or not kpi.owner:
            continue
        for channel in rule.notify:
            known = found.channels.get(channel)
            if known and known.model and known.model.owner != kpi.owner:
                whose = f"is {known.model.owner}'s" if known.model.owner else "has no owner"
                about = f"kpi '{kpi.name}' is individual: only channels of its owner may hear of it"
                yield name, f"{about}, and '{channel}' {whose}: give it owner: {kpi.owner}, or notify another"
