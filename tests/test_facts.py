"""Events that are kept one by one, for the KPIs that follow entities."""

from __future__ import annotations

from datetime import timedelta

import pytest
from entities_fakes import FOLLOWED, balance, conversion, retention, wrong_facts
from processors_fakes import (
    NEXT_LIFE,
    ORDER,
    START,
    TOPIC,
    VISIT,
    Record,
    Sent,
    catalog_of,
    counted,
    log_of,
    order,
    settings,
    visit,
)
from processors_world import NOW, Crash, drain, rebuild, world

from onpace.processors.clickhouse import ClickHouse
from onpace.processors.rebuild import Rebuilder


def some_orders(count: int = 20) -> list[Sent]:
    """A few orders of three users over three days."""
    return [
        order(str(at), START + timedelta(hours=3.7 * at), user_id=f"u{at % 3}", items=at, score=at / 7, region="EU")
        for at in range(count)
    ]


def kept(store: ClickHouse, columns: str) -> list[tuple[object, ...]]:
    """All facts, in the order of the log."""
    return store.query(f"SELECT {columns} FROM facts FINAL ORDER BY kpi, partition, offset")


@pytest.mark.parametrize("step", ["events", "facts", "partials", "watermarks", "checkpoints"])
def test_a_flush_that_ends_anywhere_leaves_every_fact_once(store: ClickHouse, step: str) -> None:
    """Whoever goes on writes the same rows again."""
    sent = some_orders()
    logs = {0: log_of(sent)}
    worker = world(store, FOLLOWED, logs)
    worker.take(0, 8)
    worker.crash_at = step
    with pytest.raises(Crash):
        worker.flush()
    drain(world(store, FOLLOWED, logs), logs)
    assert not wrong_facts(store, FOLLOWED, counted(sent))


def test_what_a_dead_life_archived_past_its_checkpoint_is_kept(store: ClickHouse) -> None:
    """Its successor folds the tail from the archive."""
    sent = some_orders()
    first = world(store, FOLLOWED, {0: log_of(sent)})
    first.take(0, 8)
    first.flush()
    first.take(0, 20)
    first.crash_at = "events"
    with pytest.raises(Crash):
        first.flush()
    reborn: dict[int, list[Record]] = {0: []}
    world(store, FOLLOWED, reborn, life=NEXT_LIFE)
    assert not wrong_facts(store, FOLLOWED, counted(sent))


def test_a_rebuild_writes_the_rows_that_the_stream_writes(store: ClickHouse) -> None:
    """To the bit, so that none of them counts twice where both did."""
    sent = some_orders()
    drain(worker := world(store, FOLLOWED, logs := {0: log_of(sent), 1: log_of(some_orders(0))}), logs)
    streamed = store.query("SELECT * FROM facts FINAL ORDER BY ALL")
    store.command("TRUNCATE TABLE facts")
    few = catalog_of(FOLLOWED.kpis["orders"])
    worker.adopt(few)
    worker.adopt(FOLLOWED)
    rebuilder = Rebuilder(store, FOLLOWED, TOPIC, settings(), lambda: NOW)
    assert {"again.base", "again.conversion", "back.start", "back.return", "stock.change", "credit.change"} < {
        name for gap in rebuilder.gaps() for name in gap.kpis
    }
    rebuild(store, FOLLOWED)
    assert store.query("SELECT * FROM facts FINAL ORDER BY ALL") == streamed
    assert len(streamed) > 5 * len(sent)


def test_events_without_an_entity_or_an_amount_are_left_out(store: ClickHouse) -> None:
    """A null is nothing to follow."""
    everybody = {"order": {"required": ()}}
    catalog = catalog_of(
        balance("stock", ORDER.name, "items"),
        conversion("then", {"event": ORDER.name}, {"event": ORDER.name}, "1h"),
        **everybody,
    )
    sent = [
        Sent("a", data={"items": 1}),
        Sent("b", data={"user_id": "u", "region": "EU"}),
        Sent("c", data={"user_id": "", "items": 0}),
    ]
    drain(world(store, catalog, logs := {0: log_of(sent)}), logs)
    assert kept(store, "kpi, id, entity") == [
        ("stock.change", "c", ""),
        ("then.base", "b", "u"),
        ("then.base", "c", ""),
        ("then.conversion", "b", "u"),
        ("then.conversion", "c", ""),
    ]


def test_an_amount_is_exact_as_long_as_it_can_be(store: ClickHouse) -> None:
    """Decimals are; what passes 64 bits, and what never was exact, is a float beside."""
    catalog = catalog_of(balance("gross", ORDER.name, "amount * items"), balance("score", ORDER.name, "score / 3"))
    sent = [order("a", amount=0.01, items=-7, score=1), order("b", amount=90000000000000000.25, items=2**62)]
    raw = sent[1].value.replace(b"9e+16", b"90000000000000000.25")
    worker = world(store, catalog, {0: []})
    worker.processor.process({0: [Record(0, 1_780_000_000_000, sent[0].value), Record(1, 1_780_000_000_000, raw)]})
    worker.flush()
    assert kept(store, "kpi, toString(exact), total") == [
        ("gross.change", "-0.07", 0.0),
        ("gross.change", "0", 90000000000000000.25 * 2**62),
        ("score.change", "0", 1 / 3),
    ]


def test_constants_come_before_dimensions_and_have_names_of_their_own(store: ClickHouse) -> None:
    """A dimension may be called like the property that must be equal."""
    catalog = catalog_of(
        conversion(
            "then",
            {"event": ORDER.name},
            {"event": VISIT.name},
            "1h",
            entity="region",
            constant=["region"],
            dimensions={"region": "upper(region)"},
        )
    )
    logs = {0: log_of([order("a", region="eu"), visit("b", region="us")])}
    drain(world(store, catalog, logs), logs)
    assert kept(store, "kpi, dims, entity, source") == [
        ("then.base", '["eu","EU"]', "eu", "shop"),
        ("then.conversion", '["us"]', "us", "shop"),
    ]


def test_each_stream_is_on_record_with_what_it_means(store: ClickHouse) -> None:
    """For those who read the table."""
    kpi = retention("back", {"event": ORDER.name, "filter": "items > 1"}, {"event": VISIT.name}, "week", 4)
    worker = world(store, catalog := catalog_of(kpi), {0: []})
    worker.writer.record_definitions(catalog.simple_kpis(), NOW)
    rows = store.query("SELECT kpi, JSONExtractString(spec, 'filter') FROM kpi_definitions ORDER BY kpi")
    assert rows == [("back.return", ""), ("back.start", "items > 1")]
