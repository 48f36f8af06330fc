"""What is asked of the conversation store, on the reading connections of the ledger."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, RowMapping, Select, Table, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from proxy.core.conversation import Item, Message, MessageStatus, Thread
from proxy.stores.conversations.port import Outline, Owner, Window
from proxy.stores.conversations.rows import item_of, message_of, optional, thread_of
from proxy.stores.conversations.sizes import fitting, outline_of, outlines
from proxy.stores.ledger.rows import clean
from proxy.stores.tables import deletion, item, message, message_text, thread

_LIMIT_MOST: Final = 2**31
_BY_CHANGE: Final = (thread.c.updated_at, thread.c.number)
_BY_INSERTION: Final = (message.c.number,)
_ITEMS_BY_INSERTION: Final = (item.c.number,)


@dataclass(frozen=True, slots=True)
class Deleted:
    """What one deletion took, by its notes.

    How many threads and messages, and how many items that did not just go with a thread or parent; the generations of
    the messages in their order.
    """

    threads: int
    messages: int
    items: int
    generations: list[str]

    @property
    def anything(self) -> bool:
        """Whether there are notes. What only goes with something else is never noted alone."""
        return bool(self.threads or self.messages or self.items)


Reading = Callable[[], AbstractAsyncContextManager[AsyncConnection]]
"""Gives a connection on one snapshot; raises `LedgerUnavailableError` if there can be none now."""


class ConversationsReads:
    """The reading half of a store in a database; see `proxy.stores.conversations.port` for what the methods mean."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    async def find_thread(self, owner: Owner, thread_id: str) -> Thread | None:
        """The thread with this id."""
        async with self._reading() as connection:
            row = await _thread(connection, owner, thread_id)
        return None if row is None else thread_of(row)

    async def threads(self, owner: Owner, window: Window) -> tuple[list[Thread], bool]:
        """A part of the owner's threads; of two that changed at one time, that made later is the newer."""
        async with self._reading() as connection:
            rows, more = await _part(connection, select(thread).where(*_of(thread, owner)), _BY_CHANGE, window)
        return [thread_of(row) for row in rows], more

    async def find_message(self, owner: Owner, message_id: str) -> Message | None:
        """The message with this id, with its text as far as it is on disk."""
        asked = select(message).where(*_of(message, owner), message.c.id == clean(message_id))
        async with self._reading() as connection:
            found = await _with_pieces(connection, (await connection.execute(asked)).mappings().all())
        return found[0] if found else None

    async def messages(self, owner: Owner, thread_id: str, window: Window) -> tuple[list[Message], bool]:
        """A part of a thread's messages; none of a thread that is not there."""
        anybodys = Owner(owner.identity, owner.dialect)  # who may see the thread may see what is in it
        asked = select(message).where(*_of(message, anybodys), message.c.thread_id == clean(thread_id))
        async with self._reading() as connection:
            if await _thread(connection, owner, thread_id) is None:
                asked = asked.where(message.c.number < 0)
            rows, more = await _part(connection, asked, _BY_INSERTION, window)
            return await _with_pieces(connection, rows), more

    async def find_item(self, owner: Owner, kind: str, item_id: str) -> Item | None:
        """The item with this id."""
        asked = select(item).where(*_of_kind(owner, kind), item.c.id == clean(item_id))
        async with self._reading() as connection:
            row = (await connection.execute(asked)).mappings().first()
        return None if row is None else item_of(row)

    async def items(self, owner: Owner, kind: str, parent: str | None, window: Window) -> tuple[list[Item], bool]:
        """A part of the items of one kind and parent."""
        asked = select(item).where(*_of_kind(owner, kind), item.c.parent == optional(parent))
        async with self._reading() as connection:
            rows, more = await _part(connection, asked, _ITEMS_BY_INSERTION, window)
        return [item_of(row) for row in rows], more

    async def outline(self, owner: Owner, thread_id: str, most: int, mark: str = "") -> tuple[list[Outline], bool]:
        """The newest messages of a thread, without what may be long."""
        anybodys = Owner(owner.identity, owner.dialect)
        asked = select(message).where(*_of(message, anybodys), message.c.thread_id == clean(thread_id))
        async with self._reading() as connection:
            if await _thread(connection, owner, thread_id) is None:
                return [], False
            newest = outlines(asked, mark).order_by(message.c.number.desc()).limit(most + 1)
            rows = (await connection.execute(newest)).mappings().all()
        return [outline_of(row, mark) for row in reversed(rows[:most])], len(rows) > most

    async def _deleted(self, token: str) -> Deleted:
        """What a deletion took."""
        async with self._reading() as connection:
            return await deleted(connection, token)


