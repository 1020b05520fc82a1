"""What is wrong in KPI files, collected with its line, in words for a person."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from onpace.config.errors import Problem, did_you_mean
from onpace.config.yaml_lines import Place

__all__ = ["Report", "keys_of"]

M = TypeVar("M", bound=BaseModel)

_TYPES = {
    "string_type": "must be a text (put it in quotes)",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "tuple_type": "must be a list",
    "dict_type": "must be a mapping (key: value)",
    "model_type": "must be a mapping (key: value)",
    "dataclass_type": "must be a period, as in 2026, 2026-Q4, 2026-10, 2026-W43, 2026-10-05 or FY2027",
    "too_long": "is too long",
    "string_too_long": "is too long: at most 63 characters",
}
_BOUNDS = {"greater_than": ">", "greater_than_equal": ">=", "less_than": "<", "less_than_equal": "<="}
_BOUND_KEYS = {"greater_than": "gt", "greater_than_equal": "ge", "less_than": "lt", "less_than_equal": "le"}


class Report:
    """Collects every problem, so that all are shown at once."""

    def __init__(self) -> None:
        self._problems: list[tuple[str, int, Problem]] = []

    def add(self, place: Place, message: str) -> None:
        """Note one problem at a place."""
        self.extend([Problem(place.document.path, place.line, message)])

    def extend(self, problems: Iterable[Problem]) -> None:
        """Note problems found elsewhere."""
        self._problems.extend((problem.path, problem.line, problem) for problem in problems)

    def unknown(self, place: Place, subject: str, what: str, name: str, known: Iterable[str]) -> None:
        """Note a name that does not exist, with the one that was probably meant."""
        self.add(place, f"{subject}: unknown {what} '{name}'{did_you_mean(name, known)}")

    def problems(self) -> tuple[Problem, ...]:
        """All of them, each once, in file order."""
        ordered = sorted(self._problems, key=lambda entry: entry[:2])
        return tuple(dict.fromkeys(problem for *_, problem in ordered))

    def build(
        self,
        model: type[M],
        content: Mapping[str, Any],
        *,
        place: Place,
        subject: str,
        harmless: Mapping[str, Any] | None = None,
    ) -> M | None:
        """The model of a declaration, or None when it is wrong; each wrong part is noted at its own line.

        Where only `harmless` keys are wrong or unknown ones are there, the model is built with the values given for
        them, so that the rest of the declaration is checked too.
        """
        try:
            return model.model_validate(content)
        except ValidationError as error:
            wrong = set()
            for details in error.errors():
                where = [key for key in details["loc"] if key != "[key]"]
                self.add(place.at(*where), f"{subject}: {_sentence(model, details)}")
                wrong.add(where[0] if where else "")
        if "" in wrong:  # no mapping at all
            return None
        repairs = {key: value for key, value in (harmless or {}).items() if key in wrong}
        if not wrong <= repairs.keys() | (content.keys() - set(keys_of(model))):
            return None
        kept = {key: value for key, value in content.items() if key not in wrong}
        return model.model_validate(kept | {key: value for key, value in repairs.items() if value is not None})


def _sentence(model: type[BaseModel], details: ErrorDetails) -> str:
    *parents, last = details["loc"] or ("",)
    prefix = "".join(f"{key}: " for key in parents if isinstance(key, str) and key != "[key]")
    holder = _model_at(model, parents)
    match details["type"]:
        case "extra_forbidden":
            known = keys_of(holder)
            comma = " (a text that holds a comma stands in quotes)" if details["input"] is None else ""
            return f"{prefix}unknown key '{last}'{comma or did_you_mean(str(last), known) or _list_of(known)}"
        case "missing":
            choices = _choices(holder, str(last))
            return f"{prefix}'{last}' is missing{f': one of {choices}' if choices else ''}"
        case "literal_error":
            choices = _choices(holder, str(last))
            return (
                f"{prefix}{last} '{details['input']}' is not one of {choices or details.get('ctx', {}).get('expected')}"
            )
        case _:
            subject = prefix.removesuffix(": ") if last == "[key]" or isinstance(last, int) else f"{prefix}{last}"
            return f"{subject}{_complaint(details)}".strip()


def _complaint(details: ErrorDetails) -> str:
    kind, context = details["type"], details.get("ctx", {})
    if kind == "value_error":
        return f": {context['error']}"
    if kind == "string_pattern_mismatch":
        return f": '{details['input']}' has the wrong form: {_form(str(context['pattern']))}"
    if kind in _BOUNDS:
        return f": {details['input']} must be {_BOUNDS[kind]} {context[_BOUND_KEYS[kind]]}"
    if kind in _TYPES:
        return f" {_TYPES[kind]}"
    return f": {details['msg']}"


def _form(pattern: str) -> str:
    if pattern == r"\S":
        return "write it in words"
    if pattern.startswith("^[A-Z]"):
        return "a code is a letter and three digits, as in A301"
    if pattern.startswith("^[a-z]"):
        extra = "_ and -" if "-]" in pattern else "and _"
        return f"a name has lower-case letters, digits {extra}, and begins with a letter"
    if pattern.startswith("^(mon"):
        return "write days as mon-fri or sat"
    if "\\.\\." in pattern:
        return "write a lag as 7d or 1d..7d"
    return "write hours as 07:00-23:00" if ":" in pattern else f"it must match {pattern}"


def _list_of(names: Iterable[str]) -> str:
    known = ", ".join(names)
    return f" (known are {known})" if known else ""


def keys_of(model: type[BaseModel] | None) -> list[str]:
    """The keys of a model as files write them."""
    fields = model.model_fields if model else {}
    return [field.alias or name for name, field in fields.items()]


def _annotation(model: type[BaseModel] | None, key: str) -> Any:
    for name, field in (model.model_fields if model else {}).items():
        if key in (name, field.alias):
            return field.annotation
    return None


def _choices(model: type[BaseModel] | None, key: str) -> str:
    annotation = _annotation(model, key)
    for part in _parts(annotation):
        if get_origin(part) is Literal:
            return ", ".join(str(choice) for choice in get_args(part))
    return ""


def _parts(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in (Union, UnionType, tuple) else (annotation,)


def _model_at(model: type[BaseModel], keys: Iterable[str | int]) -> type[BaseModel] | None:
    found: type[BaseModel] | None = model
    for key in keys:
        if isinstance(key, str):
            parts = _parts(_annotation(found, key))
            found = next((part for part in parts if isinstance(part, type) and issubclass(part, BaseModel)), None)
    return found
