"""pandas and NumPy in, Holdfast's tables out: name -> array, as `core.ports.Tables` gives them from files.

Numbers become float64 with NaN, truth values stay bool, times become datetime64[us] in UTC, everything else text with None.
"""

from __future__ import annotations

from math import isnan
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from holdfast.errors import UsageError

__all__ = ["table_of"]

Table = dict[str, NDArray[Any]]

TEXTS: Final = "text"
"""What a list of texts, or a Series without a name, is called."""


def table_of(X: Any, y: Any = None, *, label: str = "label") -> Table:
    """A DataFrame, a mapping of columns, an array (columns x0, x1, ... row by row) or a list of texts, with the labels as one
    more column.
    """
    if hasattr(X, "to_frame") and not hasattr(X, "columns"):
        X = {X.name or TEXTS: X}
    if hasattr(X, "columns"):
        table = {str(name): _column(X[name]) for name in X.columns}
    elif hasattr(X, "keys"):
        table = {str(name): _column(X[name]) for name in X}
    else:
        table = _of_array(np.asarray(X))
    if y is not None:
        truth = _column(y)
        if label in table and not np.array_equal(table[label].astype(str), truth.astype(str)):
            raise UsageError(
                f"the label is called '{label}', and so is a column of X that holds something else",
                "y",
                "say label='...', or give y another name",
            )
        table[label] = truth
    sizes = {len(values) for values in table.values()}
    if len(sizes) > 1:
        raise UsageError(f"columns of different lengths: {sorted(sizes)}", "X, y", "give one label per row")
    return table


def _of_array(matrix: NDArray[Any]) -> Table:
    if matrix.ndim == 1 and matrix.dtype.kind in "OU":
        return {TEXTS: _column(matrix)}
    if matrix.ndim < 2:
        raise UsageError(f"X has {matrix.ndim} dimensions", "X", "give a DataFrame or an array [rows, ...]")
    matrix = matrix.reshape(len(matrix), -1)
    return {f"x{i}": _column(matrix[:, i]) for i in range(matrix.shape[1])}


def _column(values: Any) -> NDArray[Any]:
    """One column; a pandas extension type by what it holds."""
    if getattr(getattr(values, "dt", None), "tz", None) is not None:
        values = values.dt.tz_convert("UTC").dt.tz_localize(None)
    array = np.asarray(values)
    match array.dtype.kind:
        case "i" | "u" | "f":
            return array.astype(np.float64)
        case "b":
            return array
        case "M":
            return array.astype("datetime64[us]")
        case _:
            return _plain([None if _absent(value) else value for value in array.tolist()])


def _plain(values: list[Any]) -> NDArray[Any]:
    """Python's own values: by what all of them are."""
    present = [value for value in values if value is not None]
    if present and all(isinstance(value, bool) for value in present):
        return np.array([None if value is None else str(value).lower() for value in values], dtype=object)
    if present and all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in present):
        return np.array([np.nan if value is None else float(value) for value in values])
    return np.array([None if value is None else str(value) for value in values], dtype=object)


def _absent(value: Any) -> bool:
    """None, NaN, NaT and pandas' NA, which is neither equal nor unequal to itself."""
    return value is None or type(value).__name__ in {"NAType", "NaTType"} or (isinstance(value, float) and isnan(value))
