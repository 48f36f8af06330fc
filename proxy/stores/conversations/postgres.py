"""The conversation store in PostgreSQL, where all replicas see the same threads.

Each call is one transaction, under the row locks of its statements, and bears being written twice: see
`sql`. What ends something is written in the end, by way of the spool in the replica's own file if
PostgreSQL is away. The uids of what a replica puts in begin with its name: so what a dead one left is found.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from proxy.core.conversation import Item, Message, MessageStatus, Thread
from proxy.stores.conversations import acts
from proxy.stores.conversations.acts import Adding
from proxy.stores.conversations.holds_postgres import PostgresHolds
from proxy.stores.conversations.items_postgres import PostgresItems
from proxy.stores.conversations.late_spool import LateSpool
from proxy.stores.conversations.port import Owner, PutIn
from proxy.stores.conversations.postgres_writes import PostgresWrites, say_to
from proxy.stores.conversations.purges import purge
from proxy.stores.conversations.sql import Act
from proxy.stores.conversations.texts import Texts
from proxy.stores.ledger.port import LedgerUnavailableError
from proxy.stores.postgres import Postgres
from proxy.stores.postgres_transactions import PostgresTransactions
from proxy.stores.shared_ledger.burials import PostgresBurials
from proxy.stores.shared_ledger.purge import not_ahead

LEASE: Final = 10.0
"""Seconds of a lease, unless the settings say otherwise."""

CLOSE_SECONDS: Final = 2.0
"""How long the last pieces, and the lease, may wait for PostgreSQL at the end."""


async def _never() -> bool:
    return False


class _NotAllError(Exception):
    """Something of a call can't be put in, so nothing of it is."""


