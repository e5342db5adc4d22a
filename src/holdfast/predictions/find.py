"""Which predictions were these? By id, by key, or the newest, from all that was ever logged, without a server or an index.

The archive is asked for few columns of all files first, then for the rest of the rows that were found, by their place in the
file: ids ascend with time, so that DuckDB passes over nearly all of it by the files' own statistics. In the log's tail the
bytes are searched, and only records that contain what is wanted are decoded.
"""

from __future__ import annotations

import heapq
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from holdfast.core.ports import Tables
from holdfast.core.prediction import Prediction
from holdfast.predictions import log as wal
from holdfast.predictions import search
from holdfast.predictions.archive import files, key_crc
from holdfast.predictions.rows import Row, of_record, of_table
from holdfast.predictions.windows import Recipe

__all__ = ["Finder", "Found"]

_ONE: Final = re.compile(r"([0-9A-Z]{26})(-\d+)?")
"""A prediction id, or a request id."""
_KEY: Final = "key_crc = ? AND key = ?"
TRIES: Final = 5


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
            column = "prediction_id" if row else "request"
            found = self._find(
                f"{column} = ?", [name], lambda r: r.id == name or (not row and r.id.startswith(f"{name}-")), request
            )
        return found or self._find("client_id = ?", [name], lambda r: r.client_id == name, name)

    def by_key(self, keys: Sequence[str]) -> list[Found]:
        """All of a key; it may be logged in several forms, as a hash where the contract says so."""
        found = [
            one
            for key in dict.fromkeys(keys)
            for one in self._find(_KEY, [key_crc(key), key], lambda r: r.key in keys, key)
        ]
        return sorted(found, key=_age, reverse=True)[: self._limit]

    def since(self, at: int) -> list[Found]:
        """The newest by event time, from `at` on."""
        places = (place for segment in wal.segments(self._log) for place in search.places(segment))
        ours = (place for place in places if place.newest >= at and self._is_wanted(place.deployment))
        records = filter(None, map(search.record_at, heapq.nlargest(self._limit, ours)))
        return self._newest(records, lambda r: r.event_time >= at, "event_time >= make_timestamp(?)", [at])

    def _find(self, where: str, values: Sequence[str | int], wanted: Callable[[Row], bool], needle: str) -> list[Found]:
        records = (
            record
            for segment in wal.segments(self._log)
            for record in search.containing(segment, needle.encode())
            if isinstance(record, Prediction) and self._is_wanted(record.deployment)
        )
        return self._newest(heapq.nlargest(self._limit, records, key=search.newest), wanted, where, values)

    def _is_wanted(self, deployment: str) -> bool:
        return self._wanted is None or deployment in self._wanted

    def _newest(
        self, records: Iterable[Prediction], wanted: Callable[[Row], bool], where: str, values: Sequence[str | int]
    ) -> list[Found]:
        """Rows of these records of the tail and of the archive. The tail comes first: what is archived meanwhile is in both."""
        found = {one.row.id: one for one in self._of_records(records) if wanted(one.row)}
        for _ in range(TRIES):
            places = self._places(where, values)
            rows = [one for path, lines in places.items() for one in self._in_file(path, lines)]
            if len(rows) == sum(map(len, places.values())):
                break  # else files became one between the two looks
        found |= {one.row.id: one for one in rows}
        return sorted(found.values(), key=_age, reverse=True)[: self._limit]

    def _of_records(self, records: Iterable[Prediction]) -> Iterator[Found]:
        for record in records:
            what = self._recipes(record.release)
            for row in of_record(record, what.contract.output.classes if what else ()):
                yield Found(record.deployment, row)

    def _places(self, where: str, values: Sequence[str | int]) -> dict[str, dict[int, str]]:
        """Number and id of the newest rows that are wanted, by file."""
        paths = [str(path) for name in self._archived for path in files(self._log, name)]
        if not paths:
            return {}
        source = "read_parquet(?, filename='holdfast_file', file_row_number=true, hive_partitioning=false)"
        order = "ORDER BY event_time DESC, prediction_id DESC LIMIT ?"
        sql = f"SELECT holdfast_file, file_row_number, prediction_id FROM {source} WHERE {where} {order}"  # noqa: S608
        told = self._tables.query(sql, [paths, *values, self._limit])
        places: dict[str, dict[int, str]] = defaultdict(dict)
        for path, number, name in zip(*(told[key].tolist() for key in told), strict=True):
            places[path][int(number)] = name
        return places

    def _in_file(self, path: str, lines: Mapping[int, str]) -> Iterator[Found]:
        marks = ", ".join("?" * len(lines))
        source = "read_parquet(?, file_row_number=true, hive_partitioning=false)"
        sql = f"SELECT * EXCLUDE file_row_number FROM {source} WHERE file_row_number IN ({marks}) AND prediction_id IN ({marks})"  # noqa: S608
        deployment = Path(path).parents[2].name
        for row in of_table(self._tables.query(sql, [path, *lines, *lines.values()]), self._recipes):
            yield Found(deployment, row)


def _age(one: Found) -> tuple[int, str]:
    return one.row.event_time, one.row.id
