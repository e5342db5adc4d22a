"""The binary extension: bytes behind JSON mean what JSON would have said."""

import msgspec
import numpy as np
import pytest

from holdfast.columns import Layout
from holdfast.columns.binary import DTYPES, pack
from holdfast.columns.payloads import OCTETS, decode_tensors
from holdfast.columns.tensors import decode_binary
from holdfast.core.contract import Contract, Field, Output
from holdfast.errors import InvalidInput, MalformedRequest, TooLarge

LAYOUT = Layout(
    Contract(
        fields=(
            Field(name="area", datatype="FP64", nullable=True),
            Field(name="rooms", datatype="INT64"),
            Field(name="kind", datatype="BYTES"),
            Field(name="new", datatype="BOOL"),
        ),
        output=Output(task="binary", label="garden", classes=("no", "yes"), label_datatype="BYTES"),
    )
)
PLAIN = Layout(
    Contract(
        fields=tuple(Field(name=name, datatype="FP32") for name in "abc"), output=Output(task="regression", label="y")
    )
)
AREA = ("area", "FP64", [80.5, 20.25])
ROOMS = ("rooms", "UINT8", [3, 4])
KIND = ("kind", "BYTES", ["flat", "Höhle"])
NEW = ("new", "BOOL", [True, False])
ALL = (AREA, ROOMS, KIND, NEW)


def body(*tensors, shape=None, json=(), inputs=None, more=b"", **members):
    """Bytes and the length of their JSON; tensors named in `json` have JSON data."""
    blobs, described = [], []
    for name, datatype, data in tensors:
        one = {"name": name, "datatype": datatype, "shape": shape or [len(data)]}
        if name in json:
            described.append(one | {"data": data})
        else:
            blobs.append(pack(datatype, data))
            described.append(one | {"parameters": {"binary_data_size": len(blobs[-1])}})
    head = msgspec.json.encode({"inputs": described if inputs is None else inputs, **members})
    return head + b"".join(blobs) + more, str(len(head))


def read(*tensors, layout=LAYOUT, most=100, **more):
    return decode_binary(*body(*tensors, **more), layout, most)


def same(found, told):
    assert found.table.keys() == told.table.keys()
    for name, values in told.table.items():
        np.testing.assert_array_equal(found.table[name], values)


def test_bytes_are_read_as_json_would_be():
    told = [{"name": name, "datatype": kind, "shape": [2], "data": data} for name, kind, data in ALL]
    expected = decode_tensors(msgspec.json.encode({"inputs": told}), LAYOUT, 100).batch
    same(read(*ALL).batch, expected)
    same(read(*ALL, shape=[2, 1]).batch, expected)
    for json in (["kind"], ["area", "new"], [name for name, *_ in ALL]):
        same(read(*ALL, json=json).batch, expected)


def test_nan_is_missing_also_beside_json():
    for json in ([], ["kind"]):
        area = read(("area", "FP16", [np.nan, 1]), ROOMS, KIND, NEW, json=json).batch.table["area"]
        np.testing.assert_array_equal(area, [np.nan, 1])


@pytest.mark.parametrize("datatype", sorted(set(DTYPES) - {"BOOL", "BYTES"}))
def test_numbers_of_every_width_are_taken(datatype):
    assert read(AREA, ("rooms", datatype, [3, 4]), KIND, NEW).batch.table["rooms"].tolist() == [3, 4]


def test_one_tensor_may_hold_all_features():
    found = read(("x", "FP16", [1, 2, 3, 4, 5, 6]), shape=[2, 3], layout=PLAIN).batch
    assert found.table["b"].tolist() == [2, 5]


def test_outputs_are_wanted_as_bytes_by_name_or_all():
    def asked(**members):
        found = read(*ALL, **members)
        return found.outputs, set(found.binary), found.media == OCTETS

    every = {"binary_data_output": True}
    label, bytes_ = {"name": "label"}, {"name": "probabilities", "parameters": {"binary_data": True, "x": 1}}
    assert asked() == ((), set(), False)
    assert asked(parameters=every) == ((), {"label", "probabilities"}, True)
    assert asked(outputs=[bytes_, label]) == (("probabilities", "label"), {"probabilities"}, True)
    assert asked(outputs=[label], parameters=every) == (("label",), {"label"}, True)
    no = label | {"parameters": {"binary_data": False}}
    assert asked(outputs=[no], parameters=every | {"priority": 1}) == (("label",), set(), False)


