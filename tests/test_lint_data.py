"""What `onpace lint --data` finds, given what the archive and the past say."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from pathlib import Path

import pytest
from lint_world import (
    Change,
    Content,
    adding,
    balance,
    both,
    codes,
    conversion,
    kpi,
    linted,
    objective,
    of,
    reported,
    setting,
)

from onpace.config.calendar import Period
from onpace.config.lint.codes import CODES
from onpace.config.lint.evidence import Evidence, FieldFacts, PastValue, ReportFacts, RuleFacts, Segment
from onpace.config.lint.relevant import alike

ALL_ARRIVED = {"order.placed": 1000, "page.seen": 5000}


def past(name: str, first: str, values: Sequence[float], by: Segment = ()) -> Evidence:
    """Values of consecutive periods of a KPI."""
    period, found = Period.parse(first), []
    for value in values:
        found.append(PastValue(period, value))
        period = period.next()
    return Evidence(ALL_ARRIVED, past={(name, found[0].period.grain, by): found})


def growth(first: str, values: Sequence[float]) -> Evidence:
    """How much revenue grew in consecutive periods, in terms of its first target."""
    [found] = past("revenue", first, values).past.values()
    return Evidence(ALL_ARRIVED, growth={("revenue", 0): found})


def daily(**series: Sequence[float]) -> Evidence:
    """Values of consecutive days, by KPI."""
    first = date(2026, 1, 1)
    return Evidence(
        ALL_ARRIVED,
        daily={
            name: {first + timedelta(days=at): value for at, value in enumerate(values)}
            for name, values in series.items()
        },
    )


def fields(name: str, events: int, matched: int, **facts: object) -> Evidence:
    """What the archive says about a KPI's fields."""
    return Evidence(ALL_ARRIVED, fields={name: FieldFacts(events, matched, **facts)})  # type: ignore[arg-type]


YEAR = [700.0, 812, 640, 655, 590, 702, 688, 731, 640, 690, 720, 655]
WAVE = [100 + 40 * math.sin(at * 1.7) + at % 7 for at in range(60)]
OTHER = [100 + 40 * math.sin(at * at) + at % 7 for at in range(60)]
EU = (("region", "EU"),)
Case = tuple[str, Change, Evidence, str]


def unchanged(content: Content) -> None:
    """The clean file."""


