"""The tables of ledger and conversations. What an existing file has is made by `migrations/`; a test compares them.

Times are seconds since the epoch; costs are whole numbers of the last digit that a cost has (`core.money`); tags,
prices, metadata and bodies are JSON objects, contents JSON values.
"""

from typing import Final

from sqlalchemy import Column, Float, ForeignKey, Index, Integer, MetaData, Table, Text, text

SCHEMA: Final = "0005"
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
    Column("cost", Integer),
    Column("currency", Text),
    Column("characters", Integer),
    Column("text_clipped", Integer, nullable=False),
    Column("error_kind", Text),
    Column("phase", Text, nullable=False),
    Column("elapsed_seconds", Float),
    Column("upstream_closed_ms", Float),
    Column("settlement", Text, nullable=False),
    Column("price", Text),
    Column("encoding", Text),
    Column("max_tokens", Integer),
    Column("late_tokens", Integer),
    Column("saved_most", Integer),
    Column("saved_typical", Integer),
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
Index("generation_interrupted", generation.c.uid, sqlite_where=text("outcome = 'interrupted'"))
Index("generation_with_text", generation.c.ended_at, sqlite_where=text("text IS NOT NULL"))

# `offset` counts the characters before the piece: writing a piece a second time gives the same row, not a longer text.
generation_text = Table(
    "generation_text",
    metadata,
    Column("uid", Text, primary_key=True),
    Column("offset", Integer, primary_key=True),
    Column("piece", Text, nullable=False),
)

# One row for each version of a record that is for ever: its end, written with it, and each later truth. Numbers are
# never used again, so that whoever has read up to one has missed nothing.
settled = Table(
    "settled",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("uid", Text, ForeignKey("generation.uid", ondelete="CASCADE"), nullable=False),
    Column("revision", Integer, nullable=False),
    sqlite_autoincrement=True,
)

Index("settled_once", settled.c.uid, settled.c.revision, unique=True)

# What others say later of a generation; its own numbers stay as they are.
truth = Table(
    "truth",
    metadata,
    Column("uid", Text, ForeignKey("generation.uid", ondelete="CASCADE"), primary_key=True),
    Column("revision", Integer, primary_key=True),
    Column("source", Text, nullable=False),
    Column("at", Float, nullable=False),
    Column("prompt_tokens", Integer),
    Column("completion_tokens", Integer),
    Column("cached_tokens", Integer),
    Column("reasoning_tokens", Integer),
    Column("cost", Integer),
    Column("currency", Text),
)

# How far each consumer of `settled` has been served.
consumer = Table(
    "consumer",
    metadata,
    Column("name", Text, primary_key=True),
    Column("number", Integer, nullable=False),
)

# `number` counts up with each insertion; `uid` says whose insertion a row is: a second one with the same uid is the
# first, written again.
thread = Table(
    "thread",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("uid", Text, nullable=False),
    Column("identity", Text, nullable=False),
    Column("dialect", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("user", Text),
    Column("created_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    Column("name", Text, nullable=False),
    Column("metadata", Text, nullable=False),
)

Index("thread_by_id", thread.c.identity, thread.c.dialect, thread.c.id, unique=True)
Index("thread_by_uid", thread.c.uid)
Index("thread_by_change", thread.c.identity, thread.c.dialect, thread.c.updated_at)
Index("thread_by_user", thread.c.identity, thread.c.dialect, thread.c.user, thread.c.updated_at)
Index("thread_by_age", thread.c.updated_at)

# `ended_by` is the uid of the end that counted. The text is the last column, as above.
message = Table(
    "message",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("uid", Text, nullable=False),
    Column("identity", Text, nullable=False),
    Column("dialect", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("thread_id", Text),
    Column("user", Text),
    Column("role", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("ended_at", Float),
    Column("ended_by", Text),
    Column("status", Text, nullable=False),
    Column("generation", Text),
    Column("metadata", Text, nullable=False),
    Column("content", Text, nullable=False),
    Column("text", Text, nullable=False),
)

Index("message_by_id", message.c.identity, message.c.dialect, message.c.id, unique=True)
Index("message_by_uid", message.c.uid)
Index(
    "message_by_thread",
    message.c.identity,
    message.c.dialect,
    message.c.thread_id,
    sqlite_where=text("thread_id IS NOT NULL"),
)
Index(
    "message_in_progress",
    message.c.identity,
    message.c.dialect,
    message.c.thread_id,
    sqlite_where=text("status = 'in_progress'"),
)
Index(
    "message_alone_by_end",
    message.c.ended_at,
    message.c.created_at,
    sqlite_where=text("thread_id IS NULL AND status <> 'in_progress'"),
)

# `message` is a uid; `offset` as in `generation_text`.
message_text = Table(
    "message_text",
    metadata,
    Column("message", Text, primary_key=True),
    Column("offset", Integer, primary_key=True),
    Column("piece", Text, nullable=False),
)

# `parent` is an id, of an item of any kind of the same owner's. The body is the last column, as above.
item = Table(
    "item",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("uid", Text, nullable=False),
    Column("identity", Text, nullable=False),
    Column("dialect", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("thread_id", Text),
    Column("parent", Text),
    Column("created_at", Float, nullable=False),
    Column("is_open", Integer, nullable=False),
    Column("is_interrupted", Integer, nullable=False),
    Column("expires_at", Float),
    Column("body", Text, nullable=False),
)

Index("item_by_id", item.c.identity, item.c.dialect, item.c.kind, item.c.id, unique=True)
Index("item_by_uid", item.c.uid)
# Lists name the kind too; what goes with its parent is of any kind. Rows of one key lie in the order of `number`.
Index("item_by_parent", item.c.identity, item.c.dialect, item.c.parent, item.c.kind)
Index(
    "item_by_thread",
    item.c.identity,
    item.c.dialect,
    item.c.thread_id,
    sqlite_where=text("thread_id IS NOT NULL"),
)
Index("item_by_expiry", item.c.expires_at, sqlite_where=text("is_open = 0 AND expires_at IS NOT NULL"))
Index("item_open", item.c.identity, item.c.dialect, item.c.thread_id, sqlite_where=text("is_open = 1"))

# What one deletion took, by uid, until whoever asked for it has read it: its answer must survive being written twice.
# `what` is thread, message or item; `below` for an item that goes with its thread or parent.
deletion = Table(
    "deletion",
    metadata,
    Column("token", Text, primary_key=True),
    Column("uid", Text, primary_key=True),
    Column("what", Text, nullable=False),
    Column("generation", Text),
)
