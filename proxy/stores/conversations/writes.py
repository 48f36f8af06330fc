"""How the conversation store waits for the ledger's writer, and what it does when the disk takes too long."""

import asyncio
from collections.abc import Sequence

from proxy.stores.conversations.sql import Act
from proxy.stores.ledger.gather import Chore, Step
from proxy.stores.ledger.port import LedgerUnavailableError
from proxy.stores.ledger.write_queue import STALL, WriteQueue


class Writes:
    """The ledger's queue, with the patience of those who wait for it in seconds."""

    def __init__(self, queue: WriteQueue, patience: float) -> None:
        self._queue = queue
        self._patience = patience

    def queue(self, *acts: Act, always: bool = False) -> list[Chore]:
        """See `WriteQueue.chores`."""
        return self._queue.chores(*map(_step, acts), always=always)

    async def done(self, chores: Sequence[Chore]) -> list[int]:
        """Wait for them, with patience; gives how many rows each changed.

        Raises:
            LedgerUnavailableError: they are late, but may still be written; or they were not, by the end.
        """
        if await self._are_late(chores):
            raise self._late()
        return changed(chores)

    async def done_or_undone(self, chores: Sequence[Chore], *undo: Act) -> list[int]:
        """Wait for them, with patience; late ones are given up, and undone if they come to the disk all the same.

        Raises:
            LedgerUnavailableError: they are late, or were not written by the end.
        """
        if await self._are_late(chores):
            for chore in chores:
                chore.late = True
            self._queue.chores(*map(_step, undo), always=True)
            raise self._late()
        return changed(chores)

    async def done_in_the_end(self, chores: Sequence[Chore]) -> list[int]:
        """Wait for them, however long it takes.

        Raises:
            LedgerUnavailableError: they were not written by the end.
        """
        await asyncio.wait({chores[-1].changed})
        return changed(chores)

    async def _are_late(self, chores: Sequence[Chore]) -> bool:
        # Chores of one transaction are done at one time, so the last of them stands for all.
        last = chores[-1].changed
        for seconds in (self._patience, STALL):
            # The second look is for an event loop that was held up: the disk's answer may be waiting behind this.
            if not last.done():
                await asyncio.wait({last}, timeout=seconds)
        return not last.done()

    def _late(self) -> LedgerUnavailableError:
        return LedgerUnavailableError(f"the write was not on disk within {self._patience:g} s")


def _step(act: Act) -> Step:
    statement, values = act
    return statement.sqlite, values


def changed(chores: Sequence[Chore]) -> list[int]:
    """How many rows each changed, once they are done.

    Raises:
        LedgerUnavailableError: the ledger was closed before the disk took them.
    """
    return [chore.changed.result() for chore in chores]
