"""Money: what a record says of it, the order in which records ended, later truths, and who has read how far."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table of generations anew, its text still the last column; create the other tables.

    Costs were null until now, so that none of them has to be read.
    """
    op.rename_table("generation", "generation_before")
    _generations()
    kept = ", ".join(_KEPT)
    op.execute(
        f"INSERT INTO generation ({kept}, settlement, text) SELECT {kept}, 'produced', text FROM generation_before"  # noqa: S608 names of our own
    )
    op.drop_table("generation_before")
    _indexes()
    _others()
    op.execute(
        "INSERT INTO settled (uid, revision) SELECT uid, 1 FROM generation WHERE outcome <> 'running' ORDER BY ended_at"
    )


_KEPT = (
    *("uid", "identity", "task_id", "message_id", "dialect", "route", "upstream", "started_at", "key_id", "replica"),
    *("model", "user", "tags", "upstream_id", "upstream_model", "first_token_at", "ended_at", "outcome", "cause"),
    *("cancelled_by", "reason", "prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens"),
    *("usage_source", "characters", "text_clipped", "error_kind", "phase", "elapsed_seconds", "upstream_closed_ms"),
)


def _generations() -> None:
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
        sa.Column("cost", sa.Integer),
        sa.Column("currency", sa.Text),
        sa.Column("characters", sa.Integer),
        sa.Column("text_clipped", sa.Integer, nullable=False),
        sa.Column("error_kind", sa.Text),
        sa.Column("phase", sa.Text, nullable=False),
        sa.Column("elapsed_seconds", sa.Float),
        sa.Column("upstream_closed_ms", sa.Float),
        sa.Column("settlement", sa.Text, nullable=False),
        sa.Column("price", sa.Text),
        sa.Column("encoding", sa.Text),
        sa.Column("max_tokens", sa.Integer),
        sa.Column("late_tokens", sa.Integer),
        sa.Column("saved_most", sa.Integer),
        sa.Column("saved_typical", sa.Integer),
        sa.Column("text", sa.Text),
    )


def _indexes() -> None:
    op.create_index("generation_by_task_id", "generation", ["task_id", "identity"])
    op.create_index("generation_by_message_id", "generation", ["message_id", "identity"])
    _partial_index("generation_by_upstream_id", ["upstream_id", "identity"], "upstream_id IS NOT NULL")
    op.create_index("generation_by_start", "generation", ["started_at", "uid"])
    op.create_index("generation_by_identity", "generation", ["identity", "started_at", "uid"])
    _partial_index("generation_by_end", ["ended_at"], "ended_at IS NOT NULL")
    _partial_index("generation_running", ["uid"], "outcome = 'running'")
    _partial_index("generation_with_text", ["ended_at"], "text IS NOT NULL")


def _partial_index(name: str, columns: list[str], where: str) -> None:
    op.create_index(name, "generation", columns, sqlite_where=sa.text(where))


def _others() -> None:
    op.create_table(
        "settled",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("uid", sa.Text, sa.ForeignKey("generation.uid", ondelete="CASCADE"), nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("settled_once", "settled", ["uid", "revision"], unique=True)
    op.create_table(
        "truth",
        sa.Column("uid", sa.Text, sa.ForeignKey("generation.uid", ondelete="CASCADE"), primary_key=True),
        sa.Column("revision", sa.Integer, primary_key=True),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("prompt_tokens", sa.Integer),
        sa.Column("completion_tokens", sa.Integer),
        sa.Column("cached_tokens", sa.Integer),
        sa.Column("reasoning_tokens", sa.Integer),
        sa.Column("cost", sa.Integer),
        sa.Column("currency", sa.Text),
    )
    op.create_table(
        "consumer",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("number", sa.Integer, nullable=False),
    )
