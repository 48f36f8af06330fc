"""A ledger that several replicas share: who runs what, how far each spool was forwarded, and whose text was wiped."""

import sqlalchemy as sa
from alembic import op

from proxy.stores.column_types import TEXT, WHOLE

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the three tables and what is looked up in them."""
    op.create_table(
        "running",
        sa.Column("uid", TEXT, sa.ForeignKey("generation.uid", ondelete="CASCADE"), primary_key=True),
        sa.Column("replica", TEXT, nullable=False),
        sa.Column("boot", TEXT, nullable=False),
    )
    op.create_index("running_by_replica", "running", ["replica", "boot"])
    op.create_table(
        "spool",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("replica", TEXT, nullable=False),
        sa.Column("number", WHOLE, nullable=False),
    )
    op.create_table(
        "wiped",
        sa.Column("number", WHOLE, primary_key=True),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("uid", TEXT, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("wiped_once", "wiped", ["uid"], unique=True)
