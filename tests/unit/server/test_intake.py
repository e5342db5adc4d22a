import json
from pathlib import Path

import pytest
from tests.unit.predictions.records import CONTRACT, T0

from holdfast.core.contract import Contract, Field, Output
from holdfast.core.prediction import Label, Labelled
from holdfast.errors import InvalidInput
from holdfast.predictions.log import Writer, read, segments
from holdfast.serve.records import hashed
from holdfast.server.intake import Intake


def keyed(**policy):
    """A contract whose key the log does not have as it came."""
    who = Field(name="who", datatype="BYTES", feature=False, marks=("key", "personal"), **policy)
    return Contract(fields=(who,), output=Output(task="regression", label="price"))


def test_labels_are_logged_with_the_clock_of_their_receipt(tmp_path: Path):
    intake = Intake(lambda _: CONTRACT, lambda *_: T0, max_rows=10, hash_key=b"secret")
    body = json.dumps({"labels": [{"key": 17, "value": 2}, {"prediction_id": "0" * 26 + "-3", "value": 2.5}]}).encode()
    status, answer, frames = intake("town", body)
    assert (status, answer) == (202, {"accepted": 2})
    Writer(tmp_path, "w0", segment_bytes=1 << 20).append([frame.data for frame in frames])
    [entry] = read(segments(tmp_path)[0]).entries
    assert isinstance(entry.record, Labelled)
    assert entry.record.clock == T0
    assert entry.record.labels == [Label(value=2.0, key="17"), Label(value=2.5, prediction_id="0" * 26 + "-3")]


@pytest.mark.parametrize("label", [{"value": 2}, {"key": "a", "value": "x"}, {"prediction_id": "x", "value": 2}])
def test_what_cannot_be_a_label_is_refused_by_row(label):
    intake = Intake(lambda _: CONTRACT, lambda *_: T0, max_rows=10, hash_key=b"secret")
    with pytest.raises(InvalidInput) as refused:
        intake("town", json.dumps({"labels": [{"key": "a", "value": 1}, label]}).encode())
    assert refused.value.row == 1


def test_a_label_by_a_hashed_key_is_hashed_like_the_log(tmp_path: Path):
    intake = Intake(lambda _: keyed(log="hash"), lambda *_: T0, max_rows=10, hash_key=b"secret")
    _, _, frames = intake("town", b'{"labels": [{"key": "ann", "value": 2}]}')
    assert not any(b"ann" in frame.data for frame in frames)
    Writer(tmp_path, "w0", segment_bytes=1 << 20).append([frame.data for frame in frames])
    [entry] = read(segments(tmp_path)[0]).entries
    assert isinstance(entry.record, Labelled)
    assert [label.key for label in entry.record.labels] == hashed(["ann"], b"secret")


def test_a_label_by_a_key_that_is_not_logged_is_refused():
    intake = Intake(lambda _: keyed(), lambda *_: T0, max_rows=10, hash_key=b"secret")
    with pytest.raises(InvalidInput, match="kept out of the log") as refused:
        intake("town", b'{"labels": [{"key": "ann", "value": 2}]}')
    assert "prediction id" in refused.value.next_step
