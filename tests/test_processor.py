"""The processor over the real engine: whatever happens, values equal a recount of the log."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from conftest import empty
from entities_fakes import FOLLOWED, balance, conversion, wrong_facts
from hypothesis import HealthCheck, given
from hypothesis import settings as how
from hypothesis import strategies as st
from processors_fakes import (
    EVERYTHING,
    LIFE,
    NEXT_LIFE,
    ORDER,
    START,
    TOPIC,
    Log,
    Record,
    Sent,
    catalog_of,
    counted,
    log_of,
    order,
    read_log,
    settings,
    simple,
    visit,
)
from processors_world import NOW, Crash, Worker, drain, rebuild, world, wrong_values

from onpace.config.calendar import Grain
from onpace.config.catalog import Catalog
from onpace.config.errors import StoreUnavailable
from onpace.processors.clickhouse import ClickHouse
from onpace.processors.reader import Reader

REGIONS = ["EU", "US", "test", None, "", "a\"b'\\,]", "Überall"]
SCORES = [0.0, 1.5, -2.25, 1e9, -1e9, 1e-300, 3.3333333333333335, 1e16, -1e16]
STEPS = [
    "nothing",
    "events",
    "dead_letters",
    "facts",
    "series",
    "partials_distinct",
    "partials",
    "watermarks",
    "checkpoints",
]
BAD = [
    b"no json",
    b"[]",
    b"",
    order("").value,
    order("x").value.replace(b"order.placed", b"order.refunded"),
    order("x", amount="much").value,
    order("x", amount=1.234).value,
    order("x", items=1.5).value,
    order("x", user_id=None).value,
    order("x", START + timedelta(days=40)).value,
    order("x").value.replace(b"2026-", b"1969-"),
    order("x").value.replace(b"2026-", b"2106-"),
]

Drawn = tuple[str, int, int, int, int]
drawn_event = st.tuples(
    st.sampled_from(["order"] * 6 + ["visit", "visit", "duplicate", "conflict", "bad"]),
    st.sampled_from([0, 1, 14, 15, 59, 60, 400, 1439, 1440, 1500, 2000]),
    st.integers(-20_000, 20_000),
    st.integers(0, 10_000),
    st.integers(0, 10_000),
)
drawn_step = st.one_of(
    st.tuples(st.just("take"), st.integers(0, 3), st.integers(1, 15)),
    st.tuples(st.just("take"), st.integers(0, 3), st.integers(1, 15)),
    st.tuples(st.just("flush"), st.integers(0, 1), st.just(0)),
    st.tuples(st.just("restart"), st.integers(0, 1), st.just(0)),
    st.tuples(st.just("crash"), st.integers(0, 1), st.integers(0, 8)),
    st.tuples(st.just("cancel"), st.integers(0, 1), st.integers(0, 8)),
    st.tuples(st.just("zombie"), st.integers(0, 1), st.just(0)),
    st.tuples(st.just("late"), st.integers(0, 3), st.integers(0, 15)),
    st.tuples(st.just("move"), st.integers(0, 3), st.integers(0, 1)),
    st.tuples(st.just("adopt"), st.integers(0, 1), st.integers(0, 1)),
)
CHANGED = catalog_of(
    *(
        kpi
        for kpi in FOLLOWED.kpis.values()
        if kpi.name in ("orders", "mean_score", "lowest", "visits", "conversion", "back")
    ),
    simple("revenue", "sum", value="amount", grain="1h"),
    simple("buyers", "count_distinct", value="user_id", grain="1h"),
    simple("median", "percentile", p=0.25, value="score", grain="1h"),
    simple("worst", "min", value="score", grain="1h"),
    conversion("again", {"event": ORDER.name}, {"event": ORDER.name}, "6h", constant=["region"]),
    balance("stock", ORDER.name, "items"),
)
"""Some KPIs gone, some defined otherwise, one more."""


def sent_of(drawn: Sequence[Drawn], partitions: int) -> list[list[Sent]]:
    """Events per partition; a repeated id stays in the partition of the first."""
    logs: list[list[Sent]] = [[] for _ in range(partitions)]
    for at, (kind, minutes, cents, x, y) in enumerate(drawn):
        log = logs[at % partitions]
        known = [one for one in log if one.bad is None]
        time = START + timedelta(minutes=minutes, microseconds=x)
        if kind == "bad":
            log.append(Sent(bad=BAD[x % len(BAD)]))
        elif kind in ("duplicate", "conflict") and known:
            first = known[x % len(known)]
            log.append(first if kind == "duplicate" else Sent(first.id, time, first.type, data={"user_id": "other"}))
        elif kind == "visit":
            region = REGIONS[x % len(REGIONS)]
            log.append(visit(str(at), time, **({} if region is None else {"region": region})))
        else:
            row = {
                "user_id": f"u{y % 7}",
                "region": REGIONS[y % len(REGIONS)],
                "amount": cents / 100,
                "items": x % 9 - 3,
                "score": SCORES[(x + y) % len(SCORES)],
            }
            log.append(order(str(at), time, **{k: v for k, v in row.items() if k in ("user_id", "region") or x % 11}))
    return logs


@dataclass
class Cluster:
    """Two processes that share the partitions, and those that should be dead."""

    store: ClickHouse
    logs: dict[int, list[Record]]
    changes: dict[str, object]
    workers: list[Worker] = field(default_factory=list)
    zombies: list[Worker] = field(default_factory=list)
    owner: dict[int, int] = field(default_factory=dict)
    catalog: Catalog = FOLLOWED
    other: Catalog = CHANGED

    def start(self) -> None:
        """Give each process half of the partitions."""
        self.workers = [world(self.store, self.catalog, self.logs, **self.changes)]
        self.workers.append(Worker(self.store, self.catalog, self.logs, settings(**self.changes)))
        self.owner = {partition: partition % 2 for partition in self.logs}
        for number in (0, 1):
            self.assign(number)

    def assign(self, number: int) -> None:
        """Tell a process what it owns now."""
        self.workers[number].assign({p for p, owner in self.owner.items() if owner == number})

    def restart(self, number: int) -> None:
        """A new process takes the place of one."""
        self.workers[number] = Worker(self.store, self.catalog, self.logs, settings(**self.changes))
        self.assign(number)

    def step(self, what: str, one: int, two: int) -> None:
        """Let one thing happen."""
        match what:
            case "take":
                for worker in self.workers:
                    worker.take(one % len(self.logs), two)
            case "flush":
                self.workers[one].flush()
            case "restart":
                self.restart(one)
            case "crash" | "cancel":
                self.break_off(one, STEPS[two])
                if what == "crash":
                    self.restart(one)
            case "zombie":
                self.zombies.append(self.workers[one])
                self.restart(one)
            case "late":
                for zombie in self.zombies:
                    zombie.take(one % len(self.logs), two)
                    zombie.flush()
            case "adopt":
                self.workers[one].adopt((self.catalog, self.other)[two])
            case "move":
                self.move(one % len(self.logs), flush=bool(two))

    def move(self, partition: int, *, flush: bool) -> None:
        """Give a partition to the other process."""
        if flush:
            self.workers[self.owner[partition]].flush()
        self.owner[partition] = 1 - self.owner[partition]
        for number in (1 - self.owner[partition], self.owner[partition]):
            self.assign(number)

    def break_off(self, number: int, table: str) -> None:
        """A flush that ends after one table, or before the first."""
        worker = self.workers[number]
        if table == "nothing":
            worker.processor.prepare(NOW)
            return
        worker.crash_at = table
        with pytest.raises(Crash):
            worker.flush()
        worker.crash_at = None

    def finish(self) -> None:
        """Read everything to its end; the zombies too have one last word."""
        for worker in [*self.workers, *self.zombies]:
            drain(worker, self.logs)
        for number in (0, 1):  # the catalog that counts, whatever was in force until now and wherever
            self.restart(number)
            drain(self.workers[number], self.logs)
        rebuild(self.store, self.catalog)


@how(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    drawn=st.lists(drawn_event, min_size=30, max_size=50),
    steps=st.lists(drawn_step, min_size=12, max_size=20),
    partitions=st.integers(1, 4),
    resident=st.sampled_from([1, 20, 100, 500_000]),
)
def test_values_equal_a_recount_whatever_happens(
    engine: ClickHouse, drawn: list[Drawn], steps: list[tuple[str, int, int]], partitions: int, resident: int
) -> None:
    """Crashes, zombies, moves, cancelled flushes, tiny memories and changes of the KPIs change nothing."""
    empty(engine)
    sent = sent_of(drawn, partitions)
    cluster = Cluster(engine, {p: log_of(log) for p, log in enumerate(sent)}, {"resident_rows": resident})
    cluster.start()
    for step in steps:
        cluster.step(*step)
    cluster.finish()
    found = [read_log(log, cluster.logs[p]) for p, log in enumerate(sent)]
    events = counted(one for log in found for one in log.accepted)
    assert not wrong_values(engine, EVERYTHING, events)
    assert not wrong_facts(engine, FOLLOWED, events)
    assert_archive(engine, dict(enumerate(found)), sent)


def assert_archive(store: ClickHouse, found: dict[int, Log], sent: Sequence[Sequence[Sent]]) -> None:
    """A row per valid offset, flagged where it is a duplicate; a dead letter per bad one."""
    for partition, log in found.items():
        where = f"WHERE partition = {partition}"
        archived = store.query(f"SELECT offset, duplicate FROM events FINAL {where} ORDER BY offset")
        valid = [at for at, one in enumerate(sent[partition]) if one.bad is None]
        duplicate = set(log.duplicate)
        assert archived == [(at, int(at in duplicate)) for at in valid]
        dead = store.query(f"SELECT offset FROM dead_letters FINAL {where} ORDER BY offset")
        assert [at for (at,) in dead] == log.dead


def some_orders(count: int = 20) -> list[Sent]:
    """A few orders over three days."""
    return [
        order(str(at), START + timedelta(hours=3.7 * at), amount=at + 0.25, score=at / 3, items=at, region="EU")
        for at in range(count)
    ]


def test_what_a_dead_life_archived_past_its_checkpoint_is_folded_by_its_successor(store: ClickHouse) -> None:
    """The log is gone, the archive is not; also when the store fails in the middle of it."""
    sent = some_orders()
    logs = {0: log_of(sent)}
    first = world(store, EVERYTHING, logs)
    first.take(0, 8)
    first.flush()
    first.take(0, 20)
    first.crash_at = "events"
    with pytest.raises(Crash):
        first.flush()
    reborn: dict[int, list[Record]] = {0: []}
    second = world(store, EVERYTHING, reborn, life=NEXT_LIFE)
    assert second.processor.positions == {0: 0}
    assert not wrong_values(store, EVERYTHING, counted(sent))


def test_a_store_that_fails_while_a_dead_life_is_folded_loses_nothing_of_other_partitions(store: ClickHouse) -> None:
    """The new partition's history is folded by a processor of its own."""
    sent = [some_orders(20), [visit(f"v{at}", START + timedelta(hours=at)) for at in range(20)]]
    first = world(store, EVERYTHING, {0: log_of(sent[0])})
    first.take(0, 20)
    first.crash_at = "events"
    with pytest.raises(Crash):
        first.flush()
    logs = {0: [], 1: log_of(sent[1])}
    second = Worker(store, EVERYTHING, logs, settings())
    second.assign({1}, NEXT_LIFE)
    second.take(1, 20)
    second.crash_at = "partials"
    with pytest.raises(Crash):
        second.assign({0, 1}, NEXT_LIFE)
    second.crash_at = None
    second.assign({0, 1}, NEXT_LIFE)
    second.flush()
    assert not wrong_values(store, EVERYTHING, counted([*sent[0], *sent[1]]))


