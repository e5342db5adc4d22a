"""An answer with tensors as bytes, as the Open Inference Protocol has them: JSON first, then the bytes in its order."""

from __future__ import annotations

from typing import Any

import msgspec

from holdfast.columns.binary import pack
from holdfast.columns.payloads import Payload
from holdfast.serve.answers import Answered, plain_numbers, tensor_outputs, tensor_reply

__all__ = ["as_binary"]


def as_binary(answered: Answered, payload: Payload) -> tuple[bytes, int]:
    """The body, and how many bytes of it are JSON."""
    if answered.labels is None and payload.binary and not payload.outputs and not answered.client_id:
        blob = pack("FP64", answered.numbers)
        json = plain_numbers(answered, f'"parameters":{{"binary_data_size":{len(blob)}}}')
        return json + blob, len(json)
    outputs: list[dict[str, Any]] = []
    blobs: list[bytes] = []
    for output in tensor_outputs(answered, payload.outputs):
        if output["name"] in payload.binary:
            outputs.append(_packed(output, blobs))
        else:
            outputs.append(output)
    json = msgspec.json.encode(tensor_reply(answered, outputs))
    return b"".join((json, *blobs)), len(json)


def _packed(output: dict[str, Any], blobs: list[bytes]) -> dict[str, Any]:
    """The same output with its size in place of its data, which go to `blobs`."""
    blob = pack(output["datatype"], output.pop("data"))
    blobs.append(blob)
    return output | {"parameters": {"binary_data_size": len(blob)}}
