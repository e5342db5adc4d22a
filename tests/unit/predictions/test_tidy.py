"""Few files of many, and old rows gone, under the eyes of whoever reads meanwhile."""

import os
from pathlib import Path

import duckdb
import numpy as np
import pytest
from tests.unit.predictions.records import CONTRACT, DAY, RELEASE, T0, prediction, profile

from holdfast.backends.duckdb import DuckTables
from holdfast.predictions.archive import archive, files
from holdfast.predictions.compact import count
from holdfast.predictions.log import Writer, encode
from holdfast.predictions.tidy import FAN, HUSK_S, merge, retain, sweep, tidy
from holdfast.predictions.windows import recipe
from holdfast.testing import MemoryDatabase

TABLES = DuckTables(threads=1)
RECIPES = {RELEASE: recipe(CONTRACT, profile())}.get


def archived(log: Path, count_of_files: int, *, step: int = 1, rows: int = 1) -> list[str]:
    """So many small files; the ids in them."""
    database, ids = MemoryDatabase(), []
    writer = Writer(log, "w0", segment_bytes=1)
    for i in range(count_of_files):
        record = prediction([T0 + i * step + j for j in range(rows)], keys=[f"k{i}"] * rows)
        writer.append([encode(record)])
        ids += [f"{record.request}-{row}" for row in range(rows)]
    writer.close()
    count(database, log, RECIPES, lateness_share=0.04)
    archive(database, log, TABLES, RECIPES)
    return ids


def ids_in(paths) -> list[str]:
    return [name for path in paths for name in TABLES.read(path, ["prediction_id"])["prediction_id"].tolist()]


def test_many_small_files_become_one_and_every_name_stays_for_a_while(tmp_path: Path):
    ids = archived(tmp_path, FAN + 1)
    before = files(tmp_path, "town")
    assert merge(tmp_path, TABLES, "town") == FAN - 1
    assert files(tmp_path, "town") == before
    assert ids_in(before[1:-1]) == []
    assert ids_in(before[:1]) == ids[:1], "the first stays as it is"
    assert ids_in(before) == ids
    assert {p.name for p in before[0].parent.iterdir()} == {p.name for p in before}
    assert merge(tmp_path, TABLES, "town") == 0
    assert sweep(tmp_path, TABLES, "town", now=before[0].stat().st_mtime + HUSK_S) == 0
    newest = max(path.stat().st_mtime for path in before)
    assert sweep(tmp_path, TABLES, "town", now=newest + HUSK_S + 1) == FAN - 1
    assert files(tmp_path, "town") == [before[0], before[-1]]
    assert ids_in(files(tmp_path, "town")) == ids


def test_few_files_stay(tmp_path: Path):
    archived(tmp_path, FAN)
    assert merge(tmp_path, TABLES, "town") == 0
    (files(tmp_path, "town")[0].parent / "zz.parquet").write_bytes(b"not ours")
    assert merge(tmp_path, TABLES, "town") == 0


def test_a_file_whose_segment_stands_is_not_merged(tmp_path: Path):
    """The archive was killed between the file and the segment's end: it will write that file once more."""
    archived(tmp_path, FAN + 1)
    second = files(tmp_path, "town")[1]
    writer, number, _ = second.stem.rsplit("-", 2)
    segment = tmp_path / ".wal" / writer / f"{number}.wal"
    segment.parent.mkdir(parents=True)
    segment.touch()
    assert merge(tmp_path, TABLES, "town") == 0


def test_what_is_merged_reads_the_same(tmp_path: Path):
    archived(tmp_path, FAN + 1, rows=3)
    glob = f"{tmp_path}/town/parquet/*/*.parquet"
    sql = f"SELECT * FROM '{glob}' ORDER BY prediction_id"
    before = duckdb.sql(sql).fetchall()
    described = duckdb.sql(f"DESCRIBE {sql}").fetchall()
    merge(tmp_path, TABLES, "town")
    assert duckdb.sql(sql).fetchall() == before
    assert duckdb.sql(f"DESCRIBE {sql}").fetchall() == described


def test_a_scan_under_way_misses_nothing(tmp_path: Path):
    """Whatever file the merge meets it at: names before are old or husks, and the merged one is the last."""
    ids = archived(tmp_path, FAN + 1)
    listed = files(tmp_path, "town")
    for at in range(FAN + 2):
        with_merge = tmp_path / f"copy{at}"
        for path in listed:
            copy = with_merge / path.relative_to(tmp_path)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
        there = files(with_merge, "town")
        seen = ids_in(there[:at])
        merge(with_merge, TABLES, "town")
        seen += ids_in(there[at:])
        assert set(seen) == set(ids)


def test_retention_is_by_whole_days_of_event_time(tmp_path: Path):
    archived(tmp_path, 5, step=20 * DAY)
    assert retain(tmp_path, TABLES, "town", days=0, clock=T0 + 69 * DAY) == 0
    assert retain(tmp_path, TABLES, "town", days=40, clock=T0 + 70 * DAY + 5) == 2
    assert retain(tmp_path, TABLES, "town", days=40, clock=T0 + 71 * DAY - 1) == 0
    left = [t for p in files(tmp_path, "town") for t in TABLES.read(p)["event_time"].astype(np.int64).tolist()]
    assert sorted(left) == [T0 + day * DAY for day in (40, 60, 80)]
    assert len(files(tmp_path, "town")) == 5, "the names stay for a while"


def test_retention_cuts_inside_a_file(tmp_path: Path):
    archived(tmp_path, FAN + 1, step=DAY)
    merge(tmp_path, TABLES, "town")
    assert retain(tmp_path, TABLES, "town", days=2, clock=T0 + 5 * DAY) == 3
    assert len(ids_in(files(tmp_path, "town"))) == FAN + 1 - 3


def test_all_of_it_also_for_names_that_answer_no_more(tmp_path: Path):
    archived(tmp_path, FAN)
    for path in files(tmp_path, "town"):
        os.utime(path, (0, 0))
    left = files(tmp_path, "town")[0].with_name(".w0-x.parquet.1.tmp")
    left.write_bytes(b"half")
    os.utime(left, (0, 0))
    tidy(tmp_path, TABLES, {}, days=30)
    assert ids_in(files(tmp_path, "town")) == []
    assert not left.exists()
    for path in files(tmp_path, "town"):
        os.utime(path, (0, 0))
    tidy(tmp_path, TABLES, {"town": T0}, days=30)
    assert files(tmp_path, "town") == []


@pytest.mark.parametrize("moment", range(12))
def test_a_merge_that_failed_anywhere_is_taken_up(tmp_path: Path, moment: int):
    ids = archived(tmp_path, FAN + 1)
    left = moment

    class Dying(DuckTables):
        def copy(self, sql, path, parameters=()):
            nonlocal left
            left -= 1
            if left == 0:
                raise OSError
            super().copy(sql, path, parameters)

    try:
        merge(tmp_path, Dying(threads=1), "town")
    except OSError:
        assert set(ids_in(files(tmp_path, "town"))) == set(ids)
    merge(tmp_path, TABLES, "town")
    assert ids_in(files(tmp_path, "town")) == ids
    assert not [path for path in files(tmp_path, "town")[0].parent.iterdir() if path.name.startswith(".")]
