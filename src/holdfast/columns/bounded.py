"""The commonest requests, checked while they are read: floats and nothing but floats, each within its range.

The JSON decoder is told how many numbers there must be and between which bounds. What it accepts needs no further look; what
it does not accept may still be right, and is read in another way (`quick`, then `payloads`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final, Literal

import msgspec

__all__ = ["KINDS", "Bounds", "Decode", "row_decoder", "rows_decoder"]

KINDS: Final = frozenset({"FP64", "FP32", "INT64", "INT32"})
"""Tensors of numbers; JSON has them all alike."""
Bounds = Sequence[tuple[float, float]]
Decode = Callable[[bytes], Any]
"""What it gives has the members of the JSON as attributes; raises msgspec.DecodeError for everything else."""

# Types that are made while it runs are nothing that a type checker could follow.
_CHOICE: Any = Literal
_ROW: Any = tuple


def row_decoder(bounds: Bounds) -> Decode:
    """Reads `{"inputs": [{"name", "shape": [1, k], "datatype", "data"}], "id"}` with k numbers, each within its bounds."""
    numbers = _numbers(bounds)
    shape = _ROW[_CHOICE[1], _CHOICE[len(numbers)]]
    tensor = _struct({"name": str, "shape": shape, "datatype": _CHOICE[tuple(KINDS)], "data": _ROW[tuple(numbers)]})
    return msgspec.json.Decoder(_struct({"inputs": _ROW[tensor,], "id": (str, "")})).decode


def rows_decoder(names: Sequence[str], bounds: Bounds) -> Decode:
    """Reads `{"instances": [{name: number, ...}, ...], "id"}`; a row, as a tuple, has its numbers in the order of the names."""
    # A column may be called anything, a member may not.
    members = {f"c{index}": name for index, name in enumerate(names)}
    fields = list(zip(members, _numbers(bounds), strict=True))
    row: Any = msgspec.defstruct("Row", fields, rename=members, forbid_unknown_fields=True, gc=False)
    return msgspec.json.Decoder(_struct({"instances": list[row], "id": (str, "")})).decode


def _numbers(bounds: Bounds) -> list[Any]:
    return [Annotated[float, msgspec.Meta(ge=low, le=high)] for low, high in bounds]


def _struct(members: dict[str, Any]) -> Any:
    """A member is a type, or a type and a default."""
    fields = [(name, *(kind if isinstance(kind, tuple) else (kind,))) for name, kind in members.items()]
    return msgspec.defstruct("Asked", fields, forbid_unknown_fields=True, gc=False)
