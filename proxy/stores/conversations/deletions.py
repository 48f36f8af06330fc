"""What goes: first it is noted under a token, with what goes with it, then deleted; the notes are the answer.

Written a second time a deletion finds nothing any more, and its notes are still there. What the writer is told, see
`sql`.
"""

from typing import Any, Final

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Select,
    Table,
    and_,
    bindparam,
    delete,
    exists,
    literal_column,
    null,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from proxy.stores.column_types import WHOLE
from proxy.stores.conversations.items_statements import NAMED
from proxy.stores.conversations.sql import IN_PROGRESS, OPEN, TOKEN, Act, Statement, compiled, owned, text, valued
from proxy.stores.tables import deletion, generation, generation_text, item, message, message_text, thread, wiped

_UIDS = select(deletion.c.uid).where(deletion.c.token == TOKEN)
_UID = text("uid")
_BEFORE: BindParameter[float] = valued(message.c.ended_at, "before")


def _note(table: Table, *where: ColumnElement[bool], first: ColumnElement[Any], what: str = "") -> Select[Any]:
    """What is noted of the rows of a table that are to go. Nobody else changes them until the transaction ends."""
    made_by = message.c.generation if table is message else null()
    kind: ColumnElement[str] = literal_column(f"'{what or table.name}'")
    return select(TOKEN, table.c.uid, kind, made_by).where(*where).order_by(first).with_for_update(of=table)


def _noted(what: Select[Any]) -> Statement:
    names = [column.name for column in deletion.columns if column.name != "number"]
    return compiled(insert(deletion).from_select(names, what).on_conflict_do_nothing())


def _at_most(what: Select[Any], table: Table) -> Select[Any]:
    """The first of them, without those that another replica is at."""
    first = what.limit(bindparam("many", type_=WHOLE)).offset(literal_column("0"))
    return first.with_for_update(of=table, skip_locked=True)


def _is_in_it(table: Table) -> ColumnElement[bool]:
    """The row is one of that thread's."""
    return and_(
        table.c.identity == thread.c.identity,
        table.c.dialect == thread.c.dialect,
        table.c.thread_id == thread.c.id,
    )


def _of_noted_threads(table: Table) -> ColumnElement[bool]:
    threads = select(thread.c.identity, thread.c.dialect, thread.c.id).where(thread.c.uid.in_(_UIDS))
    return tuple_(table.c.identity, table.c.dialect, table.c.thread_id).in_(threads)


NOTE_THREAD: Final = _noted(
    _note(thread, owned(thread), or_(_UID.is_(null()), thread.c.uid == _UID), first=thread.c.number)
)
"""Values: a token of this deletion's own, the owner's, uid (None: whichever). Notes a thread for deletion."""

NOTE_MESSAGE: Final = _noted(_note(message, owned(message), first=message.c.number))
"""Values: a token, the owner's. Notes a message for deletion."""

NOTE_ITEM: Final = _noted(_note(item, NAMED, first=item.c.number))
"""Values: a token, the item's name. Notes an item for deletion."""

NOTE_OLD_THREADS: Final = _noted(
    _at_most(
        _note(
            thread,
            thread.c.updated_at < _BEFORE,
            ~exists().where(_is_in_it(message), IN_PROGRESS),
            ~exists().where(_is_in_it(item), OPEN),
            first=thread.c.updated_at,
        ),
        thread,
    )
)
"""Values: a token, the time before which a thread changed for the last time, how many at most. Notes threads in which
nothing is in progress or open."""

_ALONE = and_(message.c.thread_id.is_(null()), message.c.status != literal_column("'in_progress'"))

NOTE_OLD_MESSAGES: Final = tuple(
    _noted(_at_most(_note(message, _ALONE, *old, first=message.c.ended_at), message))
    for old in (
        [message.c.ended_at < _BEFORE],
        [message.c.ended_at.is_(null()), message.c.created_at < _BEFORE],
    )
)
"""Values: as for `NOTE_OLD_THREADS`. Notes messages without a thread; one that was put in whole ended when it was made.
Two statements, because SQLite would look at all messages for an OR of both."""

NOTE_EXPIRED_ITEMS: Final = _noted(
    _at_most(
        _note(item, item.c.is_open == literal_column("0"), item.c.expires_at < _BEFORE, first=item.c.expires_at), item
    )
)
"""Values: a token, the time before which an item expired, how many at most. Notes items that are not open."""


def _note_children() -> Statement:
    parents = select(item.c.identity, item.c.dialect, item.c.id).where(item.c.uid.in_(_UIDS))
    child = item.alias("child")
    of_them = tuple_(child.c.identity, child.c.dialect, child.c.parent).in_(parents)
    below = select(TOKEN, child.c.uid, literal_column("'below'"), null()).where(of_them).order_by(child.c.number)
    return _noted(below.with_for_update(of=child))


_WITH_IT: Final = (
    _noted(_note(message, _of_noted_threads(message), first=message.c.number)),
    _noted(_note(item, _of_noted_threads(item), first=item.c.number, what="below")),
    _note_children(),
)
"""Values: a token. Notes what goes with the threads noted under it, then what goes with the items."""

_DELETE: Final = (
    compiled(delete(message_text).where(message_text.c.message.in_(_UIDS))),
    compiled(delete(message).where(message.c.uid.in_(_UIDS))),
    compiled(delete(item).where(item.c.uid.in_(_UIDS))),
    compiled(delete(thread).where(thread.c.uid.in_(_UIDS))),
)
"""Values: a token. Deletes what was noted under it."""

_MADE_BY = select(deletion.c.generation).where(deletion.c.token == TOKEN, deletion.c.generation.is_not(None))


def _note_wiped() -> Statement:
    rows = select(literal_column("0.0"), deletion.c.generation).distinct()
    rows = rows.where(deletion.c.token == TOKEN, deletion.c.generation.is_not(None))
    return compiled(insert(wiped).from_select(["at", "uid"], rows).on_conflict_do_nothing())


NOTE_WIPED: Final = _note_wiped()
"""Values: a token. In a replica's own file: who shares the ledger is to be told whose texts went."""

_WIPE: Final = (
    compiled(update(generation).where(generation.c.uid.in_(_MADE_BY)).values(text=null())),
    compiled(delete(generation_text).where(generation_text.c.uid.in_(_MADE_BY))),
    NOTE_WIPED,
)
"""Values: a token. Deletes the text of the records of what was noted under it; their numbers stay. Who shares the
ledger is told so."""

FORGET: Final = compiled(delete(deletion).where(deletion.c.token == TOKEN))
"""Values: a token. Deletes the notes themselves."""


def delete_noted(token: str, *, wipes: bool = False) -> list[Act]:
    """What follows the notes of a deletion; `wipes`: somebody wants it gone, so the texts of the records go too."""
    wiping = _WIPE if wipes else ()
    return [(statement, {"token": token}) for statement in (*_WITH_IT, *wiping, *_DELETE)]


def forget(token: str) -> Act:
    """Delete the notes of a deletion, once they were read."""
    return FORGET, {"token": token}
