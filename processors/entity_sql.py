"""placeholder"""

from collections.abc import Sequence
from typing import Any


def conversion_rows(leaf: Any, dims: Sequence[str], condition: str) -> str:
    raise NotImplementedError


def retention_rows(leaf: Any, dims: Sequence[str], condition: str) -> str:
    raise NotImplementedError


def balance_rows(leaf: Any, dims: Sequence[str], condition: str) -> str:
    raise NotImplementedError
