"""Writing conversations into PostgreSQL: each call in a transaction of its own, or behind, or by way of the spool."""

import asyncio
import contextlib
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import structlog
from sqlalchemy import Executable
from sqlalchemy.ext.asyncio import AsyncConnection

from proxy.stores.conversations.late_spool import LateSpool
from proxy.stores.conversations.sql import Act
from proxy.stores.ledger.gather import Value
from proxy.stores.ledger.port import LedgerUnavailableError
from proxy.stores.postgres import Postgres
from proxy.stores.postgres_transactions import PostgresTransactions, T

Said: TypeAlias = tuple[Executable, Mapping[str, Value]]
"""A statement of PostgreSQL's with its values."""

AGAIN: Final = (0.1, 2.0)
"""Seconds until what goes on in the background is tried again, at first and at the most."""
MOST_BEHIND: Final = 10_000
"""So much that may be left undone is kept for the background."""
REPLAYED_AT_ONCE: Final = 50

_REFUSED: Final = frozenset({"21", "22", "23", "42", "54"})
"""Classes of SQL states: bad values, broken constraints, no such column, beyond a limit."""

log = structlog.get_logger()


@dataclass(slots=True)
class _Piece:
    act: Act
    written: "asyncio.Future[int]"


class PostgresWrites(PostgresTransactions):
    """The writing half of `PostgresConversations`.

    Args:
        postgres: the database.
        spool: keeps what must be written, and can't be now.
        patience: seconds until a write fails.
    """

    def __init__(self, postgres: Postgres, spool: LateSpool, patience: float) -> None:
        super().__init__(postgres, patience)
        self.spool = spool
        self._pieces: list[_Piece] = []
        self._behind: list[Said] = []
        self._awake = asyncio.Event()
        self._closing = False

    async def say(self, *acts: Act, patience: float | None = None) -> list[int]:
        """Write acts in one transaction; gives how many rows each changed.

        Raises:
            LedgerUnavailableError: see `transact`.
        """
        return await self.transact(lambda connection: say_to(connection, acts), patience)

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
        """As `say`; what PostgreSQL does not take now it takes later, from the spool: then the numbers are not known.

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
        """Write something that nobody waits for, when there is time. What is too much is forgotten."""
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