def test_the_same_file_fed_to_a_topic_made_again_changes_nothing(store: ClickHouse) -> None:
    """Its ids are known from the archive of the life before."""
    sent = some_orders()
    drain(world(store, EVERYTHING, logs := {0: log_of(sent)}), logs)
    before = store.query("SELECT * EXCEPT (bins, bin_counts) FROM partials FINAL ORDER BY ALL")
    again = {0: log_of(sent, arrival=START + timedelta(days=8))}
    second = world(store, EVERYTHING, again, life=NEXT_LIFE)
    drain(second, again)
    assert store.query("SELECT * EXCEPT (bins, bin_counts) FROM partials FINAL ORDER BY ALL") == before
    assert second.count("onpace_duplicate_events_total", event_type="order.placed") == len(sent)


def test_a_repeated_id_counts_again_once_the_horizon_has_passed(store: ClickHouse) -> None:
    """Also when the first was accepted by another process."""
    horizon = timedelta(hours=1)
    sent = [order("a", amount=1), order("a", amount=1), order("a", amount=2), order("b"), order("a", amount=4)]
    records = log_of(sent)
    records[3].timestamp += 3_700_000
    records[4].timestamp = records[3].timestamp
    logs = {0: records}
    for at in (1, 2, 3, 4):
        worker = world(store, EVERYTHING, logs, dedup_horizon=horizon)
        worker.take(0, at)
        worker.flush()
    expected = read_log(sent, records, horizon)
    assert [one.data.get("amount") for one in expected.accepted] == [1, None, 4]
    assert_archive(store, {0: expected}, [sent])
    assert not wrong_values(store, catalog_of(EVERYTHING.kpis["revenue"]), counted(expected.accepted))


