"""Reports, told as timetables: when they are due, that each is sent once, and what they say."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from textwrap import indent
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from alerts_fakes import Event, MemoryHistory, MemoryNotifier, at, catalog_of, simple
from structlog.testing import capture_logs
from test_engine import CHANNELS, HOUR, World, hourly, off_pace

from onpace.alerts import reporter
from onpace.alerts.engine import Engine
from onpace.alerts.evaluation import Evaluation
from onpace.alerts.notifications import Notification
from onpace.alerts.report_log import ReportRow
from onpace.alerts.report_text import Fired, ReportText, ReportView
from onpace.alerts.report_times import due_before, report_calendar, shown_period
from onpace.alerts.reporter import Reporter
from onpace.config.calendar import Calendar
from onpace.config.calendars import CalendarRules
from onpace.config.catalog import Catalog
from onpace.config.errors import StoreUnavailable
from onpace.config.kpi import Objective
from onpace.config.kpi_entities import Kpi
from onpace.config.rules import Rule, ThresholdRule
from onpace.config.scorecard_reports import ScorecardReport

GOLDEN = Path(__file__).parent / "golden"
BERLIN = ZoneInfo("Europe/Berlin")
NIGHTLY = {"every": "day", "at": "02:30"}
MONTHLY = {"title": "Revenue", "unit": "EUR", "targets": [{"every": "month", "value": 72_000}]}


def report(**given: Any) -> ScorecardReport:
    """A weekly one to the team, unless told otherwise."""
    common = {"name": "weekly", "every": "week", "notify": ["team"]}
    return ScorecardReport.model_validate(common | given)


def times(plan: ScorecardReport, start: str, count: int) -> list[datetime]:
    """So many times that it is due, up to `start`, oldest first."""
    found, moment = [], at(start)
    for _ in range(count):
        found.append(due_before(plan, moment))
        moment = found[-1] - timedelta(microseconds=1)
    return found[::-1]


@pytest.mark.parametrize(
    ("given", "until", "due"),
    [
        # the clocks go forward on March 29 and back on October 25: it stays eight in Berlin
        ({"at": "mon 08:00"}, "2026-04-06 12:00", ["2026-03-23 07:00", "2026-03-30 06:00", "2026-04-06 06:00"]),
        ({}, "2026-11-02 07:00", ["2026-10-19 06:00", "2026-10-26 07:00", "2026-11-02 07:00"]),
        ({}, "2026-11-02 06:59", ["2026-10-19 06:00", "2026-10-26 07:00"]),
        ({"at": "fri 16:30"}, "2026-11-02 06:59", ["2026-10-23 14:30", "2026-10-30 15:30"]),
        # 02:30 is not there on March 29, and there twice on October 25
        (
            NIGHTLY,
            "2026-03-30 12:00",
            ["2026-03-28 01:30", "2026-03-29 01:30", "2026-03-30 00:30"],
        ),
        (
            NIGHTLY,
            "2026-10-26 12:00",
            ["2026-10-24 00:30", "2026-10-25 00:30", "2026-10-26 01:30"],
        ),
        ({"every": "month"}, "2026-12-01 07:00", ["2026-10-01 06:00", "2026-11-01 07:00", "2026-12-01 07:00"]),
        (
            {"every": "month", "at": "last 17:00"},
            "2026-03-31 16:00",
            ["2026-02-28 16:00", "2026-03-31 15:00"],
        ),
        (
            {"every": "quarter", "at": "5 08:00"},
            "2026-11-01 00:00",
            ["2026-07-05 06:00", "2026-10-05 06:00"],
        ),
        ({"every": "quarter", "at": "last 17:00"}, "2026-11-01 00:00", ["2026-06-30 15:00", "2026-09-30 15:00"]),
    ],
)
def test_it_is_due_by_the_clock_of_its_zone(given: dict[str, str], until: str, due: list[str]) -> None:
    """Each time once, also where the clocks change."""
    plan = report(timezone="Europe/Berlin", **given)
    assert times(plan, until, len(due)) == [at(text) for text in due]


def test_no_day_of_ten_years_is_left_out_or_comes_twice() -> None:
    """One a day, an hour nearer or further where the clocks change."""
    plan = report(every="day", at="02:30", timezone="Europe/Berlin")
    found = times(plan, "2036-01-01 00:00", 3652)
    assert len({one.astimezone(BERLIN).date() for one in found}) == 3652
    assert {later - earlier for earlier, later in pairwise(found)} <= {23 * HOUR, 24 * HOUR, 25 * HOUR}


@pytest.mark.parametrize(
    ("given", "due", "shown"),
    [
        ({"every": "month", "of": "month"}, "2026-12-01 08:00", "2026-11"),
        ({"every": "month", "of": "month", "at": "3 08:00"}, "2026-12-03 08:00", "2026-11"),
        ({"every": "month", "of": "month", "at": "last 17:00"}, "2026-11-30 17:00", "2026-11"),
        ({"of": "week"}, "2026-11-16 08:00", "2026-W46"),
        ({"of": "week", "at": "fri 16:00"}, "2026-11-20 16:00", "2026-W47"),
        ({}, "2026-11-16 08:00", "2026-Q4"),
        ({}, "2027-01-04 08:00", "2026-Q4"),
        ({}, "2027-01-11 08:00", "2027-Q1"),
        ({"every": "day", "of": "day"}, "2026-11-16 08:00", "2026-11-15"),
        ({"every": "quarter"}, "2027-01-01 08:00", "2026-Q4"),
    ],
)
def test_it_shows_the_period_that_it_is_about(given: dict[str, str], due: str, shown: str) -> None:
    """That of the middle of the time since the one before; also when it is made an hour later."""
    plan = report(**given)
    for moment in (at(due), at(due) + HOUR):
        assert str(shown_period(plan, moment, Calendar(ZoneInfo("UTC")))) == shown


class MemoryReportLog:
    """A ReportLog in memory, over the store and the outbox of the fakes."""

    def __init__(self, history: MemoryHistory, outbox: MemoryNotifier) -> None:
        self.rows: list[ReportRow] = []
        self._history = history
        self._outbox = outbox

    def last(self, report: str, *, sent: bool = False) -> ReportRow | None:
        """The latest."""
        mine = [row for row in self.rows if row.report == report and (row.outcome == "sent" or not sent)]
        return max(mine, key=lambda row: (row.due, row.made_at), default=None)

    def save(self, row: ReportRow) -> None:
        """Keep it."""
        self.rows.append(row)

    def submitted(self, keys: Sequence[str]) -> set[str]:
        """What was handed over."""
        return {one.key for one in self._outbox.sent} & set(keys)

    def fired(self, since: datetime) -> list[Fired]:
        """From the transitions."""
        found = [one for one in self._history.transitions if one.alert.state == "firing" and one.at >= since]
        return [
            Fired(one.alert.rule, one.alert.kpi, one.alert.series, one.alert.period, one.at, still=False)
            for one in sorted(found, key=lambda one: one.at)
        ]


class Office(World):
    """A world with reports."""

    made: MemoryReportLog | None = None

    def restart(self, catalog: Catalog | None = None) -> None:
        """A new engine over the same store."""
        self.catalog = self.reader.catalog = catalog or self.catalog
        self.made = self.made or MemoryReportLog(self.history, self.notifier)
        self.reporter = Reporter(self.catalog, self.reader, self.history, self.made, self.notifier)
        self.engine = Engine(self.catalog, self.reader, self.history, self.notifier, reporter=self.reporter)

    @property
    def reports(self) -> list[Notification]:
        """Those that were sent."""
        return [one for one in self.notifier.sent if one.state == "report"]

    def sent(self) -> list[tuple[str, str]]:
        """When each was made, and when it was due."""
        return [(f"{one.created_at:%m-%d %H:%M}", f"{one.starts_at:%m-%d %H:%M}") for one in self.reports]


def office(
    plan: ScorecardReport,
    *kpis: Kpi,
    rules: Sequence[Rule] = (),
    events: Sequence[Event] = (),
    expected_every: timedelta | None = None,
) -> Office:
    """100 EUR an hour, unless told otherwise."""
    placed = events or hourly("2026-09-01", "2027-01-10", lambda _: 100.0)
    catalog = catalog_of(kpis or [simple(**MONTHLY)], rules, channels=CHANNELS, expected_every=expected_every)
    return Office(replace(catalog, reports={plan.name: plan}), placed, "2026-11-01")


def test_it_is_sent_once_at_its_time() -> None:
    """Every Monday, by the first evaluation from eight on; what was due before the engine ever ran is not."""
    world = office(report())
    world.run("2026-11-01 00:00", "2026-11-24 12:00", every=timedelta(minutes=90))
    assert world.sent() == [(f"11-{day} 09:00", f"11-{day} 08:00") for day in ("02", "09", "16", "23")]
    assert len({one.key for one in world.reports}) == 4


def test_a_restart_right_after_sending_sends_nothing_again() -> None:
    """Also where the engine died before it had noted that it was sent."""
    world = office(report())
    world.run("2026-11-01 00:00", "2026-11-02 08:00")
    world.look("2026-11-02 08:00")
    assert world.made is not None
    world.restart()
    world.look("2026-11-02 08:01")
    assert world.made.rows.pop().outcome == "sent"
    world.restart()
    world.look("2026-11-02 08:02")
    assert world.sent() == [("11-02 08:00", "11-02 08:00")]
    assert world.made.rows[-1].outcome == "sent"


def test_a_store_that_is_away_delays_it() -> None:
    """The next evaluation sends it, once."""
    world = office(report())
    world.look("2026-11-01 00:00")
    assert world.made is not None
    save = world.made.save

    def away(_row: ReportRow) -> None:
        raise StoreUnavailable("away")

    world.made.save = away  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailable):
        world.look("2026-11-02 08:00")
    world.made.save = save  # type: ignore[method-assign]
    world.look("2026-11-02 08:01")
    world.look("2026-11-02 08:02")
    assert world.sent() == [("11-02 08:00", "11-02 08:00")]


def test_a_mistake_in_one_report_ends_neither_the_engine_nor_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is logged, and tried again with each evaluation."""
    world = office(report(name="bad"))
    both = {"bad": report(name="bad"), "good": report(name="good")}
    world.restart(replace(world.catalog, reports=both))
    write = reporter.write_report

    def broken(view: ReportView) -> ReportText:
        if view.plan.name == "bad":
            raise ZeroDivisionError
        return write(view)

    monkeypatch.setattr(reporter, "write_report", broken)
    world.look("2026-11-01 00:00")
    world.look("2026-11-02 08:00")
    assert [one.labels["report"] for one in world.reports] == ["good"]
    monkeypatch.setattr(reporter, "write_report", write)
    world.look("2026-11-02 08:01")
    assert [one.labels["report"] for one in world.reports] == ["good", "bad"]


