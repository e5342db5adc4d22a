"""Replies, and errors as replies: RFC 9457 problems with the member `error` that Open Inference Protocol clients read."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final

import msgspec

from holdfast.errors import HoldfastError, InvalidInput, Overloaded
from holdfast.predictions.log import Frame

__all__ = ["HeadTooLarge", "Refused", "Reply", "TooSlow", "advice", "json", "problem"]

JSON: Final = "application/json"
PROBLEM: Final = "application/problem+json"
Headers = tuple[tuple[str, str], ...]


class Reply(msgspec.Struct, frozen=True, gc=False):
    """An answer, and the log frames that must be written before it goes out."""

    status: int
    body: bytes
    media: str = JSON
    headers: tuple[tuple[str, str], ...] = ()
    frames: tuple[Frame, ...] = ()
    rest_s: float = 0.0
    """The connection is not listened to for so long."""


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


def problem(error: HoldfastError, headers: Headers = ()) -> Reply:
    """An error as a reply."""
    return Reply(error.status, msgspec.json.encode(error.as_problem()), PROBLEM, headers + advice(error))


def advice(error: HoldfastError) -> Headers:
    """Headers that say what to do: who is turned away for load when to come back, who has no key how to show one."""
    if error.status == HTTPStatus.UNAUTHORIZED:
        return (("www-authenticate", "Bearer"),)
    after = error.retry_s if isinstance(error, Overloaded) else int(error.status == HTTPStatus.SERVICE_UNAVAILABLE)
    return (("retry-after", str(after)),) if after else ()


def json(status: int, value: Any, frames: Sequence[Frame] = ()) -> Reply:
    """A value as a JSON reply."""
    return Reply(status, msgspec.json.encode(value), JSON, (), tuple(frames))
