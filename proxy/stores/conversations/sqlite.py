"""The conversation store in the ledger's file: writes go through the ledger's writer, reads over its connections.

The writer may have to write a transaction a second time, because it did not hear whether the first was on disk. So
whoever did something is known by a uid or token, which each call makes for itself, and not by what was there before.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from proxy.core.conversation import Item, Message, MessageStatus, Thread
from proxy.stores.conversations import acts
from proxy.stores.conversations.acts import Adding
from proxy.stores.conversations.items_sqlite import SqliteItems
from proxy.stores.conversations.port import Owner, PutIn
from proxy.stores.conversations.purges import purge
from proxy.stores.conversations.put import put_one_by_one
from proxy.stores.conversations.reads import Deleted
from proxy.stores.conversations.sql import Act
from proxy.stores.conversations.texts import Texts
from proxy.stores.conversations.writes import Writes, changed
from proxy.stores.ledger.gather import Chore
from proxy.stores.ledger.port import LedgerUnavailableError
from proxy.stores.ledger.reads import LedgerReads
from proxy.stores.ledger.write_queue import WriteQueue


class SqliteConversations(SqliteItems):
    """The port `Conversations` on SQLite; `SqliteLedger.conversations` is the one of an open ledger.

    What is not on disk within `patience` seconds fails with `LedgerUnavailableError`. What was to be added is then not
    there, and does not come later; a change or a deletion may still come. An end is waited for, however long it takes.

    Args:
        queue: what the ledger's writer writes.
        reads: the ledger's.
        keep: seconds after its last change that a thread stays.
        async_keep: seconds after its end that a message without a thread stays.
        patience: seconds.
    """

    def __init__(
        self, queue: WriteQueue, reads: LedgerReads, *, keep: float, async_keep: float, patience: float
    ) -> None:
        super().__init__(Writes(queue, patience), reads.reading)
        self._keep = keep
        self._async_keep = async_keep
        self._texts = Texts(lambda act: self._writes.queue(act)[0].changed)

    @property
    def holds(self) -> None:
        """Nobody else works on anything."""
        return

    async def put_in(self, thread: Thread | None, messages: Sequence[Message], items: Sequence[Item]) -> PutIn:
        """See `Conversations.put_in`."""
        return await put_one_by_one(self, thread, messages, items)

    async def add_thread(self, thread: Thread) -> bool:
        """See `Conversations.add_thread`."""
        adding = acts.adding_thread(thread)
        return adding.is_in(await self._writes.done_or_undone(self._writes.queue(*adding.acts), *adding.undo))

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
        return await self._writes.done(self._writes.queue(updating)) == [1]

    async def delete_thread(self, owner: Owner, thread_id: str) -> list[str] | None:
        """See `Conversations.delete_thread`."""
        token = acts.a_token()
        await self._writes.done(self._writes.queue(*acts.deleting_thread(owner, thread_id, token)))
        gone = await self._gone(token)
        if not gone.threads:
            return None
        self._texts.forget_thread(owner, thread_id)
        return gone.generations

    async def add_messages(self, *messages: Message) -> bool:
        """See `Conversations.add_messages`. Their number is their order."""
        if not acts.are_distinct(messages):
            return False
        if not messages:
            return True
        adding = acts.adding_messages(messages)
        chores = self._writes.queue(*adding.acts)
        for message, uid in zip(messages, adding.uids, strict=True):
            self._texts.begin(message, uid)
        # In a callback, because whoever waits may be cancelled; and first of all, because ends and deletions follow.
        chores[-1].changed.add_done_callback(lambda _: self._settle(adding, chores))
        try:
            return adding.is_in(await self._writes.done_or_undone(chores, *adding.undo))
        except LedgerUnavailableError:
            self._texts.forget_uids(set(adding.uids))
            raise

    def append(self, owner: Owner, message_id: str, text: str) -> None:
        """See `Conversations.append`. What comes while the disk is busy becomes one piece."""
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
        """See `Conversations.end_message`. Waits for the disk as long as it takes."""
        ending = acts.ending(
            owner, message_id, status, ended_at=ended_at, text=text, content=content, metadata=metadata
        )
        chores = self._writes.queue(*ending, always=True)
        self._texts.forget(owner, message_id)
        return acts.counted(await self._writes.done_in_the_end(chores))

    async def update_message(self, owner: Owner, message_id: str, *, metadata: Mapping[str, Any]) -> bool:
        """See `Conversations.update_message`."""
        return await self._writes.done(self._writes.queue(acts.updating_message(owner, message_id, metadata))) == [1]

    async def delete_messages(self, owner: Owner, *message_ids: str) -> list[str]:
        """See `Conversations.delete_messages`."""
        token = acts.a_token()
        deleting = self._writes.queue(*acts.deleting_messages(owner, message_ids, token))
        for each in message_ids:
            self._texts.forget(owner, each)
        await self._writes.done(deleting)
        return (await self._gone(token)).generations

    async def purge(self, now: float) -> tuple[int, int]:
        """See `Conversations.purge`."""
        return await purge(now, self._keep, self._async_keep, self._delete)

    async def _delete(self, token: str, deleting: Sequence[Act]) -> Deleted:
        await self._writes.done_in_the_end(self._writes.queue(*deleting))
        return await self._gone(token)

    def _settle(self, adding: Adding, chores: Sequence[Chore]) -> None:
        if chores[-1].changed.exception() is not None or not adding.is_in(changed(chores)):
            self._texts.forget_uids(set(adding.uids))
