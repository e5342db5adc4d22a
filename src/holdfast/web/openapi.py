"""A deployment's inference interface as an OpenAPI 3.1 document, and a `curl` line that works: both from its own contract.

The contract is what the server enforces, so a page made from it cannot promise what the server refuses. Nothing is fetched
from anywhere: the document is plain JSON and the page plain HTML.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import msgspec

from holdfast.core.names import short
from holdfast.web.problems import MEDIA_TYPE, PROBLEM_SCHEMA

if TYPE_CHECKING:
    from holdfast.core.contract import Contract, Field, Output
    from holdfast.status import ReleaseView

__all__ = ["curl", "example_row", "inference"]

EXAMPLE_TIME = "2026-03-14T09:26:00Z"
BOUNDS = {
    "INT8": (-(2**7), 2**7 - 1),
    "INT16": (-(2**15), 2**15 - 1),
    "INT32": (-(2**31), 2**31 - 1),
    "INT64": (-(2**63), 2**63 - 1),
    "UINT8": (0, 2**8 - 1),
    "UINT16": (0, 2**16 - 1),
    "UINT32": (0, 2**32 - 1),
}


def example_row(contract: Contract) -> dict[str, Any]:
    """One row that the contract accepts."""
    return {field.name: _example(field) for field in contract.fields}


def curl(name: str, contract: Contract, address: str) -> str:
    """A line for a terminal."""
    body = msgspec.json.encode({"instances": [example_row(contract)]}).decode()
    return (
        f"curl -s {shlex.quote(f'{address}/v1/models/{name}:predict')} \\\n"
        f"  -H 'Content-Type: application/json' \\\n  -d {shlex.quote(body)}"
    )


def inference(name: str, release: ReleaseView, address: str) -> dict[str, Any]:
    """The whole document; `x-curl` holds the line to copy."""
    contract = release.contract
    row = {
        "type": "object",
        "additionalProperties": False,
        "required": [f.name for f in contract.fields if f.feature and not f.nullable],
        "properties": {f.name: _schema(f) for f in contract.fields},
    }
    example = {"instances": [example_row(contract)]}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": name,
            "version": short(release.digest),
            "description": f"Release {release.digest}, made from {release.manifest.model.uri}.",
        },
        "servers": [{"url": address}],
        "x-curl": curl(name, contract, address),
        "paths": {
            f"/v1/models/{name}:predict": {
                "post": _operation(
                    "Predict rows",
                    "The form for people: one object a row. Optional fields are not read by the model.",
                    {"type": "object", "required": ["instances"], "additionalProperties": False,
                     "properties": {"instances": {"type": "array", "items": {"$ref": "#/components/schemas/Row"}}}},
                    "One answer a row, with the id of each prediction and the release that gave it.",
                    {"type": "object", "properties": {"predictions": {"type": "array", "items": _output(contract.output)}}},
                    example,
                )
            },
            f"/v2/models/{name}/infer": {
                "post": _operation(
                    "Predict columns (Open Inference Protocol v2)",
                    "The form for programs: one named input a column, shape [n] or [n, 1].",
                    {"$ref": "#/components/schemas/InferRequest"},
                    "Outputs as named tensors.",
                    {"type": "object"},
                    {"inputs": [_tensor(f) for f in contract.features]},
                )
            },
            f"/v1/models/{name}:label": {
                "post": _operation(
                    "Give labels",
                    "The truth, whenever it is known: by the prediction's id, or by key for all its predictions until then. "
                    "The same value again changes nothing, a new one is a correction.",
                    {"type": "object", "required": ["labels"], "additionalProperties": False,
                     "properties": {"labels": {"type": "array", "items": {"$ref": "#/components/schemas/Label"}}}},
                    "Taken and kept; it counts as soon as its prediction is found.",
                    {"type": "object"},
                    {"labels": [_example_label(contract)]},
                )
            },
        },
        "components": {
            "schemas": {
                "Row": row,
                "InferRequest": _infer_request(contract),
                "Label": _label(contract),
                "Problem": PROBLEM_SCHEMA,
            },
        },
    }  # fmt: skip


def _operation(
    summary: str, description: str, body: dict[str, Any], answered: str, schema: dict[str, Any], example: dict[str, Any]
) -> dict[str, Any]:
    problem = {"content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}}
    return {
        "summary": summary,
        "description": description,
        "requestBody": {"required": True, "content": {"application/json": {"schema": body, "example": example}}},
        "responses": {
            "200": {"description": answered, "content": {"application/json": {"schema": schema}}},
            "400": {"description": "Not JSON, or not this form.", **problem},
            "422": {"description": "Breaks the contract; names row and field.", **problem},
            "503": {"description": "Overloaded; try again after `Retry-After` seconds.", **problem},
        },
    }


def _schema(field: Field) -> dict[str, Any]:
    """JSON Schema of one field. Ranges and categories bind only where the contract rejects; else they are said."""
    kind = {"BOOL": "boolean", "BYTES": "string", "FP32": "number", "FP64": "number"}.get(field.datatype, "integer")
    found: dict[str, Any] = {"type": [kind, "null"] if field.nullable else kind, "x-datatype": field.datatype}
    if field.datatype in BOUNDS:
        found["minimum"], found["maximum"] = BOUNDS[field.datatype]
    notes = [field.description] if field.description else []
    if "timestamp" in field.marks:
        found["format"] = "date-time"
        notes.append("event time")
    if "key" in field.marks:
        notes.append("joins labels")
    if field.on_violation == "reject":
        limits = {"minimum": field.minimum, "maximum": field.maximum, "enum": field.categories}
        found |= {name: limit for name, limit in limits.items() if limit is not None}
    else:
        notes += _usual(field)
    if notes:
        found["description"] = "; ".join(notes)
    found["examples"] = [_example(field)]
    return found


def _usual(field: Field) -> list[str]:
    if field.categories:
        more = ", ..." if len(field.categories) > 12 else ""
        return ["usually one of " + ", ".join(field.categories[:12]) + more]
    if field.minimum is not None and field.maximum is not None:
        return [f"usually {field.minimum:g} to {field.maximum:g}"]
    return []


def _example(field: Field) -> Any:
    if "timestamp" in field.marks:
        return EXAMPLE_TIME
    if field.datatype == "BOOL":
        return True
    if field.datatype == "BYTES":
        return field.categories[0] if field.categories else f"{field.name}-1"
    low = 0.0 if field.minimum is None else field.minimum
    high = low + 1.0 if field.maximum is None else field.maximum
    middle = (low + high) / 2
    return float(f"{middle:.4g}") if field.datatype in {"FP32", "FP64"} else round(middle)


def _label(contract: Contract) -> dict[str, Any]:
    value: dict[str, Any] = {"enum": list(contract.output.classes)} if contract.output.classes else {"type": "number"}
    return {
        "type": "object",
        "additionalProperties": False,
        "required": ["value"],
        "properties": {
            "value": {"title": contract.output.label, **value},
            "prediction_id": {"type": "string", "description": "from the answer"},
            "key": {"type": ["string", "number"], "description": contract.key.name if contract.key else "no key field"},
            "observed_at": {"type": "string", "format": "date-time", "description": "when the truth was known"},
        },
    }


def _example_label(contract: Contract) -> dict[str, Any]:
    value: Any = contract.output.classes[-1] if contract.output.classes else 1.5
    about = {"key": _example(contract.key)} if contract.key else {"prediction_id": "01J0000000000000000000000A-0"}
    return {**about, "value": value}


def _tensor(field: Field) -> dict[str, Any]:
    return {"name": field.name, "datatype": field.datatype, "shape": [1], "data": [_example(field)]}


def _output(output: Output) -> dict[str, Any]:
    if output.task == "regression":
        return {"type": "number", "title": output.label, "description": output.unit}
    return {
        "type": "object",
        "title": output.label,
        "properties": {
            "label": {"enum": list(output.classes)} if output.classes else {},
            "probabilities": {"type": "object", "additionalProperties": {"type": "number"}},
        },
    }


def _infer_request(contract: Contract) -> dict[str, Any]:
    tensor = {
        "type": "object",
        "required": ["name", "datatype", "shape", "data"],
        "properties": {
            "name": {"enum": [f.name for f in contract.fields]},
            "datatype": {"enum": sorted({f.datatype for f in contract.fields})},
            "shape": {"type": "array", "items": {"type": "integer"}},
            "data": {"type": "array"},
        },
    }
    return {
        "type": "object",
        "required": ["inputs"],
        "properties": {"id": {"type": "string"}, "inputs": {"type": "array", "items": tensor}},
    }
