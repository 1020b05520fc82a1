"""What people read: the whole message, for each kind of rule."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from alerts_fakes import Event, at, catalog_of, simple
from test_engine import CHANNELS, HOUR, World, off_pace
from test_forecast_engine import months
from test_forecast_engine import shop as forecast_shop

from onpace.alerts.apprise_sender import words
from onpace.alerts.quantities import difference, in_period, quantity
from onpace.alerts.senders import postable_alerts
from onpace.config.calendar import Period
from onpace.config.catalog import Catalog
from onpace.config.kpi import RatioKpi
from onpace.config.rules import AnomalyRule, AttainmentRule, ChangeRule, NoDataRule, PaceRule, Rule, ThresholdRule

REGION = {"region": "region", "channel": "channel"}
BAD = at("2026-11-13")
"""From this Friday on the EU buys less."""


def every_hour(end: str, count: Callable[[datetime], int], **dims: str) -> list[Event]:
    """So many events in each hour from September on."""
    found, moment = [], at("2026-09-01")
    while moment < at(end):
        found += [Event(moment + timedelta(minutes=minute), dims) for minute in range(count(moment))]
        moment += HOUR
    return found


def split(end: str, **counts: Callable[[datetime], int]) -> list[Event]:
    """Events by region; two in three come over the web."""
    found = []
    for region, count in counts.items():
        for channel, share in (("web", 2), ("app", 1)):
            found += every_hour(end, lambda m, n=count, k=share: n(m) * k, region=region, channel=channel)  # type: ignore[misc]
    return found


def falls(before: int, after: int) -> Callable[[datetime], int]:
    """A number that changes on that Friday."""
    return lambda moment: before if moment < BAD else after


def shop(*rules: Rule) -> Catalog:
    """Revenue of 10 EUR an order in Berlin's time, orders, visits and the ratio of both."""
    berlin: dict[str, Any] = {"timezone": "Europe/Berlin", "dimensions": REGION}
    revenue = simple(
        title="Revenue", unit="EUR", targets=[{"every": "month", "value": 10_800}],
        dashboard="https://bi.example.com/{kpi}?from={from}&to={to}", **berlin,
    )  # fmt: skip
    orders = simple("orders", title="Orders", agg="count", value=None, unit="orders", **berlin)
    visits = simple("visits", title="Visits", agg="count", value=None, event="site.visited", **berlin)
    conversion = RatioKpi.model_validate(
        {
            "name": "conversion", "title": "Conversion", "type": "ratio", "numerator": "orders",
            "denominator": "visits", "unit": "ratio", "direction": "higher_is_better", "role": "leading",
            "timezone": "Europe/Berlin", "targets": [{"every": "month", "value": 0.5, "tolerance": 0.005}],
            "drives": [{"kpi": "revenue", "lag": "1d..7d"}],
        }
    )  # fmt: skip
    return catalog_of([revenue, orders, visits, conversion], rules, channels=CHANNELS)


def told(
    rule: Rule,
    until: str,
    *,
    end: str = "2026-12-20",
    orders: tuple[int, int] = (3, 1),
    visits: tuple[tuple[int, int], tuple[int, int]] = ((5, 5), (5, 5)),
) -> list[str]:
    """All that was said of a rule, looked at twice a day; `orders` of the EU and `visits` before and after."""
    seen = {region: falls(*counts) for region, counts in zip(("EU", "US"), visits, strict=True)}
    bought = split(end, EU=falls(*orders), US=falls(2, 2))
    world = World(shop(rule), bought, "2026-11-01", site_visited=split(end, **seen))
    world.run("2026-11-01 11:00", until, every=12 * HOUR)
    return [one.annotations["description"] for one in world.notifier.sent]


def rule_of(model: Any, **more: Any) -> Any:
    """A rule that notifies one channel."""
    return model.model_validate({"name": "rule", "notify": ["ops"]} | more)


LINK = "Dashboard: https://bi.example.com/revenue?from="
"""Then milliseconds."""
LAST = "Expected of each in proportion to the last 2 months"


def test_off_pace_and_then_missed() -> None:
    """Value, expected, gap, target, which region, what leads, since when by the KPI's clock, and where to look."""
    month = f"{LINK}1793487600000&to=1796079600000"
    assert told(off_pace(), "2026-12-02 11:00") == [
        "Revenue is off track in November 2026: "
        "4,758 EUR so far, 5,032 EUR expected by now (−274 EUR), target 10,800 EUR. "
        f"Region EU explains all of the gap (−277.2 EUR). {LAST} up to the same point. "
        f"Leading: Conversion is off track: 47.2 %, 50 % wanted (link unproven). Since 2026-11-14 22:00 CET. {month}",
        "Revenue missed its target for November 2026: 8,214 EUR of 10,800 EUR (−2,586 EUR). "
        f"Region EU explains all of the gap (−2,586 EUR). {LAST}. "
        "Leading: Conversion has no data (link unproven). "
        f"Since 2026-11-14 22:00 CET until 2026-12-01 00:00 CET. {month}",
    ]


