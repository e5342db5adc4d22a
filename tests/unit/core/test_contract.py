import pytest

from holdfast.core.contract import Contract, Field, Output
from holdfast.errors import UsageError

OUT = Output(task="regression", label="price")


def test_marks_decide_what_is_logged_and_watched():
    plain = Field(name="a", datatype="FP64")
    personal = Field(name="b", datatype="BYTES", marks=("personal",))
    kept = Field(name="c", datatype="BYTES", marks=("personal",), log="hash")
    assert (plain.logged, plain.monitored) == ("keep", True)
    assert (personal.logged, personal.monitored) == ("drop", False)
    assert (kept.logged, kept.monitored) == ("hash", True)
    for mark in ("calendar", "timestamp", "key"):
        assert not Field(name="d", datatype="INT64", marks=(mark,)).monitored


def test_a_contract_names_each_column_once_and_has_one_clock():
    field = Field(name="a", datatype="FP64")
    with pytest.raises(UsageError, match="'a' stands twice"):
        Contract(fields=(field, field), output=OUT)
    times = tuple(Field(name=n, datatype="BYTES", marks=("timestamp",)) for n in "ab")
    with pytest.raises(UsageError, match="timestamp"):
        Contract(fields=times, output=OUT)


def test_features_are_what_the_model_reads():
    time = Field(name="when", datatype="BYTES", marks=("timestamp",), feature=False)
    key = Field(name="id", datatype="BYTES", marks=("key",), feature=False)
    contract = Contract(fields=(time, Field(name="a", datatype="FP64"), key), output=OUT)
    assert [f.name for f in contract.features] == ["a"]
    assert (contract.timestamp, contract.key) == (time, key)
