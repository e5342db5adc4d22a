"""State in a SQL database: `SqlDatabase(url)` is `core.ports.Database`."""

from holdfast.backends.sql.database import SqlDatabase

__all__ = ["SqlDatabase"]
