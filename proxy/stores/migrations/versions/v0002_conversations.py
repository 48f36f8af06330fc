"""Conversations: threads, messages, the text of those in progress, and what a deletion took."""

import sqlalchemy as sa
from alembic import op

from proxy.stores.column_types import TEXT, WHOLE, where

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the four tables and what is looked up in them."""
    _threads()
    _messages()
    op.create_table(
        "message_text",
        sa.Column("message", TEXT, primary_key=True),
        sa.Column("offset", WHOLE, primary_key=True),
        sa.Column("piece", TEXT, nullable=False),
    )
    op.create_table(
        "deletion",
        sa.Column("token", TEXT, primary_key=True),
        sa.Column("uid", TEXT, primary_key=True),
        sa.Column("is_thread", WHOLE, nullable=False),
        sa.Column("generation", TEXT),
    )


def _threads() -> None:
    op.create_table(
        "thread",
        sa.Column("number", WHOLE, primary_key=True),
        sa.Column("uid", TEXT, nullable=False),
        sa.Column("identity", TEXT, nullable=False),
        sa.Column("dialect", TEXT, nullable=False),
        sa.Column("id", TEXT, nullable=False),
        sa.Column("user", TEXT),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("updated_at", sa.Float, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("metadata", TEXT, nullable=False),
    )
    op.create_index("thread_by_id", "thread", ["identity", "dialect", "id"], unique=True)
    op.create_index("thread_by_uid", "thread", ["uid"])
    op.create_index("thread_by_change", "thread", ["identity", "dialect", "updated_at"])
    op.create_index("thread_by_user", "thread", ["identity", "dialect", "user", "updated_at"])
    op.create_index("thread_by_age", "thread", ["updated_at"])


def _messages() -> None:
    op.create_table(
        "message",
        sa.Column("number", WHOLE, primary_key=True),
        sa.Column("uid", TEXT, nullable=False),
        sa.Column("identity", TEXT, nullable=False),
        sa.Column("dialect", TEXT, nullable=False),
        sa.Column("id", TEXT, nullable=False),
        sa.Column("thread_id", TEXT),
        sa.Column("user", TEXT),
        sa.Column("role", TEXT, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("ended_at", sa.Float),
        sa.Column("ended_by", TEXT),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("generation", TEXT),
        sa.Column("metadata", TEXT, nullable=False),
        sa.Column("content", TEXT, nullable=False),
        sa.Column("text", TEXT, nullable=False),
    )
    op.create_index("message_by_id", "message", ["identity", "dialect", "id"], unique=True)
    op.create_index("message_by_uid", "message", ["uid"])
    _partial_index("message_by_thread", ["identity", "dialect", "thread_id"], "thread_id IS NOT NULL")
    _partial_index("message_in_progress", ["identity", "dialect", "thread_id"], "status = 'in_progress'")
    _partial_index("message_alone_by_end", ["ended_at", "created_at"], "thread_id IS NULL AND status <> 'in_progress'")


def _partial_index(name: str, columns: list[str], condition: str) -> None:
    op.create_index(name, "message", columns, **where(condition))
