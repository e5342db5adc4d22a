"""Alembic migrations of the workspace database, oldest first in `versions/`."""
