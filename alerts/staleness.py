"""Which sources cannot be trusted right now: silent for too long, or read by a pipeline that is behind. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from onpace.alerts.reading import SourceTimes
from onpace.config.calendar import Calendar
from onpace.config.catalog import Catalog
from onpace.config.durations import format_duration
from onpace.config.open_time import is_open_at, open_time

__all__ = ["Patience", "behind", "behind_reason", "known_until", "last_seen", "stale_sources"]


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a pipeline may stand still before it counts, and before people are told."""

    behind: timedelta = timedelta(minutes=5)
    """A pipeline that has not been caught up with the stream for longer than this is behind."""
    hold: timedelta = timedelta(minutes=2)
    """How long a source must be stale, or the pipeline behind, before people are told: a deploy is no incident."""


def behind(source: SourceTimes, now: datetime, patience: Patience) -> bool:
    """Whether the pipeline is behind on this source, so that its silence means nothing."""
    if source.caught_up_at is None:
        return source.last_event_time is not None  # it has only just begun to read
    return now - source.caught_up_at > patience.behind


def known_until(source: SourceTimes, now: datetime) -> datetime:
    """Until when it is known what the source has said: what was not read yet is no silence."""
    return now if source.caught_up_at is None else min(now, source.caught_up_at)


def behind_reason(sources: Mapping[str, SourceTimes], now: datetime, patience: Patience) -> str:
    """Why the pipeline as a whole is behind; empty while it is not."""
    late = [source for source in sources.values() if behind(source, now, patience)]
    if not late:
        return ""
    since = [source.caught_up_at for source in late if source.caught_up_at]
    if not since:
        return "the pipeline is not caught up yet"
    return f"the pipeline was last caught up at {min(since):%Y-%m-%d %H:%M:%S} UTC"


def last_seen(source: SourceTimes) -> datetime | None:
    """When the source last said anything: an event dated long ago that arrives now breaks the silence too."""
    return max((at for at in (source.last_event_time, source.last_arrival) if at is not None), default=None)


def stale_sources(
    catalog: Catalog, sources: Mapping[str, SourceTimes], now: datetime, patience: Patience
) -> dict[str, str]:
    """The stale event types of the catalog, each with the reason. One never seen is not stale: it has no data.

    Silence counts while any KPI of the event type is open; on a day on which all of them are closed nothing is overdue.
    """
    found: dict[str, str] = {}
    for name, event in catalog.events.items():
        source = sources.get(name)
        if source is None:
            continue
        reason = behind_reason({name: source}, now, patience)
        if not reason and event.expected_every:
            reason = _silence(source, event.expected_every, now, _calendars(catalog, name))
        if reason:
            found[name] = reason
    return found


def _calendars(catalog: Catalog, event_type: str) -> list[Calendar]:
    """Those of the KPIs that the event type feeds."""
    fed = (kpi for kpi in catalog.kpis.values() if event_type in catalog.event_types(kpi))
    return list(dict.fromkeys(kpi.calendar for kpi in fed))


def _silence(source: SourceTimes, expected_every: timedelta, now: datetime, calendars: Sequence[Calendar]) -> str:
    """Since when the source has said nothing for too long, as far as the pipeline has read; empty while it has not."""
    seen = last_seen(source)
    until = known_until(source, now)
    if seen is None or until - seen <= expected_every:
        return ""
    if calendars and not any(is_open_at(calendar, now) for calendar in calendars):
        return ""
    if calendars and open_time(calendars, seen, until) <= expected_every:
        return ""
    return f"no event since {seen:%Y-%m-%d %H:%M:%S} UTC, expected every {format_duration(expected_every)}"
