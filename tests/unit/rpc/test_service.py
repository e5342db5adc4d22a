"""Calls of a client that we did not write, and of one that sends whatever it likes."""

import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import triton_to_np_dtype


def tensor(name, datatype, values):
    array = np.array(values, dtype=object if datatype == "BYTES" else triton_to_np_dtype(datatype))
    found = triton.InferInput(name, list(array.shape), datatype)
    return found.set_data_from_numpy(array)


def rows(n=2):
    return [
        tensor("area", "FP64", [50.0] * n),
        tensor("rooms", "INT32", [2] * n),
        tensor("kind", "BYTES", ["flat"] * n),
    ]


def test_a(client, digests):
    answer = client.infer("price", rows(), request_id="mine")
    np.testing.assert_allclose(answer.as_numpy("prediction"), [152.0, 152.0])
