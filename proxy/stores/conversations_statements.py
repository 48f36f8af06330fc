"""What the conversation store says to the writer, compiled once from the tables; values go by name.

Each statement may run twice with the same values and give the same store and the same number of rows, so that a
transaction whose answer was lost can simply be written again. Who did something the first time is known by the uid or
token that it left in the row.
"""

from typing import Any, Final

from sqlalchemy import (
    BindParameter,
    ClauseElement,
    ColumnElement,
    Select,
    Table,
    and_,
    bindparam,
    delete,
    exists,
    func,
    literal_column,
    null,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.sqlite import Insert, insert

from proxy.stores.tables import deletion, message, message_text, thread

IN_PROGRESS: Final[ColumnElement[bool]] = message.c.status == literal_column("'in_progress'")

_FIRST: BindParameter[str] = bindparam("first")
_LAST: BindParameter[str] = bindparam("last")
_TOKEN: BindParameter[str] = bindparam("token")
_UIDS = select(deletion.c.uid).where(deletion.c.token == _TOKEN)


def _sql(statement: ClauseElement) -> str:
    return str(statement.compile(dialect=sqlite.dialect(paramstyle="named")))


def _owned(table: Table) -> ColumnElement[bool]:
    user: BindParameter[str] = bindparam("user")
    return and_(
        table.c.identity == bindparam("identity"),
        table.c.dialect == bindparam("dialect"),
        table.c.id == bindparam("id"),
        or_(user.is_(null()), table.c.user == user),
    )


def _once(table: Table, fresh: Insert) -> str:
    # A row of the same uid is this one, written before: it is counted again and stays as it is.
    same = table.c.uid == fresh.excluded.uid
    key = [table.c.identity, table.c.dialect, table.c.id]
    return _sql(fresh.on_conflict_do_update(index_elements=key, set_={"uid": fresh.excluded.uid}, where=same))


def _add(table: Table, unset: str, where: ColumnElement[bool]) -> str:
    names = [column.name for column in table.columns if column.name not in {"number", unset}]
    values: list[ColumnElement[Any]] = [bindparam(name) for name in names]
    return _once(table, insert(table).from_select(names, select(*values).where(where)))


def _has_its_thread() -> ColumnElement[bool]:
    thread_id: BindParameter[str] = bindparam("thread_id")
    there = exists().where(
        thread.c.identity == bindparam("identity"), thread.c.dialect == bindparam("dialect"), thread.c.id == thread_id
    )
    return or_(thread_id.is_(null()), there)


ADD_THREAD: Final = _add(thread, "", literal_column("1") == literal_column("1"))
"""Values: a thread's. No row if the id is taken."""

ADD_MESSAGE: Final = _add(message, "ended_by", _has_its_thread())
"""Values: a message's. No row if the id is taken, or its thread is not there."""

_OF_ONE_CALL = message.c.uid.between(_FIRST, _LAST)

_WENT_IN = select(func.count()).select_from(message).where(_OF_ONE_CALL).scalar_subquery()

ALL_OR_NONE: Final = _sql(delete(message).where(_OF_ONE_CALL, bindparam("many") > _WENT_IN))
"""Values: the first and the last uid, how many there are between. Takes messages out if not all of them went in."""

TAKE_BACK: Final = (
    _sql(delete(message_text).where(message_text.c.message.between(_FIRST, _LAST))),
    _sql(delete(message).where(_OF_ONE_CALL)),
)
"""Values: the first and the last uid of messages that came to the disk after their caller had been told they failed."""

UPDATE_THREAD: Final = _sql(
    update(thread)
    .where(_owned(thread))
    .values(
        updated_at=bindparam("updated_at"),
        name=func.coalesce(bindparam("new_name"), thread.c.name),
        metadata=func.coalesce(bindparam("new_metadata"), thread.c.metadata),
    )
)
"""Values: the owner's, updated_at, new_name and new_metadata (each may be None)."""

UPDATE_MESSAGE: Final = _sql(update(message).where(_owned(message)).values(metadata=bindparam("new_metadata")))
"""Values: the owner's, new_metadata."""


def _piece() -> str:
    going_on = exists().where(message.c.uid == bindparam("message"), IN_PROGRESS)
    names = ["message", "offset", "piece"]
    fresh = insert(message_text).from_select(names, select(*(bindparam(name) for name in names)).where(going_on))
    key = [message_text.c.message, message_text.c.offset]
    return _sql(fresh.on_conflict_do_update(index_elements=key, set_={"piece": fresh.excluded.piece}))


PIECE: Final = _piece()
"""Values: message (its uid), offset in characters, piece. Nothing for a message that is not in progress."""


def _ended(column: ColumnElement[Any]) -> Any:
    return select(column).where(_owned(message), message.c.ended_by == _TOKEN).scalar_subquery()


END: Final = _sql(
    update(message)
    .where(_owned(message), or_(IN_PROGRESS, message.c.ended_by == _TOKEN))
    .values(
        ended_by=_TOKEN,
        ended_at=bindparam("ended_at"),
        status=bindparam("status"),
        text=bindparam("text"),
        content=bindparam("content"),
        metadata=func.coalesce(bindparam("new_metadata"), message.c.metadata),
    )
)
"""Values: the owner's, a token of this end's own, ended_at, status, text, content, new_metadata (may be None)."""

AFTER_END: Final = (
    _sql(
        update(thread)
        .where(
            thread.c.identity == bindparam("identity"),
            thread.c.dialect == bindparam("dialect"),
            thread.c.id == _ended(message.c.thread_id),
        )
        .values(updated_at=bindparam("ended_at"))
    ),
    _sql(delete(message_text).where(message_text.c.message == _ended(message.c.uid))),
)
"""Values: as for `END`. What follows if that end counted."""


def _note(table: Table, *where: ColumnElement[bool], first: ColumnElement[Any]) -> Select[Any]:
    """What is noted of the rows of a table that are to go."""
    of_thread = table is thread
    generation = null() if of_thread else message.c.generation
    return select(_TOKEN, table.c.uid, literal_column(str(int(of_thread))), generation).where(*where).order_by(first)


def _noted(what: Select[Any]) -> str:
    names = [column.name for column in deletion.columns]
    return _sql(insert(deletion).from_select(names, what).on_conflict_do_nothing())


def _at_most(what: Select[Any]) -> Select[Any]:
    return what.limit(bindparam("many")).offset(literal_column("0"))


_UID: BindParameter[str] = bindparam("uid")
_BEFORE: BindParameter[float] = bindparam("before")

NOTE_THREAD: Final = _noted(
    _note(thread, _owned(thread), or_(_UID.is_(null()), thread.c.uid == _UID), first=thread.c.number)
)
"""Values: a token of this deletion's own, the owner's, uid (None: whichever). Notes a thread for deletion."""

NOTE_MESSAGE: Final = _noted(_note(message, _owned(message), first=message.c.number))
"""Values: a token, the owner's. Notes a message for deletion."""

_IN_PROGRESS_IN_IT = exists().where(
    message.c.identity == thread.c.identity,
    message.c.dialect == thread.c.dialect,
    message.c.thread_id == thread.c.id,
    IN_PROGRESS,
)

NOTE_OLD_THREADS: Final = _noted(
    _at_most(_note(thread, thread.c.updated_at < _BEFORE, ~_IN_PROGRESS_IN_IT, first=thread.c.updated_at))
)
"""Values: a token, the time before which a thread changed for the last time, how many at most. Notes threads in which
nothing is in progress."""

_ALONE = and_(message.c.thread_id.is_(null()), message.c.status != literal_column("'in_progress'"))

NOTE_OLD_MESSAGES: Final = tuple(
    _noted(_at_most(_note(message, _ALONE, *old, first=message.c.ended_at)))
    for old in (
        [message.c.ended_at < _BEFORE],
        [message.c.ended_at.is_(null()), message.c.created_at < _BEFORE],
    )
)
"""Values: as for `NOTE_OLD_THREADS`. Notes messages without a thread; one that was put in whole ended when it was made.
Two statements, because SQLite would look at all messages for an OR of both."""

NOTE_MESSAGES_OF_THREADS: Final = _noted(
    _note(
        message,
        tuple_(message.c.identity, message.c.dialect, message.c.thread_id).in_(
            select(thread.c.identity, thread.c.dialect, thread.c.id).where(thread.c.uid.in_(_UIDS))
        ),
        first=message.c.number,
    )
)
"""Values: a token. Notes all messages of the threads noted under it."""

DELETE_NOTED: Final = (
    _sql(delete(message_text).where(message_text.c.message.in_(_UIDS))),
    _sql(delete(message).where(message.c.uid.in_(_UIDS))),
    _sql(delete(thread).where(thread.c.uid.in_(_UIDS))),
)
"""Values: a token. Deletes what was noted under it: pieces, messages, threads."""

FORGET: Final = _sql(delete(deletion).where(deletion.c.token == _TOKEN))
"""Values: a token. Deletes the notes themselves."""
