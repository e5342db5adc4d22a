"""Codecs: how a door's bytes become rows, and an answer becomes its bytes.

A codec is a value without state; doors hand one to `dataplane.predict`. What they share stands in `columns.payloads` (in) and
`answers` (out).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

from holdfast.columns import Layout
from holdfast.columns.payloads import Payload, decode_rows, decode_tensors
from holdfast.errors import MalformedRequest
from holdfast.serve.answers import Answered, as_rows, as_tensors

__all__ = ["ROWS", "TENSORS", "Codec", "Headers"]

Headers = tuple[tuple[str, str], ...]
BINARY: Final = "inference-header-content-length"


class Codec(Protocol):
    """One wire form. Both methods may be called from several threads."""

    def decode(self, body: bytes, headers: Mapping[str, str], layout: Layout, max_rows: int) -> Payload:
        """Read a body as the layout's contract wants it; header names are lower case. Raises InvalidInput by row and field."""
        ...

    def encode(self, answered: Answered, payload: Payload) -> tuple[bytes, Headers]:
        """The answer's body, and headers that belong to it."""
        ...


class _Rows:
    """The row form for people."""

    def decode(self, body: bytes, headers: Mapping[str, str], layout: Layout, max_rows: int) -> Payload:
        return decode_rows(body, layout, max_rows)

    def encode(self, answered: Answered, payload: Payload) -> tuple[bytes, Headers]:
        return as_rows(answered), ()


class _Tensors:
    """The Open Inference Protocol over REST."""

    def decode(self, body: bytes, headers: Mapping[str, str], layout: Layout, max_rows: int) -> Payload:
        if BINARY in headers:
            raise MalformedRequest(
                "binary tensors are not supported yet",
                f"header {BINARY}",
                "send JSON data (tritonclient: binary_data=False)",
            )
        return decode_tensors(body, layout, max_rows)

    def encode(self, answered: Answered, payload: Payload) -> tuple[bytes, Headers]:
        return as_tensors(answered, payload.outputs), ()


ROWS: Final[Codec] = _Rows()
TENSORS: Final[Codec] = _Tensors()
