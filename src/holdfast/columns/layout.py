"""A contract, compiled: columns of JSON values or of a file in, a checked `Batch` out.

The numbers of a batch stand in one float64 matrix, a row per column, so that ranges are compared at once and a column is a
view of it. A wrong type, an unknown or a missing column is refused, naming row and field; what lies outside an inferred
range or category is counted in `Batch.flags` and let through, unless the field says reject.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from itertools import chain
from operator import gt, lt
from struct import Struct, pack
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from holdfast.columns import arrays, files
from holdfast.columns.bounded import Decode, row_decoder, rows_decoder
from holdfast.columns.field import Reader, reader
from holdfast.columns.names import key_text
from holdfast.columns.times import from_text, time_zone
from holdfast.core.contract import Contract
from holdfast.errors import InvalidInput, MalformedRequest

__all__ = ["Batch", "Layout", "Table"]

Table = dict[str, NDArray[Any]]
SHORT: Final = 64
"""Up to so many values Python compares faster than numpy starts."""


class Batch(msgspec.Struct, frozen=True):
    """Rows that keep the contract."""

    rows: int
    names: tuple[str, ...]
    """Of the numeric columns."""
    given: NDArray[np.float64] | bytes
    """The numeric columns [columns, rows], or a single row's as the bytes of its float64 values; read them as `numbers`."""
    texts: Table
    """All other columns: object arrays of str and None, [rows] each."""
    times: NDArray[np.int64] | None
    """Event time in microseconds UTC (`times.NO_TIME` where missing); None if no column carries it."""
    keys: list[str | None] | None
    flags: dict[str, int]
    """Values outside range or categories, by field; only fields that have some."""

    @property
    def numbers(self) -> NDArray[np.float64]:
        """The numeric columns: [columns, rows]; NaN = missing."""
        given = self.given
        return np.frombuffer(given).reshape(-1, 1) if isinstance(given, bytes) else given

    @property
    def table(self) -> Table:
        """Every feature, and what else was given and is neither timestamp nor key: float64 or object arrays, [rows] each."""
        return {**dict(zip(self.names, self.numbers, strict=True)), **self.texts}

    def take(self, rows: NDArray[np.int64]) -> Batch:
        """Some of the rows; flags are left out, as they are counts of the whole."""
        return Batch(
            len(rows),
            self.names,
            self.numbers[:, rows],
            {name: values[rows] for name, values in self.texts.items()},
            None if self.times is None else self.times[rows],
            None if self.keys is None else [self.keys[row] for row in rows.tolist()],
            {},
        )


