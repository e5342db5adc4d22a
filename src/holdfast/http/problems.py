"""Replies, and errors as replies: RFC 9457 problems with the member `error` that Open Inference Protocol clients read."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final, NamedTuple

import msgspec

from holdfast.errors import HoldfastError, InvalidInput, Overloaded

__all__ = ["HeadTooLarge", "Refused", "Reply", "TooSlow", "json", "problem"]

JSON: Final = "application/json"
PROBLEM: Final = "application/problem+json"
_LATER: Final = HTTPStatus.SERVICE_UNAVAILABLE


class Reply(NamedTuple):
    """An answer, and the log frames that must be written before it goes out."""

    status: int
    body: bytes
    media: str = JSON
    headers: tuple[tuple[str, str], ...] = ()
    frames: tuple[bytes, ...] = ()


class Refused(HoldfastError):
    """Not done by this port."""

    code = "HF320"

    def __init__(self, what: str, where: str = "", next_step: str = "", *, status: int) -> None:
        super().__init__(what, where, next_step)
        self.status = status  # type: ignore[misc]


class HeadTooLarge(InvalidInput):
    """Target and headers are larger than this server takes."""

    code = "HF303"
    status = 431

    def __init__(self, limit: int) -> None:
        super().__init__(f"the headers are larger than {limit >> 10} KiB", next_step="send fewer or shorter headers")


class TooSlow(InvalidInput):
    """A request began and did not end."""

    code = "HF304"
    status = 408

    def __init__(self, limit: float) -> None:
        super().__init__(
            f"the request was not complete after {limit:g} s",
            next_step="send it faster, or raise [serve] request_timeout_s",
        )


def problem(error: HoldfastError, headers: tuple[tuple[str, str], ...] = ()) -> Reply:
    """An error as a reply; who is turned away for load is told when to come back, who has no key how to show one."""
    if error.status == HTTPStatus.UNAUTHORIZED:
        headers += (("www-authenticate", "Bearer"),)
    elif after := error.retry_s if isinstance(error, Overloaded) else error.status == _LATER:
        headers += (("retry-after", str(int(after))),)
    return Reply(error.status, msgspec.json.encode(error.as_problem()), PROBLEM, headers)


def json(status: int, value: Any, frames: Sequence[bytes] = ()) -> Reply:
    """A value as a JSON reply."""
    return Reply(status, msgspec.json.encode(value), JSON, (), tuple(frames))
