"""The ledger's one writer: what gathers while a transaction runs is the next transaction.

It has no timer of its own: idle, it commits at once; busy, it groups. aiosqlite runs SQLite on a thread that belongs to
the connection, so a slow disk holds up neither the event loop nor anybody else's threads. A transaction that fails is
put back in front of what gathered since, and written again as a new one.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final

import aiosqlite
import structlog

from proxy.stores.ledger import transaction as ledger_transaction
from proxy.stores.ledger.write_queue import WriteQueue

CLOSE_PATIENCE: Final = 10.0
"""Seconds that closing goes on trying while the disk refuses."""

_RETRY_FIRST: Final = 0.05
_RETRY_MOST: Final = 1.0

_log = structlog.get_logger("quell.ledger")


class LedgerWriter:
    """Commits in groups what waits in the queue. `start` begins, `close` writes what is left and ends.

    Args:
        queue: what to write.
        connect: opens the write connection; asked again when a failure leaves the old one in doubt.
        close_patience: seconds `close` goes on trying while the disk refuses.
    """

    def __init__(
        self,
        queue: WriteQueue,
        connect: Callable[[], Awaitable[aiosqlite.Connection]],
        *,
        close_patience: float = CLOSE_PATIENCE,
    ) -> None:
        self._queue = queue
        self._connect = connect
        self._close_patience = close_patience
        self._loop = asyncio.get_running_loop()
        self._connection: aiosqlite.Connection | None = None
        self._task: asyncio.Task[None] | None = None
        self._failures = 0
        self.written = 0
        self.failed = 0

    async def start(self) -> None:
        """Open the connection and begin to write.

        Raises:
            sqlite3.Error: the connection can't be opened.
        """
        self._connection = await self._connect()
        self._task = self._loop.create_task(self._run(), name="ledger writer")

    async def close(self) -> None:
        """Take nothing more, write what is queued, close the connection. What the disk refuses to the end fails."""
        self._queue.close()
        try:
            if self._task is not None:
                await asyncio.wait({self._task})
        finally:
            # Also when whoever closes has lost patience: the connection's thread would keep the process alive.
            await self._stop()

    async def _stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
        self._queue.abandon()
        await self._drop_connection()

    async def _run(self) -> None:
        queue, patience = self._queue, _Patience(self._loop, self._close_patience)
        delay = _RETRY_FIRST
        while not queue.is_done:
            await queue.filled()
            if await self._write():
                delay = _RETRY_FIRST
            elif queue.closing.is_set() and patience.is_over():
                queue.give_up()
            else:
                await self._pause(delay)
                delay = min(delay * 2, _RETRY_MOST)

    async def _write(self) -> bool:
        """One transaction of all that gathered; when it fails, nothing is lost."""
        batch = self._queue.take()
        try:
            if self._connection is None:
                self._connection = await self._connect()
            changed = await ledger_transaction.write(self._connection, batch)
        except Exception as error:  # noqa: BLE001  whatever it is that stops a transaction, its records stay queued
            self._queue.put_back()
            await self._after_failure(error)
            return False
        self._queue.written(changed)
        self._after_success()
        return True

    def _after_success(self) -> None:
        if self._failures:
            _log.info("ledger.write_recovered", failures=self._failures, pending=self._queue.pending)
        self._failures = 0
        self.written += 1

    async def _after_failure(self, error: Exception) -> None:
        self.failed += 1
        self._failures += 1
        if self._failures == 1:
            _log.error("ledger.write_failed", error=f"{type(error).__name__}: {error}", pending=self._queue.pending)
        if self._connection is not None and not await ledger_transaction.undo(self._connection):
            await self._drop_connection()

    async def _drop_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            # A connection that can't even be closed has nothing left to lose: all it had is still queued.
            with contextlib.suppress(Exception):
                await connection.close()

    async def _pause(self, delay: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._queue.closing.wait(), delay)


class _Patience:
    """How long closing has tried; begins with the first question."""

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self._loop = loop
        self._seconds = seconds
        self._ends: float | None = None

    def is_over(self) -> bool:
        if self._ends is None:
            self._ends = self._loop.time() + self._seconds
        return self._loop.time() >= self._ends
