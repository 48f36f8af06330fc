"""The conversation store in the ledger's file: writes go through the ledger's writer, reads over its connections.

The writer may have to write a transaction a second time, because it did not hear whether the first was on disk. So
whoever did something is known by a uid or token, which each call makes for itself, and not by what was there before.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from proxy.core.conversation import Message, MessageStatus, Thread
from proxy.stores import conversations_deletions as deletions
from proxy.stores import conversations_statements as sql
from proxy.stores.conversations import Outline, Owner, Window
from proxy.stores.conversations_reads import ConversationsReads
from proxy.stores.conversations_rows import Values, a_time, message_values, optional, owned, thread_values, to_json
from proxy.stores.conversations_texts import Texts
from proxy.stores.conversations_writes import Writes, a_token, all_in, changed
from proxy.stores.items_sqlite import SqliteItems
from proxy.stores.ledger_gather import Chore
from proxy.stores.ledger_reads import LedgerReads
from proxy.stores.ledger_rows import clean
from proxy.stores.ledger_writer import LedgerWriter
from proxy.stores.ports import LedgerUnavailableError

_MESSAGES_AT_ONCE: Final = 200
_THREADS_AT_ONCE: Final = 20
_ITEMS_AT_ONCE: Final = 100
"""What a purge takes in one transaction, so that no START waits long behind it. A thread brings its messages and items,
an item those below it."""


class SqliteConversations(SqliteItems):
    """The port `Conversations` on SQLite; `SqliteLedger.conversations` is the one of an open ledger.

    What is not on disk within `patience` seconds fails with `LedgerUnavailableError`. What was to be added is then not
    there, and does not come later; a change or a deletion may still come. An end is waited for, however long it takes.

    Args:
        writer: the ledger's.
        reads: the ledger's.
        keep: seconds after its last change that a thread stays.
        async_keep: seconds after its end that a message without a thread stays.
        patience: seconds.
    """

    def __init__(
        self, writer: LedgerWriter, reads: LedgerReads, *, keep: float, async_keep: float, patience: float
    ) -> None:
        super().__init__(Writes(writer, patience), ConversationsReads(reads))
        self._keep = keep
        self._async_keep = async_keep
        self._texts = Texts(lambda step: writer.chores(step)[0].changed)

    async def add_thread(self, thread: Thread) -> bool:
        """See `Conversations.add_thread`."""
        uid = a_token()
        values = thread_values(thread, uid)
        adding = self._writes.queue((sql.ADD_THREAD, values))
        token = a_token()
        named = {**owned(Owner(thread.identity, thread.dialect), thread.id), "uid": uid, "token": token}
        undo = ((deletions.NOTE_THREAD, named), *deletions.delete_noted(token), deletions.forget(token))
        return await self._writes.done_or_undone(adding, *undo) == [1]

    async def find_thread(self, owner: Owner, thread_id: str) -> Thread | None:
        """See `Conversations.find_thread`."""
        return await self._reads.find_thread(owner, thread_id)

    async def threads(self, owner: Owner, window: Window) -> tuple[list[Thread], bool]:
        """See `Conversations.threads`. Of two that changed at one time, that made later is the newer."""
        return await self._reads.threads(owner, window)

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
        values = {
            **owned(owner, thread_id),
            "updated_at": a_time(updated_at),
            "new_name": optional(name),
            "new_metadata": None if metadata is None else to_json(dict(metadata)),
        }
        return await self._writes.done(self._writes.queue((sql.UPDATE_THREAD, values))) == [1]

    async def delete_thread(self, owner: Owner, thread_id: str) -> list[str] | None:
        """See `Conversations.delete_thread`."""
        token = a_token()
        named = {**owned(owner, thread_id), "uid": None, "token": token}
        steps = deletions.delete_noted(token, wipes=True)
        deleting = self._writes.queue((deletions.NOTE_THREAD, named), *steps)
        await self._writes.done(deleting)
        gone = await self._gone(token)
        if not gone.threads:
            return None
        self._texts.forget_thread(owner, thread_id)
        return gone.generations

    async def add_messages(self, *messages: Message) -> bool:
        """See `Conversations.add_messages`. Their number is their order."""
        if len({(clean(each.identity), clean(each.dialect), clean(each.id)) for each in messages}) < len(messages):
            return False
        if not messages:
            return True
        token = a_token()
        uids = [f"{token}-{number:06}" for number in range(len(messages))]
        span = {"first": uids[0], "last": uids[-1]}
        rows = [message_values(message, uid) for message, uid in zip(messages, uids, strict=True)]
        adding = self._writes.queue(
            *((sql.ADD_MESSAGE, row) for row in rows), (sql.ALL_OR_NONE, {**span, "many": len(uids)})
        )
        for message, uid in zip(messages, uids, strict=True):
            self._texts.begin(message, uid)
        # In a callback, because whoever waits may be cancelled; and first of all, because ends and deletions follow.
        adding[-1].changed.add_done_callback(lambda _: self._settle(adding, set(uids)))
        try:
            return all_in(await self._writes.done_or_undone(adding, *((each, span) for each in sql.TAKE_BACK)))
        except LedgerUnavailableError:
            self._texts.forget_uids(set(uids))
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
        values = {
            **owned(owner, message_id),
            "token": a_token(),
            "status": status.value,
            "ended_at": a_time(ended_at),
            "text": clean(text),
            "content": to_json(content),
            "new_metadata": None if metadata is None else to_json(dict(metadata)),
        }
        ending = self._writes.queue(*((each, values) for each in (sql.END, *sql.AFTER_END)), always=True)
        self._texts.forget(owner, message_id)
        return (await self._writes.done_in_the_end(ending))[0] == 1

    async def find_message(self, owner: Owner, message_id: str) -> Message | None:
        """See `Conversations.find_message`."""
        return await self._reads.find_message(owner, message_id)

    async def messages(self, owner: Owner, thread_id: str, window: Window) -> tuple[list[Message], bool]:
        """See `Conversations.messages`."""
        return await self._reads.messages(owner, thread_id, window)

    async def outline(self, owner: Owner, thread_id: str, most: int, mark: str = "") -> tuple[list[Outline], bool]:
        """See `Conversations.outline`."""
        return await self._reads.outline(owner, thread_id, most, mark)

    async def update_message(self, owner: Owner, message_id: str, *, metadata: Mapping[str, Any]) -> bool:
        """See `Conversations.update_message`."""
        values = {**owned(owner, message_id), "new_metadata": to_json(dict(metadata))}
        return await self._writes.done(self._writes.queue((sql.UPDATE_MESSAGE, values))) == [1]

    async def delete_messages(self, owner: Owner, *message_ids: str) -> list[str]:
        """See `Conversations.delete_messages`."""
        token = a_token()
        noted = [(deletions.NOTE_MESSAGE, {**owned(owner, each), "token": token}) for each in message_ids]
        deleting = self._writes.queue(*noted, *deletions.delete_noted(token, wipes=True))
        for each in message_ids:
            self._texts.forget(owner, each)
        await self._writes.done(deleting)
        return (await self._gone(token)).generations

    async def purge(self, now: float) -> tuple[int, int]:
        """See `Conversations.purge`. Goes in small transactions; what was deleted before a failure stays deleted."""
        old, alone = now - self._keep, now - self._async_keep
        threads = await self._purge((deletions.NOTE_OLD_THREADS,), _THREADS_AT_ONCE, old)
        messages = await self._purge(deletions.NOTE_OLD_MESSAGES, _MESSAGES_AT_ONCE, alone)
        await self._purge((deletions.NOTE_EXPIRED_ITEMS,), _ITEMS_AT_ONCE, now)
        return threads, messages

    async def _purge(self, notes: Sequence[str], many: int, before: float) -> int:
        total = 0
        while True:
            token = a_token()
            which: Values = {"token": token, "before": before, "many": many}
            deleting = self._writes.queue(*((each, which) for each in notes), *deletions.delete_noted(token))
            await self._writes.done_in_the_end(deleting)
            gone = await self._gone(token)
            taken = gone.threads or gone.messages or gone.items  # the messages that went with threads don't count
            total += taken
            if taken < many:
                return total

    def _settle(self, adding: Sequence[Chore], uids: set[str]) -> None:
        if adding[-1].changed.exception() is not None or not all_in(changed(adding)):
            self._texts.forget_uids(uids)
