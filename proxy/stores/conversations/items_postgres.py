"""The items of the conversation store in PostgreSQL."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from proxy.core.conversation import Item
from proxy.stores.conversations import acts, deletions
from proxy.stores.conversations.holds_postgres import PostgresHolds
from proxy.stores.conversations.port import Owner
from proxy.stores.conversations.postgres_writes import PostgresWrites, say_to
from proxy.stores.conversations.reads import ConversationsReads, Deleted, deleted
from proxy.stores.conversations.sql import Act
from proxy.stores.conversations.wiped import LOCK_NUMBERS, NOTE_WIPED


class PostgresItems(ConversationsReads):
    """The part of `PostgresConversations` that keeps items, by the same rules."""

    def __init__(self, writes: PostgresWrites, holds: PostgresHolds) -> None:
        super().__init__(writes.reading)
        self._writes = writes
        self.holds = holds
        self._maker = f"{holds.owner}."

    async def add_items(self, *items: Item) -> bool:
        """See `Conversations.add_items`."""
        if not items:
            return True
        adding = acts.adding_items(items, self._maker)
        return adding.is_in(await self._begin(adding))

    async def update_item(
        self,
        owner: Owner,
        kind: str,
        item_id: str,
        body: Mapping[str, Any],
        *,
        is_open: bool,
        expires_at: float | None = None,
    ) -> bool:
        """See `Conversations.update_item`. A change that leaves it closed is written in the end, and counts as done."""
        updating = acts.updating_item(owner, kind, item_id, body, is_open=is_open, expires_at=expires_at)
        if is_open:
            return await self._writes.say(updating) == [1]
        rows = await self._writes.say_in_the_end([updating])
        return rows is None or rows == [1]

    async def delete_items(self, owner: Owner, kind: str, *item_ids: str) -> int:
        """See `Conversations.delete_items`."""
        token = acts.a_token(self._maker)
        return (await self._delete(token, acts.deleting_items(owner, kind, item_ids, token))).items

    async def _begin(self, adding: acts.Adding) -> list[int]:
        """Put something in, with a lease."""
        adds = self.holds.begin(lambda connection: say_to(connection, adding.acts))
        return await self._writes.or_undo(adds, adding.undo)

    async def _delete(self, token: str, deleting: Sequence[Act], *, wipes: bool = False) -> Deleted:
        """Carry out a deletion. Its notes stay until it is known to be committed: done twice, it gives the same.

        `wipes`: the texts of the records go too, also of those that come later and of those at other replicas.
        """

        async def delete(connection: AsyncConnection) -> Deleted:
            await say_to(connection, [act for act in deleting if act[0] is not deletions.NOTE_WIPED])
            gone = await deleted(connection, token)
            if wipes and gone.generations:
                await connection.execute(LOCK_NUMBERS)
                await connection.execute(NOTE_WIPED, {"token": token})
            return gone

        gone = await self._writes.transact(delete)
        if gone.anything:
            statement, values = deletions.forget(token)
            self._writes.soon(statement.postgres, values)
        return gone
