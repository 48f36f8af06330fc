"""Leases and holds of one life of a process, in PostgreSQL.

The lease is renewed three times in its length, by a connection of its own: no other work is a reason to look dead.
Whoever finds another's over ends what that one left, once: the row of
the lease is locked, and goes with it. After PostgreSQL was away nobody judges others until they had the time to renew.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from proxy.stores import holds_statements as sql
from proxy.stores.forward import interrupt_life
from proxy.stores.holds import Held
from proxy.stores.ports import LedgerUnavailableError
from proxy.stores.postgres_transactions import PAUSE, PostgresTransactions, T
from proxy.stores.postgres_writes import PostgresWrites

RENEWALS: Final = 3
log = structlog.get_logger()

FOREVER: Final = 1e9
"""Seconds for which nobody is dead."""


class PostgresHolds:
    """The port `Holds`.

    Args:
        writes: of the conversations.
        leasing: for the lease alone, which waits for nothing else.
        owner: this life's name.
        place: its file's.
        lease: seconds.
    """

    def __init__(
        self, writes: PostgresWrites, leasing: PostgresTransactions, owner: str, place: str, lease: float
    ) -> None:
        self._writes = writes
        self._leasing = leasing
        self._renewing = asyncio.Lock()
        self.owner = owner
        self._place = place
        self._lease = lease
        self._held: dict[str, tuple[Held, str]] = {}
        self._judges_from: float | None = None
        self._renewed = -FOREVER
        self.buried = 0
        """How many owners this one has buried."""

    async def take(self, held: Held, label: str) -> bool:
        """See `Holds.take`."""
        values = self._values(held, label)

        async def take_it(connection: AsyncConnection) -> bool:
            return bool((await connection.execute(sql.TAKE, values | {"grace": self._grace()})).rowcount)

        try:
            is_taken = await self.begin(take_it)
        except (LedgerUnavailableError, asyncio.CancelledError):
            self._let_go(held)
            raise
        if is_taken:
            self._held[held.token] = held, label
        return is_taken

    def let_go(self, held: Held) -> None:
        """See `Holds.let_go`."""
        if self._held.pop(held.token, None) is not None:
            self._let_go(held)

    async def free(self, held: Held) -> None:
        """See `Holds.free`."""
        if self._held.pop(held.token, None) is None:
            return
        values = {"token": held.token, "owner": self.owner}
        try:
            await self._writes.transact(lambda connection: connection.execute(sql.LET_GO, values))
        except (LedgerUnavailableError, asyncio.CancelledError) as error:
            self._let_go(held)
            if isinstance(error, asyncio.CancelledError):
                raise

    async def label(self, identity: str, dialect: str, key: str) -> str | None:
        """See `Holds.label`."""
        values = {"identity": identity, "dialect": dialect, "key": key, "owner": self.owner, "grace": self._grace()}
        async with self._writes.reading() as connection:
            found: str | None = (await connection.execute(sql.HELD, values)).scalar()
        return found

    async def begin(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Do something in a transaction that begins something: this life has a lease then.

        Raises:
            LedgerUnavailableError: see `PostgresTransactions.transact`.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + self._writes.patience
        if self._is_fading():
            try:
                async with asyncio.timeout_at(until), self._renewing:
                    if self._is_fading():
                        await self._renew()
            except TimeoutError as error:
                raise LedgerUnavailableError("the lease of this replica can't be renewed in time") from error
        return await self._writes.transact(work, max(until - loop.time(), PAUSE))

    async def renew_forever(self) -> None:
        """Live."""
        while True:
            try:
                await self.renew()
            except Exception as error:  # noqa: BLE001 nothing may end this: others would take this one for dead
                self._judges_from = None
                if not isinstance(error, LedgerUnavailableError):
                    log.error("lease.not_renewed", error=type(error).__name__)  # noqa: TRY400 no values in a log
            await asyncio.sleep(self._lease / RENEWALS)

    async def bury_forever(self) -> None:
        """Bury the dead. However long that takes, this one lives on."""
        while True:
            try:
                for owner in await self._dead():
                    await self.bury(owner)
            except Exception as error:  # noqa: BLE001 nothing may end this: what the dead hold stays locked
                if not isinstance(error, LedgerUnavailableError):
                    log.error("lease.not_buried", error=type(error).__name__)  # noqa: TRY400 no values in a log
            await asyncio.sleep(self._lease / RENEWALS)

    async def renew(self) -> None:
        """Renew the lease. Who was taken for dead meanwhile takes again what nobody else has taken.

        Raises:
            LedgerUnavailableError: PostgreSQL can't be written now.
        """
        async with self._renewing:
            await self._renew()

    async def _renew(self) -> None:
        loop = asyncio.get_running_loop()
        is_late = self._judges_from is None or loop.time() - self._renewed > self._lease
        values = {"owner": self.owner, "place": self._place, "seconds": self._lease}
        await self._leasing.transact(lambda connection: connection.execute(sql.RENEW, values), self._lease / RENEWALS)
        if is_late:
            self._judges_from = loop.time() + self._lease
            await self._leasing.transact(self._take_again)
        self._renewed = loop.time()

    async def bury(self, owner: str) -> bool:
        """End what a dead owner left, its records too; False: somebody else does, or it came back.

        Raises:
            LedgerUnavailableError: PostgreSQL can't be written now.
        """

        async def bury_it(connection: AsyncConnection) -> bool:
            claimed = (await connection.execute(sql.CLAIM, {"owner": owner, "place": self._place})).first()
            if claimed is None and (await connection.execute(sql.KNOWN, {"owner": owner})).first() is not None:
                return False
            if claimed is not None and claimed.place != self._place:  # its own file would know better
                ended.extend(await interrupt_life(connection, owner, time.time()))
            await _bury(connection, owner)
            return True

        ended: list[tuple[str, str]] = []
        is_buried = await self._writes.transact(bury_it)
        self.buried += is_buried
        if ended:
            log.warning("replica.records_interrupted", life=owner, records=len(ended))
        return is_buried

    async def leave(self) -> None:
        """Give the lease back; what is left in progress, if anything, is interrupted.

        While its records run in the shared ledger, for their ends were not forwarded yet, the lease is left to run out:
        the next life on this file forwards them before, or others end them then.

        Raises:
            LedgerUnavailableError: PostgreSQL can't be written now; then others find the lease over.
        """
        await self._leasing.transact(lambda connection: _bury(connection, self.owner))

    async def _dead(self) -> list[str]:
        values = {"owner": self.owner, "place": self._place, "seconds": self._grace()}
        async with self._writes.reading() as connection:
            return [str(row.owner) for row in await connection.execute(sql.DEAD, values)]

    def _is_fading(self) -> bool:
        return asyncio.get_running_loop().time() - self._renewed > self._lease / 2

    def _grace(self) -> float:
        """So many seconds behind its lease another still counts as alive."""
        now = asyncio.get_running_loop().time()
        return 0.0 if self._judges_from is not None and now >= self._judges_from else FOREVER

    async def _take_again(self, connection: AsyncConnection) -> None:
        for held, label in list(self._held.values()):
            await connection.execute(sql.TAKE, self._values(held, label) | {"grace": FOREVER})

    def _let_go(self, held: Held) -> None:
        self._writes.soon(sql.LET_GO, {"token": held.token, "owner": self.owner})

    def _values(self, held: Held, label: str) -> dict[str, str | float]:
        return {
            "identity": held.identity,
            "dialect": held.dialect,
            "key": held.key,
            "token": held.token,
            "owner": self.owner,
            "label": label,
        }


async def _bury(connection: AsyncConnection, owner: str) -> None:
    for statement in (*sql.BURY, sql.END_LEASE):
        await connection.execute(statement, {"owner": owner, **sql.span_of(owner)})
