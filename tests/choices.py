"""What the tests run on, told at the end of the run: what a test prints is shown only when it fails. A plug-in."""

from __future__ import annotations

import pytest

_told: list[str] = []


def tell(choice: str) -> None:
    """Have this printed in the summary, once."""
    if choice not in _told:
        _told.append(choice)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: pytest.Item, error: object) -> None:
    """A worker of pytest-xdist has ended: take over what it told."""
    for choice in getattr(node, "workeroutput", {}).get("choices", ()):
        tell(choice)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In a worker of pytest-xdist: hand over what was told."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["choices"] = _told


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One paragraph a choice."""
    for choice in sorted(_told):
        terminalreporter.write_line(choice)
