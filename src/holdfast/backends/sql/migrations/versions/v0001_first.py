"""First layout: deployments, windows, labels, alarms, monitors, evidence, cursors, trail.

Frozen: written out by hand so that later changes of `tables.py` never change what version 0001 was.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Create everything."""
    op.create_table(
        "deployments",
        sa.Column("name", sa.String(63), primary_key=True),
        sa.Column("state", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "windows",
        sa.Column("deployment", sa.String(63), primary_key=True),
        sa.Column("release", sa.String(64), primary_key=True),
        sa.Column("track", sa.String(8), primary_key=True),
        sa.Column("stream", sa.String(8), primary_key=True),
        sa.Column("number", sa.BigInteger, primary_key=True),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("start", "end", "rows", "late")),
        sa.Column("counts", sa.LargeBinary, nullable=False),
        sa.Column("sums", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "labels",
        sa.Column("id", ID, primary_key=True, autoincrement=True),
        sa.Column("deployment", sa.String(63), nullable=False),
        sa.Column("prediction_id", sa.String(48)),
        sa.Column("key", sa.Text),
        sa.Column("value", sa.Text, nullable=False),
        sa.Column("observed_at", sa.BigInteger, nullable=False),
        sa.Column("received", sa.BigInteger, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("newest", sa.Boolean, nullable=False),
        sa.Column("joined", sa.Boolean, nullable=False),
    )
    op.create_index("labels_by_prediction", "labels", ["deployment", "prediction_id"])
    op.create_index("labels_by_key", "labels", ["deployment", "key"])
    op.create_index("labels_waiting", "labels", ["deployment", "joined", "id"])
    op.create_table(
        "alarms",
        sa.Column("id", sa.String(80), primary_key=True),
        sa.Column("deployment", sa.String(63), nullable=False),
        sa.Column("opened", sa.BigInteger, nullable=False),
        sa.Column("open", sa.Boolean, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
    op.create_index("alarms_by_deployment", "alarms", ["deployment", "opened"])
    op.create_table(
        "monitors",
        sa.Column("deployment", sa.String(63), primary_key=True),
        sa.Column("release", sa.String(64), primary_key=True),
        sa.Column("state", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "evidence",
        sa.Column("id", ID, primary_key=True, autoincrement=True),
        sa.Column("deployment", sa.String(63), nullable=False),
        sa.Column("release", sa.String(64), nullable=False),
        sa.Column("point", sa.LargeBinary, nullable=False),
    )
    op.create_index("evidence_by_release", "evidence", ["deployment", "release", "id"])
    op.create_table(
        "cursors",
        sa.Column("name", sa.String(255), primary_key=True),
        sa.Column("value", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "trail",
        sa.Column("number", ID, primary_key=True, autoincrement=False),
        sa.Column("deployment", sa.String(63), nullable=False),
        sa.Column("event", sa.LargeBinary, nullable=False),
    )
    op.create_index("trail_by_deployment", "trail", ["deployment", "number"])


def downgrade() -> None:
    """There is nothing before it."""
    raise NotImplementedError("the first layout has no predecessor")
