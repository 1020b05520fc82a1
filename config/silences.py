"""Silences: for a while nobody is told of the alerts that match; and how both are written in KPI files."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema

from onpace.config.calendar import Period
from onpace.config.kpi import Model, SlugName
from onpace.config.rules import Severity

__all__ = ["BUILT_IN_RULES", "Matchers", "PlannedSilence", "Silence", "instant_in", "label_text", "series_text"]

BUILT_IN_RULES = ("pipeline-stale", "pipeline-behind")
"""Rules that no file declares, with alerts all the same."""

FIRST_YEAR, LAST_YEAR = 1970, 2200
"""What the store can hold, with room to spare."""


def label_text(value: str | None) -> str:
    """A dimension's value as messages and matchers write it: null and '' are different series."""
    return "(null)" if value is None else value or "(empty)"


def series_text(series: Mapping[str, str | None]) -> dict[str, str]:
    """Every dimension of a series in that form."""
    return {name: label_text(value) for name, value in series.items()}


def _as_text(value: Any) -> Any:
    """YAML reads `period: 2026` as a number."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _period(value: str) -> str:
    if "*" not in value:
        Period.parse(value)
    return value


PeriodPattern = Annotated[
    str,
    BeforeValidator(lambda value: _period(text) if isinstance(text := _as_text(value), str) else text),
    WithJsonSchema({"type": ["string", "integer"], "examples": ["2026-11", "2026-*"]}),
]
Pattern = Annotated[str, Field(pattern=r"\S", examples=["orders-low", "orders-*"])]


class Matchers(Model):
    """Which alerts are meant: all that is given must hold. `*` stands for any text; the rest is taken literally."""

    rule: Pattern | None = None
    kpi: Pattern | None = None
    severity: Severity | None = None
    period: PeriodPattern | None = None
    match: dict[str, str] = Field(default_factory=dict)
    """Dimension -> value; `(null)` and `(empty)` are values too. An alert without that dimension is not meant."""

    @property
    def empty(self) -> bool:
        """Whether it would match everything."""
        return not (self.rule or self.kpi or self.severity or self.period or self.match)

    def hold(self, *, rule: str, kpi: str, severity: str, period: str, series: Mapping[str, str | None]) -> bool:
        """Whether an alert with these is meant."""
        texts = series_text(series)
        pairs: list[tuple[str | None, str | None]] = [(self.rule, rule), (self.kpi, kpi), (self.severity, severity)]
        pairs += [(self.period, period), *((pattern, texts.get(name)) for name, pattern in self.match.items())]
        return all(pattern is None or _like(pattern, text) for pattern, text in pairs)

    def __str__(self) -> str:
        named = {"rule": self.rule, "kpi": self.kpi, "severity": self.severity, "period": self.period} | self.match
        return " ".join(f"{name}={value}" for name, value in named.items() if value is not None)


def _like(pattern: str, text: str | None) -> bool:
    return text is not None and re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), text, re.DOTALL) is not None


class Silence(Model):
    """From `start` (None: always) to `until`, exclusive, nobody is told of the alerts that match."""

    id: str
    matchers: Matchers
    by: str
    why: str
    start: datetime | None = None
    until: datetime
    ended_at: datetime | None = None
    """When somebody ended it early."""
    ended_by: str = ""
    declared: bool = False
    """Whether it stands in a KPI file; the others were added by a command."""

    def state(self, now: datetime) -> str:
        """`pending`, `active`, `expired`, or `ended` where somebody ended it."""
        if self.ended_at is not None and now >= self.ended_at:
            return "ended"
        if now >= self.until:
            return "expired"
        return "pending" if self.start is not None and now < self.start else "active"

    @property
    def words(self) -> str:
        """Who and why, as messages say it: `anna (deploy)`."""
        return f"{self.by} ({self.why})"


def instant_in(text: str, zone: ZoneInfo) -> datetime:
    """A date (its first moment) or time as people write it; without a zone it is in `zone`. Raises ValueError."""
    try:
        found = datetime.fromisoformat(text)
        aware = (found if found.tzinfo else found.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"'{text}' is not a date or time: write 2026-11-30T06:00 or 2026-11-30T06:00+01:00") from None
    if not FIRST_YEAR <= aware.year <= LAST_YEAR:
        raise ValueError(f"'{text}' is too far away: write a year from {FIRST_YEAR} to {LAST_YEAR}")
    return aware


def _moment(value: Any) -> Any:
    """As the file has it; the zone is that of the file's defaults, which are not known here."""
    text = _as_text(value)
    if not isinstance(text, str):
        raise ValueError(f"{value!r} is not a date or time: write 2026-11-30T06:00 or 2026-11-30T06:00+01:00")
    instant_in(text, ZoneInfo("UTC"))
    return text


Moment = Annotated[
    str,
    BeforeValidator(_moment),
    WithJsonSchema({"type": "string", "examples": ["2026-11-30", "2026-11-30T06:00", "2026-11-30T06:00:00+01:00"]}),
]
Words = Annotated[str, Field(pattern=r"\S")]


class PlannedSilence(Matchers):
    """Planned quiet: for a while nobody is told of the alerts that match."""

    model_config = ConfigDict(json_schema_extra={"required": ["by", "why", "until"]})

    name: SlugName | None = None
    by: Words | None = None
    why: Words | None = None
    start: Moment | None = Field(default=None, alias="from")
    until: Moment | None = None

    @property
    def matchers(self) -> Matchers:
        """What it is about."""
        return Matchers(
            rule=self.rule, kpi=self.kpi, severity=self.severity, period=self.period, match=dict(self.match)
        )

    @property
    def id(self) -> str:
        """Its name; without one, a fingerprint of all that it says but the reason."""
        if self.name:
            return self.name
        content = self.model_dump(exclude={"why", "by"})
        return "file-" + sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]