FINDS: dict[str, Case] = {
    "M201": (
        "event 'page.seen'",
        unchanged,
        Evidence({"order.placed": 1234}),
        "none has arrived among 1,234 events: visits cannot be measured",
    ),
    "M202 a value": (
        "kpi 'revenue'",
        unchanged,
        fields("revenue", 1000, 900, value_null=180),
        "its value, amount, is null in 180 of 900 events (20%), which adds nothing",
    ),
    "M202 a filter": (
        "kpi 'gifts'",
        unchanged,
        fields("gifts", 1000, 100, filter_null=900),
        "the filter, gift, is null in 900 of 1,000 events (90%), which counts as false",
    ),
    "M202 a dimension": (
        "kpi 'revenue'",
        unchanged,
        fields("revenue", 1000, 1000, dimension_null={"region": 400}),
        "its dimension region is null in 400 of 1,000 events (40%)",
    ),
    "M203": (
        "kpi 'revenue'",
        unchanged,
        fields("revenue", 1000, 900, dimension_null={"region": 900}),
        "its dimension region is null in all of 900 order.placed events: it splits nothing",
    ),
    "M204": (
        "kpi 'gifts'",
        unchanged,
        fields("gifts", 1000, 0),
        "the filter, gift, lets none of 1,000 events through",
    ),
    "M202 an entity": (
        "kpi 'bought'",
        adding(conversion()),
        fields("bought.conversion", 1000, 1000, value_null=300, dimension_null={"=region": 0}),
        "its entity, region, is null in 300 of 1,000 events (30%)",
    ),
    "M202 the amount of a balance": (
        "kpi 'stock'",
        adding(balance()),
        fields("stock.change", 1000, 1000, amount_null=300),
        "its value, amount, is null in 300 of 1,000 events (30%)",
    ),
    "M203 a constant property": (
        "kpi 'bought'",
        adding(conversion()),
        fields("bought.base", 1000, 900, dimension_null={"=region": 900}),
        "its constant property region is null in all of 900 page.seen events: it equals nothing, so none converts",
    ),
    "M204 a part's filter": (
        "kpi 'bought'",
        adding(conversion()),
        fields("bought.base", 1000, 0),
        "the filter of its base events, page = 'checkout', lets none of 1,000 events through",
    ),
    "M206": ("kpi 'visits'", unchanged, daily(visits=[4.0] * 28), "was 4 pages on each of 28 days"),
    "M209": (
        "kpi 'nps'",
        adding(reported()),
        Evidence(ALL_ARRIVED, reports={"nps": ReportFacts(12, 3, 5, "2026-09")}),
        "of its 12 reported values, 3 have no source and 5 have no note, the latest of them for 2026-09",
    ),
    "A301 higher": (
        "kpi 'revenue'",
        unchanged,
        past("revenue", "2025-11", YEAR),
        "none of 12 whole months (2025-11 to 2026-10) came near its target of 1,000 EUR: the best was 812 EUR, in "
        "2025-12",
    ),
    "A301 lower": (
        "kpi 'gifts'",
        setting("gifts", targets=[{"every": "day", "value": 10}], levers=["fewer"]),
        past("gifts", "2026-11-01", [12.0, 15, 13] * 5),
        "none of 15 whole days (2026-11-01 to 2026-11-15) came near its target of 10 orders: the best was 12 orders",
    ),
    "A301 a range": (
        "kpi 'visits'",
        setting("visits", direction="in_range", targets=[{"every": "week", "min": 10, "max": 20, "tolerance": 1}]),
        past("visits", "2026-W01", [22.0] * 8),
        "target of 10 to 20 pages: the best was 22 pages",
    ),
    "A301 a region": (
        "kpi 'revenue'",
        lambda content: of(content, "revenue")["targets"].append(
            {"every": "month", "value": 900, "by": {"region": "EU"}}
        ),
        past("revenue", "2026-01", [90.0] * 6, EU),
        "its target for region EU of 900 EUR: the best was 90 EUR",
    ),
    "A301 a key result": (
        "objective 'grow'",
        unchanged,
        past("revenue", "2025-Q3", [900.0, 1100, 1000, 1200]),
        "kpi 'revenue': none of 4 whole quarters (2025-Q3 to 2026-Q2) came near its target of 3,000 EUR",
    ),
    "A301 growth": (
        "kpi 'revenue'",
        setting("revenue", targets=[{"every": "month", "increase": "20%", "over": "year_ago"}]),
        growth("2025-11", [3.0, 17.5, -4, 2, 1, 0]),
        "came near its target of 20 % more than a year ago: the best was 17.5 %, in 2025-12",
    ),
    "A302 growth": (
        "kpi 'revenue'",
        setting("revenue", targets=[{"every": "month", "increase": 10, "over": "previous"}]),
        growth("2025-11", [30.0, 17.5, 14, 12, 11, 20]),
        "its target of 10 EUR more than the period before was already met in 6 of 6 whole months",
    ),
    "A302 higher": (
        "kpi 'revenue'",
        unchanged,
        past("revenue", "2025-11", [999.0, *(1100.0 + at for at in range(11))]),
        "was already met in 11 of 12 whole months (2025-11 to 2026-10), half of which had 1,104 EUR or better",
    ),
    "A302 lower": (
        "kpi 'late'",
        adding(
            kpi(
                "late",
                role="lagging",
                direction="lower_is_better",
                drives=[{"kpi": "revenue", "lag": "1d"}],
                levers=["more people"],
                targets=[{"every": "month", "value": 50}],
            )
        ),
        past("late", "2026-01", [40.0, 30, 45, 20, 35, 25]),
        "already met in 6 of 6 whole months",
    ),
    "A304": (
        "rule 'low'",
        unchanged,
        Evidence(ALL_ARRIVED, rules={"low": RuleFacts(1000, 310)}),
        "broken by 310 of 1,000 past windows (31%)",
    ),
    "R402 the same way": (
        "kpi 'shoppers'",
        unchanged,
        daily(revenue=WAVE, shoppers=[3 * value + 7 for value in WAVE]),
        "says what kpi 'revenue' says: their daily values correlate with 1.00",
    ),
    "R402 the other way round": (
        "kpi 'shoppers'",
        setting("shoppers", direction="lower_is_better"),
        daily(revenue=WAVE, shoppers=[200 - value for value in WAVE]),
        "says what kpi 'revenue' says, the other way round",
    ),
}

