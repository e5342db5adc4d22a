"""Laws of the columns: every form of the same rows means the same, and no body is anything but read or refused."""

import json

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.columns import decode_label, decode_labels, dump_yaml, infer_contract, load_yaml
from holdfast.columns.layout import Layout
from holdfast.columns.payloads import decode_rows, decode_tensors
from holdfast.columns.times import from_text, iso_texts
from holdfast.core.contract import Contract, Field, Output
from holdfast.errors import InvalidInput

OUTPUT = Output(task="regression", label="y")
CONTRACT = Contract(
    fields=(
        Field(name="number", datatype="FP64", nullable=True, minimum=-10, maximum=10),
        Field(name="whole", datatype="INT32", minimum=0),
        Field(name="text", datatype="BYTES", nullable=True, categories=("a", "b")),
        Field(name="flag", datatype="BOOL", nullable=True),
        Field(name="at", datatype="BYTES", feature=False, marks=("timestamp",)),
        Field(name="key", datatype="BYTES", feature=False, marks=("key",)),
    ),
    output=OUTPUT,
)
LAYOUT = Layout(CONTRACT)
KINDS = {"number": "FP64", "whole": "INT64", "text": "BYTES", "flag": "BOOL", "at": "BYTES", "key": "BYTES"}

MOMENTS = st.datetimes().map(lambda moment: moment.isoformat())
ROW = st.fixed_dictionaries(
    {
        "number": st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-20, 20),
        "whole": st.integers(-(2**31), 2**31 - 1),
        "text": st.none() | st.sampled_from("abc") | st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
        "flag": st.none() | st.booleans(),
        "at": MOMENTS,
        "key": st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    }
)
ROWS = st.lists(ROW, min_size=1, max_size=30)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.sampled_from([*KINDS]), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


def read(rows):
    return decode_rows(msgspec.json.encode({"instances": rows}), LAYOUT, 1000).batch


def equal(one, other):
    assert (one.rows, one.keys, one.flags, list(one.table)) == (other.rows, other.keys, other.flags, list(other.table))
    np.testing.assert_array_equal(one.times, other.times)
    for name in one.table:
        np.testing.assert_array_equal(one.table[name], other.table[name])
        assert one.table[name].dtype == other.table[name].dtype


@given(ROWS)
def test_rows_and_tensors_say_the_same(rows):
    inputs = [
        {"name": name, "datatype": kind, "shape": [len(rows)], "data": [row[name] for row in rows]}
        for name, kind in KINDS.items()
    ]
    equal(read(rows), decode_tensors(msgspec.json.encode({"inputs": inputs}), LAYOUT, 1000).batch)


@given(ROWS)
def test_rows_and_files_say_the_same(rows):
    def texts(values):
        return np.array(values, dtype=object)

    table = {
        "number": np.array([row["number"] for row in rows], dtype=np.float64),
        "whole": np.array([row["whole"] for row in rows], dtype=np.float64),
        "text": texts([row["text"] for row in rows]),
        "flag": texts([None if row["flag"] is None else str(row["flag"]).lower() for row in rows]),
        "at": np.array([row["at"] for row in rows], dtype="M8[us]"),
        "key": texts([row["key"] for row in rows]),
    }
    equal(read(rows), LAYOUT.from_table(table))


@given(ROWS)
def test_many_rows_are_read_as_one_by_one(rows):
    whole, parts = read(rows), [read([row]) for row in rows]
    for name, values in whole.table.items():
        np.testing.assert_array_equal(values, np.concatenate([part.table[name] for part in parts]))
    assert whole.times.tolist() == [part.times[0] for part in parts]
    assert whole.keys == [part.keys[0] for part in parts]
    assert whole.flags == {name: n for name in whole.table if (n := sum(part.flags.get(name, 0) for part in parts)) > 0}


@given(ROWS, st.data())
def test_some_rows_are_those_rows(rows, data):
    batch = read(rows)
    chosen = np.array(data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1)), dtype=np.int64)
    some = batch.take(chosen)
    again = read([rows[row] for row in chosen])
    assert some.keys == again.keys
    np.testing.assert_array_equal(some.times, again.times)
    for name in some.table:
        np.testing.assert_array_equal(some.table[name], again.table[name])


