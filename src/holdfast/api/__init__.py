"""The control API: what the CLI and the console do, for programs. OpenAPI 3.1 at `/openapi.json`, problems as RFC 9457."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

from starlette.routing import Route

from holdfast.api.document import document
from holdfast.api.operations import OPERATIONS
from holdfast.api.operations import routes as operation_routes
from holdfast.web.answers import json

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from holdfast.web.site import Site

__all__ = ["routes"]


def routes(site: Site) -> list[Route]:
    """All calls, and the document about them."""
    described = document(OPERATIONS, version("holdfast"))

    def openapi(_: Request) -> Response:
        return json(described)

    return [*operation_routes(site), Route("/openapi.json", openapi)]
