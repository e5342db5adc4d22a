"""Values and errors as Starlette responses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from starlette.responses import Response

from holdfast.web.problems import MEDIA_TYPE

if TYPE_CHECKING:
    from holdfast.errors import HoldfastError

__all__ = ["json", "problem"]


def json(value: Any) -> Response:
    """A JSON answer."""
    return Response(msgspec.json.encode(value), media_type="application/json")


def problem(error: HoldfastError) -> Response:
    """An error as a problem, with its status."""
    return Response(msgspec.json.encode(error.as_problem()), status_code=error.status, media_type=MEDIA_TYPE)
