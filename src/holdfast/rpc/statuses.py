"""Errors as gRPC says them: a code that clients act on, a sentence that names row and field, and the rest as trailing metadata.

`holdfast-code`, `holdfast-where`, `holdfast-next`, `holdfast-field` and `holdfast-row` are what a problem document has over HTTP.
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

from holdfast.errors import HoldfastError, InvalidInput, ServeError

__all__ = ["Status", "status_of"]

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
RETRY_MS: Final = "1000"
LONGEST: Final = 1000
"""Characters of a sentence: all of a status must fit into a client's limit for headers (8 KiB)."""


class Status(NamedTuple):
    """How a call ends that has no answer."""

    code: grpc.StatusCode
    details: str
    metadata: tuple[tuple[str, str], ...]


def status_of(bad: Exception) -> Status:
    """An error as a status; what nobody foresaw is told on stderr and is INTERNAL."""
    if not isinstance(bad, HoldfastError):
        sys.stderr.write("".join(traceback.format_exception(bad)))
        wrong = ServeError("the server made a mistake", type(bad).__name__, "see the server's messages, and report it")
        return Status(grpc.StatusCode.INTERNAL, str(wrong), _metadata(wrong))
    code = _CODES.get(HTTPStatus(bad.status), grpc.StatusCode.INTERNAL)
    metadata = _metadata(bad)
    if code in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED}:
        metadata += (("grpc-retry-pushback-ms", RETRY_MS),)
    return Status(code, str(bad)[:LONGEST], metadata)


def _metadata(bad: HoldfastError) -> tuple[tuple[str, str], ...]:
    told = {"code": bad.code, "where": bad.where, "next": bad.next_step}
    if isinstance(bad, InvalidInput):
        told |= {"field": bad.field or "", "row": "" if bad.row is None else str(bad.row)}
    return tuple((f"holdfast-{name}", _ascii(value)) for name, value in told.items() if value)


def _ascii(text: str) -> str:
    """Metadata is printable ASCII: anything else is percent-encoded, as gRPC does with the sentence."""
    return quote(text[:LONGEST], safe=" !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~")
