"""Errors over HTTP: RFC 9457 problems, with the member `error` that Open Inference Protocol clients read.

Values only, no framework: a serving process may use them without loading one.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

__all__ = ["MEDIA_TYPE", "PROBLEM_SCHEMA", "phrase"]

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


def phrase(status: int) -> str:
    """A status in words."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"