def test_an_engine_that_was_down_makes_up_for_it_within_a_day() -> None:
    """After that it is left out, and said."""
    world = office(report())
    world.look("2026-11-01 00:00")
    world.restart()
    world.look("2026-11-03 07:59")
    assert world.sent() == [("11-03 07:59", "11-02 08:00")]
    world.restart()
    with capture_logs() as logs:
        world.look("2026-11-10 08:01")
        world.look("2026-11-10 08:02")
    assert [line["report"] for line in logs if "left out" in line["event"]] == ["weekly"]
    assert len(world.sent()) == 1
    assert world.made is not None
    assert [row.outcome for row in world.made.rows] == ["begun", "sent", "skipped"]
    world.look("2026-11-16 08:00")
    assert world.sent()[1:] == [("11-16 08:00", "11-16 08:00")]


def test_a_changed_schedule_begins_anew() -> None:
    """What was due by it before it was there is not sent; the next time is."""
    world = office(report())
    world.run("2026-11-01 00:00", "2026-11-03 12:00")
    tuesdays = report(at="tue 08:00")
    world.restart(replace(world.catalog, reports={"weekly": tuesdays}))
    world.run("2026-11-03 12:00", "2026-11-10 12:00")
    assert world.sent() == [("11-02 12:00", "11-02 08:00"), ("11-10 12:00", "11-10 08:00")]


