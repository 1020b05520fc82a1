"""The scorecard of a shop that sells once a day, worked out by hand, over a fake store and over the real stack.

An order each day at noon, from 1 September to 15 November: 30 EUR in September (30 days, 900), 36 in October (31 days,
1,116), 50 in November (15 days, 750); every second one in the EU. Each tenth is refunded: 3, 4 and 1 of them. It is
12:01 on 15 November.

What is due of November by then is learned from September and October: (14 + 1/60) of 30 orders at the same point of
September (a minute into the hour of the order), 15 of 31 in October, 0.4755 on average. Of the quarter, with no other
to learn from, 45.5007 days of 92 are due, 0.4946.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from alerts_fakes import Event, FakeReader, MemoryHistory, MemoryNotifier
from rich.console import Console
from stacks import Up, onpace, output, until

from onpace.alerts.engine import Engine
from onpace.alerts.scorecard import Scorecard, Selection, Trend
from onpace.alerts.scorecard_reading import ScorecardReader
from onpace.alerts.scorecard_text import scorecard_document, scorecard_markdown, scorecard_table
from onpace.config.calendar import Period
from onpace.config.kpi import SimpleKpi
from onpace.config.loader import load_catalog

GOLDEN = Path(__file__).parent / "golden"
SHOP = GOLDEN / "shop.yaml"
NOW = datetime(2025, 11, 15, 12, 1, tzinfo=UTC)
FIRST = datetime(2025, 9, 1, 12, tzinfo=UTC)
AMOUNTS = {9: 30, 10: 36, 11: 50}
DUE_OF_NOVEMBER = ((14 + 1 / 60) / 30 + 15 / 31) / 2
DUE_OF_QUARTER = (31 + 14.5 + 1 / 1440) / 92


def orders() -> Iterator[tuple[int, datetime, float, str]]:
    """Number, time, amount and region of every order."""
    number = 0
    while (at := FIRST + timedelta(days=number)) < NOW:
        yield number, at, AMOUNTS[at.month], "EU" if number % 2 else "US"
        number += 1


class Fake:
    """An engine over a fake reader."""

    def __init__(self, file: Path = SHOP) -> None:
        self.catalog = load_catalog(file, {})
        placed = [Event(at, {"region": region}, amount) for _, at, amount, region in orders()]
        refunded = [Event(at) for number, at, *_ in orders() if number % 10 == 0]
        self.events = {"order.placed": placed, "order.refunded": refunded}
        self.reader = Filtered(self.catalog, self.events, NOW)
        self.found = Engine(self.catalog, self.reader, MemoryHistory(), MemoryNotifier()).preview(NOW, live=False)

    def card(self, period: str, **whose: str) -> Scorecard:
        """The scorecard of a period."""
        return ScorecardReader(self.catalog, self.reader, self.found.statuses).read(
            Selection(Period.parse(period), NOW, **whose)
        )

    def document(self, period: str, **whose: str) -> dict[str, Any]:
        """As JSON."""
        found: dict[str, Any] = json.loads(json.dumps(scorecard_document(self.card(period, **whose)), allow_nan=False))
        return found


class Filtered(FakeReader):
    """Calls are orders of the EU."""

    def values(self, kpi: str, spans: Any, where: Any = {}) -> list[float | None]:  # noqa: B006
        """A recount, with the filter of `calls` as a condition."""
        return super().values(kpi, spans, {"region": "EU"} if kpi == "calls" else where)


@pytest.fixture(scope="module")
def fake() -> Fake:
    """One for all: nothing changes it."""
    return Fake()


def part(document: dict[str, Any], kind: str, name: str) -> dict[str, Any]:
    """The objective or KPI of that name."""
    found = [one for section in document["perspectives"] for one in section[f"{kind}s"] if one[kind] == name]
    [one] = found
    return one


def test_a_kpi_has_value_target_attainment_status_and_trend(fake: Fake) -> None:
    """A fifth over October's 1,116 is 1,339.20."""
    revenue = part(fake.document("2025-Q4"), "kpi", "revenue")
    assert (revenue["period"], revenue["value"], revenue["baseline"]) == ("2025-11", 750, 1116)
    assert revenue["target"] == pytest.approx(1339.2)
    assert revenue["expected"] == pytest.approx(1339.2 * DUE_OF_NOVEMBER)
    way = (750 - 1116 * DUE_OF_NOVEMBER) / (223.2 * DUE_OF_NOVEMBER)
    assert revenue["attainment"] == pytest.approx(way)
    assert revenue["guardrails"] == "but guardrail Refund rate is off track"  # 1 of 15 is more than 5 %
    assert revenue["trend"] == {  # 15 orders by the same point of October
        "period": "2025-10",
        "value": pytest.approx(540),
        "change": pytest.approx(750 / 540 - 1),
        "relative": True,
        "better": True,
    }


