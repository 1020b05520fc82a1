"""From the contents of KPI files to models, one declaration at a time; what does not fit is reported at its line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar, get_args

from pydantic import BaseModel

from onpace.config.calendars import CalendarRules
from onpace.config.dashboards import DashboardUrl
from onpace.config.durations import Duration
from onpace.config.errors import did_you_mean
from onpace.config.expressions import ExpressionError, parse_event_expression
from onpace.config.kpi import (
    CumulativeKpi,
    DerivedKpi,
    Direction,
    EventKpi,
    EventType,
    Model,
    Objective,
    RatioKpi,
    SimpleKpi,
    Waiver,
)
from onpace.config.kpi_entities import BalanceKpi, ConversionKpi, Kpi, ReportedKpi, RetentionKpi
from onpace.config.reports import Report, keys_of
from onpace.config.rules import (
    AnomalyRule,
    AttainmentRule,
    ChangeRule,
    Channel,
    ForecastRule,
    NoDataRule,
    PaceRule,
    Rule,
    ThresholdRule,
)
from onpace.config.scorecard_reports import ScorecardReport
from onpace.config.uses import Uses
from onpace.config.yaml_lines import Document, Place

__all__ = ["Declarations", "Declared", "Defaults", "SilencesOfFile", "collect"]

M = TypeVar("M")

KPI_TYPES: dict[str, type[Kpi]] = {
    "simple": SimpleKpi,
    "ratio": RatioKpi,
    "derived": DerivedKpi,
    "cumulative": CumulativeKpi,
    "conversion": ConversionKpi,
    "retention": RetentionKpi,
    "balance": BalanceKpi,
    "reported": ReportedKpi,
}
RULE_KINDS: dict[str, type[Rule]] = {
    "threshold": ThresholdRule,
    "change": ChangeRule,
    "anomaly": AnomalyRule,
    "pace": PaceRule,
    "attainment": AttainmentRule,
    "forecast": ForecastRule,
    "no_data": NoDataRule,
}
SECTIONS = ("calendars", "events", "objectives", "kpis", "channels", "rules", "reports")
HARMLESS_IN_KPIS = {
    **dict.fromkeys(("title", "description", "owner", "team", "unit", "level", "perspective", "nature", "objective")),
    **dict.fromkeys(("guardrails", "drives", "targets", "levers", "review_every", "reviewed", "waive", "dashboard")),
    "direction": "higher_is_better",
    "role": "leading",
}
"""Keys that other declarations do not depend on, with what stands in for them when they are wrong."""
HARMLESS_IN_RULES: dict[str, Any] = dict.fromkeys(("severity", "active", "for", "keep_firing_for"))
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class Defaults(Model):
    """What a file's KPIs have where they do not say otherwise."""

    timezone: str | None = None
    owner: str | None = None
    lateness: Duration | None = None
    calendar: str | None = None
    currency: str | None = None
    """The unit of library KPIs that are in money."""
    dashboard: DashboardUrl | None = None


@dataclass(frozen=True, slots=True)
class Declared(Generic[M]):
    """A declaration and its place; `model` is None when it is wrong, so that others may still refer to it."""

    model: M | None
    place: Place


@dataclass(frozen=True, slots=True)
class SilencesOfFile:
    """What a file has under `silences`, as it is there, and the zone of times in it that name none."""

    content: Any
    place: Place
    timezone: str | None


@dataclass(frozen=True, slots=True)
class Declarations:
    """Everything that the files declare, by name, in file order."""

    events: dict[str, Declared[EventType]] = field(default_factory=dict)
    calendars: dict[str, Declared[CalendarRules]] = field(default_factory=dict)
    objectives: dict[str, Declared[Objective]] = field(default_factory=dict)
    kpis: dict[str, Declared[Kpi]] = field(default_factory=dict)
    channels: dict[str, Declared[Channel]] = field(default_factory=dict)
    rules: dict[str, Declared[Rule]] = field(default_factory=dict)
    reports: dict[str, Declared[ScorecardReport]] = field(default_factory=dict)
    waivers: list[Declared[Waiver]] = field(default_factory=list)
    """Those for a whole file, each in the file it is for."""
    silences: list[SilencesOfFile] = field(default_factory=list)


