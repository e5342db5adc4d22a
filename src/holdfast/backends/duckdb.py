"""Columnar files through DuckDB: `DuckTables` is `core.ports.Tables` over Parquet and CSV, without pandas or pyarrow.

What comes out is what the rest of Holdfast computes with: float64 with NaN for missing numbers, strings as objects with
None, times as datetime64[us], booleans as bool (as "true"/"false"/None where some are missing).
"""

# ruff: noqa: S608 - names of columns and files can't be parameters in SQL; `_name` and `_quote` quote them

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import duckdb
import numpy as np
from numpy.typing import NDArray

from holdfast.errors import InvalidInput, NotFound

__all__ = ["DuckTables"]

Table = dict[str, NDArray[Any]]

_NUMBERS: Final = ("TINYINT", "SMALLINT", "INTEGER", "UTINYINT", "USMALLINT", "UINTEGER", "FLOAT", "DOUBLE", "DECIMAL")
_WIDE: Final = ("BIGINT", "UBIGINT", "HUGEINT", "UHUGEINT")
_TIMES: Final = ("TIMESTAMP", "DATE")
_FORM: Final = f"FORMAT parquet, COMPRESSION zstd, PARQUET_VERSION v2, DATA_PAGE_SIZE_LIMIT {64 << 10}"
"""The newer encodings take an eighth less space and are quicker to scan; of small pages a few rows are read without the rest."""
EXACT: Final = 2**53
"""Beyond this a float64 no longer holds every integer: such columns (long ids) stay text."""


class DuckTables:
    """Reads and writes columnar files; one in-memory DuckDB per object, safe to use from several threads."""

    def __init__(self, threads: int | None = None) -> None:
        self._threads = threads or min(os.cpu_count() or 1, 4)
        self._opening = threading.Lock()
        self._root: duckdb.DuckDBPyConnection | None = None

    def close(self) -> None:
        """Give back the memory that DuckDB keeps for the next time, up to 200 MB of it; whoever is at work goes on."""
        with self._opening:
            self._root = None  # it closes with the last of its cursors

    def _open(self) -> duckdb.DuckDBPyConnection:
        with self._opening:
            if self._root is None:
                self._root = duckdb.connect(
                    ":memory:",
                    config={"threads": self._threads, "autoinstall_known_extensions": False, "TimeZone": "UTC"},
                )
                self._root.execute("SET enable_progress_bar = false")
            return self._root.cursor()

    def read(self, path: Path, columns: Sequence[str] | None = None) -> Table:
        """The whole file, or some of its columns."""
        with self._opened(path) as (db, source):
            return _fetch(db, _selection(db, source, columns))

    def batches(self, path: Path, rows: int) -> Iterator[Table]:
        """In file order, at most `rows` each; a CSV is typed by all of its rows first, inside DuckDB."""
        with self._opened(path) as (db, source):
            if path.suffix == ".parquet":
                number, rows_of = "file_row_number", f"read_parquet({_quote(str(path))}, file_row_number=true)"
            else:
                db.execute(f"CREATE TEMP TABLE file AS SELECT * FROM {source}")
                number, rows_of = "rowid", "file"
            total = int(_one(db, f"SELECT count(*) FROM {rows_of}"))
            chosen = _selection(db, rows_of, None, leave_out="file_row_number")
            for start in range(0, total, rows):
                yield _fetch(db, f"{chosen} WHERE {number} >= {start} AND {number} < {start + rows}")

    def count(self, path: Path) -> int:
        """Rows in the file."""
        with self._opened(path) as (db, source):
            return int(_one(db, f"SELECT count(*) FROM {source}"))

    def write(self, path: Path, table: Mapping[str, NDArray[Any]]) -> None:
        """Parquet, zstd, whole or not at all."""
        with self._cursor() as db:
            db.register("written", {name: np.ascontiguousarray(values) for name, values in table.items()})
            # An all-missing column of strings has no type of its own yet.
            kinds = ", ".join(
                f"{_name(name)}::VARCHAR AS {_name(name)}" if values.dtype == object else _name(name)
                for name, values in table.items()
            )
            try:
                _copy(db, f"SELECT {kinds} FROM written", path, ())
            finally:
                db.unregister("written")

    def copy(self, sql: str, path: Path, parameters: Sequence[Any] = ()) -> None:
        """Parquet of a query's result, whole or not at all."""
        with self._cursor() as db:
            _copy(db, sql, path, parameters)

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> Table:
        """DuckDB SQL; the result in the same types as everything here."""
        with self._cursor() as db:
            described = db.execute(f"DESCRIBE {sql}", list(parameters)).fetchall()
            chosen = ", ".join(_typed(str(name), str(kind)) for name, kind, *_ in described)
            return _arrays(db.execute(f"SELECT {chosen} FROM ({sql})", list(parameters)).fetchnumpy())

    @contextlib.contextmanager
    def _cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        cursor = self._open()
        try:
            yield cursor
        except (duckdb.InterruptException, RuntimeError) as bad:
            if "nterrupted" in str(bad):  # Ctrl-C while DuckDB was at work
                raise KeyboardInterrupt from None
            raise
        finally:
            cursor.close()

    @contextlib.contextmanager
    def _opened(self, path: Path) -> Iterator[tuple[duckdb.DuckDBPyConnection, str]]:
        """A cursor, and how SQL names this file."""
        if not path.is_file():
            raise NotFound(f"no file {path.name}", str(path), "check the path")
        parquet = path.suffix == ".parquet"
        if not parquet and ".csv" not in path.suffixes:
            raise InvalidInput(f"{path.name} is neither .parquet nor .csv", str(path), "convert it to one of the two")
        try:
            with self._cursor() as db:
                name = _quote(str(path))
                yield db, f"read_parquet({name})" if parquet else f"read_csv({name}, sample_size=-1)"
        except duckdb.Error as bad:
            first = str(bad).splitlines()[0]
            raise InvalidInput(f"{path.name} cannot be read: {first}", str(path), "check the file") from None


