"""The plain case of a request, read in a tenth of the time: all features are numbers and nothing is wrong or unusual.

Whatever is not plain gives None, and the caller takes the long way (`payloads`), which finds out what is wrong and where.
"""

from __future__ import annotations

from math import prod
from typing import Any, Final, Generic, TypeVar

import msgspec
from msgspec.structs import astuple

from holdfast.columns.bounded import KINDS, Decode
from holdfast.columns.layout import Batch, Layout
from holdfast.columns.payloads import MAX_ID

__all__ = ["quick_rows", "quick_tensors"]

LONG: Final = 4096
"""A longer body is hardly one row."""
COLUMN: Final = ((1,), (1, 1))
Value = TypeVar("Value")


class _Tensor(msgspec.Struct, Generic[Value], forbid_unknown_fields=True, gc=False):
    name: str
    shape: tuple[int, ...]
    datatype: str
    data: list[Value]


class _Tensors(msgspec.Struct, Generic[Value], forbid_unknown_fields=True, gc=False):
    inputs: list[_Tensor[Value]]
    id: str = ""


class _Rows(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    instances: list[dict[str, Any]]
    id: str = ""


_TENSORS: Final = msgspec.json.Decoder(_Tensors[Any])
_FLOATS: Final = msgspec.json.Decoder(_Tensors[float])
_ROWS: Final = msgspec.json.Decoder(_Rows)


def quick_tensors(body: bytes, layout: Layout, max_rows: int) -> tuple[Batch, str] | None:
    """One tensor [n, k] of all features, or one row as a tensor per feature in the contract's order."""
    if (row := layout.row) is not None and len(body) < LONG and (one := _one(body, row, layout)) is not None:
        return one
    try:
        asked: Any = (_FLOATS if layout.floats else _TENSORS).decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    inputs = asked.inputs
    if len(asked.id) > MAX_ID or not inputs:
        return None
    batch = _together(inputs[0], layout, max_rows) if len(inputs) == 1 else _apart(inputs, layout)
    return None if batch is None else (batch, asked.id)


def _together(only: Any, layout: Layout, max_rows: int) -> Batch | None:
    """One tensor of all features."""
    if not layout.uniform or not layout.together(only.shape) or only.datatype not in KINDS:
        return None
    rows, width = only.shape[0], prod(only.shape[1:])
    if width != len(layout.required) or width == 1 or not 0 < rows <= max_rows or len(only.data) != rows * width:
        return None
    return layout.from_flat(only.data, rows, floats=layout.floats)


def _apart(inputs: list[Any], layout: Layout) -> Batch | None:
    """One row, a tensor per feature in the contract's order."""
    values: list[Any] = []
    for one, name in zip(inputs, layout.required, strict=False):
        if one.name != name or one.shape not in COLUMN or one.datatype not in KINDS or len(one.data) != 1:
            return None
        values += one.data
    if not len(values) == len(inputs) == len(layout.required):
        return None
    return layout.from_flat(values, 1, floats=layout.floats)


def _several(body: bytes, decode: Decode, layout: Layout, max_rows: int) -> tuple[Batch, str] | None:
    try:
        asked = decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    rows = asked.instances
    if not 0 < len(rows) <= max_rows or len(asked.id) > MAX_ID:
        return None
    batch = layout.from_row(astuple(rows[0])) if len(rows) == 1 else layout.from_rows([astuple(row) for row in rows])
    return batch, asked.id


def _one(body: bytes, row: Decode, layout: Layout) -> tuple[Batch, str] | None:
    """One tensor of one row, nothing of it out of range."""
    try:
        asked = row(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return (layout.from_row(asked.inputs[0].data), asked.id) if len(asked.id) <= MAX_ID else None


def quick_rows(body: bytes, layout: Layout, max_rows: int) -> tuple[Batch, str] | None:
    """Rows of floats, none out of range; or one row that has every feature and nothing else."""
    if (decode := layout.rows) is not None and (several := _several(body, decode, layout, max_rows)) is not None:
        return several
    try:
        asked = _ROWS.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if len(asked.instances) != 1 or len(asked.id) > MAX_ID:
        return None
    [row] = asked.instances
    if len(row) != len(layout.required):
        return None
    try:
        values = [row[name] for name in layout.required]
    except KeyError:
        return None
    batch = layout.from_flat(values, 1)
    return None if batch is None else (batch, asked.id)
