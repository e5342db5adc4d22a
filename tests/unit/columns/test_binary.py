import numpy as np
import pytest

from holdfast.columns import Layout
from holdfast.columns.binary import DTYPES, pack, unpack
from holdfast.core.contract import Contract, Field, Output
from holdfast.errors import InvalidInput, MalformedRequest

CONTRACT = Contract(
    fields=(
        Field(name="area", datatype="FP64", nullable=True, minimum=10.0, maximum=100.0),
        Field(name="rooms", datatype="INT64"),
        Field(name="kind", datatype="BYTES", categories=("flat", "house")),
        Field(name="lift", datatype="BOOL"),
        Field(name="at", datatype="BYTES", feature=False, marks=("timestamp",), nullable=True),
        Field(name="house", datatype="INT64", feature=False, marks=("key",)),
    ),
    output=Output(task="regression", label="price"),
)


def columns(**changed):
    return {
        "area": np.array([50.0, np.nan], np.float32),
        "rooms": np.array([3, 4], np.uint8),
        "kind": np.array(["flat", "castle"], object),
        "lift": np.array([True, False]),
    } | changed


class TestUnpack:
    @pytest.mark.parametrize("datatype", sorted(set(DTYPES) - {"BYTES", "BOOL"}))
    def test_numbers_come_back(self, datatype):
        values = np.array([[0, 1, 2], [3, 4, 100]], DTYPES[datatype])
        found = unpack("x", datatype, [2, 3], pack(datatype, values))
        assert found.dtype == DTYPES[datatype]
        np.testing.assert_array_equal(found, values)

    def test_texts_and_truth_values_come_back(self):
        texts = ["", "Zürich", "a\x00b"]
        assert unpack("x", "BYTES", [3, 1], pack("BYTES", texts)).ravel().tolist() == texts
        assert unpack("x", "BOOL", [2], memoryview(b"\x01\x00")).tolist() == [True, False]

    def test_texts_are_written_as_the_standard_says(self):
        assert pack("BYTES", ["ab"]) == b"\x02\x00\x00\x00ab"

    @pytest.mark.parametrize(
        ("datatype", "shape", "raw", "said"),
        [
            ("FP64", [1], b"1234567", "8 bytes, 7 are given"),
            ("FP64", [1 << 31], b"", "shape"),
            ("FP64", [1 << 30, 1 << 30, 1 << 30], b"", "are given"),
            ("FP64", [-1], b"", "shape"),
            ("FP64", [], b"12345678", "shape"),
            ("FP64", [1] * 9, b"12345678", "shape"),
            ("BF16", [1], b"12", "datatype"),
            ("BOOL", [2], b"\x01\x02", "byte 1 is neither"),
            ("BYTES", [1], b"\xff\xff\xff\xff", "text 0 is cut off"),
            ("BYTES", [1], b"\x01\x00", "text 0 is cut off"),
            ("BYTES", [1], b"\x01\x00\x00\x00\xff", "text 0 is not UTF-8"),
            ("BYTES", [2], b"\x01\x00\x00\x00a", "1 are given"),
            ("BYTES", [1], b"\x01\x00\x00\x00ab", "more bytes follow"),
            ("BYTES", [1 << 30], b"", "0 are given"),
        ],
    )
    def test_what_does_not_fit_is_refused_by_name(self, datatype, shape, raw, said):
        with pytest.raises(MalformedRequest, match=said) as bad:
            unpack("col", datatype, shape, raw)
        assert bad.value.where == "inputs, 'col'"


