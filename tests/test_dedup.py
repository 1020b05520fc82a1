"""Duplicates: by identity, within a horizon of arrival time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from onpace.processors.dedup import DedupIndex

HORIZON = 100
drawn_events = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 400), st.integers(0, 2)), max_size=80)


def by_definition(events: list[tuple[int, int, int]]) -> list[str]:
    """The verdicts, from the definition alone."""
    verdicts, accepted, newest = [], dict[int, tuple[int, int]](), 0
    for id, arrival, data in events:
        newest = max(newest, arrival)
        known = accepted.get(id)
        if known and known[0] >= newest - HORIZON:
            verdicts.append("duplicate" if known[1] == data else "conflict")
        else:
            accepted[id] = (arrival, data)
            verdicts.append("new")
    return verdicts


def name(id: int) -> bytes:
    """A digest."""
    return id.to_bytes(16, "big")


def test_a_repeated_id_is_a_duplicate_and_other_data_a_conflict() -> None:
    """The first one stands."""
    index = DedupIndex(HORIZON)
    found = [index.check(b"a", 1, 7), index.check(b"a", 2, 7), index.check(b"a", 3, 8), index.check(b"b", 3, 7)]
    assert found == ["new", "duplicate", "conflict", "new"]


def test_the_horizon_is_inclusive() -> None:
    """At exactly its length an id is still known; one millisecond later it is new."""
    assert [DedupIndex(HORIZON).check(b"a", at, 0) for at in (0,)] == ["new"]
    index = DedupIndex(HORIZON)
    assert [index.check(b"a", at, 0) for at in (5, 105, 106, 107)] == ["new", "duplicate", "new", "duplicate"]


@given(drawn_events, st.sets(st.integers(0, 80)))
def test_verdicts_depend_on_the_log_alone(events: list[tuple[int, int, int]], evictions: set[int]) -> None:
    """Neither batches nor evictions change one."""
    index, found = DedupIndex(HORIZON), list[str]()
    for at, (id, arrival, data) in enumerate(events):
        found.append(index.check(name(id), arrival, data))
        if at in evictions:
            index.evict()
    batches = DedupIndex(HORIZON)
    columns = ([name(id) for id, *_ in events], [arrival for _, arrival, _ in events], [data for *_, data in events])
    assert found == by_definition(events) == batches.check_all(*columns)


@given(drawn_events, st.integers(0, 80))
def test_an_index_loaded_from_the_archive_judges_as_the_one_before(
    events: list[tuple[int, int, int]], cut: int
) -> None:
    """All that a restart needs is what was accepted within the horizon, and the latest arrival."""
    verdicts = by_definition(events)
    newest = max((arrival for _, arrival, _ in events[:cut]), default=0)
    kept = [
        (name(id), arrival, data)
        for (id, arrival, data), verdict in zip(events[:cut], verdicts, strict=False)
        if verdict == "new" and arrival >= newest - HORIZON
    ]
    index = DedupIndex(HORIZON)
    index.max_arrival_ms = newest
    index.load(sorted(kept, key=lambda row: row[1]))
    assert [index.check(name(id), arrival, data) for id, arrival, data in events[cut:]] == verdicts[cut:]


def test_eviction_frees_what_lies_past_the_horizon() -> None:
    """And only that."""
    index = DedupIndex(HORIZON)
    for at in range(0, 300, 50):
        index.check(name(at), at, 0)
    assert (index.evict(), len(index)) == (3, 3)
    assert index.check(name(150), 250, 0) == "duplicate"
