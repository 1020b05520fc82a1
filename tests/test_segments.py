"""What each value of a dimension counts for, read from the real store, against a recount of the events."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from fractions import Fraction

import pytest
from processors_fakes import REGION, START, TIERS, Sent, catalog_of, derived, log_of, order, ratio, simple, visit
from processors_world import drain, world

from onpace.config.additivity import adds_up, fraction_of, is_fraction
from onpace.config.errors import UnknownName
from onpace.config.kpi import CumulativeKpi
from onpace.config.kpi_entities import BalanceKpi, ConversionKpi
from onpace.processors.clickhouse import ClickHouse
from onpace.processors.reader import Reader
from onpace.processors.segments import NAMED, Portions

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
COMMON = {"direction": "higher_is_better", "role": "lagging", "grain": "1h"}
CATALOG = catalog_of(
    simple("orders", "count", dimensions=TIERS, grain="1h"),
    simple("revenue", "sum", value="amount", dimensions=TIERS, grain="1h"),
    simple("mean", "avg", value="amount", dimensions=TIERS, grain="1h"),
    simple("visits", "count", event="site.visited", dimensions=REGION, grain="1h"),
    simple("buyers", "count_distinct", value="user_id", dimensions=REGION, grain="1h"),
    simple("odd_names", "count", dimensions={"amount": "region", "size": "user_id", "place": "items"}, grain="1h"),
    ratio("conversion", "orders", "visits", min_denominator=10_000),
    ratio("means", "mean", "orders"),
    derived("aov", "(revenue / orders)"),
    derived("aov_grown", "revenue / offset(orders, '1 day')"),
    derived("twice", "revenue * 2"),
    CumulativeKpi.model_validate(
        {"name": "so_far", "type": "cumulative", "of": "revenue", "to_date": "month"}
        | {key: COMMON[key] for key in ("direction", "role")}
    ),
    ConversionKpi.model_validate(
        {
            "name": "bought", "type": "conversion", "base": {"event": "site.visited"}, "entity": "user_id",
            "conversion": {"event": "order.placed"}, "window": "2h", "dimensions": REGION,
        } | COMMON
    ),
    BalanceKpi.model_validate(
        {
            "name": "standing", "type": "balance", "event": "order.placed", "entity": "user_id", "value": "items",
            "dimensions": REGION,
        } | COMMON
    ),
)  # fmt: skip
SPANS = [
    (START, START + 5 * DAY),
    (START + DAY, START + DAY),
    (START + DAY, START + 3 * DAY + 7 * HOUR),
    (START + 90 * DAY, START + 91 * DAY),
]


def shop(seed: int) -> list[Sent]:
    """Visits and orders of five days, some without a region."""
    rng = random.Random(seed)
    found: list[Sent] = []
    for number in range(400):
        data = {"region": rng.choice(["EU", "US", "EU", None, ""]), "user_id": f"u{rng.randint(1, 40)}"}
        time = START + timedelta(seconds=rng.randint(0, 5 * 86_400 - 1))
        if rng.random() < 0.5:
            amounts = {"amount": rng.randint(-2_000, 30_000) / 100, "items": rng.randint(0, 5)}
            found.append(order(f"o{number}", time, **data, **amounts))
        else:
            found.append(visit(f"v{number}", time, **data))
    return sorted(found, key=lambda one: one.time)


def read(store: ClickHouse, sent: Sequence[Sent]) -> Reader:
    """A reader after the events were processed and everything is complete."""
    logs = {0: log_of(list(sent))}
    worker = world(store, CATALOG, logs)
    drain(worker, logs)
    worker.flush(input_end=max(one.time for one in sent))
    return Reader(store, CATALOG)


def orders_by_region(sent: Sequence[Sent], start: datetime, end: datetime, tier: str = "") -> dict[object, list[Sent]]:
    """The orders of a span (of big or small ones), by region."""
    found: dict[object, list[Sent]] = defaultdict(list)
    for one in sent:
        big = one.data.get("amount", 0) > 100
        if "amount" in one.data and start <= one.time < end and tier in ("", "big" if big else "small"):
            found[one.data["region"]].append(one)
    return found


def cents(orders: Sequence[Sent]) -> Fraction:
    """Their amounts in all, exactly."""
    return sum((Fraction(round(one.data["amount"] * 100), 100) for one in orders), Fraction())


@pytest.mark.parametrize("seed", [1, 2])
def test_segments_are_what_a_recount_gives(store: ClickHouse, seed: int) -> None:
    """Amounts of counts and sums, numerators and denominators of means and ratios; null is a segment, as is ''."""
    sent = shop(seed)
    reader = read(store, sent)
    for at, (start, end) in enumerate(SPANS):
        groups = orders_by_region(sent, start, end)
        counted: Portions = {(region,): (len(some), 0) for region, some in groups.items()}  # type: ignore[misc]
        assert reader.segments("orders", SPANS, "region")[at] == counted
        summed = {(region,): float(cents(some)) for region, some in groups.items()}
        for kpi in ("mean", "aov"):
            found = reader.segments(kpi, SPANS, "region")[at]
            assert {key: amount for key, (amount, _) in found.items()} == pytest.approx(summed, abs=1e-9), kpi
            assert {key: divisor for key, (_, divisor) in found.items()} == {k: n for k, (n, _) in counted.items()}
        small = {(region,): (len(some), 0) for region, some in orders_by_region(sent, start, end, "small").items()}
        assert reader.segments("orders", SPANS, "region", {"tier": "small"})[at] == small


@pytest.mark.parametrize("kpi", ["orders", "revenue", "mean", "conversion", "aov", "so_far", "bought", "standing"])
def test_segments_make_up_the_value(store: ClickHouse, kpi: str) -> None:
    """They add up to what is read of the whole, or their numerators and denominators do."""
    reader = read(store, shop(3))
    whole = reader.values(kpi, SPANS[:1] + SPANS[2:3])
    if kpi == "conversion":  # null below its least denominator, and yet it can be taken apart
        assert whole == [None, None]
        parts = [reader.values(name, SPANS[:1] + SPANS[2:3]) for name in ("orders", "visits")]
        whole = [above / below for above, below in zip(*parts, strict=True) if above and below]
    found = reader.segments(kpi, SPANS, "region")
    for value, portions in zip(whole, (found[0], found[2]), strict=True):
        amount, divisor = (sum(part[at] for part in portions.values()) for at in (0, 1))
        assert amount / (divisor or 1) == pytest.approx(value, rel=1e-12)
        assert bool(divisor) == is_fraction(CATALOG, CATALOG.kpi(kpi))
        assert len(portions) >= 3


def test_a_slice_may_be_one_without_a_value(store: ClickHouse) -> None:
    """`where` takes null, unlike any text."""
    sent = shop(4)
    found = read(store, sent).segments("orders", SPANS, "tier", {"region": None})[0]
    lost = orders_by_region(sent, *SPANS[0])[None]
    big = sum(1 for one in lost if one.data["amount"] > 100)
    assert found == {("big",): (big, 0), ("small",): (len(lost) - big, 0)}


def test_a_dimension_may_be_called_like_anything(store: ClickHouse) -> None:
    """Also like a column of the query."""
    sent = shop(5)
    reader = read(store, sent)
    orders = [one for one in sent if "amount" in one.data]
    for name, what in (("amount", "region"), ("size", "user_id"), ("place", "items")):
        counts: dict[object, int] = defaultdict(int)
        for one in orders:
            counts[None if one.data[what] is None else str(one.data[what])] += 1
        found = reader.segments("odd_names", SPANS, name)[0]
        assert {key: amount for (key,), (amount, _) in found.items()} == counts


def test_what_is_not_among_the_largest_is_one_segment(store: ClickHouse) -> None:
    """Nothing of the total is lost."""
    sent = [order(f"big{at}", START, region=f"r{at}", amount=3.0) for at in range(NAMED)]
    sent += [order(f"small{at}", START, region=f"s{at}", amount=-1.0 - at % 2) for at in range(20)]
    found = read(store, sent).segments("revenue", SPANS, "region")[0]
    assert len(found) == NAMED + 1
    assert found[()] == (-30, 0)
    assert found[("r7",)] == (3, 0)


def test_what_can_be_taken_apart() -> None:
    """What adds up, and what is divided of it; the rest is left whole."""
    kpis = CATALOG.kpis
    assert {name for name in kpis if adds_up(CATALOG, kpis[name])} == {
        "orders", "revenue", "visits", "odd_names", "so_far", "standing",
    }  # fmt: skip
    assert {name for name in kpis if is_fraction(CATALOG, kpis[name])} == {"mean", "conversion", "aov", "bought"}
    aov = fraction_of(CATALOG, kpis["aov"])
    assert aov is not None
    assert (aov.numerator, aov.denominator, aov.timezone) == ("revenue", "orders", "UTC")


def test_a_dimension_that_is_not_there_is_named(store: ClickHouse) -> None:
    """With a suggestion."""
    with pytest.raises(UnknownName, match="did you mean 'region'"):
        Reader(store, CATALOG).segments("orders", SPANS, "regions")
