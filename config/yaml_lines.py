"""YAML files with the line of every key: plain YAML 1.2, without anchors, merges, tags or duplicate keys."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import Node, ScalarNode, SequenceNode

from onpace.config.errors import Problem

__all__ = ["Document", "Keys", "Place", "read_document"]

Keys = tuple[str | int, ...]
"""The way from the top of a file to a value: keys of mappings and positions in lists."""


@dataclass(slots=True)
class Document:
    """One file as plain Python values, with the line of each, and what is wrong with its YAML."""

    path: str
    content: Any = None
    lines: dict[Keys, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Place:
    """Where something is declared."""

    document: Document
    keys: Keys = ()

    def at(self, *keys: str | int) -> Place:
        """A place further down."""
        return Place(self.document, (*self.keys, *keys))

    @property
    def line(self) -> int:
        """Its line, or that of the nearest thing above it that is in the file."""
        keys = self.keys
        while keys and keys not in self.document.lines:
            keys = keys[:-1]
        return self.document.lines.get(keys, 1)

    def __str__(self) -> str:
        return f"{self.document.path}:{self.line}"


def read_document(path: Path) -> Document:
    """Read a file; whatever is wrong with it is in `problems` of the result."""
    document = Document(str(path))
    try:
        node = YAML(typ="safe", pure=True).compose(path.read_text(encoding="utf-8-sig"))
        if node is not None:
            document.content = _Reader(document).value(node, ())
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        document.problems.append(Problem(document.path, mark.line + 1 if mark else 0, _explain(error)))
    except (YAMLError, UnicodeDecodeError):
        document.problems.append(Problem(document.path, 0, "the file is not UTF-8 text"))
    except RecursionError:
        document.problems.append(Problem(document.path, 0, "the file is nested too deeply"))
    except OSError as error:
        document.problems.append(Problem(document.path, 0, f"cannot be read: {error.strerror}"))
    return document


def _explain(error: MarkedYAMLError) -> str:
    problem = str(error.problem or error.context or "it cannot be read").replace("\n", " ")
    if "single document" in str(error.context or error.problem):
        return "a file holds one YAML document: remove the '---' in the middle"
    if "'\\t'" in problem:
        return "YAML is indented with spaces, not with tabs"
    return f"not valid YAML: {problem}"


class _Reader:
    """Turns nodes into values and notes lines and problems on the way."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.seen: set[int] = set()

    def value(self, node: Node, keys: Keys) -> Any:
        line = node.start_mark.line + 1
        self.document.lines.setdefault(keys, line)
        if node.anchor or id(node) in self.seen:
            if id(node) not in self.seen:
                self._wrong(
                    line, f"anchors and aliases (&{node.anchor}, *{node.anchor}) are not allowed: repeat the value"
                )
            self.seen.add(id(node))
            return None
        self.seen.add(id(node))
        if isinstance(node, ScalarNode):
            return self._scalar(node, line)
        if str(node.tag) not in ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"):
            self._wrong(line, f"tags ({node.tag}) are not allowed: remove it")
        if isinstance(node, SequenceNode):
            return [self.value(item, (*keys, index)) for index, item in enumerate(node.value)]
        return dict(self._entries(node.value, keys))

    def _entries(self, pairs: list[tuple[Node, Node]], keys: Keys) -> Iterator[tuple[str, Any]]:
        lines: dict[str, int] = {}
        for key_node, value_node in pairs:
            line = key_node.start_mark.line + 1
            key = key_node.value
            if not isinstance(key_node, ScalarNode):
                self._wrong(line, "a key must be plain text")
            elif key_node.anchor or key == "<<":
                self._wrong(line, "anchors and merge keys (&x, <<) are not allowed: repeat the value")
            elif key in lines:
                self._wrong(line, f"'{key}' is given twice: also on line {lines[key]}")
            else:
                lines[key] = line
                self.document.lines[*keys, key] = line
                yield key, self.value(value_node, (*keys, key))

    def _scalar(self, node: ScalarNode, line: int) -> Any:
        text = str(node.value)
        match str(node.tag).rpartition(":")[2]:
            case "null":
                return None
            case "bool":
                return text.lower() == "true"
            case "int":
                return int(text.lstrip("+").replace("_", ""), 10 if text.lstrip("+-").isdecimal() else 0)
            case "float":
                return self._float(text, line)
            case "str" | "timestamp":
                return text
            case _:
                self._wrong(line, f"tags ({node.tag}) are not allowed: remove it")
                return None

    def _float(self, text: str, line: int) -> float | None:
        number = float(text.lower().replace("_", "").replace(".inf", "inf").replace(".nan", "nan"))
        if not math.isfinite(number):
            self._wrong(line, f"{text} is not a number that can be used here")
            return None
        return number

    def _wrong(self, line: int, message: str) -> None:
        self.document.problems.append(Problem(self.document.path, line, message))
