"""One row of floats is checked by the decoder itself; what it does not take is read in the usual way."""

import json

import numpy as np
import pytest

from holdfast.columns import Layout
from holdfast.columns.payloads import decode_tensors
from holdfast.columns.quick import quick_tensors
from holdfast.core.contract import Contract, Field, Output
from holdfast.errors import InvalidInput


def layout(on_violation="flag", datatype="FP64"):
    fields = tuple(
        Field(name=name, datatype=datatype, minimum=0.0, maximum=10.0, on_violation=on_violation) for name in "abc"
    )
    return Layout(Contract(fields=fields, output=Output(task="regression", label="y")))


def asked(*data, shape=(1, 3), datatype="FP64", **more):
    tensor = {"name": "x", "shape": list(shape), "datatype": datatype, "data": list(data)}
    return json.dumps({"inputs": [tensor], **more}).encode()


@pytest.mark.parametrize(
    "body", [asked(0.0, 10.0, 3), asked(1, 2, 3, datatype="FP32"), asked(1.5, 2.5, 3.5, id="mine")]
)
def test_a_row_within_its_bounds_stays_bytes(body):
    found = layout()
    batch, client = quick_tensors(body, found, 10)
    assert isinstance(batch.given, bytes)
    slow = decode_tensors(body, found, 10)
    np.testing.assert_array_equal(batch.numbers, slow.batch.numbers)
    assert (client, batch.rows, batch.flags, batch.names) == (slow.client_id, 1, {}, slow.batch.names)
    assert {name: values.tolist() for name, values in batch.table.items()} == {
        name: values.tolist() for name, values in slow.batch.table.items()
    }
    assert batch.take(np.array([0, 0])).numbers.shape == (3, 2)


def test_a_value_out_of_range_is_flagged_as_ever():
    batch, _ = quick_tensors(asked(1.0, 11.0, -1.0), layout(), 10)
    assert batch.flags == {"b": 1, "c": 1}
    with pytest.raises(InvalidInput) as caught:
        quick_tensors(asked(1.0, 11.0, 2.0), layout("reject"), 10)
    assert caught.value.field == "b"


@pytest.mark.parametrize(
    "body",
    [
        asked(1.0, 2.0),
        asked(1.0, 2.0, 3.0, 4.0),
        asked(1.0, None, 3.0),
        asked(1.0, "2", 3.0),
        asked(1.0, 2.0, 3.0, id="x" * 201),
        asked(1.0, 2.0, 3.0, parameters={}),
        asked(1.0, 2.0, 3.0, datatype="BYTES"),
        asked(1.0, 2.0, 3.0, shape=(3, 1)),
        asked(1.0, 2.0, 3.0)[:-2],
        asked(1.0, 2.0, 3.0).replace(b"2.0", b"2e999"),
        asked(1.0, 2.0, 3.0).replace(b'"x"', b'"\xff"'),
    ],
)
def test_whatever_else_is_left_to_the_long_way(body):
    assert quick_tensors(body, layout(), 10) is None


def test_several_rows_are_one_matrix():
    batch, _ = quick_tensors(asked(*range(6), shape=(2, 3)), layout(), 10)
    assert batch.numbers.tolist() == [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]


def test_a_contract_that_is_not_all_floats_has_no_such_way():
    whole = layout(datatype="INT64")
    assert whole.row is None
    batch, _ = quick_tensors(asked(1, 2, 3, datatype="INT64"), whole, 10)
    assert batch.numbers.tolist() == [[1.0], [2.0], [3.0]]
