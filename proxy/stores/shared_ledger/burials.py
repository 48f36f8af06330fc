"""Burials in PostgreSQL: what the dead left is ended once, by whoever notices.

The row of a dead one's lease is locked for that, and goes with it. Burials are no part of the lease's renewal: however
long they take, this one lives on.

A lease that is still good and of this life's own place is either of a dead one, for one process has a file at a time,
or of one that lives on a copy of the file. Only the second is renewed. The dead one's threads are free when that is
known; its records are left to the file, which knows better than others how they ended, until it has told them.

Where replicas have a bus, it is asked too: a replica that stands still renews no lease, and is not dead.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from proxy.stores.conversations import holds_statements as sql
from proxy.stores.conversations.holds_postgres import RENEWALS, PostgresHolds, end_left
from proxy.stores.conversations.postgres_writes import PostgresWrites
from proxy.stores.ledger.port import LedgerUnavailableError
from proxy.stores.shared_ledger.forward import interrupt_life, whose_life

log = structlog.get_logger()

SPARED_LEASES: Final = 6.0
"""For so many leases one that the bus takes for alive is spared: its name may be that of its next life by then."""


class PostgresBurials:
    """See above.

    Args:
        writes: of the conversations.
        holds: of this life.
        place: its file's name.
        lease: seconds.
        is_behind: whether something in this life's file is yet to be told to the shared ledger.
    """

    def __init__(
        self,
        writes: PostgresWrites,
        holds: PostgresHolds,
        place: str,
        lease: float,
        is_behind: Callable[[], Awaitable[bool]],
    ) -> None:
        self._writes = writes
        self._holds = holds
        self._place: Final = place
        self._lease: Final = lease
        self._is_behind = is_behind
        self.lives: Callable[[str], Awaitable[bool]] | None = None
        """Whether the bus knows a replica of this name to be alive; None: there is no bus."""
        self._spared: dict[str, float] = {}
        self.former: set[str] = set()
        """The lives that this place had before, which are dead although they may have a lease."""
        self.buried = 0
        """How many owners this one has buried."""

    async def bury_forever(self) -> None:
        """Bury the dead, and let go of what this one no longer holds."""
        while True:
            try:
                await self._holds.let_go_of_strays()
                for owner in await self._dead():
                    if not await self._is_spared(owner):
                        await self.bury(owner)
            except Exception as error:  # noqa: BLE001 nothing may end this: what the dead hold stays locked
                _note(error)
            await asyncio.sleep(self._lease / RENEWALS)

    async def bury(self, owner: str) -> bool:
        """End what a dead owner left, its records too; False: somebody else does, or it came back.

        Raises:
            LedgerUnavailableError: PostgreSQL can't be written now.
        """

        async def bury_it(connection: AsyncConnection) -> bool:
            claimed = (await connection.execute(sql.CLAIM, {"owner": owner})).first()
            if claimed is None and (await connection.execute(sql.KNOWN, {"owner": owner})).first() is not None:
                return False
            if claimed is not None:
                if claimed.place == self._place and await self._is_behind():  # its own file knows better
                    return False
                whose[:] = [await whose_life(connection, owner)]
                ended[:] = await interrupt_life(connection, owner, time.time())
            await end_left(connection, owner)
            return True

        ended: list[tuple[str, str]] = []
        whose: list[str | None] = []
        is_buried = await self._writes.transact(bury_it)
        self.buried += is_buried
        if ended:
            log.warning("replica.records_interrupted", replica=whose[0], life=owner, records=len(ended))
        return is_buried

    async def _is_spared(self, owner: str) -> bool:
        """Whether the bus says that it lives: it stands still, or can't reach PostgreSQL."""
        if self.lives is None:
            return False
        now = asyncio.get_running_loop().time()
        since = self._spared.setdefault(owner, now)
        if now - since < SPARED_LEASES * self._lease:
            async with self._writes.reading() as connection:
                replica = await whose_life(connection, owner)
            if replica is not None and await self.lives(replica):
                return True
        self._spared.pop(owner)
        return False

    async def bury_former(self) -> None:
        """Bury, but for their records, the lives that this place had before, once that is known to be so.

        Their leases are then kept until this file has told how their records ended.
        """
        is_known = False
        while True:
            try:
                is_known = is_known or await self._has_buried_former()
                if is_known:
                    if not self.former or not await self._is_behind():
                        return
                    await self._keep()
            except Exception as error:  # noqa: BLE001 nothing may end this: others would end records too early
                _note(error)
            await asyncio.sleep(self._lease / RENEWALS)

    async def _has_buried_former(self) -> bool:
        """Look twice, and bury; False: PostgreSQL was away meanwhile, so nobody could renew."""
        await self._holds.live(asyncio.get_running_loop().time() + self._writes.patience)
        judges_from = self._holds.judges_from
        async with self._writes.reading() as connection:
            values = {"owner": self._holds.owner, "place": self._place}
            leases = (await connection.execute(sql.FORMER, values)).all()
        if not leases:
            return True
        await asyncio.sleep(self._lease / 2)
        if judges_from is None or judges_from != self._holds.judges_from:
            return False
        for row in leases:
            if await self._bury_former(row.owner, row.until):
                self.former.add(row.owner)
        return True

    async def _bury_former(self, owner: str, until: float) -> bool:
        async def bury_it(connection: AsyncConnection) -> bool:
            if (await connection.execute(sql.CLAIM_FORMER, {"owner": owner, "until": until})).first() is None:
                return False
            await end_left(connection, owner)
            return True

        is_buried = await self._writes.transact(bury_it)
        self.buried += is_buried
        return is_buried

    async def _keep(self) -> None:
        for owner in self.former:
            await self._writes.transact(partial(_keep, {"owner": owner, "seconds": self._lease}))

    async def _dead(self) -> list[str]:
        values = {"owner": self._holds.owner, "seconds": self._holds.grace()}
        async with self._writes.reading() as connection:
            return [str(row.owner) for row in await connection.execute(sql.DEAD, values)]


async def _keep(values: dict[str, str | float], connection: AsyncConnection) -> None:
    await connection.execute(sql.KEEP, values)


def _note(error: Exception) -> None:
    if not isinstance(error, LedgerUnavailableError):
        log.error("lease.not_buried", error=type(error).__name__)