def test_an_objective_is_the_mean_of_its_key_results(fake: Fake) -> None:
    """Revenue is past its way at this pace and counts as 1; refunds, twice as heavy, are at 0.05 of 5/46."""
    objective = part(fake.document("2025-Q4"), "objective", "grow-q4")
    revenue, refunds = objective["key_results"]
    assert revenue["value"] == 1116 + 750
    assert revenue["progress"] == pytest.approx((1866 - 3000 * DUE_OF_QUARTER) / (600 * DUE_OF_QUARTER))
    assert (revenue["share"], refunds["progress"]) == (1, pytest.approx(0.05 / (5 / 46)))
    assert objective["progress"] == pytest.approx((1 + 2 * 0.46) / 3)
    assert (objective["status"], objective["final"]) == ("off_track", False)
    assert objective["reason"] == "off track: 1 of 2 key results reached"


def test_an_objective_whose_period_is_over_is_graded_for_good(fake: Fake) -> None:
    """16 of the 31 orders of October were in the US; 15 x 36 in the EU are half of 1,080, and 0.7 was wanted."""
    objective = part(fake.document("2025-Q4"), "objective", "eu-october")
    assert objective["key_results"][0]["value"] == 540
    assert (objective["progress"], objective["status"], objective["final"]) == (0.5, "missed", True)


def test_an_objective_without_key_results_takes_the_kpis_that_name_it(fake: Fake) -> None:
    """And their headline targets: 0.05 of 1/15 is three quarters, which is enough for an aspiration."""
    objective = part(fake.document("2025-Q4"), "objective", "happy")
    assert (objective["progress"], objective["status"]) == (pytest.approx(0.75), "on_track")
    october = part(fake.document("2025-10"), "objective", "happy")
    assert (october["progress"], october["status"]) == (pytest.approx(0.05 / (4 / 31)), "missed")


def test_an_objective_that_is_over_goes_by_the_targets_of_its_last_days(tmp_path: Path) -> None:
    """The same for October only: 0.05 of 4/31, whatever November is like."""
    file = tmp_path / "shop.yaml"
    file.write_text(SHOP.read_text().replace("kind: aspirational, perspective", "period: 2025-10, perspective"))
    objective = part(Fake(file).document("2025-Q4"), "objective", "happy")
    assert objective["key_results"][0]["period"] == "2025-10"
    assert (objective["progress"], objective["status"]) == (pytest.approx(0.05 / (4 / 31)), "missed")
    assert objective["final"]


def test_a_past_period_is_shown_as_it_ended(fake: Fake) -> None:
    """October in October's scorecard, November nowhere."""
    document = fake.document("2025-10")
    revenue, refunds = part(document, "kpi", "revenue"), part(document, "kpi", "refunds")
    assert (revenue["value"], revenue["target"], revenue["status"]) == (1116, 1080, "met")
    assert revenue["attainment"] == pytest.approx((1116 - 900) / 180)
    assert revenue["trend"]["change"] == pytest.approx(0.24)
    assert (refunds["value"], refunds["status"], refunds["period"]) == (4, "no_target", "2025-10")
    assert refunds["trend"] == {"period": "2025-09", "value": 3, "change": 1 / 3, "relative": True, "better": False}
    assert document["as_of"] == "2025-11-01T00:00:00+00:00"


def test_a_quarter_that_is_over_shows_the_last_of_its_months(fake: Fake) -> None:
    """September's value; without August there is nothing that its target could be an increase over."""
    revenue = part(fake.document("2025-Q3"), "kpi", "revenue")
    assert (revenue["period"], revenue["value"], revenue["status"]) == ("2025-09", 900, "no_data")
    assert revenue["trend"] is None


