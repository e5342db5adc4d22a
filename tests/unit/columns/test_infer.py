import numpy as np
import pytest

from holdfast.columns import decode_table, infer_contract
from holdfast.errors import InvalidInput

DAY = np.timedelta64(1, "D")
START = np.datetime64("2019-06-01", "us")


def texts(*values):
    return np.array(values, dtype=object)


def house_sales(n=400):
    rng = np.random.default_rng(1)
    days = np.arange(n)
    return {
        "area": rng.normal(90.5, 10, n),
        "rooms": rng.integers(1, 9, n).astype(float),
        "kind": rng.choice(["flat", "house"], n).astype(object),
        "street": np.array([f"street {i}" for i in range(n)], dtype=object),
        "new": rng.random(n) < 0.3,
        "year": 2019.0 + (days > 200),
        "day_number": days.astype(float),
        "sold": START + days * DAY,
        "house": 1000.0 + days,
        "price": rng.normal(12, 1, n),
    }


def inferred(table=None, **more):
    settings = {"task": "regression", "label": "price", "timestamp": "sold", "key": "house"} | more
    return infer_contract(house_sales() if table is None else table, **settings)


def test_types_ranges_and_categories_are_read_off_the_data():
    contract = inferred()
    found = {f.name: f for f in contract.fields}
    assert {name: f.datatype for name, f in found.items()} == {
        "area": "FP64", "rooms": "INT64", "kind": "BYTES", "street": "BYTES", "new": "BOOL",
        "year": "INT64", "day_number": "INT64", "sold": "BYTES", "house": "INT64",
    }  # fmt: skip
    assert (found["rooms"].minimum, found["rooms"].maximum) == (1.0, 8.0)
    assert found["kind"].categories == ("flat", "house")
    assert found["street"].categories is None, "more than 63 values stay open"
    assert found["house"].minimum is None, "a key has no range"
    assert contract.output.label == "price"


def test_label_timestamp_and_key_are_no_features():
    contract = inferred()
    assert [f.name for f in contract.features] == ["area", "rooms", "kind", "street", "new", "year", "day_number"]
    assert contract.timestamp.name == "sold"
    assert contract.key.name == "house"


def test_what_only_grows_with_time_is_calendar():
    marks = {f.name: f.marks for f in inferred().fields}
    assert marks["year"] == marks["day_number"] == ("calendar",)
    assert marks["rooms"] == marks["area"] == ()
    assert marks["house"] == ("key",), "a key is a name, however it grows"


def test_two_values_are_calendar_only_if_they_can_be_years():
    table = house_sales()
    table["renovated"] = (np.arange(400) > 200).astype(float)
    assert {f.name: f.marks for f in inferred(table).fields}["renovated"] == ()


def test_nothing_is_calendar_without_a_timestamp():
    table = house_sales()
    del table["sold"]
    assert not any("calendar" in f.marks for f in inferred(table, timestamp=None).fields)


def test_the_order_of_rows_does_not_hide_a_calendar():
    rows = np.random.default_rng(2).permutation(400)
    table = {name: values[rows] for name, values in house_sales().items()}
    assert {f.name: f.marks for f in inferred(table).fields}["year"] == ("calendar",)


def test_missing_values_make_a_field_nullable():
    table = house_sales()
    table["area"][3] = np.nan
    table["kind"][4] = None
    found = {f.name: f.nullable for f in inferred(table).fields}
    assert found["area"]
    assert found["kind"]
    assert not found["rooms"]


def test_constants_are_told():
    table = house_sales() | {"country": texts(*["AT"] * 400), "zero": np.zeros(400)}
    found = {f.name: f.description for f in inferred(table).fields}
    assert found["country"] == found["zero"] == "constant in the reference"
    assert not found["area"]


def test_marks_and_closed_categories():
    contract = inferred(marks={"kind": ["protected"], "street": ["personal"]}, closed=["kind"])
    found = {f.name: f for f in contract.fields}
    assert found["kind"].marks == ("protected",)
    assert found["kind"].on_violation == "reject"
    assert found["street"].logged == "drop"


def test_a_marked_column_that_is_no_feature_is_in_the_contract():
    contract = inferred(features=["area"], marks={"kind": ["protected"]})
    assert [f.name for f in contract.features] == ["area"]
    assert {f.name for f in contract.fields} == {"area", "kind", "sold", "house"}


@pytest.mark.parametrize(
    ("values", "classes", "datatype"),
    [
        (np.array([0.0, 1.0, 1.0]), ("0", "1"), "INT64"),
        (np.array([False, True, True]), ("false", "true"), "BOOL"),
        (texts("no", "yes", "no"), ("no", "yes"), "BYTES"),
        (texts("10", "9", "10"), ("10", "9"), "BYTES"),
    ],
)
def test_classes_come_from_the_label(values, classes, datatype):
    output = infer_contract({"x": np.arange(3.0), "y": values}, task="binary", label="y").output
    assert output.classes == classes
    assert output.label_datatype == datatype


def test_number_classes_are_ordered_by_size():
    values = np.array([10.0, 9.0, 2.0])
    assert infer_contract({"x": values, "y": values}, task="multiclass", label="y").output.classes == ("2", "9", "10")


@pytest.mark.parametrize(
    ("change", "settings", "said"),
    [
        ({}, {"features": ["absent"]}, "no column 'absent'"),
        ({"sold": np.arange(400.0)}, {}, "no timestamps"),
        ({"sold": texts(*["soon"] * 400)}, {}, "not a time"),
        ({"when": house_sales()["sold"]}, {}, "times, which no model reads"),
        ({"mixed": texts("a", 1, *["b"] * 398)}, {}, "mixes text"),
        ({}, {"task": "binary"}, "classes"),
        ({}, {"task": "multiclass", "label": "absent"}, "classes are not known"),
    ],
)
def test_what_cannot_be_a_contract_is_said(change, settings, said):
    with pytest.raises(InvalidInput, match=said) as caught:
        inferred(house_sales() | change, **settings)
    assert caught.value.field


def test_the_reference_keeps_its_own_contract_without_a_flag():
    table = house_sales()
    batch = decode_table(inferred(table), table)
    assert batch.rows == 400
    assert batch.flags == {}


def test_many_whole_numbers_are_a_measurement_that_may_turn_to_fractions():
    """A feed that delivers square metres for square feet must reach the monitors, not be refused."""
    feet = np.arange(400.0, 500.0)
    contract = infer_contract({"area": feet, "rooms": feet % 7, "price": feet}, task="regression", label="price")
    assert {f.name: f.datatype for f in contract.fields} == {"area": "FP64", "rooms": "INT64"}