def test_a_replay_sends_none() -> None:
    """Nor does a preview."""
    world = office(report())
    world.look("2026-11-01 00:00")
    world.look("2026-11-02 08:00", notify=False)
    world.engine.preview(at("2026-11-02 08:01"))
    assert world.sent() == []


def test_all_good_is_said() -> None:
    """In the subject, in the first line, and that nothing has changed or fired."""
    plan = report(title="Sales", notify=["team", "ops"], owner="sales")
    world = office(plan, simple(owner="sales", **MONTHLY))
    world.run("2026-11-01 00:00", "2026-11-09 12:00")
    assert [one.channel for one in world.reports] == ["team", "ops", "team", "ops"]
    last = world.reports[-1]
    assert last.annotations["summary"] == "Sales: the only KPI of sales is on track"
    assert last.annotations["description"] == "The only KPI of sales is on track."
    assert "- no KPI has got better or worse\n" in last.annotations["text"]
    assert "- none fired\n" in last.annotations["text"]
    assert last.labels == {"report": "weekly", "service": "onpace"}


def bad_november(moment: datetime) -> float:
    """Half of it from the 6th on."""
    return 50.0 if moment >= at("2026-11-06") else 100.0


def shop_office() -> Office:
    """Revenue goes wrong, orders do not; the refund rate is too high all the time, and nobody sends visits any more."""

    def kpi(name: str, title: str, **more: Any) -> Kpi:
        targets = [{"every": "month", **more.pop("target")}] if "target" in more else []
        return simple(name, title=title, team="shop", targets=targets, **more)

    kpis = [
        kpi("revenue", "Revenue", unit="EUR", target={"value": 72_000}),
        kpi("orders", "Orders", agg="count", value=None, target={"value": 720}),
        kpi("refunds", "Refunds", event="refund", unit="EUR", direction="lower_is_better", target={"value": 500}),
        kpi("size", "Order size", agg="avg", unit="EUR", direction="in_range", target={"min": 50, "max": 70}),
        kpi("visits", "Visits", event="visit", agg="count", value=None),
        simple("private", title="Anna's", level="individual", owner="anna"),
    ]
    grow = {"name": "grow", "title": "Grow", "period": "2026-Q4", "team": "shop"}
    results = {"key_results": [{"kpi": "revenue", "value": 220_000}]}
    rules = [off_pace(), off_pace(name="annas", kpi="private")]
    catalog = replace(
        catalog_of(kpis, rules, channels=CHANNELS, expected_every=2 * HOUR),
        reports={"weekly": report(title="The shop", team="shop", timezone="Europe/Berlin")},
        objectives={"grow": Objective.model_validate(grow | results)},
    )
    orders = hourly("2026-09-01", "2026-11-20", bad_november)
    refunds = hourly("2026-09-01", "2026-11-20", lambda _: 1.0)
    visits = hourly("2026-09-01", "2026-11-08", lambda _: 1.0)
    world = Office(catalog, orders, "2026-11-01", refund=refunds, visit=visits)
    world.run("2026-11-01 00:00", "2026-11-16 07:00", every=HOUR)
    return world


