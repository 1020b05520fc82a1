"""What `onpace lint` finds in files alone: each code with a file that has it, and with one that nearly has it."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from lint_world import (
    Change,
    Content,
    adding,
    balance,
    both,
    clean,
    codes,
    conversion,
    kpi,
    linted,
    objective,
    of,
    ratio,
    setting,
)

from onpace.config.lint.codes import CODES


def of_owner(owner: str, count: int) -> Change:
    """So many KPIs with targets that an objective needs, of one owner."""
    more = {"owner": owner, "role": "lagging", "levers": ["luck"], "targets": [{"every": "month", "value": 1}]}
    names = [f"k{at}" for at in range(count)]
    driving = [{"kpi": "revenue", "lag": "1d"}]
    return adding(*(kpi(name, drives=driving, **more) for name in names))


def segments(*targets: Content) -> Change:
    """Targets by region beside that of the whole, 1,000 a month."""
    return lambda content: of(content, "revenue")["targets"].extend({"every": "month", **one} for one in targets)


def region(name: str, value: float, **more: object) -> Content:
    """A target of a region."""
    return {"value": value, "by": {"region": name}, **more}


SPLIT_RATE = both(
    setting("conversion", targets=[{"every": "month", "value": 0.9}]),
    lambda content: of(content, "conversion")["targets"].extend(
        {"every": "month", **one} for one in (region("EU", 0.5), region("US", 0.8))
    ),
)


def a_third_region(content: Content) -> None:
    """The schema allows one more."""
    content["events"]["order.placed"]["properties"]["region"]["enum"].append("APAC")


FINDS: dict[str, tuple[str, Change, str]] = {
    "S101 a KPI": ("kpi 'orders'", setting("orders", title=None), "will call it 'orders'"),
    "S101 an objective": ("objective 'grow'", objective(title=None), "has no title"),
    "S102": ("kpi 'revenue'", setting("revenue", description=None), "two readers may count different things"),
    "S103 a KPI": ("kpi 'orders'", setting("orders", owner=""), "nobody acts"),
    "S103 an objective": ("objective 'grow'", objective(owner=""), "has no owner"),
    "S104": ("kpi 'revenue'", setting("revenue", unit=None), "has no unit"),
    "S105": ("kpi 'visits'", setting("visits", title="orders "), "same title as kpi 'orders'"),
    "M205": (
        "event 'page.seen'",
        lambda content: content["events"]["page.seen"].pop("expected_every"),
        "feeds conversion and has no expected_every",
    ),
    "M207 only the numerator": (
        "kpi 'conversion'",
        setting("orders", filter="(region != 'test') AND amount > 0"),
        "only 'orders' has the filter region <> 'test': 'visits' counts what it leaves out",
    ),
    "M207 only the denominator": (
        "kpi 'conversion'",
        setting("visits", filter="region != 'test' AND page = 'checkout'"),
        "only 'visits' has the filter region <> 'test'",
    ),
    "M207 over one event": (
        "kpi 'share'",
        adding(
            kpi("big", filter="amount > 100 AND gift"),
            kpi("eu", filter="region = 'EU' AND gift"),
            {**ratio("share", "big", "eu"), "drives": [{"kpi": "revenue", "lag": "1d"}]},
        ),
        "only 'eu' has the filter region = 'EU'",
    ),
    "M207 a derived KPI": (
        "kpi 'aov'",
        adding(
            kpi("sent", filter="region = 'EU'"),
            {
                **{key: value for key, value in kpi("aov", role="lagging").items() if key not in ("event", "agg")},
                "type": "derived",
                "expr": "revenue / sent",
                "drives": [{"kpi": "revenue", "lag": "1d"}],
            },
        ),
        "only 'sent' has the filter region = 'EU'",
    ),
    "M208 one lacks it": ("kpi 'conversion'", setting("visits", dimensions=None), "only 'orders' has the dimension"),
    "M208 another meaning": (
        "kpi 'share'",
        adding(
            kpi("some", filter="gift", dimensions={"region": "lower(region)"}),
            {**ratio("share", "some", "orders"), "drives": [{"kpi": "revenue", "lag": "1d"}]},
        ),
        "dimension region means lower(region) in 'some' and region in 'orders'",
    ),
    "A303 more than the whole": (
        "kpi 'revenue'",
        segments(region("EU", 1100)),
        "by region for each month add up to 1,100 EUR (EU 1,100), and the whole has 1,000 EUR",
    ),
    "A303 less than the whole": (
        "kpi 'revenue'",
        segments(region("EU", 600), region("US", 300)),
        "add up to 900 EUR (EU 600 + US 300), and the whole has 1,000 EUR",
    ),
    "A303 in one period": (
        "kpi 'revenue'",
        both(
            segments(region("EU", 600), region("US", 400)),
            lambda content: of(content, "revenue")["targets"].append({"period": "2026-12", "value": 1500}),
        ),
        "for 2026-12 add up to 1,000 EUR",
    ),
    "A303 a mean outside": (
        "kpi 'conversion'",
        SPLIT_RATE,
        "are 0.5 to 0.8, and the whole has 0.9: no mix of them comes to that",
    ),
    "A303 balances": (
        "kpi 'stock'",
        adding(
            balance(
                dimensions=["region"],
                levers=["order less"],
                targets=[{"every": "month", "value": 50}, {"every": "month", **region("EU", 60)}],
            )
        ),
        "add up to 60 orders (EU 60), and the whole has 50 orders",
    ),
    "A303 conversions that are counted": (
        "kpi 'bought'",
        adding(
            conversion(
                measure="count",
                dimensions=["region"],
                guardrails=["gifts"],
                levers=["a shorter form"],
                targets=[{"every": "month", "value": 50}, {"every": "month", **region("EU", 60)}],
            )
        ),
        "add up to 60 orders",
    ),
    "R401": (
        "kpi 'items'",
        adding(kpi("items", role="lagging", levers=["luck"], targets=[{"every": "month", "value": 1}])),
        "serves no objective",
    ),
    "R403": ("kpi 'revenue'", setting("revenue", levers=None), "nothing says what its owner can do"),
    "T501 of an objective": ("kpi 'gifts'", setting("gifts", objective="grow"), "is there for objective 'grow'"),
    "T501 strategic": ("kpi 'gifts'", setting("gifts", level="strategic"), "is strategic"),
    "T501 driven": (
        "kpi 'profit'",
        both(
            adding(kpi("profit", role="lagging")),
            setting("shoppers", drives=[{"kpi": "profit", "lag": "1d"}]),
        ),
        "is what other KPIs drive",
    ),
    "T502": ("objective 'grow'", objective(period=None), "has no period"),
    "T503": (
        "kpi 'revenue'",
        setting("revenue", targets=[{"period": "2026-09", "value": 900}, {"period": "2026-10", "value": 1000}]),
        "its last target was for 2026-10, which is over",
    ),
    "T503 fiscal": (
        "kpi 'revenue'",
        both(
            setting("revenue", calendar="own", targets=[{"period": "FY2027-Q2", "value": 1000}]),
            lambda content: content.update(calendars=[{"name": "own", "fiscal_year_start": 4}]),
        ),
        "its last target was for FY2027-Q2, which is over",
    ),
    "T504": ("objective 'grow'", objective(period="2026-Q3"), "its period, 2026-Q3, is over"),
    "T505 overdue": (
        "kpi 'revenue'",
        setting("revenue", review_every="90d", reviewed="2026-08-25"),
        "every 90d, and was last reviewed 91 days ago, on 2026-08-25",
    ),
    "T505 to come": ("kpi 'revenue'", setting("revenue", reviewed="2062-10-01"), "2062-10-01, which is still to come"),
    "T506": ("kpi 'revenue'", setting("revenue", review_every="90d"), "every 90d, and never was"),
    "O601": (
        "",
        lambda content: (content.pop("objectives"), *(one.pop("objective", None) for one in content["kpis"])),
        "nothing says what 3 KPIs with targets are for",
    ),
    "O602 too few": ("objective 'grow'", setting("shoppers", objective=None), "has 2 KPIs (revenue, conversion)"),
    "O602 too many": (
        "objective 'grow'",
        adding(*(kpi(f"k{at}", objective="grow", role="lagging", levers=["luck"]) for at in range(3))),
        "has 6 KPIs",
    ),
    "O603 no leading": (
        "objective 'grow'",
        both(setting("conversion", role="lagging"), setting("shoppers", role="lagging")),
        "has only lagging KPIs (revenue, conversion, shoppers): it shows only what has happened",
    ),
    "O603 no lagging": ("objective 'grow'", setting("revenue", role="leading"), "it shows effort and no result"),
    "O604": (
        "objective 'grow'",
        lambda content: (objective(key_results=None)(content), *(one.pop("targets", None) for one in content["kpis"])),
        "has neither key results nor KPIs with targets",
    ),
    "O605": ("owner 'sam'", of_owner("sam", 8), "answers for 8 KPIs with targets"),
    "O606": ("kpi 'idle'", adding(kpi("idle")), "is used by nobody"),
    "G701 a rate": ("kpi 'conversion'", setting("conversion", guardrails=None), "a rate also gets better"),
    "G701 a time": (
        "kpi 'response'",
        adding(
            kpi(
                "response",
                agg="avg",
                value="amount",
                unit="min",
                role="lagging",
                direction="lower_is_better",
                drives=[{"kpi": "revenue", "lag": "1d"}],
                levers=["more people"],
                targets=[{"every": "month", "value": 5}],
            )
        ),
        "a time also gets shorter",
    ),
    "G701 a conversion": (
        "kpi 'bought'",
        adding(conversion(levers=["a shorter form"], targets=[{"every": "month", "value": 0.5}])),
        "a rate also gets better",
    ),
    "G701 a time to convert": (
        "kpi 'bought'",
        adding(
            conversion(
                measure="median_time",
                direction="lower_is_better",
                levers=["a shorter form"],
                targets=[{"every": "month", "value": 60}],
            )
        ),
        "a time also gets shorter",
    ),
    "G701 activity": ("kpi 'shoppers'", setting("shoppers", guardrails=None), "a count of activity also rises"),
    "W801 of a KPI": (
        "kpi 'revenue'",
        setting("revenue", waive=[{"code": "S101", "reason": "short"}]),
        "the waiver of S101 (no title) waives nothing",
    ),
    "W801 of an objective": (
        "objective 'grow'",
        objective(waive=[{"code": "T502", "reason": "endless"}]),
        "the waiver of T502",
    ),
    "W801 of a file": (
        "",
        lambda content: content.update(waive=[{"code": "O606", "reason": "a collection"}]),
        "the waiver of O606",
    ),
}

LEAVES: dict[str, Change] = {
    "S103 owner by default": setting("orders", owner="somebody"),
    "M205 an event that no goal rests on": lambda content: content["events"].update({"odd.event": {}}),
    "M205 what people report": adding(
        {
            **{key: value for key, value in kpi("nps", role="lagging").items() if key not in ("event", "agg")},
            "type": "reported",
            "cadence": "month",
            "drives": [{"kpi": "revenue", "lag": "1d"}],
            "levers": ["listen"],
            "targets": [{"every": "month", "value": 40}],
        }
    ),
    "M207 a KPI by itself a year ago": adding(
        {
            **{key: value for key, value in kpi("growth", role="lagging").items() if key not in ("event", "agg")},
            "type": "derived",
            "expr": "orders / offset(orders, '1 year')",
            "unit": "ratio",
            "drives": [{"kpi": "revenue", "lag": "1d"}],
        }
    ),
    "M207 a condition that the other cannot have": setting("orders", filter="amount > 0"),
    "M207 the same conditions in another order": both(
        setting("orders", filter="region != 'test' AND region != 'demo'"),
        setting("visits", filter="region != 'demo' AND (region != 'test')"),
    ),
    "M207 a share of the same events": adding(
        kpi("big", filter="amount > 100 AND gift", dimensions=["region"]),
        kpi("given", filter="gift", dimensions=["region"]),
        {**ratio("share", "big", "given"), "drives": [{"kpi": "revenue", "lag": "1d"}]},
    ),
    "M208 the same dimension of two events": setting("orders", dimensions={"region": "lower(region)"}),
    "A303 the segments make the whole": segments(region("EU", 600), region("US", 404)),
    "A303 one segment of several": segments(region("EU", 600)),
    "A303 segments of every month and a whole of December": segments(region("EU", 600), region("US", 400)),
    "A303 a mean whose segments are not all known": both(a_third_region, SPLIT_RATE),
    "A303 a sum whose segments are not all known": both(a_third_region, segments(region("EU", 600), region("US", 300))),
    "A303 segments of another length": segments({"every": "day", **region("EU", 5000)}),
    "R401 it drives one that an objective names": of_owner("sam", 1),
    "R401 it guards one": setting("gifts", targets=[{"every": "month", "value": 5}], levers=["fewer"]),
    "T501 an input": setting("visits", role="lagging", drives=[{"kpi": "revenue", "lag": "1d"}]),
    "T503 the fiscal year is still to come": both(
        setting("revenue", calendar="own", targets=[{"period": "FY2027-Q4", "value": 1000}]),
        lambda content: content.update(calendars=[{"name": "own", "fiscal_year_start": 2}]),
    ),
    "T503 one is still to come": setting(
        "revenue", targets=[{"period": "2026-10", "value": 1000}, {"period": "2026-11", "value": 1000}]
    ),
    "T504 its last day": objective(period="2026-11-24"),
    "T505 on the day it is due": setting("revenue", review_every="90d", reviewed="2026-08-26"),
    "O602 five": adding(
        *(
            kpi(
                f"k{at}",
                role="lagging",
                objective="grow",
                levers=["luck"],
                targets=[{"every": "month", "value": 1}],
            )
            for at in range(2)
        )
    ),
    "O604 KPIs with targets name it": objective(key_results=None),
    "O605 seven": both(setting("revenue", owner="sam"), of_owner("sam", 6)),
    "O606 a guardrail, an input, a volume and what drives": both(
        adding(kpi("volume"), kpi("early", drives=[{"kpi": "revenue", "lag": "1d"}])),
        lambda content: content["rules"][0].update(min_volume={"kpi": "volume", "at_least": 10}),
    ),
    "G701 an outcome that is counted": both(
        setting("shoppers", role="lagging", guardrails=None), setting("conversion", role="leading")
    ),
    "G701 a guardrail itself": both(
        setting("gifts", unit="ratio", levers=["fewer"], targets=[{"every": "month", "value": 0.1}]),
    ),
    "W801 a waiver of what needs data": setting("revenue", waive=[{"code": "A301", "reason": "a new plant"}]),
}


def test_the_clean_file_is_clean(tmp_path: Path) -> None:
    """All others differ from it in one thing."""
    assert codes(linted(tmp_path)) == []


@pytest.mark.parametrize("case", FINDS)
def test_it_is_found(case: str, tmp_path: Path) -> None:
    """At its subject, with what is wrong; what to change is said too; nothing is found beside it but what follows."""
    subject, change, message = FINDS[case]
    found = [one for one in linted(tmp_path, change) if (one.code, one.subject) == (case[:4], subject)]
    assert len(found) == 1, codes(linted(tmp_path, change))
    assert message in found[0].message
    assert found[0].remedy


@pytest.mark.parametrize("case", LEAVES)
def test_it_is_left_alone(case: str, tmp_path: Path) -> None:
    """What is nearly wrong is right."""
    assert case[:4] not in {code for code, _ in codes(linted(tmp_path, LEAVES[case]))}


def test_every_code_that_needs_no_data_has_a_file_that_triggers_it() -> None:
    """The others are tested with the past they need."""
    assert {case[:4] for case in FINDS} == {name for name, code in CODES.items() if not code.needs_data}


def test_a_finding_is_at_the_line_of_what_is_wrong(tmp_path: Path) -> None:
    """The declaration's, or that of the key in it."""
    [over] = linted(tmp_path, objective(period="2026-Q3"))
    [untitled] = linted(tmp_path, setting("orders", title=None))
    lines = (tmp_path / "kpis.yaml").read_text().splitlines()
    assert (untitled.place.document.path, untitled.severity) == (str(tmp_path / "kpis.yaml"), "info")
    assert '"orders"' in lines[untitled.place.line]
    linted(tmp_path, objective(period="2026-Q3"))
    assert '"period": "2026-Q3"' in (tmp_path / "kpis.yaml").read_text().splitlines()[over.place.line - 1]


