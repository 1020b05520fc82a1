"""What the linter says: findings, and for which subjects a finding could have been made at all."""

from __future__ import annotations

from dataclasses import dataclass

from onpace.config.lint.codes import Severity
from onpace.config.yaml_lines import Place

__all__ = ["Finding", "Judged", "Verdict", "number"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that makes a bad KPI: what is wrong with the numbers it rests on, and what to change."""

    code: str
    severity: Severity
    place: Place
    subject: str
    """`kpi 'revenue'`, `objective 'grow'`, `rule 'low'`, `event 'order.placed'`, `owner 'sales'`; '' is all files."""
    message: str
    remedy: str
    waived: str | None = None
    """The reason, where the files waive it."""


@dataclass(frozen=True, slots=True)
class Judged:
    """There was enough data to judge a subject by a code. Only then can a waiver of it be called not needed."""

    code: str
    place: Place
    subject: str


Verdict = Finding | Judged


def number(value: float, unit: str = "") -> str:
    """For people: `81,200 EUR`, `0.62`."""
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{text} {unit}" if unit and unit != "ratio" else text
