"""Public twins of the outside, for tests of your own code around Holdfast: real behaviour without files.

`MemoryDatabase` is `core.ports.Database` with all its stores, migrations and constraints, in memory.
"""

from __future__ import annotations

from holdfast.backends.sql.database import MEMORY, SqlDatabase

__all__ = ["MemoryDatabase"]


class MemoryDatabase(SqlDatabase):
    """A database that lives as long as the object; safe to use from several threads, one transaction at a time."""

    def __init__(self) -> None:
        super().__init__(MEMORY)
