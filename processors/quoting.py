"""Names and texts inside SQL."""

from __future__ import annotations

__all__ = ["inner", "quoted"]


def quoted(text: str) -> str:
    """A SQL string literal."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def inner(dimension: str) -> str:
    """A dimension's name among the other columns of a subquery: a dimension may be called `count`."""
    return f"`by_{dimension}`"