def test_a_level_is_wanted_from_the_first_day_on() -> None:
    """A ratio in percent, its gap in percentage points, and that it is rate: EU's own, whatever its share."""
    assert told(rule_of(PaceRule, kpi="conversion", when="pace"), "2026-11-16") == [
        "Conversion is off track in November 2026: 49.27 % so far, 50 % wanted (−0.733 percentage points). "
        "Rate, not mix: region EU is at 58.53 % instead of 60 % (−0.733 percentage points, all of the gap). "
        f"{LAST} up to the same point. Since 2026-11-13 12:00 CET."
    ]


def test_too_little_of_the_target_is_attained() -> None:
    """What is expected by now stands beside it, for the segments explain that gap."""
    rule = rule_of(AttainmentRule, kpi="revenue", when="attainment", below="45%", after="45%")
    month = f"{LINK}1793487600000&to=1796079600000"
    first, second = told(rule, "2026-11-17")
    assert first == (
        "Revenue in November 2026: 43.1 % of the target is reached (4,650 of 10,800), less than 45 %. "
        "4,650 EUR so far, 4,852 EUR expected by now (−201.7 EUR). "
        f"Region EU explains all of the gap (−205 EUR). {LAST} up to the same point. "
        f"Leading: Conversion is off track: 47.84 %, 50 % wanted (link unproven). Since 2026-11-14 12:00 CET. {month}"
    )
    assert second.startswith("Resolved: Revenue in November 2026: 47.1 % of the target is reached (5,082 of 10,800). L")


def test_a_threshold_that_is_broken_by_the_rate_of_one_region() -> None:
    """Compared with the same weekday."""
    rule = rule_of(ThresholdRule, kpi="conversion", when="threshold", below=0.45, grain="day")
    assert told(rule, "2026-11-15") == [
        "Conversion is at 30.83 %, below 45 %. "
        "Rate, not mix: region EU fell from 60 % to 21.67 % (−19.2 percentage points, all of the gap). "
        "Compared with the last 8 Fridays (50 %). Since 2026-11-14 00:00 CET."
    ]


def test_a_threshold_that_is_broken_by_the_mix_of_regions() -> None:
    """Where the visits come from, before and now, and how much each region converts."""
    rule = rule_of(ThresholdRule, kpi="conversion", when="threshold", below=0.45, grain="day")
    assert told(rule, "2026-11-15", orders=(4, 1), visits=((5, 1), (5, 9))) == [
        "Conversion is at 31.25 %, below 45 %. Mostly mix (−21.8 percentage points; rate −6.94 percentage points): "
        "fewer of the visits came from region EU, 12 % instead of 50 %, where it is 96.43 % "
        "(−16.3 percentage points, 57 % of the gap); "
        "more of the visits came from region US, 88 % instead of 50 %, where it is 22.64 % "
        "(−5.48 percentage points, 19 % of the gap). "
        "Compared with the last 8 Fridays (60 %). Since 2026-11-14 00:00 CET."
    ]


def test_an_alert_of_one_region_is_explained_by_the_other_dimension() -> None:
    """And where both channels lose alike, that is what is said."""
    rule = rule_of(ThresholdRule, kpi="orders", when="threshold", below=120, grain="day", by=["region"])
    assert told(rule, "2026-11-15") == [
        "Orders (region EU) is at 78 orders, below 120 orders. "
        "No segment stands out: channel web has 67 % of the gap (−92 orders) and 67 % of what was to be expected. "
        "Compared with the last 8 Fridays (216 orders). Since 2026-11-14 00:00 CET."
    ]


def test_a_drop_against_the_day_before() -> None:
    """Segments are compared with what the rule compares with; the link shows the weeks before it."""
    rule = rule_of(ChangeRule, kpi="revenue", when="change", against="previous", drop="20%", grain="day")
    assert told(rule, "2026-11-14 11:00") == [
        "Revenue: 222 EUR, 38 % below the 360 of the day before. "
        "Region EU explains all of the gap (−138 EUR). Compared with the day before (360 EUR). "
        "Leading: Conversion is off track: 48.53 %, 50 % wanted (link unproven). "
        f"Since 2026-11-14 00:00 CET. {LINK}1790463600000&to=1794610800000"
    ]


def test_a_drop_against_the_same_weekday() -> None:
    """The last four of them, as the rule has it."""
    rule = rule_of(ChangeRule, kpi="orders", when="change", against="same_weekday", drop="20%", grain="day")
    assert told(rule, "2026-11-15") == [
        "Orders: 222 orders, 38 % below the 360 of the last 4 Fridays. "
        "Region EU explains all of the gap (−138 orders). Compared with the last 4 Fridays (360 orders). "
        "Since 2026-11-14 00:00 CET."
    ]


def test_an_anomaly() -> None:
    """The usual, and which region is not."""
    assert told(rule_of(AnomalyRule, kpi="orders", when="anomaly", grain="day"), "2026-11-15") == [
        "Orders: 222 orders, below the usual 358.7 to 361.3 of a Friday (around 360). "
        "Region EU explains all of the gap (−138 orders). Compared with the last 8 Fridays (360 orders). "
        "Since 2026-11-14 00:00 CET."
    ]


