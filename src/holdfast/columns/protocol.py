"""The body of an Open Inference Protocol v2 request as values; msgspec checks its form while parsing.

Reference: Open Inference Protocol (KServe v2), "Inference Request JSON Object".
"""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = ["InferInput", "InferOutput", "InferRequest"]


class InferInput(msgspec.Struct):
    """One tensor."""

    name: str
    shape: list[int]
    datatype: str
    data: list[Any] | None = None
    """Absent only in the binary form, which is refused with words of its own."""
    parameters: dict[str, Any] = {}


class InferOutput(msgspec.Struct):
    """An output that the client asks for."""

    name: str
    parameters: dict[str, Any] = {}


class InferRequest(msgspec.Struct):
    """The whole request."""

    inputs: list[InferInput]
    id: str = ""
    outputs: list[InferOutput] | None = None
    parameters: dict[str, Any] = {}
