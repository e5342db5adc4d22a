"""Tensors as gRPC has them, to columns, and answers to tensors.

A request brings its numbers as bytes (`raw_input_contents`, what most clients send) or as typed lists (`contents`), all
tensors alike, and the answer comes in the same form. Bytes are read where they are: tensors of one datatype that name all
features in the contract's order become one matrix in one step, whatever their number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from holdfast.columns import Batch, Layout
from holdfast.columns.binary import DTYPES, check_shape, pack, unpack
from holdfast.columns.payloads import MAX_ID, Payload, check_rows
from holdfast.columns.tensors import read_arrays
from holdfast.columns.wanted import REFUSED, wanted
from holdfast.errors import MalformedRequest
from holdfast.rpc import messages
from holdfast.serve.answers import Answered, tensor_outputs, tensor_reply

__all__ = ["Infer"]

_CONTENTS: Final = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
_Head = tuple[str, str, tuple[int, ...]]
"""Name, datatype and shape of a tensor."""
_NUMBERS: Final = frozenset(_CONTENTS) - {"BOOL", "BYTES"}


class Infer:
    """One ModelInfer call: a codec of `dataplane.predict`, which has read its message already (it had to know the model).

    Args:
        request: a ModelInferRequest.
    """

    def __init__(self, request: Any) -> None:
        self._request = request
        self._raw = bool(request.raw_input_contents)

    def decode(self, body: bytes, headers: Mapping[str, str], layout: Layout, max_rows: int) -> Payload:
        """The rows as the layout's contract wants them; the message stands for the body."""
        request = self._request
        if len(request.id) > MAX_ID:
            raise MalformedRequest(f"'id' must be text of at most {MAX_ID} characters", "id")
        outputs: tuple[str, ...] = ()
        if request.outputs:
            asked = [{"name": one.name, "parameters": _refusable(one.parameters)} for one in request.outputs]
            outputs, _ = wanted(asked, None, layout.contract.output)
        return Payload(_batch(request, layout, max_rows), request.id, outputs)

    def encode(self, answered: Answered, payload: Payload) -> tuple[bytes, tuple[tuple[str, str], ...]]:
        """A ModelInferResponse."""
        outputs = tensor_outputs(answered, payload.outputs)
        data = [(output["datatype"], output.pop("data")) for output in outputs]
        told = tensor_reply(answered, outputs)
        parameters = told.pop("parameters")
        reply = messages.ModelInferResponse(**told)
        for name, value in parameters.items():
            reply.parameters[name].string_param = value
        if self._raw:
            reply.raw_output_contents.extend(pack(datatype, values) for datatype, values in data)
        else:
            for (datatype, values), output in zip(data, reply.outputs, strict=True):
                getattr(output.contents, _CONTENTS[datatype]).extend(_listed(datatype, values))
        return reply.SerializeToString(), ()


# ---------------------------------------------------------------------------------------------- in


def _batch(request: Any, layout: Layout, max_rows: int) -> Batch:
    inputs, raws = request.inputs, request.raw_input_contents
    if not inputs:
        raise MalformedRequest("there are no inputs", "inputs", "send one tensor per column")
    if raws and len(raws) != len(inputs):
        raise MalformedRequest(
            f"{len(inputs)} inputs and {len(raws)} raw contents", "raw_input_contents", "send one for each input"
        )
    heads = [(tensor.name, tensor.datatype, tuple(tensor.shape)) for tensor in inputs]
    if _alike(heads, layout.required):
        _, datatype, shape = heads[0]
        block = _block(inputs, raws, datatype, shape[0])
        if block is not None:
            check_rows(len(block), max_rows)
            found = layout.from_block(block)
            if found is not None:
                return found
    if raws:
        tensors = [(head[0], unpack(*head, raw)) for head, raw in zip(heads, raws, strict=True)]
    else:
        tensors = [(tensor.name, _typed(tensor)) for tensor in inputs]
    return read_arrays(tensors, layout, max_rows)


def _alike(heads: Sequence[_Head], names: tuple[str, ...]) -> bool:
    """Whether these are columns of numbers of one datatype and shape, with these names in this order."""
    _, datatype, shape = heads[0]
    if len(heads) != len(names) or datatype not in _NUMBERS or len(shape) - (shape[1:] == (1,)) != 1:
        return False
    return all(head == (name, datatype, shape) for head, name in zip(heads, names, strict=True))


def _block(inputs: Sequence[Any], raws: Sequence[bytes], datatype: str, rows: int) -> NDArray[Any] | None:
    """Columns that are alike as one matrix [rows, columns]; None if their values do not fit: somebody looks closer then."""
    dtype = DTYPES[datatype]
    if raws:
        if set(map(len, raws)) != {rows * dtype.itemsize}:
            return None
        flat = np.frombuffer(b"".join(raws), dtype)
    else:
        lists = [getattr(tensor.contents, _CONTENTS[datatype]) for tensor in inputs]
        if set(map(len, lists)) != {rows}:
            return None
        try:
            flat = np.fromiter(chain.from_iterable(lists), dtype, rows * len(lists))
        except OverflowError:
            return None
    return flat.reshape(len(inputs), rows).T


def _typed(tensor: Any) -> NDArray[Any]:
    """The values of a tensor's typed list."""
    name, datatype, shape = tensor.name, tensor.datatype, tuple(tensor.shape)
    if tensor.parameters and (unable := _refusable(tensor.parameters)):
        raise MalformedRequest(f"'{next(iter(unable))}' is not spoken here", _where(name), "send the values")
    field = _CONTENTS.get(datatype)
    if field is None:
        raise MalformedRequest(
            f"datatype '{datatype[:20]}' has no typed contents", _where(name), "send raw_input_contents"
        )
    values = getattr(tensor.contents, field)
    count = check_shape(name, shape)
    if len(values) != count:
        raise MalformedRequest(
            f"the shape asks for {count} values, {len(values)} are in {field}", _where(name), "mend shape or contents"
        )
    try:
        if datatype == "BYTES":
            return np.array([value.decode() for value in values], dtype=object).reshape(shape)
        return np.fromiter(values, DTYPES[datatype], count).reshape(shape)
    except UnicodeDecodeError:
        raise MalformedRequest("a text is not UTF-8", _where(name), "send UTF-8") from None
    except OverflowError:
        raise MalformedRequest(f"a value does not fit into {datatype}", _where(name), "mend the datatype") from None


def _refusable(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters that would change what the tensor means."""
    return {name: True for name in parameters if name in REFUSED}


def _where(name: str) -> str:
    return f"inputs, '{name[:60]}'"


# ---------------------------------------------------------------------------------------------- out


def _listed(datatype: str, values: Any) -> Iterable[Any]:
    """Flat values for a typed list."""
    return [str(value).encode() for value in values] if datatype == "BYTES" else np.ravel(values)
