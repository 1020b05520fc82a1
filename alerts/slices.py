"""Reads the slices of KPIs that judgements are about: those that differ only in their dimension values together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol, runtime_checkable

from onpace.alerts.reading import SeriesReader, Span
from onpace.alerts.status import Labels

__all__ = ["Slice", "SliceReader", "read_slices"]

SPANS_PER_QUERY = 400

Slice = tuple[str, Labels]
"""A KPI and the dimension values that narrow it; () is all of it."""


@runtime_checkable
class SliceReader(Protocol):
    """A reader that answers for many slices at once."""

    def slices(
        self, kpi: str, spans: Sequence[Span], wheres: Sequence[Mapping[str, str]]
    ) -> Sequence[Sequence[float | None]]:
        """The KPI merged over each span, for each slice; they name the same dimensions in the same order."""
        ...


def read_slices(
    reader: SeriesReader, wanted: Mapping[Slice, Sequence[Span]]
) -> Iterator[tuple[Slice, dict[Span, float | None]]]:
    """The values of every slice over its spans: one query for all that have the same KPI, dimensions and spans."""
    alike: dict[tuple[str, tuple[str, ...], tuple[Span, ...]], list[Slice]] = {}
    for (kpi, series), spans in wanted.items():
        names = tuple(name for name, value in series if value is not None)
        alike.setdefault((kpi, names, tuple(spans)), []).append((kpi, series))
    for (kpi, _, spans), some in alike.items():
        for at in range(0, len(spans), SPANS_PER_QUERY):
            part = spans[at : at + SPANS_PER_QUERY]
            wheres = [{name: value for name, value in series if value is not None} for _, series in some]
            if len(some) > 1 and isinstance(reader, SliceReader):
                found = reader.slices(kpi, part, wheres)
            else:
                found = [reader.values(kpi, part, where) for where in wheres]
            for one, values in zip(some, found, strict=True):
                yield one, dict(zip(part, values, strict=True))
