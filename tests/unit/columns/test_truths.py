import msgspec
import numpy as np
import pytest

from holdfast.columns import decode_label, decode_labels
from holdfast.core.contract import Contract, Field, Output
from holdfast.core.prediction import Label
from holdfast.errors import InvalidInput, MalformedRequest

NUMBER = Output(task="regression", label="price")
CONTRACT = Contract(fields=(Field(name="a", datatype="FP64"),), output=NUMBER, timezone="Europe/Vienna")


def classes(*names, task="binary"):
    return Output(task=task, label="y", classes=names)


@pytest.mark.parametrize(
    ("output", "value", "kept"),
    [
        (NUMBER, 3, 3.0),
        (NUMBER, np.float64(2.5), 2.5),
        (classes("0", "1"), 1, "1"),
        (classes("0", "1"), 1.0, "1"),
        (classes("0", "1"), True, "1"),
        (classes("0", "1"), "1", "1"),
        (classes("0", "1"), np.int64(0), "0"),
        (classes("false", "true"), True, "true"),
        (classes("false", "true"), np.bool_(False), "false"),
        (classes("false", "true"), 1, "true"),
        (classes("no", "yes"), "yes", "yes"),
        (classes("a", "b", "c", task="multiclass"), "new", "new"),
    ],
)
def test_a_class_has_one_name_however_its_truth_is_written(output, value, kept):
    assert decode_label(output, value) == kept


@pytest.mark.parametrize(
    ("output", "value"),
    [
        (NUMBER, "3"),
        (NUMBER, True),
        (NUMBER, float("nan")),
        (NUMBER, 10**400),
        (NUMBER, None),
        (classes("no", "yes"), "maybe"),
        (classes("no", "yes"), None),
        (classes("no", "yes"), []),
        (classes("no", "yes"), float("nan")),
        (classes("a", "b", "c", task="multiclass"), {}),
    ],
)
def test_what_cannot_be_a_label(output, value):
    with pytest.raises(InvalidInput) as caught:
        decode_label(output, value)
    assert caught.value.field == output.label


def send(*labels):
    return decode_labels(msgspec.json.encode({"labels": labels}), CONTRACT, 10)


def test_labels_by_prediction_id_and_by_key():
    found = send(
        {"prediction_id": "X-0", "value": 2},
        {"key": 17, "value": 2.5, "observed_at": "1970-01-01T01:00:01"},
    )
    assert found == [Label(value=2.0, prediction_id="X-0"), Label(value=2.5, key="17", observed_at=1_000_000)]


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({}, None),
        (17, None),
        ({"prediction_id": "X-0"}, None),
        ({"prediction_id": "X-0", "value": 1, "more": 2}, None),
        ({"prediction_id": 17, "value": 1}, "prediction_id"),
        ({"key": [], "value": 1}, "key"),
        ({"key": "a", "value": "much"}, "price"),
        ({"key": "a", "value": 1, "observed_at": "soon"}, "observed_at"),
        ({"key": "a", "value": 1, "observed_at": 17}, "observed_at"),
    ],
)
def test_a_wrong_label_names_its_row(wrong, field):
    with pytest.raises(InvalidInput) as caught:
        send({"key": "a", "value": 1}, wrong)
    assert (caught.value.row, caught.value.field, caught.value.status) == (1, field, 422)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"labels":[]}', b'{"labels":{}}', b'{"labels":[%s1]}' % (b"1," * 10)]
)
def test_labels_of_the_wrong_make(body):
    with pytest.raises(MalformedRequest):
        decode_labels(body, CONTRACT, 10)
