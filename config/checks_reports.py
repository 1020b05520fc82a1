"""What must hold for reports: their channels take them, their owner or team exists, and their time fits."""

from __future__ import annotations

from collections.abc import Iterator
from zoneinfo import available_timezones

from onpace.config.calendar import FISCAL_GRAINS
from onpace.config.catalog import Catalog
from onpace.config.declarations import Declarations
from onpace.config.errors import did_you_mean
from onpace.config.kpi import Objective
from onpace.config.kpi_entities import Kpi
from onpace.config.privacy import is_individual
from onpace.config.reports import Report
from onpace.config.scorecard_reports import ScorecardReport
from onpace.config.yaml_lines import Keys

__all__ = ["check_reports"]

Complaint = tuple[Keys, str]


def check_reports(found: Declarations, catalog: Catalog, report: Report) -> None:
    """Report those that could never be sent, would be empty, or would tell others of what is individual.

    `catalog` holds the KPIs that are sound.
    """
    models = [*(one.model for one in found.kpis.values()), *(one.model for one in found.objectives.values())]
    subjects: list[Kpi | Objective] = [one for one in models if one is not None]
    whole = len(subjects) == len(models)
    for name, declared in found.reports.items():
        if (plan := declared.model) is None:
            continue
        problems = [*_time_problems(plan), *_channel_problems(plan, found, subjects)]
        if whole:
            problems += [*_whose_problems(plan, subjects), *_fiscal_problems(plan, catalog)]
        for keys, message in problems:
            report.add(declared.place.at(*keys), f"report '{name}': {message}")


def _time_problems(plan: ScorecardReport) -> Iterator[Complaint]:
    at = plan.at
    if at.weekday is not None and plan.every != "week":
        yield ("at",), f"at: {at} is a day of the week, for every: week; write {_as_in(plan)}"
    if at.day is not None and plan.every not in ("month", "quarter"):
        yield ("at",), f"at: {at} is a day of the month, for every: month or quarter; write {_as_in(plan)}"
    zones = available_timezones()
    if plan.timezone not in zones:
        yield ("timezone",), f"unknown time zone '{plan.timezone}'{did_you_mean(plan.timezone, zones)}"


def _as_in(plan: ScorecardReport) -> str:
    return {"day": "08:00", "week": "mon 08:00"}.get(plan.every, "1 08:00 or last 17:00")


def _channel_problems(
    plan: ScorecardReport, found: Declarations, subjects: list[Kpi | Objective]
) -> Iterator[Complaint]:
    individual = next((one for one in subjects if is_individual(one) and plan.owner == one.owner), None)
    if not plan.notify:
        yield ("notify",), "notify is empty: name at least one channel"
    for index, name in enumerate(plan.notify):
        keys: Keys = ("notify", index)
        if name not in found.channels:
            yield keys, f"unknown channel '{name}'{did_you_mean(name, found.channels)}"
            continue
        channel = found.channels[name].model
        if channel is None:
            continue
        if channel.type == "alertmanager":
            yield keys, f"channel '{name}' is an Alertmanager, and a report is no alert: notify another channel"
        if individual and channel.owner != individual.owner:
            whose = f"is {channel.owner}'s" if channel.owner else "has no owner"
            about = f"'{individual.name}' is individual: only channels of its owner may hear of it"
            yield keys, f"{about}, and '{name}' {whose}: give it owner: {individual.owner}, or notify another"


def _whose_problems(plan: ScorecardReport, subjects: list[Kpi | Objective]) -> Iterator[Complaint]:
    for key, given in (("owner", plan.owner), ("team", plan.team)):
        known = {str(getattr(one, key)) for one in subjects} - {""}
        if given is not None and given not in known:
            listed = did_you_mean(given, known) or f": there are {', '.join(sorted(known)) or 'none'}"
            yield (key,), f"no KPI or objective has {key} '{given}'{listed}"


def _fiscal_problems(plan: ScorecardReport, catalog: Catalog) -> Iterator[Complaint]:
    calendars = [kpi.observes for kpi in catalog.kpis.values() if kpi.observes]
    if plan.grain in FISCAL_GRAINS and not any(calendar.has_fiscal_year for calendar in calendars):
        yield ("of",), f"of: {plan.of} needs a KPI whose calendar has fiscal_year_start, and there is none"
