"""Leases and holds of one life of a process, in PostgreSQL.

The lease is renewed three times in its length, by a connection of its own: no other work is a reason to look dead.
What becomes of those whose lease is over is in `shared_ledger/burials`. After PostgreSQL was away nobody judges others
until they had the time to renew.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from proxy.stores.conversations import holds_statements as sql
from proxy.stores.conversations.holds import Held
from proxy.stores.conversations.postgres_writes import PostgresWrites
from proxy.stores.ledger.port import LedgerUnavailableError
from proxy.stores.postgres_transactions import PAUSE, PostgresTransactions, T

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
        self._taking: set[str] = set()
        self.judges_from: float | None = None
        """From when on, by the loop's clock, this one judges others; None: it can't renew its own lease now."""
        self._renewed = -FOREVER

    async def take(self, held: Held, label: str) -> bool:
        """See `Holds.take`."""
        values = self._values(held, label)

        async def take_it(connection: AsyncConnection) -> bool:
            return bool((await connection.execute(sql.TAKE, values | {"grace": self.grace()})).rowcount)

        self._taking.add(held.token)
        try:
            is_taken = await self.begin(take_it)
            if is_taken:
                self._held[held.token] = held, label
        except (LedgerUnavailableError, asyncio.CancelledError):
            self._let_go(held)
            raise
        finally:
            self._taking.discard(held.token)
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
        values = {"identity": identity, "dialect": dialect, "key": key, "owner": self.owner, "grace": self.grace()}
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
        await self.live(until)
        return await self._writes.transact(work, max(until - loop.time(), PAUSE))

    async def live(self, until: float) -> None:
        """Have a lease that is good for some time, by that time of the loop's clock at the latest.

        Raises:
            LedgerUnavailableError: PostgreSQL can't be written now.
        """
        try:
            async with asyncio.timeout_at(until):
                if self._is_fading():
                    async with self._renewing:
                        if self._is_fading():
                            await self._renew(self._writes.patience)
        except TimeoutError as error:
            raise LedgerUnavailableError("the lease of this replica can't be renewed in time") from error

    async def renew_forever(self) -> None:
        """Live."""
        while True:
            try:
                await self.renew()
            except Exception as error:  # noqa: BLE001 nothing may end this: others would take this one for dead
                self.judges_from = None
                if not isinstance(error, LedgerUnavailableError):
                    log.error("lease.not_renewed", error=type(error).__name__)  # noqa: TRY400 no values in a log
            await asyncio.sleep(self._lease / RENEWALS)

    async def renew(self) -> None:
        """Renew the lease. Who was taken for dead meanwhile takes again what nobody else has taken.

        Raises:
            LedgerUnavailableError: PostgreSQL can't be written now.
        """
        async with self._renewing:
            await self._renew(self._lease / RENEWALS)

    def grace(self) -> float:
        """So many seconds behind its lease another still counts as alive."""
        now = asyncio.get_running_loop().time()
        return 0.0 if self.judges_from is not None and now >= self.judges_from else FOREVER

    async def _renew(self, patience: float) -> None:
        loop = asyncio.get_running_loop()
        is_late = self.judges_from is None or loop.time() - self._renewed > self._lease
        values = {"owner": self.owner, "place": self._place, "seconds": self._lease}
        await self._leasing.transact(lambda connection: connection.execute(sql.RENEW, values), patience)
        if is_late:
            self.judges_from = loop.time() + self._lease
            await self._leasing.transact(self._take_again)
        self._renewed = loop.time()

    async def let_go_of_strays(self) -> None:
        """Let go of what has this life's name in the database, and is not held: what was to be let go of and was not.

        Raises:
            LedgerUnavailableError: PostgreSQL can't be read or written now.
        """
        async with self._writes.reading() as connection:
            there = set(await connection.scalars(sql.OWN, {"owner": self.owner}))
        # Only now, for a token that was there before this is taken for good, or never again.
        if strays := there - self._held.keys() - self._taking:
            values = {"owner": self.owner, "tokens": sorted(strays)}
            await self._writes.transact(lambda connection: connection.execute(sql.LET_GO_OF, values))

    async def leave(self) -> None:
        """Give the lease back; what is left in progress, if anything, is interrupted.

        While its records run in the shared ledger, for their ends were not forwarded yet, the lease is left to run out:
        the next life on this file forwards them before, or others end them then.

        Raises:
            LedgerUnavailableError: PostgreSQL can't be written now; then others find the lease over.
        """
        await self._leasing.transact(lambda connection: end_left(connection, self.owner))

    def _is_fading(self) -> bool:
        return asyncio.get_running_loop().time() - self._renewed > self._lease / 2

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


async def end_left(connection: AsyncConnection, owner: str) -> None:
    """Interrupt what an owner has in progress, let go of what it holds, and end its lease if no record of it runs."""
    for statement in (*sql.BURY, sql.END_LEASE):
        await connection.execute(statement, {"owner": owner, **sql.span_of(owner)})
