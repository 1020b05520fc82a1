"""The README's example, fed with a handful of events whose KPI values were worked out by hand."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from stacks import onpace, output, rows

pytestmark = pytest.mark.e2e

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def event(name: str, time: str, data: object, kind: str = "order.placed") -> str:
    """One line of a file of events."""
    return json.dumps({"specversion": "1.0", "id": name, "source": "/t", "type": kind, "time": time, "data": data})


def order(name: str, time: str, amount: object, region: str = "EU") -> str:
    """An order as a line."""
    return event(name, time, {"user_id": "u1", "amount": amount, "region": region})


# Berlin is two hours ahead of UTC: the 5th of October begins at 22:00 of the 4th.
LINES = [
    *(event(f"c{n}", f"2026-10-05T10:0{n}:00Z", {"user_id": "u1"}, "checkout.started") for n in range(3)),
    order("o1", "2026-10-05T10:00:30Z", 10.10),
    order("o2", "2026-10-05T10:30:00Z", 20.20, "US"),
    order("o3", "2026-10-05T22:30:00Z", 5.05),
    order("o4", "2026-10-05T10:00:00Z", 1000, "test"),  # not revenue, but an order
    order("o1", "2026-10-05T10:00:30Z", 10.10),  # a duplicate
    order("o1", "2026-10-05T10:00:30Z", 99.99),  # the same id again: the first stands
    event("c3", "2026-10-06T10:00:00Z", {"user_id": "u1"}, "checkout.started"),
    order("o5", "2026-10-05T09:00:00Z", 1.01),  # a day late
    '{"specversion": "1.0", "id": "x1"',  # malformed
    order("x2", "2026-10-05T10:00:00Z", float("nan")),
    order("x3", "2026-10-05T10:00:00Z", -1),
    order("x4", "2099-01-01T00:00:00Z", 7),  # must not push the watermark
    order("x5", "2026-10-05T10:00:00", 7),  # a time without a zone
    event("x6", "2026-10-05T10:00:00Z", {}, "order.plcaed"),
    order("x7", "2026-10-05T10:00:00Z", 7, "x" * 5_000_000),
]
DEAD = {
    "malformed_json": 2,
    "schema_violation": 1,
    "time_in_future": 1,
    "invalid_time": 1,
    "unknown_type": 1,
    "too_large": 1,
}


@dataclass(frozen=True)
class Replayed:
    """A data folder, and what the replay into it said."""

    folder: Path
    file: Path
    message: str

    def query(self, kpi: str, *arguments: str) -> list[dict[str, Any]]:
        """`onpace query` of the 5th and 6th of October."""
        span = ("--start", "2026-10-05", "--end", "2026-10-07")
        return rows("query", kpi, "--data", self.folder / "data", *span, *arguments)


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> Replayed:
    """The README's KPI file and the lines above, replayed once."""
    folder = tmp_path_factory.mktemp("replay")
    (folder / "kpis").mkdir()
    [example] = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    (folder / "kpis" / "shop.yaml").write_text(example)
    file = folder / "events.jsonl"
    file.write_text("\n".join(LINES) + "\n")
    return Replayed(folder, file, replay(folder, file))


def replay(folder: Path, file: Path) -> str:
    """What `onpace up --replay --exit` prints."""
    done = onpace("up", "--data", folder / "data", "--kpis", folder / "kpis", "--replay", file, "--exit")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    return done.stderr


def test_the_replay_says_what_became_of_every_line(replayed: Replayed) -> None:
    """One line, and no alert: nobody is told about the past."""
    counts = f"{len(LINES)} events read, 9 accepted, 2 duplicates, {sum(DEAD.values())} dead letters; 4 KPIs evaluated"
    assert replayed.message == f"{replayed.file}: {counts}\n"


def test_the_values_are_those_worked_out_by_hand(replayed: Replayed) -> None:
    """By day in Berlin, late and duplicate events and all."""
    days = ["2026-10-04T22:00:00Z", "2026-10-05T22:00:00Z"]
    wanted = {"revenue": [31.31, 5.05], "conversion": [4 / 3, 1.0]}  # 4 orders of 3 checkouts, 1 of 1
    for kpi, values in wanted.items():
        found = [
            {"window_start": day, "value": value, "complete": True} for day, value in zip(days, values, strict=True)
        ]
        assert replayed.query(kpi) == found, kpi


def test_a_complete_window_without_events_is_zero_in_every_region(replayed: Replayed) -> None:
    """The US sold nothing on the 6th; the test region is filtered out."""
    found = [(row["window_start"], row["region"], row["value"]) for row in replayed.query("revenue", "--by", "region")]
    first, second = "2026-10-04T22:00:00Z", "2026-10-05T22:00:00Z"
    assert found == [(first, "EU", 11.11), (first, "US", 20.2), (second, "EU", 5.05), (second, "US", 0.0)]


def test_the_scorecard_judges_as_of_the_end_of_the_input(replayed: Replayed) -> None:
    """36 of 100,000 in a fifth of the month is off track; 5 orders of 4 checkouts are not."""
    document = json.loads(output("status", "--data", replayed.folder / "data", "--format", "json"))
    found = {row["kpi"]: row for row in document["kpis"]}
    assert (found["revenue"]["value"], found["revenue"]["period"]) == (36.36, "2026-10")
    assert (found["revenue"]["status"], found["conversion"]["status"]) == ("off_track", "on_track")
    assert found["conversion"]["value"] == 1.25
    assert found["revenue"]["complete_until"] == "2026-10-06T10:01:00+00:00"
    assert [(row["kpi"], row["link"]) for row in found["revenue"]["leading"]] == [("conversion", "link unproven")]


