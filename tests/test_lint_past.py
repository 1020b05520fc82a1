"""What the linter is told of the past is what a recount of the events says, through the real engine."""

from __future__ import annotations

import json
from collections import defaultdict
from datetime import date, timedelta
from random import Random
from zoneinfo import ZoneInfo

import pytest
from processors_fakes import START, Sent, catalog_of, log_of, order, ratio, simple, visit
from processors_world import drain, world
from reports_fakes import report, reported, reporting

from onpace.alerts.lint_evidence import with_past
from onpace.config.calendar import Grain, Period
from onpace.config.catalog import Catalog
from onpace.config.kpi import Target
from onpace.config.kpi_entities import BalanceKpi, ConversionKpi
from onpace.config.lint.evidence import Evidence, FieldFacts, PastValue, ReportFacts, RuleFacts
from onpace.config.rules import ActiveHours, MinVolume, ThresholdRule
from onpace.processors import archive_facts
from onpace.processors.archive_facts import arrived_events, field_facts, report_facts
from onpace.processors.clickhouse import ClickHouse
from onpace.processors.reader import Reader

BERLIN = ZoneInfo("Europe/Berlin")
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
DIMENSIONS = {"region": "region", "tier": "if(amount > 100, 'big', lower(nullif(region, 'US')))"}
CATALOG = catalog_of(
    simple("orders", "count", filter="region != 'test'", dimensions={"region": "region"}, timezone="Europe/Berlin"),
    simple("score", "avg", value="score * items", dimensions=DIMENSIONS, timezone="Europe/Berlin"),
    simple("never", "count", filter="region = 'Mars' AND amount > 1"),
    simple("visits", "count", event="site.visited", dimensions={"region": "region"}, timezone="Europe/Berlin"),
    ratio("conversion", "orders", "visits", timezone="Europe/Berlin"),
)


def events(seed: int = 7, count: int = 400) -> list[Sent]:
    """Orders and visits of three weeks, some fields null or absent, some events twice."""
    rng, found = Random(seed), list[Sent]()
    for at in range(count):
        time = START + 21 * DAY * rng.random()
        if rng.random() < 0.3:
            found.append(visit(f"v{at}", time, region=rng.choice(["EU", "US"])))
            continue
        fields = {
            "region": rng.choice(["EU", "US", "test", None]),
            "amount": rng.choice([5, 250.5]),
            "items": rng.choice([1, 2, 3]),
            "score": rng.choice([0.5, 1.5]),
        }
        kept = {name: value for name, value in fields.items() if name == "region" or rng.random() < 0.7}
        found.append(order(f"o{at}", time, **kept))
        if rng.random() < 0.1:
            found.append(found[-1])
    return sorted(found, key=lambda one: one.time)


def processed(store: ClickHouse, sent: list[Sent], catalog: Catalog = CATALOG) -> Reader:
    """A reader after the input was processed and finished."""
    logs = {0: log_of(sent, sent[-1].time + HOUR)}
    worker = world(store, catalog, logs)
    drain(worker, logs)
    worker.flush(input_end=sent[-1].time)
    return Reader(store, catalog)


def orders(sent: list[Sent]) -> list[dict[str, object]]:
    """The data of each order, once."""
    found = {one.id: json.loads(one.value) for one in sent if one.type == "order.placed"}
    return [event["data"] for event in found.values()]


def test_the_facts_about_fields_equal_a_recount(store: ClickHouse) -> None:
    """Null and absent are the same, duplicates count once, a null filter is false."""
    sent = events()
    processed(store, sent)
    rows = orders(sent)
    arrived = arrived_events(store)
    assert arrived == {"order.placed": len(rows), "site.visited": len({s.id for s in sent if s.type != "order.placed"})}
    facts = field_facts(store, CATALOG, arrived)
    regions = [row["region"] for row in rows]
    kept = [region for region in regions if region not in (None, "test")]
    assert facts["orders"] == FieldFacts(len(rows), len(kept), regions.count(None), 0, {"region": 0})
    scoreless = sum(row.get("score") is None or row.get("items") is None for row in rows)
    no_tier = sum(not (row.get("amount") or 0) > 100 and row["region"] in (None, "US") for row in rows)  # type: ignore[operator]
    assert facts["score"] == FieldFacts(
        len(rows), len(rows), 0, scoreless, {"region": regions.count(None), "tier": no_tier}
    )
    # 'Mars' is false for a region; for a null one, AND is false where the amount is 1 or less, else null
    unknown = sum(row["region"] is None for row in rows)
    assert facts["never"] == FieldFacts(len(rows), 0, unknown, 0, {})


