"""Where the tests find the flights example: its scripts as modules, and its source distribution."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

EXAMPLE = Path(__file__).resolve().parents[1] / "docs" / "examples" / "flights"


def script(name: str) -> ModuleType:
    """A script of the example (`convert`, `recount`, `dirty`, `tables`, `clock`) as a module."""
    if str(EXAMPLE) not in sys.path:
        sys.path.insert(0, str(EXAMPLE))
    return importlib.import_module(name)


def sdist() -> Path:
    """The source distribution: `ONPACE_TEST_FLIGHTS`, else pip's download; skips the test if there is none."""
    given = os.environ.get("ONPACE_TEST_FLIGHTS")
    try:
        found: Path = script("tables").locate(Path(given) if given else None)
    except SystemExit as exc:
        pytest.skip(f"THE FLIGHTS EXAMPLE IS NOT TESTED: {exc}")
    return found
