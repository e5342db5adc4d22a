"""Columns of typed tensors as the contract wants them: the same meaning as JSON values, checked by type instead of by value.

A typed tensor has no null: NaN stands for a missing number, and a missing text cannot be said (JSON can).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from holdfast.columns.field import Reader

__all__ = ["check_missing", "numbers", "texts"]

_KINDS = {"b": "truth values", "O": "texts", "f": "fractions", "i": "whole numbers", "u": "whole numbers"}


def numbers(column: Reader, values: NDArray[Any]) -> NDArray[Any]:
    """Numbers of any width for a numeric field; fractions in a field of whole numbers are refused by row."""
    if values.dtype.kind not in "fiu":
        raise column.refuse(f"the tensor holds {_KINDS[values.dtype.kind]}", None)
    if column.whole and values.dtype.kind == "f":
        column.check_whole(values.astype(np.float64))
    return values


def texts(column: Reader, values: NDArray[Any]) -> list[Any]:
    """Texts, truth values, and the whole numbers that a key may be, as JSON would have them."""
    found: list[Any] = values.tolist()
    if not column.allowed.issuperset(map(type, found)):
        row = next(index for index, value in enumerate(found) if type(value) not in column.allowed)
        raise column.refuse(f"the tensor holds {_KINDS[values.dtype.kind]}", row)
    return found


def check_missing(columns: Sequence[Reader], values: NDArray[np.float64]) -> None:
    """Refuse NaN where the field is not nullable; one row of `values` per column."""
    missing = np.isnan(values)
    if missing.any():
        for index in np.flatnonzero(missing.any(axis=1)).tolist():
            columns[index].check_missing(missing[index])
