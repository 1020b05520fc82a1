"""Make a clean event file as untidy as real input: duplicates, disorder, malformed lines; same seed, same file.

    python docs/examples/flights/dirty.py IN.jsonl[.gz] OUT.jsonl[.gz] [--seed 7] [--duplicates 0.05] [--disorder 50]
                                          [--malformed 200]

Next to OUT it writes OUT.malformed.json: the kind and the bytes (base64) of every malformed line, and the counts.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import heapq
import json
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, cast

__all__ = ["Dirt", "dirty", "malformed_line", "sidecar"]

NEAR_LINES = 20
FAR_HOURS = (1, 12)


@dataclass(slots=True)
class Dirt:
    """What was added: counts, and each malformed line with its kind."""

    events: int = 0
    near_duplicates: int = 0
    far_duplicates: int = 0
    malformed: list[tuple[str, bytes]] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """The counts, also of malformed lines by kind."""
        kinds = dict(sorted(Counter(kind for kind, _ in self.malformed).items()))
        counts = {"events": self.events, "near_duplicates": self.near_duplicates, "far_duplicates": self.far_duplicates}
        return {**counts, "malformed": len(self.malformed), "kinds": kinds}


def dirty(
    lines: Iterable[bytes], dirt: Dirt, *, seed: int = 7, duplicates: float = 0.05, disorder: int = 50, bad_at: set[int]
) -> Iterator[bytes]:
    """`lines` with dirt, which `dirt` keeps count of; a malformed line follows the n-th for each n in `bad_at`."""
    rng = random.Random(seed)
    repeated = _with_duplicates(lines, dirt, rng, duplicates)
    for number, line in enumerate(_shuffled(repeated, rng, disorder)):
        yield line
        if number in bad_at:
            kind, bad = malformed_line(line, len(dirt.malformed))
            dirt.malformed.append((kind, bad))
            yield bad


def _with_duplicates(lines: Iterable[bytes], dirt: Dirt, rng: random.Random, share: float) -> Iterator[bytes]:
    """Repeat a share of the lines: half of them within a few lines, half when event time is hours further on."""
    near: list[tuple[int, bytes]] = []
    far: list[tuple[str, bytes]] = []
    for number, line in enumerate(lines):
        time = _time(line)
        while near and near[0][0] <= number:
            yield heapq.heappop(near)[1]
        while far and far[0][0] <= time:
            yield heapq.heappop(far)[1]
        yield line
        dirt.events += 1
        if rng.random() >= share:
            continue
        if rng.random() < 0.5:
            dirt.near_duplicates += 1
            heapq.heappush(near, (number + rng.randint(1, NEAR_LINES), line))
        else:
            dirt.far_duplicates += 1
            heapq.heappush(far, (_later(time, rng.uniform(*FAR_HOURS)), line))
    yield from (line for _, line in sorted(near))
    yield from (line for _, line in sorted(far))


def _time(line: bytes) -> str:
    start = line.index(b'"time": "') + 9
    return line[start : line.index(b'"', start)].decode()


def _later(time: str, hours: float) -> str:
    return f"{datetime.fromisoformat(time) + timedelta(hours=hours):%Y-%m-%dT%H:%M:%SZ}"


def _shuffled(lines: Iterable[bytes], rng: random.Random, size: int) -> Iterator[bytes]:
    """Shuffle within blocks of `size` lines; 0 and 1 leave the order."""
    block: list[bytes] = []
    for line in lines:
        block.append(line)
        if len(block) >= size:
            rng.shuffle(block)
            yield from block
            block.clear()
    rng.shuffle(block)
    yield from block


def _edited(edit: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], bytes]:
    def build(event: dict[str, Any]) -> bytes:
        edit(event)
        return json.dumps(event).encode()

    return build


def _nan(event: dict[str, Any]) -> bytes:
    event["data"] |= {"note": "?"}
    return json.dumps(event).encode().replace(b'"?"', b"NaN")


def _bare(content: bytes) -> Callable[[dict[str, Any]], bytes]:
    return lambda event: content.replace(b"ID", event["id"].encode())


KINDS: dict[str, Callable[[dict[str, Any]], bytes]] = {
    "truncated": lambda event: json.dumps(event).encode()[:-40],
    "not_json": _bare(b"origin=EWR;carrier=UA;id=ID"),
    "not_an_object": _bare(b'["flight.departed", "ID"]'),
    "a_number": _bare(b"42"),
    "empty_object": _bare(b"{}"),
    "binary": lambda event: b"\x00\xff\xfe\x80\x93" + event["id"].encode() + b"\xc3\x28",
    "invalid_utf8": lambda event: json.dumps(event).encode().replace(b'"subject": "', b'"subject": "\xff\xfe'),
    "no_time": _edited(lambda event: event.pop("time")),
    "naive_time": _edited(lambda event: event.update(time=event["time"].rstrip("Z"))),
    "impossible_time": _edited(lambda event: event.update(time="2013-02-30T12:00:00Z")),
    "far_future": _edited(lambda event: event.update(time="2099-01-01T00:00:00Z")),
    "no_id": _edited(lambda event: event.pop("id")),
    "empty_id": _edited(lambda event: event.update(id="")),
    "no_source": _edited(lambda event: event.pop("source")),
    "no_type": _edited(lambda event: event.pop("type")),
    "unknown_type": _edited(lambda event: event.update(type="flight.teleported")),
    "wrong_specversion": _edited(lambda event: event.update(specversion="9.9")),
    "wrong_type": _edited(lambda event: event["data"].update(origin=7)),
    "not_in_enum": _edited(lambda event: event["data"].update(origin="XYZ")),
    "missing_required": _edited(lambda event: event["data"].pop("origin")),
    "data_not_an_object": _edited(lambda event: event.update(data=[1, 2])),
    "no_data": _edited(lambda event: event.pop("data")),
    "nan": _nan,
}


def malformed_line(line: bytes, number: int) -> tuple[str, bytes]:
    """The kind and the bytes (a newline at the end) of the `number`-th malformed line, made from a good one."""
    kind = list(KINDS)[number % len(KINDS)]
    event = json.loads(line)
    event["id"] = f"malformed/{number}"
    return kind, KINDS[kind](event) + b"\n"


def sidecar(out: Path) -> Path:
    """Where the list of malformed lines is written for an output file."""
    return out.with_name(out.name.removesuffix(".gz").removesuffix(".jsonl") + ".malformed.json")


def _open(path: Path, mode: str) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path, mode, 5) if path.suffix == ".gz" else path.open(mode))


def write(source: Path, out: Path, *, seed: int, duplicates: float, disorder: int, malformed: int) -> Dirt:
    """Write `out` and its sidecar from the clean file `source`; return what was added."""
    with _open(source, "rb") as file:
        total = sum(1 for _ in file)
    bad_at = set(random.Random(seed + 1).sample(range(total), min(malformed, total)))
    dirt = Dirt()
    with _open(source, "rb") as file, _open(out, "wb") as result:
        result.writelines(dirty(file, dirt, seed=seed, duplicates=duplicates, disorder=disorder, bad_at=bad_at))
    lines = [{"kind": kind, "line": base64.b64encode(line.rstrip(b"\n")).decode()} for kind, line in dirt.malformed]
    sidecar(out).write_text(json.dumps({**dirt.summary(), "lines": lines}, indent=1) + "\n")
    return dirt


def main() -> None:
    """Read the command line, write the untidy file and its sidecar, and print the counts."""
    parser = argparse.ArgumentParser(description="Add duplicates, disorder and malformed lines to an event file.")
    parser.add_argument("source", type=Path, metavar="IN")
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--duplicates", type=float, default=0.05, help="share of the events to repeat")
    parser.add_argument("--disorder", type=int, default=50, help="shuffle within blocks of this many lines")
    parser.add_argument("--malformed", type=int, default=200, help="how many malformed lines to put in")
    options = parser.parse_args()
    rest = {name: value for name, value in vars(options).items() if name not in ("source", "out")}
    print(json.dumps(write(options.source, options.out, **rest).summary(), indent=1))


if __name__ == "__main__":
    main()
