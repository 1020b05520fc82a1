"""A store of silences and acknowledgements in memory, and an engine that asks it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from test_engine import World

from onpace.alerts.engine import Engine
from onpace.alerts.silences import Acknowledgement
from onpace.alerts.states import Alert, AlertId
from onpace.config.catalog import Catalog
from onpace.config.silences import Matchers, Silence


class MemorySilences:
    """A SilenceStore that counts what it hands out."""

    def __init__(self) -> None:
        self.kept: dict[str, Silence] = {}
        self.known: dict[tuple[AlertId, datetime], Acknowledgement] = {}
        self.fires: list[Alert] = []
        self.read = 0

    def current(self, now: datetime, held: Collection[str]) -> list[Silence]:
        """Those that are not over, and the given ones."""
        found = [one for one in self.all() if one.state(now) in ("active", "pending") or one.id in held]
        self.read += len(found)
        return found

    def acknowledgements(self, since: datetime) -> list[Acknowledgement]:
        """Those of firings since then."""
        return sorted((one for one in self.known.values() if one.fired_at >= since), key=lambda one: one.at)

    def all(self) -> list[Silence]:
        """By their end."""
        return sorted(self.kept.values(), key=lambda one: (one.until, one.id))

    def save(self, silence: Silence, at: datetime) -> None:  # noqa: ARG002
        """The newest state stands."""
        self.kept[silence.id] = silence

    def acknowledge(self, acknowledgements: Sequence[Acknowledgement]) -> None:
        """The latest of each firing stands."""
        for one in acknowledgements:
            known = self.known.get(one.key)
            if known is None or known.at <= one.at:
                self.known[one.key] = one

    def firing(self) -> list[Alert]:
        """What the test says."""
        return self.fires


class QuietWorld(World):
    """A world with silences; its messages as channel, state and note."""

    silences: MemorySilences

    def restart(self, catalog: Catalog | None = None) -> None:
        """A new engine over the same stores."""
        if not hasattr(self, "silences"):
            self.silences = MemorySilences()
        self.catalog = self.reader.catalog = catalog or self.catalog
        self.engine = Engine(self.catalog, self.reader, self.history, self.notifier, silences=self.silences)

    def silence(self, start: str, until: str, *, id: str = "s1", by: str = "anna", **matchers: object) -> Silence:
        """Add one, for a deploy."""
        given = matchers or {"rule": "low"}
        made = Silence.model_validate(
            {"id": id, "by": by, "why": "deploy", "matchers": given}
            | {"start": f"{start}+00:00", "until": f"{until}+00:00"}
        )
        self.silences.save(made, made.until)
        return made

    def end(self, silence: Silence, moment: datetime, by: str) -> None:
        """End one early."""
        self.silences.save(silence.model_copy(update={"ended_at": moment, "ended_by": by}), moment)

    def acknowledge(self, alert: Alert, moment: datetime, by: str = "ben", why: str = "") -> None:
        """Somebody knows of it."""
        assert alert.fired_at is not None
        known = Acknowledgement(alert.rule, alert.kpi, alert.series, alert.period, alert.fired_at, by, why, moment)
        self.silences.acknowledge([known])

    def heard(self) -> list[tuple[str, str, str]]:
        """Every message so far."""
        return [(one.channel, one.state, one.annotations.get("note", "")) for one in self.notifier.sent]


def matchers(**given: object) -> Matchers:
    """As a file or command gives them."""
    return Matchers.model_validate(given)
