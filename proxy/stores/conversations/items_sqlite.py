"""The items of the conversation store in the ledger's file."""

from collections.abc import Mapping
from typing import Any, TypeAlias

from proxy.core.conversation import Item
from proxy.stores.conversations import acts, deletions
from proxy.stores.conversations.port import Owner
from proxy.stores.conversations.reads import ConversationsReads, Deleted, Reading
from proxy.stores.conversations.writes import Writes
from proxy.stores.ledger.rows import clean

_Key: TypeAlias = tuple[str, str, str, str]


class SqliteItems(ConversationsReads):
    """The part of `SqliteConversations` that keeps items, by the same rules.

    A change that ends an open item is let in beyond the bound, as an end of a message is; it is waited for with
    patience, and still comes when it is late.
    """

    def __init__(self, writes: Writes, reading: Reading) -> None:
        super().__init__(reading)
        self._writes = writes
        # What is open on disk. What went with a thread or parent is forgotten when its maker tries to end it.
        self._open: set[_Key] = set()

    async def add_items(self, *items: Item) -> bool:
        """See `Conversations.add_items`. Their number is their order."""
        if not items:
            return True
        adding = acts.adding_items(items)
        if not adding.is_in(await self._writes.done_or_undone(self._writes.queue(*adding.acts), *adding.undo)):
            return False
        self._open.update(
            _key(Owner(each.identity, each.dialect), each.kind, each.id) for each in items if each.is_open
        )
        return True

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
        updating = acts.updating_item(owner, kind, item_id, body, is_open=is_open, expires_at=expires_at)
        key = _key(owner, kind, item_id)
        ends = not is_open and key in self._open
        changing = self._writes.queue(updating, always=ends)
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
        token = acts.a_token()
        await self._writes.done(self._writes.queue(*acts.deleting_items(owner, kind, item_ids, token)))
        self._open.difference_update(_key(owner, kind, each) for each in item_ids)
        return (await self._gone(token)).items

    async def _gone(self, token: str) -> Deleted:
        """What a deletion took. Read from its notes: written a second time, it finds nothing to delete."""
        gone = await self._deleted(token)
        if gone.anything:
            self._writes.queue(deletions.forget(token), always=True)
        return gone


def _key(owner: Owner, kind: str, item_id: str) -> _Key:
    return clean(owner.identity), clean(owner.dialect), clean(kind), clean(item_id)
