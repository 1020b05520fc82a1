"""What was reported: versions, what is missing, what is overdue, and what of a new report is new."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from processors_fakes import log_of
from processors_world import NOW, drain, rebuild, world
from reports_fakes import REPORTED_AT, report, reported, reporting

from onpace.config.calendar import Grain, Period
from onpace.config.errors import OnPaceError
from onpace.config.reporting import ReportedValue, parse_report
from onpace.ingest.report_csv import read_reports
from onpace.ingest.reporting import plan_reports
from onpace.processors.clickhouse import ClickHouse
from onpace.processors.inheritance import PartitionProgress, inherit, inherited
from onpace.processors.partials import Slot
from onpace.processors.reader import Reader
from onpace.processors.reports import Reported, Reports, ReportVersion
from onpace.processors.writer import EPOCH, Flush, StoreWriter, Watermark

NPS = reported("nps", due="5d", owner="marketing", dimensions=["region"], timezone="Europe/Berlin")
CATALOG = reporting(NPS)


def at(text: str) -> datetime:
    """In UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def months(*texts: str) -> frozenset[Period]:
    """Periods."""
    return frozenset(map(Period.parse, texts))


def test_a_value_is_overdue_once_it_was_due_so_long_after_its_period() -> None:
    """October begins at 22:00 UTC in Berlin, and September's value may take five days."""
    one = Reported(NPS, months("2026-08"))
    assert one.overdue(at("2026-10-05 21:59")) is None
    late = one.overdue(at("2026-10-05 22:00"))
    assert late is not None
    assert late.reason == "nps for 2026-09 is overdue since 2026-10-06 (owner: marketing)"
    assert late.since == at("2026-10-05 22:00")


def test_every_missing_period_counts_from_the_first_one_reported() -> None:
    """Also a gap between two that are there."""
    one = Reported(NPS, months("2026-03", "2026-05", "2026-06"))
    late = one.overdue(at("2026-09-10"))
    assert late is not None
    assert [str(period) for period in late.periods] == ["2026-04", "2026-07", "2026-08"]
    assert late.reason == "nps for 2026-04 is overdue since 2026-05-06, and 2 more up to 2026-08 (owner: marketing)"
    assert [str(period) for period in one.missing(at("2026-08-02"))] == ["2026-04", "2026-07"]


@pytest.mark.parametrize(("now", "period"), [("2026-10-03", "2026-08"), ("2026-10-20", "2026-09")])
def test_a_kpi_that_nobody_has_reported_yet_lacks_its_latest_due_period(now: str, period: str) -> None:
    """There is no telling since when it should have been."""
    late = Reported(NPS, frozenset()).overdue(at(now))
    assert late is not None
    assert [str(one) for one in late.periods] == [period]


def test_a_window_is_whole_when_every_period_in_it_was_reported() -> None:
    """A quarter of months."""
    quarter = Period.parse("2026-Q1").bounds(NPS.zone)
    assert not Reported(NPS, months("2026-01", "2026-03")).holds(*quarter)
    whole = Reported(NPS, months("2026-01", "2026-02", "2026-03"))
    assert whole.holds(*quarter)
    assert whole.until == quarter[1]


def test_every_version_is_kept_and_the_latest_counts(store: ClickHouse) -> None:
    """By the time of the report, whatever order they arrive in."""
    sent = [
        report("b", "nps", "2026-02", 42, at=20, source="survey", note="n=210"),
        report("a", "nps", "2026-02", 40, at=10),
        report("c", "nps", "2026-02", 12.50, at=30, by={"region": "EU"}),
        report("d", "nps", "2026-01", 7, at=5),
    ]
    drain(world(store, CATALOG, logs := {0: log_of(sent)}), logs)
    versions = Reports(store, CATALOG).versions()
    assert [(one.period, one.by, one.value, one.id, one.current) for one in versions] == [
        ("2026-01", (), "7", "d", True),
        ("2026-02", (), "40", "a", False),
        ("2026-02", (), "42", "b", True),
        ("2026-02", (("region", "EU"),), "12.5", "c", True),
    ]
    assert versions[2].reported_at == REPORTED_AT + timedelta(minutes=20)


def test_another_dimension_keeps_what_was_reported_before(store: ClickHouse) -> None:
    """The history is rebuilt from the archive under the new definition."""
    sent = [report("a", "nps", "2026-02", 40), report("b", "nps", "2026-02", 42, at=1, by={"region": "EU"})]
    worker = world(store, CATALOG, logs := {0: log_of(sent)})
    drain(worker, logs)
    wider = reporting(NPS.model_copy(update={"dimensions": ("team", "region")}))
    worker.adopt(wider)
    assert Reports(store, wider).versions() == []
    world(store, wider, logs)
    rebuild(store, wider)
    assert [(one.by, one.value) for one in Reports(store, wider).versions()] == [
        ((), "40"),
        ((("region", "EU"),), "42"),
    ]


