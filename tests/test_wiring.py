"""What the composition root adds between two parts."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from entities_fakes import retention
from processors_fakes import ORDER, START, TOPIC, catalog_of, simple

from onpace.config.errors import BrokerUnavailable, ConfigError
from onpace.config.settings import Settings
from onpace.deploy.cli_options import settings_with
from onpace.deploy.stack import watch_broker
from onpace.deploy.wiring import AlertPart, dashboard_url, dead_letter_topic
from onpace.ingest.deadletters import DeadLetter

LETTER = DeadLetter(TOPIC, 0, 1, START, "empty", "", "", b"raw")


class FakeProducer:
    """Keeps what it is sent, unless it is away."""

    def __init__(self) -> None:
        self.away = False
        self.asked = 0
        self.sent: list[bytes] = []

    def send_raw(self, value: bytes, **_: Any) -> None:
        """Take one."""
        self.asked += 1
        if self.away:
            raise BrokerUnavailable("away")
        self.sent.append(value)

    def flush(self, timeout: float) -> None:
        """Nothing waits."""


def test_a_dead_letter_topic_that_failed_is_left_alone_for_a_while() -> None:
    """Or every flush would wait for it; afterwards it is tried again."""
    producer, now = FakeProducer(), 0.0
    publish = dead_letter_topic(producer, clock=lambda: now)  # type: ignore[arg-type]
    publish([LETTER])
    producer.away = True
    for at in (10.0, 20.0, 39.9):
        now = at
        with pytest.raises(BrokerUnavailable):
            publish([LETTER, LETTER])
    assert producer.asked == 2
    producer.away, now = False, 40.1
    publish([LETTER])
    publish([LETTER])
    assert producer.sent == [b"raw"] * 3


def test_a_broker_that_is_away_and_back_is_said_to_be_once() -> None:
    """Fetching goes on by itself, and says nothing."""
    answers = [True, False, False, True, True]

    def ask() -> None:
        if not answers:
            raise RuntimeError("enough")
        if not answers.pop(0):
            raise BrokerUnavailable("no answer")

    with structlog.testing.capture_logs() as logged, pytest.raises(RuntimeError):
        asyncio.run(watch_broker(ask, timedelta()))
    assert [entry["event"] for entry in logged] == ["Kafka does not answer: waiting for it", "Kafka answers again"]


def test_a_replay_ends_just_past_its_last_event() -> None:
    """Not at the end of the week that a cohort is for: by then another month may have begun."""
    chosen = {"event": ORDER.name}
    kpis = simple("orders", "count"), simple("daily", "count", grain="1d"), retention("back", chosen, chosen, "week", 1)
    marks = {"orders": START, "daily": START + timedelta(hours=5), "back": START + timedelta(days=4)}
    part = AlertPart.__new__(AlertPart)
    part.catalog = catalog_of(*kpis)
    part.reader = SimpleNamespace(sources=dict, watermark=marks.get)  # type: ignore[assignment]
    assert part.replay_now(START) == START + timedelta(hours=5)


@pytest.mark.parametrize(
    ("environment", "link"),
    [
        ({}, "http://127.0.0.1:8080/"),
        ({"WEB__HOST": "::1", "WEB__PORT": "81"}, "http://[::1]:81/"),
        ({"WEB__HOST": "0.0.0.0"}, None),
        ({"WEB__PORT": "0"}, None),
        (
            {"WEB__HOST": "0.0.0.0", "ENGINE__DASHBOARD_URL": "https://bi.example.com/{kpi}"},
            "https://bi.example.com/{kpi}",
        ),
    ],
)
def test_messages_link_to_the_status_page_where_its_address_is_known(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], link: str | None
) -> None:
    """Unless they are told to link to something else."""
    for name, value in environment.items():
        monkeypatch.setenv(f"ONPACE_{name}", value)
    assert dashboard_url(Settings()) == link


def test_a_setting_that_is_no_address_of_a_dashboard_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its name, and what it should be like."""
    monkeypatch.setenv("ONPACE_ENGINE__DASHBOARD_URL", "https://bi.example.com/{team}")
    with pytest.raises(
        ConfigError, match=r"ONPACE_ENGINE__DASHBOARD_URL: .*unknown place \{team\} .*known are \{kpi\}"
    ):
        settings_with()
