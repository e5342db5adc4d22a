"""Errors over HTTP: RFC 9457 problems, with the member `error` that Open Inference Protocol clients read."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.responses import Response

from holdfast.errors import HoldfastError, InvalidInput

if TYPE_CHECKING:
    from starlette.exceptions import HTTPException

__all__ = ["MEDIA_TYPE", "PROBLEM_SCHEMA", "as_problem", "from_http", "problem"]

MEDIA_TYPE = "application/problem+json"
PROBLEM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "RFC 9457 problem",
    "required": ["type", "title", "status", "detail", "error"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string", "description": "stable error code"},
        "where": {"type": "string"},
        "next": {"type": "string", "description": "what to do"},
        "field": {"type": "string"},
        "row": {"type": "integer"},
        "error": {"type": "string", "description": "the same as detail, for Open Inference Protocol clients"},
    },
}


def as_problem(error: HoldfastError) -> dict[str, Any]:
    """The body of a problem."""
    found: dict[str, Any] = {
        "type": "about:blank",
        "title": _phrase(error.status),
        "status": error.status,
        "detail": str(error),
        "code": error.code,
        "where": error.where,
        "next": error.next_step,
        "error": str(error),
    }
    if isinstance(error, InvalidInput):
        found |= {name: v for name, v in (("field", error.field), ("row", error.row)) if v is not None}
    return found


def problem(error: HoldfastError) -> Response:
    """The whole answer."""
    return Response(msgspec.json.encode(as_problem(error)), status_code=error.status, media_type=MEDIA_TYPE)


def from_http(error: HTTPException) -> HoldfastError:
    """The framework's own refusals (no such path, wrong method) in our words."""
    found = HoldfastError(_phrase(error.status_code).lower(), next_step="see /openapi.json")
    found.status = error.status_code  # type: ignore[misc]
    return found


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"
