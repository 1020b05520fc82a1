"""What must hold of calendars, and which one each KPI follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from onpace.config.business import aliases, countries
from onpace.config.calendar import FISCAL_GRAINS, Grain
from onpace.config.calendars import CalendarRules
from onpace.config.declarations import Declarations
from onpace.config.errors import did_you_mean
from onpace.config.kpi import CumulativeKpi
from onpace.config.kpi_entities import Kpi
from onpace.config.reports import Report
from onpace.config.yaml_lines import Place

__all__ = ["check_calendars", "check_fiscal", "check_fiscal_objectives", "with_calendar"]


def check_calendars(found: Declarations, report: Report) -> None:
    """Report unknown countries and days that are given twice."""
    for name, declared in found.calendars.items():
        if declared.model:
            _check_country(declared.model, declared.place, f"calendar '{name}'", report)
            _check_days(declared.model, declared.place, f"calendar '{name}'", report)


def _check_country(rules: CalendarRules, place: Place, subject: str, report: Report) -> None:
    country, part = rules.country, rules.subdivision
    if country is None:
        if part is not None:
            report.add(place.at("subdivision"), f"{subject}: subdivision '{part}' needs a country")
        return
    if country not in countries():
        same = [code for code in countries() if code == country.upper()]
        hint = f" (did you mean '{same[0]}'?)" if same else ": write its code of two letters, as in DE"
        report.add(place.at("country"), f"{subject}: unknown country '{country}'{hint}")
    elif part is not None and part not in countries()[country]:
        known = countries()[country]
        code = aliases(country).get(part.lower()) or next((one for one in known if one == part.upper()), None)
        listed = f" (known are {', '.join(known)})" if known else ": it has none"
        hint = f" (did you mean '{code}'?)" if code else did_you_mean(part, known) or listed
        report.add(place.at("subdivision"), f"{subject}: unknown subdivision '{part}' of {country}{hint}")


def _check_days(rules: CalendarRules, place: Place, subject: str, report: Report) -> None:
    for key, days in (("closed", rules.closed), ("open", rules.open)):
        for index, day in enumerate(days):
            if day in days[:index]:
                report.add(place.at(key, index), f"{subject}: {day} is listed twice in {key}")
    for index, day in enumerate(rules.open):
        if day in rules.closed:
            report.add(place.at("open", index), f"{subject}: {day} is both open and closed")
    if len(set(rules.weekend)) == 7:
        report.add(place.at("weekend"), f"{subject}: a weekend of seven days leaves no day open")


def with_calendar(kpi: Kpi, inputs: Sequence[Kpi], place: Place, found: Declarations, report: Report) -> Kpi | None:
    """The KPI with its calendar resolved: its own, or that of its inputs, whose windows must be the same."""
    subject = f"kpi '{kpi.name}'"
    own = _resolved(kpi, place, subject, found, report)
    frames = {part.calendar.frame for part in inputs}
    if len(frames) > 1:
        listed = "; ".join(f"{part.name} {_frame(part)}" for part in inputs)
        report.add(place, f"{subject}: its inputs have different weeks or fiscal years: {listed}")
        return None
    if own is not None:
        kpi = kpi.model_copy(update={"observes": own})
        if frames and kpi.calendar.frame not in frames:
            differs = f"{_frame(kpi)}, than its input {inputs[0].name}, {_frame(inputs[0])}"
            report.add(
                place.at("calendar"),
                f"{subject}: calendar '{own.name}' has other weeks or fiscal years, {differs}",
            )
            return None
        return kpi
    if kpi.observes is not None:
        return None
    return kpi.model_copy(update={"observes": _shared(inputs)}) if inputs else kpi


def _resolved(kpi: Kpi, place: Place, subject: str, found: Declarations, report: Report) -> CalendarRules | None:
    if kpi.observes is None:
        return None
    declared = found.calendars.get(kpi.observes.name)
    if declared is None:
        report.unknown(place.at("calendar"), subject, "calendar", kpi.observes.name, found.calendars)
        return None
    return declared.model


def _shared(inputs: Sequence[Kpi]) -> CalendarRules | None:
    """The calendar of all inputs. Where they differ in open days, every day is open."""
    first = inputs[0].observes
    if first is None or all(part.observes == first for part in inputs):
        return first
    return first.model_copy(update={"country": None, "subdivision": None, "weekend": (), "closed": (), "open": ()})


def _frame(kpi: Kpi) -> str:
    rules = kpi.observes
    month, day = kpi.calendar.fiscal_start
    return f"{rules.week_start if rules else 'monday'}, {month:02}-{day:02}"


def check_fiscal(kpi: Kpi, place: Place, report: Report) -> None:
    """A fiscal quarter or year needs a calendar that says when the fiscal year begins."""
    lacks = _lacks(kpi)
    if not lacks:
        return
    wanted = [
        (place.at("targets", index, "every" if target.every else "period"), f"target: a {target.grain}")
        for index, target in enumerate(kpi.targets)
        if target.grain in FISCAL_GRAINS
    ]
    if isinstance(kpi, CumulativeKpi) and kpi.to_date and Grain(kpi.to_date) in FISCAL_GRAINS:
        wanted.append((place.at("to_date"), f"to_date {kpi.to_date}"))
    for where, what in wanted:
        report.add(where, f"kpi '{kpi.name}': {what} needs a calendar with fiscal_year_start: {lacks}")


def check_fiscal_objectives(found: Declarations, kpis: Mapping[str, Kpi], report: Report) -> None:
    """The same for the period of an objective, and the KPIs of its key results."""
    for name, declared in found.objectives.items():
        objective = declared.model
        if objective is None or objective.period is None or objective.period.grain not in FISCAL_GRAINS:
            continue
        for index, result in enumerate(objective.key_results):
            if lacks := _lacks(kpis[result.kpi]) if result.kpi in kpis else "":
                where = declared.place.at("key_results", index)
                subject = f"objective '{name}': kpi '{result.kpi}'"
                report.add(where, f"{subject}: {objective.period} needs a calendar with fiscal_year_start: {lacks}")


def _lacks(kpi: Kpi) -> str:
    """Why nobody knows when the KPI's fiscal years begin; empty when it is said."""
    if kpi.observes is None:
        return "the KPI has no calendar"
    return "" if kpi.observes.has_fiscal_year else f"calendar '{kpi.observes.name}' has none"
