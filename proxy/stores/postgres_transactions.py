"""Transactions that are said again when their answer was lost, each within a patience of its caller's."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from proxy.stores.ledger.errors import LedgerOpenError
from proxy.stores.ledger.port import LedgerUnavailableError
from proxy.stores.postgres import Postgres

T = TypeVar("T")

TRIES: Final = 3
"""How often a transaction is begun whose connection broke, or that was in another one's way."""
PAUSE: Final = 0.05
"""Seconds between two tries."""

_ANOTHERS_WAY: Final = frozenset({"40001", "40P01"})
"""States of SQL: a serialization failure, a deadlock."""


class PostgresTransactions:
    """Reading and writing in one database.

    Args:
        postgres: the database.
        patience: seconds until a transaction fails, unless its caller says otherwise.
    """

    def __init__(self, postgres: Postgres, patience: float) -> None:
        self._postgres = postgres
        self.patience: Final = patience
        self._preparing: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A connection on one snapshot.

        Raises:
            LedgerUnavailableError: PostgreSQL can't be read in time.
        """
        try:
            async with asyncio.timeout(self.patience):
                await self._prepared()
                async with self._postgres.reading(self.patience) as connection:
                    yield connection
        except TimeoutError as error:
            raise self._late(self.patience) from error

    async def transact(self, work: Callable[[AsyncConnection], Awaitable[T]], patience: float | None = None) -> T:
        """Do something in a transaction. It may be done several times: so it must come to the same.

        Raises:
            LedgerUnavailableError: it was not committed in time, or nobody knows.
        """
        loop = asyncio.get_running_loop()
        patience = self.patience if patience is None else patience
        until = loop.time() + patience
        for tries_left in reversed(range(TRIES)):
            try:
                async with asyncio.timeout_at(until):
                    await self._prepared()
                    async with self._postgres.writing(max(until - loop.time(), PAUSE)) as connection:
                        return await work(connection)
            except TimeoutError as error:
                raise self._late(patience) from error
            except LedgerUnavailableError as error:
                if not tries_left or not _passes(error) or until - loop.time() < 2 * PAUSE:
                    raise
            await asyncio.sleep(PAUSE)
        raise AssertionError  # the last try returns or raises

    def _late(self, seconds: float) -> LedgerUnavailableError:
        return LedgerUnavailableError(f"PostgreSQL at {self._postgres.place}: no answer within {seconds:g} s")

    async def _prepared(self) -> None:
        """Have the tables made, or brought up to date; that goes on although whoever waits for it loses patience.

        Raises:
            LedgerUnavailableError: PostgreSQL can't be reached, or has tables that are not for this program.
        """
        if self._preparing is None or (self._preparing.done() and self._preparing.exception() is not None):
            self._preparing = asyncio.get_running_loop().create_task(
                self._postgres.prepare(), name="prepare PostgreSQL"
            )
            self._preparing.add_done_callback(lambda done: done.cancelled() or done.exception())
        if not self._preparing.done():
            await asyncio.wait({self._preparing})
        try:
            self._preparing.result()
        except LedgerOpenError as error:
            raise LedgerUnavailableError(str(error)) from error


def _passes(error: LedgerUnavailableError) -> bool:
    """Whether a second try may do: the connection broke, or another transaction was in the way."""
    cause: Any = error.__cause__
    if not isinstance(cause, DBAPIError):
        return False
    return cause.connection_invalidated or getattr(cause.orig, "sqlstate", None) in _ANOTHERS_WAY
