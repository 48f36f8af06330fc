"""How threads and messages are put in, changed and ended: what the writer is told, see `sql`."""

from typing import Any, Final

from sqlalchemy import ColumnElement, delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from proxy.stores.conversations.sql import (
    ANY,
    IN_PROGRESS,
    PRESUMED,
    TOKEN,
    Statement,
    added,
    all_or_none,
    compiled,
    has_its_thread,
    of_one_call,
    owned,
    text,
    valued,
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
        updated_at=valued(thread.c.updated_at),
        name=func.coalesce(text("new_name"), thread.c.name),
        metadata=func.coalesce(text("new_metadata"), thread.c.metadata),
    )
)
"""Values: the owner's, updated_at, new_name and new_metadata (each may be None)."""

UPDATE_MESSAGE: Final = compiled(update(message).where(owned(message)).values(metadata=text("new_metadata")))
"""Values: the owner's, new_metadata."""


def _piece() -> Statement:
    # The message stays as it is until the transaction ends: an end that comes meanwhile finds the piece.
    going_on = select(*map(valued, message_text.columns)).where(message.c.uid == text("message"), IN_PROGRESS)
    going_on = going_on.select_from(message).with_for_update(read=True)
    fresh = insert(message_text).from_select(list(message_text.columns), going_on)
    key = [message_text.c.message, message_text.c.offset]
    return compiled(fresh.on_conflict_do_update(index_elements=key, set_={"piece": fresh.excluded.piece}))


PIECE: Final = _piece()
"""Values: message (its uid), offset in characters, piece. Nothing for a message that is not in progress."""


_ENDS: Final = (owned(message), or_(IN_PROGRESS, message.c.ended_by.in_([TOKEN, PRESUMED])))


def _ended(column: ColumnElement[Any]) -> Any:
    return select(column).where(owned(message), message.c.ended_by == TOKEN).scalar_subquery()


END: Final = (
    compiled(
        update(thread)
        .where(
            thread.c.identity == text("identity"),
            thread.c.dialect == text("dialect"),
            thread.c.id == select(message.c.thread_id).where(*_ENDS).scalar_subquery(),
        )
        .values(updated_at=valued(message.c.ended_at))
    ),
    compiled(
        update(message)
        .where(*_ENDS)
        .values(
            ended_by=TOKEN,
            ended_at=valued(message.c.ended_at),
            status=text("status"),
            text=text("text"),
            content=text("content"),
            metadata=func.coalesce(text("new_metadata"), message.c.metadata),
        )
    ),
    compiled(delete(message_text).where(message_text.c.message == _ended(message.c.uid))),
)
"""Values: the owner's, a token of this end's own, ended_at, status, text, content, new_metadata (may be None). First
the thread, as everywhere; the second one says whether this end counts; then the pieces go if it does."""
