"""`onpace up`, alive: what is sent becomes a value, what is wrong is refused, and a crash loses nothing."""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from stacks import Up, onpace, output, rows, until

pytestmark = pytest.mark.e2e

KPI_FILE = """version: 1
defaults: {lateness: 1s}
events:
  order.placed:
    properties: {amount: {type: number, minimum: 0, decimal: 2}, region: {type: string}}
    required: [amount]
kpis:
  - name: revenue
    type: simple
    event: order.placed
    agg: sum
    value: amount
    dimensions: [region]
    unit: EUR
    direction: higher_is_better
    role: lagging
    targets: [{every: year, value: 100}]
"""
LATELY = (datetime.now(UTC) - timedelta(minutes=10)).isoformat()
BATCH = {"content-type": "application/cloudevents-batch+json"}


class Shop:
    """A stack under test; `up` is replaced when it is started again."""

    def __init__(self, folder: Path) -> None:
        self.kpis, self.data = folder / "kpis", folder / "data"
        self.kpis.mkdir()
        (self.kpis / "shop.yaml").write_text(KPI_FILE)
        self.up = Up(self.data, "--kpis", self.kpis).until_ready()

    def restart(self, *arguments: object) -> None:
        """On the same folder, which remembers the KPI files."""
        self.up = Up(self.data, *arguments).until_ready()

    def post(self, *events: dict[str, object]) -> httpx.Response:
        """Send a batch to the gateway."""
        return httpx.post(self.up.address("gateway"), content=json.dumps(events), headers=BATCH, timeout=20)

    def sql(self, query: str) -> str:
        """One value from the engine's HTTP interface."""
        return httpx.post(self.up.address("SQL"), content=query, timeout=20).raise_for_status().text.strip()

    def revenue(self) -> float:
        """Over all time."""
        return float(self.sql("SELECT ifNull(sum(value), 0) FROM kpi_revenue_day_total"))

    def until_revenue(self, value: float) -> None:
        """Wait until the processor has written so much."""
        until(lambda: abs(self.revenue() - value) < 1e-9, f"revenue of {value}, not {self.revenue()},")


def order(name: str, amount: object, region: str = "EU") -> dict[str, object]:
    """An order of ten minutes ago."""
    data = {"amount": amount, "region": region}
    return {"specversion": "1.0", "id": name, "source": "/t", "type": "order.placed", "time": LATELY, "data": data}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """One stack for this module; the tests stand in the order in which they build on each other."""
    found = Shop(tmp_path_factory.mktemp("up"))
    yield found
    found.up.end()


def test_every_address_that_it_prints_answers(shop: Shop) -> None:
    """And a quiet start is nothing but these addresses."""
    for name in ("status page", "metrics", "gateway", "API docs", "SQL"):
        assert httpx.get(shop.up.address(name), timeout=20).status_code == 200, name
    assert len(shop.up.text.splitlines()) == 7, shop.up.text


def test_a_posted_event_becomes_a_value(shop: Shop) -> None:
    """Through gateway, broker, processor and store, to a command that asks the running stack."""
    assert shop.post(order("o1", 10.10), order("o2", 5, "US")).json() == {"accepted": 2}
    shop.until_revenue(15.1)
    found = rows("query", "revenue", "--data", shop.data, "--by", "region", "--grain", "year")
    assert [(row["region"], row["value"], row["complete"]) for row in found] == [
        ("EU", 10.1, False),
        ("US", 5.0, False),
    ]


def test_a_batch_with_a_bad_event_is_refused_as_a_whole(shop: Shop) -> None:
    """With an error per index."""
    answer = shop.post(order("o3", 1), order("o4", -1), order("o5", "1,50"))
    assert answer.status_code == 422
    errors = [(error["index"], error["field"]) for error in answer.json()["errors"]]
    assert errors == [(1, "data.amount"), (2, "data.amount")]
    shop.post(order("o6", 0.90))
    shop.until_revenue(16)


