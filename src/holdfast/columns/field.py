"""One field of a contract, compiled: which JSON types it takes, its bounds, and the words for what is wrong.

Two kinds of bound: what the datatype can hold (beyond it a value is refused) and what the contract's range says (beyond it a
value is flagged, or refused where the field says reject). Columns are compared with the tighter of the two; which one was
broken is asked only then.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from holdfast.columns.names import shown
from holdfast.core.contract import Field
from holdfast.errors import InvalidInput

__all__ = ["NotANumber", "Reader", "reader"]

_FLOAT_LIMITS: Final = {"FP32": float(np.finfo(np.float32).max), "FP64": float(np.finfo(np.float64).max)}
_KINDS: Final = {"BOOL": "true or false", "BYTES": "text"}
_JSON_TYPES: Final[dict[str, set[type]]] = {"BYTES": {str}, "BOOL": {bool}, "FP32": {int, float}, "FP64": {int, float}}
_TEXT: Final = {True: "true", False: "false", None: None}


class NotANumber(msgspec.Struct, frozen=True):
    """Stands where a body said NaN or Infinity, which JSON does not have."""

    token: str


class Reader(msgspec.Struct, frozen=True):
    """What is needed to read one column."""

    field: Field
    name: str
    allowed: frozenset[type]
    """JSON types that a value may have."""
    holds: tuple[float, float]
    """What the datatype can hold."""
    low: float
    high: float
    known: frozenset[str | None] | None
    """Categories, and None."""

    @property
    def in_table(self) -> bool:
        """Timestamp and key travel beside the table, unless the model reads them."""
        return self.field.feature or not {"timestamp", "key"} & set(self.field.marks)

    @property
    def whole(self) -> bool:
        """Whether it takes integers only."""
        return self.field.datatype.startswith(("INT", "UINT"))

    def text(self, values: Sequence[Any]) -> NDArray[Any]:
        """JSON values of a non-numeric field as an object array."""
        if self.field.datatype == "BOOL":
            values = [_TEXT[value] for value in values]
        return np.array(values, dtype=object)

    def refuse(self, what: str, row: int | None, next_step: str = "") -> InvalidInput:
        """The error that names row and field."""
        return InvalidInput(what, next_step=next_step or f"give {self.wanted}", field=self.name, row=row)

    @property
    def wanted(self) -> str:
        """What the field takes, in words."""
        kind = _KINDS.get(self.field.datatype) or ("a whole number" if self.whole else "a number")
        return f"{kind} ({self.field.datatype}){' or null' if self.field.nullable else ''}"

    def fits(self, value: Any) -> bool:
        """Whether one JSON value is of the right type; an integer field takes 3.0, as not every client can write 3."""
        return type(value) in self.allowed or (self.whole and type(value) is float and value.is_integer())

    def wrong_type(self, values: Iterable[Any]) -> InvalidInput:
        """The error for the first value whose JSON type does not fit."""
        row, value = next((i, v) for i, v in enumerate(values) if not self.fits(v))
        if isinstance(value, NotANumber):
            able = "write null" if self.field.nullable else "give a number: this field may not be missing"
            return self.refuse(f"{value.token} is not JSON", row, able)
        if value is None:
            return self.refuse("a value is missing (null) and the field is not nullable", row)
        return self.refuse(f"{shown(value)} is not {self.wanted}", row)

    def too_large(self, values: Iterable[Any]) -> InvalidInput | None:
        """The error for an integer that no float can hold, if there is one."""
        for row, value in enumerate(values):
            try:
                float(value or 0)
            except OverflowError:
                return self.refuse("the number is too large", row)
        return None

    def check_missing(self, missing: NDArray[np.bool_]) -> None:
        """Refuse missing values (of a file) where the field is not nullable."""
        if not self.field.nullable and missing.any():
            raise self.refuse("a value is missing and the field is not nullable", int(np.argmax(missing)))

    def check_whole(self, values: NDArray[np.float64]) -> None:
        """Refuse fractions in an integer field."""
        broken = (np.trunc(values) != values) & ~np.isnan(values)
        if broken.any():
            row = int(np.argmax(broken))
            raise self.refuse(f"{values[row]:g} is not {self.wanted}", row)

    def flag_numbers(self, values: NDArray[np.float64]) -> int:
        """How many lie outside the range; raises where the datatype can't hold them or the field says reject."""
        if len(values) == 1 and self.field.on_violation == "flag":  # arithmetic on an array of one is dear
            value, (least, most) = values.item(), self.holds
            if not (value < least or value > most or math.isinf(value)):
                return int(value < self.low or value > self.high)
        beyond = (values < self.holds[0]) | (values > self.holds[1]) | np.isinf(values)
        if beyond.any():
            row = int(np.argmax(beyond))
            raise self.refuse(f"{values[row]:g} does not fit into {self.field.datatype}", row)
        outside = (values < self.low) | (values > self.high)
        if self.field.on_violation == "reject":
            row = int(np.argmax(outside))
            raise self.refuse(
                f"{values[row]:g} is outside the range", row, f"give a value from {self.low:g} to {self.high:g}"
            )
        return int(outside.sum())

    def flag_texts(self, values: Sequence[str | None] | NDArray[Any]) -> int:
        """How many are no known category; raises where the field says reject."""
        assert self.known is not None
        strange = [row for row, value in enumerate(values) if value not in self.known]
        if strange and self.field.on_violation == "reject":
            names = ", ".join(sorted(name for name in self.known if name is not None))
            raise self.refuse(
                f"'{str(values[strange[0]])[:60]}' is no known category", strange[0], f"one of: {names[:300]}"
            )
        return len(strange)


def reader(field: Field) -> Reader:
    """Compile one field."""
    kinds = _JSON_TYPES.get(field.datatype, {int})
    if "key" in field.marks and not field.feature:
        kinds = {str, int}  # a key is a name, whatever type it was inferred with
    if field.nullable:
        kinds = kinds | {type(None)}
    holds = _holds(field.datatype)
    return Reader(
        field=field,
        name=field.name,
        allowed=frozenset(kinds),
        holds=holds,
        low=holds[0] if field.minimum is None else max(field.minimum, holds[0]),
        high=holds[1] if field.maximum is None else min(field.maximum, holds[1]),
        known=None if field.categories is None else frozenset((*field.categories, None)),
    )


def _holds(datatype: str) -> tuple[float, float]:
    if datatype in _KINDS:
        return -math.inf, math.inf
    if datatype in _FLOAT_LIMITS:
        return -_FLOAT_LIMITS[datatype], _FLOAT_LIMITS[datatype]  # an infinity lies outside
    limits = np.iinfo(datatype.lower())
    high = float(limits.max)
    return float(limits.min), high if int(high) <= limits.max else math.nextafter(high, 0.0)  # 2**63 is no INT64