class PostgresConversations(PostgresItems):
    """The port `Conversations` on PostgreSQL.

    What is not written within `patience` seconds fails with `LedgerUnavailableError`. What was to be added is then not
    there, and does not come later; a change or a deletion may have come. An end never fails while the spool takes it.

    Args:
        postgres: the database; closed with this.
        leasing: with a connection for the lease alone; closed with this.
        spool: in the replica's own file.
        place: that file's name, which no other has.
        lease: seconds after which a replica that was not heard of is dead.
        keep: seconds after its last change that a thread stays.
        async_keep: seconds after its end that a message without a thread stays.
        patience: seconds.
        is_behind: whether the replica's own file has something that is yet to be told to the shared ledger.
    """

    def __init__(
        self,
        postgres: Postgres,
        leasing: Postgres,
        spool: LateSpool,
        place: str,
        life: str,
        *,
        lease: float,
        keep: float,
        async_keep: float,
        patience: float,
        is_behind: Callable[[], Awaitable[bool]] = _never,
    ) -> None:
        self._postgres = postgres
        self._leasing = leasing
        writes = PostgresWrites(postgres, spool, patience)
        holds = PostgresHolds(writes, PostgresTransactions(leasing, patience), life, place, lease)
        super().__init__(writes, holds)
        self.burials: Final = PostgresBurials(writes, holds, place, lease, is_behind)
        self._keep = keep
        self._async_keep = async_keep
        self._texts = Texts(writes.piece)
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Begin. A database that can't be reached is no reason not to.

        Raises:
            LedgerUnavailableError: the spool can't be read.
        """
        await self._writes.spool.open()
        self._writes.wake()
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self._writes.work_forever(), name="write conversations behind"),
            loop.create_task(self.holds.renew_forever(), name="hold the lease"),
            loop.create_task(self.burials.bury_forever(), name="bury dead replicas"),
            loop.create_task(self.burials.bury_former(), name="bury the last life"),
        ]

    async def close(self) -> None:
        """Write what can be written yet, and give the lease back. What is in the spool waits for the next start."""
        if self._tasks:
            behind, *living = self._tasks
            for task in living:
                task.cancel()
            self._writes.close()
            await asyncio.wait({behind}, timeout=CLOSE_SECONDS)
            behind.cancel()
            await asyncio.wait({behind, *living})
            try:
                async with asyncio.timeout(CLOSE_SECONDS):
                    await self.holds.leave()
            except (LedgerUnavailableError, TimeoutError):
                pass  # others find that the lease is over
        await self._postgres.close()
        await self._leasing.close()

    @property
    def late(self) -> int:
        """How many writes wait for PostgreSQL in the spool."""
        return len(self._writes.spool)

    async def put_in(self, thread: Thread | None, messages: Sequence[Message], items: Sequence[Item]) -> PutIn:
        """See `Conversations.put_in`."""
        if not acts.are_distinct(messages):
            return PutIn()
        begun = acts.adding_messages(messages, self._maker) if messages else None
        threads = [] if thread is None else [acts.adding_thread(thread, self._maker)]
        adding = threads if begun is None else [*threads, begun]
        single = [(item, acts.adding_items([item], self._maker)) for item in items]
        undo = [act for each in (*adding, *(each for _, each in single)) for act in each.undo]
        for message, uid in zip(messages, begun.uids if begun else (), strict=True):
            self._texts.begin(message, uid)
        try:
            added = await self._writes.or_undo(self.holds.begin(partial(self._put, adding, single)), undo)
        except BaseException as error:
            self._texts.forget_uids(set(begun.uids if begun else ()))
            if isinstance(error, _NotAllError):
                return PutIn()
            raise
        return PutIn(is_whole=True, has_thread=thread is not None, has_messages=bool(messages), added=added)

    async def _put(
        self, adding: Sequence[Adding], single: Sequence[tuple[Item, Adding]], connection: AsyncConnection
    ) -> list[Item]:
        """Put things in, and items or what has changed of them; gives the items that were not there.

        Raises:
            _NotAllError: that can't be.
        """
        for each in adding:
            if not each.is_in(await say_to(connection, each.acts)):
                raise _NotAllError
        added = []
        for item, each in single:
            if each.is_in(await say_to(connection, each.acts)):
                added.append(item)
            elif await say_to(connection, [_change(item)]) != [1]:
                raise _NotAllError
        return added

    async def add_thread(self, thread: Thread) -> bool:
        """See `Conversations.add_thread`."""
        adding = acts.adding_thread(thread, self._maker)
        return adding.is_in(await self._begin(adding))

    async def update_thread(
        self,
        owner: Owner,
        thread_id: str,
        *,
        updated_at: float,
        name: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> bool:
        """See `Conversations.update_thread`."""
        updating = acts.updating_thread(owner, thread_id, updated_at=updated_at, name=name, metadata=metadata)
        return await self._writes.say(updating) == [1]

    async def delete_thread(self, owner: Owner, thread_id: str) -> list[str] | None:
        """See `Conversations.delete_thread`."""
        token = acts.a_token(self._maker)
        gone = await self._delete(token, acts.deleting_thread(owner, thread_id, token), wipes=True)
        if not gone.threads:
            return None
        self._texts.forget_thread(owner, thread_id)
        return gone.generations

    async def add_messages(self, *messages: Message) -> bool:
        """See `Conversations.add_messages`."""
        return not messages or (await self.put_in(None, messages, ())).is_whole

    def append(self, owner: Owner, message_id: str, text: str) -> None:
        """See `Conversations.append`. What comes while PostgreSQL is busy becomes one piece."""
        self._texts.append(owner, message_id, text)

    async def end_message(
        self,
        owner: Owner,
        message_id: str,
        status: MessageStatus,
        *,
        ended_at: float,
        text: str,
        content: Any = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> bool:
        """See `Conversations.end_message`. What goes into the spool counts as written."""
        ending = acts.ending(
            owner, message_id, status, ended_at=ended_at, text=text, content=content, metadata=metadata
        )
        self._texts.forget(owner, message_id)
        rows = await self._writes.say_in_the_end(ending)
        return rows is None or acts.counted(rows)

    async def update_message(self, owner: Owner, message_id: str, *, metadata: Mapping[str, Any]) -> bool:
        """See `Conversations.update_message`."""
        return await self._writes.say(acts.updating_message(owner, message_id, metadata)) == [1]

    async def delete_messages(self, owner: Owner, *message_ids: str) -> list[str]:
        """See `Conversations.delete_messages`."""
        token = acts.a_token(self._maker)
        for each in message_ids:
            self._texts.forget(owner, each)
        deleting = acts.deleting_messages(owner, message_ids, token)
        return (await self._delete(token, deleting, wipes=True)).generations

    async def purge(self, now: float) -> tuple[int, int]:
        """See `Conversations.purge`. What another replica purges at this time is left to it.

        Where `now` is ahead of the database's clock, that one says what is old: a replica's may be wrong.
        """
        async with self._writes.reading() as connection:
            now = await not_ahead(connection, now)
        return await purge(now, self._keep, self._async_keep, self._delete, self._maker)


def _change(item: Item) -> Act:
    owner = Owner(item.identity, item.dialect)
    return acts.updating_item(owner, item.kind, item.id, item.body, is_open=item.is_open, expires_at=item.expires_at)
