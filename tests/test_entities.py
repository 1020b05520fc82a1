"""Conversion, retention and balance over the real engine equal a recount in plain Python."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from conftest import empty
from entities_fakes import balance, conversion, retention
from entities_recount import Happened, Share, balances, conversions, retentions
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as how
from hypothesis import strategies as st
from processors_fakes import START, Sent, log_of, read_log
from processors_world import Crash, drain, rebuild, world

from onpace.config.catalog import Catalog
from onpace.config.kpi import EventType
from onpace.config.kpi_entities import BalanceKpi, ConversionKpi, EntityKpi, Kpi, RetentionKpi
from onpace.processors.aggregates import BIN_OFFSET, GAMMA
from onpace.processors.clickhouse import ClickHouse
from onpace.processors.entity_sql import balance_rows, conversion_rows, retention_rows

SEEN = EventType(
    name="seen",
    properties={
        "user_id": {"type": ["string", "null"]},
        "region": {"type": ["string", "null"]},
        "plan": {"type": ["string", "null"]},
        "amount": {"type": ["number", "null"], "decimal": 2},
        "score": {"type": ["number", "null"]},
        "step": {"type": "string"},
    },
)
A = {"event": "seen", "filter": "step = 'a'"}
B = {"event": "seen", "filter": "step = 'b'"}
ANY = {"event": "seen"}
PLACES: dict[str, Any] = {"dimensions": {"region": "region", "plan": "plan"}}
KPIS: list[Kpi] = [
    conversion("within_hour", A, B, "1h", constant=["region"], **PLACES),
    conversion("within_day", A, B, "1d", grain="1d", timezone="Europe/Berlin"),
    conversion("again", ANY, ANY, "2h", grain="1h", constant=["plan", "region"], timezone="Asia/Kathmandu"),
    *(
        retention(f"{kind}_{period}_{n}", start, back, period, n, kind=kind, timezone=zone, **more)
        for kind in ("exact", "rolling")
        for period, n, zone, start, back, more in [
            ("day", 1, "Europe/Berlin", ANY, ANY, PLACES),
            ("day", 2, "America/New_York", A, B, {}),
            ("week", 1, "Europe/Berlin", A, ANY, {"dimensions": {"plan": "plan"}}),
            ("month", 1, "Europe/Berlin", ANY, A, {}),
            ("quarter", 1, "UTC", A, ANY, {}),
            ("year", 1, "Asia/Kathmandu", ANY, ANY, {}),
        ]
    ),
    balance("mrr", "seen", "amount", **PLACES),
    balance("score", "seen", "score", filter="step = 'a'", grain="1h", dimensions={"region": "region"}),
    balance("daily", "seen", "amount", grain="1d", timezone="Europe/Berlin"),
]
FOLLOWING = Catalog(events={"seen": SEEN}, kpis={kpi.name: kpi for kpi in KPIS})
NOTHING = Catalog(events={"seen": SEEN})
_MINUTES = [0, 1, 2, 30, 60, 61, 90, 23 * 60, 25 * 60, 26 * 60, 1439, 1440, 2880, 10_000, 130_000, 500_000]

drawn_event = st.tuples(
    st.sampled_from(_MINUTES),
    st.integers(-1, 1),
    st.sampled_from(["s", "t"]),
    st.sampled_from(["new"] * 6 + ["duplicate"]),
    st.fixed_dictionaries(
        {
            "user_id": st.sampled_from(["u", "u", "v", "w", "", None]),
            "region": st.sampled_from(["EU", "EU", "US", "", None, "a\"b'\\,]"]),
            "plan": st.sampled_from(["free", "paid", None]),
            "amount": st.sampled_from([None, 0, 1, -2.5, 0.01, 1e6]),
            "score": st.sampled_from([None, 0.1, -1e9, 1e9, 1.5]),
            "step": st.sampled_from(["a", "b"]),
        }
    ),
)


def chosen(expression: str | None) -> Any:
    """What the filters used here mean."""
    wanted = expression and expression[-2]
    return lambda event: wanted is None or event.row["step"] == wanted


def happened(sent: Sequence[Sent]) -> list[Happened]:
    """Events for the recount: amounts exact, scores as floats."""
    found = []
    for one in sent:
        row = dict(one.data)
        if row["amount"] is not None:
            row["amount"] = Fraction(str(row["amount"]))
        found.append(Happened(one.time, one.source, one.id, row))
    return found


def rows(kpi: Kpi, by: Sequence[str], condition: str = "1") -> str:
    """The SELECT of a KPI's rows."""
    match kpi:
        case ConversionKpi():
            return conversion_rows(kpi, by, condition)
        case RetentionKpi():
            return retention_rows(kpi, by, condition)
        case BalanceKpi():
            return balance_rows(kpi, by, condition)
    raise AssertionError(kpi)


