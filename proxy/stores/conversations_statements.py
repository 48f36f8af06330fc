"""How threads and messages are put in, changed and ended: what the writer is told, see `conversations_sql`."""

from typing import Any, Final

from sqlalchemy import ColumnElement, bindparam, delete, exists, func, or_, select, update
from sqlalchemy.dialects.sqlite import insert

from proxy.stores.conversations_sql import (
    ANY,
    IN_PROGRESS,
    TOKEN,
    added,
    all_or_none,
    compiled,
    has_its_thread,
    of_one_call,
    owned,
)
from proxy.stores.tables import message, message_text, thread

ADD_THREAD: Final = added(thread, [thread.c.identity, thread.c.dialect, thread.c.id], ANY)
"""Values: a thread's. No row if the id is taken."""

ADD_MESSAGE: Final = added(
    message, [message.c.identity, message.c.dialect, message.c.id], has_its_thread(), unset="ended_by"
)
"""Values: a message's. No row if the id is taken, or its thread is not there."""

ALL_OR_NONE: Final = all_or_none(message)
"""Values: the first and the last uid, how many there are between. Takes messages out if not all of them went in."""

TAKE_BACK: Final = (
    compiled(delete(message_text).where(of_one_call(message_text.c.message))),
    compiled(delete(message).where(of_one_call(message.c.uid))),
)
"""Values: the first and the last uid of messages that came to the disk after their caller had been told they failed."""

UPDATE_THREAD: Final = compiled(
    update(thread)
    .where(owned(thread))
    .values(
        updated_at=bindparam("updated_at"),
        name=func.coalesce(bindparam("new_name"), thread.c.name),
        metadata=func.coalesce(bindparam("new_metadata"), thread.c.metadata),
    )
)
"""Values: the owner's, updated_at, new_name and new_metadata (each may be None)."""

UPDATE_MESSAGE: Final = compiled(update(message).where(owned(message)).values(metadata=bindparam("new_metadata")))
"""Values: the owner's, new_metadata."""


def _piece() -> str:
    going_on = exists().where(message.c.uid == bindparam("message"), IN_PROGRESS)
    names = ["message", "offset", "piece"]
    fresh = insert(message_text).from_select(names, select(*(bindparam(name) for name in names)).where(going_on))
    key = [message_text.c.message, message_text.c.offset]
    return compiled(fresh.on_conflict_do_update(index_elements=key, set_={"piece": fresh.excluded.piece}))


PIECE: Final = _piece()
"""Values: message (its uid), offset in characters, piece. Nothing for a message that is not in progress."""


def _ended(column: ColumnElement[Any]) -> Any:
    return select(column).where(owned(message), message.c.ended_by == TOKEN).scalar_subquery()


END: Final = compiled(
    update(message)
    .where(owned(message), or_(IN_PROGRESS, message.c.ended_by == TOKEN))
    .values(
        ended_by=TOKEN,
        ended_at=bindparam("ended_at"),
        status=bindparam("status"),
        text=bindparam("text"),
        content=bindparam("content"),
        metadata=func.coalesce(bindparam("new_metadata"), message.c.metadata),
    )
)
"""Values: the owner's, a token of this end's own, ended_at, status, text, content, new_metadata (may be None)."""

AFTER_END: Final = (
    compiled(
        update(thread)
        .where(
            thread.c.identity == bindparam("identity"),
            thread.c.dialect == bindparam("dialect"),
            thread.c.id == _ended(message.c.thread_id),
        )
        .values(updated_at=bindparam("ended_at"))
    ),
    compiled(delete(message_text).where(message_text.c.message == _ended(message.c.uid))),
)
"""Values: as for `END`. What follows if that end counted."""
