import msgspec
import numpy as np
import pytest

from holdfast.columns.layout import Layout
from holdfast.columns.payloads import decode_rows, decode_tensors
from holdfast.columns.times import NO_TIME
from holdfast.core.contract import Contract, Field, Output
from holdfast.errors import InvalidInput, MalformedRequest, TooLarge

OUTPUT = Output(task="regression", label="price")
CONTRACT = Contract(
    fields=(
        Field(name="area", datatype="FP64", nullable=True, minimum=10, maximum=500),
        Field(name="rooms", datatype="INT8", maximum=20, on_violation="reject"),
        Field(name="kind", datatype="BYTES", categories=("flat", "house")),
        Field(name="new", datatype="BOOL", nullable=True),
        Field(name="sold", datatype="BYTES", feature=False, nullable=True, marks=("timestamp",)),
        Field(name="house", datatype="INT64", feature=False, marks=("key",)),
    ),
    output=OUTPUT,
    timezone="Europe/Vienna",
)
LAYOUT = Layout(CONTRACT)
PLAIN = Layout(Contract(fields=(Field(name="a", datatype="FP32"), Field(name="b", datatype="FP32")), output=OUTPUT))
ROW = {"area": 80.5, "rooms": 3, "kind": "flat", "new": True}


def rows(*given, **more):
    return decode_rows(msgspec.json.encode({"instances": given, **more}), LAYOUT, 100)


def tensor(name, datatype, *data, shape=None):
    return {"name": name, "datatype": datatype, "shape": shape or [len(data)], "data": data}


def tensors(*given, layout=LAYOUT, **more):
    return decode_tensors(msgspec.json.encode({"inputs": given, **more}), layout, 100)


def four(n=1):
    return [
        tensor("area", "FP64", *[80.5] * n),
        tensor("rooms", "INT64", *[3] * n, shape=[n, 1]),
        tensor("kind", "BYTES", *["flat"] * n),
        tensor("new", "BOOL", *[True] * n),
    ]


def test_rows_become_typed_columns():
    batch = rows(ROW, ROW | {"area": None, "rooms": 4.0, "kind": "house", "new": None}).batch
    assert batch.rows == 2
    np.testing.assert_array_equal(batch.table["area"], [80.5, np.nan])
    np.testing.assert_array_equal(batch.table["rooms"], [3.0, 4.0])
    assert batch.table["kind"].tolist() == ["flat", "house"]
    assert batch.table["new"].tolist() == ["true", None]
    assert batch.times is batch.keys is None
    assert batch.flags == {}


def test_timestamp_and_key_travel_beside_the_table():
    batch = rows(
        ROW | {"sold": "2025-07-01T12:00:00", "house": 17},
        ROW | {"sold": "2025-01-01T12:00:00+00:00", "house": 18},
        ROW | {"sold": None, "house": 19},
    ).batch
    assert set(batch.table) == {"area", "rooms", "kind", "new"}
    assert batch.keys == ["17", "18", "19"]
    noon = [int(np.datetime64(t, "us").astype(int)) for t in ("2025-07-01T10:00", "2025-01-01T12:00")]
    assert batch.times.tolist() == [*noon, NO_TIME]


def test_a_key_that_is_no_feature_may_be_text_or_a_number():
    assert rows(ROW | {"house": "A-17"}).batch.keys == ["A-17"]


def test_ranges_and_categories_are_flagged_and_let_through():
    batch = rows(ROW | {"area": 900, "kind": "boat"}, ROW | {"area": 1}, ROW).batch
    assert batch.flags == {"area": 2, "kind": 1}
    assert batch.table["area"].tolist() == [900.0, 1.0, 80.5]


@pytest.mark.parametrize("n", [1, 30])
def test_a_field_that_rejects_names_the_row(n):
    with pytest.raises(InvalidInput, match="outside the range") as caught:
        rows(*[ROW] * (n - 1), ROW | {"rooms": 21})
    assert (caught.value.row, caught.value.field) == (n - 1, "rooms")