def shares(store: ClickHouse, kpi: Kpi, by: Sequence[str]) -> dict[Any, tuple[int, int, Counter[int]]]:
    """Window and dimension values -> count, exact, and bins where there are any."""
    dims = "".join(f", by_{name}" for name in by)
    bins = "sumMap(bins, bin_counts)" if isinstance(kpi, ConversionKpi) else "([], [])"
    found = store.query(
        f"SELECT window_start{dims}, sum(count), toInt64(sum(exact)), {bins} FROM ({rows(kpi, by)}) "
        f"GROUP BY window_start{dims}"
    )
    return {
        (row[0], tuple(row[1 : len(by) + 1])): (row[-3], row[-2], Counter(dict(zip(*row[-1], strict=True))))
        for row in found
    }


def bin_of(seconds: float) -> int:
    """As `aggregates.sketch_bin` has it."""
    return math.ceil(math.log(seconds) / math.log(GAMMA)) + BIN_OFFSET if seconds else 0


def as_rows(found: dict[Any, Share], *, timed: bool) -> dict[Any, tuple[int, int, Counter[int]]]:
    """The same of a recount."""
    wanted = {}
    for key, share in found.items():
        bins: Counter[int] = Counter()
        for seconds, count in share.seconds.items():
            bins[bin_of(seconds)] += count * timed
        wanted[key] = (share.count, share.did, bins)
    return wanted


def wrong_balances(store: ClickHouse, kpi: BalanceKpi, events: Sequence[Happened], by: Sequence[str]) -> list[str]:
    """Where the changes up to a window's end do not add up to the balance then."""
    dims = "".join(f", by_{name}" for name in by)
    changes = store.query(f"SELECT window_start, exact, total{dims} FROM ({rows(kpi, by)})")
    wrong = []
    largest = sum(abs(float(total)) for _, _, total, *_ in changes)
    for start, wanted in balances(kpi, events, by, chosen):
        exact: dict[Any, Fraction] = defaultdict(Fraction)
        total: dict[Any, list[float]] = defaultdict(list)
        for at, one, other, *place in changes:
            if at <= start:
                exact[tuple(place)] += Fraction(Decimal(one))
                total[tuple(place)].append(other)
        for place in exact.keys() | wanted.keys():
            found = exact[place] if kpi.value == "amount" else math.fsum(total[place])
            should = wanted.get(place, 0)
            if found != should if kpi.value == "amount" else abs(found - should) > 1e-12 * largest:
                wrong.append(f"{kpi.name} {start} {place}: {found} instead of {should}")
    return wrong


def wrong_rows(store: ClickHouse, catalog: Catalog, events: Sequence[Happened]) -> list[str]:
    """Every KPI, in total and by all dimensions or one of them, that is not what a recount gives."""
    wrong: list[str] = []
    for kpi in catalog.kpis.values():
        names = list(catalog.dimensions(kpi))
        for by in [names, [], names[-1:]] if names else [[]]:
            if isinstance(kpi, BalanceKpi):
                wrong += wrong_balances(store, kpi, events, by)
                continue
            assert isinstance(kpi, ConversionKpi | RetentionKpi)
            recount = (
                conversions(kpi, events, by, chosen)
                if isinstance(kpi, ConversionKpi)
                else retentions(kpi, events, by, chosen)
            )
            found = shares(store, kpi, by)
            wanted = as_rows(recount, timed=isinstance(kpi, ConversionKpi))
            wrong += [
                f"{kpi.name} {key}: {found.get(key)} instead of {wanted.get(key)}"
                for key in found.keys() | wanted.keys()
                if found.get(key) != wanted.get(key)
            ]
    return wrong


