"""The conversation store in memory: for a proxy that keeps nothing on disk, and for tests. It forgets the oldest."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Final, TypeAlias, TypeVar

from proxy.core.conversation import Item, Message, MessageStatus, Thread
from proxy.stores.conversations.items_memory import MemoryItems
from proxy.stores.conversations.memory_sizes import fitting, outline_of
from proxy.stores.conversations.memory_window import part
from proxy.stores.conversations.port import ASYNC_KEEP, CONVERSATIONS_KEEP, Outline, Owner, PutIn, Window
from proxy.stores.conversations.put import put_one_by_one
from proxy.stores.conversations.rows import (
    from_json,
    message_of,
    message_values,
    optional,
    thread_of,
    thread_values,
    to_json,
)
from proxy.stores.ledger.rows import clean

MOST: Final = 10_000
"""Messages that are kept, threads, and items of each kind."""

_Key: TypeAlias = tuple[str, str, str]
_Object = TypeVar("_Object", Thread, Message)


@dataclass(slots=True)
class _Kept:
    """A message; while it is in progress, with the pieces of its text."""

    message: Message
    pieces: list[str] = field(default_factory=list)

    def shown(self) -> Message:
        """The message with its text so far, as a copy that its reader may change."""
        return _copy(replace(self.message, text=self.message.text + "".join(self.pieces)))

    @property
    def goes_on(self) -> bool:
        return self.message.status is MessageStatus.IN_PROGRESS

    @property
    def over_at(self) -> float:
        return self.message.created_at if self.message.ended_at is None else self.message.ended_at


class MemoryConversations(MemoryItems):
    """The port `Conversations` without a disk: nothing ever fails or waits, and nothing outlives the process.

    Args:
        keep: seconds after its last change that a thread stays.
        async_keep: seconds after its end that a message without a thread stays.
        most: how many messages, how many threads and how many items of a kind are kept; beyond that those that ended
            first go first, of items those put in first. What is in progress or open stays.
    """

    def __init__(self, *, keep: float = CONVERSATIONS_KEEP, async_keep: float = ASYNC_KEEP, most: int = MOST) -> None:
        self._threads: dict[_Key, Thread] = {}
        super().__init__(self._threads, most)
        self._keep = keep
        self._async_keep = async_keep
        self._messages: dict[_Key, _Kept] = {}
        self._of: dict[_Key, dict[_Key, None]] = {}  # the messages of each thread, in their order

    @property
    def holds(self) -> None:
        """Nobody else works on anything."""
        return

    async def put_in(self, thread: Thread | None, messages: Sequence[Message], items: Sequence[Item]) -> PutIn:
        """See `Conversations.put_in`."""
        return await put_one_by_one(self, thread, messages, items)

    async def add_thread(self, thread: Thread) -> bool:
        """See `Conversations.add_thread`."""
        thread = thread_of(thread_values(thread, ""))
        key = (thread.identity, thread.dialect, thread.id)
        if key in self._threads:
            return False
        if len(self._threads) >= self._most:
            idle = (key for key in self._threads if not self._goes_on(key))
            self._drop_threads(_first(idle, self._a_tenth, lambda key: self._threads[key].updated_at))
        self._threads[key] = thread
        self._of[key] = {}
        return True

    async def find_thread(self, owner: Owner, thread_id: str) -> Thread | None:
        """See `Conversations.find_thread`."""
        key = _key(owner, thread_id)
        found = self._threads.get(key)
        return _copy(found) if found is not None and _is_of(found, owner) else None

    async def threads(self, owner: Owner, window: Window) -> tuple[list[Thread], bool]:
        """See `Conversations.threads`. Of two that changed at one time, that made later is the newer."""
        own = [each for key, each in self._threads.items() if _is_below(key, owner) and _is_of(each, owner)]
        own.sort(key=lambda thread: thread.updated_at)
        found, more = part(own, window)
        return [_copy(each) for each in found], more

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
        found = await self.find_thread(owner, thread_id)
        if found is None:
            return False
        self._threads[_key(owner, thread_id)] = replace(
            found,
            updated_at=updated_at,
            name=found.name if name is None else clean(name),
            metadata=found.metadata if metadata is None else from_json(to_json(dict(metadata))),
        )
        return True

    async def delete_thread(self, owner: Owner, thread_id: str) -> list[str] | None:
        """See `Conversations.delete_thread`."""
        if await self.find_thread(owner, thread_id) is None:
            return None
        return self._drop_threads([_key(owner, thread_id)])

    async def add_messages(self, *messages: Message) -> bool:
        """See `Conversations.add_messages`."""
        fresh = [_copy(message) for message in messages]
        keys = {_key_of(message) for message in fresh}
        if len(keys) < len(fresh) or keys & self._messages.keys() or not all(map(self._has_its_thread, fresh)):
            return False
        for message in fresh:
            key = _key_of(message)
            self._messages[key] = _Kept(message)
            if message.thread_id is not None:
                self._of[(*key[:2], message.thread_id)][key] = None
        if len(self._messages) > self._most:
            over = (key for key, kept in self._messages.items() if not kept.goes_on)
            excess = len(self._messages) - self._most
            self._drop(_first(over, max(excess, self._a_tenth), lambda key: self._messages[key].over_at))
        return True

    def append(self, owner: Owner, message_id: str, text: str) -> None:
        """See `Conversations.append`."""
        kept = self._kept(owner, message_id)
        if kept is not None and kept.goes_on:
            kept.pieces.append(clean(text))

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
        """See `Conversations.end_message`."""
        kept = self._kept(owner, message_id)
        if kept is None or not kept.goes_on:
            return False
        old = kept.message
        kept.message = _copy(
            replace(
                old,
                status=status,
                ended_at=ended_at,
                text=text,
                content=content,
                metadata=old.metadata if metadata is None else metadata,
            )
        )
        kept.pieces.clear()
        if old.thread_id is not None:
            key = (old.identity, old.dialect, old.thread_id)
            self._threads[key] = replace(self._threads[key], updated_at=ended_at)
        return True

    async def find_message(self, owner: Owner, message_id: str) -> Message | None:
        """See `Conversations.find_message`."""
        kept = self._kept(owner, message_id)
        return None if kept is None else kept.shown()

    async def messages(self, owner: Owner, thread_id: str, window: Window) -> tuple[list[Message], bool]:
        """See `Conversations.messages`."""
        there = await self.find_thread(owner, thread_id) is not None
        keys = self._of[_key(owner, thread_id)] if there else {}
        found, more = part([self._messages[key].message for key in keys], window)
        fit = found if window.most_bytes is None else fitting(found, window, window.most_bytes)
        return [self._messages[_key_of(message)].shown() for message in fit], more or len(fit) < len(found)

    async def outline(self, owner: Owner, thread_id: str, most: int, mark: str = "") -> tuple[list[Outline], bool]:
        """See `Conversations.outline`."""
        there = await self.find_thread(owner, thread_id) is not None
        keys = list(self._of[_key(owner, thread_id)] if there else {})
        newest = keys[max(len(keys) - most, 0) :]
        return [outline_of(self._messages[key].message, mark) for key in newest], len(keys) > most

    async def update_message(self, owner: Owner, message_id: str, *, metadata: Mapping[str, Any]) -> bool:
        """See `Conversations.update_message`."""
        kept = self._kept(owner, message_id)
        if kept is None:
            return False
        kept.message = replace(kept.message, metadata=from_json(to_json(dict(metadata))))
        return True

    async def delete_messages(self, owner: Owner, *message_ids: str) -> list[str]:
        """See `Conversations.delete_messages`."""
        there = {_key(owner, each): None for each in message_ids if self._kept(owner, each) is not None}
        return self._drop(list(there))

    async def purge(self, now: float) -> tuple[int, int]:
        """See `Conversations.purge`."""
        threads = [
            key
            for key, thread in self._threads.items()
            if thread.updated_at < now - self._keep and not self._goes_on(key)
        ]
        self._drop_threads(threads)
        alone = [
            key
            for key, kept in self._messages.items()
            if kept.message.thread_id is None and not kept.goes_on and kept.over_at < now - self._async_keep
        ]
        self._drop(alone)
        self._purge_items(now)
        return len(threads), len(alone)

    @property
    def _a_tenth(self) -> int:
        """How many go at once when there are too many, so that not each new one has to look for the oldest."""
        return max(1, self._most // 10)

    def _kept(self, owner: Owner, message_id: str) -> _Kept | None:
        kept = self._messages.get(_key(owner, message_id))
        return kept if kept is not None and _is_of(kept.message, owner) else None

    def _has_its_thread(self, message: Message) -> bool:
        return message.thread_id is None or (message.identity, message.dialect, message.thread_id) in self._threads

    def _goes_on(self, thread: _Key) -> bool:
        return any(self._messages[key].goes_on for key in self._of[thread]) or self._is_open_in(thread)

    def _drop_threads(self, keys: Sequence[_Key]) -> list[str]:
        gone: list[str] = []
        for key in keys:
            gone += self._drop(list(self._of[key]))
            self._drop_items_of(key)
            del self._threads[key], self._of[key]
        return gone

    def _drop(self, keys: Sequence[_Key]) -> list[str]:
        """Delete messages; gives the generation of each that had one."""
        gone = [(key, self._messages.pop(key).message) for key in keys]
        for key, message in gone:
            if message.thread_id is not None:
                del self._of[(*key[:2], message.thread_id)][key]
        return [message.generation for _, message in gone if message.generation is not None]


def _key(owner: Owner, any_id: str) -> _Key:
    return clean(owner.identity), clean(owner.dialect), clean(any_id)


def _key_of(message: Message) -> _Key:
    return message.identity, message.dialect, message.id


def _is_below(key: _Key, owner: Owner) -> bool:
    return key[:2] == (clean(owner.identity), clean(owner.dialect))


def _is_of(found: Thread | Message, owner: Owner) -> bool:
    return owner.user is None or found.user == optional(owner.user)


def _copy(found: _Object) -> _Object:
    """What would come back from a disk: nobody else can change it."""
    if isinstance(found, Thread):
        return thread_of(thread_values(found, ""))
    return message_of(message_values(found, ""))


def _first(keys: Any, many: int, when: Any) -> list[_Key]:
    return list(islice(sorted(keys, key=when), many))
