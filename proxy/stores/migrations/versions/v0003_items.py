"""Items, which go with their thread or parent, or when they expire; and what a deletion took of them."""

import sqlalchemy as sa
from alembic import op

from proxy.stores.column_types import TEXT, WHOLE, where

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table of items and what is looked up in it; make the notes of deletions anew.

    What those hold is nothing to anybody but the process that wrote it, and that one is gone.
    """
    op.create_table(
        "item",
        sa.Column("number", WHOLE, primary_key=True),
        sa.Column("uid", TEXT, nullable=False),
        sa.Column("identity", TEXT, nullable=False),
        sa.Column("dialect", TEXT, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("id", TEXT, nullable=False),
        sa.Column("thread_id", TEXT),
        sa.Column("parent", TEXT),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("is_open", WHOLE, nullable=False),
        sa.Column("is_interrupted", WHOLE, nullable=False),
        sa.Column("expires_at", sa.Float),
        sa.Column("body", TEXT, nullable=False),
    )
    op.create_index("item_by_id", "item", ["identity", "dialect", "kind", "id"], unique=True)
    op.create_index("item_by_uid", "item", ["uid"])
    op.create_index("item_by_parent", "item", ["identity", "dialect", "parent", "kind"])
    _partial_index("item_by_thread", ["identity", "dialect", "thread_id"], "thread_id IS NOT NULL")
    _partial_index("item_by_expiry", ["expires_at"], "is_open = 0 AND expires_at IS NOT NULL")
    _partial_index("item_open", ["identity", "dialect", "thread_id"], "is_open = 1")
    op.drop_table("deletion")
    op.create_table(
        "deletion",
        sa.Column("token", TEXT, primary_key=True),
        sa.Column("uid", TEXT, primary_key=True),
        sa.Column("what", TEXT, nullable=False),
        sa.Column("generation", TEXT),
    )


def _partial_index(name: str, columns: list[str], condition: str) -> None:
    op.create_index(name, "item", columns, **where(condition))