@pytest.fixture(scope="module")
def shop_reports() -> list[Notification]:
    """Those of three Mondays."""
    return shop_office().reports


def test_it_says_what_is_off_what_has_changed_and_what_fired(shop_reports: list[Notification]) -> None:
    """The golden text: what a team reads on Monday."""
    first, second, third = shop_reports
    assert second.annotations["text"] == (GOLDEN / "report.txt").read_text(encoding="utf-8")
    assert second.annotations["markdown"] == (GOLDEN / "report.md").read_text(encoding="utf-8")
    page = (GOLDEN.parents[1] / "docs" / "alerts.md").read_text(encoding="utf-8")
    assert indent(f"{second.annotations['summary']}\n\n{second.annotations['text']}", "    ") in page
    assert "Since the last report" not in first.annotations["text"]
    assert "- better: Order size: off track → on track\n" in third.annotations["text"]
    assert "- none fired\n" in third.annotations["text"]


def test_nobody_else_hears_of_what_is_individual(shop_reports: list[Notification]) -> None:
    """Neither of the KPI nor of its alerts."""
    said = json.dumps([one.to_json() for one in shop_reports])
    assert "Anna" not in said
    assert "private" not in said


def test_an_owners_report_holds_what_is_individual() -> None:
    """It goes to the owner's channels only: `validate` sees to that."""
    kpis = [simple(level="individual", owner="anna", title="Anna's", targets=[{"every": "month", "value": 72_000}])]
    world = office(report(owner="anna", notify=["team"]), *kpis)
    world.run("2026-11-01 00:00", "2026-11-02 12:00")
    assert "Anna's: 3,600 of 72,000" in world.reports[0].annotations["text"]


