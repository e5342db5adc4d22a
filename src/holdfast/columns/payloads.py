"""Request bodies: the row form for people and the tensors of the Open Inference Protocol v2, both as columns.

    rows     {"instances": [{"sqft": 1200, "kind": "flat"}, ...]}
    tensors  {"id": "...", "inputs": [{"name": "sqft", "shape": [2], "datatype": "FP64", "data": [1200, 900]}, ...]}

Tensors come one per column, [n] or [n, 1]; or as a single [n, k], where all k features share a datatype. JSON null is a missing
value; NaN and Infinity are not JSON, and whoever writes them is told which row and field.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any, Final

import msgspec

from holdfast.columns.binary import DTYPES
from holdfast.columns.field import NotANumber
from holdfast.columns.layout import Batch, Layout
from holdfast.columns.names import shown
from holdfast.columns.wanted import wanted
from holdfast.errors import InvalidInput, MalformedRequest, TooLarge

__all__ = [
    "JSON",
    "OCTETS",
    "TENSORS",
    "Payload",
    "check_rows",
    "decode_json",
    "decode_rows",
    "decode_tensors",
    "read_id",
    "read_object",
    "read_tensors",
    "same_rows",
    "transpose",
]

JSON: Final = "application/json"
OCTETS: Final = "application/octet-stream"
TENSORS: Final = {"id", "parameters", "inputs", "outputs"}
"""Members of a request of the Open Inference Protocol."""
MAX_ID: Final = 200
_AT: Final = re.compile(r"\(byte (\d+)\)")
_NOT_JSON: Final = re.compile(rb"-?(NaN|Infinity)")
_ESCAPED: Final = re.compile(rb"\\ud", re.IGNORECASE)
"""Half a surrogate pair, which Python's own parser would let through into names and values."""


class Payload(msgspec.Struct, frozen=True):
    """What a body said."""

    batch: Batch
    client_id: str = ""
    outputs: tuple[str, ...] = ()
    """Outputs asked for by name; empty: all."""
    binary: frozenset[str] = frozenset()
    """Outputs that are wanted as bytes."""
    media: str = JSON
    """Content type of the answer."""


def decode_json(body: bytes) -> Any:
    """The JSON value of a body. Raises MalformedRequest; NaN and Infinity come back as `NotANumber`, to be refused by field."""
    try:
        return msgspec.json.decode(body)
    except msgspec.ValidationError as bad:
        raise MalformedRequest(
            f"the body holds a number that no float can hold ({bad})", next_step="send null where a value is missing"
        ) from None
    except msgspec.DecodeError as bad:
        place = _AT.search(str(bad))
        at = int(place[1]) if place else len(body)
        # The parser stops at the token's first letter, or behind its minus.
        if (_NOT_JSON.match(body, at) or (at and _NOT_JSON.match(body, at - 1))) and not _ESCAPED.search(body):
            return _with_tokens(body)
        raise MalformedRequest(f"the body is not JSON: {_plain(bad)}", next_step="send one JSON object") from None
    except UnicodeDecodeError as bad:
        raise MalformedRequest(f"the body is not UTF-8 (byte {bad.start})", next_step="send UTF-8") from None
    except RecursionError:
        raise MalformedRequest("the body is nested too deeply", next_step="send flat lists") from None


def decode_rows(body: bytes, layout: Layout, max_rows: int) -> Payload:
    """The row form."""
    document = read_object(decode_json(body), {"instances", "id"}, "instances")
    rows, client_id = document["instances"], read_id(document)
    if not isinstance(rows, list):
        raise MalformedRequest("'instances' is not a list", "instances", 'send {"instances": [{"column": value}]}')
    check_rows(len(rows), max_rows)
    return Payload(layout.from_values(transpose(rows), len(rows)), client_id)


def decode_tensors(body: bytes, layout: Layout, max_rows: int) -> Payload:
    """The Open Inference Protocol."""
    document = read_object(decode_json(body), TENSORS, "inputs")
    outputs, binary = wanted(document.get("outputs"), document.get("parameters"), layout.contract.output)
    batch = read_tensors(document["inputs"], layout, max_rows)
    return Payload(batch, read_id(document), outputs, binary, OCTETS if binary else JSON)


def read_tensors(inputs: Any, layout: Layout, max_rows: int) -> Batch:
    """The tensors of a request whose data are JSON."""
    if not isinstance(inputs, list) or not inputs or not all(isinstance(one, dict) for one in inputs):
        raise MalformedRequest("'inputs' is not a list of tensors", "inputs", "send one tensor per column")
    tensors = [_tensor(one) for one in inputs]
    if len(tensors) == 1 and layout.together(tensors[0].shape):
        columns = _split(tensors[0], layout)
    else:
        columns = {}
        for tensor in tensors:
            if tensor.name in columns:
                raise MalformedRequest(f"tensor '{tensor.name[:60]}' is given twice", "inputs", "send it once")
            columns[tensor.name] = tensor.column()
    rows = same_rows([(tensor.name, tensor.shape[0]) for tensor in tensors], max_rows)
    return layout.from_values(columns, rows)


class _Tensor(msgspec.Struct, frozen=True):
    name: str
    shape: tuple[int, ...]
    datatype: str
    data: list[Any]

    def column(self) -> list[Any]:
        """Its values, if it is a column."""
        if len(self.shape) == 1 or self.shape[1:] == (1,):
            return self.data
        raise MalformedRequest(
            f"'{self.name[:60]}' has shape {list(self.shape)[:8]}",
            "inputs, shape",
            "send columns of shape [n] or [n, 1]",
        )


