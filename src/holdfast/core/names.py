"""Names and identifiers: what may be called what, and how a short digest or `NAME@track` is read.

A *request id* is 26 characters of Crockford base 32: 48 bits of milliseconds, then 80 random bits, so ids sort by time and
a prediction can be found without an index. A *prediction id* is request id + `-` + row number.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from holdfast.errors import NotFound, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = [
    "RequestIds",
    "check_name",
    "class_columns",
    "prediction_id",
    "short",
    "split_prediction_id",
    "unique_prefix",
]

_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS: Final = [a + b for a in _ALPHABET for b in _ALPHABET]
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}", re.IGNORECASE)
SHORT: Final = 12
FRESH_MS: Final = 1000
"""Ids of one process count up for this long, then from a new random number."""


def check_name(name: str, what: str = "name") -> str:
    """The name itself, if it may be one: letters, digits, `_ . -`, at most 63 characters."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"'{name}' cannot be a {what}", next_step="use letters, digits, '_', '.' and '-', at most 63 characters"
        )
    return name


def short(digest: str) -> str:
    """The first 12 characters, enough for people; `unique_prefix` reads them back."""
    return digest[:SHORT]


def unique_prefix(prefix: str, digests: list[str], what: str = "release") -> str:
    """The one digest that begins with `prefix` (at least 4 characters), like git's short names."""
    found = [d for d in digests if d.startswith(prefix)] if len(prefix) >= 4 else []
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"'{prefix}' names {len(found)} {what}s", next_step="give more characters of the digest")
    raise NotFound(f"no {what} '{prefix}'", next_step="holdfast list")


def class_columns(classes: Sequence[str]) -> tuple[str, ...]:
    """Names of the columns of a classifier's probabilities: `p_<class>`, or `p_0 ...` where names differ in case only."""
    distinct = len({name.lower() for name in classes}) == len(classes)
    return tuple(f"p_{name if distinct else i}" for i, name in enumerate(classes))


class RequestIds:
    """Mints request ids: strictly increasing within one process, never equal between processes.

    Args:
        random_bytes: gives n random bytes; `os.urandom` in a server.
    """

    def __init__(self, random_bytes: Callable[[int], bytes]) -> None:
        self._random = random_bytes
        self._last_ms = -1
        self._fresh_ms = -1
        self._tail = 0
        self._start = ""
        """The id but for its last four digits, which are all that changes from one to the next."""

    def new(self, now_ms: int) -> str:
        """A fresh id for this wall-clock millisecond; a clock that steps back does not break the order."""
        if now_ms > self._last_ms:
            self._last_ms = now_ms
            self._start = ""
        if now_ms > self._fresh_ms + FRESH_MS:
            self._fresh_ms = now_ms
            self._tail = int.from_bytes(self._random(10), "big") >> 1
        else:
            self._tail += 1
        low = self._tail & 0xFFFFF
        if not low or not self._start:
            high = ((self._last_ms << 80) | self._tail) >> 20
            self._start = "".join([_PAIRS[(high >> shift) & 1023] for shift in range(100, -1, -10)])
        return self._start + _PAIRS[low >> 10] + _PAIRS[low & 1023]


def prediction_id(request: str, row: int) -> str:
    """The id of one answered row."""
    return f"{request}-{row}"


def split_prediction_id(value: str) -> tuple[str, int]:
    """Request id and row number; raises UsageError for anything that is not a prediction id."""
    request, dash, row = value.rpartition("-")
    if not dash or len(request) != 26 or not row.isascii() or not row.isdigit():
        raise UsageError(f"'{value[:60]}' is no prediction id", next_step="use the id from the answer")
    return request, int(row)
