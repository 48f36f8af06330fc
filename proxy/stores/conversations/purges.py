"""What retention takes from the conversation store, in small transactions."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from proxy.stores.conversations import deletions
from proxy.stores.conversations.acts import a_token
from proxy.stores.conversations.reads import Deleted
from proxy.stores.conversations.rows import Values
from proxy.stores.conversations.sql import Act, Statement

_MESSAGES_AT_ONCE: Final = 200
_THREADS_AT_ONCE: Final = 20
_ITEMS_AT_ONCE: Final = 100
"""What a purge takes in one transaction, so that no START waits long behind it. A thread brings its messages and items,
an item those below it."""

Delete = Callable[[str, Sequence[Act]], Awaitable[Deleted]]
"""Carries out a deletion under a token, however long that takes; gives what it took."""


async def purge(now: float, keep: float, async_keep: float, delete: Delete, maker: str = "") -> tuple[int, int]:
    """See `Conversations.purge`. What was deleted before a failure stays deleted."""
    old, alone = now - keep, now - async_keep
    threads = await _purge((deletions.NOTE_OLD_THREADS,), _THREADS_AT_ONCE, old, delete, maker)
    messages = await _purge(deletions.NOTE_OLD_MESSAGES, _MESSAGES_AT_ONCE, alone, delete, maker)
    await _purge((deletions.NOTE_EXPIRED_ITEMS,), _ITEMS_AT_ONCE, now, delete, maker)
    return threads, messages


async def _purge(notes: Sequence[Statement], many: int, before: float, delete: Delete, maker: str) -> int:
    total = 0
    while True:
        token = a_token(maker)
        which: Values = {"token": token, "before": before, "many": many}
        gone = await delete(token, [*[(each, which) for each in notes], *deletions.delete_noted(token)])
        taken = gone.threads or gone.messages or gone.items  # the messages that went with threads don't count
        total += taken
        if taken < many:
            return total