def test_a_repaired_dead_letter_counts_once_and_keeps_its_id(shop: Shop, tmp_path: Path) -> None:
    """However often it is sent again."""
    file = tmp_path / "bad.json"
    file.write_text(json.dumps(order("bad-1", "4,00")))
    output("replay", file, "--data", shop.data)
    until(lambda: shop.sql("SELECT count() FROM dead_letters") == "1", "a dead letter")
    [letter] = rows("dlq", "list", "--data", shop.data)
    assert (letter["reason"], letter["field"], letter["id"]) == ("schema_violation", "data.amount", "bad-1")
    for _ in range(2):
        output("dlq", "replay", letter["letter"], "--set", "data.amount=4.00", "--data", shop.data)
    shop.until_revenue(20)
    assert shop.sql("SELECT count() FROM events WHERE id = 'bad-1' AND duplicate = 0") == "1"
    until(lambda: shop.sql("SELECT count() FROM events WHERE id = 'bad-1'") == "2", "the second one")
    assert shop.revenue() == 20
    assert shop.sql("SELECT any(replayed) FROM dead_letters FINAL") == "1"


def test_the_scorecard_comes_from_the_running_stack(shop: Shop) -> None:
    """In the terminal and as JSON for the status page."""
    assert re.search(r"^revenue \[EUR\] +20 +100 ", output("status", "--data", shop.data), re.MULTILINE)
    page = shop.up.address("status page")
    until(lambda: httpx.get(f"{page}/api/status", timeout=20).json()["kpis"][0]["value"] == 20, "the status page")


def test_other_kpi_files_than_the_stack_uses_are_no_crash(shop: Shop, tmp_path: Path) -> None:
    """There is nothing of theirs in the store."""
    (tmp_path / "other.yaml").write_text(KPI_FILE.replace("revenue", "turnover").replace("order.placed", "order.paid"))
    assert rows("query", "turnover", "--data", shop.data, "--kpis", tmp_path) == []


def test_a_second_stack_on_the_folder_or_the_port_is_told_so(shop: Shop, tmp_path: Path) -> None:
    """The folder first: it is what the other process is really about."""
    port = shop.up.address("status page").rpartition(":")[2]
    done = onpace("up", "--data", shop.data, "--port", port)
    folder = f"error: data folder {shop.data} is in use by process {shop.up.process.pid}: stop it, or choose another"
    assert (done.returncode, done.stderr) == (1, f"{folder} with --data\n")
    done = onpace("up", "--data", tmp_path / "other", "--port", port)
    taken = f"error: port {port} on 127.0.0.1 is taken: stop what listens there, or choose another with --port"
    assert (done.returncode, done.stderr) == (1, f"{taken} or ONPACE_WEB__PORT\n")


def test_kill_9_changes_no_value_and_it_goes_on(shop: Shop, tmp_path: Path) -> None:
    """The broker of the stack is gone with all it held; the store is not. A file may be replayed on the way."""
    file = tmp_path / "events.jsonl"
    file.write_text("".join(json.dumps(order(f"file-{n}", 1)) + "\n" for n in range(100)))
    broker = children(shop.up.process.pid)
    shop.up.end()
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in broker), "the broker to end with its parent")
    shop.restart("--replay", file)
    shop.post(order("o1", 10.10), order("o7", 1))  # o1 is known from before
    shop.up.until_printed(f"{file}: 100 events read, 100 sent, 0 too large")
    shop.until_revenue(121)


def test_ctrl_c_stops_everything_within_seconds(shop: Shop) -> None:
    """Exit code 0, no traceback, and no child is left."""
    broker = children(shop.up.process.pid)
    with httpx.Client() as client:  # a browser that keeps its connection open
        client.get(shop.up.address("status page"))
        begun = time.monotonic()
        assert shop.up.stop(signal.SIGINT) == 0
        assert time.monotonic() - begun < 8
    assert broker
    assert not any(Path(f"/proc/{pid}").exists() for pid in broker)
    assert shop.up.text.splitlines()[8:] == ["OnPace has stopped."]


@pytest.mark.parametrize("seconds", [0.3, 5])
def test_a_signal_while_it_starts_stops_it(tmp_path: Path, seconds: float) -> None:
    """Importing, or joining the group: exit code 0 and no traceback."""
    stack = Up(tmp_path)
    with pytest.raises(AssertionError, match="not within"):
        until(lambda: "is up" in stack.text, "ready", seconds)
    assert stack.stop(signal.SIGTERM) == 0
    assert stack.text in ("", "OnPace has stopped.\n")


def children(pid: int) -> list[int]:
    """The child processes of a process."""
    files = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for file in files for child in file.read_text().split()]