class TestFromArrays:
    def test_typed_columns_are_read_as_json_would_be(self):
        stamps = np.array(["2026-03-01T12:00:00Z", "2026-03-01T13:00:00Z"], object)
        found = Layout(CONTRACT).from_arrays(columns(at=stamps, house=np.array([7, 8])), 2)
        told = Layout(CONTRACT).from_values(
            {
                "area": [50.0, None],
                "rooms": [3, 4],
                "kind": ["flat", "castle"],
                "lift": [True, False],
                "at": stamps.tolist(),
                "house": [7, 8],
            },
            2,
        )
        for name, values in told.table.items():
            assert found.table[name].dtype == values.dtype
            np.testing.assert_array_equal(found.table[name], values)
        np.testing.assert_array_equal(found.times, told.times)
        assert (found.rows, found.keys, found.flags) == (2, ["7", "8"], {"kind": 1}) == (2, told.keys, told.flags)

    @pytest.mark.parametrize(
        ("changed", "field", "row", "said"),
        [
            ({"area": np.array([True, False])}, "area", None, "truth values"),
            ({"area": np.array(["1", "2"], object)}, "area", None, "texts"),
            ({"area": np.array([50.0, np.inf])}, "area", 1, "does not fit"),
            ({"rooms": np.array([3.0, 4.5])}, "rooms", 1, "4.5 is not a whole number"),
            ({"rooms": np.array([np.nan, 4.0])}, "rooms", 0, "missing"),
            ({"rooms": np.array([2**63, 4], np.uint64)}, "rooms", 0, "does not fit"),
            ({"lift": np.array([1, 0])}, "lift", 0, "whole numbers"),
            ({"kind": np.array([1.0, 0.0])}, "kind", 0, "fractions"),
            ({"house": np.array([1.0, 0.0])}, "house", 0, "fractions"),
            ({"at": np.array([1, 0])}, "at", 0, "whole numbers"),
            ({"at": np.array(["now", "then"], object)}, "at", 0, "not a time"),
            ({"more": np.array([1, 0])}, "more", None, "unknown column"),
        ],
    )
    def test_a_wrong_type_is_refused_by_row_and_field(self, changed, field, row, said):
        with pytest.raises(InvalidInput, match=said) as bad:
            Layout(CONTRACT).from_arrays(columns(**changed), 2)
        assert (bad.value.field, bad.value.row) == (field, row)

    def test_whole_floats_are_whole_numbers(self):
        assert Layout(CONTRACT).from_arrays(columns(rooms=np.array([3.0, 4.0])), 2).table["rooms"].tolist() == [3, 4]


class TestFromMatrix:
    FIELDS = tuple(Field(name=name, datatype="FP32", nullable=name == "b", maximum=9.0) for name in "abc")

    def layout(self, *more):
        return Layout(Contract(fields=self.FIELDS + more, output=Output(task="regression", label="y")))

    @pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int8, np.uint64])
    def test_its_columns_are_the_features(self, dtype):
        found = self.layout().from_matrix(np.array([[1, 2, 3], [4, 5, 60]], dtype))
        assert {name: values.tolist() for name, values in found.table.items()} == {
            "a": [1, 4],
            "b": [2, 5],
            "c": [3, 60],
        }
        assert (found.rows, found.flags) == (2, {"c": 1})

    def test_nan_is_missing(self):
        assert np.isnan(self.layout().from_matrix(np.array([[1, np.nan, 3]])).table["b"][0])
        with pytest.raises(InvalidInput, match="row 1, field 'c'"):
            self.layout().from_matrix(np.array([[1, np.nan, 3], [1, 1, np.nan]]))

    def test_other_contracts_are_read_column_by_column(self):
        whole = tuple(Field(name=name, datatype="INT32") for name in "ab")
        layout = Layout(Contract(fields=whole, output=Output(task="regression", label="y")))
        assert layout.from_matrix(np.ones((2, 2))).table["b"].tolist() == [1, 1]
        with pytest.raises(InvalidInput, match=r"1\.5 is not a whole number"):
            layout.from_matrix(np.full((2, 2), 1.5))
        with pytest.raises(InvalidInput, match="texts"):
            self.layout().from_matrix(np.full((2, 3), "a", object))

    def test_it_has_all_features_and_those_are_of_one_datatype(self):
        for layout, width in ((self.layout(), 2), (self.layout(Field(name="n", datatype="INT32")), 4)):
            with pytest.raises(MalformedRequest, match="features"):
                layout.from_matrix(np.ones((2, width)))