MERGED = {"last": 30, "sum": 60.5, "avg": 60.5 / 3}


@pytest.mark.parametrize("merge", MERGED)
def test_a_quarter_is_made_of_its_months(store: ClickHouse, merge: str) -> None:
    """10.25 (first 8, corrected), 20.25 and 30: the last is 30, the sum 60.5, the mean a third of it."""
    kpi = reported("k", merge=merge, timezone="America/New_York")
    catalog = reporting(kpi)
    sent = [
        report("a", "k", "2026-01", 8),
        report("b", "k", "2026-02", 20.25, at=1),
        report("c", "k", "2026-01", 10.25, at=2),
    ]
    logs = {0: log_of(sent)}
    worker = world(store, catalog, logs)
    drain(worker, logs)
    start, end = Period.parse("2026-Q1").bounds(kpi.zone)

    def quarter() -> tuple[float | None, bool]:
        [point] = Reader(store, catalog).series("k", Grain.QUARTER, start, end)[()]
        return point.value, point.complete

    assert quarter()[1] is False
    logs[0] += log_of([report("d", "k", "2026-03", 30, at=3)], start=3)
    drain(worker, logs)
    assert quarter() == (pytest.approx(MERGED[merge], rel=1e-15), True)
    [month, *_] = Reader(store, catalog).series("k", Grain.MONTH, start, end)[()]
    assert (month.value, month.complete, month.window_start) == (10.25, True, start)


def a_report(value: str, period: str = "2026-02", source: str = "", note: str = "") -> ReportedValue:
    """Of nps."""
    return parse_report(CATALOG, "nps", period, value, by={}, source=source, note=note)


def version(value: str, id: str = "x", at: datetime = REPORTED_AT) -> ReportVersion:
    """In force for February."""
    return ReportVersion("nps", "2026-02", (), value, "", "", at, "/t", id, current=True)


KEY = ("nps", "2026-02", ())


def test_the_same_report_again_is_nothing_new() -> None:
    """Whatever zeros it is written with."""
    [same] = plan_reports([a_report("42.0")], {KEY: version("42")}, NOW)
    assert same.event is None
    assert same.sentence == "nps 2026-02: 42.0, as reported already: nothing changed"


def test_a_replaced_value_is_said_and_a_value_that_returns_is_a_version_of_its_own() -> None:
    """40, then 42, then 40 again: three events; sending any of them twice is one."""
    [first] = plan_reports([a_report("40")], {}, NOW)
    [second] = plan_reports([a_report("42")], {KEY: version("40", "one")}, NOW)
    [third] = plan_reports([a_report("40")], {KEY: version("42", "two")}, NOW)
    assert second.sentence == "nps 2026-02: 42 (was 40, kept as an earlier version)"
    assert first.event
    assert second.event
    assert third.event
    assert len({first.event.id, second.event.id, third.event.id}) == 3
    assert plan_reports([a_report("42")], {KEY: version("40", "one")}, NOW + timedelta(days=1))[0].event != first.event
    again = plan_reports([a_report("42")], {KEY: version("40", "one")}, NOW + timedelta(days=1))[0].event
    assert again
    assert again.id == second.event.id


def test_another_source_or_note_is_a_new_version() -> None:
    """Of the same value."""
    [one] = plan_reports([a_report("42", note="n=210")], {KEY: version("42")}, NOW)
    assert one.sentence == "nps 2026-02: 42 (with another source or note; the earlier version is kept)"


def test_a_report_is_dated_after_what_it_replaces() -> None:
    """Or a clock that is ahead elsewhere would keep its value in force."""
    ahead = NOW + timedelta(hours=3)
    [one] = plan_reports([a_report("42")], {KEY: version("40", at=ahead)}, NOW)
    assert one.event
    assert one.event.time > ahead


def test_a_report_keeps_the_digits_that_were_given() -> None:
    """As a number of JSON."""
    [one] = plan_reports([a_report("0.10")], {}, NOW)
    assert one.event
    assert b'"value":0.10' in one.event.data


