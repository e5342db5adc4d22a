"""Bodies of /invocations: every form says the same rows."""

import json

import msgspec
import numpy as np
import pytest

from holdfast.columns import Layout
from holdfast.columns.dataframes import decode_invocation
from holdfast.core.contract import Contract, Field, Output
from holdfast.errors import InvalidInput, MalformedRequest, TooLarge

OUTPUT = Output(task="regression", label="price")
LAYOUT = Layout(
    Contract(
        fields=(
            Field(name="area", datatype="FP64", nullable=True),
            Field(name="rooms", datatype="INT64"),
            Field(name="kind", datatype="BYTES", nullable=True),
            Field(name="new", datatype="BOOL", nullable=True),
            Field(name="house", datatype="INT64", feature=False, nullable=True, marks=("key",)),
        ),
        output=OUTPUT,
    )
)
ONE = Layout(Contract(fields=(Field(name="x", datatype="FP64", nullable=True),), output=OUTPUT))
NAMES = ["area", "rooms", "kind", "new"]
ROWS = [[80.5, 3, "flat", True], [None, 4, "a,b", False]]
RECORDS = [dict(zip(NAMES, row, strict=True)) for row in ROWS]
COLUMNS = {name: [row[index] for row in ROWS] for index, name in enumerate(NAMES)}
LINES = '80.5,3,flat,true\n,4,"a,b",False\r\n'


def read(body, media="application/json", layout=LAYOUT, most=100, **headers):
    raw = body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else msgspec.json.encode(body)
    return decode_invocation(raw, {"content-type": media, **headers}, layout, most)


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_split": {"columns": NAMES, "data": ROWS}},
        {"dataframe_split": {"columns": NAMES[::-1], "index": [7, 8], "data": [row[::-1] for row in ROWS]}},
        {"dataframe_split": {"data": ROWS}},
        {"dataframe_records": RECORDS},
        {"instances": RECORDS},
        {"instances": ROWS, "parameters": {}},
        {"inputs": RECORDS},
        {"inputs": ROWS, "params": {"x": 1}},
        {"inputs": COLUMNS},
        {"inputs": {name: [[value] for value in values] for name, values in COLUMNS.items()}},
        json.dumps({"instances": RECORDS}).replace("null", "NaN"),
        json.dumps({"inputs": COLUMNS}).replace("null", "NaN"),
    ],
)
def test_every_form_of_json(body):
    _same(read(body))
    _same(read(body, "Application/JSON; charset=utf-8; format=pandas"))


@pytest.mark.parametrize(
    ("body", "media"),
    [
        (",".join(NAMES) + "\n" + LINES, "text/csv"),
        (LINES, "text/csv"),
        (LINES, "text/csv; header=absent"),
        ("\ufeff" + ", ".join(NAMES) + "\n\n" + LINES, "text/csv; charset=utf-8; header=present"),
    ],
)
def test_csv(body, media):
    _same(read(body, media))


def _same(payload):
    table = payload.batch.table
    np.testing.assert_array_equal(table["area"], [80.5, np.nan])
    assert table["rooms"].tolist() == [3, 4]
    assert table["kind"].tolist() == ["flat", "a,b"]
    assert table["new"].tolist() == ["true", "false"]


def test_one_row_as_single_values_and_one_feature_as_a_list():
    assert read({"inputs": RECORDS[0]}).batch.rows == 1
    assert read({"instances": [1.5, None]}, layout=ONE).batch.rows == 2
    assert read("1.5\nnan\n", "text/csv", layout=ONE).batch.table["x"].tolist()[0] == 1.5


def test_a_key_in_csv_stays_the_text_it_is():
    payload = read("area,rooms,kind,new,house\n1,2,,,007\n1,2,,,\n", "text/csv")
    assert payload.batch.keys == ["007", None]
    assert payload.batch.table["kind"].tolist() == [None, None]


def test_a_text_may_be_called_like_a_column():
    assert read("1,2,house,true\n", "text/csv").batch.table["kind"].tolist() == ["house"]
    assert read("1,2,rooms,\n", "text/csv").batch.table["kind"].tolist() == ["rooms"]


