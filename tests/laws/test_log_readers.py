"""Whoever reads the log meanwhile, and whatever the clock does: every row once."""

import tempfile
import threading
from pathlib import Path

import duckdb
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

RECIPES = {RELEASE: recipe(CONTRACT, profile())}.get


def test_readers_meanwhile_miss_nothing(tmp_path: Path):
    """Rows that stood in Parquet before a read began are in what it reads, through archiving and merging.

    A read that meets the moment of a merge may fail; then it is made again.
    """
    pattern = f"{tmp_path}/town/parquet/*/*.parquet"
    there: set[str] = set()
    over, errors, reads = threading.Event(), [], []

    def read() -> set[str]:
        return {row[0] for row in duckdb.connect().execute(f"SELECT prediction_id FROM '{pattern}'").fetchall()}

    def keep_reading() -> None:
        while not over.is_set():
            before = set(there)
            for tries in range(4 if before else 0):
                try:
                    reads.append(before - read())
                    break
                except Exception as bad:  # noqa: BLE001 - told by the test
                    if tries == 3:
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
    assert sorted(ids) == sorted(there)


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
