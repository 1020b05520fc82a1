"""What the linter knows of the past: what the archive holds, and the values that KPIs had."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

from onpace.config.calendar import Grain, Period

__all__ = ["Evidence", "FieldFacts", "PastValue", "ReportFacts", "RuleFacts", "Segment"]

Segment = tuple[tuple[str, str], ...]
"""Dimension values, sorted by dimension; () is the total."""


@dataclass(frozen=True, slots=True)
class FieldFacts:
    """How many of the events that were looked at carry what a KPI uses."""

    events: int
    """Those of its type; the rest is counted among them."""
    matched: int
    """Those that its filter lets through."""
    filter_null: int = 0
    """Those for which the filter is null, which counts as false."""
    value_null: int = 0
    """Of those matched."""
    dimension_null: Mapping[str, int] = field(default_factory=dict)
    """Dimension -> of those matched."""
    amount_null: int = 0
    """Of those matched; for what goes with an entity."""


@dataclass(frozen=True, slots=True)
class PastValue:
    """What a KPI came to in one whole, complete period."""

    period: Period
    value: float


@dataclass(frozen=True, slots=True)
class RuleFacts:
    """How often a threshold rule's bound was broken by the windows that it looks at."""

    windows: int
    broken: int


@dataclass(frozen=True, slots=True)
class ReportFacts:
    """How well the values that people reported of a KPI are explained; of corrected ones only the last."""

    values: int
    without_source: int
    without_note: int
    latest: str
    """The last period with a value that lacks one of them; '' if there is none."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that was read. A KPI without an entry has no history to judge by."""

    arrived: Mapping[str, int] = field(default_factory=dict)
    """Event type -> events in the archive, duplicates left out."""
    fields: Mapping[str, FieldFacts] = field(default_factory=dict)
    """By KPI; by KPI and part of it (`visit_to_order.base`) where it follows entities."""
    reports: Mapping[str, ReportFacts] = field(default_factory=dict)
    """By reported KPI that has values."""
    past: Mapping[tuple[str, Grain, Segment], Sequence[PastValue]] = field(default_factory=dict)
    """Whole periods, oldest first."""
    growth: Mapping[tuple[str, int], Sequence[PastValue]] = field(default_factory=dict)
    """(KPI, place of a growth target) -> how much more each whole period had than its baseline."""
    daily: Mapping[str, Mapping[date, float]] = field(default_factory=dict)
    """By KPI: its value on each complete day."""
    rules: Mapping[str, RuleFacts] = field(default_factory=dict)
    segments: Mapping[tuple[str, str], frozenset[str]] = field(default_factory=dict)
    """(KPI, dimension) -> values that it ever had."""
