"""Adding and ending silences, and acknowledging alerts: in the store, or through the stack that holds it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from time import monotonic, sleep
from typing import Annotated, Any, Protocol
from uuid import uuid4

import httpx
from pydantic import AwareDatetime, Field

from onpace.alerts.silence_rows import acknowledgement_of, alert_words, silence_of
from onpace.alerts.silence_store import ClickHouseSilences, SilenceStore
from onpace.alerts.silences import Acknowledgement, moment_words
from onpace.config.catalog import Catalog
from onpace.config.checks_silences import matcher_problems
from onpace.config.errors import DataFolderBusy, OnPaceError, UnknownName, did_you_mean
from onpace.config.settings import Settings
from onpace.config.silences import BUILT_IN_RULES, LAST_YEAR, Matchers, Silence
from onpace.deploy.data_folder import address_of
from onpace.deploy.stores import PATIENCE_SECONDS, now, open_store
from onpace.processors.clickhouse import ClickHouse

__all__ = ["Desk", "NewAcknowledgement", "NewSilence", "StoreDesk", "desk_for", "desk_over", "managers_of"]

Words = Annotated[str, Field(pattern=r"\S")]


class NewSilence(Matchers):
    """A silence to add; from now on unless it says otherwise."""

    by: Words
    why: Words
    start: AwareDatetime | None = Field(default=None, alias="from")
    until: AwareDatetime

    @property
    def matchers(self) -> Matchers:
        """What it is about."""
        return Matchers.model_validate(self.model_dump(include=set(Matchers.model_fields)))


class NewAcknowledgement(Matchers):
    """Somebody knows of what fires now and matches."""

    by: Words
    why: str = ""


class Desk(Protocol):
    """Takes silences and acknowledgements. Raises OnPaceError for what cannot be, and StoreUnavailable."""

    def add(self, wanted: NewSilence) -> Silence:
        """Add a silence, which counts from the next evaluation on."""
        ...

    def silences(self, *, over: bool) -> list[Silence]:
        """Those that hold or are yet to begin, `over`: also all others; by their end."""
        ...

    def end(self, id: str, by: str) -> Silence:
        """End one now."""
        ...

    def acknowledge(self, wanted: NewAcknowledgement) -> list[Acknowledgement]:
        """Acknowledge every alert that fires and matches; at least one."""
        ...


class StoreDesk:
    """A desk over the store itself. `new_id`: a name that no silence has yet."""

    def __init__(
        self,
        store: SilenceStore,
        catalog: Callable[[], Catalog],
        clock: Callable[[], datetime],
        new_id: Callable[[], str],
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._clock = clock
        self._new_id = new_id

    def add(self, wanted: NewSilence) -> Silence:
        """Add a silence, if there is anything that it may match."""
        at, meant = self._clock(), wanted.matchers
        for _, message in matcher_problems(meant, self._catalog()):
            raise OnPaceError(f"silence: {message}")
        start = wanted.start or at
        if wanted.until <= start or wanted.until <= at:
            when = "is over already" if wanted.until <= at else "ends before it begins"
            raise OnPaceError(f"silence: it {when}: give a later end than {moment_words(wanted.until)}")
        if wanted.until.year > LAST_YEAR:
            raise OnPaceError(f"silence: {moment_words(wanted.until)} is too far away: end it before {LAST_YEAR + 1}")
        made = Silence(id=self._new_id(), matchers=meant, by=wanted.by, why=wanted.why, start=start, until=wanted.until)
        self._store.save(made, at)
        return made

    def silences(self, *, over: bool) -> list[Silence]:
        """Those of the KPI files among them."""
        at = self._clock()
        found = [*self._catalog().silences, *(self._store.all() if over else self._store.current(at, ()))]
        shown = [one for one in found if over or one.state(at) in ("active", "pending")]
        return sorted(shown, key=lambda one: (one.until, one.id))

    def end(self, id: str, by: str) -> Silence:
        """One of a KPI file is ended there."""
        if any(one.id == id for one in self._catalog().silences):
            raise OnPaceError(f"silence '{id}' stands in the KPI files: change its until there, or remove it")
        known = {one.id: one for one in self._store.all()}
        if id not in known:
            listed = did_you_mean(id, known) or ": `onpace silence list` names them"
            raise UnknownName(f"unknown silence '{id}'{listed}")
        at = self._clock()
        if (state := known[id].state(at)) in ("ended", "expired"):
            raise OnPaceError(f"silence '{id}' is over: it has {state}")
        ended = known[id].model_copy(update={"ended_at": at, "ended_by": by})
        self._store.save(ended, at)
        return ended

    def acknowledge(self, wanted: NewAcknowledgement) -> list[Acknowledgement]:
        """By the state of the last evaluation."""
        if wanted.empty:
            raise OnPaceError("acknowledge what? Give rule, kpi, severity, period or match")
        self._check_rule(wanted.rule or "*")
        firing, at = self._store.firing(), self._clock()
        meant = [
            alert
            for alert in firing
            if alert.fired_at
            and wanted.hold(
                rule=alert.rule,
                kpi=alert.kpi,
                severity=alert.severity,
                period=alert.period,
                series=dict(alert.series),
            )
        ]
        if not meant:
            listed = "; ".join(alert_words(alert) for alert in firing[:5]) or "nothing"
            raise OnPaceError(f"no alert that matches fires now. Firing: {listed}{' …' if len(firing) > 5 else ''}")
        made = [
            Acknowledgement(a.rule, a.kpi, a.series, a.period, a.fired_at, wanted.by, wanted.why, at)
            for a in meant
            if a.fired_at
        ]
        self._store.acknowledge(made)
        return made

    def _check_rule(self, rule: str) -> None:
        known = [*self._catalog().rules, *BUILT_IN_RULES]
        if "*" not in rule and rule not in known:
            raise UnknownName(f"unknown rule '{rule}'{did_you_mean(rule, known)}")


class RemoteDesk:
    """The desk of the stack that answers at `url`."""

    def __init__(self, url: str) -> None:
        self._url = url

    def add(self, wanted: NewSilence) -> Silence:
        """POST."""
        return silence_of(self._ask("POST", "silences", wanted.model_dump(mode="json", by_alias=True)))

    def silences(self, *, over: bool) -> list[Silence]:
        """GET."""
        rows: list[dict[str, Any]] = self._ask("GET", f"silences?all={str(over).lower()}")
        return [silence_of(row) for row in rows]

    def end(self, id: str, by: str) -> Silence:
        """POST."""
        return silence_of(self._ask("POST", "silences/end", {"id": id, "by": by}))

    def acknowledge(self, wanted: NewAcknowledgement) -> list[Acknowledgement]:
        """POST."""
        rows: Sequence[dict[str, Any]] = self._ask("POST", "acknowledgements", wanted.model_dump(mode="json"))
        return [acknowledgement_of(row) for row in rows]

    def _ask(self, method: str, path: str, content: Mapping[str, Any] | None = None) -> Any:
        url = f"{self._url}/api/{path}"
        try:
            answer = httpx.request(method, url, json=content, timeout=30)
            found = answer.json()
        except (httpx.HTTPError, ValueError) as exc:
            raise OnPaceError(f"{url}: {exc}") from exc
        if answer.is_success:
            return found
        raise OnPaceError(str(found.get("error") or f"{url} answered {answer.status_code}: {found.get('detail')}"))


def desk_over(store: ClickHouse, catalog: Callable[[], Catalog]) -> StoreDesk:
    """The desk of whoever may write to the store."""
    return StoreDesk(ClickHouseSilences(store), catalog, now, lambda: uuid4().hex[:8])


@contextmanager
def desk_for(settings: Settings, catalog: Catalog) -> Iterator[Desk]:
    """For a command: through the running stack that holds the data folder, else in the folder or the server itself."""
    if settings.clickhouse.url:
        with open_store(settings) as store:
            yield desk_over(store, lambda: catalog)
        return
    if not (settings.data / "clickhouse").exists():
        raise OnPaceError(f"no data in {settings.data}: name the folder that `onpace up` uses with --data")
    with ExitStack() as opened:
        deadline = monotonic() + PATIENCE_SECONDS
        while True:
            held = address_of(settings.data)
            if held and held.web:
                yield RemoteDesk(held.web)
                return
            try:
                store = opened.enter_context(open_store(settings, write=True))
                break
            except DataFolderBusy:  # a command that holds it for a moment, or a stack that is starting
                if monotonic() > deadline:
                    raise
                sleep(0.1)
        yield desk_over(store, lambda: catalog)


def managers_of(catalog: Catalog, matchers: Matchers) -> list[str]:
    """The Alertmanager channels among those of the rules that it is about."""
    rules = [
        rule
        for rule in catalog.rules.values()
        if Matchers(rule=matchers.rule, kpi=matchers.kpi, severity=matchers.severity).hold(
            rule=rule.name, kpi=rule.kpi, severity=rule.severity, period="", series={}
        )
    ]
    names = dict.fromkeys(name for rule in rules for name in rule.notify)
    return [name for name in names if name in catalog.channels and catalog.channels[name].type == "alertmanager"]
