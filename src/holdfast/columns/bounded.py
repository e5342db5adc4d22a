"""The commonest request, checked while it is read: one row as one tensor of floats, each within its range.

The JSON decoder is told how many numbers there must be and between which bounds. What it accepts needs no further look; what
it does not accept may still be right, and is read in another way (`quick`, then `payloads`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final, Literal

import msgspec

__all__ = ["KINDS", "row_decoder"]

KINDS: Final = frozenset({"FP64", "FP32", "INT64", "INT32"})
"""Tensors of numbers; JSON has them all alike."""


def row_decoder(bounds: Sequence[tuple[float, float]]) -> Callable[[bytes], Any]:
    """Reads `{"inputs": [{"name", "shape": [1, k], "datatype", "data"}], "id"}` with k numbers, each within its bounds.

    What it gives has the same members as attributes; raises msgspec.DecodeError for everything else.
    """
    # Types that are made while it runs are nothing that a type checker could follow.
    choice: Any = Literal
    row: Any = tuple
    numbers = tuple(Annotated[float, msgspec.Meta(ge=low, le=high)] for low, high in bounds)
    tensor = _struct(
        name=str, shape=row[choice[1], choice[len(bounds)]], datatype=choice[tuple(KINDS)], data=row[numbers]
    )
    asked = _struct(inputs=row[tensor,], id=(str, ""))
    return msgspec.json.Decoder(asked).decode


def _struct(**members: Any) -> Any:
    """A member is a type, or a type and a default."""
    fields = [(name, *kind) if isinstance(kind, tuple) else (name, kind) for name, kind in members.items()]
    return msgspec.defstruct("Asked", fields, forbid_unknown_fields=True, gc=False)
