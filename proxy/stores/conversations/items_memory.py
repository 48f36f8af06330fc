"""The items of the conversation store in memory."""

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any, TypeAlias

from proxy.core.conversation import Item
from proxy.stores.conversations.memory_window import part
from proxy.stores.conversations.port import Owner, Window
from proxy.stores.conversations.rows import item_of, item_values, optional
from proxy.stores.ledger.rows import clean

_Key: TypeAlias = tuple[str, str, str, str]
_Thread: TypeAlias = tuple[str, str, str]
_Group: TypeAlias = tuple[str | None, ...]


class MemoryItems:
    """The part of `MemoryConversations` that keeps items.

    Args:
        threads: the keys of the threads that there are.
        most: how many items of a kind are kept; beyond that those that were put in first go first. What is open stays.
    """

    def __init__(self, threads: Container[_Thread], most: int) -> None:
        self._where = threads
        self._most = most
        self._items: dict[_Key, Item] = {}
        self._groups: dict[_Group, dict[_Key, None]] = {}  # the items of a kind, a parent, a thread, in their order

    async def add_items(self, *items: Item) -> bool:
        """See `Conversations.add_items`."""
        fresh = {_key_of(item): item for item in map(_copy, items)}
        if len(fresh) < len(items) or not all(map(self._fits, fresh.values())):
            return False
        for key, item in fresh.items():
            self._items[key] = item
            for group in _groups_of(item):
                self._groups.setdefault(group, {})[key] = None
        for kind in dict.fromkeys(item.kind for item in fresh.values()):
            self._hold_the_bound(kind)
        return True

    async def find_item(self, owner: Owner, kind: str, item_id: str) -> Item | None:
        """See `Conversations.find_item`."""
        found = self._items.get(_key(owner, kind, item_id))
        return None if found is None else _copy(found)

    async def items(self, owner: Owner, kind: str, parent: str | None, window: Window) -> tuple[list[Item], bool]:
        """See `Conversations.items`."""
        below = _below(clean(owner.identity), clean(owner.dialect), optional(parent))
        wanted = clean(kind)
        found, more = part([item for item in self._in(below) if item.kind == wanted], window)
        return [_copy(item) for item in found], more

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
        key = _key(owner, kind, item_id)
        found = self._items.get(key)
        if found is None:
            return False
        changed = replace(found, body=body, is_open=is_open, is_interrupted=False, expires_at=expires_at)
        self._items[key] = _copy(changed)
        return True

    async def delete_items(self, owner: Owner, kind: str, *item_ids: str) -> int:
        """See `Conversations.delete_items`."""
        there = {key for each in item_ids if (key := _key(owner, kind, each)) in self._items}
        self._drop_items(there)
        return len(there)

    def _purge_items(self, now: float) -> None:
        """Delete what has expired."""
        expired = [
            key
            for key, item in self._items.items()
            if not item.is_open and item.expires_at is not None and item.expires_at < now
        ]
        self._drop_items(expired)

    def _drop_items_of(self, thread: _Thread) -> None:
        self._drop_items(list(self._groups.get(("thread", *thread), ())))

    def _is_open_in(self, thread: _Thread) -> bool:
        return any(item.is_open for item in self._in(("thread", *thread)))

    def _fits(self, item: Item) -> bool:
        """Whether its id is free, and its thread there."""
        thread = None if item.thread_id is None else (item.identity, item.dialect, item.thread_id)
        return _key_of(item) not in self._items and (thread is None or thread in self._where)

    def _hold_the_bound(self, kind: str) -> None:
        of_kind = self._groups.get(("kind", kind), {})
        if len(of_kind) > self._most:
            closed = (key for key in of_kind if not self._items[key].is_open)
            # A tenth at once, so that not each new one has to look past all that is open.
            self._drop_items(list(islice(closed, max(len(of_kind) - self._most, self._most // 10))))

    def _in(self, group: _Group) -> Iterator[Item]:
        return (self._items[key] for key in self._groups.get(group, ()))

    def _drop_items(self, keys: Iterable[_Key]) -> None:
        """Delete items, and those whose parent they are."""
        gone = set(keys)
        for identity, dialect, _, item_id in tuple(gone):
            gone.update(self._groups.get(_below(identity, dialect, item_id), ()))
        for key in gone:
            for group in _groups_of(self._items.pop(key)):
                of_group = self._groups[group]
                del of_group[key]
                if not of_group:
                    del self._groups[group]


def _key(owner: Owner, kind: str, item_id: str) -> _Key:
    return clean(owner.identity), clean(owner.dialect), clean(kind), clean(item_id)


def _key_of(item: Item) -> _Key:
    return item.identity, item.dialect, item.kind, item.id


def _below(identity: str, dialect: str, parent: str | None) -> _Group:
    return "parent", identity, dialect, parent


def _groups_of(item: Item) -> Iterator[_Group]:
    yield "kind", item.kind
    yield _below(item.identity, item.dialect, item.parent)
    if item.thread_id is not None:
        yield "thread", item.identity, item.dialect, item.thread_id


def _copy(item: Item) -> Item:
    """What would come back from a disk: nobody else can change it."""
    return item_of(item_values(item, ""))
