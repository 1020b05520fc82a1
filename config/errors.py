"""The error tree: everything OnPace raises on purpose.

OnPaceError                 a message for a person: names the subject and the next action
├── ConfigError             KPI files or settings are wrong; carries every problem found
├── InvalidEvent            one event is wrong; it goes to the dead letters with its reason
├── InvalidReport           a value that somebody reports cannot be taken
├── UnknownName             a KPI, rule or topic that does not exist (with a suggestion)
├── DataFolderBusy          another process holds the data folder
├── PortBusy                the address to listen on is taken
├── BrokerUnavailable       Kafka does not answer; retried with backoff
└── StoreUnavailable        ClickHouse does not answer; retried with backoff
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = [
    "BrokerUnavailable",
    "ConfigError",
    "DataFolderBusy",
    "InvalidEvent",
    "InvalidReport",
    "OnPaceError",
    "PortBusy",
    "Problem",
    "StoreUnavailable",
    "UnknownName",
    "did_you_mean",
]


class OnPaceError(Exception):
    """A message for a person, one line, without a traceback."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in a file: where it is and what to do about it."""

    path: str
    line: int
    message: str

    def __str__(self) -> str:
        where = f"{self.path}:{self.line}" if self.line else self.path
        return f"{where}: {self.message}"


class ConfigError(OnPaceError):
    """KPI files or settings are wrong. `problems` holds every one of them, in file order."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class InvalidEvent(OnPaceError):
    """One event is wrong. `reason` is a bounded label, `field` the part at fault ('' = the whole)."""

    def __init__(self, reason: str, message: str, field: str = "") -> None:
        self.reason = reason
        self.field = field
        super().__init__(message)


class InvalidReport(OnPaceError):
    """A reported value that cannot be taken: says what it should be."""


class UnknownName(OnPaceError):
    """A name that does not exist."""


class DataFolderBusy(OnPaceError):
    """Another process holds the data folder."""


class PortBusy(OnPaceError):
    """The address to listen on is taken."""


class BrokerUnavailable(OnPaceError):
    """Kafka does not answer. Safe to try again."""


class StoreUnavailable(OnPaceError):
    """ClickHouse does not answer, or refused an insert for want of resources. Safe to try again."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """` (did you mean 'orders'?)` when a known name is close, else an empty string."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean '{close[0]}'?)" if close else ""
