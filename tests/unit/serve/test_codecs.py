"""What codecs other than JSON's say, over real releases."""

import msgspec
import numpy as np
import pytest

from holdfast.columns.binary import unpack
from holdfast.serve.codecs import TENSORS
from holdfast.serve.dataplane import predict

INPUTS = [
    {"name": "area", "shape": [2], "datatype": "FP64", "data": [50.0, 90.0]},
    {"name": "rooms", "shape": [2], "datatype": "INT64", "data": [2, 3]},
    {"name": "kind", "shape": [2], "datatype": "BYTES", "data": ["flat", "house"]},
]


@pytest.fixture
def infer(plan, state):
    def inferred(name, **members):
        body = msgspec.json.encode({"inputs": INPUTS, **members})
        return predict(body, TENSORS, name, None, {}, plan, state)

    return inferred


class TestBinary:
    def test_outputs_as_bytes_say_what_json_says(self, infer):
        told = msgspec.json.decode(infer("garden").body)
        answer = infer("garden", parameters={"binary_data_output": True}, id="mine")
        size = int(dict(answer.headers)["inference-header-content-length"])
        assert (answer.media, answer.record.client_id) == ("application/octet-stream", "mine")
        head, at = msgspec.json.decode(answer.body[:size]), size
        assert (head["id"], head["model_version"]) == ("mine", told["model_version"])
        for output, expected in zip(head["outputs"], told["outputs"], strict=True):
            end = at + output["parameters"]["binary_data_size"]
            values = unpack(output["name"], output["datatype"], output["shape"], answer.body[at:end])
            assert "data" not in output
            assert (output["shape"], values.ravel().tolist()) == (expected["shape"], expected["data"])
            at = end
        assert at == len(answer.body)

    def test_some_outputs_as_bytes_and_others_in_json(self, infer):
        asked = [{"name": "probabilities", "parameters": {"binary_data": True}}, {"name": "label"}]
        answer = infer("garden", outputs=asked)
        size = int(dict(answer.headers)["inference-header-content-length"])
        shares, label = msgspec.json.decode(answer.body[:size])["outputs"]
        assert shares["parameters"] == {"binary_data_size": 32}
        assert label["data"] == [value >= 0.4 for value in np.frombuffer(answer.body[size:])[1::2]]

    def test_a_number(self, infer):
        answer = infer("price", parameters={"binary_data_output": True})
        np.testing.assert_allclose(np.frombuffer(answer.body[-16:]), [152.0, 273.0])