def _copy(db: duckdb.DuckDBPyConnection, sql: str, path: Path, parameters: Sequence[Any]) -> None:
    """On the disk before it has its name: what the file replaces may go at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        db.execute(f"COPY ({sql}) TO {_quote(str(temporary))} ({_FORM})", list(parameters))
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _selection(
    db: duckdb.DuckDBPyConnection, source: str, columns: Sequence[str] | None, *, leave_out: str = ""
) -> str:
    kinds = {str(name): str(kind) for name, kind, *_ in db.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()}
    kinds.pop(leave_out, None)
    missing = [name for name in columns or () if name not in kinds]
    if missing:
        raise InvalidInput(f"no column '{missing[0]}'", next_step=f"the file has: {', '.join(kinds)}", field=missing[0])
    wide = [name for name in columns or kinds if kinds[name] in _WIDE]
    if wide:
        tests = ", ".join(f"max(abs({_name(name)}::HUGEINT)) > {EXACT}" for name in wide)
        found = db.execute(f"SELECT {tests} FROM {source}").fetchone() or ()
        kinds |= {name: "VARCHAR" if beyond else "DOUBLE" for name, beyond in zip(wide, found, strict=True)}
    return f"SELECT {', '.join(_typed(name, kinds[name]) for name in columns or kinds)} FROM {source}"


def _typed(name: str, kind: str) -> str:
    """One column of a SELECT, cast to the few types that come out of here."""
    quoted = _name(name)
    base = kind.split("(", maxsplit=1)[0]
    if base in _NUMBERS or base in _WIDE:
        return f"{quoted}::DOUBLE AS {quoted}"
    if base.startswith(_TIMES):
        return f"{quoted}::TIMESTAMP AS {quoted}"
    return quoted if base == "BOOLEAN" else f"{quoted}::VARCHAR AS {quoted}"


def _fetch(db: duckdb.DuckDBPyConnection, sql: str) -> Table:
    return _arrays(db.execute(sql).fetchnumpy())


def _arrays(columns: Mapping[str, Any]) -> Table:
    return {name: _array(values) for name, values in columns.items()}


def _array(values: Any) -> NDArray[Any]:
    """DuckDB masks what is missing; we have a value for it in every type."""
    mask = np.ma.getmaskarray(values)
    plain: NDArray[Any] = np.ma.getdata(values)
    if plain.dtype == bool and mask.any():
        plain = np.where(plain, "true", "false").astype(object)
    if mask.any():
        plain = plain.copy()
        plain[mask] = {"f": np.nan, "M": np.datetime64("NaT")}.get(plain.dtype.kind)
    return plain


def _one(db: duckdb.DuckDBPyConnection, sql: str) -> Any:
    row = db.execute(sql).fetchone()
    assert row is not None
    return row[0]


def _name(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
