"""Rows in, columns out, the contract checked: `Decoder` is a contract made ready for reading.

Three forms come in: *rows* of people (`{"instances": [{column: value}]}`), *tensors* of the Open Inference Protocol, and
*tables* of files. Rows and tensors may hold the contract's columns only. A file may hold more (the label, say), which is
passed over. Features must be there; a timestamp or key that the model does not read may be left out.

Errors are `InvalidInput` (422) with row and field, or `MalformedRequest` (400) where the protocol itself is broken.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping, Sequence
from math import prod
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from holdfast.columns.batch import Batch, Table, Values
from holdfast.columns.names import key_text
from holdfast.columns.protocol import InferInput, InferRequest
from holdfast.columns.times import NO_TIME, from_datetimes, from_text, time_zone
from holdfast.columns.values import Flags, reader
from holdfast.core.contract import DATATYPES, Contract, Field
from holdfast.errors import InvalidInput, MalformedRequest, UsageError

__all__ = ["Decoder", "decode_infer", "decode_rows", "decode_table"]

_FORM: Final = "see the deployment's page for a request to copy"
MOST_KEPT: Final = 64


class Decoder:
    """Reads rows of one contract. Building it costs more than reading a row, so keep it."""

    def __init__(self, contract: Contract) -> None:
        self.contract = contract
        self._names = {field.name: field for field in contract.fields}
        self._readers = [(field.name, reader(field), field.feature) for field in contract.fields]
        self._zone = time_zone(contract.timezone)
        self._timestamp = contract.timestamp.name if contract.timestamp else None
        self._key = contract.key.name if contract.key else None
        if contract.timestamp and contract.timestamp.datatype != "BYTES":
            raise UsageError(
                "a timestamp travels as text", f"field '{self._timestamp}' of the contract", "set its datatype to BYTES"
            )

    def rows(self, instances: Sequence[Any]) -> Batch:
        """The row form: one dict per row."""
        names = self._names.keys()
        for row, given in enumerate(instances):
            if type(given) is not dict:
                raise MalformedRequest("a row is not an object {column: value}", next_step=_FORM, row=row)
            if not given.keys() <= names:
                raise self._unknown(given.keys(), row)
        table: Table = {}
        flags: Flags = {}
        for name, read, needed in self._readers:
            try:
                values = [given[name] for given in instances]
            except KeyError:
                if not needed and not any(name in given for given in instances):
                    continue
                row = next(i for i, given in enumerate(instances) if name not in given)
                raise self._left_out(name, row) from None
            table[name] = read.read(values, flags)
        return self._batch(len(instances), table, flags)

    def infer(self, request: InferRequest) -> Batch:
        """The tensor form: one named input per column, [n] or [n, 1]; or one [n, k] tensor over all features."""
        inputs = request.inputs
        if len(inputs) == 1 and len(inputs[0].shape) == 2 and inputs[0].name not in self._names:
            columns, rows = self._matrix(inputs[0])
        else:
            columns, rows = self._tensors(inputs)
        table: Table = {}
        flags: Flags = {}
        for name, read, needed in self._readers:
            if name in columns:
                table[name] = read.read(columns[name], flags)
            elif needed:
                raise self._left_out(name, None)
        return self._batch(rows, table, flags)

    def table(self, raw: Mapping[str, Values]) -> Batch:
        """Columns of a file, as `core.ports.Tables` reads them; columns that the contract does not know are passed over."""
        table: Table = {}
        flags: Flags = {}
        lengths = {len(values) for name, values in raw.items() if name in self._names}
        if len(lengths) > 1:
            raise InvalidInput("columns of different lengths", next_step="give every column one value per row")
        for name, read, needed in self._readers:
            if name in raw:
                values = np.asarray(raw[name])
                if values.ndim != 1:
                    raise InvalidInput("a column with more than one dimension", next_step="split it", field=name)
                table[name] = read.read_array(values, flags)
            elif needed:
                raise self._left_out(name, None, given=raw)
        return self._batch(lengths.pop() if lengths else 0, table, flags, raw)

    def _batch(self, rows: int, table: Table, flags: Flags, raw: Mapping[str, Values] | None = None) -> Batch:
        times = keys = None
        if rows == 0:
            raise MalformedRequest("no rows", next_step="give at least one row")
        if self._timestamp is not None and self._timestamp in table:
            times = self._times(self._timestamp, table, raw)
        if self._key is not None and self._key in table:
            keys = [key_text(value) for value in table[self._key].tolist()]
        return Batch(rows, table, times, keys, flags)

    def _times(self, name: str, table: Table, raw: Mapping[str, Values] | None) -> NDArray[np.int64] | None:
        """Event times; None where no row has one."""
        given = raw[name] if raw else None
        if given is not None and given.dtype.kind == "M":
            times = from_datetimes(given, self._zone)
        else:
            times = from_text(table[name].tolist(), self._zone, name)
        missing = times == NO_TIME
        if missing.all():
            return None
        if missing.any():
            row = int(missing.argmax())
            raise InvalidInput(
                "the time is missing", next_step="give a time for every row or none", row=row, field=name
            )
        return times

    def _tensors(self, inputs: Sequence[InferInput]) -> tuple[dict[str, list[Any]], int]:
        columns: dict[str, list[Any]] = {}
        rows = -1
        for tensor in inputs:
            field = self._names.get(tensor.name)
            if field is None:
                raise self._unknown([tensor.name], None)
            if tensor.name in columns:
                raise MalformedRequest("the input stands twice", next_step="give each column once", field=tensor.name)
            if len(tensor.shape) not in {1, 2} or tensor.shape[1:] not in ([], [1]):
                raise _shape(tensor, "must be [n] or [n, 1]")
            _same_kind(tensor, field)
            columns[tensor.name] = _flat(tensor)
            if rows not in {-1, tensor.shape[0]}:
                raise _shape(tensor, f"gives {tensor.shape[0]} rows where the inputs before it give {rows}")
            rows = tensor.shape[0]
        return columns, max(rows, 0)

    def _matrix(self, tensor: InferInput) -> tuple[dict[str, list[Any]], int]:
        features = self.contract.features
        if len({field.datatype for field in features}) > 1:
            raise self._unknown([tensor.name], None, "the columns differ in datatype: give one input per column")
        rows, width = tensor.shape
        if width != len(features):
            raise _shape(tensor, f"must be [n, {len(features)}]: one column per feature")
        _same_kind(tensor, features[0])
        values = _flat(tensor)
        return {field.name: values[i::width] for i, field in enumerate(features)}, rows

    def _unknown(self, given: Iterable[Any], row: int | None, next_step: str = "") -> InvalidInput:
        name = next(str(name)[:60] for name in given if name not in self._names)
        return InvalidInput(
            f"unknown column '{name}'", next_step=next_step or _did_you_mean(name, self._names), row=row, field=name
        )

    def _left_out(self, name: str, row: int | None, given: Collection[str] = ()) -> InvalidInput:
        near = difflib.get_close_matches(name, [str(other) for other in given if other not in self._names], n=1)
        hint = f"rename '{near[0]}' to '{name}'" if near else "give the column; write null where a value is missing"
        return InvalidInput(f"the column '{name}' is missing", next_step=hint, row=row, field=name)


def decode_rows(contract: Contract, instances: Sequence[Any]) -> Batch:
    """`Decoder.rows` for once."""
    return _decoder(contract).rows(instances)


def decode_infer(contract: Contract, request: InferRequest) -> Batch:
    """`Decoder.infer` for once."""
    return _decoder(contract).infer(request)


def decode_table(contract: Contract, raw: Mapping[str, Values]) -> Batch:
    """`Decoder.table` for once."""
    return _decoder(contract).table(raw)


_KEPT: Final[dict[int, Decoder]] = {}


def _decoder(contract: Contract) -> Decoder:
    """The contract's decoder; found again by identity, since to hash a contract costs as much as to read a row."""
    found = _KEPT.get(id(contract))
    if found is None or found.contract is not contract:
        if len(_KEPT) >= MOST_KEPT:
            _KEPT.clear()
        found = _KEPT[id(contract)] = Decoder(contract)
    return found


