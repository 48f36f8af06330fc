"""What was cut off is found at once: its tokens are counted behind the start, and then it is settled."""

from alembic import op

from proxy.stores.column_types import where

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add an index over the records that were cut off."""
    op.create_index("generation_interrupted", "generation", ["uid"], **where("outcome = 'interrupted'"))
