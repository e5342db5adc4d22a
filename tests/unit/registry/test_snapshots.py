"""Exact data, and names where the user gave none."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from holdfast.errors import UsageError
from holdfast.registry import default_name, snapshot_of_file, snapshot_of_table


def table(**changes):
    plain = {"a": np.array([1.0, np.nan]), "b": np.array(["x", None], dtype=object), "c": np.array([True, False])}
    return plain | changes


def test_a_table_has_one_digest():
    assert snapshot_of_table(table()) == snapshot_of_table(table())
    assert snapshot_of_table(table()).rows == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"a": np.array([1.0, 2.0])},
        {"a": np.array([1.0, np.nan], dtype=np.float32)},
        {"b": np.array(["x", ""], dtype=object)},
        {"b": np.array(["x", "None"], dtype=object)},
        {"b": np.array(["x\0", None], dtype=object)},
        {"c": np.array([True, True])},
        {"d": np.array([1.0, 2.0])},
    ],
)
def test_any_other_table_has_another(changes):
    assert snapshot_of_table(table(**changes)).sha256 != snapshot_of_table(table()).sha256


def test_text_cannot_be_shifted_from_cell_to_cell():
    one = {"a": np.array(["ab", "c"], dtype=object)}
    other = {"a": np.array(["a", "bc"], dtype=object)}
    assert snapshot_of_table(one).sha256 != snapshot_of_table(other).sha256


def test_a_file_is_pinned_by_its_bytes(tmp_path):
    path = tmp_path / "sales.csv"
    path.write_text("a\n1\n")
    found = snapshot_of_file(path, 1)
    expected = hashlib.sha256(b"a\n1\n").hexdigest()
    assert found.to_dict() == {"file": "sales.csv", "rows": 1, "sha256": expected}
    path.write_text("a\n2\n")
    assert snapshot_of_file(path, 1).sha256 != found.sha256


def test_names_come_from_the_source():
    assert default_name("models:/prices@champion") == "prices"
    assert default_name("models:/prices/3") == "prices"
    assert default_name("runs:/abc/prices") == "prices"
    assert default_name(Path("models/prices.v2.onnx")) == "prices"
    assert default_name({}) == "dict"
    with pytest.raises(UsageError):
        default_name("my model.onnx")