def test_how_a_kpi_is_described_is_a_warning_once_a_goal_rests_on_it(tmp_path: Path) -> None:
    """Information before."""
    [without] = linted(tmp_path, setting("orders", unit=None))
    [target] = linted(tmp_path, setting("revenue", unit=None))
    assert (without.severity, target.severity) == ("info", "warning")


@pytest.mark.parametrize(
    "waive",
    [
        setting("revenue", waive=[{"code": "R403", "reason": "a demo"}]),
        lambda content: content.update(waive=[{"code": "R403", "reason": "a demo"}]),
    ],
    ids=["in the KPI", "in the file"],
)
def test_a_waived_finding_keeps_its_reason(waive: Change, tmp_path: Path) -> None:
    """And its waiver is no finding."""
    [found] = linted(tmp_path, both(setting("revenue", levers=None), waive))
    assert (found.code, found.waived) == ("R403", "a demo")


def test_a_waiver_of_one_kpi_covers_no_other(tmp_path: Path) -> None:
    """The other stays, and the waiver is not needed."""
    waive = setting("shoppers", waive=[{"code": "R403", "reason": "a demo"}])
    found = codes(linted(tmp_path, both(setting("revenue", levers=None), waive)))
    assert found == [("R403", "kpi 'revenue'"), ("W801", "kpi 'shoppers'")]


def test_the_day_decides_what_is_over(tmp_path: Path) -> None:
    """The last quarter of 2026 ends with it."""
    assert codes(linted(tmp_path, today=date(2026, 12, 31))) == []
    assert codes(linted(tmp_path, today=date(2027, 1, 1))) == [("T504", "objective 'grow'")]


def test_a_file_without_goals_has_none_to_find(tmp_path: Path) -> None:
    """Only that nobody uses its KPI."""

    def bare(content: Content) -> None:
        content.clear()
        content.update(version=1, events=clean()["events"], kpis=[kpi("orders", owner="me")])

    assert codes(linted(tmp_path, bare)) == [("O606", "kpi 'orders'")]
