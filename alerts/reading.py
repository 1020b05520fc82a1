"""What the alert engine needs to read: KPI values by window and by span, and how far the sources have come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from onpace.config.calendar import Grain

__all__ = ["Portions", "SegmentReader", "SeriesKey", "SeriesReader", "SourceTimes", "Span", "WindowPoint"]

Span = tuple[datetime, datetime]
"""A half-open stretch of base windows: `start <= window_start < end`."""

SeriesKey = tuple[str | None, ...]
"""Dimension values in the order of `by`; () is the total."""


Portions = Mapping[SeriesKey, tuple[float, float]]
"""What each value of a dimension counts for: an amount, and what it is divided by (0 where it adds up by itself).
Under () is all that was not told apart."""


class WindowPoint(Protocol):
    """One window of one series. The value is None where there is nothing to compute it from."""

    @property
    def window_start(self) -> datetime: ...
    @property
    def window_end(self) -> datetime: ...
    @property
    def value(self) -> float | None: ...
    @property
    def complete(self) -> bool: ...


class SourceTimes(Protocol):
    """How far one event type has come: the time of its newest event, when one last arrived, and when the processor last
    had nothing left to read."""

    @property
    def last_event_time(self) -> datetime | None: ...
    @property
    def last_arrival(self) -> datetime | None: ...
    @property
    def caught_up_at(self) -> datetime | None: ...


class SeriesReader(Protocol):
    """Reads KPI values. Raises StoreUnavailable when the store does not answer."""

    def series(
        self,
        kpi: str,
        grain: Grain,
        start: datetime,
        end: datetime,
        *,
        by: Sequence[str] = (),
        where: Mapping[str, str] = ...,
    ) -> Mapping[SeriesKey, Sequence[WindowPoint]]:
        """The windows of `grain` that begin in `[window of start, end)`, per series of `by`."""
        ...

    def values(self, kpi: str, spans: Sequence[Span], where: Mapping[str, str] = ...) -> Sequence[float | None]:
        """The KPI merged over each span, in one query; None where there is nothing."""
        ...

    def watermark(self, kpi: str) -> datetime | None:
        """W: everything before it is complete for all inputs. None: nothing is."""

    def first_event(self, kpi: str) -> datetime | None:
        """The start of the KPI's first base window."""

    def rebuilding(self, kpi: str) -> tuple[str, ...]:
        """Its inputs whose history is not whole yet: nothing can be said of it until it is."""
        ...

    def sources(self) -> Mapping[str, SourceTimes]:
        """How far each event type has come."""
        ...


class SegmentReader(Protocol):
    """Reads what the segments of KPIs count for. Raises StoreUnavailable when the store does not answer."""

    def segments(
        self, kpi: str, spans: Sequence[Span], dimension: str, where: Mapping[str, str | None] = ...
    ) -> Sequence[Portions]:
        """Of each value of a dimension, in each span, in one query."""
        ...

    def first_event(self, kpi: str) -> datetime | None:
        """The start of the KPI's first base window."""