def collect(documents: list[Document], environment: Mapping[str, str], report: Report) -> Declarations:
    """Build every declaration of every file."""
    found = Declarations()
    builders: list[tuple[_Builder, dict[str, Any], Place]] = []
    for document in documents:
        content, top = document.content, Place(document)
        if not isinstance(content, dict):
            wrong = "is empty" if content is None else "is no mapping"
            report.add(top, f"the file {wrong}: it begins with 'version: 1', then events: and kpis:")
            continue
        _check_top(content, top, report)
        defaults = (
            report.build(Defaults, _mapping(content.get("defaults")), place=top.at("defaults"), subject="defaults")
            or Defaults()
        )
        found.waivers.extend(_waivers(content.get("waive"), top.at("waive"), report))
        found.silences.append(SilencesOfFile(content.get("silences"), top.at("silences"), defaults.timezone))
        builder = _Builder(found, defaults, environment, report)
        for name, spec, place in _named(content.get("events"), top.at("events"), report):
            builder.event(name, spec, place)
        builders.append((builder, content, top))
    uses = Uses(_kpi_names(documents), {name: declared.model for name, declared in found.events.items()}, report)
    for builder, content, top in builders:
        for section, build in builder.sections(uses).items():
            for name, spec, place in _listed(content.get(section), top.at(section), report):
                build(name, spec, place)
    return found


def _kpi_names(documents: list[Document]) -> set[str]:
    """The names of all KPIs that the files declare themselves."""
    sections = [document.content.get("kpis") for document in documents if isinstance(document.content, dict)]
    specs = [spec for section in sections if isinstance(section, list) for spec in section if isinstance(spec, dict)]
    return {spec["name"] for spec in specs if isinstance(spec.get("name"), str)}


def _waivers(content: Any, section: Place, report: Report) -> Iterator[Declared[Waiver]]:
    if not isinstance(content, list | None):
        report.add(section, "waive: must be a list, as in waive: [{code: T502, reason: …}]")
        return
    for index, spec in enumerate(content or []):
        place = section.at(index)
        yield Declared(report.build(Waiver, spec, place=place, subject="waive"), place)


def _mapping(value: Any) -> Any:
    return {} if value is None else value


def _check_top(content: dict[str, Any], top: Place, report: Report) -> None:
    if "version" not in content:
        report.add(top, "'version' is missing: write 'version: 1' at the top")
    elif content["version"] is True or content["version"] != 1:
        report.add(top.at("version"), f"version {content['version']} is not known: this OnPace reads version 1")
    known = ("version", "defaults", "waive", "silences", *SECTIONS)
    for key, value in content.items():
        if key not in known:
            hint = did_you_mean(key, known) or f" (known are {', '.join(known)})"
            report.add(top.at(key), f"unknown key '{key}'{hint}")
        elif key != "channels":
            for place in _variables(value, top.at(key)):
                report.add(place, "${…} is for channels only: write the value itself here")


def _variables(value: Any, place: Place) -> Iterator[Place]:
    if isinstance(value, str) and "${" in value:
        yield place
    for key, inner in _inside(value):
        yield from _variables(inner, place.at(key))


def _inside(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, dict):
        yield from value.items()
    elif isinstance(value, list):
        yield from enumerate(value)


def _named(content: Any, section: Place, report: Report) -> Iterator[tuple[str, dict[str, Any], Place]]:
    if not isinstance(content, dict | None):
        report.add(section, f"{section.keys[-1]}: must be a mapping of name to declaration")
        return
    for name, spec in (content or {}).items():
        if isinstance(spec, dict | None):
            yield name, spec or {}, section.at(name)
        else:
            report.add(section.at(name), f"event '{name}': must be a mapping, as in properties: {{…}}")


