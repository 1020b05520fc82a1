"""The KPI library: templates of KPIs and of the events they are made of, shipped as `config/library/*.yaml`.

A template is a KPI as in any KPI file, with what a person should know of it: definition, formula, source, pitfalls,
what to watch beside it and what moves it. `onpace.config.uses` makes ordinary KPIs of templates.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from onpace.config.errors import UnknownName, did_you_mean
from onpace.config.expressions import parse_event_expression, parse_kpi_expression
from onpace.config.offsets import split_name
from onpace.config.yaml_lines import read_document

__all__ = ["PREFIX", "SIDES", "Library", "Template", "event_names", "input_names", "library", "used_properties"]

FOLDER = Path(__file__).parent / "library"
PREFIX = "library/"
KNOWLEDGE = ("definition", "formula", "source", "pitfalls", "guard_with", "levers")
"""What a template says besides the KPI itself."""
SIDES = ("base", "conversion", "start", "return")
"""Keys of a KPI that choose events of their own."""


@dataclass(frozen=True, slots=True)
class Template:
    """One entry of the library."""

    domain: str
    spec: Mapping[str, Any]
    """The KPI as a KPI file would have it; `unit: currency` stands for whatever the user's is."""
    definition: str
    formula: str
    """In words or mathematics."""
    source: str
    """Where the definition comes from."""
    pitfalls: tuple[str, ...]
    guard_with: tuple[str, ...]
    """What to watch beside it, in words."""
    levers: tuple[str, ...]
    """What its owner can do to move it."""

    @property
    def name(self) -> str:
        """Its name, which no other entry has."""
        return str(self.spec["name"])

    @property
    def key(self) -> str:
        """What `use:` takes, after `library/`."""
        return f"{self.domain}.{self.name}"


@dataclass(frozen=True, slots=True)
class Library:
    """All templates by name and all events by type, by domain in order of the files."""

    domains: Mapping[str, str]
    """Domain -> its title."""
    templates: Mapping[str, Template]
    events: Mapping[str, Mapping[str, Any]]

    def find(self, text: str) -> Template:
        """The template called `saas.mrr`, `library/saas.mrr` or just `mrr`. Raises UnknownName with a suggestion."""
        wanted = text.removeprefix(PREFIX)
        by_key = {template.key: template for template in self.templates.values()}
        found = by_key.get(wanted) or self.templates.get(wanted)
        if found is None:
            same = [key for key in by_key if key.rpartition(".")[2] == wanted.rpartition(".")[2]]
            hint = f" (did you mean '{same[0]}'?)" if same else did_you_mean(wanted, [*by_key, *self.templates])
            raise UnknownName(f"'{text}' is not in the library{hint or ': `onpace library` lists it'}")
        return found

    def inputs(self, template: Template) -> tuple[Template, ...]:
        """The templates it is computed from, one step down."""
        return tuple(self.templates[name] for name in input_names(template.spec))

    def closure(self, template: Template, without: Collection[str] = ()) -> Iterator[Template]:
        """It and all that it is made of, but for inputs called as in `without`; some may come more than once."""
        yield template
        for part in self.inputs(template):
            if part.name not in without:
                yield from self.closure(part, without)

    def needs(self, template: Template, without: Collection[str] = ()) -> dict[str, tuple[str, ...]]:
        """Event type -> properties that the template and its inputs use, but for those in `without`."""
        found: dict[str, dict[str, None]] = {}
        for part in self.closure(template, without):
            for event, names in used_properties(part.spec).items():
                found.setdefault(event, {}).update(dict.fromkeys(names))
        return {event: tuple(names) for event, names in found.items()}


@lru_cache(maxsize=1)
def library() -> Library:
    """The library that is shipped."""
    domains: dict[str, str] = {}
    templates: dict[str, Template] = {}
    events: dict[str, Mapping[str, Any]] = {}
    for path in sorted(FOLDER.glob("*.yaml")):
        content = read_document(path).content
        domain = content["domain"]
        domains[domain] = content["title"]
        events |= content.get("events", {})
        for entry in content["kpis"]:
            templates[entry["name"]] = _template(domain, entry)
    return Library(domains, templates, events)


def _template(domain: str, entry: Mapping[str, Any]) -> Template:
    return Template(
        domain=domain,
        spec={key: value for key, value in entry.items() if key not in KNOWLEDGE},
        definition=entry["definition"],
        formula=entry["formula"],
        source=entry["source"],
        pitfalls=tuple(entry["pitfalls"]),
        guard_with=tuple(entry["guard_with"]),
        levers=tuple(entry["levers"]),
    )


def input_names(spec: Mapping[str, Any]) -> tuple[str, ...]:
    """The KPIs that a KPI is computed from, each once."""
    match spec.get("type"):
        case "ratio":
            names = [spec["numerator"], spec["denominator"]]
        case "cumulative":
            names = [spec["of"]]
        case "derived":
            names = [split_name(name)[0] for name in parse_kpi_expression(spec["expr"]).names]
        case _:
            names = []
    return tuple(dict.fromkeys(names))


def event_names(spec: Mapping[str, Any]) -> tuple[str, ...]:
    """The event types that a KPI is made of, each once."""
    names = [choice.get("event") for choice in (spec, *map(spec.get, SIDES)) if isinstance(choice, Mapping)]
    return tuple(dict.fromkeys(name for name in names if isinstance(name, str)))


def used_properties(spec: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Event type -> the properties that a template uses of it; nothing for one that is made of other KPIs."""
    found: dict[str, dict[str, None]] = {event: {} for event in event_names(spec)}
    for event, text in _expressions(spec):
        found[event].update(dict.fromkeys(parse_event_expression(text).names))
    return {event: tuple(names) for event, names in found.items()}


def _expressions(spec: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(event type, expression over it) for every expression of a template."""
    choices = [spec[side] for side in SIDES if side in spec] or [spec] * ("event" in spec)
    for choice in choices:
        event = choice["event"]
        yield from ((event, str(choice[key])) for key in ("value", "filter") if key in choice)
        yield from ((event, spec["entity"]) for _ in range("entity" in spec))
    yield from ((choices[0]["event"], name) for name in spec.get("dimensions", ()) if choices)
