"""Named arrays as bytes: the one small wire form of counts and monitor states.

A line of JSON says name, dtype and shape of each array; the raw little-endian bytes follow. No pickle, nothing to
execute on reading, the same bytes for the same arrays on every machine.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["pack", "unpack"]

Array = NDArray[Any]
_ALLOWED = frozenset("biuf")  # plain numbers only


def pack(meta: Mapping[str, Any], arrays: Mapping[str, Array]) -> bytes:
    """Return the bytes of `meta` (JSON-able) and `arrays` (plain numbers)."""
    little = {name: np.ascontiguousarray(a, dtype=a.dtype.newbyteorder("<")) for name, a in arrays.items()}
    shapes = [[name, a.dtype.str, list(a.shape)] for name, a in little.items()]
    head = json.dumps({"meta": dict(meta), "arrays": shapes}, separators=(",", ":"), ensure_ascii=True)
    return head.encode() + b"\n" + b"".join(a.tobytes() for a in little.values())


def unpack(data: bytes) -> tuple[dict[str, Any], dict[str, Array]]:
    """Undo `pack`; ValueError for anything that `pack` can't have written."""
    end = data.find(b"\n")
    if end < 0:
        raise ValueError("packed arrays: no header line")
    head = json.loads(data[:end])
    arrays: dict[str, Array] = {}
    at = end + 1
    for name, code, shape in head["arrays"]:
        dtype = np.dtype(code)
        if dtype.kind not in _ALLOWED:
            raise ValueError(f"packed arrays: {name!r} has the type {code!r}; only plain numbers are stored")
        count = int(np.prod(shape, dtype=np.int64))
        if at + count * dtype.itemsize > len(data):
            raise ValueError(f"packed arrays: the bytes of {name!r} are cut short")
        arrays[name] = np.frombuffer(data, dtype, count, at).reshape(shape).astype(dtype.newbyteorder("="))
        at += count * dtype.itemsize
    return head["meta"], arrays