async def deleted(connection: AsyncConnection, token: str) -> Deleted:
    """What a deletion took."""
    asked = select(deletion.c.what, deletion.c.generation).where(deletion.c.token == token)
    rows = (await connection.execute(asked.order_by(deletion.c.number))).all()
    counts = Counter(row.what for row in rows)
    generations = [row.generation for row in rows if row.generation is not None]
    return Deleted(counts["thread"], counts["message"], counts["item"], generations)


def _of_kind(owner: Owner, kind: str) -> Iterable[ColumnElement[bool]]:
    """Items have no user."""
    yield item.c.identity == clean(owner.identity)
    yield item.c.dialect == clean(owner.dialect)
    yield item.c.kind == clean(kind)


def _of(table: Table, owner: Owner) -> Iterable[ColumnElement[bool]]:
    yield table.c.identity == clean(owner.identity)
    yield table.c.dialect == clean(owner.dialect)
    if owner.user is not None:
        yield table.c.user == clean(owner.user)


async def _thread(connection: AsyncConnection, owner: Owner, thread_id: str) -> RowMapping | None:
    asked = select(thread).where(*_of(thread, owner), thread.c.id == clean(thread_id))
    return (await connection.execute(asked)).mappings().first()


async def _part(
    connection: AsyncConnection, asked: Select[Any], order: tuple[ColumnElement[Any], ...], window: Window
) -> tuple[list[RowMapping], bool]:
    """The part of a list that a window shows, and whether the limit left some out."""
    limit = min(max(window.limit, 0), _LIMIT_MOST)
    backwards = window.before is not None and window.after is None
    falling = (window.order == "newest") is not backwards
    shown = asked
    for cursor, behind in ((window.after, True), (window.before, False)):
        if cursor is not None:
            here = await _place(connection, asked, order, cursor)
            at = tuple_(*order)
            shown = shown.where(at < here if (window.order == "newest") is behind else at > here)
    shown = shown.order_by(*(column.desc() if falling else column.asc() for column in order)).limit(limit + 1)
    if window.most_bytes is not None:
        limit = min(limit, await fitting(connection, shown, window.most_bytes))
    rows = list((await connection.execute(shown.limit(limit + 1))).mappings().all())
    part = rows[:limit]
    return part[::-1] if backwards else part, len(rows) > limit


async def _place(
    connection: AsyncConnection, asked: Select[Any], order: tuple[ColumnElement[Any], ...], cursor: str
) -> Any:
    table = order[0].table
    found = (await connection.execute(asked.where(table.c.id == clean(cursor)).with_only_columns(*order))).first()
    if found is None:
        raise KeyError(cursor)
    return tuple_(*found)


async def _with_pieces(connection: AsyncConnection, rows: Sequence[RowMapping]) -> list[Message]:
    going_on = [row["uid"] for row in rows if row["status"] == MessageStatus.IN_PROGRESS.value]
    pieces: dict[str, list[str]] = {uid: [] for uid in going_on}
    if going_on:
        asked = select(message_text.c.message, message_text.c.piece).where(message_text.c.message.in_(going_on))
        for uid, piece in await connection.execute(asked.order_by(message_text.c.message, message_text.c.offset)):
            pieces[uid].append(piece)
    return [message_of(row, "".join(pieces.get(row["uid"], ()))) for row in rows]
