"""Typed tensors as a batch: those of gRPC, and of the Open Inference Protocol's binary extension, bytes behind JSON.

    {"inputs": [{"name": "sqft", "shape": [2], "datatype": "FP64", "parameters": {"binary_data_size": 16}}, ...]}<16 bytes>...

Bytes stand in the order of their tensors. Where tensors with JSON data stand among them, all are read as JSON would be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from holdfast.columns.binary import DTYPES, unpack
from holdfast.columns.layout import Batch, Layout
from holdfast.columns.payloads import (
    JSON,
    MAX_ID,
    OCTETS,
    TENSORS,
    Payload,
    decode_json,
    read_id,
    read_object,
    read_tensors,
    same_rows,
)
from holdfast.columns.wanted import wanted
from holdfast.errors import MalformedRequest

__all__ = ["Tensor", "decode_binary", "read_arrays"]

Tensor = tuple[str, NDArray[Any]]
"""Its name and its values."""
SIZE = "binary_data_size"


def read_arrays(tensors: Sequence[Tensor], layout: Layout, max_rows: int) -> Batch:
    """One tensor per column, [n] or [n, 1]; or a single [n, k] (or [n, ...]) with all features in the contract's order."""
    rows = same_rows([(name, one.shape[0]) for name, one in tensors], max_rows)
    values = tensors[0][1]
    if len(tensors) == 1 and layout.together(values.shape):
        return layout.from_matrix(values.reshape(rows, -1))
    columns: dict[str, NDArray[Any]] = {}
    for name, one in tensors:
        if name in columns:
            raise MalformedRequest(f"tensor '{name[:60]}' is given twice", "inputs", "send it once")
        if one.ndim != 1 and one.shape[1:] != (1,):
            raise MalformedRequest(
                f"'{name[:60]}' has shape {list(one.shape)}", "inputs, shape", "send columns of shape [n] or [n, 1]"
            )
        columns[name] = one.reshape(-1)
    return layout.from_arrays(columns, rows)


def decode_binary(body: bytes, length: str, layout: Layout, max_rows: int) -> Payload:
    """A body of which the first bytes, so many as the header says, are JSON."""
    size = int(length) if length.isascii() and length.isdecimal() and len(length) < 20 else -1
    if not 0 < size <= len(body):
        raise MalformedRequest(
            f"'{length[:20]}' bytes of JSON cannot stand in a body of {len(body)} bytes",
            "header Inference-Header-Content-Length",
            "say how many bytes of JSON stand before the tensors",
        )
    data = memoryview(body)[size:]
    plain = _plain(body[:size], data, layout, max_rows)
    if plain is not None:
        return plain
    document = read_object(decode_json(body[:size]), TENSORS, "inputs")
    outputs, binary = wanted(document.get("outputs"), document.get("parameters"), layout.contract.output)
    batch = _batch(document["inputs"], data, layout, max_rows)
    return Payload(batch, read_id(document), outputs, binary, OCTETS if binary else JSON)


