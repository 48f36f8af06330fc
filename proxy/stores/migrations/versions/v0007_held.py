"""Conversations that replicas share: who works on what, who lives, and what a replica has yet to write there."""

import sqlalchemy as sa
from alembic import op

from proxy.stores.column_types import TEXT, WHOLE

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the three tables; make the notes of deletions anew, in an order.

    What those hold is nothing to anybody but the process that wrote it, and that one is gone.
    """
    op.create_table(
        "lease",
        sa.Column("owner", TEXT, primary_key=True),
        sa.Column("place", TEXT, nullable=False),
        sa.Column("until", sa.Float, nullable=False),
    )
    op.create_table(
        "hold",
        sa.Column("identity", TEXT, primary_key=True),
        sa.Column("dialect", TEXT, primary_key=True),
        sa.Column("key", TEXT, primary_key=True),
        sa.Column("token", TEXT, nullable=False),
        sa.Column("owner", TEXT, nullable=False),
        sa.Column("label", TEXT, nullable=False),
    )
    op.create_index("hold_by_owner", "hold", ["owner"])
    op.create_table(
        "late",
        sa.Column("number", WHOLE, primary_key=True),
        sa.Column("token", TEXT, nullable=False),
        sa.Column("acts", TEXT, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("late_once", "late", ["token"], unique=True)
    op.drop_table("deletion")
    op.create_table(
        "deletion",
        sa.Column("number", WHOLE, primary_key=True),
        sa.Column("token", TEXT, nullable=False),
        sa.Column("uid", TEXT, nullable=False),
        sa.Column("what", TEXT, nullable=False),
        sa.Column("generation", TEXT),
    )
    op.create_index("deletion_once", "deletion", ["token", "uid"], unique=True)