def test_a_partition_at_its_beginning_has_no_offset_to_go_on_at(store: ClickHouse) -> None:
    """Only a checkpoint says where."""
    logs = {0: log_of(some_orders(), start=0), 1: log_of(some_orders(), start=0)}
    worker = world(store, EVERYTHING, logs)
    worker.take(0, 5)
    worker.flush()
    assert Worker(store, EVERYTHING, logs, settings()).assign({0, 1}) == {0: 5, 1: None}


def test_a_partition_still_held_goes_on_in_memory(store: ClickHouse) -> None:
    """Nothing is read twice, unless another process has come further."""
    logs = {0: log_of(some_orders())}
    worker = world(store, EVERYTHING, logs)
    worker.take(0, 5)
    assert worker.assign({0}) == {0: 5}
    other = Worker(store, EVERYTHING, logs, settings())
    other.assign({0})
    other.take(0, 9)
    other.flush()
    assert worker.assign({0}) == {0: 9}


def test_records_before_the_position_are_ignored(store: ClickHouse) -> None:
    """A fetch may begin earlier than asked."""
    logs = {0: log_of(some_orders())}
    worker = world(store, EVERYTHING, logs)
    worker.take(0, 5)
    worker.processor.process({0: logs[0][:8]})
    worker.processor.process({0: logs[0][:3], 7: logs[0]})
    assert worker.processor.positions == {0: 8}
    assert worker.count("onpace_events_total", event_type="order.placed") == 8