def test_an_objective_in_a_part_of_its_period_is_judged_as_of_then(fake: Fake) -> None:
    """At the end of October a third of the quarter was due: 1,116 of 3,600 x 31/92."""
    revenue = part(fake.document("2025-10"), "objective", "grow-q4")["key_results"][0]
    due = 31 / 92
    assert (revenue["value"], revenue["expected"]) == (1116, pytest.approx(3600 * due))
    assert revenue["progress"] == pytest.approx((1116 - 3000 * due) / (600 * due))


def names(document: dict[str, Any]) -> set[str]:
    """Every KPI and objective on it."""
    return {
        one.get("objective") or one["kpi"]
        for section in document["perspectives"]
        for one in [*section["objectives"], *section["kpis"]]
    }


def test_it_can_be_that_of_an_owner_or_a_team(fake: Fake) -> None:
    """What is individual is on that of its owner only."""
    shared = {"grow-q4", "happy", "eu-october", "revenue", "orders", "order_value", "refunds", "refund_rate"}
    assert names(fake.document("2025-Q4")) == shared
    assert names(fake.document("2025-Q4", team="shop")) == {"grow-q4", "revenue"}
    assert names(fake.document("2025-Q4", owner="export")) == {"eu-october"}
    assert names(fake.document("2025-Q4", owner="anna")) == {"annas", "calls"}
    annas = part(fake.document("2025-Q4", owner="anna"), "objective", "annas")
    assert annas["progress"] == pytest.approx(23 / (50 * DUE_OF_QUARTER))


def test_the_perspectives_come_in_the_order_of_the_method(fake: Fake) -> None:
    """What names none comes last; an objective without one goes with its key results."""
    document = fake.document("2025-Q4")
    assert [section["perspective"] for section in document["perspectives"]] == [
        "financial",
        "customer",
        "process",
        "other",
    ]
    financial = document["perspectives"][0]["objectives"]
    assert [one["objective"] for one in financial] == ["grow-q4", "eu-october"]


def plain(card: Scorecard) -> str:
    """What a terminal of 400 columns shows."""
    console = Console(width=400, file=io.StringIO(), record=True)
    console.print(scorecard_table(card))
    return console.export_text()


def lines(text: str) -> list[str]:
    """Without what a table is filled up with."""
    return [line.rstrip() for line in text.splitlines()]


def test_it_is_the_golden_markdown(fake: Fake) -> None:
    """Ready for a weekly report."""
    assert scorecard_markdown(fake.card("2025-Q4")) == (GOLDEN / "scorecard.md").read_text(encoding="utf-8")


def test_a_value_from_zero_has_no_relative_trend() -> None:
    """Ratios and points change by points, and so does what was 0; a change within a range is neither good nor bad."""
    period = Period.parse("2025-10")

    def change(before: float | None, now: float, **kpi: str) -> tuple[float | None, bool, bool | None]:
        given = {"name": "x", "event": "e", "agg": "count", "direction": "higher_is_better", "role": "leading"}
        trend = Trend.between(before, now, period, SimpleKpi.model_validate(given | kpi))
        return trend.change, trend.relative, trend.better

    assert change(50, 60) == (0.2, True, True)
    assert change(0, 60) == (60, False, True)
    assert change(-10, -20) == (-10, False, False)
    assert change(0.5, 0.25, unit="ratio", direction="lower_is_better") == (-0.25, False, True)
    assert change(40, 43, unit="points") == (3, False, True)
    assert change(50, 60, direction="in_range") == (0.2, True, None)
    assert change(None, 60) == (None, False, None)
    assert change(5, 5) == (0, True, None)


