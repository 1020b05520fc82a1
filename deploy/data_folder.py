"""The data folder of an embedded stack: one process holds it, and says in its lock file where it can be reached."""

from __future__ import annotations

import fcntl
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

from onpace.config.errors import DataFolderBusy, OnPaceError

__all__ = ["Address", "DataFolder", "address_of", "last_address"]

_LOCK = "onpace.lock"


@dataclass(frozen=True, slots=True)
class Address:
    """The process that holds a folder, where it answers once it is up, and the KPI files that it uses."""

    pid: int
    clickhouse: str | None = None
    web: str | None = None
    kafka: str | None = None
    kpis: str | None = None


class DataFolder:
    """Holds the folder for this process until closed. Raises DataFolderBusy when another process does.

    `kpis`: the KPI files that are used from now on. `patience`: seconds to wait for a command that holds the folder for
    a moment; a running stack is not waited for.
    """

    def __init__(self, path: Path, *, kpis: Path | None = None, patience: float = 2.0) -> None:
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._file = open(path / _LOCK, "a+")  # noqa: SIM115 - held until close
        except OSError as exc:
            raise OnPaceError(f"data folder {path}: {exc.strerror}; choose another with --data") from exc
        self.path = path
        deadline = time.monotonic() + patience
        while not self._locked():
            held = address_of(path)
            if (held and held.web) or time.monotonic() >= deadline:
                self._file.close()
                owner = f"process {held.pid}" if held else "another process"
                raise DataFolderBusy(f"data folder {path} is in use by {owner}: stop it, or choose another with --data")
            time.sleep(0.05)
        before = last_address(path)
        self._kpis = str(kpis.absolute()) if kpis else before.kpis if before else None
        self.publish()

    def publish(self, *, clickhouse: str | None = None, web: str | None = None, kafka: str | None = None) -> None:
        """Write where this process can be reached."""
        address = Address(os.getpid(), clickhouse, web, kafka, self._kpis)
        self._file.seek(0)
        self._file.truncate()
        json.dump(asdict(address), self._file)
        self._file.flush()

    def close(self) -> None:
        """Let the folder go."""
        self._file.close()

    def __enter__(self) -> DataFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _locked(self) -> bool:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def address_of(path: Path) -> Address | None:
    """The address of the process that holds a data folder now; None when nobody does."""
    try:
        with open(path / _LOCK) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return _read(file.read())
            return None
    except OSError:
        return None


def last_address(path: Path) -> Address | None:
    """What the process that holds or held the folder last wrote about itself."""
    try:
        return _read((path / _LOCK).read_text())
    except OSError:
        return None


def _read(text: str) -> Address | None:
    try:
        return Address(**json.loads(text))
    except (ValueError, TypeError):
        return None
