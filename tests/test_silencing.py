"""Silences and acknowledgements as commands and requests take them, over a store in memory."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from alerts_fakes import at
from fastapi import FastAPI
from fastapi.testclient import TestClient
from silences_fakes import MemorySilences

from onpace.alerts.silence_rows import acknowledgement_of, silence_of
from onpace.alerts.states import Alert
from onpace.config.errors import OnPaceError, StoreUnavailable, UnknownName
from onpace.config.loader import load_catalog
from onpace.deploy import cli_silences
from onpace.deploy.silence_router import silence_router
from onpace.deploy.silencing import NewAcknowledgement, NewSilence, StoreDesk, managers_of

FILE = Path(__file__).parent / "corpus" / "good" / "silences.yaml"
CATALOG = load_catalog(FILE)
NOW = at("2026-11-29 12:00")
EU = Alert("orders-low", "orders", (("region", "EU"),), severity="page", state="firing", fired_at=at("2026-11-29"))
PACE = Alert("orders-off-pace", "orders", (), "2026-11", state="firing", fired_at=at("2026-11-20"))
GIVEN: dict[str, Any] = {"rule": "orders-low", "by": "anna", "why": "deploy", "until": NOW + timedelta(hours=2)}


class Office:
    """A desk, its store and its clock."""

    def __init__(self) -> None:
        self.now = NOW
        self.store = MemorySilences()
        self.store.fires = [EU, PACE]
        names = iter("abcdefgh")
        self.desk = StoreDesk(self.store, lambda: CATALOG, lambda: self.now, lambda: next(names))
        app = FastAPI()
        app.include_router(silence_router(self.desk, lambda: self.now))
        self.client = TestClient(app)

    def add(self, **given: Any) -> str:
        """The id of a new silence."""
        return self.desk.add(NewSilence.model_validate(GIVEN | given)).id

    def listed(self, *, over: bool = False) -> list[tuple[str, str]]:
        """Ids and states."""
        return [(one.id, one.state(self.now)) for one in self.desk.silences(over=over)]


@pytest.fixture
def office() -> Office:
    """A new one."""
    return Office()


def test_a_silence_begins_now_and_is_listed_with_those_of_the_files(office: Office) -> None:
    """By their end; what is over only where it is asked for."""
    office.add(until=NOW + timedelta(minutes=1))
    office.add(**{"from": NOW + timedelta(hours=1)})
    declared = [(one.id, "active") for one in sorted(CATALOG.silences, key=lambda one: one.until)]
    assert office.listed() == [("a", "active"), ("b", "pending"), *declared]
    office.now += timedelta(minutes=1)
    assert office.listed() == [("b", "pending"), *declared]
    assert office.listed(over=True)[0] == ("a", "expired")


def test_a_silence_is_ended_once_and_by_somebody(office: Office) -> None:
    """It says so the second time, and also when it had expired."""
    office.add()
    office.now += timedelta(minutes=5)
    ended = office.desk.end("a", "carl")
    assert (ended.ended_by, ended.ended_at, ended.state(office.now)) == ("carl", office.now, "ended")
    assert ("a", "ended") in office.listed(over=True)
    with pytest.raises(OnPaceError, match="silence 'a' is over: it has ended"):
        office.desk.end("a", "carl")
    office.add()
    office.now += timedelta(days=1)
    with pytest.raises(OnPaceError, match="silence 'b' is over: it has expired"):
        office.desk.end("b", "carl")


def test_one_of_a_file_is_ended_there(office: Office) -> None:
    """Or it would come back with the next look at the file."""
    with pytest.raises(OnPaceError, match="'stock-taking' stands in the KPI files: change its until there"):
        office.desk.end("stock-taking", "carl")
    with pytest.raises(UnknownName, match="unknown silence 'x': `onpace silence list` names them"):
        office.desk.end("x", "carl")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rule": "orders-lo"}, r"unknown rule 'orders-lo' \(did you mean 'orders-low'\?\)"),
        ({"kpi": "order"}, r"unknown kpi 'order' \(did you mean 'orders'\?\)"),
        ({"match": {"regoin": "EU"}}, r"unknown dimension 'regoin' \(did you mean 'region'\?\)"),
        ({"rule": None}, "it would silence everything: give rule, kpi, severity, period or match"),
        ({"rule": "orders-off-pace", "severity": "page"}, "no rule has alerts that match"),
        ({"until": NOW}, "it is over already: give a later end than 2026-11-29 12:00 UTC"),
        ({"from": NOW + timedelta(hours=3)}, "it ends before it begins: give a later end than 2026-11-29 14:00 UTC"),
        ({"until": datetime.fromisoformat("2026-11-29T12:30+01:00")}, "give a later end than 2026-11-29 11:30 UTC"),
        ({"until": at("9000-01-01")}, "9000-01-01 00:00 UTC is too far away: end it before 2201"),
    ],
)
def test_a_silence_that_can_hold_nothing_back_is_refused(office: Office, given: Any, message: str) -> None:
    """And nothing is kept of it."""
    with pytest.raises(OnPaceError, match=message):
        office.add(**given)
    assert office.store.kept == {}


def test_what_fires_and_matches_is_acknowledged(office: Office) -> None:
    """Each alert by itself, for this firing."""
    [known] = office.desk.acknowledge(NewAcknowledgement(rule="orders-low", match={"region": "EU"}, by="ben"))
    assert (known.key, known.by, known.at) == ((EU.identity, EU.fired_at), "ben", NOW)
    assert len(office.desk.acknowledge(NewAcknowledgement(rule="orders-*", by="ben", why="known"))) == 2
    assert office.store.known[PACE.identity, PACE.fired_at].why == "known"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rule": "orders-lo"}, r"unknown rule 'orders-lo' \(did you mean 'orders-low'\?\)"),
        (
            {"match": {"region": "US"}},
            "no alert that matches fires now. Firing: orders-low, region EU; orders-off-pace",
        ),
        ({"rule": "pipeline-stale"}, "no alert that matches fires now"),
        ({"rule": None}, "acknowledge what"),
    ],
)
def test_what_does_not_fire_cannot_be_acknowledged(office: Office, given: Any, message: str) -> None:
    """It says what does."""
    with pytest.raises(OnPaceError, match=message):
        office.desk.acknowledge(NewAcknowledgement.model_validate({"rule": "orders-low", "by": "ben"} | given))


def test_the_alertmanagers_that_hear_all_the_same_are_known() -> None:
    """Those of the rules that it is about."""
    assert managers_of(CATALOG, CATALOG.silences[0].matchers) == ["ops"]
    assert managers_of(CATALOG, NewAcknowledgement(rule="orders-off-pace", by="ben")) == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "a silence needs an end: --for 2h, or --until 2026-11-30T06:00"),
        ({"for_": "1h", "until": "2031-01-01"}, "a silence needs an end"),
        ({"by": " "}, "a silence needs an author: --by NAME"),
        ({"why": None}, "a silence needs a reason: --why TEXT"),
        ({"for_": "1m"}, "--for: '1m' is not a duration.*write 'min' for minutes"),
        ({"for_": "-1h"}, "--for: '-1h' is negative"),
        ({"for_": f"{10**9}w"}, "--for 1000000000w is too long"),
        ({"until": "noon"}, "--until: 'noon' is not a date or time: write 2026-11-30T06:00"),
        ({"from_": "noon", "for_": "1h"}, "--from: 'noon' is not a date or time"),
        ({"period": "Nov", "for_": "1h"}, "--period: 'Nov' is not a period: write 2026"),
        ({"severity": "pge", "for_": "1h"}, "--severity: 'pge': Input should be 'info', 'ticket' or 'page'"),
        ({"match": ["EU"], "for_": "1h"}, "--match 'EU': write dimension=value, as in region=EU"),
    ],
)
def test_what_a_command_cannot_read_is_named(tmp_path: Path, given: Any, message: str) -> None:
    """Before anything is asked of the store."""
    with pytest.raises(OnPaceError, match=message):
        cli_silences.add(**{"rule": "orders-low", "by": "a", "why": "b", "kpis": FILE, "data": tmp_path} | given)


def test_requests_do_what_commands_do(office: Office) -> None:
    """As JSON there and back."""
    body = {"rule": "orders-low", "by": "anna", "why": "deploy", "until": (NOW + timedelta(hours=2)).isoformat()}
    answer = office.client.post("/api/silences", json=body)
    assert answer.status_code == 201
    assert silence_of(answer.json()) == office.store.kept["a"]
    assert "a" in [row["id"] for row in office.client.get("/api/silences").json()]
    known = office.client.post("/api/acknowledgements", json={"rule": "orders-low", "by": "ben"})
    assert [acknowledgement_of(row) for row in known.json()] == list(office.store.known.values())
    ended = office.client.post("/api/silences/end", json={"id": "a", "by": "carl"}).json()
    assert (ended["state"], ended["ended_by"]) == ("ended", "carl")
    assert "a" in [row["id"] for row in office.client.get("/api/silences?all=true").json()]


def test_a_request_that_cannot_be_is_refused_with_the_reason(office: Office) -> None:
    """404 for what there is not, 422 for the rest, 503 while the store is away."""
    body = {"rule": "orders-low", "by": "anna", "why": "deploy", "until": NOW.isoformat()}
    late = office.client.post("/api/silences", json=body)
    assert (late.status_code, late.json()["error"][:28]) == (422, "silence: it is over already:")
    for missing in ("by", "why", "until"):
        rest = {name: value for name, value in body.items() if name != missing}
        assert office.client.post("/api/silences", json=rest).status_code == 422
    naive = office.client.post("/api/silences", json=body | {"until": "2026-12-01T06:00"})
    assert naive.status_code == 422
    assert office.client.post("/api/silences/end", json={"id": "x", "by": "carl"}).status_code == 404
    assert office.client.post("/api/acknowledgements", json={"rule": "x", "by": "ben"}).status_code == 404
    office.store.all = away  # type: ignore[method-assign]
    assert office.client.post("/api/silences/end", json={"id": "x", "by": "carl"}).status_code == 503


def away() -> Any:
    """A store that does not answer."""
    raise StoreUnavailable("away")