def _tensor(given: Mapping[str, Any]) -> _Tensor:
    name, shape, datatype, data = (given.get(part) for part in ("name", "shape", "datatype", "data"))
    where = f"inputs, '{str(name)[:60]}'"
    if not isinstance(name, str):
        raise MalformedRequest("a tensor has no name", "inputs", "give name, shape, datatype and data")
    if not isinstance(datatype, str) or datatype not in DTYPES:
        raise MalformedRequest(f"datatype {shown(datatype)} is not one", where, f"use {', '.join(DTYPES)}")
    if not isinstance(shape, list) or not shape or not all(type(size) is int and size >= 0 for size in shape):
        raise MalformedRequest(f"shape {shown(shape)} is not one", where, "give a list of sizes, such as [1]")
    if not isinstance(data, list):
        told = "send JSON data (tritonclient: binary_data=False)" if "parameters" in given else "give a list"
        raise MalformedRequest("there is no 'data'", where, told)
    while data and type(data[0]) is list:
        if set(map(type, data)) != {list}:
            raise MalformedRequest("'data' is nested unevenly", where, "send it flat, or nested as its shape says")
        data = list(itertools.chain.from_iterable(data))
    if len(data) != math.prod(shape):
        raise MalformedRequest(
            f"shape {shown(shape)} asks for {math.prod(shape)} values, {len(data)} are given",
            where,
            "mend one of the two",
        )
    return _Tensor(name, tuple(shape), datatype, data)


def _split(tensor: _Tensor, layout: Layout) -> dict[str, Sequence[Any]]:
    """One [n, k] tensor as k columns, in the contract's order; an image is as wide as it has numbers."""
    names, width = layout.required, math.prod(tensor.shape[1:])
    if not layout.uniform:
        raise MalformedRequest(
            "one tensor for all columns needs features of one datatype", "inputs", "send one tensor per column"
        )
    if width != len(names):
        raise MalformedRequest(
            f"the tensor has {width} columns, the contract has {len(names)} features", "inputs, shape"
        )
    return {name: tensor.data[index::width] for index, name in enumerate(names)}


def transpose(rows: list[Any]) -> dict[str, Sequence[Any]]:
    """Rows as columns; every row must have the columns of the first."""
    first = rows[0]
    if set(map(type, rows)) == {dict} and first:
        names = tuple(first)
        try:
            if set(map(len, rows)) == {len(names)}:
                if len(names) == 1:
                    return {names[0]: [row[names[0]] for row in rows]}
                return dict(zip(names, zip(*map(itemgetter(*names), rows), strict=True), strict=True))
        except KeyError:
            pass
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise MalformedRequest(f"{shown(row)} is not an object", row=number, next_step='send {"column": value}')
        if not row:
            raise InvalidInput("the row is empty", row=number, next_step="give every column")
        for name in (*first, *row):
            if (name in row) != (name in first):
                lacks = "lacks a column of the first row" if name in first else "has a column that the first row lacks"
                raise InvalidInput(
                    lacks, next_step="give every row the same columns; null for missing", row=number, field=name[:60]
                )
    raise AssertionError("uneven rows without a difference")


def read_object(document: Any, known: set[str], needed: str) -> dict[str, Any]:
    """A request's outermost object; MalformedRequest if it lacks a member or has one that is not known."""
    if not isinstance(document, dict) or needed not in document:
        raise MalformedRequest(f"the body has no '{needed}'", next_step=f'send {{"{needed}": [...]}}')
    for name in document:
        if name not in known:
            raise MalformedRequest(f"unknown member '{name[:60]}'", next_step=f"known: {', '.join(sorted(known))}")
    return document


def read_id(document: Mapping[str, Any]) -> str:
    """The client's own name for its request, or nothing."""
    given = document.get("id")
    if given is None:
        return ""
    if isinstance(given, str) and len(given) <= MAX_ID:
        return given
    raise MalformedRequest(f"'id' must be text of at most {MAX_ID} characters", "id")


def same_rows(sizes: Sequence[tuple[str, int]], most: int) -> int:
    """How many rows all tensors have, given as (name, rows)."""
    first, rows = sizes[0]
    for name, size in sizes:
        if size != rows:
            raise MalformedRequest(
                f"'{name[:60]}' has {size} rows, '{first[:60]}' has {rows}",
                "inputs, shape",
                "give every tensor as many rows",
            )
    check_rows(rows, most)
    return rows


def check_rows(rows: int, most: int) -> None:
    """At least one row, at most so many."""
    if rows == 0:
        raise MalformedRequest("there are no rows", next_step="send at least one")
    if rows > most:
        raise TooLarge(
            f"{rows} rows in one request, at most {most} are taken", next_step="send them in parts, or score a file"
        )


def _with_tokens(body: bytes) -> Any:
    """The same document, with NaN and Infinity kept apart, so that their place can be named."""
    try:
        return json.loads(body, parse_constant=NotANumber)
    except (ValueError, RecursionError):
        raise MalformedRequest(
            "the body is not JSON: it has NaN or Infinity, and more is wrong", next_step="write null"
        ) from None


def _plain(bad: Exception) -> str:
    return str(bad).removeprefix("JSON is malformed: ").lower()
