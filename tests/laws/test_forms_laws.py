"""Laws of the wire's forms: bytes, data frames and CSV say what rows say, and no body is anything but read or refused."""

import csv
import io
import json

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.columns.binary import DTYPES, pack, unpack
from holdfast.columns.dataframes import decode_invocation
from holdfast.columns.layout import Layout
from holdfast.columns.payloads import decode_rows
from holdfast.columns.tensors import decode_binary
from holdfast.core.contract import Contract, Field, Output
from holdfast.errors import InvalidInput

CONTRACT = Contract(
    fields=(
        Field(name="number", datatype="FP64", nullable=True, minimum=-10, maximum=10),
        Field(name="whole", datatype="INT32", minimum=0),
        Field(name="text", datatype="BYTES", nullable=True, categories=("a", "b")),
        Field(name="flag", datatype="BOOL", nullable=True),
        Field(name="at", datatype="BYTES", feature=False, marks=("timestamp",)),
        Field(name="key", datatype="BYTES", feature=False, marks=("key",)),
    ),
    output=Output(task="regression", label="y"),
)
LAYOUT = Layout(CONTRACT)
KINDS = {"number": "FP64", "whole": "INT64", "text": "BYTES", "flag": "BOOL", "at": "BYTES", "key": "BYTES"}
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "number": st.none() | st.floats(allow_nan=False, allow_infinity=False),
            "whole": st.integers(-(2**31), 2**31 - 1),
            "text": st.none() | st.sampled_from("abc") | TEXTS,
            "flag": st.none() | st.booleans(),
            "at": st.datetimes().map(lambda moment: moment.isoformat()),
            "key": TEXTS,
        }
    ),
    min_size=1,
    max_size=20,
)
MEDIA = st.sampled_from(["application/json", "text/csv", "text/csv; header=present", "text/csv; header=absent"])


def same(found, rows):
    told = decode_rows(msgspec.json.encode({"instances": rows}), LAYOUT, 100).batch
    assert (found.rows, found.keys, found.flags, set(found.table)) == (
        told.rows,
        told.keys,
        told.flags,
        set(told.table),
    )
    np.testing.assert_array_equal(found.times, told.times)
    for name, values in told.table.items():
        np.testing.assert_array_equal(found.table[name], values)


def body(rows, plain):
    """Tensors as bytes; those named in `plain`, and those that only JSON can say, as JSON."""
    blobs, inputs = [], []
    for name, kind in KINDS.items():
        values = [row[name] for row in rows]
        tensor = {"name": name, "datatype": kind, "shape": [len(rows)]}
        if name in plain or (None in values and kind != "FP64"):
            inputs.append(tensor | {"data": values})
        else:
            blobs.append(pack(kind, [np.nan if value is None else value for value in values]))
            inputs.append(tensor | {"parameters": {"binary_data_size": len(blobs[-1])}})
    head = msgspec.json.encode({"inputs": inputs})
    return head + b"".join(blobs), len(head)


@given(ROWS, st.sets(st.sampled_from(sorted(KINDS))))
def test_rows_and_bytes_say_the_same(rows, plain):
    data, size = body(rows, plain)
    same(decode_binary(data, str(size), LAYOUT, 100).batch, rows)


@given(ROWS, st.sampled_from(["dataframe_split", "dataframe_records", "instances", "inputs"]))
def test_rows_and_invocations_say_the_same(rows, form):
    names = list(KINDS)
    said = {
        "dataframe_split": {"columns": names, "data": [[row[name] for name in names] for row in rows]},
        "inputs": {name: [row[name] for row in rows] for name in names},
    }.get(form, rows)
    told = json.dumps({form: said})
    same(decode_invocation(told.encode(), {}, LAYOUT, 100).batch, rows)


@given(ROWS)
def test_rows_and_csv_say_the_same(rows):
    text = io.StringIO()
    writer = csv.DictWriter(text, list(KINDS))
    writer.writeheader()
    writer.writerows(rows)
    told = [row | {"text": row["text"] or None} for row in rows]  # CSV has no empty text beside a missing one
    headers = {"content-type": "text/csv; header=present"}
    same(decode_invocation(text.getvalue().encode(), headers, LAYOUT, 100).batch, told)


@given(st.binary(max_size=200), MEDIA)
def test_any_bytes_are_an_invocation_or_refused(data, media):
    with pytest.raises(InvalidInput):
        decode_invocation(data, {"content-type": media}, LAYOUT, 100)


@given(ROWS, st.data())
def test_bytes_that_were_cut_or_changed_are_read_or_refused(rows, data):
    told, size = body(rows[:3], ())
    found = bytearray(told)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(found)))
        found[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    try:
        batch = decode_binary(bytes(found), str(size + data.draw(st.integers(-2, 2))), LAYOUT, 100).batch
    except InvalidInput:
        return
    assert set(batch.table) >= {"number", "whole", "text", "flag"}


@given(
    st.sampled_from(sorted(DTYPES)),
    st.lists(st.integers(-2, 4) | st.integers(), max_size=4),
    st.binary(max_size=64),
)
def test_any_tensor_has_the_shape_it_says_or_is_refused(kind, shape, raw):
    try:
        found = unpack("x", kind, shape, raw)
    except InvalidInput:
        return
    assert list(found.shape) == shape
    assert pack(kind, found.ravel()) == raw
