"""What decoding gives: rows as columns, their event times and keys, and what was outside the contract's ranges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Batch", "Table", "Values"]

Values = NDArray[Any]
Table = dict[str, Values]


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows that keep the contract."""

    rows: int
    table: Table
    """Columns that were given, in the contract's order."""
    times: NDArray[np.int64] | None
    """Event time per row, microseconds UTC; None where the rows carry none."""
    keys: list[str | None] | None
    flags: dict[str, int]
    """Field -> how many values lay outside its range or categories; fields without any are left out."""
