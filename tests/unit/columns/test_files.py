from zoneinfo import ZoneInfo

import numpy as np
import pytest

from holdfast.columns import decode_table
from holdfast.columns.times import NO_TIME, from_datetimes, iso_texts, time_zone
from holdfast.core.contract import Contract, Field, Output
from holdfast.errors import InvalidInput, UsageError

FIELDS = (
    Field(name="area", datatype="FP64", minimum=10, maximum=500),
    Field(name="rooms", datatype="INT16", nullable=True),
    Field(name="kind", datatype="BYTES", nullable=True, categories=("98001", "flat")),
    Field(name="new", datatype="BOOL", nullable=True),
    Field(name="sold", datatype="BYTES", feature=False, marks=("timestamp",)),
    Field(name="house", datatype="INT64", feature=False, marks=("key",)),
)
CONTRACT = Contract(fields=FIELDS, output=Output(task="regression", label="price"))


def texts(*values):
    return np.array(values, dtype=object)


def read(**change):
    table = {
        "area": np.array([80.0, 900.0]),
        "rooms": np.array([3.0, np.nan]),
        "kind": texts("flat", None),
        "new": np.array([True, False]),
        "sold": np.array(["2025-01-01T12:00", "2025-01-02"], dtype="M8[us]"),
        "house": np.array([17.0, 18.0]),
        "price": np.array([1.0, 2.0]),
    } | change
    return decode_table(CONTRACT, {name: values for name, values in table.items() if values is not None})


def test_a_file_means_what_a_request_means():
    batch = read()
    assert batch.rows == 2
    assert batch.flags == {"area": 1}
    assert batch.table["new"].tolist() == ["true", "false"]
    assert batch.keys == ["17", "18"]
    assert batch.times.tolist() == np.array(["2025-01-01T12:00", "2025-01-02"], dtype="M8[us]").astype(int).tolist()
    assert "price" not in batch.table, "a file may hold more than the contract knows"


@pytest.mark.parametrize(
    ("column", "values", "kept"),
    [
        ("rooms", texts(None, None), [np.nan, np.nan]),
        ("rooms", np.array([1, 2], dtype=np.int32), [1.0, 2.0]),
        ("kind", np.array([98001.0, np.nan]), ["98001", None]),
        (
            "kind",
            np.array(["2025-01-01", "2025-01-02"], dtype="M8[us]"),
            ["2025-01-01T00:00:00", "2025-01-02T00:00:00"],
        ),
        ("kind", np.array([True, False]), ["true", "false"]),
        ("new", texts("true", None), ["true", None]),
        ("new", texts(True, False), ["true", "false"]),
    ],
)
def test_what_a_file_can_say_of_a_column(column, values, kept):
    found = read(**{column: values}).table[column]
    np.testing.assert_array_equal(found, np.array(kept, dtype=found.dtype))


@pytest.mark.parametrize(
    ("column", "values", "row", "said"),
    [
        ("area", None, None, "is missing"),
        ("area", np.array([1.0, np.nan]), 1, "not nullable"),
        ("area", np.array([1.0, np.inf]), 1, "does not fit"),
        ("area", texts("much", "more"), 0, "holds text"),
        ("area", np.array([True, False]), 0, "truth values"),
        ("area", texts(None, None), 0, "not nullable"),
        ("rooms", np.array([1.0, 2.5]), 1, "2.5 is not a whole number"),
        ("rooms", np.array([1.0, 40_000.0]), 1, "INT16"),
        ("kind", np.array([1.0, 2.5]), 1, "2.5 is not"),
        ("kind", texts("flat", 7), 1, "is not text"),
        ("new", np.array([1.0, 0.0]), None, "numbers"),
        ("new", texts("true", "yes"), 1, "'yes'"),
        ("sold", np.array([2025.0, 2026.0]), None, "no timestamps"),
        ("sold", texts("2025-01-01", "soon"), 1, "soon"),
        ("sold", texts("2025-01-01", 7), 1, "7"),
        ("sold", np.array(["2025-01-01", "NaT"], dtype="M8[us]"), 1, "not nullable"),
    ],
)
def test_a_wrong_column_is_refused_naming_its_first_wrong_row(column, values, row, said):
    with pytest.raises(InvalidInput, match=said) as caught:
        read(**{column: values})
    assert (caught.value.field, caught.value.row) == (column, row)


def test_optional_columns_may_be_absent():
    batch = read(sold=None, house=None)
    assert batch.times is batch.keys is None


def test_naive_times_are_read_in_the_zone():
    values = np.array(["2025-01-01T12:00", "2025-07-01T12:00", "NaT", "2025-10-26T02:30"], dtype="M8[us]")
    read_in = from_datetimes(values, ZoneInfo("Europe/Vienna"))
    wanted = np.array(["2025-01-01T11:00", "2025-07-01T10:00", "NaT", "2025-10-26T00:30"], dtype="M8[us]")
    assert read_in.tolist() == wanted.astype(np.int64).tolist()
    assert read_in[2] == NO_TIME


@pytest.mark.parametrize("name", ["Mars/Olympus", "", "../etc/passwd", "Europe"])
def test_an_unknown_zone_is_named(name):
    with pytest.raises(UsageError, match="time zone"):
        time_zone(name)


def test_iso_texts_keep_fractions_only_where_there_are_some():
    assert iso_texts(np.array(["2025-01-01", "NaT"], dtype="M8[us]")).tolist() == ["2025-01-01T00:00:00", None]
    assert iso_texts(np.array(["2025-01-01T00:00:00.5"], dtype="M8[us]")).tolist() == ["2025-01-01T00:00:00.500000"]
