"""Slots: at most so many calls of one upstream at once; the rest waits in line, bounded."""

import asyncio

from proxy.core.errors import Refusal


class Slots:
    """Admits calls first come, first served. Without a size everything is admitted at once."""

    def __init__(self, size: int | None, queue_size: int) -> None:
        self._queue_size = queue_size
        self._waiting = 0
        self._free = None if size is None else asyncio.Semaphore(size)

    @property
    def waiting(self) -> int:
        """Calls in the queue."""
        return self._waiting

    async def take(self) -> None:
        """Wait for a slot; cancelling the wait leaves the queue.

        Raises:
            Refusal: 429, the queue is full.
        """
        if self._free is None:
            return
        if self._free.locked() and self._waiting >= self._queue_size:
            raise Refusal.too_many(retry_after=1)
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1

    def give_back(self) -> None:
        """Free the slot that `take` gave."""
        if self._free is not None:
            self._free.release()
