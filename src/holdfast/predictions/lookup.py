"""Finding predictions again: by id, by key, or the newest, in Parquet and in what is still in the write-ahead log.

An index in memory says where each request of the log's tail stands. It is made by reading the log, grows by reading what is
new, and can be given up while nobody asks: it is large where traffic is heavy. Older predictions are found by DuckDB in the
Parquet files. A row that stands in both is told once.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from holdfast.core.names import split_prediction_id
from holdfast.core.ports import Tables
from holdfast.core.prediction import Prediction
from holdfast.errors import UsageError
from holdfast.predictions import log as wal
from holdfast.predictions.archive import files
from holdfast.predictions.rows import Row, of_record, of_table
from holdfast.predictions.windows import Recipe

__all__ = ["Predictions", "Row"]

STEP: Final = 4096
"""Names looked for in one query."""
_FILES: Final = "read_parquet(?, union_by_name=true, hive_partitioning=false)"


class _Place(NamedTuple):
    path: Path
    start: int
    end: int


class Predictions:
    """The predictions of all deployments.

    Args:
        log: the workspace's log folder.
        tables: reads Parquet.
        recipes: by release digest; names the classes of an answer.
    """

    def __init__(self, log: Path, tables: Tables, recipes: Callable[[str], Recipe | None]) -> None:
        self._log = log
        self._tables = tables
        self._recipes = recipes
        self._offsets: dict[Path, int] = {}
        self._requests: dict[str, _Place] = {}
        self._keys: dict[tuple[str, str], list[str]] = defaultdict(list)
        self._inside: dict[Path, list[tuple[str, str, tuple[str, ...]]]] = defaultdict(list)
        self._files: dict[Path, int] = {}

    def close(self) -> None:
        """Close the files of the tail."""
        for path in list(self._files):
            os.close(self._files.pop(path))

    def forget(self) -> None:
        """Give up the index until the next `refresh`."""
        for path in list(self._offsets):
            self._drop(path)

    def refresh(self) -> set[str]:
        """Take in what is new in the log and let go what was archived; returns the new requests and keys."""
        here = wal.segments(self._log)
        for path in self._offsets.keys() - {segment.path for segment in here}:
            self._drop(path)
        fresh: set[str] = set()
        for segment in here:
            offset = self._offsets.get(segment.path, 0)
            while (part := wal.read(segment, offset)).end > offset:
                offset = part.end
                for entry in part.entries:
                    if isinstance(entry.record, Prediction):
                        self._index(segment.path, entry, entry.record, fresh)
            self._offsets[segment.path] = offset
        return fresh

    def by_ids(self, deployment: str, ids: Iterable[str]) -> dict[str, Row]:
        """The predictions that have these ids; an id that is unknown, or not an id at all, is absent."""
        wanted: dict[str, list[str]] = defaultdict(list)
        for name in ids:
            try:
                wanted[split_prediction_id(name)[0]].append(name)
            except UsageError:
                continue
        found: dict[str, Row] = {}
        elsewhere: list[str] = []
        for request, names in wanted.items():
            rows = self._tail(deployment, request, {split_prediction_id(name)[1] for name in names})
            if rows is None:
                elsewhere += names
            else:
                found |= rows
        return found | {row.id: row for row in self._archived(deployment, "prediction_id", elsewhere)}

    def by_keys(self, deployment: str, keys: Iterable[str]) -> dict[str, list[Row]]:
        """All predictions of these keys, in order of event time."""
        wanted = list(dict.fromkeys(keys))
        rows = {row.id: row for row in self._archived(deployment, "key", wanted)}
        for key in wanted:
            for request in self._keys.get((deployment, key), ()):
                rows |= {name: row for name, row in (self._tail(deployment, request) or {}).items() if row.key == key}
        found: dict[str, list[Row]] = defaultdict(list)
        for row in sorted(rows.values(), key=lambda row: (row.event_time, row.id)):
            found[str(row.key)].append(row)
        return dict(found)

    def newest(self, deployment: str, *, since: int = 0, limit: int = 100) -> list[Row]:
        """The newest predictions by event time, from `since` on, newest first."""
        rows: dict[str, Row] = {}
        if paths := self._paths(deployment):
            sql = f"SELECT * FROM {_FILES} WHERE event_time >= make_timestamp(?) ORDER BY event_time DESC LIMIT ?"  # noqa: S608
            rows = {row.id: row for row in of_table(self._tables.query(sql, [paths, since, limit]), self._recipes)}
        for path in list(self._offsets):
            for request, name, _ in self._inside.get(path, ())[-limit:]:
                if name == deployment:
                    tail = self._tail(deployment, request) or {}
                    rows |= {i: row for i, row in tail.items() if row.event_time >= since}
        return sorted(rows.values(), key=lambda row: (row.event_time, row.id), reverse=True)[:limit]

    def _index(self, path: Path, entry: wal.Entry, record: Prediction, fresh: set[str]) -> None:
        keys = tuple({key for key in record.keys or () if key is not None})
        self._requests[record.request] = _Place(path, entry.start, entry.end)
        self._inside[path].append((record.request, record.deployment, keys))
        for key in keys:
            self._keys[record.deployment, key].append(record.request)
        fresh.update(keys, (record.request,))

    def _drop(self, path: Path) -> None:
        del self._offsets[path]
        if path in self._files:
            os.close(self._files.pop(path))
        gone, touched = set[str](), set[tuple[str, str]]()
        for request, deployment, keys in self._inside.pop(path, ()):
            self._requests.pop(request, None)
            gone.add(request)
            touched.update((deployment, key) for key in keys)
        for key in touched:  # each list once: a key may have asked a hundred thousand times
            if left := [request for request in self._keys[key] if request not in gone]:
                self._keys[key] = left
            else:
                del self._keys[key]

    def _tail(self, deployment: str, request: str, only: Collection[int] | None = None) -> dict[str, Row] | None:
        """Rows (all, or only these) of a request that is not archived yet, by prediction id; None if it is not in the tail."""
        place = self._requests.get(request)
        if place is None:
            return None
        if place.path not in self._files:
            try:
                self._files[place.path] = os.open(place.path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return None
        record = wal.record_in(os.pread(self._files[place.path], place.end - place.start, place.start))
        if not isinstance(record, Prediction) or record.deployment != deployment:
            return None
        what = self._recipes(record.release)
        return {row.id: row for row in of_record(record, what.contract.output.classes if what else (), only)}

    def _archived(self, deployment: str, by: str, names: Sequence[str]) -> Iterable[Row]:
        paths = self._paths(deployment) if names else []
        for start in range(0, len(names) if paths else 0, STEP):
            sql = f"SELECT * FROM {_FILES} WHERE {by} IN (SELECT unnest(?))"  # noqa: S608 - `by` is one of our own columns
            yield from of_table(self._tables.query(sql, [paths, list(names[start : start + STEP])]), self._recipes)

    def _paths(self, deployment: str) -> list[str]:
        return [str(path) for path in files(self._log, deployment)]