def test_the_facts_about_the_parts_of_a_kpi_that_follows_entities_equal_a_recount(store: ClickHouse) -> None:
    """Each part by its own events; constant properties are judged like dimensions."""
    bought = ConversionKpi.model_validate(
        {
            "name": "bought",
            "type": "conversion",
            "direction": "higher_is_better",
            "role": "leading",
            "base": {"event": "site.visited"},
            "conversion": {"event": "order.placed", "filter": "items > 1"},
            "entity": "region",
            "window": "7d",
            "constant": ["region"],
            "dimensions": {"region": "region"},
        }
    )
    held = BalanceKpi.model_validate(
        {
            "name": "held",
            "type": "balance",
            "direction": "higher_is_better",
            "role": "lagging",
            "event": "order.placed",
            "entity": "user_id",
            "value": "amount",
        }
    )
    sent = events()
    catalog = Catalog(CATALOG.events, {**CATALOG.kpis, "bought": bought, "held": held})
    processed(store, sent, catalog)
    rows = orders(sent)
    facts = field_facts(store, catalog, arrived_events(store))
    visits = len({one.id for one in sent if one.type == "site.visited"})
    many = [row for row in rows if row.get("items") in (2, 3)]
    nowhere = sum(row["region"] is None for row in many)
    assert facts["bought.base"] == FieldFacts(visits, visits, 0, 0, {"=region": 0, "region": 0})
    without = sum(row.get("items") is None for row in rows)
    assert facts["bought.conversion"] == FieldFacts(len(rows), len(many), without, nowhere, {"=region": nowhere})
    free = sum(row.get("amount") is None for row in rows)
    assert facts["held.change"] == FieldFacts(len(rows), len(rows), 0, 0, {}, free)


