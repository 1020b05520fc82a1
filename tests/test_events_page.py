"""The examples of docs/events.md are run, not trusted."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry

from onpace.config.catalog import Catalog
from onpace.config.kpi import EventType
from onpace.config.settings import KafkaSettings
from onpace.ingest.codec import parse_event
from onpace.ingest.embedded_broker import EmbeddedBroker
from onpace.ingest.event import REASONS
from onpace.ingest.gateway import EventSubmitter, gateway_router
from onpace.ingest.topics import ensure_topics

PAGE = (Path(__file__).parent.parent / "docs" / "events.md").read_text(encoding="utf-8")
ORDER = EventType(name="order.placed", properties={"amount": {"type": "number", "decimal": 2}}, required=("amount",))


def blocks(language: str) -> list[str]:
    """The code blocks of one language."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_the_json_example_is_an_event() -> None:
    """It parses, and its data is kept."""
    [example] = blocks("json")
    assert json.loads(parse_event(example.encode()).data)["amount"] == 12.5


def test_the_reasons_are_all_explained() -> None:
    """One row for each, in the table of dead letters."""
    assert set(re.findall(r"^\| `([a-z_]+)` \| [^|]+ \|$", PAGE, re.MULTILINE)) == set(REASONS)


@pytest.mark.e2e
def test_the_python_and_curl_examples_work() -> None:
    """Against a real broker; each sends one event."""
    with EmbeddedBroker() as broker:
        settings = KafkaSettings(bootstrap=broker.address)
        ensure_topics(settings)
        [python] = blocks("python")
        names: dict[str, object] = {}
        exec(python.replace("localhost:9092", broker.address), names)
        assert sum(names["producer"].offsets.values()) == 1  # type: ignore[attr-defined]
        submitter = EventSubmitter.connect(settings)
        app = FastAPI()
        app.include_router(
            gateway_router(submitter, lambda: Catalog(events={"order.placed": ORDER}), CollectorRegistry())
        )
        commands = blocks("sh")
        for command in commands:
            words = shlex.split(command.replace("\\\n", " "))
            headers = dict(words[k + 1].split(": ", 1) for k, word in enumerate(words) if word == "-H")
            body = words[words.index("-d") + 1]
            answer = TestClient(app).post("/v1/events", content=body, headers=headers)
            assert (answer.status_code, answer.json()) == (202, {"accepted": 1})
        assert sum(submitter.offsets.values()) == 1 + len(commands)
        submitter.close()
