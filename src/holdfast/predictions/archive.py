"""From counted segments to Parquet, one file per segment, month and release: readable by anything while it grows.

    LOG/<deployment>/parquet/month=YYYY-MM/<writer>-<number>-<release>.parquet        months by event time

A file is named after the segment that it came from and is written whole or not at all, so doing it again changes nothing;
the segment is removed when all of its files stand. In between a row stands in both places: readers go by prediction id.
"""

from __future__ import annotations

import contextlib
import itertools
import zlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from holdfast.core.names import class_columns, prediction_id, short
from holdfast.core.ports import Database, Tables
from holdfast.core.prediction import Prediction
from holdfast.predictions import log as wal
from holdfast.predictions.compact import position
from holdfast.predictions.windows import Recipe, event_times, input_columns

__all__ = ["META", "archive", "files", "input_column", "key_crc"]

META: Final = (
    "prediction_id",
    "request",
    "row",
    "event_time",
    "received",
    "clock",
    "release",
    "track",
    "latency_us",
    "key",
    "key_crc",
    "client_id",
)
_RESERVED: Final = {*META, "prediction", "label", "month", "file_row_number"}

Values = NDArray[Any]


def input_column(name: str) -> str:
    """The Parquet column of a contract field: its own name, unless a column of ours has that (Parquet names ignore case)."""
    lower = name.lower()
    return f"input.{name}" if lower in _RESERVED or lower.startswith(("p_", "input.")) else name


def key_crc(key: str | None) -> int:
    """Stands beside the key because numbers are sought through in a fifth of the time; 0 for no key."""
    return 0 if key is None else zlib.crc32(key.encode())


def archive(
    database: Database,
    log: Path,
    tables: Tables,
    recipes: Callable[[str], Recipe | None],
    *,
    wanted: Callable[[wal.Segment], bool] = lambda _: False,
    enough: Callable[[], bool] = lambda: False,
) -> int:
    """Turn every finished and counted segment into Parquet, or some before `enough`; returns how many.

    `recipes` names the classes; a segment that somebody still wants to read stays.
    """
    done = 0
    for segment in itertools.takewhile(lambda _: not enough(), wal.segments(log)):
        with wal.finished(segment) as complete:
            if complete and _counted(database, segment) and not wanted(segment):
                _write(log, segment, tables, recipes)
                database.sync()  # what was counted of it
                segment.path.unlink()
                done += 1
        with contextlib.suppress(OSError):  # not empty, or already gone
            segment.path.parent.rmdir()
    _forget_writers(database, log)
    return done


def files(log: Path, deployment: str) -> list[Path]:
    """Parquet files of a deployment, oldest month first."""
    return sorted((log / deployment / "parquet").glob("month=*/[!.]*.parquet"))


def _counted(database: Database, segment: wal.Segment) -> bool:
    with database.read() as stores:
        return position(stores, segment.writer) >= (segment.number, segment.path.stat().st_size)


def _forget_writers(database: Database, log: Path) -> None:
    with database.read() as stores:
        gone = [n for n in stores.cursors.all("log/") if not (log / wal.WAL / n.removeprefix("log/")).exists()]
    if gone:
        with database.begin(durable=False) as stores:
            for name in gone:
                stores.cursors.delete(name)


def _write(log: Path, segment: wal.Segment, tables: Tables, recipes: Callable[[str], Recipe | None]) -> None:
    """A part of the segment at a time becomes columns, so that no more of its records are in memory."""
    groups: dict[tuple[str, str], list[_Columns]] = defaultdict(list)
    offset = 0
    while (part := wal.read(segment, offset, complete=True)).end > offset:
        offset = part.end
        records: dict[tuple[str, str], list[Prediction]] = defaultdict(list)
        for entry in part.entries:
            if isinstance(entry.record, Prediction) and entry.record.rows:
                records[entry.record.deployment, entry.record.release].append(entry.record)
        for name, found in records.items():
            what = recipes(name[1])
            groups[name].append(_columns(found, what.contract.output.classes if what else ()))
    for (deployment, release), parts in groups.items():
        table = _table(parts)
        months = _months(table["event_time"].astype(np.int64))
        for month in sorted(set(months.tolist())):
            chosen = months == month
            file = f"{segment.writer}-{segment.number:08d}-{short(release)}.parquet"
            rows = table if chosen.all() else {name: values[chosen] for name, values in table.items()}
            tables.write(log / deployment / "parquet" / f"month={month}" / file, rows)


