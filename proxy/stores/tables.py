"""The tables of ledger and conversations. What an existing file has is made by `migrations/`; a test compares them.

Times are seconds since the epoch; costs are whole numbers of the last digit that a cost has (`core.money`); tags,
prices, metadata and bodies are JSON objects, contents JSON values.
"""

from typing import Final

from sqlalchemy import Column, Float, ForeignKey, Index, MetaData, Table

from proxy.stores.column_types import TEXT, WHOLE, where

SCHEMA: Final = "0007"
"""The revision that this program reads and writes: the newest one of `migrations/versions`."""

APPLICATION_ID: Final = 0x51754C6C
"""What marks an SQLite file as a ledger of ours (`PRAGMA application_id`), so that no foreign file is ever changed."""

metadata = MetaData()

# The text is the last column: SQLite reads a row from the front, so sums and lists never touch its overflow pages.
generation = Table(
    "generation",
    metadata,
    Column("uid", TEXT, primary_key=True),
    Column("identity", TEXT, nullable=False),
    Column("task_id", TEXT, nullable=False),
    Column("message_id", TEXT, nullable=False),
    Column("dialect", TEXT, nullable=False),
    Column("route", TEXT, nullable=False),
    Column("upstream", TEXT, nullable=False),
    Column("started_at", Float, nullable=False),
    Column("key_id", TEXT, nullable=False),
    Column("replica", TEXT, nullable=False),
    Column("model", TEXT),
    Column("user", TEXT),
    Column("tags", TEXT, nullable=False),
    Column("upstream_id", TEXT),
    Column("upstream_model", TEXT),
    Column("first_token_at", Float),
    Column("ended_at", Float),
    Column("outcome", TEXT, nullable=False),
    Column("cause", TEXT),
    Column("cancelled_by", TEXT),
    Column("reason", TEXT),
    Column("prompt_tokens", WHOLE),
    Column("completion_tokens", WHOLE),
    Column("cached_tokens", WHOLE),
    Column("reasoning_tokens", WHOLE),
    Column("usage_source", TEXT, nullable=False),
    Column("cost", WHOLE),
    Column("currency", TEXT),
    Column("characters", WHOLE),
    Column("text_clipped", WHOLE, nullable=False),
    Column("error_kind", TEXT),
    Column("phase", TEXT, nullable=False),
    Column("elapsed_seconds", Float),
    Column("upstream_closed_ms", Float),
    Column("settlement", TEXT, nullable=False),
    Column("price", TEXT),
    Column("encoding", TEXT),
    Column("max_tokens", WHOLE),
    Column("late_tokens", WHOLE),
    Column("saved_most", WHOLE),
    Column("saved_typical", WHOLE),
    Column("text", TEXT),
)

Index("generation_by_task_id", generation.c.task_id, generation.c.identity)
Index("generation_by_message_id", generation.c.message_id, generation.c.identity)
Index(
    "generation_by_upstream_id",
    generation.c.upstream_id,
    generation.c.identity,
    **where("upstream_id IS NOT NULL"),
)
Index("generation_by_start", generation.c.started_at, generation.c.uid)
Index("generation_by_identity", generation.c.identity, generation.c.started_at, generation.c.uid)
Index("generation_by_end", generation.c.ended_at, **where("ended_at IS NOT NULL"))
Index("generation_running", generation.c.uid, **where("outcome = 'running'"))
Index("generation_interrupted", generation.c.uid, **where("outcome = 'interrupted'"))
Index("generation_with_text", generation.c.ended_at, **where("text IS NOT NULL"))

# `offset` counts the characters before the piece: writing a piece a second time gives the same row, not a longer text.
generation_text = Table(
    "generation_text",
    metadata,
    Column("uid", TEXT, primary_key=True),
    Column("offset", WHOLE, primary_key=True),
    Column("piece", TEXT, nullable=False),
)

# One row for each version of a record that is for ever: its end, written with it, and each later truth. Numbers are
# never used again, so that whoever has read up to one has missed nothing.
settled = Table(
    "settled",
    metadata,
    Column("number", WHOLE, primary_key=True),
    Column("uid", TEXT, ForeignKey("generation.uid", ondelete="CASCADE"), nullable=False),
    Column("revision", WHOLE, nullable=False),
    sqlite_autoincrement=True,
)

Index("settled_once", settled.c.uid, settled.c.revision, unique=True)

# What others say later of a generation; its own numbers stay as they are.
truth = Table(
    "truth",
    metadata,
    Column("uid", TEXT, ForeignKey("generation.uid", ondelete="CASCADE"), primary_key=True),
    Column("revision", WHOLE, primary_key=True),
    Column("source", TEXT, nullable=False),
    Column("at", Float, nullable=False),
    Column("prompt_tokens", WHOLE),
    Column("completion_tokens", WHOLE),
    Column("cached_tokens", WHOLE),
    Column("reasoning_tokens", WHOLE),
    Column("cost", WHOLE),
    Column("currency", TEXT),
)

# How far each consumer of `settled` has been served.
consumer = Table(
    "consumer",
    metadata,
    Column("name", TEXT, primary_key=True),
    Column("number", WHOLE, nullable=False),
)

# Of a ledger that replicas share: the running records of each, and in which life of its process they began.
running = Table(
    "running",
    metadata,
    Column("uid", TEXT, ForeignKey("generation.uid", ondelete="CASCADE"), primary_key=True),
    Column("replica", TEXT, nullable=False),
    Column("boot", TEXT, nullable=False),
)

