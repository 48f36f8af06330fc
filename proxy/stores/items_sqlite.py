"""The items of the conversation store in the ledger's file."""

from collections.abc import Mapping
from typing import Any, TypeAlias

from proxy.core.conversation import Item
from proxy.stores import conversations_deletions as deletions
from proxy.stores import items_statements as sql
from proxy.stores.conversations import Owner, Window
from proxy.stores.conversations_reads import ConversationsReads, Deleted
from proxy.stores.conversations_rows import item_state, item_values, named
from proxy.stores.conversations_writes import Writes, a_token, all_in
from proxy.stores.ledger_rows import clean

_Key: TypeAlias = tuple[str, str, str, str]


class SqliteItems:
    """The part of `SqliteConversations` that keeps items, by the same rules.

    A change that ends an open item is let in beyond the bound, as an end of a message is; it is waited for with
    patience, and still comes when it is late.
    """

    def __init__(self, writes: Writes, reads: ConversationsReads) -> None:
        self._writes = writes
        self._reads = reads
        # What is open on disk. What went with a thread or parent is forgotten when its maker tries to end it.
        self._open: set[_Key] = set()

    async def add_items(self, *items: Item) -> bool:
        """See `Conversations.add_items`. Their number is their order."""
        if not items:
            return True
        token = a_token()
        uids = [f"{token}-{number:06}" for number in range(len(items))]
        span = {"first": uids[0], "last": uids[-1]}
        rows = [item_values(item, uid) for item, uid in zip(items, uids, strict=True)]
        adding = self._writes.queue(
            *((sql.ADD_ITEM, row) for row in rows), (sql.ALL_OR_NONE, {**span, "many": len(uids)})
        )
        if not all_in(await self._writes.done_or_undone(adding, (sql.TAKE_BACK, span))):
            return False
        self._open.update(
            _key(Owner(each.identity, each.dialect), each.kind, each.id) for each in items if each.is_open
        )
        return True

    async def find_item(self, owner: Owner, kind: str, item_id: str) -> Item | None:
        """See `Conversations.find_item`."""
        return await self._reads.find_item(owner, kind, item_id)

    async def items(self, owner: Owner, kind: str, parent: str | None, window: Window) -> tuple[list[Item], bool]:
        """See `Conversations.items`."""
        return await self._reads.items(owner, kind, parent, window)

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
        """See `Conversations.update_item`."""
        values = {**named(owner, kind, item_id), **item_state(body, is_open=is_open, expires_at=expires_at)}
        key = _key(owner, kind, item_id)
        ends = not is_open and key in self._open
        changing = self._writes.queue((sql.UPDATE_ITEM, values), always=ends)
        if is_open:
            self._open.add(key)
        else:
            self._open.discard(key)
        there = await self._writes.done(changing) == [1]
        if not there:
            self._open.discard(key)
        return there

    async def delete_items(self, owner: Owner, kind: str, *item_ids: str) -> int:
        """See `Conversations.delete_items`."""
        token = a_token()
        noted = [(deletions.NOTE_ITEM, {**named(owner, kind, each), "token": token}) for each in item_ids]
        await self._writes.done(self._writes.queue(*noted, *deletions.delete_noted(token)))
        self._open.difference_update(_key(owner, kind, each) for each in item_ids)
        return (await self._gone(token)).items

    async def _gone(self, token: str) -> Deleted:
        """What a deletion took. Read from its notes: written a second time, it finds nothing to delete."""
        gone = await self._reads.deleted(token)
        if gone.anything:
            self._writes.queue(deletions.forget(token), always=True)
        return gone


def _key(owner: Owner, kind: str, item_id: str) -> _Key:
    return clean(owner.identity), clean(owner.dialect), clean(kind), clean(item_id)
