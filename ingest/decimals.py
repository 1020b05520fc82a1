"""Exact numbers: JSON number text to integers scaled by a power of ten, never through a float."""

# pyarrow.compute makes its functions when it is imported:
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["INT64", "bound_above", "bound_below", "scaled", "scaled_column"]

INT64 = range(-(2**63), 2**63)
SMALL = 32
NUMBER_STARTS = frozenset(bytes([byte]) for byte in b"-0123456789")
SAFE_DIGITS = 37
"""Arrow's decimal128 wraps around silently beyond 38 digits, so longer texts are converted one by one."""


def scaled(text: str, scale: int) -> int:
    """The number times 10**scale, exactly.

    Trailing zeros do not count as digits and exponents are fine. Raises ValueError when digits would be lost or
    the result does not fit 64 bits.
    """
    try:
        sign, digits, exponent = Decimal(text).as_tuple()
    except InvalidOperation as exc:
        raise ValueError("is out of range") from exc
    if not isinstance(exponent, int):
        raise ValueError("is out of range")
    if not any(digits):
        return 0
    significant = "".join(map(str, digits)).rstrip("0")
    exponent += len(digits) - len(significant) + scale
    if exponent < 0:
        raise ValueError(f"has more than {scale} digits after the decimal point")
    if len(significant) + exponent > 19:
        raise ValueError("is out of range")
    value = int(f"{'-' if sign else ''}{significant}{'0' * exponent}")
    if value not in INT64:
        raise ValueError("is out of range")
    return value


def scaled_column(raws: Sequence[msgspec.Raw], scale: int) -> pa.Array:
    """`scaled` for a column of JSON values; what is missing (empty) or does not convert is null."""
    column = _convert(raws, scale)
    if column is not None:
        return column
    if len(raws) <= SMALL:
        return pa.array([_scaled_or_none(bytes(raw), scale) for raw in raws], pa.int64())
    half = len(raws) // 2
    return pa.concat_arrays([scaled_column(raws[:half], scale), scaled_column(raws[half:], scale)])


def _convert(raws: Sequence[msgspec.Raw], scale: int) -> pa.Array | None:
    """The whole column at once, or None when one of the values needs a closer look."""
    blob = b"\0".join(raws)
    if b"e" in blob or b"E" in blob or b'"' in blob:
        return None
    texts = pc.split_pattern(pa.array([blob.decode()], pa.string()), "\0").flatten()
    lengths = pc.binary_length(texts)
    if pc.max(lengths).as_py() + scale > SAFE_DIGITS:
        return None
    if pc.min(lengths).as_py() == 0:
        texts = pc.if_else(pc.equal(lengths, 0), pa.scalar(None, pa.string()), texts)
    try:
        return _unscaled(texts.cast(pa.decimal128(38, scale)))
    except pa.ArrowInvalid:
        return None


def _scaled_or_none(text: bytes, scale: int) -> int | None:
    if text[:1] not in NUMBER_STARTS:
        return None
    try:
        return scaled(text.decode(), scale)
    except ValueError:
        return None


def bound_below(schema: Mapping[str, Any], scale: int) -> int | None:
    """The smallest scaled integer that `minimum` and `exclusiveMinimum` allow."""
    bounds = []
    if "minimum" in schema:
        exact = Fraction(Decimal(repr(schema["minimum"]))) * 10**scale
        bounds.append(-(-exact.numerator // exact.denominator))
    if "exclusiveMinimum" in schema:
        exact = Fraction(Decimal(repr(schema["exclusiveMinimum"]))) * 10**scale
        bounds.append(exact.numerator // exact.denominator + 1)
    return max(bounds, default=None)


def bound_above(schema: Mapping[str, Any], scale: int) -> int | None:
    """The largest scaled integer that `maximum` and `exclusiveMaximum` allow."""
    mirrored = {
        name: -schema[other]
        for name, other in (("minimum", "maximum"), ("exclusiveMinimum", "exclusiveMaximum"))
        if other in schema
    }
    below = bound_below(mirrored, scale)
    return None if below is None else -below


def _unscaled(decimals: pa.Array) -> pa.Array | None:
    """The integers inside a decimal128 column, or None when one does not fit 64 bits."""
    words: npt.NDArray[np.int64] = np.frombuffer(decimals.buffers()[1], dtype=np.int64)
    halves = words[decimals.offset * 2 : (decimals.offset + len(decimals)) * 2].reshape(-1, 2)
    low, high = halves[:, 0], halves[:, 1]
    mask = np.asarray(decimals.is_null()) if decimals.null_count else None
    fits = high == low >> 63
    if not (fits if mask is None else fits | mask).all():
        return None
    return pa.array(low, pa.int64(), mask=mask)
