"""How a class and a key are called, whatever type they come in: one name for 17, 17.0 and "17".

Files hold every number as a float and requests hold what the client wrote, so both must be read as the same text before they
can be compared.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

__all__ = ["class_name", "class_names", "key_text", "shown"]


def class_name(value: Any) -> str:
    """The name of a class: whole numbers without a decimal point, truth values in lower case."""
    if isinstance(value, (bool, np.bool_)):
        return "true" if value else "false"
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return str(int(value))
    return str(value)


def key_text(value: Any) -> str | None:
    """A key as text; None for a missing one. A file's 17.0 and a request's 17 are one key."""
    if value is None or value != value:  # noqa: PLR0124 - NaN
        return None
    return class_name(value)


def class_names(values: NDArray[Any] | Iterable[Any]) -> tuple[str, ...]:
    """The classes of a label column: numbers by size, text by alphabet."""
    found = {value for value in np.asarray(values).tolist() if value is not None and value == value}  # noqa: PLR0124
    return tuple(class_name(value) for value in sorted(found, key=lambda v: (isinstance(v, str), v)))


def shown(value: Any) -> str:
    """A JSON value for an error message: cut short, and whatever it is, never an error of its own."""
    try:
        return msgspec.json.encode(value)[:40].decode(errors="replace")
    except (TypeError, ValueError, OverflowError, RecursionError):
        return f"a value of type {type(value).__name__}"
