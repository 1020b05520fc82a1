"""The findings that `onpace lint` can make, by code. Codes are stable: files waive them, pipelines filter by them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["CODES", "UNWAIVABLE", "Code", "Severity"]

Severity = Literal["warning", "info"]


@dataclass(frozen=True, slots=True)
class Code:
    """A kind of finding. The letter says what it breaks: S, M, A, R, T are SMART's, O is the portfolio, G is gaming."""

    code: str
    title: str
    severity: Severity = "warning"
    needs_data: bool = False
    """Only found with `--data`: it rests on events or on past values."""


_ALL = (
    Code("S101", "no title"),
    Code("S102", "no description"),
    Code("S103", "no owner"),
    Code("S104", "no unit"),
    Code("S105", "title used twice"),
    Code("M201", "no events", needs_data=True),
    Code("M202", "field often missing", needs_data=True),
    Code("M203", "dimension always missing", needs_data=True),
    Code("M204", "filter never matches", needs_data=True),
    Code("M205", "silence goes unnoticed", "info"),
    Code("M206", "never moves", needs_data=True),
    Code("M207", "ratio of different filters"),
    Code("M208", "ratio of different dimensions"),
    Code("M209", "report without source or note", needs_data=True),
    Code("A301", "out of reach", needs_data=True),
    Code("A302", "already met", needs_data=True),
    Code("A303", "segments do not add up"),
    Code("A304", "bound inside the noise", needs_data=True),
    Code("R401", "serves no objective"),
    Code("R402", "near-duplicate", needs_data=True),
    Code("R403", "no levers"),
    Code("T501", "no target"),
    Code("T502", "objective without a period"),
    Code("T503", "no target in force"),
    Code("T504", "objective is over"),
    Code("T505", "review overdue"),
    Code("T506", "never reviewed"),
    Code("O601", "no objectives", "info"),
    Code("O602", "not 3 to 5 KPIs"),
    Code("O603", "only leading or only lagging"),
    Code("O604", "no key results"),
    Code("O605", "owner of too many"),
    Code("O606", "nobody uses it"),
    Code("G701", "can be gamed"),
    Code("W801", "waiver not needed"),
)
CODES = {code.code: code for code in _ALL}

UNWAIVABLE = ("W801",)
"""A waiver that is not needed is removed, not waived."""
