"""`use: library/…` in KPI files: from a template and what the user says to ordinary KPIs and events.

It all happens before models are built, so that everything else sees KPIs as if the user had written them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from onpace.config.errors import UnknownName, did_you_mean
from onpace.config.expressions import ExpressionError, parse_event_expression
from onpace.config.kpi import EventType
from onpace.config.properties import property_kinds
from onpace.config.reports import Report
from onpace.config.substitution import EventMap, rename_inputs, substitute
from onpace.config.templates import PREFIX, Library, Template, event_names, input_names, library
from onpace.config.yaml_lines import Place

__all__ = ["Expansion", "Uses"]

OWN_KEYS = ("use", "map", "inputs", "currency")
"""Keys that go with `use` only."""
FOR_INPUTS = ("dimensions", "filter", "grain", "lateness")
"""Keys that a KPI made of others has not itself: they are for the inputs that come along with it."""
SHARED = ("owner", "team", "timezone", "calendar")
OF_EVENTS = ("simple", "balance")

Spec = dict[str, Any]


@dataclass(slots=True)
class Expansion:
    """What one `use` comes to."""

    kpis: list[tuple[str, Spec]] = field(default_factory=list)
    """Name and declaration: first the KPI itself, then the inputs that come along."""
    events: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    """Events of the library that the user has neither mapped nor declared."""


class Uses:
    """Expands the `use` of all files. Inputs that come along with several KPIs are declared once."""

    def __init__(self, own_kpis: set[str], own_events: Mapping[str, EventType | None], report: Report) -> None:
        self._library = library()
        self._own_kpis = own_kpis
        self._own_events = own_events
        self._report = report
        self._brought: dict[str, tuple[Spec, Place]] = {}

    def expand(self, name: str, spec: Spec, place: Place, currency: str | None) -> Expansion | None:
        """The ordinary declarations; None when they cannot be made, which is reported."""
        subject = f"kpi '{name}'"
        try:
            template = self._library.find(str(spec["use"]))
        except UnknownName as error:
            self._report.add(place.at("use"), f"{subject}: use: {error}")
            return None
        if not str(spec["use"]).startswith(PREFIX):
            self._report.add(place.at("use"), f"{subject}: use: write {PREFIX}{template.key}")
            return None
        use = _Use(self._library, template, spec, place, subject, self._report)
        before = len(self._report.problems())
        use.check_keys()
        names = use.input_names(self._own_kpis)
        maps = use.event_maps(self._own_events, self._own_kpis | names.keys())
        if len(self._report.problems()) > before:
            return None
        found = Expansion()
        try:
            self._bring(template, name, _Choices(use, maps, names, use.currency(currency)), found)
        except ValueError as error:
            self._report.add(place.at("map"), f"{subject}: map: {error}")
            return None
        self._add_events(found)
        return found

    def _bring(self, template: Template, name: str, choices: _Choices, found: Expansion) -> None:
        """Add a template under a name, then its inputs unless they are the user's own."""
        use, names = choices.use, choices.names
        inputs = [part for part in self._library.inputs(template) if part.name not in names]
        coming = [part for part in inputs if part.name not in self._own_kpis]
        content = choices.content(template) | {"name": name}
        is_input = template is not use.template
        content |= use.for_input(content) if is_input else use.for_itself(content, bool(coming))
        if not is_input or self._is_new(content, use):
            found.kpis.append((name, content))
        for part in coming:
            if part.name not in [known for known, _ in found.kpis]:
                self._bring(part, part.name, choices, found)

    def _is_new(self, content: Spec, use: _Use) -> bool:
        name = content["name"]
        if name not in self._brought:
            self._brought[name] = content, use.place
            return True
        other, where = self._brought[name]
        if other != content:
            differing = [key for key in other.keys() | content.keys() if other.get(key) != content.get(key)]
            self._report.add(
                use.place,
                f"{use.subject}: its input '{name}' comes along otherwise at {where} (with another "
                f"{', '.join(sorted(differing))}): declare '{name}' once as a KPI of its own, or name another one "
                "under inputs",
            )
        return False

    def _add_events(self, found: Expansion) -> None:
        for _, content in found.kpis:
            for event in event_names(content):
                if event not in self._own_events and event in self._library.events:
                    found.events[event] = self._library.events[event]


