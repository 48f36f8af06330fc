"""Slots: at most so many calls of one upstream at once; the rest waits in line, bounded."""

import asyncio

import structlog

from proxy.core.errors import Refusal

log = structlog.get_logger()


class Slots:
    """Admits calls first come, first served. Without a size everything is admitted at once."""

    def __init__(self, upstream: str, size: int | None, queue_size: int) -> None:
        """For the upstream of this name: `size` calls at once, `queue_size` in the queue."""
        self._upstream = upstream
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
            log.info("upstream.queue_full", upstream=self._upstream, waiting=self._waiting)
            raise Refusal.too_many(1, f"The queue of upstream {self._upstream} is full.")
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1

    def give_back(self) -> None:
        """Free the slot that `take` gave."""
        if self._free is not None:
            self._free.release()
