"""Which segments a message names: chosen, read and kept, and that reading them never holds up a message."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from alerts_fakes import Event, MemoryNotifier, at, catalog_of, simple
from processors_fakes import REGION, START, log_of, order
from processors_fakes import catalog_of as real_catalog_of
from processors_fakes import simple as real_simple
from processors_world import drain, world
from test_engine import HOUR, World, hourly, off_pace

from onpace.alerts.contributions import breakdown
from onpace.alerts.engine import Engine
from onpace.alerts.evidence import READS, Evidence
from onpace.alerts.history import ClickHouseHistory
from onpace.alerts.quantities import difference
from onpace.alerts.segment_words import best_of, explained, words
from onpace.config.catalog import Catalog
from onpace.config.kpi import RatioKpi
from onpace.config.rules import Channel, PaceRule, ThresholdRule
from onpace.processors.clickhouse import ClickHouse
from onpace.processors.reader import Reader

CHANNELS = [Channel(name="ops", type="alertmanager", url="http://localhost:9093")]
"""What fires is told there again and again."""
BAD = at("2026-11-11")
Amounts = Mapping[str | None, float]


def sales(end: str, value: Callable[[datetime, str], float], begin: str = "2026-09-01") -> list[Event]:
    """One event an hour and region."""
    found: list[Event] = []
    for region in ("EU", "US"):
        found += hourly(begin, end, lambda moment, name=region: value(moment, name), region=region)  # type: ignore[misc]
    return found


def halved(moment: datetime, region: str) -> float:
    """60 an hour in the EU and 40 in the US; the EU has half of it from some day on."""
    return 40.0 if region == "US" else 30.0 if moment >= BAD else 60.0


def shop(**kpi: Any) -> Catalog:
    """Revenue by region, with a monthly target of 72,000."""
    given = {"title": "Revenue", "unit": "EUR", "dimensions": {"region": "region"}} | kpi
    return catalog_of([simple(targets=[{"every": "month", "value": 72_000}], **given)], [off_pace()], channels=CHANNELS)


def firing(catalog: Catalog | None = None, **more: Any) -> World:
    """A world in which revenue has just been found off pace."""
    place = World(catalog or shop(), sales("2026-12-20", halved, **more), "2026-11-01")
    place.run("2026-11-01 12:00", "2026-11-14")
    assert place.told() == [("revenue-off-pace", "firing")]
    return place


def reads(place: World) -> int:
    """How often segments were read."""
    return sum(query.startswith("segments") for query in place.reader.queries)


def said(place: World) -> str:
    """What the last message, or the last re-send, says of segments."""
    return place.notifier.firing[-1].annotations.get("segments", "")


def test_segments_are_read_once_and_kept_while_it_fires() -> None:
    """Again after five minutes where the value has changed, after an hour where it has not."""
    place = World(shop(grain="1d", timezone="UTC"), sales("2026-12-20", halved), "2026-11-01")
    place.run("2026-11-01 12:00", "2026-11-16")
    assert place.told() == [("revenue-off-pace", "firing")]
    seen = reads(place)
    for minute in range(10, 60, 10):
        place.look(at("2026-11-16") + timedelta(minutes=minute))
    assert reads(place) == seen
    place.look("2026-11-16 01:00")
    assert reads(place) == seen + 1
    hours = firing()
    seen, before = reads(hours), said(hours)
    hours.look("2026-11-14 00:01")
    hours.look("2026-11-14 00:59")
    assert (reads(hours), said(hours)) == (seen, before)
    hours.look("2026-11-14 01:00")
    assert reads(hours) == seen + 1
    assert said(hours) != before


def test_what_changes_each_minute_is_read_every_five() -> None:
    """Not with every re-send."""
    place = firing(shop(grain="1min"))
    seen = reads(place)
    for minute in range(1, 11):
        place.reader.events["order.placed"].append(Event(at("2026-11-14") + timedelta(minutes=minute - 0.5), {}, 1.0))
        place.look(at("2026-11-14") + timedelta(minutes=minute))
    assert reads(place) == seen + 2


def test_nothing_is_read_for_what_nobody_hears_of() -> None:
    """Pending alerts, rules without channels, KPIs without dimensions and those that do not add up."""
    quiet = catalog_of(list(shop().kpis.values()), [off_pace(notify=[])], channels=CHANNELS)
    place = World(quiet, sales("2026-12-20", halved), "2026-11-01")
    place.run("2026-11-01 12:00", "2026-11-14")
    assert place.alert("2026-11").state == "firing"
    waiting = World(
        catalog_of(list(quiet.kpis.values()), [off_pace(**{"for": "30d"})]), sales("2026-12-20", halved), "2026-11-01"
    )
    waiting.run("2026-11-01 12:00", "2026-11-14")
    assert waiting.alert("2026-11").state == "pending"
    flat = firing(shop(dimensions={}))
    assert [reads(one) for one in (place, waiting, flat)] == [0, 0, 0]


def test_a_store_that_fails_makes_a_message_without_segments() -> None:
    """It is sent all the same, and what still fires is told with them as soon as they can be read."""
    place = World(shop(), sales("2026-12-20", halved), "2026-11-01")
    place.reader.broken_segments = True
    place.run("2026-11-01 12:00", "2026-11-14")
    [one] = place.notifier.sent
    assert "segments" not in one.annotations
    assert "26,400 EUR" not in one.annotations["description"]
    place.reader.broken_segments = False
    place.look("2026-11-14 00:01")
    assert said(place).startswith("Region EU explains all of the gap")


def test_a_flood_is_read_for_bit_by_bit() -> None:
    """So many in one evaluation; all are told at once."""
    shops = [f"s{number}" for number in range(READS + 5)]
    events = [
        Event(moment, {"shop": name, "region": region}, 40.0 if moment < BAD else 5.0)
        for name in shops
        for region in ("EU", "US")
        for moment in (at("2026-11-01") + timedelta(hours=12 * step) for step in range(24))
    ]
    kpi = simple(dimensions={"shop": "shop", "region": "region"}, grain="1d", unit="EUR")
    rule = ThresholdRule.model_validate(
        {
            "name": "low",
            "kpi": "revenue",
            "when": "threshold",
            "below": 100,
            "grain": "day",
            "by": ["shop"],
            "max_alerts": 100,
            "notify": ["ops"],
        }
    )
    place = World(catalog_of([kpi], [rule], channels=CHANNELS), events, "2026-11-10")
    place.run("2026-11-10", "2026-11-11", every=24 * HOUR)
    place.reader.queries.clear()
    place.look("2026-11-12")
    assert len(place.notifier.sent) == len(shops)
    assert sum("segments" in one.annotations for one in place.notifier.sent) == READS
    place.look("2026-11-12 00:01")
    assert all("segments" in one.annotations for one in place.notifier.firing)
    assert reads(place) == len(shops)


def test_without_a_whole_period_the_one_before_is_the_reference_as_far_as_it_was_seen() -> None:
    """And is said to be so; without anything before there is no reference."""
    assert said(firing(begin="2026-10-10")).endswith(
        "Expected of each in proportion to October 2026 up to the same point, which was not seen whole"
    )
    assert said(firing(begin="2026-11-01")) == ""


def test_what_does_not_make_up_the_value_is_not_told() -> None:
    """Late events came between the judgement and the reading, or a KPI does not add up as it should."""
    place = World(shop(), sales("2026-12-20", halved), "2026-11-01")
    recount = place.reader.segments

    def doubled(*given: Any, **more: Any) -> Any:
        return [
            {key: (2 * amount, divisor) for key, (amount, divisor) in one.items()} for one in recount(*given, **more)
        ]

    place.reader.segments = doubled  # type: ignore[method-assign]
    place.run("2026-11-01 12:00", "2026-11-14")
    assert said(place) == ""


def test_a_gap_to_the_good_is_not_explained() -> None:
    """A threshold that is broken as always: against its usual there is nothing to explain."""
    rule = ThresholdRule.model_validate(
        {"name": "low", "kpi": "revenue", "when": "threshold", "below": 5000, "grain": "day", "notify": ["ops"]}
    )
    place = World(
        catalog_of(list(shop().kpis.values()), [rule], channels=CHANNELS),
        sales("2026-12-20", lambda m, _: (m - at("2026-08-31")).days),
        "2026-11-01",
    )
    place.run("2026-11-01 12:00", "2026-11-09")
    assert place.told() == [("low", "firing")]
    assert said(place) == ""


def test_the_name_of_an_individual_kpi_stays_with_its_owner() -> None:
    """Also where it is what a ratio is divided by."""
    mine = simple(
        "calls",
        title="Calls of Ada",
        agg="count",
        value=None,
        event="call.made",
        level="individual",
        owner="ada",
        dimensions={"region": "region"},
    )
    orders = simple("orders", agg="count", value=None, dimensions={"region": "region"})
    ratio = {
        "name": "per_call",
        "type": "ratio",
        "numerator": "orders",
        "denominator": "calls",
        "direction": "higher_is_better",
        "role": "leading",
    }
    shared = RatioKpi.model_validate(ratio | {"targets": [{"every": "month", "value": 1.0}]})
    rule = PaceRule.model_validate({"name": "off", "kpi": "per_call", "when": "pace", "notify": ["ops"]})
    eu = [
        Event(m + timedelta(minutes=k), {"region": "EU"})
        for m in (at("2026-10-01") + HOUR * h for h in range(1100))
        for k in range(2)
    ]
    us = [Event(m, {"region": "US"}) for m in (at("2026-10-01") + HOUR * h for h in range(1100))]
    calls = [*eu, *(Event(e.time + timedelta(minutes=1), e.dims) for e in us for _ in range(1 if e.time < BAD else 9))]
    place = World(
        catalog_of([mine, orders, shared], [rule], channels=CHANNELS), [*eu, *us], "2026-11-01", call_made=calls
    )
    place.run("2026-11-01 12:00", "2026-11-13")
    assert place.told() == [("off", "firing")]
    assert "Calls" not in place.notifier.sent[0].annotations["description"]
    assert said(place)


def split(now: Amounts, past: Amounts, dimension: str = "region", expected: float | None = None) -> Any:
    """A breakdown of amounts."""
    drawn = [{(key,): (amount, 0.0) for key, amount in each.items()} for each in (now, past)]
    found = breakdown(dimension, drawn[0], drawn[1:], ratio=False, expected=expected)
    assert found is not None
    return found


def sentence(*breakdowns: Any) -> str:
    """What is said of the best of them."""
    best = best_of(breakdowns)
    assert best is not None
    return words(best, unit="EUR", divisor="events", against="the day before").split(". ")[0]


@pytest.mark.parametrize(
    ("now", "past", "told"),
    [
        ({"EU": 40, "US": 98}, {"EU": 100, "US": 100}, "Region EU explains 97 % of the gap (−60 EUR)"),
        (
            {"EU": 50, "US": 60, "ASIA": 300},
            {"EU": 100, "US": 100, "ASIA": 305},
            "Region EU explains 53 % of the gap (−50 EUR), region US 42 % of the gap (−40 EUR)",
        ),
        (
            {"EU": 10, "US": 140},
            {"EU": 100, "US": 100},
            "Region EU explains more than all of the gap (−90 EUR); region US makes up for some of it (+40 EUR)",
        ),
        ({None: 1, "": 100}, {None: 50, "": 100}, "Region (null) explains all of the gap (−49 EUR)"),
        ({"": 1, "US": 100}, {"": 50, "US": 100}, "Region (empty) explains all of the gap (−49 EUR)"),
        (
            {"__other__": 1, "US": 100},
            {"__other__": 50, "US": 100},
            "Other values of region explains all of the gap (−49 EUR)",
        ),
        (
            {"EU": 45, "US": 5},
            {"EU": 90, "US": 10},
            "No segment stands out: region EU has 90 % of the gap (−45 EUR) and 90 % of what was to be expected",
        ),
        ({"EU": 100, "US": 150}, {"EU": 100, "US": 50}, "Region US explains all of the gap (+100 EUR)"),
    ],
)  # fmt: skip
def test_how_segments_are_told(now: Amounts, past: Amounts, told: str) -> None:
    """One, several, offsetting, without a value, beyond the ceiling, none that stands out, and a gap upwards."""
    assert sentence(split(now, past)) == told


def test_the_dimension_that_says_most_is_chosen() -> None:
    """Not the one whose one large segment has most of everything, and not one of many small ones."""
    large = split({"EU": 900, "US": 50}, {"EU": 1000, "US": 50}, "region")
    telling = split({"web": 400, "app": 550}, {"web": 500, "app": 550}, "channel")
    many = split({f"u{n}": 9.5 for n in range(100)}, {f"u{n}": 10.5 for n in range(100)}, "user")
    assert sentence(large, many, telling) == "Channel web explains all of the gap (−100 EUR)"
    assert best_of([large, many]).breakdown is large  # type: ignore[union-attr]


def test_one_segment_or_no_gap_explains_nothing() -> None:
    """The whole is no explanation of itself."""
    assert explained(split({"EU": 5}, {"EU": 10})) is None
    assert explained(split({"EU": 5, "US": 10}, {"EU": 10, "US": 5})) is None


def test_a_dashboard_of_the_kpi_beats_that_of_the_settings() -> None:
    """Both with their places filled in."""
    place = World(shop(dashboard="https://bi.example.com/{kpi}/{period}"), sales("2026-12-20", halved), "2026-11-01")
    place.dashboard_url = "https://bi.example.com/all?rule={rule}&kpi={kpi}&a={from}..{to}"
    place.restart()
    place.run("2026-11-01 12:00", "2026-11-14")
    assert place.notifier.sent[0].annotations["dashboard"] == "https://bi.example.com/revenue/2026-11"
    place.restart(shop())
    place.look("2026-11-14 01:00")
    assert place.notifier.firing[0].annotations["dashboard"] == (
        "https://bi.example.com/all?rule=revenue-off-pace&kpi=revenue&a=1793491200000..1796083200000"
    )


def test_off_pace_segments_of_a_real_store_are_those_of_a_recount(store: ClickHouse) -> None:
    """From events through the processors, the store and the engine to the words of the message."""
    rng, late = random.Random(1), START + timedelta(days=40)
    sent = []
    for number in range(3000):
        time = START + timedelta(seconds=rng.randint(0, 50 * 86_400))
        region = rng.choice(["EU", "US", None])
        if region == "EU" and time > late and rng.random() < 0.9:
            continue
        sent.append(order(str(number), time, region=region, amount=rng.randint(100, 9_900) / 100))
    kpi = real_simple(
        "revenue", "sum", value="amount", dimensions=REGION, grain="1h", unit="EUR",
        targets=[{"every": "week", "value": 21_000}],
    )  # fmt: skip
    rule = PaceRule.model_validate({"name": "off", "kpi": "revenue", "when": "pace", "notify": ["ops"]})
    found = real_catalog_of(kpi)
    catalog = Catalog(events=found.events, kpis=found.kpis, rules={"off": rule}, channels={c.name: c for c in CHANNELS})
    now = START + timedelta(days=50)
    logs = {0: log_of(sorted(sent, key=lambda one: one.time), arrival=now)}
    worker = world(store, catalog, logs)
    drain(worker, logs)
    worker.flush(caught_up={0: now + HOUR})
    notifier, reader = MemoryNotifier(), Reader(store, catalog)
    Engine(
        catalog, reader, ClickHouseHistory(store), notifier, evidence=Evidence(catalog, reader, None)
    ).evaluate(now, notify=True)  # fmt: skip
    [message] = notifier.sent

    def total(week: int, region: str | None = "all", days: int = 6) -> float:
        """Of so many days of the week that begins so many weeks after the first whole one."""
        begin = START + timedelta(days=2, weeks=week)
        mine = [one for one in sent if begin <= one.time < begin + timedelta(days=days)]
        return sum(round(one.data["amount"] * 100) for one in mine if region in ("all", one.data["region"])) / 100

    expected = 21_000 * sum(total(week) / total(week, days=7) for week in range(6)) / 6
    share = sum(total(week, "EU") for week in range(6)) / sum(total(week) for week in range(6))
    gap, eu = total(6) - expected, total(6, "EU") - expected * share
    assert eu < 0.5 * gap < 0
    assert message.annotations["gap"] == difference(gap, "EUR")
    told = "more than all" if eu / gap > 1.1 else "all" if eu / gap > 0.995 else f"{eu / gap:.0%}".replace("%", " %")
    assert message.annotations["segments"] == (
        f"Region EU explains {told} of the gap ({difference(eu, 'EUR')}). "
        "Expected of each in proportion to the last 6 weeks up to the same point"
    )


def test_an_alert_that_fires_anew_is_read_for_anew() -> None:
    """Within the hour, and at the same value: it is another story."""
    place = firing()
    evidence = Evidence(place.catalog, place.reader, None)
    assert place.engine.latest is not None
    alert = place.alert("2026-11")
    seen = reads(place)
    evidence.about(alert, place.engine.latest)
    evidence.about(alert, place.engine.latest)
    assert reads(place) == seen + 1
    evidence.about(replace(alert, fired_at=at("2026-11-14")), place.engine.latest)
    assert reads(place) == seen + 2
