"""Features that are an array: one tensor [n, ...] holds them, in every way in which tensors come."""

import json

import numpy as np
import pytest

from holdfast.columns import dump_yaml, load_yaml
from holdfast.columns.layout import Layout
from holdfast.columns.payloads import decode_tensors
from holdfast.columns.quick import quick_tensors
from holdfast.columns.tensors import decode_binary, read_arrays
from holdfast.core.contract import Contract, Field, Output
from holdfast.errors import MalformedRequest, UsageError

FIELDS = tuple(Field(name=f"p{i}", datatype="FP32") for i in range(6))
OUTPUT = Output(task="binary", label="y", classes=("no", "yes"), label_datatype="BYTES")
CONTRACT = Contract(fields=FIELDS, output=OUTPUT, shape=(1, 2, 3))
LAYOUT = Layout(CONTRACT)
IMAGES = np.arange(24, dtype=np.float32).reshape(4, 1, 2, 3)


def body(data, shape):
    return json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": shape, "data": data}]}).encode()


@pytest.mark.parametrize("data", [IMAGES.tolist(), IMAGES.ravel().tolist()], ids=["nested", "flat"])
def test_json(data):
    read = decode_tensors(body(data, [4, 1, 2, 3]), LAYOUT, 10).batch
    np.testing.assert_array_equal(read.numbers.T, IMAGES.reshape(4, 6))
    assert read.names == tuple(field.name for field in FIELDS)


def test_the_quick_way_reads_them_too():
    batch, _ = quick_tensors(body(IMAGES.ravel().tolist(), [4, 1, 2, 3]), LAYOUT, 10)
    np.testing.assert_array_equal(batch.numbers.T, IMAGES.reshape(4, 6))


def test_bytes_behind_json_and_typed_arrays():
    head = {"name": "x", "datatype": "FP32", "shape": [4, 1, 2, 3], "parameters": {"binary_data_size": IMAGES.nbytes}}
    text = json.dumps({"inputs": [head]}).encode()
    read = decode_binary(text + IMAGES.tobytes(), str(len(text)), LAYOUT, 10).batch
    np.testing.assert_array_equal(read.numbers.T, IMAGES.reshape(4, 6))
    np.testing.assert_array_equal(read_arrays([("x", IMAGES)], LAYOUT, 10).numbers, read.numbers)


@pytest.mark.parametrize("shape", [[4, 2, 3], [4, 1, 3, 2], [4, 2, 3, 1]])
def test_another_arrangement_is_refused(shape):
    with pytest.raises(MalformedRequest, match="shape"):
        decode_tensors(body(IMAGES.ravel().tolist(), shape), LAYOUT, 10)
    plain = Layout(Contract(fields=FIELDS, output=OUTPUT))
    with pytest.raises(MalformedRequest, match="shape"):
        decode_tensors(body(IMAGES.ravel().tolist(), [4, 1, 2, 3]), plain, 10)


def test_the_file_says_it():
    assert "shape: [1, 2, 3]" in dump_yaml(CONTRACT)
    assert load_yaml(dump_yaml(CONTRACT)) == CONTRACT


def test_a_shape_must_hold_the_features():
    with pytest.raises(UsageError, match="holds 8 values, there are 6"):
        Contract(fields=FIELDS, output=OUTPUT, shape=(2, 4))
