"""The ledger's tables. What an existing file has is made by `migrations/`; a test holds the two together.

Times are seconds since the epoch; costs are decimal strings, which no float rounds; tags are a JSON object.
"""

from typing import Final

from sqlalchemy import Column, Float, Index, Integer, MetaData, Table, Text, text

SCHEMA: Final = "0001"
"""The revision that this program reads and writes: the newest one of `migrations/versions`."""

APPLICATION_ID: Final = 0x51754C6C
"""What marks an SQLite file as a ledger of ours (`PRAGMA application_id`), so that no foreign file is ever changed."""

metadata = MetaData()

# The text is the last column: SQLite reads a row from the front, so sums and lists never touch its overflow pages.
generation = Table(
    "generation",
    metadata,
    Column("uid", Text, primary_key=True),
    Column("identity", Text, nullable=False),
    Column("task_id", Text, nullable=False),
    Column("message_id", Text, nullable=False),
    Column("dialect", Text, nullable=False),
    Column("route", Text, nullable=False),
    Column("upstream", Text, nullable=False),
    Column("started_at", Float, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("replica", Text, nullable=False),
    Column("model", Text),
    Column("user", Text),
    Column("tags", Text, nullable=False),
    Column("upstream_id", Text),
    Column("upstream_model", Text),
    Column("first_token_at", Float),
    Column("ended_at", Float),
    Column("outcome", Text, nullable=False),
    Column("cause", Text),
    Column("cancelled_by", Text),
    Column("reason", Text),
    Column("prompt_tokens", Integer),
    Column("completion_tokens", Integer),
    Column("cached_tokens", Integer),
    Column("reasoning_tokens", Integer),
    Column("usage_source", Text, nullable=False),
    Column("cost", Text),
    Column("currency", Text),
    Column("characters", Integer),
    Column("text_clipped", Integer, nullable=False),
    Column("error_kind", Text),
    Column("phase", Text, nullable=False),
    Column("elapsed_seconds", Float),
    Column("upstream_closed_ms", Float),
    Column("text", Text),
)

Index("generation_by_task_id", generation.c.task_id, generation.c.identity)
Index("generation_by_message_id", generation.c.message_id, generation.c.identity)
Index(
    "generation_by_upstream_id",
    generation.c.upstream_id,
    generation.c.identity,
    sqlite_where=text("upstream_id IS NOT NULL"),
)
Index("generation_by_start", generation.c.started_at, generation.c.uid)
Index("generation_by_identity", generation.c.identity, generation.c.started_at, generation.c.uid)
Index("generation_by_end", generation.c.ended_at, sqlite_where=text("ended_at IS NOT NULL"))
Index("generation_running", generation.c.uid, sqlite_where=text("outcome = 'running'"))
Index("generation_with_text", generation.c.ended_at, sqlite_where=text("text IS NOT NULL"))

# `offset` counts the characters before the piece: writing a piece a second time gives the same row, not a longer text.
generation_text = Table(
    "generation_text",
    metadata,
    Column("uid", Text, primary_key=True),
    Column("offset", Integer, primary_key=True),
    Column("piece", Text, nullable=False),
)
