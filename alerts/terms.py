"""Terms of alert engines over one store: who took over last is in force.

An election says who should evaluate; a process that slept through one does not know yet that it is over. Before it
evaluates it finds a later term than its own in the store, and stands by.
"""

from __future__ import annotations

from datetime import datetime

from onpace.processors.clickhouse import ClickHouse

__all__ = ["Terms"]


class Terms:
    """What one engine knows of them (table `engine_terms`, migration 0013). Every method raises StoreUnavailable."""

    def __init__(self, store: ClickHouse, engine: str) -> None:
        """`engine`: a name that no other process has, nor this one after a restart."""
        self._store = store
        self._engine = engine

    def begin(self, at: datetime) -> None:
        """Take over."""
        term, _ = self._latest()
        self._store.insert("engine_terms", ["term", "engine", "begun"], [(term + 1, self._engine, at)])

    def holds(self) -> bool:
        """Whether nobody has taken over since."""
        return self._latest()[1] == self._engine

    def holder(self) -> str:
        """Whose term it is; '' before the first one."""
        return self._latest()[1]

    def _latest(self) -> tuple[int, str]:
        query = "SELECT term, engine FROM engine_terms ORDER BY term DESC, engine DESC LIMIT 1"
        for term, engine in self._store.query(query):
            return int(term), str(engine)
        return 0, ""
