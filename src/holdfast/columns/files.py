"""Columns of a file as the contract wants them: the same meaning as in a request, from what Parquet and CSV can say.

A file is typed as a whole, so a refusal names the first row at fault. A CSV cannot say that 98001 is text: whole numbers in a
text field are read as their digits.
"""

from __future__ import annotations

from datetime import tzinfo
from typing import Any

import numpy as np
from numpy.typing import NDArray

from holdfast.columns.field import Reader
from holdfast.columns.names import class_name
from holdfast.columns.times import NO_TIME, from_datetimes, from_text, iso_texts

__all__ = ["numbers", "texts", "times"]


def numbers(column: Reader, values: NDArray[Any]) -> NDArray[np.float64]:
    """A numeric field: float64, NaN for missing."""
    if values.dtype.kind not in "fiu":
        values = _all_missing(column, values)
    found = values.astype(np.float64)
    column.check_missing(np.isnan(found))
    if column.whole:
        column.check_whole(found)
    return found


def texts(column: Reader, values: NDArray[Any]) -> NDArray[Any]:
    """A text or boolean field: object array of str and None."""
    found = _said(column, values)
    if column.field.datatype == "BOOL":
        found = np.array([class_name(value) if isinstance(value, bool) else value for value in found], dtype=object)
        wrong = next((row for row, value in enumerate(found) if value not in {"true", "false", None}), None)
    else:
        wrong = next((row for row, value in enumerate(found) if not isinstance(value, str | None)), None)
    if wrong is not None:
        raise column.refuse(f"{str(found[wrong])[:40]!r} is not {column.wanted}", wrong)
    column.check_missing(np.array([value is None for value in found], dtype=np.bool_))
    return found


def _said(column: Reader, values: NDArray[Any]) -> NDArray[Any]:
    """Values as objects, None where one is missing; numbers and times as texts where texts are wanted."""
    kind, texts_wanted = values.dtype.kind, column.field.datatype == "BYTES"
    if kind == "b":
        return np.where(values, "true", "false").astype(object)
    if kind in "OU":
        return np.array([None if v is None or v != v else v for v in values.tolist()], dtype=object)  # noqa: PLR0124 - NaN
    if kind in "fiu" and texts_wanted:
        column.check_whole(values.astype(np.float64))
        return np.array([None if v != v else str(int(v)) for v in values.tolist()], dtype=object)  # noqa: PLR0124
    if kind == "M" and texts_wanted:
        return iso_texts(values)
    raise column.refuse(f"the column holds {_kind(values)}", None)


def times(column: Reader, values: NDArray[Any], zone: tzinfo) -> NDArray[np.int64]:
    """The timestamp: datetime64, or ISO 8601 text."""
    if values.dtype.kind == "M":
        found = from_datetimes(values, zone)
    elif values.dtype.kind in "OU":
        strange = next((row for row, v in enumerate(values) if not isinstance(v, str) and v is not None), None)
        if strange is not None:
            raise column.refuse(f"{str(values[strange])[:40]!r} is no timestamp", strange, "write ISO 8601")
        found = from_text(values.tolist(), zone, column.name)
    else:
        raise column.refuse(f"the column holds {_kind(values)}, no timestamps", None, "write ISO 8601")
    column.check_missing(found == NO_TIME)
    return found


def _all_missing(column: Reader, values: NDArray[Any]) -> NDArray[Any]:
    """A column without any value has no type of its own in a file; anything else here is of a wrong type."""
    if values.dtype.kind == "O" and all(value is None for value in values):
        return np.full(len(values), np.nan)
    row = next((i for i, value in enumerate(values.tolist()) if value is not None), 0)
    raise column.refuse(f"the column holds {_kind(values)}, such as {str(values[row])[:40]!r}", row)


def _kind(values: NDArray[Any]) -> str:
    return {"b": "truth values", "M": "times", "O": "text", "U": "text"}.get(values.dtype.kind, "numbers")
