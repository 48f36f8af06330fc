"""Writing conversations into PostgreSQL: each call in a transaction of its own, said again when its answer was lost."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, TypeVar

import structlog
from sqlalchemy import Executable
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from proxy.stores.conversations_sql import Act
from proxy.stores.late_spool import LateSpool
from proxy.stores.ledger_errors import LedgerOpenError
from proxy.stores.ledger_gather import Value
from proxy.stores.ports import LedgerUnavailableError
from proxy.stores.postgres import Postgres

T = TypeVar("T")

Said: TypeAlias = tuple[Executable, Mapping[str, Value]]
"""A statement of PostgreSQL's with its values."""

TRIES: Final = 3
"""How often a transaction is begun whose connection broke, or that was in another one's way."""
PAUSE: Final = 0.05
"""Seconds between two tries."""
AGAIN: Final = (0.1, 2.0)
"""Seconds until what goes on in the background is tried again, at first and at the most."""
MOST_BEHIND: Final = 10_000
"""So much that may be left undone is kept for the background."""
REPLAYED_AT_ONCE: Final = 50

_ANOTHERS_WAY: Final = frozenset({"40001", "40P01"})
"""States of SQL: a serialization failure, a deadlock."""

_REFUSED: Final = frozenset({"21", "22", "23", "42", "54"})
"""Classes of SQL states: bad values, broken constraints, no such column, beyond a limit."""

log = structlog.get_logger()


@dataclass(slots=True)
class _Piece:
    act: Act
    written: "asyncio.Future[int]"


class PostgresWrites:
    """The writing half of `PostgresConversations`.

    Args:
        postgres: the database.
        spool: keeps what must be written, and can't be now.
        patience: seconds until a write fails.
    """

    def __init__(self, postgres: Postgres, spool: LateSpool, patience: float) -> None:
        self._postgres = postgres
        self.spool = spool
        self.patience = patience
        self._pieces: list[_Piece] = []
        self._behind: list[Said] = []
        self._awake = asyncio.Event()
        self._closing = False
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

    async def say(self, *acts: Act, patience: float | None = None) -> list[int]:
        """Write acts in one transaction; gives how many rows each changed.

        Raises:
            LedgerUnavailableError: see `transact`.
        """
        return await self.transact(lambda connection: say_to(connection, acts), patience)

    async def say_or_undo(self, acts: Sequence[Act], undo: Sequence[Act]) -> list[int]:
        """The same; what fails is taken back, if it came into the database all the same.

        Raises:
            LedgerUnavailableError: see `transact`.
        """
        return await self.or_undo(self.say(*acts), undo)

    async def or_undo(self, writing: Awaitable[T], undo: Sequence[Act]) -> T:
        """Await a transaction; if it fails, it is taken back.

        Raises:
            LedgerUnavailableError: it failed.
        """
        try:
            return await writing
        except (LedgerUnavailableError, asyncio.CancelledError):
            await self.later(undo)
            raise

    async def say_in_the_end(self, acts: Sequence[Act]) -> list[int] | None:
        """The same; what PostgreSQL does not take now it takes later, from the spool: then the numbers are not known.

        What waits already goes first.

        Raises:
            LedgerUnavailableError: neither PostgreSQL nor the spool takes it.
        """
        if not len(self.spool):
            with contextlib.suppress(LedgerUnavailableError):
                return await self.say(*acts)
        await self.later(acts)
        return None

    async def later(self, acts: Sequence[Act]) -> None:
        """Put something into the spool.

        Raises:
            LedgerUnavailableError: it takes nothing.
        """
        await self.spool.put(acts)
        self._awake.set()

    def piece(self, act: Act) -> "asyncio.Future[int]":
        """Write the next piece of a text, together with all others that come now; done when it is written."""
        if self._closing:
            raise LedgerUnavailableError("the conversations are closed")
        written: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._pieces.append(_Piece(act, written))
        self._awake.set()
        return written

    def soon(self, said: Executable, values: Mapping[str, Value]) -> None:
        """Write something that nobody waits for, when there is time."""
        if len(self._behind) < MOST_BEHIND:
            self._behind.append((said, values))
            self._awake.set()

    async def work_forever(self) -> None:
        """Write pieces and what else nobody waits for, and what is in the spool; until `close`."""
        pause = AGAIN[0]
        while True:
            await self._awake.wait()
            self._awake.clear()
            try:
                await self._work()
                pause = AGAIN[0]
            except Exception as error:  # noqa: BLE001 nothing may end this: what waits would wait for ever
                if not isinstance(error, LedgerUnavailableError):
                    log.error("conversations.not_written", error=type(error).__name__)  # noqa: TRY400 as below
                if self._closing:
                    return
                await asyncio.sleep(pause)
                pause = min(2 * pause, AGAIN[1])
                self._awake.set()
            if self._closing and not (self._pieces or self._behind):
                return

    def wake(self) -> None:
        """Look at the spool: an earlier process may have left something."""
        self._awake.set()

    def close(self) -> None:
        """Let `work_forever` end once it has tried everything."""
        self._closing = True
        self._awake.set()

    async def _work(self) -> None:
        if self._pieces:
            await self._write_pieces()
        while batch := await self.spool.first(REPLAYED_AT_ONCE) if len(self.spool) else []:
            for number, acts in batch:
                await self._replay(acts)
                await self.spool.drop(number)
        if said := self._behind[:]:  # behind the spool: a hold that is let go of shows what is written

            async def say_all(connection: AsyncConnection) -> None:
                for statement, values in said:
                    await connection.execute(statement, values)

            await self.transact(say_all)
            del self._behind[: len(said)]

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

    async def _replay(self, acts: Sequence[Act]) -> None:
        try:
            await self.say(*acts)
        except LedgerUnavailableError as error:
            if not _is_refused(error):
                raise
            log.error("conversation.write_refused", reason=str(error))  # noqa: TRY400 a traceback would have its values

    async def _write_pieces(self) -> None:
        pieces = self._pieces[:]
        statement = pieces[0].act[0].postgres
        rows = [dict(each.act[1]) for each in pieces]
        await self.transact(lambda connection: connection.execute(statement, rows))
        del self._pieces[: len(pieces)]
        for each in pieces:
            if not each.written.done():
                each.written.set_result(1)


async def say_to(connection: AsyncConnection, acts: Sequence[Act]) -> list[int]:
    """Execute acts in a transaction; gives how many rows each changed."""
    return [(await connection.execute(statement.postgres, values)).rowcount for statement, values in acts]


def _is_refused(error: LedgerUnavailableError) -> bool:
    """Whether PostgreSQL will never take it: what it says is of the values or of the tables, not of its own state."""
    state = getattr(getattr(error.__cause__, "orig", None), "sqlstate", None)
    return isinstance(state, str) and state[:2] in _REFUSED


def _passes(error: LedgerUnavailableError) -> bool:
    """Whether a second try may do: the connection broke, or another transaction was in the way."""
    cause: Any = error.__cause__
    if not isinstance(cause, DBAPIError):
        return False
    return cause.connection_invalidated or getattr(cause.orig, "sqlstate", None) in _ANOTHERS_WAY