def _months(times: NDArray[np.int64]) -> NDArray[np.str_]:
    return times.astype("datetime64[us]").astype("datetime64[M]").astype(str)


class _Columns(NamedTuple):
    """Records of one release as columns."""

    rows: int
    ours: dict[str, Values]
    inputs: dict[str, Values]
    outputs: dict[str, Values]


def _table(parts: Sequence[_Columns]) -> dict[str, Values]:
    """All parts as one table: ours, then the contract's fields, then the answers. What a part does not have is missing."""
    table = _stacked(parts, [part.ours for part in parts])
    for name, values in _stacked(parts, [part.inputs for part in parts]).items():
        table[_free(input_column(name), table)] = values
    return table | _stacked(parts, [part.outputs for part in parts])


def _stacked(parts: Sequence[_Columns], columns: Sequence[dict[str, Values]]) -> dict[str, Values]:
    stacked: dict[str, Values] = {}
    for name in dict.fromkeys(name for found in columns for name in found):
        texts = any(found[name].dtype == object for found in columns if name in found)
        missing = np.array(None if texts else np.nan)
        stacked[name] = np.concatenate(
            [found.get(name, np.repeat(missing, part.rows)) for part, found in zip(parts, columns, strict=True)]
        )
    return stacked


def _columns(records: Sequence[Prediction], classes: Sequence[str]) -> _Columns:
    rows = np.array([record.rows for record in records])
    numbers = np.concatenate([np.arange(n) for n in rows])
    requests = _repeat([record.request for record in records], rows)
    keys = [key for record in records for key in (record.keys or [None] * record.rows)]
    ours: dict[str, Values] = {
        "prediction_id": _strings(map(prediction_id, requests.tolist(), numbers.tolist())),
        "request": requests,
        "row": numbers,
        "event_time": _times([time for record in records for time in event_times(record)]),
        "received": _times(np.repeat([record.received for record in records], rows)),
        "clock": _times(np.repeat([record.clock for record in records], rows)),
        "release": _repeat([record.release for record in records], rows),
        "track": _repeat([record.track for record in records], rows),
        "latency_us": np.repeat([record.latency_us for record in records], rows),
        "key": _strings(keys),
        # Not 32 bits wide: Arrow cannot read DuckDB's differences of such numbers.
        "key_crc": np.array([key_crc(key) for key in keys], dtype=np.int64),
        "client_id": _repeat([record.client_id for record in records], rows),
    }
    return _Columns(int(rows.sum()), ours, input_columns(records), _outputs(records, classes))


def _outputs(records: Sequence[Prediction], classes: Sequence[str]) -> dict[str, Values]:
    told: dict[str, Values] = {}
    for name in records[0].outputs:
        parts = [record.outputs[name] for record in records]
        if not isinstance(parts[0], bytes):
            told[name] = _strings(value for part in parts for value in part)
            continue
        values = np.frombuffer(b"".join(part for part in parts if isinstance(part, bytes)), dtype="<f8")
        if name == "probabilities":
            width = values.size // sum(record.rows for record in records)
            names = class_columns(classes if len(classes) == width else [str(i) for i in range(width)])
            told |= dict(zip(names, values.reshape(-1, width).T, strict=True))
        else:
            told[name] = values
    return told


def _free(name: str, taken: dict[str, Values]) -> str:
    """Two fields may differ in case only; Parquet columns may not."""
    lower = {column_name.lower() for column_name in taken}
    while name.lower() in lower:
        name += "_"
    return name


def _strings(values: Any) -> Values:
    return np.array(list(values), dtype=object)


def _repeat(values: Sequence[str], rows: NDArray[np.int64]) -> Values:
    return np.repeat(np.array(values, dtype=object), rows)


def _times(values: Any) -> Values:
    return np.asarray(values, dtype=np.int64).astype("datetime64[us]")