Index("running_by_replica", running.c.replica, running.c.boot)

# How far in `settled` a replica's own file was forwarded: in that file its one row, in the shared ledger one for each.
spool = Table(
    "spool",
    metadata,
    Column("id", TEXT, primary_key=True),
    Column("replica", TEXT, nullable=False),
    Column("number", WHOLE, nullable=False),
)

# Whose text was deleted: in a replica's own file those that the shared ledger doesn't know of yet, there all of them.
wiped = Table(
    "wiped",
    metadata,
    Column("number", WHOLE, primary_key=True),
    Column("at", Float, nullable=False),
    Column("uid", TEXT, nullable=False),
    sqlite_autoincrement=True,
)

Index("wiped_once", wiped.c.uid, unique=True)

# `number` counts up with each insertion; `uid` says whose insertion a row is: a second one with the same uid is the
# first, written again.
thread = Table(
    "thread",
    metadata,
    Column("number", WHOLE, primary_key=True),
    Column("uid", TEXT, nullable=False),
    Column("identity", TEXT, nullable=False),
    Column("dialect", TEXT, nullable=False),
    Column("id", TEXT, nullable=False),
    Column("user", TEXT),
    Column("created_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    Column("name", TEXT, nullable=False),
    Column("metadata", TEXT, nullable=False),
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
    Column("number", WHOLE, primary_key=True),
    Column("uid", TEXT, nullable=False),
    Column("identity", TEXT, nullable=False),
    Column("dialect", TEXT, nullable=False),
    Column("id", TEXT, nullable=False),
    Column("thread_id", TEXT),
    Column("user", TEXT),
    Column("role", TEXT, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("ended_at", Float),
    Column("ended_by", TEXT),
    Column("status", TEXT, nullable=False),
    Column("generation", TEXT),
    Column("metadata", TEXT, nullable=False),
    Column("content", TEXT, nullable=False),
    Column("text", TEXT, nullable=False),
)

Index("message_by_id", message.c.identity, message.c.dialect, message.c.id, unique=True)
Index("message_by_uid", message.c.uid)
Index(
    "message_by_thread",
    message.c.identity,
    message.c.dialect,
    message.c.thread_id,
    **where("thread_id IS NOT NULL"),
)
Index(
    "message_in_progress",
    message.c.identity,
    message.c.dialect,
    message.c.thread_id,
    **where("status = 'in_progress'"),
)
Index(
    "message_alone_by_end",
    message.c.ended_at,
    message.c.created_at,
    **where("thread_id IS NULL AND status <> 'in_progress'"),
)

# `message` is a uid; `offset` as in `generation_text`.
message_text = Table(
    "message_text",
    metadata,
    Column("message", TEXT, primary_key=True),
    Column("offset", WHOLE, primary_key=True),
    Column("piece", TEXT, nullable=False),
)

# `parent` is an id, of an item of any kind of the same owner's. The body is the last column, as above.
item = Table(
    "item",
    metadata,
    Column("number", WHOLE, primary_key=True),
    Column("uid", TEXT, nullable=False),
    Column("identity", TEXT, nullable=False),
    Column("dialect", TEXT, nullable=False),
    Column("kind", TEXT, nullable=False),
    Column("id", TEXT, nullable=False),
    Column("thread_id", TEXT),
    Column("parent", TEXT),
    Column("created_at", Float, nullable=False),
    Column("is_open", WHOLE, nullable=False),
    Column("is_interrupted", WHOLE, nullable=False),
    Column("expires_at", Float),
    Column("body", TEXT, nullable=False),
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
    **where("thread_id IS NOT NULL"),
)
Index("item_by_expiry", item.c.expires_at, **where("is_open = 0 AND expires_at IS NOT NULL"))
Index("item_open", item.c.identity, item.c.dialect, item.c.thread_id, **where("is_open = 1"))

# What one deletion took, by uid, until whoever asked for it has read it: its answer must survive being written twice.
# `what` is thread, message or item; `below` for an item that goes with its thread or parent.
deletion = Table(
    "deletion",
    metadata,
    Column("number", WHOLE, primary_key=True),
    Column("token", TEXT, nullable=False),
    Column("uid", TEXT, nullable=False),
    Column("what", TEXT, nullable=False),
    Column("generation", TEXT),
)

Index("deletion_once", deletion.c.token, deletion.c.uid, unique=True)

# Of conversations that replicas share: until when each life of a process lives, by the database's clock. `place` is
# that of its own file, which one process has at a time.
lease = Table(
    "lease",
    metadata,
    Column("owner", TEXT, primary_key=True),
    Column("place", TEXT, nullable=False),
    Column("until", Float, nullable=False),
)

# What one of them works on alone, be it a thread. `token` is of this one hold, `label` for others to see.
hold = Table(
    "hold",
    metadata,
    Column("identity", TEXT, primary_key=True),
    Column("dialect", TEXT, primary_key=True),
    Column("key", TEXT, primary_key=True),
    Column("token", TEXT, nullable=False),
    Column("owner", TEXT, nullable=False),
    Column("label", TEXT, nullable=False),
)

Index("hold_by_owner", hold.c.owner)

# In a replica's own file: what the shared conversations have yet to be told, in this order; `acts` is JSON.
late = Table(
    "late",
    metadata,
    Column("number", WHOLE, primary_key=True),
    Column("token", TEXT, nullable=False),
    Column("acts", TEXT, nullable=False),
    sqlite_autoincrement=True,
)

Index("late_once", late.c.token, unique=True)