def event(name: str, kind: str, at: datetime, data: dict[str, Any]) -> str:
    """One line of a file of events."""
    about = {"specversion": "1.0", "id": name, "source": "/t", "type": kind, "time": at.isoformat()}
    return json.dumps(about | {"data": data}) + "\n"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same shop, replayed through broker, processor, store and engine."""
    folder = tmp_path_factory.mktemp("shop")
    (folder / "kpis").mkdir()
    (folder / "kpis" / "shop.yaml").write_text(SHOP.read_text(encoding="utf-8"))
    sent = [
        event(f"o{n}", "order.placed", at, {"amount": amount, "region": where}) for n, at, amount, where in orders()
    ]
    sent += [event(f"r{n}", "order.refunded", at, {"amount": 1}) for n, at, *_ in orders() if n % 10 == 0]
    replay(folder, sent)
    return folder


def replay(folder: Path, sent: list[str]) -> None:
    """Feed, evaluate, stop."""
    file = folder / "events.jsonl"
    file.write_text("".join(sent))
    done = onpace("up", "--data", folder / "data", "--kpis", folder / "kpis", "--replay", file, "--exit")
    assert done.returncode == 0, done.stderr


def scorecard(folder: Path, *arguments: object) -> str:
    """What the command prints."""
    return output("scorecard", "--data", folder / "data", *arguments)


@pytest.mark.e2e
def test_the_command_prints_what_was_worked_out(shop: Path, fake: Fake) -> None:
    """From the real store, in all three forms."""
    assert scorecard(shop, "--format", "markdown") == (GOLDEN / "scorecard.md").read_text(encoding="utf-8")
    assert lines(scorecard(shop, "--period", "2025-Q4")) == lines(plain(fake.card("2025-Q4")))
    for period in ("2025-Q4", "2025-10", "2025-Q3"):
        assert json.loads(scorecard(shop, "--period", period, "--format", "json")) == approximately(
            fake.document(period)
        )


def approximately(value: Any) -> Any:
    """The same, but for the last digits of floats."""
    if isinstance(value, dict):
        return {key: approximately(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [approximately(inner) for inner in value]
    return pytest.approx(value, rel=1e-9) if isinstance(value, float) else value


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--owner", "ana"], "no KPI or objective has owner 'ana' (did you mean 'anna'?)"),
        (["--team", "x"], "no KPI or objective has team 'x': there are shop"),
        (["--period", "2025-13"], "--period: '2025-13' is not a period"),
        (["--period", "2026"], "2026 begins after 2025-11-15 12:01 UTC"),
    ],
)
def test_a_mistake_is_one_line(shop: Path, arguments: list[str], message: str) -> None:
    """That says what to do."""
    done = onpace("scorecard", "--data", shop / "data", *arguments)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {message}")
    assert done.stderr.count("\n") == 1


@pytest.mark.e2e
def test_status_and_scorecard_of_an_owner_hold_what_is_individual(shop: Path) -> None:
    """And of nobody else."""
    assert "Calls" not in output("status", "--data", shop / "data")
    assert "Calls" in output("status", "--data", shop / "data", "--owner", "anna")
    assert "Anna's goal" in scorecard(shop, "--owner", "anna")


@pytest.mark.e2e
def test_a_target_that_changes_leaves_the_past_as_it_was(shop: Path) -> None:
    """100 orders a month from now on: October keeps its 30, November has the 100. It changes the shop."""
    file = shop / "kpis" / "shop.yaml"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("targets: [{every: month, value: 30}]", "targets: [{every: month, value: 100}]"))
    more = [event(f"late{n}", "order.placed", NOW + timedelta(days=n), {"amount": 50}) for n in range(1, 20)]
    replay(shop, more)

    def seen(period: str) -> tuple[float, float, str]:
        orders = part(json.loads(scorecard(shop, "--period", period, "--format", "json")), "kpi", "orders")
        return orders["value"], orders["target"], orders["status"]

    assert [seen(period) for period in ("2025-10", "2025-11")] == [(31, 30, "met"), (30, 100, "missed")]


@pytest.mark.e2e
def test_the_running_stack_serves_it(shop: Path, fake: Fake) -> None:
    """Beside its status page and to the command; nobody's individual goals are in it.

    Last: it judges the shop by the clock, to which all of it is long past.
    """
    up = Up(shop / "data", "--kpis", shop / "kpis").until_ready()
    try:
        page = up.address("status page")

        def asked(**parameters: str) -> httpx.Response:
            return httpx.get(f"{page}/api/scorecard", params=parameters, timeout=20)

        until(lambda: asked().status_code == 200, "the first evaluation")
        document = asked(period="2025-10").json()
        assert names(document) == names(fake.document("2025-10"))
        assert part(document, "kpi", "revenue") == approximately(part(fake.document("2025-10"), "kpi", "revenue"))
        assert names(asked(period="2025-10", team="shop").json()) == {"grow-q4", "revenue"}
        assert json.loads(scorecard(shop, "--period", "2025-10", "--format", "json")) == approximately(document)
        assert [asked(period=period).status_code for period in ("2025-13", "2999")] == [422, 422]
    finally:
        assert up.stop() == 0