def test_every_bad_line_is_a_dead_letter_with_its_reason(replayed: Replayed) -> None:
    """And its bytes, five megabytes of them or not."""
    letters = rows("dlq", "list", "--data", replayed.folder / "data")
    reasons = [letter["reason"] for letter in letters]
    assert {reason: reasons.count(reason) for reason in reasons} == DEAD
    assert {letter["raw"] for letter in letters} == set(LINES[-7:])


def test_the_name_of_a_letter_is_never_cut_off(replayed: Replayed) -> None:
    """What `dlq list` prints is what `dlq show` takes."""
    data = replayed.folder / "data"
    lines = output("dlq", "list", "--data", data, "--reason", "unknown_type").splitlines()
    shown = output("dlq", "show", lines[1].split()[0], "--data", data)
    assert "did you mean 'order.placed'?" in shown
    assert LINES[-2] in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--by", "regoin"], "KPI 'revenue' has no dimension 'regoin' (did you mean 'region'?)"),
        (["--where", "channel=web"], "KPI 'revenue' has no dimension 'channel': its dimensions are region"),
    ],
)
def test_an_unknown_dimension_is_one_line(replayed: Replayed, arguments: list[str], message: str) -> None:
    """With a suggestion."""
    done = onpace("query", "revenue", "--data", replayed.folder / "data", *arguments)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {message}")
    assert done.stderr.count("\n") == 1


def test_the_same_file_again_changes_nothing(replayed: Replayed) -> None:
    """The broker has forgotten everything by then, and the store has not."""
    message = replay(replayed.folder, replayed.file)
    assert "0 accepted, 11 duplicates, 7 dead letters" in message
    assert [row["value"] for row in replayed.query("revenue")] == [31.31, 5.05]


CHANGED = """
  - name: order_count
    type: simple
    event: order.placed
    agg: count
    timezone: Europe/Berlin
    direction: higher_is_better
    role: leading
  - name: bought
    type: conversion
    base: {event: checkout.started}
    conversion: {event: order.placed}
    entity: user_id
    window: 1d
    timezone: Europe/Berlin
    direction: higher_is_better
    role: leading
"""


def with_other_kpis(replayed: Replayed, folder: Path) -> Path:
    """The example's KPI files and two KPIs more."""
    text = (replayed.folder / "kpis" / "shop.yaml").read_text()
    folder.mkdir()
    (folder / "shop.yaml").write_text(text.replace("\nkpis:", "\nkpis:" + CHANGED))
    assert "order_count" in (folder / "shop.yaml").read_text()
    return folder


def test_a_kpi_added_later_has_its_history_once_it_is_rebuilt(replayed: Replayed, tmp_path: Path) -> None:
    """By the command, from the archive; twice is harmless, and an unknown KPI is one line."""
    kpis = with_other_kpis(replayed, tmp_path / "kpis")
    data = ("--data", replayed.folder / "data", "--kpis", kpis)
    days = ("query", "order_count", "--start", "2026-10-05", "--end", "2026-10-07", *data)
    assert not any(row["complete"] for row in rows(*days))
    assert output("rebuild", "order_count", *data) == "rebuilt from the archive: order_count\n"
    assert [(row["value"], row["complete"]) for row in rows(*days)] == [(4, True), (1, True)]
    assert output("rebuild", *data) == "rebuilt from the archive: bought\n"
    conversions = rows("query", "bought", "--start", "2026-10-05", "--end", "2026-10-07", *data)
    assert [(row["value"], row["complete"]) for row in conversions] == [(1, True), (0, True)]
    assert output("rebuild", *data) == "nothing to rebuild\n"
    assert "unknown KPI 'order_cuont' (did you mean 'order_count'?)" in onpace("rebuild", "order_cuont", *data).stderr


def test_a_replay_with_another_kpi_ends_when_its_history_is_rebuilt(replayed: Replayed, tmp_path: Path) -> None:
    """`--exit` means that everything is there; where its history was not wanted, a KPI says that it is not complete."""
    kpis = with_other_kpis(replayed, tmp_path / "kpis")
    (kpis / "shop.yaml").write_text((kpis / "shop.yaml").read_text().replace("order_count", "counted_orders"))
    file = tmp_path / "more.jsonl"
    file.write_text(order("o9", "2026-10-06T10:00:00Z", 3) + "\n")
    data = ("--data", replayed.folder / "data", "--kpis", kpis)
    assert onpace("up", *data, "--replay", file, "--exit", "--no-backfill").returncode == 0
    days = rows("query", "counted_orders", "--start", "2026-10-05", "--end", "2026-10-07", *data)
    assert [(row["value"], row["complete"]) for row in days] == [(1, False)]
    assert onpace("up", *data, "--replay", file, "--exit").returncode == 0
    days = rows("query", "counted_orders", "--start", "2026-10-05", "--end", "2026-10-07", *data)
    assert [(row["value"], row["complete"]) for row in days] == [(4, True), (2, True)]
