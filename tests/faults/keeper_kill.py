"""Kill a keeper's pass at every change that it makes to any file; after each, the next pass must make all well.

    python -m tests.faults.keeper_kill FOLDER [--every N] [--from N]

A pass counts the log, archives it and merges what it archived. After the kill nothing may be missing; after the next pass
the window counts equal those of a pass that nobody killed, bit for bit, every row stands in Parquet once, and no segment is
left. Prints how many moments there are and how many were tried.
"""

import argparse
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from tests.faults import ptrace
from tests.unit.predictions.records import CONTRACT, DAY, RELEASE, T0, prediction, profile

from holdfast.backends.duckdb import DuckTables
from holdfast.backends.sql.database import SqlDatabase
from holdfast.core.prediction import Prediction
from holdfast.core.window import Window
from holdfast.predictions.archive import archive, files
from holdfast.predictions.compact import count
from holdfast.predictions.log import Writer, encode, read, segments
from holdfast.predictions.tidy import FAN, tidy
from holdfast.predictions.windows import recipe

RECIPES = {RELEASE: recipe(CONTRACT, profile())}.get


def main() -> None:
    asked = argparse.ArgumentParser()
    asked.add_argument("folder", type=Path)
    asked.add_argument("--every", type=int, default=1)
    asked.add_argument("--first", type=int, default=1)
    told = asked.parse_args()
    base = told.folder / "base"
    ids = write(base)
    in_child(lambda: database(base))
    whole = told.folder / "whole"
    shutil.copytree(base, whole)
    in_child(lambda: work(whole))
    in_child(lambda: check(whole, whole, ids))
    tried, moment = 0, told.first
    while True:
        for half in (False, True):
            here = told.folder / f"killed{moment}{'half' * half}"
            shutil.copytree(base, here)
            begun = ptrace.run(lambda here=here: work(here), moment, half=half)
            if begun < moment:
                sys.stdout.write(f"{tried} kills, {begun} moments\n")
                return
            in_child(lambda here=here: check_nothing_lost(here, ids))
            in_child(lambda here=here: work(here))
            in_child(lambda here=here: check(here, whole, ids))
            shutil.rmtree(here)
            tried += 1
        moment += told.every


def write(folder: Path) -> list[str]:
    """A log of small segments, one row each, and one with two months, a torn tail and a damaged frame; the ids in it."""
    ids = []
    writer = Writer(folder / "log", "w0", segment_bytes=1)
    records = [prediction([T0 + i], keys=[f"k{i}"]) for i in range(FAN)]
    records.append(prediction([T0 + 99, T0 + 40 * DAY], clock=T0 + 40 * DAY))
    for record in records:
        writer.append([encode(record)])
    frame = encode(prediction([T0 + 200]))
    writer.append([b"\xff" * 20 + frame, encode(records[0])[:-5]])
    writer.close()
    records.append(next(e.record for e in read(segments(folder / "log")[-1], complete=True).entries))
    for record in records:
        ids += [f"{record.request}-{row}" for row in range(record.rows)]
    return sorted(ids)


def in_child(step: Callable[[], object]) -> None:
    """Libraries with threads must not be alive in a process that forks."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            step()
            code = 0
        finally:
            sys.stderr.flush()
            os._exit(code)
    if os.waitpid(child, 0)[1] != 0:
        sys.exit(f"failed: {step}")


def database(folder: Path) -> SqlDatabase:
    return SqlDatabase(f"sqlite:///{folder / 'state.db'}")


def work(folder: Path) -> None:
    """One pass of a keeper."""
    state, tables, log = database(folder), DuckTables(threads=1), folder / "log"
    count(state, log, RECIPES, lateness_share=0.04)
    archive(state, log, tables, RECIPES)
    tidy(log, tables, {}, days=0)
    state.close()


def windows(folder: Path) -> list[Window]:
    state = database(folder)
    with state.begin() as stores:
        found = stores.windows.read("town", RELEASE, "windows")
    state.close()
    return found


def archived(folder: Path) -> list[str]:
    tables = DuckTables(threads=1)
    paths = files(folder / "log", "town")
    return sorted(i for path in paths for i in tables.read(path, ["prediction_id"])["prediction_id"].tolist())


def check_nothing_lost(folder: Path, ids: list[str]) -> None:
    records = [e.record for s in segments(folder / "log") for e in read(s, complete=True).entries]
    logged = [f"{r.request}-{row}" for r in records if isinstance(r, Prediction) for row in range(r.rows)]
    assert {*logged, *archived(folder)} == set(ids)


def check(folder: Path, whole: Path, ids: list[str]) -> None:
    """All is as after a pass that was not killed."""
    assert archived(folder) == ids
    assert windows(folder) == windows(whole)
    assert sum(window.rows for window in windows(folder)) == len(ids)
    assert segments(folder / "log") == []
    left = [path for path in (folder / "log" / "town").rglob(".*") if not path.name.endswith(".tmp")]
    assert left == [], left


if __name__ == "__main__":
    main()