def test_offsets_may_have_gaps(store: ClickHouse) -> None:
    """Compaction and transaction markers leave some."""
    sent = some_orders()
    records = log_of(sent)
    for record in records:
        record.offset = record.offset * 3 + 7
    worker = world(store, EVERYTHING, {0: []})
    worker.processor.process({0: records[:11]})
    worker.flush()
    second = Worker(store, EVERYTHING, {0: []}, settings())
    assert second.assign({0}) == {0: records[10].offset + 1}
    second.processor.process({0: records})
    second.flush()
    assert not wrong_values(store, EVERYTHING, counted(sent))


@pytest.mark.parametrize("timestamp", [-1, 0, 2**62, 253_402_300_800_000])
def test_an_absurd_arrival_time_stops_nothing(store: ClickHouse, timestamp: int) -> None:
    """A producer may write any timestamp into its records."""
    sent = [*some_orders(3), Sent(bad=b"x"), order("late", datetime(2095, 12, 31, 23, 59, tzinfo=UTC))]
    records = log_of(sent)
    for record in records:
        record.timestamp = timestamp
    drain(world(store, EVERYTHING, logs := {0: records}), logs)
    ((archived,),) = store.query("SELECT count() FROM events FINAL")
    ((dead,),) = store.query("SELECT count() FROM dead_letters FINAL")
    assert (archived, dead) == ((4, 1) if timestamp > 0 else (0, 5))
    Reader(store, EVERYTHING).series("orders", EVERYTHING.base_grain(EVERYTHING.kpis["orders"]), START, START)


def test_an_event_that_no_window_can_hold_is_a_dead_letter(store: ClickHouse) -> None:
    """2096 and later fit neither a key nor ClickHouse's DateTime."""
    record = Record(0, 2**62, order("x", datetime(2096, 1, 1, tzinfo=UTC)).value)
    drain(world(store, EVERYTHING, logs := {0: [record]}), logs)
    assert store.query("SELECT reason, field FROM dead_letters") == [("time_in_future", "time")]


def test_a_batch_of_bad_rows_only_is_flushed(store: ClickHouse) -> None:
    """Its checkpoint moves, and nothing else is there to write."""
    logs = {0: log_of([Sent(bad=raw) for raw in BAD])}
    worker = world(store, EVERYTHING, logs)
    drain(worker, logs)
    assert store.query("SELECT count() FROM dead_letters") == [(len(BAD),)]
    assert store.query("SELECT max(offset) FROM checkpoints") == [(len(BAD),)]
    reasons = {reason for (reason,) in store.query("SELECT DISTINCT reason FROM dead_letters")}
    assert reasons >= {"malformed_json", "not_an_object", "empty", "unknown_type", "schema_violation", "time_too_old"}


