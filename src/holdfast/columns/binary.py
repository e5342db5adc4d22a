"""Tensors as bytes, as the Open Inference Protocol's binary extension and its gRPC form have them, to and from numpy arrays.

Numbers stand as they do in memory, little-endian and row by row; truth values are one byte, 0 or 1; texts are UTF-8, each behind
its length as an unsigned 32 bit number. Numeric arrays are views of the bytes that came: nothing is copied.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from holdfast.errors import MalformedRequest

__all__ = ["DTYPES", "check_shape", "pack", "unpack"]

DTYPES: Final[dict[str, np.dtype[Any]]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype("<u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("<i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    "BYTES": np.dtype(object),
}
"""Every datatype of the Open Inference Protocol, and what holds it here."""
_LENGTH: Final = struct.Struct("<I")
MOST_AXES: Final = 8


def unpack(name: str, datatype: str, shape: Sequence[int], raw: bytes | memoryview) -> NDArray[Any]:
    """An array of this shape; MalformedRequest, naming the tensor, where bytes, datatype and shape do not fit together."""
    dtype = DTYPES.get(datatype)
    if dtype is None:
        raise MalformedRequest(f"datatype '{datatype[:20]}' is not one", _where(name), f"use {', '.join(DTYPES)}")
    values = check_shape(name, shape)
    if datatype == "BYTES":
        return _texts(name, values, raw).reshape(shape)
    if len(raw) != values * dtype.itemsize:
        raise MalformedRequest(
            f"{values} values of {datatype} are {values * dtype.itemsize} bytes, {len(raw)} are given",
            _where(name),
            "mend shape, datatype or data",
        )
    found = np.frombuffer(raw, dtype)
    if datatype == "BOOL" and (strange := found.view(np.uint8) > 1).any():
        raise MalformedRequest(f"byte {int(strange.argmax())} is neither 0 nor 1", _where(name), "a BOOL is one byte")
    return found.reshape(shape)


def pack(datatype: str, values: Sequence[Any] | NDArray[Any]) -> bytes:
    """The bytes of these values."""
    if datatype == "BYTES":
        texts = [str(value).encode() for value in values]
        return b"".join(part for text in texts for part in (_LENGTH.pack(len(text)), text))
    return np.asarray(values, dtype=DTYPES[datatype]).tobytes()


def check_shape(name: str, shape: Sequence[int]) -> int:
    """How many values a tensor of this shape has; MalformedRequest if it is no shape."""
    if not 0 < len(shape) <= MOST_AXES or min(shape) < 0 or max(shape) > np.iinfo(np.int32).max:
        raise MalformedRequest(
            f"shape {str(list(shape))[:60]} is not one", _where(name), "give a list of sizes, such as [1]"
        )
    return math.prod(shape)


def _texts(name: str, values: int, raw: bytes | memoryview) -> NDArray[Any]:
    """Length-prefixed texts. Lengths are checked before anything is made of them: nobody gets memory for a claim."""
    data, at = bytes(raw), 0
    found: list[str] = []
    while at < len(data) and len(found) < values:
        start = at + _LENGTH.size
        end = start + _LENGTH.unpack_from(data, at)[0] if start <= len(data) else start
        if end > len(data):
            raise MalformedRequest(f"text {len(found)} is cut off", _where(name), "each text stands behind its length")
        try:
            found.append(data[start:end].decode())
        except UnicodeDecodeError:
            raise MalformedRequest(f"text {len(found)} is not UTF-8", _where(name), "send UTF-8") from None
        at = end
    if at != len(data) or len(found) != values:
        told = "more bytes follow" if len(found) == values else f"{len(found)} are given"
        raise MalformedRequest(f"the shape asks for {values} texts, {told}", _where(name), "mend shape or data")
    return np.array(found, dtype=object)


def _where(name: str) -> str:
    return f"inputs, '{name[:60]}'"