def test_a_number_that_is_stale_is_named() -> None:
    """And why."""
    world = office(report(), expected_every=HOUR, events=hourly("2026-09-01", "2026-11-01 20:00", lambda _: 100.0))
    world.run("2026-11-01 00:00", "2026-11-02 09:00", every=HOUR)
    text = world.reports[0].annotations["text"]
    silent = "order.placed: no event since 2026-11-01 19:30:00 UTC, expected every 1h"
    assert f"Not up to date:\n- Revenue: {silent}\n" in text


def test_without_targets_it_says_so() -> None:
    """There is nothing to be on track for."""
    world = office(report(), simple())
    world.run("2026-11-01 00:00", "2026-11-02 12:00")
    assert world.reports[0].annotations["description"] == "No KPI has a target."


def test_what_an_earlier_report_has_told_of_is_not_told_again() -> None:
    """And what came in late is not lost: alerts are dated by their window, not by when they were found."""
    world = office(report(), rules=[off_pace()], events=hourly("2026-09-01", "2026-12-20", bad_november))
    world.run("2026-11-01 00:00", "2026-11-06 20:00", every=HOUR)
    world.look("2026-11-09 08:00")  # evaluated only now, with points of its `for` looked at behind
    world.run("2026-11-09 09:00", "2026-11-16 09:00", every=HOUR)
    named = ["revenue-off-pace" in one.annotations["text"] for one in world.reports]
    assert named == [False, True, False]


def test_a_dimension_value_is_neither_link_nor_html() -> None:
    """Names in a report come from events."""
    rule = {"name": "low", "kpi": "revenue", "when": "threshold", "below": 200, "by": ["region"]}
    evil = "[click](http://x) <b>"
    events = hourly("2026-10-30", "2026-11-03", lambda _: 100.0, region=evil)
    kpi = simple(title="Revenue", dimensions={"region": "region"})
    world = office(report(), kpi, rules=[ThresholdRule.model_validate(rule)], events=events)
    world.run("2026-11-01 00:00", "2026-11-02 12:00")
    assert "region \\[click](http://x) <b>" in world.reports[0].annotations["markdown"]


def test_fiscal_periods_are_those_of_the_first_calendar_that_has_them() -> None:
    """From April 1 on."""
    rules = CalendarRules.model_validate({"name": "fiscal", "fiscal_year_start": "04-01"})
    catalog = catalog_of([simple("a"), simple("b", calendar=rules)])
    plan = report(of="fiscal_quarter")
    calendar = report_calendar(plan, catalog)
    assert calendar.fiscal_start == (4, 1)
    assert str(shown_period(plan, at("2026-11-16 08:00"), calendar)) == "FY2027-Q3"
    assert report_calendar(report(timezone="Europe/Berlin"), catalog) == Calendar(BERLIN)


def test_a_report_survives_the_outbox() -> None:
    """As it went in."""
    one = office_report()
    assert Notification.from_json(one.to_json()) == one
    assert json.loads(one.to_json())["state"] == "report"


def office_report() -> Notification:
    """One that was sent."""
    world = office(report())
    world.run("2026-11-01 00:00", "2026-11-02 12:00")
    return world.reports[0]


def test_a_preview_says_what_would_be_sent() -> None:
    """Without keeping anything."""
    world = office(report())
    found: Evaluation = world.look("2026-11-05 12:00")
    assert world.reporter.write(report(), found).summary == "The only KPI is on track."
    assert world.reports == []


@pytest.mark.parametrize(
    ("value", "kpis", "summary"),
    [
        (97.0, 1, "1 of 1 KPI is at risk: Revenue (2,910 of 3,000 EUR expected by now, 97 %)."),
        (90.0, 2, "1 of 2 KPIs is off track: Revenue (2,700 of 3,000 EUR expected by now, 90 %); no data: Later."),
        (100.0, 2, "1 of 2 KPIs has no data: Later."),
    ],
)
def test_the_first_line_names_the_worst_first(value: float, kpis: int, summary: str) -> None:
    """What is off track, then what is at risk, then what has no data."""
    later = simple("later", title="Later", event="later", targets=[{"every": "month", "value": 1}])
    events = hourly("2026-11-01", "2026-11-03", lambda _: value)
    world = office(report(), *[simple(**MONTHLY), later][:kpis], events=events)
    world.run("2026-11-01 00:00", "2026-11-02 06:00")
    assert world.reporter.write(report(), world.engine.preview(at("2026-11-02 06:00"))).summary == summary
