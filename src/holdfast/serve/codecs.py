"""Codecs: how a door's bytes become rows, and an answer becomes its bytes.

A codec is a value without state; doors hand one to `dataplane.predict`. What they share stands in `columns.payloads` (in) and
`answers` (out).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

from holdfast.columns import Layout
from holdfast.columns.dataframes import CSV, decode_invocation
from holdfast.columns.payloads import Payload, decode_rows, decode_tensors
from holdfast.columns.quick import quick_rows, quick_tensors
from holdfast.columns.tensors import decode_binary
from holdfast.serve.answers import Answered, as_rows, as_tensors
from holdfast.serve.packed import as_binary
from holdfast.serve.plain import as_csv, as_predictions

__all__ = ["INVOCATIONS", "ROWS", "TENSORS", "Codec", "Headers"]

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
        plain = quick_rows(body, layout, max_rows)
        return Payload(*plain) if plain else decode_rows(body, layout, max_rows)

    def encode(self, answered: Answered, payload: Payload) -> tuple[bytes, Headers]:
        return as_rows(answered), ()


class _Tensors:
    """The Open Inference Protocol over REST, in JSON and with tensors as bytes behind it."""

    def decode(self, body: bytes, headers: Mapping[str, str], layout: Layout, max_rows: int) -> Payload:
        if BINARY in headers:
            return decode_binary(body, headers[BINARY], layout, max_rows)
        plain = quick_tensors(body, layout, max_rows)
        return Payload(*plain) if plain else decode_tensors(body, layout, max_rows)

    def encode(self, answered: Answered, payload: Payload) -> tuple[bytes, Headers]:
        if payload.binary:
            told, json = as_binary(answered, payload)
            return told, ((BINARY, str(json)),)
        return as_tensors(answered, payload.outputs), ()


class _Invocations:
    """What MLflow's and SageMaker's clients send and expect."""

    def decode(self, body: bytes, headers: Mapping[str, str], layout: Layout, max_rows: int) -> Payload:
        return decode_invocation(body, headers, layout, max_rows)

    def encode(self, answered: Answered, payload: Payload) -> tuple[bytes, Headers]:
        return (as_csv if payload.media == CSV else as_predictions)(answered), ()


ROWS: Final[Codec] = _Rows()
TENSORS: Final[Codec] = _Tensors()
INVOCATIONS: Final[Codec] = _Invocations()