@pytest.mark.parametrize(
    ("change", "field", "said"),
    [
        ({"area": "80"}, "area", '"80" is not a number'),
        ({"area": True}, "area", "true is not a number"),
        ({"rooms": 2.5}, "rooms", "2.5 is not a whole number"),
        ({"rooms": 300}, "rooms", "does not fit into INT8"),
        ({"rooms": 10**30}, "rooms", "does not fit into INT8"),
        ({"rooms": None}, "rooms", "not nullable"),
        ({"kind": 3}, "kind", "3 is not text"),
        ({"kind": None}, "kind", "not nullable"),
        ({"kind": [["flat"]]}, "kind", "is not text"),
        ({"new": 1}, "new", "1 is not true or false"),
        ({"new": "true"}, "new", "is not true or false"),
        ({"sold": "tomorrow", "house": 1}, "sold", "is not a time"),
        ({"sold": 17, "house": 1}, "sold", "17 is not text"),
        ({"house": 1.5}, "house", "1.5 is not"),
    ],
)
def test_a_wrong_value_is_refused_with_row_and_field(change, field, said):
    good = ROW | dict.fromkeys(change.keys() & {"sold"}, "2025-01-01") | dict.fromkeys(change.keys() & {"house"}, 1)
    with pytest.raises(InvalidInput, match=said) as caught:
        rows(good, good | change)
    assert (caught.value.status, caught.value.row, caught.value.field) == (422, 1, field)
    assert caught.value.next_step


@pytest.mark.parametrize(("rooms", "digits"), [("1" + "0" * 400, "too large"), ("1" * 5000, "no float can hold")])
def test_endless_integers(rooms, digits):
    body = b'{"instances":[{"area":1,"rooms":%s,"kind":"flat","new":true}]}' % rooms.encode()
    with pytest.raises(InvalidInput, match=digits):
        decode_rows(body, LAYOUT, 100)


@pytest.mark.parametrize("token", [b"NaN", b"Infinity", b"-Infinity"])
def test_not_a_number_is_refused_saying_what_to_write(token):
    body = b'{"instances":[{"area":1.5,"rooms":1,"kind":"flat","new":true},{"area":%s,"rooms":1,"kind":"flat","new":true}]}'
    with pytest.raises(InvalidInput, match=token.decode()) as caught:
        decode_rows(body % token, LAYOUT, 100)
    assert (caught.value.status, caught.value.row, caught.value.field) == (422, 1, "area")
    assert caught.value.next_step == "write null"


def test_half_a_surrogate_beside_nan_cannot_enter_a_message():
    with pytest.raises(MalformedRequest) as caught:
        decode_rows(b'{"instances":[{"\\ud800":NaN}]}', LAYOUT, 100)
    assert msgspec.json.encode(caught.value.as_dict())


@pytest.mark.parametrize(
    ("given", "field", "row"),
    [
        ([{n: v for n, v in ROW.items() if n != "kind"}], "kind", None),
        ([ROW | {"colour": "red"}], "colour", None),
        ([ROW, {n: v for n, v in ROW.items() if n != "kind"}], "kind", 1),
        ([ROW, ROW | {"colour": "red"}], "colour", 1),
        ([ROW, ROW, {**{n: v for n, v in ROW.items() if n != "kind"}, "x": 1}], "kind", 2),
        ([ROW, {}], None, 1),
        ([{}], None, 0),
    ],
)
def test_unknown_missing_and_uneven_columns(given, field, row):
    with pytest.raises(InvalidInput) as caught:
        rows(*given)
    assert (caught.value.status, caught.value.field, caught.value.row) == (422, field, row)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b"17", b'"x"', b"{}", b'{"instances":{}}', b'{"instances":[]}', b'{"instances":[1]}',
        b'{"instances":[null]}', b'{"instances":[{"a":1e999}]}', b'{"instances":[{"a":1}],"more":1}', b"\xff\xfe", b"[" * 90_000,
        b'{"instances":[{"a":"\xff"}]}', b'{"instances":[{"a":1}],"id":17}', b'{"instances":[{"a":NaN}', b"{'instances':[]}",
        b'{"instances":[{"a":1}],"id":"' + b"x" * 300 + b'"}',
    ],
)  # fmt: skip
@pytest.mark.parametrize("decode", [decode_rows, decode_tensors])
def test_what_is_not_the_protocol_is_malformed(body, decode):
    with pytest.raises(MalformedRequest) as caught:
        decode(body, LAYOUT, 100)
    assert caught.value.status == 400