def test_constants_are_values_filters_and_dimensions_too(store: ClickHouse) -> None:
    """Polars would make one row of them."""
    catalog = catalog_of(
        simple("ones", "sum", value="1", dimensions={"all": "'x'"}),
        simple("none", "sum", value="2.5", filter="false"),
        simple("some", "last", value="3", filter="true", dimensions={"none": "null", "region": "region"}),
    )
    drain(world(store, catalog, logs := {0: log_of([order("a"), order("b"), order("c", region="EU")])}), logs)
    reader = Reader(store, catalog)
    day = (START, START + timedelta(days=1))
    assert [reader.value(name, *day) for name in ("ones", "none", "some")] == [3, None, 3]
    assert reader.value("ones", *day, {"all": "x"}) == 3
    assert set(reader.series("some", Grain.DAY, *day, by=["none", "region"])) == {(None, None), (None, "EU")}


def test_a_property_or_dimension_may_have_any_name(store: ClickHouse) -> None:
    """Also one that looks like a column of ours."""
    names = ["_id", "_offset", "offset", "key", "value", "dims", "slot", "_time_us", "time_us", "minutes"]
    event = {"order": {"properties": {name: {"type": "string"} for name in names}, "required": ()}}
    kpis = [
        simple(f"k{at}", "count_distinct", value=f'"{name}"', dimensions={"dims": f'"{name}"', name.strip("_"): "key"})
        for at, name in enumerate(names)
    ]
    catalog = catalog_of(*kpis, simple("last", "last", value='length("_id")'), **event)
    sent = [Sent(str(at), data={name: f"{name}{at}" for name in names}) for at in range(3)]
    drain(world(store, catalog, logs := {0: log_of(sent)}), logs)
    reader = Reader(store, catalog)
    day = (START, START + timedelta(days=1))
    assert [reader.value(kpi.name, *day) for kpi in kpis] == [3] * len(names)
    assert reader.value("last", *day) == 4


def test_values_without_any_number_make_no_window(store: ClickHouse) -> None:
    """A column that is null in all rows is neither zero nor an error."""
    catalog = catalog_of(simple("s", "sum", value="amount"), simple("p", "percentile", p=0.5, value="score"))
    drain(world(store, catalog, logs := {0: log_of([order("a"), order("b")])}), logs)
    assert store.query("SELECT count() FROM partials") == [(0,)]


def test_products_beyond_64_bits_are_summed_without_wrapping_around(store: ClickHouse) -> None:
    """Exact while they can be, floats beside the exact sum where not."""
    catalog = catalog_of(simple("gross", "sum", value="amount * items"))
    large = [{"amount": 92233720368547758.07, "items": 2**62}, {"amount": 0.01, "items": 3}]
    sent = [order(str(at), **row) for at, row in enumerate(large)]
    sent = [Sent(bad=None, id=one.id, data=one.data) for one in sent]
    raws = [one.value.replace(b"9.223372036854776e+16", b"92233720368547758.07") for one in sent]
    worker = world(store, catalog, {0: []})
    worker.processor.process({0: [Record(at, 1_780_000_000_000, raw) for at, raw in enumerate(raws)]})
    worker.flush()
    assert Reader(store, catalog).value("gross", START, START + timedelta(days=1)) == pytest.approx(
        92233720368547758.07 * 2**62, rel=1e-15
    )
    again = Worker(store, catalog, {0: []}, settings())
    again.assign({0})
    small = order("c", amount=0.01, items=7).value
    again.processor.process({0: [Record(2, 1_780_000_000_000, small)]})
    again.flush()
    assert store.query("SELECT toString(exact), total > 1e34, count FROM partials FINAL") == [("0.1", 1, 3)]


def test_a_float_that_overflows_is_null_and_not_infinite(store: ClickHouse) -> None:
    """As a division by zero is."""
    catalog = catalog_of(
        simple("s", "sum", value="score * 10"), simple("p", "percentile", p=1, value="score * 10"), simple("n", "count")
    )
    drain(world(store, catalog, logs := {0: log_of([order("a", score=1e308), order("b", score=2)])}), logs)
    reader = Reader(store, catalog)
    day = (START, START + timedelta(days=1))
    assert (reader.value("s", *day), reader.value("n", *day)) == (20.0, 2.0)
    assert reader.value("p", *day) == pytest.approx(20, rel=0.01)


