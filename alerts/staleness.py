"""Which sources cannot be trusted right now: silent for too long, or read by a pipeline that is behind. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from onpace.alerts.reading import SourceTimes
from onpace.config.catalog import Catalog
from onpace.config.durations import format_duration

__all__ = ["BEHIND", "behind", "stale_sources"]

BEHIND = timedelta(minutes=5)
"""A pipeline that has not been caught up with the stream for longer than this is behind."""


def behind(source: SourceTimes, now: datetime) -> bool:
    """Whether the pipeline is behind on this source, so that its silence means nothing."""
    if source.caught_up_at is None:
        return source.last_event_time is not None  # it has only just begun to read
    return now - source.caught_up_at > BEHIND


def last_seen(source: SourceTimes) -> datetime | None:
    """When the source last said anything: an event dated long ago that arrives now breaks the silence too."""
    return max((at for at in (source.last_event_time, source.last_arrival) if at is not None), default=None)


def stale_sources(catalog: Catalog, sources: Mapping[str, SourceTimes], now: datetime) -> dict[str, str]:
    """The stale event types of the catalog, each with the reason. One never seen is not stale: it has no data."""
    found: dict[str, str] = {}
    for name, event in catalog.events.items():
        source = sources.get(name)
        if source is None:
            continue
        if behind(source, now):
            since = (
                f"was last caught up at {source.caught_up_at:%Y-%m-%d %H:%M:%S} UTC"
                if source.caught_up_at
                else "is not caught up yet"
            )
            found[name] = f"the pipeline {since}"
        elif event.expected_every and (seen := last_seen(source)) and now - seen > event.expected_every:
            expected = format_duration(event.expected_every)
            found[name] = f"no event since {seen:%Y-%m-%d %H:%M:%S} UTC, expected every {expected}"
    return found
