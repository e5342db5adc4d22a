"""Errors as gRPC says them: a code that clients act on, a sentence that names row, field and what to do, and both for programs.

Trailing metadata `holdfast-code`, `-where`, `-next`, `-field` and `-row` are what a problem document has over HTTP.
Whoever is turned away for load is told when to come back (`grpc-retry-pushback-ms`, which gRPC's own retries follow).

Reference: grpc.io, "Status codes and their use in gRPC"; gRPC proposal A6, "Client retries".
"""

from __future__ import annotations

import sys
import traceback
from http import HTTPStatus
from typing import Final, NamedTuple
from urllib.parse import quote

import grpc

from holdfast.errors import HoldfastError, InvalidInput, Overloaded, ServeError

__all__ = ["Status", "foreseen", "status_of"]

_CODES: Final = {
    HTTPStatus.BAD_REQUEST: grpc.StatusCode.INVALID_ARGUMENT,
    HTTPStatus.UNAUTHORIZED: grpc.StatusCode.UNAUTHENTICATED,
    HTTPStatus.FORBIDDEN: grpc.StatusCode.PERMISSION_DENIED,
    HTTPStatus.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    HTTPStatus.CONFLICT: grpc.StatusCode.FAILED_PRECONDITION,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: grpc.StatusCode.INVALID_ARGUMENT,
    HTTPStatus.UNPROCESSABLE_ENTITY: grpc.StatusCode.INVALID_ARGUMENT,
    HTTPStatus.TOO_MANY_REQUESTS: grpc.StatusCode.RESOURCE_EXHAUSTED,
    HTTPStatus.SERVICE_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT: grpc.StatusCode.DEADLINE_EXCEEDED,
}
LONGEST: Final = 1000
"""Characters of a sentence: all of a status must fit into a client's limit for headers (8 KiB)."""


class Status(NamedTuple):
    """How a call ends that has no answer: the arguments of `context.abort`."""

    code: grpc.StatusCode
    details: str
    metadata: tuple[tuple[str, str], ...]


def foreseen(bad: Exception) -> HoldfastError:
    """The same error; for one that nobody foresaw, which is told on stderr, the server's own."""
    if isinstance(bad, HoldfastError):
        return bad
    sys.stderr.write("".join(traceback.format_exception(bad)))
    return ServeError.unforeseen(bad)


def status_of(bad: HoldfastError) -> Status:
    """An error as a status."""
    metadata = _metadata(bad)
    if isinstance(bad, Overloaded) and bad.retry_s:
        metadata += (("grpc-retry-pushback-ms", str(bad.retry_s * 1000)),)
    told = f"{bad}; next: {bad.next_step}" if bad.next_step else str(bad)
    return Status(_CODES.get(HTTPStatus(bad.status), grpc.StatusCode.INTERNAL), told[:LONGEST], metadata)


def _metadata(bad: HoldfastError) -> tuple[tuple[str, str], ...]:
    told = {"code": bad.code, "where": bad.where, "next": bad.next_step}
    if isinstance(bad, InvalidInput):
        told |= {"field": bad.field or "", "row": "" if bad.row is None else str(bad.row)}
    return tuple((f"holdfast-{name}", _ascii(value)) for name, value in told.items() if value)


def _ascii(text: str) -> str:
    """Metadata is printable ASCII: anything else is percent-encoded, as gRPC does with the sentence."""
    return quote(text[:LONGEST], safe=" !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~")