@dataclass(frozen=True, slots=True)
class _Use:
    """One `use` as the user wrote it."""

    library: Library
    template: Template
    spec: Spec
    place: Place
    subject: str
    report: Report

    def check_keys(self) -> None:
        """Report keys that contradict the template, or that have the wrong form."""
        kind = self.template.spec["type"]
        if self.spec.get("type", kind) != kind:
            self._wrong("type", f"library/{self.template.key} is of type {kind}: leave type out")
        for key in ("map", "inputs"):
            if not isinstance(self.spec.get(key, {}), dict):
                self._wrong(key, f"{key} must be a mapping, as in {key}: {{theirs: mine}}")
        if not isinstance(self.spec.get("currency", ""), str):
            self._wrong("currency", "currency must be a text, as in currency: EUR")

    def event_maps(self, own: Mapping[str, EventType | None], without: Collection[str]) -> dict[str, EventMap]:
        """What stands for each event of the template and of the inputs that are not the user's own."""
        given = self.spec.get("map", {})
        if not isinstance(given, dict):
            return {}
        needs = self.library.needs(self.template, without)
        found = {}
        for event, entry in given.items():
            where = self.place.at("map", event)
            if event not in needs:
                known = did_you_mean(event, needs) or self._listed("uses", needs)
                self.report.add(
                    where, f"{self.subject}: map: '{event}' is no event of library/{self.template.key}{known}"
                )
            elif (own_map := self._event_map(entry, where, needs[event])) is not None:
                if own_map.event not in own:
                    self.report.unknown(where, f"{self.subject}: map", "event", own_map.event, own)
                else:
                    self._check_properties(own_map, own[own_map.event], where, needs[event])
                    found[event] = own_map
        for event in needs.keys() - given.keys():
            if event in own:
                self._check_properties(EventMap(event), own[event], self.place.at("use"), needs[event])
        return found

    def _event_map(self, entry: Any, where: Place, used: tuple[str, ...]) -> EventMap | None:
        if isinstance(entry, str):
            return EventMap(entry)
        if not isinstance(entry, dict) or not isinstance(entry.get("event"), str):
            form = "write the name of your event, or {event: its name, property: an expression}"
            self.report.add(where, f"{self.subject}: map: {form}")
            return None
        properties = {name: str(text) for name, text in entry.items() if name != "event"}
        for name in properties:
            if name not in used:
                known = did_you_mean(name, used) or self._listed("uses", used)
                self.report.add(
                    where.at(name),
                    f"{self.subject}: map: '{name}' is no property that library/{self.template.key} uses{known}",
                )
        return EventMap(entry["event"], {name: text for name, text in properties.items() if name in used})

    def _check_properties(self, own: EventMap, event: EventType | None, where: Place, used: tuple[str, ...]) -> None:
        """Every property that is used must be one of the own event, or an expression over some."""
        if event is None:
            return
        kinds = property_kinds(event)
        for name in used:
            if name not in own.properties and name not in kinds:
                self.report.add(
                    where,
                    f"{self.subject}: event '{event.name}' has no property '{name}', which library/"
                    f"{self.template.key} uses: map it, as in {name}: one of {', '.join(kinds) or 'its properties'}",
                )
        for name, text in own.properties.items():
            try:
                names = parse_event_expression(text).names
            except ExpressionError as error:
                self.report.add(where.at(name), f"{self.subject}: map: {name}: {error}")
                continue
            for column in names:
                if column not in kinds:
                    self.report.unknown(
                        where.at(name),
                        f"{self.subject}: map: {name}",
                        f"property of event '{event.name}'",
                        column,
                        kinds,
                    )

    def input_names(self, own: set[str]) -> dict[str, str]:
        """Input of the template -> the user's KPI for it; problems are reported."""
        given = self.spec.get("inputs", {})
        if not isinstance(given, dict):
            return {}
        parts = {name for part in self.library.closure(self.template) for name in input_names(part.spec)}
        found = {}
        for name, mine in given.items():
            where = self.place.at("inputs", name)
            if name not in parts:
                known = did_you_mean(name, parts) or self._listed("has", sorted(parts))
                self.report.add(
                    where, f"{self.subject}: inputs: '{name}' is no input of library/{self.template.key}{known}"
                )
            elif not isinstance(mine, str) or mine not in own:
                self.report.unknown(where, f"{self.subject}: inputs", "kpi", str(mine), own)
            else:
                found[name] = mine
        if self.spec["name"] in parts - given.keys():
            self._wrong("name", f"library/{self.template.key} has an input of that name: give it another one")
        return found

    def currency(self, default: str | None) -> str:
        """The unit of money: given here, else this KPI's own unit where it is in money, else the file's."""
        own = self.spec.get("unit") if self.template.spec["unit"] == "currency" else None
        return str(self.spec.get("currency") or own or default or "")

    def for_itself(self, content: Spec, inputs_come: bool) -> Spec:
        """What the user says of the KPI itself."""
        given = {key: value for key, value in self.spec.items() if key not in OWN_KEYS}
        if inputs_come:
            given = {key: value for key, value in given.items() if key not in FOR_INPUTS}
        return _both_filters(content, given)

    def for_input(self, content: Spec) -> Spec:
        """What the user says of the KPI, for an input that comes along with it."""
        keys = (*SHARED, *FOR_INPUTS) if content["type"] in OF_EVENTS else SHARED
        return _both_filters(content, {key: self.spec[key] for key in keys if key in self.spec})

    def _listed(self, verb: str, names: Any) -> str:
        return f" (it {verb} {', '.join(names) or 'none'})"

    def _wrong(self, key: str, message: str) -> None:
        self.report.add(self.place.at(key), f"{self.subject}: {message}")


def _both_filters(content: Spec, given: Spec) -> Spec:
    """The given keys; a filter narrows that of the template rather than replacing it."""
    if "filter" in content and given.get("filter", True) is None:
        return {key: value for key, value in given.items() if key != "filter"}
    if "filter" in content and "filter" in given:
        return given | {"filter": f"({content['filter']}) AND ({given['filter']})"}
    return given


@dataclass(frozen=True, slots=True)
class _Choices:
    """A `use` whose keys are checked."""

    use: _Use
    maps: Mapping[str, EventMap]
    names: Mapping[str, str]
    """Input -> the user's own KPI that stands for it."""
    currency: str

    def content(self, template: Template) -> Spec:
        """The template, or one of its inputs, over the user's events and KPIs."""
        content = rename_inputs(substitute(template.spec, self.maps), self.names)
        content |= {"description": template.definition, "levers": list(template.levers)}
        if content.get("unit") == "currency":
            content["unit"] = self.currency
        return content
