"""Money: what a record says of it, the order in which records ended, later truths, and who has read how far."""

import sqlalchemy as sa
from alembic import op

from proxy.stores.column_types import TEXT, WHOLE, where

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
    kept = ", ".join(f'"{name}"' for name in _KEPT)
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
        sa.Column("cost", WHOLE),
        sa.Column("currency", TEXT),
        sa.Column("characters", WHOLE),
        sa.Column("text_clipped", WHOLE, nullable=False),
        sa.Column("error_kind", TEXT),
        sa.Column("phase", TEXT, nullable=False),
        sa.Column("elapsed_seconds", sa.Float),
        sa.Column("upstream_closed_ms", sa.Float),
        sa.Column("settlement", TEXT, nullable=False),
        sa.Column("price", TEXT),
        sa.Column("encoding", TEXT),
        sa.Column("max_tokens", WHOLE),
        sa.Column("late_tokens", WHOLE),
        sa.Column("saved_most", WHOLE),
        sa.Column("saved_typical", WHOLE),
        sa.Column("text", TEXT),
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


def _partial_index(name: str, columns: list[str], condition: str) -> None:
    op.create_index(name, "generation", columns, **where(condition))


def _others() -> None:
    op.create_table(
        "settled",
        sa.Column("number", WHOLE, primary_key=True),
        sa.Column("uid", TEXT, sa.ForeignKey("generation.uid", ondelete="CASCADE"), nullable=False),
        sa.Column("revision", WHOLE, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("settled_once", "settled", ["uid", "revision"], unique=True)
    op.create_table(
        "truth",
        sa.Column("uid", TEXT, sa.ForeignKey("generation.uid", ondelete="CASCADE"), primary_key=True),
        sa.Column("revision", WHOLE, primary_key=True),
        sa.Column("source", TEXT, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("prompt_tokens", WHOLE),
        sa.Column("completion_tokens", WHOLE),
        sa.Column("cached_tokens", WHOLE),
        sa.Column("reasoning_tokens", WHOLE),
        sa.Column("cost", WHOLE),
        sa.Column("currency", TEXT),
    )
    op.create_table(
        "consumer",
        sa.Column("name", TEXT, primary_key=True),
        sa.Column("number", WHOLE, nullable=False),
    )