def test_a_file_of_reports_names_every_bad_row_and_gives_the_others(tmp_path: Path) -> None:
    """By line, as an editor counts them."""
    path = tmp_path / "f.csv"
    path.write_text(
        "\ufeffkpi, period,value,source,note,region\n"
        'nps,2026-02,42,Q3 survey,"two,\nlines",\n'
        "nps,2026-02,10,,,EU\n"
        "nps,2026-13,1,,,\n"
        "npss,2026-02,1,,,\n"
        'nps,2026-02,"1,5",,,\n'
        "nps,2026-02,11,,,EU\n"
        "nps,2027-10,11,,,\n"
        "nps,2026-01,,,,\n"
        "\n"
        "nps,2026-01,1,a,b,EU,x\n"
        "nps,2026-01,1\n",
        encoding="utf-8",
    )
    found = read_reports(path, CATALOG, NOW)
    assert [(one.subject, one.value, one.source, one.note) for one in found.reports] == [
        ("nps 2026-02", "42", "Q3 survey", "two,\nlines"),
        ("nps 2026-02 region=EU", "10", "", ""),
        ("nps 2026-01", "1", "", ""),
    ]
    assert [problem.removeprefix(f"{path}:") for problem in found.problems] == [
        "5: '2026-13' is no month: 'nps' is reported per month, as in 2026-10, from 1971 to 2095",
        "6: unknown KPI 'npss' (did you mean 'nps'?)",
        "7: '1,5' is not a number: write 42 or 41.5, with a point and without a unit",
        "8: nps 2026-02 region=EU is on line 4 already: leave one of them out",
        "9: 2027-10 has not begun: a report says what was; what should be is a target",
        "10: 'value' is empty",
        "12: more cells than columns: put text that holds a comma in quotes",
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"kpi,value\nnps,1\n", ":1: column period missing: the first line names kpi, period, value, source, note"),
        (b"", ":1: columns kpi, period, value missing"),
        (b"kpi,period,value,kpi\n", ":1: column 'kpi' is there twice"),
        (b"kpi,period,value\nnps,2026-02,\xff\n", ": is not UTF-8: give a CSV file"),
        (b'kpi,period,value\nnps,"2026-02"x,1\n', ": no CSV after line 1: "),
        (None, ": No such file or directory: give a CSV file"),
    ],
)
def test_a_file_that_is_none_is_refused_as_a_whole(tmp_path: Path, content: bytes | None, message: str) -> None:
    """In one line."""
    path = tmp_path / "f.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(OnPaceError) as caught:
        read_reports(path, CATALOG, NOW)
    assert str(caught.value).startswith(f"{path}{message}")


def test_a_new_life_begins_as_far_as_the_one_before_had_come() -> None:
    """Each event type as far as its slowest partition, and never beyond its last event."""
    early, noon, late = (at(f"2026-04-01 {hour}:00") for hour in ("08", "12", "18"))
    slots = [Slot(0, UUID(int=9), 0), Slot(0, UUID(int=9), 1)]
    replayed = [PartitionProgress(EPOCH, {"a": early, "b": late}), PartitionProgress(EPOCH, {"a": noon})]
    assert inherited(replayed, slots[:1]) == [Watermark(slots[0], ""), Watermark(slots[0], "a", early)]
    live = [PartitionProgress(noon, {"a": late}), PartitionProgress(early, {"a": early})]
    assert inherited(live, slots) == [Watermark(slot, "", caught_up_at=early) for slot in slots]
    between = [PartitionProgress(noon, {"a": early}), PartitionProgress(early, {"a": late})]
    assert inherited(between, slots[:1]) == [
        Watermark(slots[0], "", caught_up_at=early),
        Watermark(slots[0], "a", noon),
    ]


def test_a_life_that_came_nowhere_is_passed_over(store: ClickHouse) -> None:
    """As one that was killed right after it began: what the one before had reached is not lost with it."""
    lives = [UUID(int=number) for number in (1, 2, 3)]
    for number, life in enumerate(lives):
        writer = StoreWriter(store, "events")
        writer.record_incarnation(life, 1, NOW + timedelta(minutes=number))
        writer.write(Flush(watermarks=[Watermark(Slot(0, life, 0), "", caught_up_at=EPOCH)]))
    reached = Watermark(Slot(0, lives[0], 0), "a", max_event_time=NOW)
    StoreWriter(store, "events").write(Flush(watermarks=[reached]))
    inherit(store, "events")
    rows = store.query(
        "SELECT incarnation, max(max_event_time) FROM watermarks WHERE event_type = 'a' GROUP BY 1 ORDER BY 1"
    )
    assert rows == [(lives[0], NOW), (lives[2], NOW)]
