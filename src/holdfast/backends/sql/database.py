"""State in SQLite (WAL) or Postgres through SQLAlchemy Core, one transaction at a time.

SQLite begins writing transactions IMMEDIATE: two processes never both read and then both write, so counts are added once.
Transactions are short; nobody holds the workspace. A database from a newer Holdfast is refused, an older one is migrated.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from holdfast.backends.sql.stores import AccessKeys, Alarms, Cursors, Deployments, Labels, Monitors, Trail, Windows
from holdfast.backends.sql.tables import HEAD
from holdfast.errors import WorkspaceError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["SqlDatabase", "SqlStores"]

BUSY_SECONDS = 30.0
LOOK_SECONDS = 0.002
"""Between looks whether another's transaction is over."""
SYNCED = "synced"
MEMORY = "sqlite://"


READ, WRITE, WRITE_SOON = "", "FULL", "NORMAL"
"""How a transaction ends in SQLite: its `synchronous`, if it writes."""


class SqlStores(NamedTuple):
    """All stores on one connection."""

    deployments: Deployments
    windows: Windows
    labels: Labels
    alarms: Alarms
    monitors: Monitors
    cursors: Cursors
    keys: AccessKeys
    trail: Trail


class SqlDatabase:
    """`core.ports.Database` over a SQLAlchemy URL such as `sqlite:////folder/state.db`."""

    def __init__(self, url: str) -> None:
        self._engine = _engine(url)
        if self._engine.dialect.name == "sqlite":
            sa.event.listen(self._engine, "connect", _sqlite_connect)
            sa.event.listen(self._engine, "begin", _sqlite_begin)
        self._check_version()

    @contextlib.contextmanager
    def begin(self, *, durable: bool = True) -> Iterator[SqlStores]:
        """One transaction over all stores."""
        with self._transaction(WRITE if durable else WRITE_SOON) as stores:
            yield stores

    @contextlib.contextmanager
    def read(self) -> Iterator[SqlStores]:
        """What is committed now, while others write."""
        with self._transaction(READ) as stores:
            yield stores

    def sync(self) -> None:
        """A durable commit brings all before it to the disk, if it writes anything."""
        with self.begin() as stores:
            stores.cursors.set(SYNCED, stores.cursors.get(SYNCED) + 1)

    @contextlib.contextmanager
    def _transaction(self, how: str) -> Iterator[SqlStores]:
        with self._engine.connect().execution_options(holdfast=how) as connection, connection.begin():
            yield SqlStores(
                Deployments(connection),
                Windows(connection),
                Labels(connection),
                Alarms(connection),
                Monitors(connection),
                Cursors(connection),
                AccessKeys(connection),
                Trail(connection),
            )

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()

    def _check_version(self) -> None:
        try:
            with self._engine.begin() as connection:
                version = _version(connection)
                if version != HEAD:
                    _migrate(connection, version)
        except sa.exc.DatabaseError as bad:
            raise WorkspaceError(
                f"the workspace database cannot be used: {bad.orig}",
                str(self._engine.url.database),
                "check the file and its folder's permissions, or restore a copy",
            ) from None


def _engine(url: str) -> sa.Engine:
    if url == MEMORY:  # one connection for all threads, else each would see a database of its own
        return sa.create_engine(url, poolclass=sa.StaticPool, connect_args={"check_same_thread": False})
    return sa.create_engine(url, connect_args={"timeout": BUSY_SECONDS} if url.startswith("sqlite") else {})


def _version(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    return str(found) if found else None


def _migrate(connection: sa.Connection, version: str | None) -> None:
    if version is not None and version > HEAD:
        raise WorkspaceError(
            f"this workspace was made by a newer Holdfast (database version {version}, this one knows {HEAD})",
            str(connection.engine.url.database),
            "pip install --upgrade holdfast",
        )
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "holdfast.backends.sql:migrations")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _sqlite_connect(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _sqlite_begin(connection: sa.Connection) -> None:
    how = connection.get_execution_options().get("holdfast", WRITE)
    if how == READ:
        connection.exec_driver_sql("BEGIN")
        return
    connection.exec_driver_sql(f"PRAGMA synchronous={how}")
    # SQLite itself looks ever more rarely, and may miss every gap between the transactions of a busy keeper.
    raw, end = connection.connection.driver_connection, time.monotonic() + BUSY_SECONDS
    assert raw is not None
    raw.execute("PRAGMA busy_timeout=0")
    try:
        while not _begun(raw):
            if time.monotonic() > end:
                raise WorkspaceError(
                    f"the workspace database has been locked for {BUSY_SECONDS:.0f} s",
                    str(connection.engine.url.database),
                    "end the program that holds it",
                )
            time.sleep(LOOK_SECONDS)
    finally:
        raw.execute(f"PRAGMA busy_timeout={round(BUSY_SECONDS * 1000)}")


def _begun(connection: sqlite3.Connection) -> bool:
    """False while another writes."""
    try:
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as bad:
        if bad.sqlite_errorname != "SQLITE_BUSY":
            raise
        return False
    return True