def _listed(content: Any, section: Place, report: Report) -> Iterator[tuple[str, dict[str, Any], Place]]:
    kind = str(section.keys[-1]).removesuffix("s")
    if not isinstance(content, list | None):
        report.add(section, f"{kind}s: must be a list: begin each {kind} with '- name: …'")
        return
    for index, spec in enumerate(content or []):
        place = section.at(index)
        if not isinstance(spec, dict):
            report.add(place, f"{kind}: must be a mapping that begins with 'name: …'")
        elif not isinstance(spec.get("name"), str):
            report.add(place.at("name"), f"{kind}: 'name' is missing or no text")
        else:
            yield spec["name"], spec, place


class _Builder:
    """Builds the declarations of one file."""

    def __init__(self, found: Declarations, defaults: Defaults, environment: Mapping[str, str], report: Report) -> None:
        self.found = found
        self.defaults = defaults
        self.environment = environment
        self.report = report

    def sections(self, uses: Uses) -> dict[str, Any]:
        """How each section's declarations are built."""
        kpi = partial(self.kpi_or_use, uses=uses)
        return {
            "calendars": self.calendar,
            "objectives": self.objective,
            "kpis": kpi,
            "channels": self.channel,
            "rules": self.rule,
            "reports": self.scorecard_report,
        }

    def kpi_or_use(self, name: str, spec: dict[str, Any], place: Place, uses: Uses) -> None:
        """A KPI, or what a `use` of the library comes to."""
        if "use" not in spec:
            self.kpi(name, spec, place)
            return
        expansion = uses.expand(name, spec, place, self.defaults.currency)
        if expansion is None:
            self._declare(self.found.kpis, name, place, f"kpi '{name}'", None)
            return
        for event, content in expansion.events.items():
            if event not in self.found.events:
                self.event(event, dict(content), place)
        for part, content in expansion.kpis:
            self.kpi(part, content, place)

    def event(self, name: str, spec: dict[str, Any], place: Place) -> None:
        subject = f"event '{name}'"
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,254}", name):
            self.report.add(place, f"{subject}: an event's name has letters, digits and . _ - : /")
        if "name" in spec:
            self.report.add(place.at("name"), f"{subject}: unknown key 'name': its name is the key above")
        content = {**{key: value for key, value in spec.items() if key != "name"}, "name": name}
        model = self.report.build(EventType, content, place=place, subject=subject)
        self._declare(self.found.events, name, place, subject, model)

    def calendar(self, name: str, spec: dict[str, Any], place: Place) -> None:
        subject = f"calendar '{name}'"
        model = self.report.build(CalendarRules, spec, place=place, subject=subject)
        self._declare(self.found.calendars, name, place, subject, model)

    def objective(self, name: str, spec: dict[str, Any], place: Place) -> None:
        subject = f"objective '{name}'"
        owner = {"owner": self.defaults.owner} if self.defaults.owner else {}
        model = self.report.build(Objective, owner | spec, place=place, subject=subject)
        self._declare(self.found.objectives, name, place, subject, model)

    def channel(self, name: str, spec: dict[str, Any], place: Place) -> None:
        subject = f"channel '{name}'"
        before = len(self.report.problems())
        content = {key: self._substitute(value, place.at(key), subject) for key, value in spec.items()}
        model = None
        if len(self.report.problems()) == before:
            model = self.report.build(Channel, content, place=place, subject=subject)
        self._declare(self.found.channels, name, place, subject, model)

    def kpi(self, name: str, spec: dict[str, Any], place: Place) -> None:
        subject = f"kpi '{name}'"
        kind = spec.get("type", "simple")
        model = KPI_TYPES.get(kind) if isinstance(kind, str) else None
        built: Kpi | None = None
        if model is None:
            self._refuse(place.at("type"), f"{subject}: type", kind, KPI_TYPES)
        else:
            content = _only_known(model, spec, place, subject, self.report)
            _drop_unjudged_targets(content)
            if issubclass(model, EventKpi):
                content["dimensions"] = _dimensions(content.get("dimensions"))
            content = self._with_defaults(model, content)
            built = self.report.build(model, content, place=place, subject=subject, harmless=HARMLESS_IN_KPIS)
        self._declare(self.found.kpis, name, place, subject, built)

    def rule(self, name: str, spec: dict[str, Any], place: Place) -> None:
        subject = f"rule '{name}'"
        kind = spec.get("when")
        model = RULE_KINDS.get(kind) if isinstance(kind, str) else None
        built: Rule | None = None
        if model is not None:
            built = self.report.build(model, spec, place=place, subject=subject, harmless=HARMLESS_IN_RULES)
        elif kind is None:
            self.report.add(place, f"{subject}: 'when' is missing: one of {', '.join(RULE_KINDS)}")
        else:
            self._refuse(place.at("when"), f"{subject}: when", kind, RULE_KINDS)
        self._declare(self.found.rules, name, place, subject, built)

    def scorecard_report(self, name: str, spec: dict[str, Any], place: Place) -> None:
        subject = f"report '{name}'"
        zone = {"timezone": self.defaults.timezone} if self.defaults.timezone else {}
        model = self.report.build(ScorecardReport, zone | spec, place=place, subject=subject)
        self._declare(self.found.reports, name, place, subject, model)

    def _refuse(self, place: Place, subject: str, kind: object, supported: Mapping[str, object]) -> None:
        hint = did_you_mean(str(kind), supported) or f" (known are {', '.join(supported)})"
        self.report.add(place, f"{subject} '{kind}' is not known{hint}")

    def _declare(self, section: dict[str, Declared[M]], name: str, place: Place, subject: str, model: M | None) -> None:
        if name in section:
            self.report.add(place, f"{subject}: declared twice: also at {section[name].place}")
        else:
            section[name] = Declared(model, place)

    def _with_defaults(self, model: type[BaseModel], content: dict[str, Any]) -> dict[str, Any]:
        """The time zone and calendar of a KPI made of others are those of its inputs: the defaults are not for it."""
        given = self.defaults.model_dump(exclude_none=True)
        if issubclass(model, RatioKpi | DerivedKpi | CumulativeKpi):
            given.pop("timezone", None)
            given.pop("calendar", None)
        return {key: value for key, value in given.items() if key in keys_of(model)} | content

    def _substitute(self, value: Any, place: Place, subject: str) -> Any:
        if not isinstance(value, str) or "${" not in value:
            return value
        names = _VARIABLE.findall(value)
        for name in names:
            if not self.environment.get(name):
                self.report.add(place, f"{subject}: the environment variable {name} is not set")
        if "${" in _VARIABLE.sub("", value):
            self.report.add(place, f"{subject}: write an environment variable as ${{NAME}}")
        return _VARIABLE.sub(lambda match: self.environment.get(match[1], ""), value)


def _only_known(
    model: type[BaseModel], spec: dict[str, Any], place: Place, subject: str, report: Report
) -> dict[str, Any]:
    """The keys without those that belong to another type of KPI, which are reported."""
    content = dict(spec)
    own = keys_of(model)
    for key in [key for key in content if key not in own]:
        if kinds := [kind for kind, other in KPI_TYPES.items() if key in keys_of(other)]:
            report.add(place.at(key), f"{subject}: '{key}' is for {_listed_words(kinds)} KPIs only")
            del content[key]
    return content


def _listed_words(words: list[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last


def _drop_unjudged_targets(content: dict[str, Any]) -> None:
    """Leave targets out that cannot be checked, for want of a direction."""
    if content.get("direction") not in get_args(Direction) and isinstance(content.get("targets"), list):
        content["targets"] = []


def _dimensions(content: Any) -> Any:
    """A list of properties as a mapping of name to expression."""
    if content is None:
        return {}
    if not isinstance(content, list):
        return content
    return {name: _as_column(name) for name in map(str, content)}


def _as_column(name: str) -> str:
    try:
        return name if parse_event_expression(name).names == (name,) else f'"{name}"'
    except ExpressionError:
        return f'"{name}"'
