"""Where silences that a command added, and acknowledgements, are kept."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Protocol

from onpace.alerts.cells import cell, instant_text, labels_of
from onpace.alerts.history import ClickHouseHistory
from onpace.alerts.silences import Acknowledgement
from onpace.alerts.states import Alert
from onpace.config.silences import Matchers, Silence
from onpace.processors.clickhouse import ClickHouse

__all__ = ["ClickHouseSilences", "SilenceReader", "SilenceStore"]


class SilenceReader(Protocol):
    """What the engine asks once per evaluation. Every method raises StoreUnavailable when the store does not answer."""

    def current(self, now: datetime, held: Collection[str]) -> list[Silence]:
        """Silences that are not over at `now`, and those with these ids whatever their state."""
        ...

    def acknowledgements(self, since: datetime) -> list[Acknowledgement]:
        """Those of alerts that fired at `since` or later; the latest of each firing."""
        ...


class SilenceStore(SilenceReader, Protocol):
    """The same for commands. Saving the same again is harmless; what is over is kept."""

    def all(self) -> list[Silence]:
        """Every silence that was ever added, by its end."""
        ...

    def save(self, silence: Silence, at: datetime) -> None:
        """Keep this one, or its new state."""

    def acknowledge(self, acknowledgements: Sequence[Acknowledgement]) -> None:
        """Keep these."""

    def firing(self) -> list[Alert]:
        """The alerts that fire."""
        ...


_SILENCE = ("id", "matchers", "by", "why", "start", "until", "ended_at", "ended_by")
_ACKNOWLEDGEMENT = tuple(field.name for field in fields(Acknowledgement))


class ClickHouseSilences:
    """A SilenceStore in ClickHouse tables (migration 0010)."""

    def __init__(self, store: ClickHouse) -> None:
        self._store = store

    def current(self, now: datetime, held: Collection[str]) -> list[Silence]:
        """Silences that are not over, and the given ones; the first part is a look at the end of a sorted table."""
        found = self._silences("until > {now:DateTime64(6, 'UTC')} AND ended_at IS NULL", {"now": instant_text(now)})
        if missing := sorted(set(held) - {one.id for one in found}):
            found += self._silences("id IN {ids:Array(String)}", {"ids": missing})
        return found

    def acknowledgements(self, since: datetime) -> list[Acknowledgement]:
        """Those of alerts that fired at `since` or later."""
        rows = self._store.query_dicts(
            f"SELECT {', '.join(_ACKNOWLEDGEMENT)} FROM acknowledgements FINAL "
            "WHERE fired_at >= {since:DateTime64(6, 'UTC')} ORDER BY at, rule, kpi, series, period",
            {"since": instant_text(since)},
        )
        return [Acknowledgement(**{**row, "series": labels_of(row["series"])}) for row in rows]

    def all(self) -> list[Silence]:
        """Every silence that was ever added."""
        return self._silences("1", {})

    def save(self, silence: Silence, at: datetime) -> None:
        """Keep this one, or its new state."""
        matchers = silence.matchers.model_dump_json(exclude_none=True)
        row = [matchers if name == "matchers" else getattr(silence, name) for name in _SILENCE]
        self._store.insert("silences", [*_SILENCE, "updated_at"], [[*row, at]])

    def acknowledge(self, acknowledgements: Sequence[Acknowledgement]) -> None:
        """Keep these."""
        rows = [[cell(getattr(one, name)) for name in _ACKNOWLEDGEMENT] for one in acknowledgements]
        self._store.insert("acknowledgements", _ACKNOWLEDGEMENT, rows)

    def firing(self) -> list[Alert]:
        """The alerts that fire."""
        return [alert for alert in ClickHouseHistory(self._store).alerts() if alert.state == "firing"]

    def _silences(self, condition: str, parameters: dict[str, object]) -> list[Silence]:
        rows = self._store.query_dicts(
            f"SELECT {', '.join(_SILENCE)} FROM silences FINAL WHERE {condition} ORDER BY until, id", parameters
        )
        return [Silence(**{**row, "matchers": Matchers.model_validate_json(row["matchers"])}) for row in rows]
