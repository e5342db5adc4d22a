"""Requests to the gRPC door: Triton's tensors, and messages made by hand."""

import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import triton_to_np_dtype

from holdfast.rpc.messages import SERVICE, ModelInferRequest, ModelInferResponse

ROW = {"area": ("FP64", 50.0), "rooms": ("INT32", 2), "kind": ("BYTES", "flat")}


def tensor(name, datatype, values):
    array = np.array(values, dtype=object if datatype == "BYTES" else triton_to_np_dtype(datatype))
    return triton.InferInput(name, list(array.shape), datatype).set_data_from_numpy(array)


def rows(n=1, **changed):
    return [tensor(name, datatype, [value] * n) for name, (datatype, value) in (ROW | changed).items()]


def records(door):
    return [frame.record for frames in door.frames for frame in frames]


def raw(channel, request, **options):
    call = channel.unary_unary(f"/{SERVICE}/ModelInfer")
    body = request if isinstance(request, bytes) else request.SerializeToString()
    return ModelInferResponse.FromString(call(body, timeout=options.pop("timeout", 10), **options))


def typed(name="price", **changed):
    """A request with typed contents, as a hand-written client sends."""
    fields = {"FP64": "fp64_contents", "INT32": "int_contents", "BYTES": "bytes_contents", "FP32": "fp32_contents"}
    request = ModelInferRequest(model_name=name)
    for column, (datatype, value) in (ROW | changed).items():
        contents = {fields[datatype]: [value.encode() if isinstance(value, str) else value]}
        request.inputs.add(name=column, datatype=datatype, shape=[1], contents=contents)
    return request


def make_slow(door, request):
    """As if such a request had been seen to take long."""
    door.service._pace.measured((request.model_name, request.model_version), request.ByteSize(), 1.0)