LEAVES: dict[str, tuple[Change, Evidence]] = {
    "M201 an event that no KPI uses": (
        lambda content: content["events"].update({"odd.event": {}}),
        Evidence(ALL_ARRIVED),
    ),
    "M202 a few are missing": (
        unchanged,
        fields("revenue", 1000, 1000, value_null=199, dimension_null={"region": 199}),
    ),
    "M203 one event has it": (unchanged, fields("revenue", 1000, 1000, dimension_null={"region": 999})),
    "M204 no events at all": (unchanged, fields("gifts", 0, 0)),
    "M206 it moved once": (unchanged, daily(visits=[4.0] * 30 + [5.0])),
    "M206 too few days": (unchanged, daily(visits=[4.0] * 27)),
    "M209 all are explained": (adding(reported()), Evidence(ALL_ARRIVED, reports={"nps": ReportFacts(12, 0, 0, "")})),
    "A301 one month came near": (unchanged, past("revenue", "2025-11", [*YEAR[1:], 900.0])),
    "A301 too few months": (unchanged, past("revenue", "2026-06", YEAR[:5])),
    "A301 a period that is over": (
        setting("revenue", targets=[{"period": "2026-10", "value": 9000}]),
        past("revenue", "2025-11", YEAR),
    ),
    "A301 within its tolerance": (
        setting("conversion", targets=[{"every": "month", "value": 0.5, "tolerance": 0.2}]),
        past("conversion", "2026-01", [0.31, 0.2, 0.2, 0.2, 0.2, 0.2]),
    ),
    "A302 met more often than not": (unchanged, past("revenue", "2025-11", [*([1100.0] * 10), 900, 900])),
    "A301 growth that came near": (
        setting("revenue", targets=[{"every": "month", "increase": "20%", "over": "year_ago"}]),
        growth("2025-11", [3.0, 18, -4, 2, 1, 0]),
    ),
    "A302 a fall that is let be": (
        setting("revenue", targets=[{"every": "month", "increase": "-10%", "over": "year_ago"}]),
        growth("2025-11", [3.0, 18, -4, 2, 1, 0]),
    ),
    "A302 a guardrail": (
        setting("gifts", targets=[{"every": "month", "value": 50}], levers=["fewer"]),
        past("gifts", "2026-01", [40.0] * 6),
    ),
    "A302 a range": (
        setting("visits", direction="in_range", targets=[{"every": "week", "min": 10, "max": 20, "tolerance": 1}]),
        past("visits", "2026-W01", [15.0] * 10),
    ),
    "A304 rarely": (unchanged, Evidence(ALL_ARRIVED, rules={"low": RuleFacts(1000, 99)})),
    "A304 too few windows": (unchanged, Evidence(ALL_ARRIVED, rules={"low": RuleFacts(99, 99)})),
    "R402 other days": (unchanged, daily(revenue=WAVE, shoppers=OTHER)),
    "R402 too few days": (unchanged, daily(revenue=WAVE[:34], shoppers=WAVE[:34])),
    "R402 opposite": (unchanged, daily(revenue=WAVE, shoppers=[200 - value for value in WAVE])),
    "R402 both merely grow": (
        unchanged,
        daily(
            revenue=[at * 10 + value / 10 for at, value in enumerate(WAVE)],
            shoppers=[at * 10 + value / 10 for at, value in enumerate(OTHER)],
        ),
    ),
    "R402 its own input": (
        both(setting("orders", targets=[{"every": "month", "value": 1}], levers=["x"], guardrails=["gifts"])),
        daily(orders=WAVE, conversion=WAVE),
    ),
    "R402 one without a goal": (unchanged, daily(revenue=WAVE, visits=WAVE)),
    "W801 too little to judge by": (
        setting("revenue", waive=[{"code": "A301", "reason": "a new plant"}]),
        past("revenue", "2026-06", YEAR[:5]),
    ),
}


