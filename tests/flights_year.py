"""The whole year of the flights example: its untidy event file, its recount, and what of OnPace's values differs."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flights_example import EXAMPLE, sdist

from onpace.config.calendar import Grain
from onpace.config.catalog import Catalog
from onpace.processors.reader import Point, Reader

__all__ = ["Comparison", "Key", "Prepared", "compare", "prepare"]

Key = tuple[str, str, str, str | None, str | None]
"""KPI, grain, window start, origin, carrier; as in recount.py."""

GROUPINGS = ((), ("origin",), ("carrier",), ("origin", "carrier"))
EXACT = {"scheduled", "departures", "cancelled", "departed_on_time", "flown_miles"}
ZERO_WHEN_EMPTY = {*EXACT, "distinct_aircraft"}
FIRST, LAST = datetime(2012, 12, 1, tzinfo=UTC), datetime(2014, 3, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Prepared:
    """An untidy event file with what was added to it, and the recount of the same flights."""

    events: Path
    dirt: dict[str, Any]
    recount: dict[Key, float | None]

    @property
    def duplicates(self) -> int:
        """How many lines repeat another one."""
        return int(self.dirt["near_duplicates"] + self.dirt["far_duplicates"])

    @property
    def malformed(self) -> Counter[bytes]:
        """The malformed lines as a replay sends them."""
        return Counter(base64.b64decode(entry["line"]).strip() for entry in self.dirt["lines"])


@dataclass(slots=True)
class Comparison:
    """How many values were compared, and which differ."""

    values: Counter[str] = field(default_factory=Counter)
    filled: int = 0
    """Empty windows among them, which the recount does not list."""
    unknown: int = 0
    """Empty windows that the recount lists, of series in which nothing ever happened: OnPace does not know of them."""
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        kpis = ", ".join(f"{name} {count:,}" for name, count in self.values.items())
        total = f"{self.values.total():,} values compared, {self.filled:,} of them filled in"
        return f"{total}; {len(self.wrong)} mismatches ({kpis}); {self.unknown:,} values of series without any event"


def prepare(months: str = "1-12") -> Prepared:
    """Convert, make untidy and recount: 40 s for the year on two cores. Kept in `~/.cache/onpace` for the next time."""
    source = sdist()
    scripts = b"".join(path.read_bytes() for path in sorted(EXAMPLE.glob("*.py")))
    digest = hashlib.sha256(scripts + source.read_bytes()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "onpace"
    folder = cache / f"flights-{months}-{digest}"
    if not folder.exists():
        cache.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix="flights-", dir=cache))
        try:
            _make(made, ["--source", str(source), "--months", months])
            made.rename(folder)
        except OSError:
            if not folder.exists():  # else another run was faster
                raise
        finally:
            shutil.rmtree(made, ignore_errors=True)
    rows = json.loads((folder / "recount.json").read_text())
    names = ("kpi", "grain", "window_start", "origin", "carrier")
    return Prepared(
        folder / "dirty.jsonl.gz",
        json.loads((folder / "dirty.malformed.json").read_text()),
        {tuple(row[name] for name in names): row["value"] for row in rows},  # type: ignore[misc]
    )


def _make(folder: Path, part: list[str]) -> None:
    """Run the example's commands; the recount beside the conversion."""
    clean = folder / "clean.jsonl"

    def command(name: str, *arguments: str) -> list[str]:
        return [sys.executable, str(EXAMPLE / f"{name}.py"), *arguments]

    with (folder / "recount.json").open("wb") as out:
        recounting = subprocess.Popen(command("recount", *part), stdout=out)
        try:
            for step in (
                command("convert", str(clean), *part),
                command("dirty", str(clean), str(folder / "dirty.jsonl.gz")),
            ):
                subprocess.run(step, check=True, stdout=subprocess.DEVNULL)
        finally:
            status = recounting.wait(120)
    assert status == 0
    clean.unlink()


def compare(reader: Reader, catalog: Catalog, expected: dict[Key, float | None]) -> Comparison:
    """Every daily and monthly value, by origin and carrier, by each alone and in total, with the recount."""
    result = Comparison()
    seen: set[Key] = set()
    reader.sources()
    for kpi in catalog.kpis:
        for grain in ("day", "month"):
            for by in GROUPINGS:
                for dims, points in reader.series(kpi, Grain(grain), FIRST, LAST, by=by).items():
                    named = dict(zip(by, dims, strict=True))
                    for point in points:
                        start = f"{point.window_start:%Y-%m-%dT%H:%M:%SZ}"
                        key = (kpi, grain, start, named.get("origin"), named.get("carrier"))
                        assert key not in seen, f"{key} came twice"
                        seen.add(key)
                        _judge(result, key, point, expected)
    eventful = {(kpi, *rest) for (kpi, _, _, *rest), value in expected.items() if value != _empty(kpi)}
    for key in expected.keys() - seen:
        if (key[0], *key[3:]) in eventful:
            result.wrong.append(f"{key}: missing, should be {expected[key]}")
        else:
            result.unknown += 1
    return result


def _empty(kpi: str) -> float | None:
    return 0 if kpi in ZERO_WHEN_EMPTY else None


def _judge(result: Comparison, key: Key, point: Point, expected: dict[Key, float | None]) -> None:
    result.values[key[0]] += 1
    result.filled += key not in expected
    wanted = expected.get(key, _empty(key[0]))
    if not _close_enough(key[0], point.value, wanted):
        result.wrong.append(f"{key}: {point.value}, should be {wanted}")
    elif not point.complete:
        result.wrong.append(f"{key}: {point.value} is not called complete")


def _close_enough(kpi: str, found: float | None, wanted: float | None) -> bool:
    """Counts and sums exactly, averages and ratios to 1e-9, distinct counts within 2 %, p95 within 1 % or 0.5 min."""
    if found is None or wanted is None:
        return found is wanted
    match kpi:
        case "distinct_aircraft":
            return abs(found - wanted) <= 0.02 * wanted
        case "p95_arrival_delay":
            return abs(found - wanted) <= max(0.5, 0.01 * abs(wanted))
        case _ if kpi in EXACT:
            return found == wanted
    return math.isclose(found, wanted, rel_tol=1e-9, abs_tol=1e-9)