def test_a_float_sum_that_overflows_has_no_value(store: ClickHouse) -> None:
    """Neither infinity nor not-a-number ever reaches a reader."""
    catalog = catalog_of(simple("s", "sum", value="score"), simple("a", "avg", value="score"))
    logs = {0: log_of([order(str(at), score=score) for at, score in enumerate([1.7e308, 1.7e308, -1.7e308, 5])])}
    worker = world(store, catalog, logs)
    for _ in range(4):
        worker.take(0, 1)
        worker.flush()
    reader = Reader(store, catalog)
    assert reader.values("s", [(START, START + timedelta(days=1))]) == [None]
    assert reader.values("a", [(START, START + timedelta(days=1))]) == [None]


class Flaky:
    """A store that can be switched off."""

    def __init__(self, store: ClickHouse) -> None:
        self._store = store
        self.down = False

    def __getattr__(self, name: str) -> object:
        if self.down:
            raise StoreUnavailable("the store is away")
        return getattr(self._store, name)


def test_a_store_that_is_away_while_late_windows_are_read_back_costs_nothing(store: ClickHouse) -> None:
    """The flush is prepared anew once it is back."""
    flaky = Flaky(store)
    sent = [
        *some_orders(),
        *(order(f"late{at}", START + timedelta(hours=at), amount=1, region="EU") for at in range(9)),
    ]
    logs = {0: log_of(sent)}
    worker = world(flaky, EVERYTHING, logs, resident_rows=1)  # type: ignore[arg-type]
    worker.take(0, 20)
    worker.flush()
    worker.take(0, 20)
    flaky.down = True
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            worker.flush()
    flaky.down = False
    worker.flush()
    assert not wrong_values(store, EVERYTHING, counted(sent))


def test_many_late_windows_are_read_back_in_parts(store: ClickHouse) -> None:
    """More windows than one query may carry."""
    catalog = catalog_of(simple("orders", "count"))
    times = [START + timedelta(minutes=at) for at in range(1700)]
    sent = [order(f"{turn}-{at}", time) for turn in range(2) for at, time in enumerate(times)]
    logs = {0: log_of(sent)}
    for _ in range(2):
        worker = world(store, catalog, logs)
        worker.take(0, len(times))
        worker.flush()
    assert store.query("SELECT sum(count), min(count), max(count) FROM partials FINAL") == [(3400, 2, 2)]


def test_the_counters_tell_what_became_of_every_record(store: ClickHouse) -> None:
    """Accepted, duplicate, conflicting, late and dead."""
    late = order("late", START)
    sent = [order("a", START + timedelta(days=1)), order("a", START + timedelta(days=1)), order("a", amount=9), late]
    logs = {0: log_of([*sent, Sent(bad=b"x")])}
    worker = world(store, EVERYTHING, logs)
    drain(worker, logs)
    assert worker.count("onpace_events_total", event_type="order.placed") == 2
    assert worker.count("onpace_duplicate_events_total", event_type="order.placed") == 2
    assert worker.count("onpace_conflicting_events_total", event_type="order.placed") == 1
    assert worker.count("onpace_late_events_total", event_type="order.placed") == 2
    assert worker.count("onpace_dead_letters_total", reason="malformed_json") == 1
    at = (START + timedelta(days=1)).timestamp()
    assert worker.count("onpace_watermark_timestamp_seconds", event_type="order.placed") == at


def test_the_archive_keeps_what_was_sent(store: ClickHouse) -> None:
    """To the byte, with a fingerprint of the identity that no other pair of texts has."""
    sent = [Sent("c", source="a\0b", data={"user_id": "ü"}), Sent("b\0c", source="a", data={"user_id": "x"})]
    drain(world(store, EVERYTHING, logs := {0: log_of(sent)}), logs)
    rows = store.query("SELECT id, source, type, time, data, duplicate FROM events ORDER BY offset")
    assert rows == [(one.id, one.source, "order.placed", one.time, json.dumps(one.data), 0) for one in sent]


def test_a_topic_is_known_by_its_life(store: ClickHouse) -> None:
    """Its life is recorded once, and again when its partitions change."""
    worker = world(store, EVERYTHING, {0: []})
    for partitions in (1, 1, 4, 4):
        worker.writer.record_incarnation(LIFE, partitions, NOW + timedelta(days=partitions))
    assert store.query("SELECT topic, partitions FROM incarnations ORDER BY partitions") == [(TOPIC, 1), (TOPIC, 4)]
