"""The time up to which a partition without events may be called read: a wall clock that was set ahead must not decide.

Pure: the wall clock and a monotonic one come in as arguments.
"""

from __future__ import annotations

from datetime import datetime, timedelta

__all__ = ["SteadyTime"]

_DRIFT_SECONDS = 5.0
"""A wall clock may gain so much between two looks: it is slewed, and machines stop for a moment."""


class SteadyTime:
    """The wall clock, unless it jumped ahead; then time goes on from before the jump until arrivals confirm it.

    Arrival times are the broker's: they tell a clock that was set wrong from one that was set right, and from a
    machine that slept. Going back is always believed.
    """

    def __init__(self, wall: datetime, seconds: float) -> None:
        """`seconds`: of a monotonic clock."""
        self._wall, self._seconds = wall.timestamp(), seconds

    def now(self, wall: datetime, seconds: float) -> datetime:
        """The time that is believed, never after `wall`. Look often: drift adds up between two looks only."""
        ahead = wall.timestamp() - self._believed(seconds)
        believed = wall - timedelta(seconds=ahead) if ahead > _DRIFT_SECONDS else wall
        self._wall, self._seconds = believed.timestamp(), seconds
        return believed

    def arrived(self, arrival_ms: int, seconds: float) -> None:
        """An event had arrived at the broker by then (milliseconds since 1970)."""
        if arrival_ms / 1000 > self._believed(seconds):
            self._wall, self._seconds = arrival_ms / 1000, seconds

    def _believed(self, seconds: float) -> float:
        return self._wall + seconds - self._seconds
