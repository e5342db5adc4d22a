"""One column at a time: values of JSON or of a file become an array, and the field's rules are checked on the whole of it.

Each reader has two doors. `read` takes a list of JSON values and is tuned for few rows: types by one pass of `set(map(type,
...))`, ranges by `min` and `max`. `read_array` takes a column of a file. What is wrong is looked for row by row only once it
is known that something is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import inf
from typing import Any, ClassVar, Final

import numpy as np

from holdfast.columns.batch import Values
from holdfast.columns.times import iso_texts
from holdfast.core.contract import MISSING_STRING, Field
from holdfast.errors import InvalidInput

__all__ = ["Reader", "reader"]

EXACT: Final = 2**53
"""Up to here a float64 holds every integer; beyond it two different ones would look the same."""
_NUMBERS: Final = frozenset({int, float})
_TEXT: Final = frozenset({str})
_TRUTH: Final = frozenset({bool})
_WORDS: Final = {
    str: "text",
    bool: "true or false",
    int: "a number",
    float: "a number",
    list: "a list",
    dict: "an object",
}
Flags = dict[str, int]


def reader(field: Field) -> Reader:
    """What reads this field."""
    if field.numeric:
        return _Numbers(field)
    return _Truths(field) if field.datatype == "BOOL" else _Texts(field)


class Reader:
    """Reads one field."""

    kinds: ClassVar[frozenset[type]]
    expected: ClassVar[str]

    def __init__(self, field: Field) -> None:
        self.name = field.name
        self._nullable = field.nullable
        self._reject = field.on_violation == "reject"

    def read(self, values: list[Any], flags: Flags) -> Values:
        """JSON values; None is missing."""
        raise NotImplementedError

    def read_array(self, values: Values, flags: Flags) -> Values:
        """A column of a file: floats with NaN, objects of str and None, booleans, datetime64."""
        raise NotImplementedError

    def _known(self, values: list[Any], found: set[type]) -> list[Any]:
        """The values that are not missing; refuses missing ones where the field has none, and other types."""
        if (other := found - self.kinds) != {type(None)}:
            row = _first(values, lambda v: v is not None and type(v) not in self.kinds)
            given = _WORDS.get(type(values[row]), type(values[row]).__name__)
            raise self._wrong(f"{given} where {self.expected} is expected", row)
        if other and not self._nullable:
            raise self._missing(_first(values, lambda v: v is None))
        return [value for value in values if value is not None]

    def _missing(self, row: int) -> InvalidInput:
        return self._wrong("a value is missing", row, "give a value; the contract does not allow null here")

    def _wrong(self, what: str, row: int, next_step: str = "") -> InvalidInput:
        return InvalidInput(what, next_step=next_step or f"give {self.expected}", row=row, field=self.name)

    def _violated(self, count: int, flags: Flags, row: Callable[[], int], rule: str) -> None:
        """Values outside range or categories: counted, or refused where the contract says so."""
        if self._reject:
            raise self._wrong(f"the value is outside {rule}", row(), "the contract rejects such values in this field")
        flags[self.name] = flags.get(self.name, 0) + count


class _Numbers(Reader):
    """Numbers, whole ones where the datatype says so."""

    kinds = _NUMBERS
    expected = "a number"

    def __init__(self, field: Field) -> None:
        super().__init__(field)
        self._whole = "INT" in field.datatype
        self._type = field.datatype
        self._lowest, self._highest = _limits(field.datatype)
        self._low = -inf if field.minimum is None else field.minimum
        self._high = inf if field.maximum is None else field.maximum

    def read(self, values: list[Any], flags: Flags) -> Values:
        found = set(map(type, values))
        known = values if found <= _NUMBERS else self._known(values, found)
        try:
            column = np.array(values, dtype=np.float64)
            total = sum(known)
            if total - total != 0:  # only infinity and NaN do that
                self._refuse_unbounded(known, values)
        except OverflowError:
            row = _first(values, lambda v: type(v) is int and not -EXACT <= v <= EXACT)
            raise self._outside_type(row) from None
        if known:
            self._check(known, float in found, values, flags)
        return column

    def _check(self, known: list[Any], fractions: bool, values: list[Any], flags: Flags) -> None:  # noqa: FBT001
        low, high = min(known), max(known)
        if low < self._lowest or high > self._highest:
            row = _first(values, lambda v: v is not None and not self._lowest <= v <= self._highest)
            raise self._outside_type(row)
        if self._whole and fractions and not all(map(_is_whole, known)):
            row = _first(values, lambda v: v is not None and not _is_whole(v))
            raise self._wrong(f"{values[row]} is not a whole number", row, "give a whole number")
        if low < self._low or high > self._high:
            outside = [v for v in known if not self._low <= v <= self._high]
            self._violated(len(outside), flags, lambda: values.index(outside[0]), self._range)

    def read_array(self, values: Values, flags: Flags) -> Values:
        if values.dtype.kind == "O":
            return self.read([None if _absent(v) else v for v in values.tolist()], flags)
        if values.dtype.kind not in "fiu":
            given = "true or false" if values.dtype.kind == "b" else "text or a time"
            raise self._wrong(f"{given} where a number is expected", 0)
        column = values.astype(np.float64)
        missing = np.isnan(column)
        if not self._nullable and missing.any():
            raise self._missing(int(missing.argmax()))
        if (beyond := (column < self._lowest) | (column > self._highest)).any():
            raise self._outside_type(int(beyond.argmax()))
        if self._whole and (fraction := (column != np.floor(column)) & ~missing).any():
            row = int(fraction.argmax())
            raise self._wrong(f"{column[row]} is not a whole number", row, "give a whole number")
        outside = (column < self._low) | (column > self._high)
        if count := int(outside.sum()):
            self._violated(count, flags, lambda: int(outside.argmax()), self._range)
        return column

    @property
    def _range(self) -> str:
        return f"{self._low:g} to {self._high:g}"

    def _refuse_unbounded(self, known: list[Any], values: list[Any]) -> None:
        if any(v - v != 0 for v in known):
            row = _first(values, lambda v: v is not None and v - v != 0)
            raise self._wrong(f"{values[row]} is not a number in JSON", row, "write null for a missing value")

    def _outside_type(self, row: int) -> InvalidInput:
        if self._whole:
            limits = f"from {self._lowest:.0f} to {self._highest:.0f}"
            return self._wrong(f"outside the range of {self._type}", row, f"give a whole number {limits}")
        return self._wrong(f"outside the range of {self._type}", row, "give a smaller number")


class _Texts(Reader):
    """Text, open or from a list of categories."""

    kinds = _TEXT
    expected = "text"

    def __init__(self, field: Field) -> None:
        super().__init__(field)
        self._categories = None if field.categories is None else frozenset(field.categories)

    def read(self, values: list[Any], flags: Flags) -> Values:
        found = set(map(type, values))
        known = values if found == _TEXT else self._known(values, found)
        if MISSING_STRING in known:
            raise self._wrong("the text is reserved", values.index(MISSING_STRING), "write null for a missing value")
        if self._categories is not None and not self._categories.issuperset(known):
            outside = [v for v in known if v not in self._categories]
            self._violated(len(outside), flags, lambda: values.index(outside[0]), "the known categories")
        return np.array(values, dtype=object)

    def read_array(self, values: Values, flags: Flags) -> Values:
        kind = values.dtype.kind
        if kind == "M":
            values = iso_texts(values)
        elif kind in "fiu":  # a file guesses types: ids that happen to be digits come as numbers
            values = self._digits(values.astype(np.float64))
        elif kind == "b":
            raise self._wrong("true or false where text is expected", 0)
        return self.read([None if _absent(v) else v for v in values.tolist()], flags)

    def _digits(self, values: Values) -> Values:
        missing = np.isnan(values)
        fraction = ~missing & ((np.abs(values) > EXACT) | (values != np.floor(values)))
        if fraction.any():
            raise self._wrong("a number where text is expected", int(fraction.argmax()))
        return np.array([None if v != v else str(int(v)) for v in values.tolist()], dtype=object)  # noqa: PLR0124 - NaN


class _Truths(Reader):
    """True and false, held as text."""

    kinds = _TRUTH
    expected = "true or false"

    def read(self, values: list[Any], flags: Flags) -> Values:
        found = set(map(type, values))
        if not found <= _TRUTH:
            self._known(values, found)
        return np.array([None if v is None else "true" if v else "false" for v in values], dtype=object)

    def read_array(self, values: Values, flags: Flags) -> Values:
        texts = {"true": True, "false": False, 1.0: True, 0.0: False}  # a file may hold them as text or as 0 and 1
        plain = [None if _absent(v) else v for v in values.tolist()]
        return self.read([texts.get(v, v) if isinstance(v, (str, float, int)) else v for v in plain], flags)


def _limits(datatype: str) -> tuple[float, float]:
    """Least and largest value of a datatype, as far as float64 holds it exactly."""
    if datatype.startswith("FP"):
        top = float(np.finfo(np.float32 if datatype == "FP32" else np.float64).max)
        return -top, top
    held = np.iinfo(datatype.lower())
    return max(float(held.min), -float(EXACT)), min(float(held.max), float(EXACT))


def _is_whole(value: float) -> bool:
    return type(value) is int or value.is_integer()


def _absent(value: Any) -> bool:
    return value is None or (isinstance(value, float) and value != value)  # noqa: PLR0124 - NaN


def _first(values: Iterable[Any], wrong: Callable[[Any], bool]) -> int:
    return next(row for row, value in enumerate(values) if wrong(value))