class _Size(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    binary_data_size: int


class _Described(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    name: str
    shape: tuple[int, ...]
    datatype: str
    parameters: _Size


class _Head(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    inputs: list[_Described]
    id: str = ""
    parameters: Any = None
    outputs: Any = None


_HEAD: Final = msgspec.json.Decoder(_Head)


def _plain(json: bytes, data: memoryview, layout: Layout, max_rows: int) -> Payload | None:
    """Nothing but numbers of one datatype: one matrix, read where it stands. None: look closer."""
    try:
        head = _HEAD.decode(json)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if len(head.id) > MAX_ID or not head.inputs:
        return None
    values = _whole(head.inputs[0], data, layout, max_rows) if len(head.inputs) == 1 else None
    if values is None:
        values = _side_by_side(head.inputs, data, layout.required, max_rows)
    batch = None if values is None else layout.from_block(values)
    if batch is None:
        return None
    outputs, binary = wanted(head.outputs, head.parameters, layout.contract.output)
    return Payload(batch, head.id, outputs, binary, OCTETS if binary else JSON)


def _whole(only: _Described, data: memoryview, layout: Layout, max_rows: int) -> NDArray[Any] | None:
    """One tensor of all features, as [rows, features]."""
    dtype, width = DTYPES.get(only.datatype), len(layout.required)
    rows = only.shape[0] if only.shape else 0
    if dtype is None or dtype.kind not in "fiu" or not layout.uniform or not 0 < rows <= max_rows:
        return None
    size = rows * width * dtype.itemsize
    if not layout.together(only.shape) or prod(only.shape) != rows * width:
        return None
    if only.parameters.binary_data_size != size or len(data) != size:
        return None
    return np.frombuffer(data, dtype).reshape(rows, width)


def _side_by_side(
    inputs: Sequence[_Described], data: memoryview, names: Sequence[str], max_rows: int
) -> NDArray[Any] | None:
    """A tensor of one datatype and shape for each feature, in order, as [rows, features]."""
    if len(inputs) != len(names):
        return None
    datatype, shape, size = inputs[0].datatype, inputs[0].shape, inputs[0].parameters.binary_data_size
    dtype, rows = DTYPES.get(datatype), shape[0] if shape else 0
    if dtype is None or dtype.kind not in "fiu" or shape not in {(rows,), (rows, 1)} or not 0 < rows <= max_rows:
        return None
    if size != rows * dtype.itemsize or len(data) != size * len(names):
        return None
    for one, name in zip(inputs, names, strict=True):
        if (
            one.name != name
            or one.datatype != datatype
            or one.shape != shape
            or one.parameters.binary_data_size != size
        ):
            return None
    return np.frombuffer(data, dtype).reshape(len(names), rows).T


def _batch(inputs: Any, data: memoryview, layout: Layout, max_rows: int) -> Batch:
    given = inputs if isinstance(inputs, list) else []
    parts: list[Tensor | None] = []
    at = 0
    for one in given:
        size = _size(one)
        parts.append(None if size is None else _unpacked(one, data[at : at + size]))
        at += size or 0
    if at != len(data):
        raise MalformedRequest(
            f"the tensors have {at} bytes, {len(data)} stand behind the JSON",
            "inputs",
            "say the right binary_data_size",
        )
    arrays = [part for part in parts if part is not None]
    if arrays and len(arrays) == len(parts):
        return read_arrays(arrays, layout, max_rows)
    mixed = [one if part is None else one | {"data": _listed(part[1])} for one, part in zip(given, parts, strict=True)]
    return read_tensors(mixed, layout, max_rows)


def _size(tensor: Any) -> int | None:
    """How many bytes are this tensor's; None if its data are JSON, or if it is no tensor: that is said where JSON is read."""
    parameters = tensor.get("parameters") if isinstance(tensor, dict) else None
    size = parameters.get(SIZE) if isinstance(parameters, dict) else None
    if size is None:
        return None
    if type(size) is not int or size < 0 or "data" in tensor:
        told = "has bytes and 'data'" if "data" in tensor else f"cannot have {str(size)[:20]} bytes"
        raise MalformedRequest(f"a tensor {told}", "inputs, parameters", f"say the right {SIZE}")
    return size


def _unpacked(tensor: Mapping[str, Any], raw: memoryview) -> Tensor:
    name, datatype, shape = tensor.get("name"), tensor.get("datatype"), tensor.get("shape")
    if not (isinstance(name, str) and isinstance(datatype, str) and isinstance(shape, list)) or any(
        type(size) is not int for size in shape
    ):
        raise MalformedRequest(
            "a tensor lacks name, datatype or shape", "inputs", "give name, shape, datatype and parameters"
        )
    return name, unpack(name, datatype, shape, raw)


def _listed(values: NDArray[Any]) -> list[Any]:
    """As JSON has them: null for NaN."""
    return [None if value != value else value for value in values.ravel().tolist()]  # noqa: PLR0124 - NaN
