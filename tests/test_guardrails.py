"""Guardrails in reasons and messages, and who sees what is individual."""

from __future__ import annotations

import io
import json
from typing import Any

from alerts_fakes import Event, catalog_of, simple
from prometheus_client import CollectorRegistry, generate_latest
from rich.console import Console
from test_engine import CHANNELS, World, hourly, off_pace

from onpace.alerts.collector import KpiCollector
from onpace.alerts.status_page import status_document, status_rows, status_table
from onpace.config.catalog import Catalog
from onpace.deploy.dashboard import render

MONTH = {"every": "month", "value": 72_000}


def guarded(*, refunds: dict[str, Any] | None = None, **revenue: Any) -> Catalog:
    """Revenue of 100 an hour, with its mean refund as the guardrail: at most 5 a month."""
    kpis = [
        simple(title="Revenue", targets=[MONTH], guardrails=["refund_rate"], **revenue),
        simple(
            "refund_rate",
            title="Refund rate",
            event="order.refunded",
            agg="avg",
            direction="lower_is_better",
            targets=[{"every": "month", "value": 5}],
            **(refunds or {}),
        ),
    ]
    return catalog_of(kpis, [off_pace(at="at_risk")], channels=CHANNELS)


def months(*values: float) -> list[Event]:
    """An event in the middle of every hour of October, November, …"""
    bounds = ["2026-10-01", "2026-11-01", "2026-12-01", "2027-01-01"]
    return [e for at_, value in enumerate(values) for e in hourly(bounds[at_], bounds[at_ + 1], lambda _, v=value: v)]


def test_a_good_status_says_that_a_guardrail_is_off() -> None:
    """The status itself is unchanged, in the period that runs and in those that ended."""
    place = World(guarded(), months(100, 100), "2026-11-16", order_refunded=months(9, 9))
    found = {(one.kpi, one.period): one for one in place.look("2026-11-16").statuses}
    october, november = found["revenue", "2026-10"], found["revenue", "2026-11"]
    assert (october.status, november.status) == ("met", "on_track")
    assert october.reason == "met, but guardrail Refund rate is missed: final 74,400 of 72,000"
    assert november.reason == "on track, but guardrail Refund rate is off track: 36,000 of 36,000 expected by now"
    assert found["refund_rate", "2026-11"].remark == ""


def test_the_remark_goes_when_the_guardrail_is_fine_again_but_a_final_one_stays() -> None:
    """Each look says it once."""
    refunds = months(9, 9)
    place = World(guarded(), months(100, 100, 100), "2026-11-16", order_refunded=refunds)
    first = place.look("2026-11-16").statuses
    again = place.look("2026-11-16 00:05").statuses
    assert [one.reason for one in again] == [one.reason for one in first]
    place.reader.events["order.refunded"] = months(9, 3, 3)
    later = {one.period: one for one in place.look("2026-11-17").statuses if one.kpi == "revenue"}
    assert later["2026-11"].remark == ""
    assert later["2026-11"].reason.startswith("on track: ")
    assert later["2026-10"].remark == ", but guardrail Refund rate is missed"


def test_a_bad_status_says_so_too_and_no_data_says_nothing() -> None:
    """`and`, not `but`."""
    place = World(guarded(), months(100, 50), "2026-11-16", order_refunded=months(9, 9))
    found = {(one.kpi, one.period): one for one in place.look("2026-11-16").statuses}
    assert found["revenue", "2026-11"].reason.startswith("off track, and guardrail Refund rate is off track: 18,000")
    nothing = World(guarded(), [], "2026-11-16", order_refunded=months(9, 9)).look("2026-11-16").statuses
    assert [one.reason for one in nothing if one.kpi == "revenue"] == ["no complete data in the period yet"]


def test_a_guardrail_of_another_period_counts_while_the_kpis_own_runs() -> None:
    """A daily guardrail beside a monthly KPI; what it was on a day says nothing of a month that is over."""
    catalog = guarded()
    daily = catalog.kpi("refund_rate").model_copy(
        update={"targets": simple("x", targets=[{"every": "day", "value": 5}]).targets}
    )
    catalog = catalog_of([catalog.kpi("revenue"), daily])
    place = World(catalog, months(100, 100), "2026-11-16 12:00", order_refunded=months(9, 9))
    found = {(one.kpi, one.period): one for one in place.look("2026-11-16 12:00").statuses}
    assert found["revenue", "2026-11"].remark == ", but guardrail Refund rate is off track"
    assert found["revenue", "2026-10"].remark == ""


def test_it_is_on_the_page_in_the_table_and_in_messages() -> None:
    """In words, everywhere."""
    place = World(guarded(), months(100, 50), "2026-11-20", order_refunded=months(9, 9))
    place.look("2026-11-15")
    found = place.look("2026-11-20")
    words = "and guardrail Refund rate is off track"
    assert status_rows(found, place.catalog)[0]["guardrails"] == words
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(status_table(found, place.catalog))
    assert f"off track, {words}" in console.export_text()
    [message] = place.notifier.sent
    assert message.annotations["guardrails"] == words
    assert f"off track in November 2026, {words}: " in message.annotations["summary"]


ANNA: dict[str, Any] = {"level": "individual", "owner": "anna", "title": "Anna's calls"}


def personal() -> World:
    """Revenue for all and Anna's calls for Anna, which are off pace, are said to lead revenue, and guard it."""
    kpis = [
        simple(title="Revenue", targets=[MONTH], owner="sales", guardrails=["calls"]),
        simple("calls", targets=[MONTH], drives=[{"kpi": "revenue", "lag": "1d"}], **ANNA),
    ]
    rules = [off_pace(), off_pace(name="calls-off-pace", kpi="calls", notify=["annas"])]
    place = World(catalog_of(kpis, rules, channels=CHANNELS), months(100, 50), "2026-11-20")
    place.look("2026-11-15")
    place.look("2026-11-20")
    return place


def test_what_is_individual_is_in_no_overview() -> None:
    """Neither on the page, in the metrics, on the dashboard, nor in messages about others."""
    place = personal()
    found = place.engine.latest
    assert found is not None
    registry = CollectorRegistry()
    registry.register(KpiCollector(lambda: place.catalog, lambda: found))
    shared = [m for m in place.notifier.sent if m.channel == "ops"]
    texts = [
        json.dumps(status_document(found, place.catalog)),
        generate_latest(registry).decode(),
        render(place.catalog),
        *(message.to_json() for message in shared),
    ]
    assert len(shared) == 1
    assert [text for text in texts if "calls" in text.lower()] == []
    assert [text for text in texts if "revenue" not in text.lower()] == []


def test_its_owner_sees_it_and_is_told() -> None:
    """With the owner's name, what is the owner's and nothing else."""
    place = personal()
    assert place.engine.latest is not None
    document = status_document(place.engine.latest, place.catalog, "anna")
    assert [row["kpi"] for row in document["kpis"]] == ["calls"]
    assert [alert["kpi"] for alert in document["alerts"]] == ["calls"]
    assert [m.labels["kpi"] for m in place.notifier.sent if m.channel == "annas"] == ["calls"]
