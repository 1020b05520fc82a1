"""Whatever a KPI file says: the stream, a rebuild from the archive and a recount in plain Python give the same."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from conftest import empty
from entities_recount import Happened, balances
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as how
from hypothesis import strategies as st
from processors_fakes import START, Sent, log_of
from processors_world import AFTER, BEFORE, drain, rebuild, world
from random_kpis import Meanings, Value, drawn_file, recounted

from onpace.config.catalog import Catalog
from onpace.config.kpi_entities import BalanceKpi
from onpace.config.loader import load_catalog
from onpace.processors.clickhouse import ClickHouse
from onpace.processors.reader import Reader

drawn_event = st.tuples(
    st.sampled_from([0, 1, 4, 59, 61, 600, 1380, 1440, 1500, 2880, 10_080, 20_000, 43_000]),
    st.integers(0, 1),
    st.sampled_from(["s", "t"]),
    st.fixed_dictionaries(
        {
            "user_id": st.sampled_from(["u", "v", "w", None]),
            "region": st.sampled_from(["EU", "US", "test", "", None]),
            "amount": st.one_of(st.none(), st.integers(-20_000, 20_000).map(lambda cents: cents / 100)),
            "items": st.one_of(st.none(), st.integers(-9, 9)),
            "score": st.sampled_from([None, 0.1, -2.25, 1e9, -1e9, 3.3333333333333335]),
        }
    ),
)
Found = dict[tuple[str, tuple[str, ...], datetime, tuple[str | None, ...]], float | None]


def read(store: ClickHouse, catalog: Catalog) -> Found:
    """Every KPI in every base window, in total and by its dimensions, where it counted anything."""
    reader, found = Reader(store, catalog), {}
    for kpi in catalog.kpis.values():
        for by in dict.fromkeys([catalog.dimensions(kpi), ()]):
            series = reader.series(kpi.name, catalog.base_grain(kpi), BEFORE, AFTER, by=by)
            for dims, points in series.items():
                found |= {(kpi.name, by, point.window_start, dims): point.value for point in points if point.revision}
    return found


def recount(catalog: Catalog, events: Sequence[Happened], meanings: Meanings) -> dict[Any, Value]:
    """The same from the events alone; of balances those at the end of windows with a change."""
    wanted: dict[Any, Value] = {}
    for kpi in catalog.kpis.values():
        for by in dict.fromkeys([catalog.dimensions(kpi), ()]):
            if isinstance(kpi, BalanceKpi):
                room = 0.0
                if not meanings.known[kpi.value].exact:
                    room = 1e-12 * float(sum(abs(event.row[kpi.value] or 0) for event in events)) * 2
                for start, sums in balances(kpi, events, by, meanings.chosen):
                    wanted |= {(kpi.name, by, start, dims): Value(float(sum_), room) for dims, sum_ in sums.items()}
            else:
                values = recounted(kpi, events, by, meanings)
                wanted |= {(kpi.name, by, *key): value for key, value in values.items()}
    return wanted


def differing(catalog: Catalog, found: Found, wanted: dict[Any, Value]) -> list[str]:
    """Where they do not agree."""
    level = {kpi.name for kpi in catalog.kpis.values() if isinstance(kpi, BalanceKpi)}  # goes on without a change
    keys = wanted.keys() | {key for key in found if key[0] not in level}
    nothing = Value(float("nan"))
    return [
        f"{catalog.kpis[key[0]]!r} {key}: {found.get(key, 'nothing')} instead of {wanted.get(key, 'nothing')}"
        for key in keys
        if key not in found or not wanted.get(key, nothing).holds(found[key])
    ]


@how(max_examples=8, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(
    file=drawn_file(),
    drawn=st.lists(drawn_event, min_size=10, max_size=40),
    partitions=st.integers(1, 3),
    chunk=st.sampled_from([3, 7, 100]),
)
def test_stream_rebuild_and_recount_agree(
    engine: ClickHouse, file: tuple[str, Meanings], drawn: list[Any], partitions: int, chunk: int
) -> None:
    """To the bit for counts, integers and decimals; floats to 1e-12 of what they add up."""
    text, meanings = file
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "kpis.yaml").write_text(text)
        catalog = load_catalog(Path(folder), {})
    sent: list[list[Sent]] = [[] for _ in range(partitions)]
    for at, (minutes, micros, source, row) in enumerate(drawn):
        time = START + timedelta(minutes=minutes, microseconds=micros)
        sent[at % partitions].append(Sent(str((at * 7) % 100), time, "order", source, row))
    events = [Happened(one.time, one.source, one.id, meanings.row(dict(one.data))) for log in sent for one in log]
    wanted = recount(catalog, events, meanings)

    empty(engine)
    logs = {at: log_of(log, START + timedelta(days=40), start=1) for at, log in enumerate(sent)}
    worker = world(engine, catalog, logs)
    for _ in range(0, len(drawn), chunk):
        for partition in logs:
            worker.take(partition, chunk)
        worker.flush()
    streamed = read(engine, catalog)
    assert not differing(catalog, streamed, wanted)

    for table in ("partials", "partials_distinct", "facts", "series"):
        engine.command(f"TRUNCATE TABLE {table}")
    worker.adopt(Catalog(events=catalog.events))
    worker.adopt(catalog)
    drain(worker, logs)
    assert rebuild(engine, catalog) == len([log for log in sent if log])
    rebuilt = read(engine, catalog)
    assert not differing(catalog, rebuilt, wanted)
    assert rebuilt.keys() == streamed.keys()