def logs_of(drawn: Sequence[tuple[int, int, str, str, dict[str, Any]]], partitions: int) -> list[list[Sent]]:
    """Events per partition, out of order; a repeated id stays in the partition of the first."""
    logs: list[list[Sent]] = [[] for _ in range(partitions)]
    for at, (minutes, micros, source, kind, row) in enumerate(drawn):
        log = logs[at % partitions]
        if kind == "duplicate" and log:
            log.append(log[at % len(log)])
        else:
            time = START + timedelta(minutes=minutes, microseconds=micros)
            log.append(Sent(str((at * 7) % 100), time, "seen", source, row))
    return logs


@how(max_examples=12, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(
    drawn=st.lists(drawn_event, min_size=5, max_size=40),
    partitions=st.integers(1, 3),
    crash=st.sampled_from([None, "events", "facts", "checkpoints", "rebuild"]),
)
def test_whatever_comes_in_whatever_order_is_counted_as_a_recount_does(
    engine: ClickHouse, drawn: list[Any], partitions: int, crash: str | None
) -> None:
    """Late, repeated and incomplete events, equal times, moves between dimension values, crashes and rebuilds."""
    empty(engine)
    sent = logs_of(drawn, partitions)
    logs = {at: log_of(log, START + timedelta(days=800)) for at, log in enumerate(sent)}
    worker = world(engine, NOTHING if crash == "rebuild" else FOLLOWING, logs)
    worker.take(0, 8)
    if crash == "rebuild":
        worker.adopt(FOLLOWING)
    elif crash:
        worker.crash_at = crash
        with pytest.raises(Crash):
            worker.flush()
        worker = world(engine, FOLLOWING, logs)
    drain(worker, logs)
    rebuild(engine, FOLLOWING)
    accepted = [one for at, log in enumerate(sent) for one in read_log(log, logs[at]).accepted]
    assert not wrong_rows(engine, FOLLOWING, happened(accepted))
    assert_condition(engine, [drawn[0][0], drawn[-1][0]])


def assert_condition(store: ClickHouse, minutes: Sequence[int]) -> None:
    """A condition on windows, by which less is read, gives the rows that it would give afterwards (of any revision)."""
    first, last = (int((START + timedelta(minutes=at)).timestamp()) for at in sorted(minutes))
    condition = f"window_start >= toDateTime({first}, 'UTC') AND window_start < toDateTime({last}, 'UTC')"
    for kpi in KPIS:
        by = [name for name in ("region", "plan") if isinstance(kpi, EntityKpi) and name in kpi.dimensions]
        within = store.query(f"SELECT * EXCEPT revision FROM ({rows(kpi, by, condition)}) ORDER BY ALL")
        every = f"SELECT * EXCEPT revision FROM ({rows(kpi, by)}) WHERE {condition} ORDER BY ALL"
        assert within == store.query(every), kpi.name


DONE = SEEN.model_copy(update={"name": "done"})


def seen(id: str, time: datetime, *, type: str = "seen", source: str = "s", **row: Any) -> Sent:
    """An event of the user u."""
    plain = dict.fromkeys(("region", "plan", "amount", "score")) | {"user_id": "u", "step": "a"}
    return Sent(id, time, type, source, plain | row)


def followed(store: ClickHouse, kpi: EntityKpi, sent: Sequence[Sent]) -> None:
    """Keep the facts of these events for one KPI."""
    catalog = Catalog(events={"seen": SEEN, "done": DONE}, kpis={kpi.name: kpi})
    logs = {0: log_of(sent, max(one.time for one in sent) + timedelta(hours=1))}
    drain(world(store, catalog, logs), logs)


@pytest.mark.parametrize(
    ("after", "converted"),
    [(-1, 0), (0, 1), (1, 1), (3_600_000_000 - 1, 1), (3_600_000_000, 0)],
)
def test_a_conversion_counts_from_its_base_event_on_until_the_window_is_over(
    store: ClickHouse, after: int, converted: int
) -> None:
    """To the microsecond: the first instant counts, the last does not."""
    kpi = conversion("within", {"event": "seen"}, {"event": "done"}, "1h")
    followed(store, kpi, [seen("a", START), seen("b", START + timedelta(microseconds=after), type="done")])
    assert store.query(f"SELECT count, exact FROM ({rows(kpi, [])})") == [(1, converted)]


def test_of_events_at_the_same_time_the_source_decides_before_the_id(store: ClickHouse) -> None:
    """Which is last for a balance, and which is first for a cohort."""
    sent = [
        seen("1", START, source="t", amount=1, plan="late"),
        seen("3", START, source="s", amount=2, plan="middle"),
        seen("2", START, source="s", amount=4, plan="early"),
    ]
    stock = balance("stock", "seen", "amount", dimensions={"plan": "plan"})
    followed(store, stock, sent)
    changes = f"SELECT by_plan, toFloat64(sum(exact)) AS held FROM ({rows(stock, ['plan'])}) GROUP BY by_plan"
    assert sorted(store.query(changes)) == [("early", 0), ("late", 1), ("middle", 0)]
    empty(store)
    back = retention("back", ANY, ANY, "day", 1, dimensions={"plan": "plan"})
    followed(store, back, sent)
    assert store.query(f"SELECT by_plan FROM ({rows(back, ['plan'])})") == [("early",)]


@pytest.mark.parametrize(
    ("period", "n", "instants"),
    [
        ("month", 1, ("2026-01-31T23:00:00", "2026-02-28T23:00:00", "2026-01-31T23:00:00", "2026-02-28T23:00:00")),
        ("month", 1, ("2026-02-28T22:59:59", "2026-03-31T21:59:59", "2026-01-31T23:00:00", "2026-02-28T23:00:00")),
        ("day", 1, ("2026-03-28T23:00:00", "2026-03-29T22:00:00", "2026-03-28T23:00:00", "2026-03-29T22:00:00")),
        ("day", 2, ("2026-10-24T22:00:00", "2026-10-26T23:00:00", "2026-10-24T22:00:00", "2026-10-25T23:00:00")),
        ("week", 1, ("2026-03-22T23:00:00", "2026-04-05T21:59:59", "2026-03-22T23:00:00", "2026-03-29T22:00:00")),
        ("quarter", 2, ("2026-01-01T00:00:00", "2026-09-30T21:59:59", "2025-12-31T23:00:00", "2026-03-31T22:00:00")),
        ("year", 1, ("2026-12-31T22:59:59", "2027-12-31T22:59:59", "2025-12-31T23:00:00", "2026-12-31T23:00:00")),
    ],
)
def test_a_return_at_the_edge_of_its_period_is_read_with_the_cohorts_window_alone(
    store: ClickHouse, period: str, n: int, instants: tuple[str, str, str, str]
) -> None:
    """First and last instants of months, and of days that the clock changes in, in Berlin.

    `instants`: the first event, the return, the first cohort's start and the end of the last one.
    """
    kpi = retention("back", {"event": "seen"}, {"event": "done"}, period, n, timezone="Europe/Berlin")
    times = [datetime.fromisoformat(f"{text}+00:00") for text in instants]
    followed(store, kpi, [seen("a", times[0]), seen("b", times[1], type="done")])
    start, end = (int(at.timestamp()) for at in times[2:])
    condition = f"window_start >= toDateTime({start}, 'UTC') AND window_start < toDateTime({end}, 'UTC')"
    assert store.query(f"SELECT window_start, exact FROM ({rows(kpi, [], condition)})") == [(times[2], 1)]
