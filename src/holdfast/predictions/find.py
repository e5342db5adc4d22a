"""Which predictions were these? By id, by key, or the newest, from all that was ever logged, without a server or an index.

The archive is asked for few columns of all files first, then for the rest of the rows that were found: ids ascend with time,
so that DuckDB passes over nearly all of it by the files' own statistics. In the log's tail the bytes are searched, and only
records that contain what is wanted are decoded.
"""

from __future__ import annotations

import heapq
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from holdfast.core.ports import Tables
from holdfast.core.prediction import Prediction
from holdfast.predictions import log as wal
from holdfast.predictions.archive import files
from holdfast.predictions.rows import Row, of_record, of_table
from holdfast.predictions.windows import Recipe

__all__ = ["Finder", "Found"]

_ONE: Final = re.compile(r"([0-9A-Z]{26})(-\d+)?")
"""A prediction id, or a request id."""
_EVER: Final = -(2**63)


class Found(msgspec.Struct, frozen=True):
    """A prediction and who gave it."""

    deployment: str
    row: Row


class Finder:
    """Looks through the whole log.

    Args:
        log: the workspace's log folder.
        tables: reads Parquet.
        recipes: by release digest; names fields and classes.
        deployments: where to look; None: everywhere.
        limit: so many at most, the newest.
    """

    def __init__(
        self,
        log: Path,
        tables: Tables,
        recipes: Callable[[str], Recipe | None],
        *,
        deployments: Sequence[str] | None = None,
        limit: int = 100,
    ) -> None:
        self._log = log
        self._tables = tables
        self._recipes = recipes
        here = sorted(folder.parent.name for folder in log.glob("[!.]*/parquet"))
        self._archived = here if deployments is None else list(deployments)
        self._wanted = None if deployments is None else set(deployments)
        self._limit = limit

    def by_id(self, name: str) -> list[Found]:
        """A prediction id, a request id (all its rows), or an id that a client gave (it may have given it again)."""
        ours = _ONE.fullmatch(name)
        found: list[Found] = []
        if ours is not None:
            request, row = ours.groups()
            column, text = ("prediction_id", name) if row else ("request", request)
            found = self._find(
                f"{column} = ?", [text], request, lambda r: r.id == name or (not row and r.id.startswith(f"{name}-"))
            )
        return found or self._find("client_id = ?", [name], name, lambda r: r.client_id == name)

    def by_key(self, keys: Sequence[str]) -> list[Found]:
        """All of a key; it may be logged in several forms, as a hash where the contract says so."""
        found: dict[str, Found] = {}
        for key in dict.fromkeys(keys):
            found |= {one.row.id: one for one in self._find("key = ?", [key], key, lambda r, key=key: r.key == key)}  # type: ignore[misc]
        return self._newest(list(found.values()))

    def since(self, at: int) -> list[Found]:
        """The newest by event time, from `at` on."""
        return self._find("event_time >= make_timestamp(?)", [at], "", lambda r: r.event_time >= at, at)

    def _find(
        self, where: str, values: list[Any], needle: str, wanted: Callable[[Row], bool], since: int = _EVER
    ) -> list[Found]:
        found = {one.row.id: one for one in self._in_archive(where, values)}
        for one in self._in_tail(needle.encode(), since):
            if wanted(one.row):
                found[one.row.id] = one
        return self._newest(list(found.values()))

    def _newest(self, found: list[Found]) -> list[Found]:
        return sorted(found, key=lambda one: (one.row.event_time, one.row.id), reverse=True)[: self._limit]

    def _in_archive(self, where: str, values: list[Any]) -> Iterator[Found]:
        paths = [str(path) for name in self._archived for path in files(self._log, name)]
        if not paths:
            return
        source = "read_parquet(?, filename='holdfast_file', hive_partitioning=false)"
        order = "ORDER BY event_time DESC, prediction_id DESC LIMIT ?"
        sql = f"SELECT holdfast_file, prediction_id FROM {source} WHERE {where} {order}"  # noqa: S608 - our own words
        places = self._tables.query(sql, [paths, *values, self._limit])
        by_file: dict[str, list[str]] = defaultdict(list)
        for path, name in zip(places["holdfast_file"].tolist(), places["prediction_id"].tolist(), strict=True):
            by_file[path].append(name)
        for path, names in by_file.items():
            marks = ", ".join("?" * len(names))  # constants: DuckDB compares their range with the file's statistics
            sql = f"SELECT * FROM read_parquet(?, hive_partitioning=false) WHERE prediction_id IN ({marks})"  # noqa: S608
            deployment = Path(path).parents[2].name
            for row in of_table(self._tables.query(sql, [path, *names]), self._recipes):
                yield Found(deployment, row)

    def _in_tail(self, needle: bytes, since: int) -> Iterator[Found]:
        """Rows of records that contain these bytes, the newest records only, as far as the limit can reach."""
        records = (record for segment in wal.segments(self._log) for record in wal.search(segment, needle))
        ours = (
            record
            for record in records
            if isinstance(record, Prediction)
            and (self._wanted is None or record.deployment in self._wanted)
            and _newest_time(record) >= since
        )
        for record in heapq.nlargest(self._limit, ours, key=_newest_time):
            what = self._recipes(record.release)
            for row in of_record(record, what.contract.output.classes if what else ()):
                yield Found(record.deployment, row)


def _newest_time(record: Prediction) -> int:
    return max(record.times) if record.times else record.clock
