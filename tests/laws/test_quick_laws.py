"""The quick way reads what the long way reads, and leaves everything else to it."""

import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from holdfast.columns import Layout
from holdfast.columns.payloads import decode_rows, decode_tensors
from holdfast.columns.quick import quick_rows, quick_tensors
from holdfast.core.contract import Contract, Field, Output
from holdfast.errors import InvalidInput

FIELDS = (
    Field(name="a", datatype="FP64", minimum=-1.0, maximum=1.0),
    Field(name="b", datatype="FP32", nullable=True),
    Field(name="c", datatype="FP64", maximum=100.0, on_violation="reject"),
)
LAYOUT = Layout(Contract(fields=FIELDS, output=Output(task="regression", label="y")))
FLOATS = Layout(
    Contract(
        fields=tuple(Field(name=n, datatype="FP64", minimum=0.0) for n in "abc"),
        output=Output(task="regression", label="y"),
    )
)
NULLS = Layout(
    Contract(
        fields=tuple(Field(name=n, datatype="FP64", nullable=True, minimum=0.0) for n in "abc"),
        output=Output(task="regression", label="y"),
    )
)
VALUES = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-(10**20), 10**20),
    st.sampled_from([None, True, "x", [], 10**400]),
)
ANYTHING = st.recursive(VALUES, lambda inner: st.lists(inner, max_size=3), max_leaves=4)


def same(quick, slow):
    """Both ways agree, or the quick one declined."""
    if quick is None:
        return
    batch, name = quick
    other = slow()
    assert (name, batch.flags) == (other.client_id, other.batch.flags)
    assert batch.names == other.batch.names
    np.testing.assert_array_equal(batch.numbers, other.batch.numbers)
    assert (batch.rows, batch.keys, batch.times) == (other.batch.rows, other.batch.keys, other.batch.times)


def or_refused(quick, slow):
    try:
        found = quick()
    except InvalidInput as bad:
        try:
            slow()
        except InvalidInput as other:
            assert (bad.code, bad.field, bad.row) == (other.code, other.field, other.row)  # noqa: PT017
            return
        raise AssertionError("only the quick way refuses") from None
    same(found, slow)


@given(
    rows=st.integers(0, 3),
    values=st.lists(VALUES, max_size=9),
    width=st.integers(2, 4),
    layout=st.sampled_from([LAYOUT, NULLS, FLOATS]),
)
def test_one_tensor(rows, values, width, layout):
    tensor = {"name": "input", "shape": [rows, width], "datatype": "FP64", "data": values[: rows * width]}
    body = json.dumps({"id": "x", "inputs": [tensor]}).encode()
    or_refused(lambda: quick_tensors(body, layout, 2), lambda: decode_tensors(body, layout, 2))


@given(
    data=st.lists(st.lists(ANYTHING, max_size=2), min_size=1, max_size=4),
    names=st.permutations("abc"),
    layout=st.sampled_from([LAYOUT, NULLS, FLOATS]),
)
def test_a_tensor_per_column(data, names, layout):
    tensors = [{"name": n, "shape": [1], "datatype": "FP64", "data": d} for n, d in zip(names, data, strict=False)]
    body = json.dumps({"inputs": tensors}).encode()
    or_refused(lambda: quick_tensors(body, layout, 2), lambda: decode_tensors(body, layout, 2))


@given(row=st.dictionaries(st.sampled_from("abcd"), ANYTHING), layout=st.sampled_from([LAYOUT, NULLS, FLOATS]))
def test_a_row(row, layout):
    body = json.dumps({"instances": [row]}).encode()
    or_refused(lambda: quick_rows(body, layout, 2), lambda: decode_rows(body, layout, 2))


def test_the_plain_case_takes_the_quick_way():
    row = {"a": 0.5, "b": 1.0, "c": 3}
    assert quick_rows(json.dumps({"instances": [row]}).encode(), LAYOUT, 2)
    tensor = {"name": "input", "shape": [2, 3], "datatype": "FP64", "data": [0.5, 1, 2.0, 9.0, 1.0, 3.5]}
    body = json.dumps({"inputs": [tensor]}).encode()
    assert quick_tensors(body, LAYOUT, 2) is None, "its features have two datatypes"
    batch, _ = quick_tensors(body.replace(b"9.0", b"-9.0"), FLOATS, 2)
    assert batch.flags == {"a": 1}
    assert quick_tensors(body.replace(b"0.5", b"NaN"), FLOATS, 2) is None
    columns = [{"name": n, "shape": [1, 1], "datatype": "FP64", "data": [0.1]} for n in "abc"]
    assert quick_tensors(json.dumps({"inputs": columns}).encode(), LAYOUT, 2)


WIDE = Layout(
    Contract(
        fields=tuple(
            Field(name=f"w{n}", datatype=("FP64", "FP32")[n % 2], minimum=-1.0, maximum=2.0, nullable=True)
            for n in range(80)
        ),
        output=Output(task="regression", label="y"),
    )
)


@given(
    width=st.sampled_from([LAYOUT, WIDE]),
    values=st.lists(
        st.sampled_from([0.0, -1.0, 2.0, 2.5, -7.0, np.nan, 1e300, np.inf, -np.inf]), min_size=80, max_size=80
    ),
)
def test_a_row_alone_is_flagged_or_refused_as_it_is_among_others(width, values):
    row = dict(zip(width.required, values, strict=False))

    def read(rows):
        try:
            return width.from_table({name: np.full(rows, value) for name, value in row.items()}).flags
        except InvalidInput as bad:
            return bad.code, bad.field, bad.row

    alone, together = read(1), read(3)
    assert together == ({name: 3 * n for name, n in alone.items()} if isinstance(alone, dict) else alone)
