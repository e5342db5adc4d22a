"""What schemathesis asks: a description of the inference port as OpenAPI, and cases made of it, right and wrong ones."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any, Final

import hypothesis
import requests
import schemathesis
from hypothesis import strategies as st

__all__ = ["DOCUMENT", "explore"]


def _operation(body: dict[str, Any] | None = None, media: str = "application/json") -> dict[str, Any]:
    found: dict[str, Any] = {"responses": {"200": {"description": "answered"}, "4XX": {"description": "refused"}}}
    if body is not None:
        found["requestBody"] = {"required": True, "content": {media: {"schema": body}}}
    return found


def _object(**members: Any) -> dict[str, Any]:
    required = [name for name in members if name not in {"id", "parameters", "outputs"}]
    return {"type": "object", "properties": members, "required": required, "additionalProperties": False}


TEXT: Final = {"type": "string"}
VALUE: Final = {"type": ["number", "string", "boolean", "null"]}
NUMBER: Final = {"type": "number"}
WHOLE: Final = {"type": "integer"}
ROW: Final = _object(area=NUMBER, rooms=WHOLE, kind=TEXT)
TENSOR: Final = _object(
    name={"enum": ["area", "rooms", "kind"]},
    datatype={"enum": ["FP64", "FP32", "INT64", "BYTES", "BOOL"]},
    shape={"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 4}, "minItems": 1, "maxItems": 2},
    data={"type": "array", "items": VALUE, "maxItems": 4},
)
INFER: Final = _object(
    id=TEXT,
    parameters={"type": "object"},
    inputs={"type": "array", "items": TENSOR, "minItems": 1, "maxItems": 3},
    outputs={"type": "array", "items": _object(name={"enum": ["label", "probabilities"]})},
)
DOCUMENT: Final[dict[str, Any]] = {
    "openapi": "3.1.0",
    "info": {"title": "Holdfast's inference port", "version": "2"},
    "paths": {
        "/v1/models/mixed:predict": {
            "post": _operation(_object(instances={"type": "array", "items": ROW, "minItems": 1, "maxItems": 3}))
        },
        "/v2/models/mixed/infer": {"post": _operation(INFER)},
        "/v2/models/mixed/invocations": {
            "post": _operation(_object(dataframe_records={"type": "array", "items": ROW, "minItems": 1, "maxItems": 3}))
        },
        "/v2/models/{name}": {
            "get": _operation() | {"parameters": [{"name": "name", "in": "path", "required": True, "schema": TEXT}]}
        },
    },
}


def explore(address: str, cases: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Status and request of each case."""
    schema = schemathesis.openapi.from_dict(DOCUMENT)
    told: list[tuple[str, bytes]] = []
    modes = (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE)
    with warnings.catch_warnings(), requests.Session() as session:
        warnings.simplefilter("ignore")
        strategies = [
            operation.ok().as_strategy(generation_mode=mode)
            for operation in schema.get_all_operations()
            for mode in modes
        ]

        @hypothesis.seed(seed)
        @hypothesis.settings(
            max_examples=cases,
            database=None,
            deadline=None,
            phases=[hypothesis.Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(st.one_of(strategies))
        def ask(case: schemathesis.Case) -> None:
            answer = case.call(base_url=address, session=session, timeout=20.0)
            told.append((str(answer.status_code), repr(case.as_curl_command()).encode()))

        ask()
    yield from told