@pytest.mark.parametrize("case", FINDS)
def test_it_is_found(case: str, tmp_path: Path) -> None:
    """With the numbers it rests on."""
    subject, change, evidence, message = FINDS[case]
    found = [one for one in linted(tmp_path, change, evidence) if (one.code, one.subject) == (case[:4], subject)]
    assert len(found) == 1, codes(linted(tmp_path, change, evidence))
    assert message in found[0].message
    assert found[0].remedy


@pytest.mark.parametrize("case", LEAVES)
def test_it_is_left_alone(case: str, tmp_path: Path) -> None:
    """What is nearly wrong, or cannot be judged."""
    change, evidence = LEAVES[case]
    assert case[:4] not in {code for code, _ in codes(linted(tmp_path, change, evidence))}


def test_every_code_that_needs_data_has_a_past_that_triggers_it() -> None:
    """The others are tested without."""
    assert {case[:4] for case in FINDS} == {name for name, code in CODES.items() if code.needs_data}


def test_without_data_nothing_is_said_about_it(tmp_path: Path) -> None:
    """Not even that it is missing."""
    assert linted(tmp_path, unchanged, None) == []


def test_a_key_result_that_repeats_a_target_is_judged_once(tmp_path: Path) -> None:
    """At the target."""
    change = setting("revenue", targets=[{"every": "quarter", "value": 3000}])
    found = codes(linted(tmp_path, change, past("revenue", "2025-Q3", [900.0, 1100, 1000, 1200])))
    assert found == [("A301", "kpi 'revenue'")]


def test_a_key_result_of_an_endless_objective_is_compared_with_nothing(tmp_path: Path) -> None:
    """Nobody knows how long a period to look at."""
    evidence = past("revenue", "2025-Q3", [900.0, 1100, 1000, 1200])
    assert codes(linted(tmp_path, objective(period=None), evidence)) == [("T502", "objective 'grow'")]


@pytest.mark.parametrize(
    ("code", "evidence"),
    [
        ("A301", past("revenue", "2025-11", [*YEAR[1:], 950.0])),
        ("R402", daily(revenue=WAVE, shoppers=OTHER)),
        ("M204", fields("shoppers", 1000, 1000)),
    ],
)
def test_a_waiver_is_not_needed_once_the_past_could_have_shown_the_finding(
    code: str, evidence: Evidence, tmp_path: Path
) -> None:
    """And did not. The whole file's as well."""
    waive = [{"code": code, "reason": "a demo"}]
    owner = "revenue" if code == "A301" else "shoppers"
    for change in (setting(owner, waive=waive), lambda content: content.update(waive=waive)):
        assert "W801" in {found for found, _ in codes(linted(tmp_path, change, evidence))}


def test_correlation_is_pearsons() -> None:
    """By its formula, over the days and over their changes in a week."""
    first, second = (
        {date(2026, 1, 1) + timedelta(days=at): value for at, value in enumerate(values)} for values in (WAVE, OTHER)
    )
    found = alike(first, second)
    assert found is not None
    changes = [[values[at] - values[at - 7] for at in range(7, 60)] for values in (WAVE, OTHER)]
    assert found[0] == pytest.approx(pearson(WAVE, OTHER))
    assert found[1] == pytest.approx(pearson(*changes))
    assert found[2] == 53
    assert alike(first, dict.fromkeys(first, 1.0)) is None


def pearson(left: Sequence[float], right: Sequence[float]) -> float:
    """The covariance by the product of the deviations."""
    mean: Callable[[Sequence[float]], float] = lambda values: sum(values) / len(values)  # noqa: E731
    x, y = [a - mean(left) for a in left], [b - mean(right) for b in right]
    return sum(a * b for a, b in zip(x, y, strict=True)) / math.sqrt(sum(a * a for a in x) * sum(b * b for b in y))
