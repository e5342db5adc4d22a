"""Whoever reads the log meanwhile, and whatever the clock does: every row once."""

import tempfile
import threading
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.predictions.records import CONTRACT, DAY, RELEASE, T0, prediction, profile

from holdfast.backends.duckdb import DuckTables
from holdfast.core.names import RequestIds
from holdfast.predictions import tidy
from holdfast.predictions.archive import archive, files
from holdfast.predictions.compact import count
from holdfast.predictions.find import Finder
from holdfast.predictions.log import Writer, encode
from holdfast.predictions.windows import recipe
from holdfast.testing import MemoryDatabase

TRIES = 50
"""Here files are merged all the time, and a busy machine may let a reader meet that moment many times in a row."""
RECIPES = {RELEASE: recipe(CONTRACT, profile())}.get


def by_duckdb(folder: Path) -> list[str]:
    found = duckdb.connect().execute(f"SELECT prediction_id FROM '{folder}/*/*.parquet'").fetchall()
    return [row[0] for row in found]


def by_pandas(folder: Path) -> list[str]:
    return pd.read_parquet(folder, columns=["prediction_id"])["prediction_id"].tolist()


def by_polars(folder: Path) -> list[str]:
    scan = pl.scan_parquet(f"{folder}/*/*.parquet", missing_columns="insert", extra_columns="ignore")
    return scan.select("prediction_id").collect()["prediction_id"].to_list()


@pytest.mark.parametrize("read", [by_duckdb, by_pandas, by_polars])
def test_readers_meanwhile_miss_nothing(tmp_path: Path, read):
    """Rows that stood in Parquet before a read began are in what it reads, through archiving and merging.

    A read that meets the moment of a merge may fail; then it is made again.
    """
    folder = tmp_path / "town" / "parquet"
    there: set[str] = set()
    over, errors, reads = threading.Event(), [], []

    def keep_reading() -> None:
        while not over.is_set():
            before = set(there)
            for tries in range(TRIES if before else 0):
                try:
                    reads.append(before - set(read(folder)))
                    break
                except BaseException as bad:  # noqa: BLE001 - told by the test; Polars panics with one of these
                    if tries == TRIES - 1:
                        errors.append(bad)

    reader = threading.Thread(target=keep_reading)
    reader.start()
    database, tables = MemoryDatabase(), DuckTables(threads=1)
    for number in range(4 * tidy.FAN):
        record = prediction([T0 + number, T0 + number + 1])
        writer = Writer(tmp_path, f"w{number:03d}", segment_bytes=1 << 20)
        writer.append([encode(record)])
        writer.close()
        count(database, tmp_path, RECIPES, lateness_share=0.04)
        archive(database, tmp_path, tables, RECIPES)
        there |= {f"{record.request}-{row}" for row in range(2)}
        tidy.merge(tmp_path, tables, "town")
    over.set()
    reader.join()
    assert errors == []
    assert [missed for missed in reads if missed] == []
    assert len(reads) > 3
    ids = [
        i for path in files(tmp_path, "town") for i in tables.read(path, ["prediction_id"])["prediction_id"].tolist()
    ]
    assert sorted(ids) == sorted(there) == sorted(read(folder))


def test_duckdb_pandas_and_polars_read_the_same(tmp_path: Path):
    """Every column of files of two releases, one of which has a column more, as they are and merged."""
    database, tables = MemoryDatabase(), DuckTables(threads=1)
    for number in range(tidy.FAN + 2):
        more = {"kind": ["flat", None]} if number % 2 else {}
        record = prediction([T0 + number, T0 + number + 1], columns=more, keys=[None, f"k{number}"])
        writer = Writer(tmp_path, f"w{number:03d}", segment_bytes=1 << 20)
        writer.append([encode(record)])
        writer.close()
    count(database, tmp_path, RECIPES, lateness_share=0.04)
    archive(database, tmp_path, tables, RECIPES)
    folder = tmp_path / "town" / "parquet"
    for _ in range(2):
        sql = f"SELECT * FROM read_parquet('{folder}/*/*.parquet', union_by_name=true, hive_partitioning=false)"
        expected = duckdb.sql(f"{sql} ORDER BY prediction_id").fetchall()
        names = [column[0] for column in duckdb.sql(f"DESCRIBE {sql}").fetchall()]
        assert [row[0] for row in expected] == sorted(by_pandas(folder)) == sorted(by_polars(folder))
        for path in sorted(folder.glob("*/*.parquet")):
            frame, table = pd.read_parquet(path), pl.read_parquet(path)
            assert list(frame.columns) == table.columns
            there = [row for row in expected if row[0] in set(frame["prediction_id"])]
            for name in frame.columns:
                values = [row[names.index(name)] for row in there]
                assert table.sort("prediction_id")[name].to_list() == values, name
                seen = frame.sort_values("prediction_id")[name].astype(object)
                assert seen.where(seen.notna(), None).tolist() == values, name
        assert tidy.merge(tmp_path, tables, "town") or _


@given(st.lists(st.integers(-3 * DAY, 3 * DAY), min_size=1, max_size=25), st.data())
@settings(max_examples=12, deadline=None)
def test_a_clock_that_steps_anywhere_loses_and_doubles_nothing(steps, data):
    """Ids stay unique and ascend, every row is counted once, archived once, and found by its id."""
    with tempfile.TemporaryDirectory() as name:
        log, database, tables = Path(name), MemoryDatabase(), DuckTables(threads=1)
        ids, wall, names = RequestIds(lambda n: b"\x07" * n), T0 + 100 * DAY, []
        writer = Writer(log, "w0", segment_bytes=700)
        for step in steps:
            wall += step
            record = prediction([wall], clock=wall, received=wall, request=ids.new(wall // 1000))
            writer.append([encode(record)])
            names.append(record.request)
            if data.draw(st.booleans()):
                count(database, log, RECIPES, lateness_share=0.04)
                archive(database, log, tables, RECIPES)
        writer.close()
        count(database, log, RECIPES, lateness_share=0.04)
        archive(database, log, tables, RECIPES)
        tidy.tidy(log, tables, {}, days=0)
        assert names == sorted(set(names))
        with database.begin() as stores:
            assert sum(w.rows for w in stores.windows.read("town", RELEASE, "windows")) == len(names)
        finder = Finder(log, tables, RECIPES)
        for request in names[:3] + names[-3:]:
            assert [one.row.id for one in finder.by_id(f"{request}-0")] == [f"{request}-0"]
        assert sum(tables.count(path) for path in files(log, "town")) == len(names)