def _did_you_mean(name: str, names: Collection[str]) -> str:
    near = difflib.get_close_matches(name, names, n=1)
    return f"did you mean '{near[0]}'?" if near else f"the columns are: {', '.join(list(names)[:20])}"


def _shape(tensor: InferInput, rule: str) -> MalformedRequest:
    return MalformedRequest(f"the shape {tensor.shape[:8]} {rule}", next_step=_FORM, field=tensor.name[:60])


def _same_kind(tensor: InferInput, field: Field) -> None:
    """Numbers for numbers, text for text; whether each number fits is seen later, value by value."""
    given = tensor.datatype
    if given not in DATATYPES and given not in {"UINT64", "FP16"}:
        raise MalformedRequest(
            f"unknown datatype '{given[:20]}'", next_step=f"use {field.datatype}", field=tensor.name[:60]
        )
    if (given if given in {"BYTES", "BOOL"} else "number") != (field.datatype if not field.numeric else "number"):
        raise InvalidInput(f"datatype {given} where {field.datatype} is expected", field=field.name, next_step=_FORM)


def _flat(tensor: InferInput) -> list[Any]:
    """The values in row order, whether nested by the shape or not."""
    if tensor.data is None:
        raise MalformedRequest("the input has no data", next_step=_FORM, field=tensor.name[:60])
    if min(tensor.shape) < 0:
        raise _shape(tensor, "has a negative size")
    data = tensor.data
    if len(tensor.shape) == 2 and data and type(data[0]) is list:
        if any(type(row) is not list or len(row) != tensor.shape[1] for row in data):
            raise _shape(tensor, "does not fit the nested data")
        data = [value for row in data for value in row]
    if len(data) != prod(tensor.shape):
        raise _shape(tensor, f"does not fit {len(data)} values")
    return data