@pytest.mark.parametrize("length", ["", "-1", "0", "x", "١", "1e3", "999999", "9" * 5000])
def test_a_length_that_is_none(length):
    with pytest.raises(MalformedRequest, match="bytes of JSON"):
        decode_binary(body(*ALL)[0], length, LAYOUT, 100)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"more": b"x"}, "stand behind the JSON"),
        ({"inputs": 7}, "stand behind the JSON"),
        ({"inputs": [{"name": "area", "parameters": {"binary_data_size": 51}}]}, "lacks name, datatype or shape"),
        ({"inputs": [{"name": "area", "parameters": {"binary_data_size": -1}}]}, "-1 bytes"),
        ({"inputs": [{"name": "area", "parameters": {"binary_data_size": True}}]}, "True bytes"),
        ({"inputs": [{"name": "area", "parameters": {"binary_data_size": 8}, "data": [1]}]}, "bytes and 'data'"),
        (
            {"inputs": [{"name": "area", "datatype": "FP64", "shape": [2.0], "parameters": {"binary_data_size": 16}}]},
            "lacks name, datatype or shape",
        ),
        ({"outputs": [{"name": "nothing"}]}, "no output 'nothing'"),
        ({"outputs": [{"name": ["label"]}]}, "no output"),
        ({"outputs": [{"name": "label"}, {"name": "label"}]}, "twice"),
        ({"outputs": ["label"]}, "list of names"),
        ({"outputs": {"name": "label"}}, "list of names"),
        ({"outputs": [{"name": "label", "parameters": {"classification": 2}}]}, "'classification' is not spoken"),
        ({"outputs": [{"name": "label", "parameters": {"binary_data": 1}}]}, "neither true nor false"),
        ({"parameters": [1]}, "not an object"),
        ({"parameters": {"binary_data_output": "yes"}}, "neither true nor false"),
        ({"what": 1}, "unknown member"),
        ({"id": 7}, "'id'"),
    ],
)
def test_what_is_not_the_protocol(given, said):
    with pytest.raises(MalformedRequest, match=said):
        read(*ALL, **given)


def test_tensors_must_agree():
    with pytest.raises(MalformedRequest, match="has 1 rows, 'area' has 2"):
        read(AREA, ("rooms", "INT64", [1]), KIND, NEW)
    with pytest.raises(MalformedRequest, match="twice"):
        read(AREA, AREA)
    with pytest.raises(MalformedRequest, match="shape"):
        read(*ALL, shape=[2, 1, 1][::-1])
    with pytest.raises(TooLarge):
        read(*ALL, most=1)
    with pytest.raises(MalformedRequest, match="no rows"):
        read(("area", "FP64", []))
    with pytest.raises(InvalidInput, match="'rooms' is missing"):
        read(AREA)
    with pytest.raises(MalformedRequest, match="features"):
        read(("x", "FP32", [1, 2, 3, 4]), shape=[1, 4], layout=PLAIN)


A, B, C = (("a", "FP32", [1.5, 2.5]), ("b", "FP32", [3.0, 4.0]), ("c", "FP32", [5.0, 6.0]))


@pytest.mark.parametrize(
    "given",
    [(A, B, C), (C, A, B), (A, ("b", "INT8", [3, 4]), C), tuple((n, "FP16", v) for n, _, v in (A, B, C))],
    ids=["in order", "in another order", "of several types", "of half precision"],
)
@pytest.mark.parametrize("shape", [None, [2, 1]])
def test_a_tensor_for_each_feature(given, shape):
    found = read(*given, layout=PLAIN, shape=shape, id="mine", parameters={"binary_data_output": True})
    assert {name: values.tolist() for name, values in found.batch.table.items()} == {n: v for n, _, v in (A, B, C)}
    assert (found.client_id, set(found.binary), found.media) == ("mine", {"prediction"}, OCTETS)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"shape": [1]}, "8 are given"),
        ({"shape": [3]}, "8 are given"),
        ({"shape": [2, 2]}, "8 are given"),
        ({"more": b"1234"}, "stand behind the JSON"),
        ({"most": 1}, "at most 1"),
        ({"id": "x" * 201}, "'id'"),
        ({"outputs": [{"name": "label"}]}, "no output 'label'"),
    ],
)
def test_a_tensor_for_each_feature_that_does_not_fit(given, said):
    with pytest.raises(InvalidInput, match=said):
        read(A, B, C, layout=PLAIN, **given)
    with pytest.raises(InvalidInput, match="field 'c'"):
        read(A, B, ("c", "FP32", [1, np.nan]), layout=PLAIN)


WIDE = Layout(
    Contract(
        fields=tuple(Field(name=name, datatype="FP64", minimum=0.0, maximum=5.0) for name in "abc"),
        output=Output(task="regression", label="y"),
    )
)


@pytest.mark.parametrize("datatype", ["FP64", "FP32", "INT32", "UINT8"])
@pytest.mark.parametrize("values", [[1, 2, 3], [0, 5, 4], [1, 6, 3], [1, 2, 3, 4, 5, 6], [9, 2, 3, 4, 5, 6]])
def test_one_tensor_of_all_features_is_read_as_its_columns_would_be(datatype, values):
    rows = len(values) // 3
    whole = decode_binary(*body(("x", datatype, values), shape=[rows, 3]), WIDE, 10)
    apart = decode_binary(*body(*((name, datatype, values[i::3]) for i, name in enumerate("abc"))), WIDE, 10)
    same(whole.batch, apart.batch)
    assert (whole.batch.rows, whole.batch.flags) == (rows, apart.batch.flags)


def test_a_tensor_that_lies_about_its_size_is_refused():
    for shape in ([2, 3], [1, 4], [1, 1, 3], [3], [0, 3], [-1, 3]):
        with pytest.raises((MalformedRequest, InvalidInput)):
            decode_binary(*body(("x", "FP64", [1, 2, 3]), shape=shape), WIDE, 10)
    with pytest.raises(InvalidInput, match="missing"):
        decode_binary(*body(("x", "FP64", [1.0, np.nan, 3.0]), shape=[1, 3]), WIDE, 10)
    with pytest.raises(MalformedRequest):
        decode_binary(*body(("x", "FP64", [1, 2, 3]), shape=[1, 3], more=b"12345678"), WIDE, 10)
