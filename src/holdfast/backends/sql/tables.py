"""The tables, as SQLAlchemy sees them. Migrations (Alembic) create them; a new column is a new migration."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, LargeBinary, MetaData, String, Table, Text

__all__ = [
    "HEAD",
    "access_keys",
    "alarms",
    "cursors",
    "deployments",
    "evidence",
    "labels",
    "metadata",
    "monitors",
    "trail",
    "windows",
]

HEAD: Final = "0002"
"""Newest migration that this version of Holdfast knows."""

metadata = MetaData()

deployments = Table(
    "deployments",
    metadata,
    Column("name", String(63), primary_key=True),
    Column("state", LargeBinary, nullable=False),
)
windows = Table(
    "windows",
    metadata,
    Column("deployment", String(63), primary_key=True),
    Column("release", String(64), primary_key=True),
    Column("track", String(8), primary_key=True),
    Column("stream", String(8), primary_key=True),
    Column("number", BigInteger, primary_key=True),
    Column("start", BigInteger, nullable=False),
    Column("end", BigInteger, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("late", BigInteger, nullable=False),
    Column("counts", LargeBinary, nullable=False),
    Column("sums", LargeBinary, nullable=False),
)
labels = Table(
    "labels",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("deployment", String(63), nullable=False),
    Column("prediction_id", String(48)),
    Column("key", Text),
    Column("value", Text, nullable=False),
    Column("observed_at", BigInteger, nullable=False),
    Column("received", BigInteger, nullable=False),
    Column("version", Integer, nullable=False),
    Column("newest", Boolean, nullable=False),
    Column("joined", Boolean, nullable=False),
    Index("labels_by_prediction", "deployment", "prediction_id"),
    Index("labels_by_key", "deployment", "key"),
    Index("labels_waiting", "deployment", "joined", "id"),
)
alarms = Table(
    "alarms",
    metadata,
    Column("id", String(80), primary_key=True),
    Column("deployment", String(63), nullable=False),
    Column("opened", BigInteger, nullable=False),
    Column("open", Boolean, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Index("alarms_by_deployment", "deployment", "opened"),
)
monitors = Table(
    "monitors",
    metadata,
    Column("deployment", String(63), primary_key=True),
    Column("release", String(64), primary_key=True),
    Column("state", LargeBinary, nullable=False),
)
evidence = Table(
    "evidence",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("deployment", String(63), nullable=False),
    Column("release", String(64), nullable=False),
    Column("point", LargeBinary, nullable=False),
    Index("evidence_by_release", "deployment", "release", "id"),
)
cursors = Table(
    "cursors",
    metadata,
    Column("name", String(255), primary_key=True),
    Column("value", BigInteger, nullable=False),
)
access_keys = Table(
    "access_keys",
    metadata,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("state", LargeBinary, nullable=False),
)
trail = Table(
    "trail",
    metadata,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("deployment", String(63), nullable=False),
    Column("event", LargeBinary, nullable=False),
    Index("trail_by_deployment", "deployment", "number"),
)
