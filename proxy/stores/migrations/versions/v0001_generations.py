"""The first schema: generations, and the text of those that run."""

import sqlalchemy as sa
from alembic import op

from proxy.stores.column_types import TEXT, WHOLE, where

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create both tables and what is looked up in them."""
    op.create_table(
        "generation",
        sa.Column("uid", TEXT, primary_key=True),
        sa.Column("identity", TEXT, nullable=False),
        sa.Column("task_id", TEXT, nullable=False),
        sa.Column("message_id", TEXT, nullable=False),
        sa.Column("dialect", TEXT, nullable=False),
        sa.Column("route", TEXT, nullable=False),
        sa.Column("upstream", TEXT, nullable=False),
        sa.Column("started_at", sa.Float, nullable=False),
        sa.Column("key_id", TEXT, nullable=False),
        sa.Column("replica", TEXT, nullable=False),
        sa.Column("model", TEXT),
        sa.Column("user", TEXT),
        sa.Column("tags", TEXT, nullable=False),
        sa.Column("upstream_id", TEXT),
        sa.Column("upstream_model", TEXT),
        sa.Column("first_token_at", sa.Float),
        sa.Column("ended_at", sa.Float),
        sa.Column("outcome", TEXT, nullable=False),
        sa.Column("cause", TEXT),
        sa.Column("cancelled_by", TEXT),
        sa.Column("reason", TEXT),
        sa.Column("prompt_tokens", WHOLE),
        sa.Column("completion_tokens", WHOLE),
        sa.Column("cached_tokens", WHOLE),
        sa.Column("reasoning_tokens", WHOLE),
        sa.Column("usage_source", TEXT, nullable=False),
        sa.Column("cost", TEXT),
        sa.Column("currency", TEXT),
        sa.Column("characters", WHOLE),
        sa.Column("text_clipped", WHOLE, nullable=False),
        sa.Column("error_kind", TEXT),
        sa.Column("phase", TEXT, nullable=False),
        sa.Column("elapsed_seconds", sa.Float),
        sa.Column("upstream_closed_ms", sa.Float),
        sa.Column("text", TEXT),
    )
    op.create_index("generation_by_task_id", "generation", ["task_id", "identity"])
    op.create_index("generation_by_message_id", "generation", ["message_id", "identity"])
    _partial_index("generation_by_upstream_id", ["upstream_id", "identity"], "upstream_id IS NOT NULL")
    op.create_index("generation_by_start", "generation", ["started_at", "uid"])
    op.create_index("generation_by_identity", "generation", ["identity", "started_at", "uid"])
    _partial_index("generation_by_end", ["ended_at"], "ended_at IS NOT NULL")
    _partial_index("generation_running", ["uid"], "outcome = 'running'")
    _partial_index("generation_with_text", ["ended_at"], "text IS NOT NULL")
    op.create_table(
        "generation_text",
        sa.Column("uid", TEXT, primary_key=True),
        sa.Column("offset", WHOLE, primary_key=True),
        sa.Column("piece", TEXT, nullable=False),
    )


def _partial_index(name: str, columns: list[str], condition: str) -> None:
    op.create_index(name, "generation", columns, **where(condition))
