"""The control API's OpenAPI 3.1 document, generated from the table of operations: it cannot lag behind the code."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from holdfast.web.problems import MEDIA_TYPE, PROBLEM_SCHEMA

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.api.operations import Operation

__all__ = ["document"]


def document(operations: Sequence[Operation], version: str) -> dict[str, Any]:
    """The whole document."""
    kinds = [o.answer for o in operations] + [o.body for o in operations if o.body is not None]
    schemas, components = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    answers, bodies = schemas[: len(operations)], iter(schemas[len(operations) :])
    paths: dict[str, dict[str, Any]] = {}
    for operation, answer in zip(operations, answers, strict=True):
        body = next(bodies) if operation.body is not None else None
        paths.setdefault(operation.path, {})[operation.method.lower()] = _call(operation, answer, body)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Holdfast control API", "version": version},
        "paths": paths,
        "components": {"schemas": {**components, "Problem": PROBLEM_SCHEMA}},
    }


def _call(operation: Operation, answer: dict[str, Any], body: dict[str, Any] | None) -> dict[str, Any]:
    found: dict[str, Any] = {
        "summary": operation.summary,
        "operationId": re.sub(r"[^a-z]+", "_", f"{operation.method} {operation.path}".lower()).strip("_"),
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in re.findall(r"\{(\w+)\}", operation.path)
        ],
        "responses": {
            "200": {"description": operation.summary, "content": {"application/json": {"schema": answer}}},
            "default": {
                "description": "A problem",
                "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
            },
        },
    }
    if body is not None:
        found["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    return found