class Layout:
    """Reads columns as one contract wants them; immutable, and safe to share between threads."""

    def __init__(self, contract: Contract) -> None:
        self.contract = contract
        self._zone = time_zone(contract.timezone)
        self._readers = {field.name: reader(field) for field in contract.fields}
        self._numeric = [r for r in self._readers.values() if r.field.numeric and r.in_table]
        self._texts = [r for r in self._readers.values() if not r.field.numeric and r.in_table]
        self._bounds = _bounds(self._numeric)
        self.names = tuple(self._readers)
        self.required = tuple(field.name for field in contract.features)
        self.numeric = tuple(r.name for r in self._numeric)
        """Names of a batch's numbers when all numeric columns are given: the very object, so that `is` can tell."""
        self.uniform = len({field.datatype for field in contract.features}) == 1
        """Whether one tensor can hold all features."""
        self._optional = any(not r.field.feature for r in self._numeric)
        self._matrix_kinds = self._kinds_at_once()
        self._flat_types = frozenset[type]()
        if self._matrix_kinds:
            self._flat_types = frozenset.intersection(*(r.allowed for r in self._numeric))
        self.floats = self._flat_types == {int, float}
        """Whether all features together are nothing but floats, none of which may be missing."""
        self._lows, self._highs = [r.low for r in self._numeric], [r.high for r in self._numeric]
        self._timestamp = contract.timestamp.name if contract.timestamp else None
        self._key = contract.key.name if contract.key else None
        self._known, self._needed = frozenset(self.names), frozenset(self.required)
        self.features = contract.features
        self._shape = contract.shape

    def from_values(self, columns: Mapping[str, Sequence[Any]], rows: int) -> Batch:
        """JSON values, one sequence of length `rows` per column."""
        self._check_names(columns)
        for name, values in columns.items():
            found = self._readers[name]
            if not found.allowed.issuperset(map(type, values)) and not all(map(found.fits, values)):
                raise found.wrong_type(values)
        numeric = self._given_numeric(columns)
        try:
            numbers = np.array([columns[r.name] for r in numeric], dtype=np.float64).reshape(len(numeric), rows)
        except OverflowError:
            raise next(bad for r in numeric if (bad := r.too_large(columns[r.name]))) from None
        table = {r.name: r.text(columns[r.name]) for r in self._texts if r.name in columns}
        times = keys = None
        if (stamp := self._timestamp) is not None and stamp in columns:
            times = from_text(columns[stamp], self._zone, stamp)
        if (key := self._key) is not None and key in columns:
            keys = [key_text(value) for value in columns[key]]
        return self._finish(numeric, numbers, table, times, keys)

    def from_table(self, table: Mapping[str, NDArray[Any]]) -> Batch:
        """Columns of a file as `ports.Tables` gives them; columns that the contract doesn't know are left out."""
        given = {name: values for name, values in table.items() if name in self._readers}
        self._check_names(given)
        rows = len(next(iter(given.values()))) if given else 0
        numeric = self._given_numeric(given)
        numbers = np.empty((len(numeric), rows), dtype=np.float64)
        for index, found in enumerate(numeric):
            numbers[index] = files.numbers(found, given[found.name])
        texts = {r.name: files.texts(r, given[r.name]) for r in self._texts if r.name in given}
        times = keys = None
        if (stamp := self._timestamp) is not None and stamp in given:
            times = files.times(self._readers[stamp], given[stamp], self._zone)
        if (key := self._key) is not None and key in given:
            keys = [key_text(value) for value in given[key].tolist()]
        return self._finish(numeric, numbers, texts, times, keys)

    def from_arrays(self, columns: Mapping[str, NDArray[Any]], rows: int) -> Batch:
        """Columns of typed tensors, `rows` values each, checked as strictly as JSON; NaN is a missing number."""
        self._check_names(columns)
        numeric = self._given_numeric(columns)
        numbers = np.empty((len(numeric), rows), dtype=np.float64)
        for index, found in enumerate(numeric):
            numbers[index] = arrays.numbers(found, columns[found.name])
        arrays.check_missing(numeric, numbers)
        texts = {r.name: r.text(arrays.texts(r, columns[r.name])) for r in self._texts if r.name in columns}
        times = keys = None
        if (stamp := self._timestamp) is not None and stamp in columns:
            times = from_text(arrays.texts(self._readers[stamp], columns[stamp]), self._zone, stamp)
        if (key := self._key) is not None and key in columns:
            found = self._readers[key]
            values = columns[key].tolist() if found in numeric else arrays.texts(found, columns[key])
            keys = [key_text(value) for value in values]
        return self._finish(numeric, numbers, texts, times, keys)

    def together(self, shape: tuple[int, ...]) -> bool:
        """Whether a tensor of this shape holds all features: [n, features], or [n, ...] as the contract arranges them."""
        return (len(shape) == 2 and shape[1] != 1) or (bool(self._shape) and shape[1:] == self._shape)

    def from_matrix(self, values: NDArray[Any]) -> Batch:
        """All features in the contract's order as one typed tensor [rows, features]: read at once, whatever their number."""
        if values.shape[1] != len(self.required) or not self.uniform:
            raise MalformedRequest(
                f"one tensor of {values.shape[1]} columns is not the {len(self.required)} features",
                "inputs, shape",
                "send all features, of one datatype, or one tensor per column",
            )
        found = self.from_block(values)
        return found or self.from_arrays(dict(zip(self.required, values.T, strict=True)), len(values))

    def from_block(self, values: NDArray[Any]) -> Batch | None:
        """Columns of one type for all features in the contract's order [rows, features], if none needs a look of its own."""
        if values.dtype.kind not in self._matrix_kinds:
            return None
        if len(values) == 1 and self.floats and self._within(row := values[0].tolist()):
            return self.from_row(row)
        numbers = np.ascontiguousarray(values.T, dtype=np.float64)
        arrays.check_missing(self._numeric, numbers)
        return self._finish(self._numeric, numbers, {}, None, None)

    def from_flat(self, values: list[Any], rows: int, *, floats: bool = False) -> Batch | None:
        """All features of all rows as JSON values, row by row; None where single columns must be looked at.

        `floats`: all values are known to be.
        """
        kinds = None if floats else set(map(type, values))
        if kinds and not kinds <= self._flat_types:
            return None
        try:
            numbers = packed_floats(values) if floats else np.array(values, dtype=np.float64)
        except OverflowError:
            return None
        if rows > 1:
            return self._finish(self._numeric, numbers.reshape(rows, -1).T, {}, None, None)
        if kinds and len(kinds) > 1:  # None, which cannot be compared, is NaN by now
            values = numbers.tolist()
        numbers = numbers.reshape(-1, 1)
        flags = {} if self._within(values) else self._flag_numbers(self._numeric, numbers)
        return Batch(1, self.numeric, numbers, {}, None, None, flags)

    @cached_property
    def row(self) -> Decode | None:
        """Reads one tensor of one row (`bounded.row_decoder`); None where the features are not all plain floats."""
        if not self.floats or not self.uniform or not 1 < len(self.required) <= SHORT:
            return None
        return row_decoder(self._limits)

    @cached_property
    def rows(self) -> Decode | None:
        """Reads the row form (`bounded.rows_decoder`); None as before."""
        return rows_decoder(self.required, self._limits) if self.floats and len(self.required) <= SHORT else None

    @property
    def _limits(self) -> list[tuple[float, float]]:
        return list(zip(self._lows, self._highs, strict=True))

    def from_row(self, values: Sequence[float]) -> Batch:
        """All features of one row, none of them out of range."""
        return Batch(1, self.numeric, self._packed(*values), {}, None, None, {})

    def from_rows(self, rows: Sequence[Sequence[float]]) -> Batch:
        """The same of several rows."""
        numbers = packed_floats([*chain.from_iterable(rows)]).reshape(len(rows), -1).T
        return Batch(len(rows), self.numeric, numbers, {}, None, None, {})

    @cached_property
    def _packed(self) -> Callable[..., bytes]:
        return Struct(f"{len(self.required)}d").pack

    def _within(self, row: list[float]) -> bool:
        """Whether a row is known to be in range at a glance; a missing value is not."""
        if len(row) > SHORT or any(map(lt, row, self._lows)) or any(map(gt, row, self._highs)):
            return False
        total = sum(row)
        return total == total  # noqa: PLR0124 - NaN is neither below nor above

    def _kinds_at_once(self) -> str:
        """Kinds of numpy types of which one matrix of all features needs no look at single columns."""
        if self.required != tuple(r.name for r in self._numeric) or {"key", "timestamp"} & {
            mark for r in self._numeric for mark in r.field.marks
        }:
            return ""
        return "iu" if any(r.whole for r in self._numeric) else "fiu"

    def _given_numeric(self, columns: Mapping[str, Any]) -> list[Reader]:
        return [r for r in self._numeric if r.name in columns] if self._optional else self._numeric

    def _check_names(self, columns: Mapping[str, Any]) -> None:
        if self._needed <= columns.keys() <= self._known:
            return
        missing = [name for name in self.required if name not in columns]
        for name in columns:
            if name not in self._readers:
                close = difflib.get_close_matches(name[:60], missing or self.names, n=1)
                raise InvalidInput(
                    f"unknown column '{name[:60]}'" + (f", did you mean '{close[0]}'?" if close else ""),
                    next_step=f"the contract has {', '.join(self.names)[:300]}",
                    field=name[:60],
                )
        raise InvalidInput(
            f"column '{missing[0]}' is missing", next_step=f"give {', '.join(self.required)[:300]}", field=missing[0]
        )

    def _finish(
        self,
        numeric: list[Reader],
        numbers: NDArray[np.float64],
        texts: Table,
        times: NDArray[np.int64] | None,
        keys: list[str | None] | None,
    ) -> Batch:
        flags = self._flag_numbers(numeric, numbers)
        for name, values in texts.items():
            found = self._readers[name]
            if found.known is not None and not found.known.issuperset(values):
                flags[name] = found.flag_texts(values)
        names = self.numeric if numeric is self._numeric else tuple(r.name for r in numeric)
        return Batch(_rows(numbers, texts, times, keys), names, numbers, texts, times, keys, flags)

    def _flag_numbers(self, numeric: list[Reader], numbers: NDArray[np.float64]) -> dict[str, int]:
        """Compare all columns with their bounds at once; look closer only where something lies outside."""
        if numbers.size <= SHORT and numbers.shape[-1] == 1:
            # Written so that NaN, which is neither, stays inside.
            values = numbers.ravel().tolist()
            outside = [i for i, (r, v) in enumerate(zip(numeric, values, strict=True)) if v < r.low or v > r.high]
        else:
            low, high = self._bounds if numeric is self._numeric else _bounds(numeric)
            outside = np.flatnonzero(((numbers < low) | (numbers > high)).any(axis=1)).tolist()
        return {numeric[i].name: numeric[i].flag_numbers(numbers[i]) for i in outside}


def packed_floats(values: Sequence[float]) -> NDArray[np.float64]:
    """What numpy would make of Python's floats, in a third of the time. Read only."""
    return np.frombuffer(pack(f"{len(values)}d", *values))


def _bounds(numeric: list[Reader]) -> NDArray[np.float64]:
    pairs = [[r.low for r in numeric], [r.high for r in numeric]]
    return np.array(pairs, dtype=np.float64).reshape(2, -1, 1)


def _rows(
    numbers: NDArray[np.float64], texts: Table, times: NDArray[np.int64] | None, keys: list[str | None] | None
) -> int:
    if len(numbers):
        return int(numbers.shape[1])
    if texts:
        return len(next(iter(texts.values())))
    return len(times) if times is not None else len(keys or ())
