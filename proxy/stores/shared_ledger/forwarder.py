"""The forwarder: brings what the local file has to the shared ledger, in its order, by transactions that may repeat.

How far it has come stands in both databases. The lower of the two counts: a shared ledger that is new, or was restored
from an older backup, is filled again, and so is a local file.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final

import structlog

from proxy.core.begun import as_begun
from proxy.core.record import Record
from proxy.stores.ledger.port import LedgerUnavailableError
from proxy.stores.ledger.rows import row_of
from proxy.stores.postgres import Postgres
from proxy.stores.shared_ledger.forward import Load, Whose, forward
from proxy.stores.shared_ledger.forward_statements import NEWLY_WIPED, PLACE_OF, SPOOL_OF
from proxy.stores.shared_ledger.spool import Begun, Spool

MOST: Final = 500
"""Versions of one transaction."""

MOST_CHARACTERS: Final = 4 * 2**20
"""Of their texts together; a longer one goes alone."""

_MOST_WIPED: Final = 500

_log = structlog.get_logger("quell.ledger")


class Forwarder:
    """One for each local file. `round` is one transaction; whoever waits for all of it calls `catch_up`.

    Args:
        spool: the local file.
        postgres: with a connection for the forwarder.
        replica: this replica's name.
        boot: the name of this life of its process.
        lease: seconds for which it counts as alive, see `forward.Whose`.
        now: seconds since the epoch.
    """

    def __init__(
        self,
        spool: Spool,
        postgres: Postgres,
        replica: str,
        boot: str,
        lease: float,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._spool = spool
        self._postgres = postgres
        self.replica: Final = replica
        self.boot: Final = boot
        self.lease: Final = lease
        self._now = now
        self._lock = asyncio.Lock()
        self._whose: Whose | None = None
        self._starts: dict[str, Record] = {}
        self._told_of_loss = False
        self._heard = 0
        self._position = 0
        self._end = 0
        self._grown = 0
        self._begun = self._whole = 0
        """Which round was begun last, and which was the last that brought all that there was when it began."""
        self._behind_since: float | None = None
        self.awake: Final = asyncio.Event()
        """Set when there is something to forward; whoever calls `round` clears it before."""
        self.overtaken = 0
        """How many ends came too late: another replica had taken their owner for dead."""

    @property
    def pending(self) -> int:
        """How many versions the shared ledger does not have yet."""
        return max(self._end - self._position, 0)

    @property
    def lag(self) -> float:
        """For how many seconds there has been anything that the shared ledger does not have."""
        return 0.0 if self._behind_since is None else time.monotonic() - self._behind_since

    async def open(self) -> None:
        """Look how much waits; PostgreSQL is not asked yet.

        Raises:
            LedgerUnavailableError: the local file can't be read or written.
        """
        await self._begin(await self._spool.begin(self.replica))

    def started(self, record: Record) -> None:
        """A generation runs whose START is on disk here."""
        self._starts[record.uid] = record
        self._is_behind()

    def ended(self, uid: str) -> None:
        """A generation has ended, on disk here; if its START was not shared yet, it need not be."""
        self._starts.pop(uid, None)
        self.grown()

    def grown(self) -> None:
        """One more version is on disk here."""
        self._grown += 1
        self._end += 1
        self._is_behind()

    async def round(self) -> bool:
        """One transaction; gives whether there is more already.

        Raises:
            LedgerUnavailableError: PostgreSQL can't be reached, or the local file. It is as if nothing was sent.
        """
        async with self._lock:
            return await self._round()

    async def catch_up(self, seconds: float) -> None:
        """Return when all that is on disk here by now is shared.

        Raises:
            LedgerUnavailableError: that is not so within so many seconds, or can't be.
        """
        needed = self._begun + 1
        try:
            async with asyncio.timeout(seconds):
                while self._is_due(needed):
                    async with self._lock:
                        if self._is_due(needed):  # of many who wait here, one has done it for all
                            await self._round()
        except TimeoutError as error:
            message = f"the shared ledger is {self.pending} records behind this replica; it is catching up"
            raise LedgerUnavailableError(message) from error

    async def close(self) -> None:
        """Close the connection, once the last round has ended."""
        async with self._lock:
            await self._postgres.close()

    def _is_due(self, needed: int) -> bool:
        """Whether there is anything that is not shared, and no round since that one has brought all there was."""
        return self._whole < needed and bool(self.pending or self._starts)

    async def _round(self) -> bool:
        self._begun += 1
        if self._whose is None:
            self._whose = await self._find_place()
        grown = self._grown
        page = await self._spool.next(self._position, MOST, MOST_CHARACTERS)
        wiped = await self._spool.wiped(_MOST_WIPED)
        starts = dict(self._starts)
        rows = [row_of(as_begun(record), None) for record in starts.values()]
        load = Load(page.position, page.versions, rows, wiped)
        try:
            async with self._postgres.writing() as connection:
                heard = (await connection.execute(NEWLY_WIPED, {"behind": self._heard, "most": _MOST_WIPED})).all()
                if load.versions or load.starts or load.wiped:
                    self.overtaken += await forward(connection, self._whose, load, self._now())
        except LedgerUnavailableError:
            self._whose = None  # another server, or an older copy, may be there next time
            raise
        if load.versions or wiped:
            await self._spool.forwarded(page.position, wiped[-1].number if wiped else 0)
        if heard:
            await self._spool.hear([row.uid for row in heard], heard[-1].number)
            self._heard = heard[-1].number
        for uid, record in starts.items():
            if self._starts.get(uid) is record:
                del self._starts[uid]
        self._position = page.position
        self._end = page.end + self._grown - grown  # what came meanwhile may be counted twice, until the next round
        if not page.more:
            self._whole = self._begun
        if not self.pending and not self._starts:
            self._behind_since = None
        return page.more or len(wiped) == _MOST_WIPED or len(heard) == _MOST_WIPED

    async def _find_place(self) -> Whose:
        grown = self._grown
        begun = await self._spool.begin(self.replica)
        async with self._postgres.writing() as connection:
            there = await connection.scalar(PLACE_OF, {"spool": begun.id})
            is_lost = (
                there is None and not begun.forwarded and await connection.scalar(SPOOL_OF, {"whose": self.replica})
            )
        if is_lost and not self._told_of_loss:
            self._told_of_loss = True
            _log.warning(
                "ledger.spool_is_new",
                replica=self.replica,
                why="a replica of this name has shared records from another spool",
                hint="what a lost spool had not shared is lost; give each replica a name and a spool that stays",
            )
        self._position = min(begun.forwarded, there or 0)
        if self._position < begun.forwarded:
            await self._spool.forwarded(self._position, 0)  # so that no purge takes what is sent again
        if there is None or there < begun.forwarded:
            self._heard = 0  # its numbers are others
        self._end = begun.end + self._grown - grown
        return Whose(begun.id, self.replica, self.boot, self.lease)

    async def _begin(self, begun: Begun) -> None:
        self._position, self._end, self._heard = begun.forwarded, begun.end, begun.heard
        if self.pending:
            self._is_behind()

    def _is_behind(self) -> None:
        if self._behind_since is None:
            self._behind_since = time.monotonic()
        self.awake.set()