def test_too_many_rows():
    with pytest.raises(TooLarge, match="101 rows"):
        rows(*[ROW] * 101)


def test_tensors_one_per_column():
    found = tensors(*four(2), id="mine", outputs=[{"name": "prediction"}])
    assert (found.client_id, found.outputs, found.batch.rows) == ("mine", ("prediction",), 2)
    assert found.batch.table["rooms"].tolist() == [3.0, 3.0]
    assert found.batch.table["new"].tolist() == ["true", "true"]


@pytest.mark.parametrize("data", [[1, 2, 3, 4, 5, 6], [[1, 2], [3, 4], [5, 6]]])
def test_one_tensor_for_all_columns_of_a_datatype(data):
    batch = tensors(tensor("x", "FP32", *data, shape=[3, 2]), layout=PLAIN).batch
    assert batch.table["a"].tolist() == [1, 3, 5]
    assert batch.table["b"].tolist() == [2, 4, 6]


@pytest.mark.parametrize(
    "given",
    [
        [],
        [{}],
        [17],
        [tensor("x", "FP64", 1, 2, shape=[1, 2])],
        [*four()[:3], tensor("new", "BOOL", True, True)],
        [*four(), tensor("new", "BOOL", True)],
        [*four()[:3], tensor("new", "LOGICAL", True)],
        [*four()[:3], tensor("new", [], True)],
        [*four()[:3], tensor("new", "BOOL", True, shape=[2])],
        [*four()[:3], tensor("new", "BOOL", True, shape=[-1])],
        [*four()[:3], tensor("new", "BOOL", True, shape=[1, 1, 1])],
        [*four()[:3], tensor("new", "BOOL", True, shape="1")],
        [*four()[:3], {"name": "new", "datatype": "BOOL", "shape": [1], "parameters": {"binary_data_size": 1}}],
        [*four()[:3], tensor("new", "BOOL", [True], True, shape=[2])],
    ],
)
def test_tensors_of_the_wrong_make(given):
    with pytest.raises(MalformedRequest) as caught:
        tensors(*given)
    assert caught.value.status == 400


def test_one_tensor_of_the_wrong_width():
    with pytest.raises(MalformedRequest, match="3 columns"):
        tensors(tensor("x", "FP32", 1, 2, 3, shape=[1, 3]), layout=PLAIN)


def test_a_tensor_keeps_the_contract_too():
    with pytest.raises(InvalidInput, match="colour") as caught:
        tensors(*four(), tensor("colour", "BYTES", "red"))
    assert (caught.value.status, caught.value.field) == (422, "colour")
    with pytest.raises(InvalidInput, match="does not fit into FP32"):
        tensors(tensor("a", "FP64", 1e39), tensor("b", "FP64", 1), layout=PLAIN)


def test_some_rows_of_a_batch():
    batch = rows(*[ROW | {"rooms": i, "house": i, "sold": "2025-01-01"} for i in range(5)]).batch
    some = batch.take(np.array([4, 2]))
    assert (some.rows, some.keys, some.table["rooms"].tolist()) == (2, ["4", "2"], [4.0, 2.0])
    assert some.times.tolist() == batch.times[[4, 2]].tolist()