def read_or_refuse(body):
    """Whatever the bytes: a result, or an error of ours that can be sent as JSON."""
    doors = (
        lambda: decode_rows(body, LAYOUT, 5),
        lambda: decode_tensors(body, LAYOUT, 5),
        lambda: decode_labels(body, CONTRACT, 5),
    )
    for door in doors:
        refused = None
        try:
            door()
        except InvalidInput as bad:
            refused = bad
        if refused:
            assert refused.status in {400, 413, 422}
            assert msgspec.json.encode([refused.as_dict(), refused.field, refused.row, str(refused)])


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(body):
    read_or_refuse(body)


@given(st.sampled_from(["instances", "inputs", "labels"]), VALUES)
def test_any_document_is_read_or_refused(member, value):
    # Python's writer puts NaN, Infinity and halves of surrogate pairs into the text, as careless clients do.
    read_or_refuse(json.dumps({member: value}).encode())


@given(
    st.lists(st.dictionaries(st.sampled_from([*KINDS, "more"]), VALUES, max_size=7), max_size=4),
    st.sampled_from(["instances", "labels"]),
)
def test_any_rows_are_read_or_refused(rows, member):
    read_or_refuse(json.dumps({member: rows}).encode())


@given(
    st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                "name": st.sampled_from([*KINDS]) | VALUES,
                "datatype": st.sampled_from(["FP64", "BYTES", "BOOL", "INT64"]) | VALUES,
                "shape": st.lists(st.integers(-1, 3), max_size=3) | VALUES,
                "data": st.lists(VALUES, max_size=4) | VALUES,
                "parameters": VALUES,
            },
        ),
        max_size=5,
    )
)
def test_any_tensors_are_read_or_refused(inputs):
    read_or_refuse(json.dumps({"inputs": inputs}).encode())


GOOD = json.dumps(
    {"instances": [{"number": 1.5, "whole": 2, "text": "a", "flag": True, "at": "2025-01-01", "key": "k"}] * 2}
)


@settings(max_examples=300)
@given(st.lists(st.tuples(st.integers(0, len(GOOD)), st.integers(0, 6), st.binary(max_size=6)), min_size=1, max_size=4))
def test_a_damaged_body_is_read_or_refused(cuts):
    body = GOOD.encode()
    for at, length, put in cuts:
        body = body[:at] + put + body[at + length :]
    read_or_refuse(body)


@given(VALUES, st.sampled_from(["regression", "binary", "multiclass"]))
def test_any_label_is_kept_or_refused(value, task):
    output = Output(task=task, label="y", classes=() if task == "regression" else ("0", "1"))
    try:
        kept = decode_label(output, value)
    except InvalidInput:
        return
    assert isinstance(kept, float if task == "regression" else str)
    assert decode_label(output, kept) == kept, "reading it again changes nothing"


@given(MOMENTS)
def test_a_time_survives_being_written(text):
    micros = from_text([text], LAYOUT._zone, "at")
    assert from_text(iso_texts(micros.astype("M8[us]")).tolist(), LAYOUT._zone, "at").tolist() == micros.tolist()


COLUMN = st.one_of(
    st.lists(st.floats(allow_infinity=False), min_size=5, max_size=5).map(lambda v: np.array(v, dtype=np.float64)),
    st.lists(st.integers(-5, 5), min_size=5, max_size=5).map(lambda v: np.array(v, dtype=np.float64)),
    st.lists(st.booleans(), min_size=5, max_size=5).map(np.array),
    st.lists(st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=4), min_size=5, max_size=5).map(
        lambda v: np.array(v, dtype=object)
    ),
)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)


@given(st.dictionaries(NAMES, COLUMN, min_size=1, max_size=5))
def test_data_keeps_the_contract_that_was_inferred_from_it(table):
    name = "".join(table) + "!"
    contract = infer_contract(table | {name: np.arange(5.0)}, task="regression", label=name)
    batch = Layout(contract).from_table(table)
    assert batch.rows == 5
    assert batch.flags == {}
    assert load_yaml(dump_yaml(contract)) == contract


@pytest.mark.parametrize("depth", [100, 5_000, 100_000])
def test_no_depth_breaks_the_reader(depth):
    for opening, closing in ((b"[", b"]"), (b'{"instances":', b"}"), (b'{"inputs":[{"data":', b"}]}")):
        read_or_refuse(opening * depth + b"1" + closing * depth)
        read_or_refuse(b'{"instances":[{"number":NaN,"text":' + opening * depth + closing * depth + b"}]}")
