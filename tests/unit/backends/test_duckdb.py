from pathlib import Path

import numpy as np
import pytest

from holdfast.backends.duckdb import DuckTables
from holdfast.errors import InvalidInput, NotFound

TABLE = {
    "number": np.array([1.5, np.nan, 3.0]),
    "text": np.array(["a", None, "c'\"\x00d"], dtype=object),
    "when": np.array(["2020-01-01T00:00:00.000001", "NaT", "2021-05-05"], dtype="datetime64[us]"),
    "yes": np.array([True, False, True]),
    "none": np.array([None, None, None], dtype=object),
}


def same(one, other):
    assert list(one) == list(other)
    for name in one:
        assert one[name].dtype == other[name].dtype, name
        np.testing.assert_array_equal(one[name], other[name])


def test_what_is_written_is_read(tmp_path: Path):
    tables, path = DuckTables(), tmp_path / "some folder's" / "x.parquet"
    tables.write(path, TABLE)
    same(tables.read(path), TABLE)
    same(tables.read(path, ["text", "number"]), {name: TABLE[name] for name in ("text", "number")})
    assert tables.count(path) == 3
    assert [p.name for p in path.parent.iterdir()] == ["x.parquet"]


def test_batches_are_the_file_in_order(tmp_path: Path):
    tables, path = DuckTables(), tmp_path / "x.parquet"
    tables.write(path, {"n": np.arange(1000.0), "s": np.array([f"k{i}" for i in range(1000)], dtype=object)})
    (tmp_path / "x.csv").write_text("n,s\n" + "".join(f"{i},k{i}\n" for i in range(1000)))
    for name in ("x.parquet", "x.csv"):
        parts = list(tables.batches(tmp_path / name, 300))
        assert [len(p["n"]) for p in parts] == [300, 300, 300, 100]
        assert list(parts[0]) == ["n", "s"]
        np.testing.assert_array_equal(np.concatenate([p["n"] for p in parts]), np.arange(1000.0))


def test_csv_types(tmp_path: Path):
    path = tmp_path / "x.csv"
    path.write_text(
        "i,f,s,d,t,b,bn,long\n"
        "1,1.5,007,2020-01-01,2020-01-01 10:00:00,true,true,9007199254740993\n"
        "2,,x y,2020-01-02,2020-01-01 10:00:00.5,false,,1\n"
    )
    table = DuckTables().read(path)
    assert {name: v.dtype.str for name, v in table.items()} == {
        "i": "<f8", "f": "<f8", "s": "|O", "d": "<M8[us]", "t": "<M8[us]", "b": "|b1", "bn": "|O", "long": "|O",
    }  # fmt: skip
    assert np.isnan(table["f"][1])
    assert table["s"].tolist() == ["007", "x y"]
    assert table["bn"].tolist() == ["true", None]
    assert table["long"].tolist() == ["9007199254740993", "1"]


def test_query_looks_into_many_files(tmp_path: Path):
    tables = DuckTables()
    for i in range(3):
        tables.write(tmp_path / f"month={i}" / "x.parquet", {"n": np.array([float(i)])})
    found = tables.query(
        "SELECT n FROM read_parquet(?) WHERE n IN (SELECT unnest(?)) ORDER BY n", [f"{tmp_path}/*/*.parquet", [0, 2]]
    )
    assert found["n"].tolist() == [0.0, 2.0]


def test_clear_errors(tmp_path: Path):
    tables = DuckTables()
    with pytest.raises(NotFound):
        tables.read(tmp_path / "none.csv")
    (tmp_path / "x.txt").write_text("x")
    with pytest.raises(InvalidInput, match="neither"):
        tables.read(tmp_path / "x.txt")
    (tmp_path / "bad.parquet").write_text("not parquet")
    with pytest.raises(InvalidInput, match="cannot be read"):
        tables.read(tmp_path / "bad.parquet")
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InvalidInput, match="no column 'c'"):
        tables.read(tmp_path / "x.csv", ["c"])


def test_memory_is_given_back_under_a_running_query(tmp_path: Path):
    tables, path = DuckTables(threads=1), tmp_path / "a.parquet"
    tables.write(path, {"x": np.arange(10.0)})
    parts = tables.batches(path, 5)
    assert next(parts)["x"].tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]
    tables.close()
    tables.close()
    assert next(parts)["x"].tolist() == [5.0, 6.0, 7.0, 8.0, 9.0]
    assert tables.count(path) == 10
