"""Performance slice by slice: which columns, which rows, and what is left out."""

import numpy as np

from holdfast.build.profile import Reference, make_profile
from holdfast.build.slices import by_slice
from holdfast.core.contract import Contract, Field, Output

KINDS = np.array(["flat", "house", None] * 40, dtype=object)
AGES = np.r_[np.arange(100.0), [np.nan] * 20]


def contract(*more):
    fields = (
        Field(name="kind", datatype="BYTES", categories=("flat", "house")),
        Field(name="age", datatype="FP64", marks=("protected",), nullable=True),
        Field(name="area", datatype="FP64"),
        Field(name="id", datatype="BYTES", categories=("a", "b"), marks=("key",)),
        *more,
    )
    return Contract(fields=fields, output=Output(task="regression", label="price"))


def columns():
    ids = np.array(["a", "b"] * 60, dtype=object)
    return {"kind": KINDS, "age": AGES, "area": np.ones(120), "id": ids}


def test_few_categories_and_the_quarters_of_what_is_protected():
    known = np.ones(120, dtype=bool)
    found = by_slice(contract(), columns(), known, lambda rows: {"n": {"value": int(rows.sum())}})
    named = {(part["column"], part["value"]): part["rows"] for part in found}
    assert named == {("kind", "flat"): 40, ("kind", "house"): 40, ("kind", "missing"): 40}
    assert all(part["metrics"]["n"]["value"] == part["rows"] for part in found)
    wide = {"age": np.repeat(AGES, 2), "kind": np.repeat(KINDS, 2)}
    found = by_slice(contract(), wide, np.ones(240, dtype=bool), lambda _: {})
    assert [part["value"] for part in found[:5]] == ["0 to 24", "25 to 49", "50 to 74", "75 to 99", "missing"]
    assert [part["rows"] for part in found[:5]] == [50, 50, 50, 50, 40]


def test_small_slices_and_unlabelled_rows_are_left_out():
    known = np.arange(120) < 100
    found = by_slice(contract(), columns(), known, lambda _: {})
    assert {part["value"]: part["rows"] for part in found} == {"flat": 34, "house": 33, "missing": 33}
    many = Field(name="street", datatype="BYTES", categories=tuple("abcdefghi"))
    given = columns() | {"street": np.array(["a"] * 120, dtype=object)}
    assert not [p for p in by_slice(contract(many), given, known, lambda _: {}) if p["column"] == "street"]


def test_a_profile_has_them_with_intervals():
    rng = np.random.default_rng(0)
    labels = rng.normal(size=120)
    reference = Reference(columns(), None, labels)
    found = make_profile(contract(), reference, lambda table: np.zeros(len(table["area"])))
    assert [part["value"] for part in found.slices] == ["flat", "house", "missing"]
    for part in found.slices:
        assert part["metrics"]["rmse"]["low"] < part["metrics"]["rmse"]["value"] < part["metrics"]["rmse"]["high"]
        assert part["metrics"]["rmse"]["n"] == 40