def test_of_many_events_every_nth_is_looked_at(store: ClickHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that linting a large archive is quick."""
    sent = [order(f"o{at}", START + at * HOUR, region="EU") for at in range(300)]
    processed(store, sent)
    monkeypatch.setattr(archive_facts, "SAMPLE", 100)
    facts = field_facts(store, CATALOG, arrived_events(store))
    assert facts["orders"] == FieldFacts(100, 100, 0, 0, {"region": 0})


def test_events_that_never_came_have_no_facts(store: ClickHouse) -> None:
    """An empty archive is no error."""
    assert arrived_events(store) == {}
    assert field_facts(store, CATALOG, {}) == {}


def with_goals(*targets: Target, rule: ThresholdRule | None = None) -> Catalog:
    """The catalog, with targets for orders."""
    aimed = CATALOG.kpi("orders").model_copy(update={"targets": targets})
    rules = {rule.name: rule} if rule else {}
    return Catalog(CATALOG.events, {**CATALOG.kpis, "orders": aimed}, rules=rules)


def told(store: ClickHouse, sent: list[Sent], catalog: Catalog) -> Evidence:
    """What the linter would know."""
    reader = processed(store, sent, catalog)
    return with_past(Evidence(), catalog, reader, sent[-1].time + 30 * DAY)


def counted(sent: list[Sent], region: str | None = None) -> dict[date, int]:
    """Orders by day in Berlin, of all regions but test or of one."""
    days: defaultdict[date, set[str]] = defaultdict(set)
    for one in sent:
        found = one.data.get("region")
        if one.type == "order.placed" and (found == region if region else found not in (None, "test")):
            days[one.time.astimezone(BERLIN).date()].add(one.id)
    return {day: len(ids) for day, ids in days.items()}


def test_days_and_whole_periods_equal_a_recount(store: ClickHouse) -> None:
    """Weeks and days that the first or the last event cuts are left out."""
    sent = events()
    weekly = Target(every="week", value=1)
    in_eu = Target(every="week", value=1, by={"region": "EU"})
    evidence = told(store, sent, with_goals(weekly, in_eu))
    days = counted(sent)
    whole = [date(2026, 3, 29) + at * DAY for at in range(20)]
    assert evidence.daily["orders"] == {day: float(days.get(day, 0)) for day in whole}
    for by, region in (((), None), ((("region", "EU"),), "EU")):
        by_day = counted(sent, region)
        weeks = [Period.parse(f"2026-W{week}") for week in (14, 15)]  # 28 March is a Saturday, 17 April a Friday
        wanted = [
            PastValue(week, float(sum(by_day.get(week.first_day + at * DAY, 0) for at in range(7)))) for week in weeks
        ]
        assert evidence.past["orders", Grain.WEEK, by] == wanted
    assert evidence.segments == {("orders", "region"): frozenset({"EU", "US"})}


@pytest.mark.parametrize("increase", ["20%", 2])
def test_growth_equals_a_recount(increase: str | int, store: ClickHouse) -> None:
    """Over the day before, as a share of it or in orders; without a day before there is none."""
    sent = events()
    target = Target.model_validate({"every": "day", "increase": increase, "over": "previous"})
    evidence = told(store, sent, with_goals(target))
    days = counted(sent)
    wanted = {
        day: 100 * (days[day] - days[day - DAY]) / days[day - DAY] if increase == "20%" else days[day] - days[day - DAY]
        for day in (date(2026, 3, 30) + at * DAY for at in range(19))
    }
    found = {one.period.first_day: one.value for one in evidence.growth["orders", 0]}
    assert found == pytest.approx(wanted)


def test_a_rule_is_judged_over_its_past_windows(store: ClickHouse) -> None:
    """Only where it is active and its volume is there."""
    sent = events()
    rule = ThresholdRule(
        name="low",
        kpi="orders",
        when="threshold",
        below=3,
        grain=Grain.DAY,
        min_volume=MinVolume(kpi="visits", at_least=2),
        active=ActiveHours(days="mon-fri"),
    )
    evidence = told(store, sent, with_goals(rule=rule))
    visits: defaultdict[date, int] = defaultdict(int)
    for one in sent:
        visits[one.time.astimezone(BERLIN).date()] += one.type == "site.visited"
    found = counted(sent)
    judged = [
        found.get(day, 0)
        for day in (sent[0].time.astimezone(BERLIN).date() + at * DAY for at in range(23))
        if day.weekday() < 5 and visits[day] >= 2
    ]
    assert evidence.rules == {"low": RuleFacts(len(judged), sum(value < 3 for value in judged))}


def test_what_is_not_complete_yet_is_no_past(store: ClickHouse) -> None:
    """The watermark has passed most of the last week and an hour of the last day; the first day began at 04:00."""
    sent = [order(f"o{at}", START + (3 + at) * HOUR, region="EU") for at in range(20 * 24)]
    catalog = with_goals(Target(every="week", value=1))
    logs = {0: log_of(sent, sent[-1].time + HOUR)}
    worker = world(store, catalog, logs)
    drain(worker, logs)
    evidence = with_past(Evidence(), catalog, Reader(store, catalog), sent[-1].time + HOUR)
    assert [str(one.period) for one in evidence.past["orders", Grain.WEEK, ()]] == ["2026-W14", "2026-W15"]
    days = list(evidence.daily["orders"])
    assert (days[0], days[-1]) == (date(2026, 3, 29), date(2026, 4, 16))


def test_a_kpi_without_values_has_no_past(store: ClickHouse) -> None:
    """It is new in the files: nothing is made up."""
    processed(store, events())
    new = simple("new", "count", filter="region = 'EU'", targets=[Target(every="week", value=1)])
    catalog = Catalog(CATALOG.events, {**CATALOG.kpis, "new": new})
    evidence = with_past(Evidence(), catalog, Reader(store, catalog), START + 60 * DAY)
    assert ("new", Grain.WEEK, ()) not in evidence.past
    assert "new" not in evidence.daily


def test_reports_are_explained_or_not_and_their_periods_are_a_past(store: ClickHouse) -> None:
    """Of a corrected value only the last report counts."""
    monthly = Target(every="month", value=50)
    catalog = reporting(
        reported("nps", dimensions=["region"], merge="avg", targets=[monthly]), reported("never"), reported("margin")
    )
    sent = [
        report("a", "nps", "2026-01", 30, source="survey", note="by mail"),
        report("b", "nps", "2026-02", 33, source="survey", at=1),
        report("c", "nps", "2026-02", 35, source="survey", note="by telephone", at=2),
        report("d", "nps", "2026-03", 40, by={"region": "EU"}, note="by mail", at=3),
        report("e", "nps", "2026-03", 50, by={"region": "US"}, source="survey", note="by mail", at=4),
        report("f", "margin", "2026-02", 0.5, at=5),
    ]
    reader = processed(store, sent, catalog)
    assert report_facts(store, catalog) == {
        "nps": ReportFacts(4, 1, 0, "2026-03"),
        "margin": ReportFacts(1, 1, 1, "2026-02"),
    }
    facts = field_facts(store, catalog, arrived_events(store))
    evidence = with_past(Evidence(fields=facts), catalog, reader, sent[-1].time + 2 * DAY)
    months = [(str(one.period), one.value) for one in evidence.past["nps", Grain.MONTH, ()]]
    assert months == [("2026-01", 30.0), ("2026-02", 35.0)]  # those of regions make no total
    assert evidence.daily == {}
