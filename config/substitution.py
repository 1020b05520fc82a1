"""Own event types and properties in place of a template's: what `map:` of a library KPI does to its expressions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlglot import exp

from onpace.config.expression_grammar import column_name
from onpace.config.expressions import parse_event_expression
from onpace.config.templates import SIDES

__all__ = ["EventMap", "rename_inputs", "substitute"]


@dataclass(frozen=True, slots=True)
class EventMap:
    """What stands for one event type of a template."""

    event: str
    properties: Mapping[str, str] = field(default_factory=dict)
    """Property of the template's event -> expression over the own event; others have the same name in both."""

    def expression(self, text: str) -> str:
        """An expression over the template's event as one over the own event."""
        names = parse_event_expression(text).names
        if not any(name in self.properties for name in names):
            return text
        if text in self.properties:
            return self.properties[text]
        return parse_event_expression(text).tree.transform(self._replaced).sql()

    def _replaced(self, node: exp.Expr) -> exp.Expr:
        name = column_name(node)
        if name is None or name not in self.properties:
            return node
        own = parse_event_expression(self.properties[name]).tree.copy()
        return own if column_name(own) is not None else exp.Paren(this=own)


def substitute(spec: Mapping[str, Any], maps: Mapping[str, EventMap]) -> dict[str, Any]:
    """A KPI made of events with every mapped event and property replaced. Raises ValueError where that cannot be."""
    found = dict(spec)
    sides = [side for side in SIDES if side in spec]
    for side in sides:
        found[side] = _choice(spec[side], maps)
    if "event" in spec:
        found |= _choice(spec, maps)
    choices = [spec[side] for side in sides] or [spec]
    first = _map_of(choices[0], maps)
    if "entity" in spec:
        found["entity"] = _common(spec["entity"], [_map_of(choice, maps) for choice in choices])
    if "dimensions" in spec:
        found["dimensions"] = {name: first.expression(name) for name in spec["dimensions"]}
    return found


def _choice(choice: Mapping[str, Any], maps: Mapping[str, EventMap]) -> dict[str, Any]:
    own = _map_of(choice, maps)
    texts = {key: own.expression(str(choice[key])) for key in ("value", "filter") if key in choice}
    return {"event": own.event} | texts


def _map_of(choice: Mapping[str, Any], maps: Mapping[str, EventMap]) -> EventMap:
    event = choice.get("event", "")
    return maps.get(event, EventMap(event))


def _common(entity: str, maps: list[EventMap]) -> str:
    texts = list(dict.fromkeys(own.expression(entity) for own in maps))
    if len(texts) > 1:
        events = " and ".join(f"'{own.event}'" for own in maps)
        raise ValueError(
            f"'{entity}' must have the same name in both events, {events}, as one is found by the other: "
            f"it is mapped to {' and '.join(texts)}"
        )
    return texts[0]


def rename_inputs(spec: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """A KPI made of others, with other names for these."""
    found = dict(spec)
    for key in ("numerator", "denominator", "of"):
        if key in spec:
            found[key] = names.get(spec[key], spec[key])
    if "expr" in spec:
        found["expr"] = re.sub(r"'[^']*'|\w+", lambda match: names.get(match[0], match[0]), spec["expr"])
    return found
