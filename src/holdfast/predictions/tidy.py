"""The archive kept few and young: many small Parquet files become one, and what is too old goes.

A reader lists the files and opens them later, one after the other, by name. So that it finds all that it listed, and every
row, files change like this: the merged file takes the name of the *last* of those that it replaces; then the others are
replaced by husks (the same columns, no rows), which are removed when nobody can still be reading a list with their names.
A scan in just that moment may see a row twice or stumble over a file that is another now; it never misses a row. A month's
first file stays as it is: DuckDB opens the first file that it listed twice, for the columns and for the rows.

What a merge is about to do stands in `.merging` before it is done, so that a killed one is taken up where it ended.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from holdfast.core.ports import Tables
from holdfast.predictions import log as wal
from holdfast.predictions.archive import files

__all__ = ["merge", "retain", "sweep", "tidy"]

DAY_US: Final = 86_400_000_000
FAN: Final = 8
"""So many files of about one size become one."""
SMALL: Final = 16 << 10
TIER: Final = 3
"""Sizes from `SMALL` on are alike within a factor of 2 to this power."""
LARGE: Final = 64 << 20
"""Bytes; larger files stay as they are."""
HUSK: Final = 1 << 20
"""Bytes that a file without rows does not have."""
HUSK_S: Final = 600.0
"""Seconds for which a file without rows is kept for readers that know its name."""
_ROWS: Final = "SELECT * FROM read_parquet(?, union_by_name=true, hive_partitioning=false)"
_NAME: Final = re.compile(r"(.+)-(\d{8})-([0-9a-f]+)\.parquet")
_PLAN: Final = ".merging"
_MERGED: Final = ".merged"


class _Plan(msgspec.Struct):
    """A merge under way in a month's folder."""

    sources: list[str]
    """File names; the last one is the merged file's."""
    written: bool = False
    """The merged file was written whole."""


def tidy(log: Path, tables: Tables, clocks: Mapping[str, int], *, days: int) -> None:
    """All of it for every deployment that has an archive, whether it still answers or not.

    `clocks` has the deployment clocks; whoever has none keeps its predictions by the wall clock.
    """
    for name in sorted(folder.parent.name for folder in log.glob("[!.]*/parquet")):
        merge(log, tables, name)
        retain(log, tables, name, days=days, clock=clocks.get(name) or time.time_ns() // 1000)
        sweep(log, tables, name)


def merge(log: Path, tables: Tables, deployment: str) -> int:
    """Make few files of many; returns how many lost their rows to another."""
    gone = 0
    for month in sorted((log / deployment / "parquet").glob("month=*")):
        gone += _resume(month, tables)
        for sources in _groups(log, month, tables):
            _note(month, _Plan([path.name for path in sources]))
            tables.copy(f"{_ROWS} ORDER BY prediction_id", month / _MERGED, [[str(path) for path in sources]])
            _note(month, _Plan([path.name for path in sources], written=True))
            gone += _resume(month, tables)
    return gone


def sweep(log: Path, tables: Tables, deployment: str, *, now: float | None = None) -> int:
    """Remove the husks that nobody can still be looking for, and what killed writers left; returns how many."""
    last = (time.time() if now is None else now) - HUSK_S
    old = [path for path in files(log, deployment) if path.stat().st_mtime < last]
    empty = [path for path, rows in _rows(tables, _below(HUSK, old)).items() if rows == 0]
    left = [path for path in (log / deployment).glob("parquet/month=*/.*.tmp") if path.stat().st_mtime < last]
    for path in [*empty, *left]:
        path.unlink()
        with contextlib.suppress(OSError):  # other files of that month are left
            path.parent.rmdir()
    return len(empty) + len(left)


def retain(log: Path, tables: Tables, deployment: str, *, days: int, clock: int) -> int:
    """Remove archived predictions older than `days` on the deployment clock, by whole days of event time; returns how many."""
    if days <= 0:
        return 0
    before = (clock - days * DAY_US) // DAY_US * DAY_US
    last = str(np.array(before, dtype="datetime64[us]").astype("datetime64[M]"))
    paths = [str(path) for path in files(log, deployment) if path.parent.name.removeprefix("month=") <= last]
    if not paths:
        return 0
    old = tables.query(
        """SELECT file_name FROM parquet_metadata(?) WHERE path_in_schema = 'event_time'
           GROUP BY file_name HAVING min(stats_min_value::TIMESTAMP) < make_timestamp(?)""",
        [paths, before],
    )
    gone = 0
    for name in old["file_name"].tolist():
        sql = "SELECT count(*) AS n FROM read_parquet(?) WHERE event_time < make_timestamp(?)"
        gone += int(tables.query(sql, [[name], before])["n"][0])
        tables.copy(f"{_ROWS} WHERE event_time >= make_timestamp(?)", Path(name), [[name], before])
    return gone


def _resume(month: Path, tables: Tables) -> int:
    """Take the steps of a planned merge that are left; each may be taken twice."""
    try:
        plan = msgspec.json.decode((month / _PLAN).read_bytes(), type=_Plan)
    except FileNotFoundError:
        return 0
    merged, gone = month / _MERGED, 0
    if plan.written:
        target = month / plan.sources[-1]
        given_up = [month / name for name in plan.sources[:-1] if (month / name).exists()]
        husks = [month / f"{_MERGED}.{i}" for i in range(len(given_up))]
        if husks:
            tables.copy(f"{_ROWS} LIMIT 0", husks[0], [[str(target)]])
            for husk in husks[1:]:
                husk.write_bytes(husks[0].read_bytes())
        # All is there: from here on it takes well under a millisecond, and a reader hardly sees the rows of two files twice.
        if merged.exists():
            merged.replace(target)
        for husk, path in zip(husks, given_up, strict=True):
            husk.replace(path)
        wal.sync_folder(month)
        gone = len(husks)
    merged.unlink(missing_ok=True)
    (month / _PLAN).unlink()
    return gone


def _groups(log: Path, month: Path, tables: Tables) -> Iterable[list[Path]]:
    """Files of one release and about one size, if there are many of them."""
    tiers: dict[tuple[str, int], list[Path]] = defaultdict(list)
    for path in _below(LARGE, sorted(month.glob("[!.]*.parquet"))[1:]):
        ours = _NAME.fullmatch(path.name)
        if ours is None:
            continue
        writer, number, release = ours.groups()
        if not (log / wal.WAL / writer / f"{number}.wal").exists():  # else the segment would be archived once more
            tiers[release, (path.stat().st_size // SMALL).bit_length() // TIER].append(path)
    for found in tiers.values():
        if len(found) >= FAN:
            filled = [path for path, rows in _rows(tables, found).items() if rows]
            if len(filled) >= FAN:
                yield sorted(filled)


def _below(size: int, paths: Iterable[Path]) -> list[Path]:
    return [path for path in paths if path.stat().st_size < size]


def _rows(tables: Tables, paths: Sequence[Path]) -> dict[Path, int]:
    """How many rows each file has; only the footers are read."""
    if not paths:
        return {}
    sql = "SELECT file_name, num_rows FROM parquet_file_metadata(?)"
    found = tables.query(sql, [[str(path) for path in paths]])
    return {Path(name): int(rows) for name, rows in zip(*(found[key].tolist() for key in found), strict=True)}


def _note(month: Path, plan: _Plan) -> None:
    path = month / _PLAN
    temporary = month / f"{_PLAN}.tmp"
    with temporary.open("wb") as file:
        file.write(msgspec.json.encode(plan))
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    wal.sync_folder(month)