def test_large_numbers_are_read_exactly_or_as_fractions():
    text = f"area,rooms,kind,new\n{'9' * 5000},{10**17},,\n"
    with pytest.raises(InvalidInput, match="inf does not fit"):
        read(text, "text/csv")
    assert read(f"area,rooms,kind,new\n1e3,{10**17},,\n", "text/csv").batch.table["rooms"][0] == 1e17


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("text/csv", "text/csv"),
        ("text/csv, application/json", "application/json"),
    ],
)
def test_the_answer_is_csv_where_only_that_is_accepted(accept, media):
    assert read({"instances": RECORDS}, accept=accept).media == media


@pytest.mark.parametrize(
    ("body", "media", "said"),
    [
        ({}, "application/json", "has 0 of"),
        ([], "application/json", "has 0 of"),
        ({"instances": [], "inputs": []}, "application/json", "has 2 of"),
        ({"instances": []}, "application/json", "no rows"),
        ({"instances": 3}, "application/json", "not a list"),
        ({"instances": [ROWS[0], 3]}, "application/json", "row 1"),
        ({"instances": [ROWS[0], ROWS[1][1:]]}, "application/json", "row 1"),
        ({"instances": RECORDS, "more": 1}, "application/json", "unknown member"),
        ({"inputs": {}}, "application/json", "no rows"),
        ({"inputs": COLUMNS | {"rooms": [1]}}, "application/json", "one length"),
        ({"inputs": COLUMNS | {"rooms": 1}}, "application/json", "'rooms' is not a list"),
        ({"dataframe_split": {"columns": NAMES}}, "application/json", "no 'data'"),
        ({"dataframe_split": {"columns": [1], "data": ROWS}}, "application/json", "list of names"),
        ({"dataframe_split": {"columns": [*NAMES[1:], "rooms"], "data": ROWS}}, "application/json", "named twice"),
        ({"dataframe_split": {"columns": NAMES, "data": {}}}, "application/json", "list of rows"),
        (b"\xff", "text/csv", "not CSV"),
        ("", "text/csv", "no rows"),
        ("area,rooms,kind,new\n", "text/csv", "no rows"),
        ('1,2,"a"b,true\n', "text/csv", "not CSV"),
        ("1,2\n", "text/csv", "2 values where 4"),
        ("area,area,kind,new\n1,2,a,true\n", "text/csv", "named twice"),
        ("{}", "application/x-www-form-urlencoded", "is not read here"),
    ],
)
def test_what_is_not_such_a_body(body, media, said):
    with pytest.raises(MalformedRequest, match=said):
        read(body, media)


@pytest.mark.parametrize(
    ("body", "media", "field", "row"),
    [
        ("1,2,a,true\n1,x,a,true\n", "text/csv", "rooms", 1),
        ("1,1_0,a,true\n", "text/csv", "rooms", 0),
        ("1,2.5,a,true\n", "text/csv", "rooms", 0),
        ("1,,a,true\n", "text/csv", "rooms", 0),
        ("1,2,a,maybe\n", "text/csv", "new", 0),
        ("area,romes,kind,new\n1,2,a,true\n", "text/csv", "romes", None),
        ('{"instances": [[1, NaN, "a", true]]}', "application/json", "rooms", 0),
        ('{"instances": [[Infinity, 1, "a", true]]}', "application/json", "area", 0),
        ({"instances": [[1, [1], "a", True]]}, "application/json", "rooms", 0),
    ],
)
def test_a_wrong_value_is_named_by_row_and_field(body, media, field, row):
    with pytest.raises(InvalidInput) as bad:
        read(body, media)
    assert (bad.value.field, bad.value.row) == (field, row)


def test_too_many_rows():
    for body, media in (({"instances": ROWS}, "application/json"), (LINES * 2, "text/csv"), (LINES, "text/csv")):
        with pytest.raises(TooLarge):
            read(body, media, most=1)