def test_silence_has_no_segments() -> None:
    """Times are those of the KPI's clock."""
    rule = rule_of(NoDataRule, kpi="orders", when="no_data", after="2h")
    assert told(rule, "2026-11-21", end="2026-11-20") == [
        "Orders: no order.placed event since 2026-11-20 00:03 CET, longer than 2h. Since 2026-11-20 12:00 CET."
    ]


def test_a_broken_pipeline_is_no_kpi() -> None:
    """It has neither value nor segments."""
    catalog = catalog_of([simple()], [off_pace()], expected_every=HOUR, channels=CHANNELS)
    world = World(catalog, every_hour("2026-11-20", falls(1, 1)), "2026-11-01")
    world.dashboard_url = "https://bi.example.com/all"
    world.restart()
    for minute in (0, 3):
        world.look(at("2026-11-20 06:00") + timedelta(minutes=minute))
    [one] = world.notifier.sent
    assert one.annotations["description"] == (
        "Pipeline (event_type order.placed): no event since 2026-11-19 23:00:00 UTC, expected every 1h. "
        "Since 2026-11-20 06:00 UTC. Dashboard: https://bi.example.com/all"
    )
    assert "value" not in one.annotations


def test_a_forecast_says_what_is_expected_at_the_end_and_by_now() -> None:
    """And which region it is that sells less."""
    events = months("2025-06-01", "2026-12-03", region="US") + months(
        "2025-06-01", "2026-12-03", "2026-11-08", region="EU"
    )
    kpi: dict[str, Any] = {"targets": [{"every": "month", "value": 136_000}], "dimensions": {"region": "region"}}
    world = World(forecast_shop(**kpi), events, "2026-11-01")
    world.run("2026-11-08", "2026-11-16", every=12 * HOUR)
    [one] = world.notifier.sent
    assert one.annotations["description"] == (
        "Revenue in November 2026: "
        "72 % likely to miss: 112,722 to 142,213 of 136,000 expected at the end, by 15 past months. "
        "37,536 EUR so far, 47,513 EUR expected by now (−9,977 EUR). Region EU explains 68 % of the gap (−6,795 EUR). "
        "Expected of each in proportion to the last 12 months up to the same point. Since 2026-11-10 21:00 UTC."
    )


def test_what_alertmanager_and_a_chat_make_of_it() -> None:
    """The dashboard is the alert's source there; in a chat every fact has its line."""
    world = World(shop(off_pace()), split("2026-12-20", EU=falls(3, 1), US=falls(2, 2)), "2026-11-01")
    world.run("2026-11-13 11:00", "2026-11-16", every=12 * HOUR)
    [one] = world.notifier.sent
    [posted] = postable_alerts([one], at("2026-11-16"))
    assert posted["generatorURL"] == one.annotations["dashboard"]
    title, body = words(one)
    assert title == (
        "Revenue is off track in November 2026: "
        "4,758 EUR so far, 5,032 EUR expected by now (−274 EUR), target 10,800 EUR"
    )
    assert body.splitlines() == [
        "Value: 4,758 EUR",
        "Target: 10,800 EUR",
        "Expected by now: 5,032 EUR",
        "Gap: −274 EUR",
        f"Segments: Region EU explains all of the gap (−277.2 EUR). {LAST} up to the same point",
        "Since: 2026-11-14 22:00 CET",
        "Leading: Conversion has no data (link unproven)",
        f"{LINK}1793487600000&to=1796079600000",
        "Rule revenue-off-pace, severity ticket",
    ]


@pytest.mark.parametrize(
    ("value", "unit", "told", "more"),
    [
        (58_000.4, "EUR", "58,000 EUR", "+58,000 EUR"),
        (-4_840, "EUR", "−4,840 EUR", "−4,840 EUR"),
        (0.512, "ratio", "51.2 %", "+51.2 percentage points"),
        (-0.0051, "ratio", "−0.51 %", "−0.51 percentage points"),
        (12.345, "ratio", "1,234 %", "+1,234 percentage points"),
        (0.0, "", "0", "0"),
        (None, "EUR", "–", "–"),
    ],
)
def test_numbers_as_people_write_them(value: float | None, unit: str, told: str, more: str) -> None:
    """With their unit, ratios in percent, differences of ratios in points."""
    assert (quantity(value, unit), difference(value, unit)) == (told, more)


@pytest.mark.parametrize(
    ("period", "told"),
    [
        ("2026-10", "in October 2026"),
        ("2026-Q4", "in Q4 2026"),
        ("2026-W43", "in week 43 of 2026"),
        ("2026-10-05", "on 2026-10-05"),
        ("2026", "in 2026"),
        ("FY2027", "in fiscal year 2027"),
        ("FY2027-Q1", "in fiscal Q1 2027"),
    ],
)
def test_periods_as_people_say_them(period: str, told: str) -> None:
    """Days are on, the others in."""
    assert in_period(Period.parse(period)) == told
