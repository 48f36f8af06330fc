"""The first schema: generations, and the text of those that run."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create both tables and what is looked up in them."""
    op.create_table(
        "generation",
        sa.Column("uid", sa.Text, primary_key=True),
        sa.Column("identity", sa.Text, nullable=False),
        sa.Column("task_id", sa.Text, nullable=False),
        sa.Column("message_id", sa.Text, nullable=False),
        sa.Column("dialect", sa.Text, nullable=False),
        sa.Column("route", sa.Text, nullable=False),
        sa.Column("upstream", sa.Text, nullable=False),
        sa.Column("started_at", sa.Float, nullable=False),
        sa.Column("key_id", sa.Text, nullable=False),
        sa.Column("replica", sa.Text, nullable=False),
        sa.Column("model", sa.Text),
        sa.Column("user", sa.Text),
        sa.Column("tags", sa.Text, nullable=False),
        sa.Column("upstream_id", sa.Text),
        sa.Column("upstream_model", sa.Text),
        sa.Column("first_token_at", sa.Float),
        sa.Column("ended_at", sa.Float),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("cause", sa.Text),
        sa.Column("cancelled_by", sa.Text),
        sa.Column("reason", sa.Text),
        sa.Column("prompt_tokens", sa.Integer),
        sa.Column("completion_tokens", sa.Integer),
        sa.Column("cached_tokens", sa.Integer),
        sa.Column("reasoning_tokens", sa.Integer),
        sa.Column("usage_source", sa.Text, nullable=False),
        sa.Column("cost", sa.Text),
        sa.Column("currency", sa.Text),
        sa.Column("characters", sa.Integer),
        sa.Column("text_clipped", sa.Integer, nullable=False),
        sa.Column("error_kind", sa.Text),
        sa.Column("phase", sa.Text, nullable=False),
        sa.Column("elapsed_seconds", sa.Float),
        sa.Column("upstream_closed_ms", sa.Float),
        sa.Column("text", sa.Text),
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
        sa.Column("uid", sa.Text, primary_key=True),
        sa.Column("offset", sa.Integer, primary_key=True),
        sa.Column("piece", sa.Text, nullable=False),
    )


def _partial_index(name: str, columns: list[str], where: str) -> None:
    op.create_index(name, "generation", columns, sqlite_where=sa.text(where))
