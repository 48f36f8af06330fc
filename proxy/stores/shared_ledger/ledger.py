"""The ledger that replicas share: PostgreSQL answers for all of them, the local file takes every write.

What a generation waits for is its local file alone. The forwarder brings it to PostgreSQL within about a second, or as
soon as that is back. Whoever asks for lists or sums gets the answer of the shared ledger, brought up to date by what
is here; while it is away, or too far behind, there is none. A single record of this replica is always found.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import structlog
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection

from proxy.core.lifecycle import Outcome
from proxy.core.record import Known, Record
from proxy.stores.bus.namesakes import namesakes
from proxy.stores.conversations.postgres import PostgresConversations
from proxy.stores.ledger.open import Left
from proxy.stores.ledger.outbox import Outbox
from proxy.stores.ledger.port import LedgerUnavailableError, Page, RecordFilter, UsedFilter, UsedRow
from proxy.stores.ledger.questions import Found
from proxy.stores.ledger.sqlite import SqliteLedger
from proxy.stores.ledger.usage import UsageQuery, UsageRow
from proxy.stores.ledger.usage_sqlite import usage_rows
from proxy.stores.ledger.used import used
from proxy.stores.postgres import Postgres
from proxy.stores.shared_ledger import known_later
from proxy.stores.shared_ledger.exports import SharedTruths, SharedVersions
from proxy.stores.shared_ledger.forward import interrupt_left
from proxy.stores.shared_ledger.forwarder import Forwarder
from proxy.stores.shared_ledger.purge import Kept, count_old, purge_shared
from proxy.stores.shared_ledger.spool import FORWARDER

CATCH_UP_SECONDS: Final = 3.0
"""How long a list or a sum waits for what is here to be shared."""

FIND_SECONDS: Final = 2.0
"""How long a single record is looked for; then what is here has to do."""

REPORT_SECONDS: Final = 60.0
"""How long a sum over the records may take."""

T = TypeVar("T")
_log = structlog.get_logger("quell.ledger")


class SharedLedger:
    """The port `Ledger` on a local file and PostgreSQL.

    Args:
        local: takes the writes.
        postgres: for reading.
        forwarder: brings what is in `local` to the same database; somebody must call its `round`.
        conversations: in the same database; opened, and closed with this.
        backlog: with so many records not shared yet, no new work is taken.
        keep: seconds after its end that a record stays.
        text_keep: seconds after its end that a record's text stays.
    """

    def __init__(
        self,
        local: SqliteLedger,
        postgres: Postgres,
        forwarder: Forwarder,
        conversations: PostgresConversations,
        *,
        backlog: int,
        keep: float,
        text_keep: float,
    ) -> None:
        self.local: Final = local
        self.forwarder: Final = forwarder
        self.conversations: Final = conversations
        self._postgres = postgres
        self._backlog = backlog
        self._kept = Kept(keep, text_keep)
        self.exports: Final = SharedVersions(postgres)
        self.truths: Final = SharedTruths(postgres)
        local.outbox.hold(FORWARDER, held=True)

    @property
    def left(self) -> Left:
        """What the last process left in the local file."""
        return self.local.left

    @property
    def outbox(self) -> Outbox:
        """Of the local file: each replica's sink tells what that replica has settled."""
        return self.local.outbox

    @property
    def pending(self) -> int:
        """How many writes wait for the disk."""
        return self.local.pending

    @property
    def healthy(self) -> bool:
        """Of the local file; and false while the shared ledger is too far behind."""
        return self.local.healthy and self.forwarder.pending < self._backlog

    @property
    def transactions(self) -> tuple[int, int]:
        """Of the local file."""
        return self.local.transactions

    def begin(self, record: Record) -> "asyncio.Future[None]":
        """See `Ledger.begin`."""
        if self.forwarder.pending >= self._backlog:
            behind = f"{self.forwarder.pending} records wait for PostgreSQL, as many as ledger.backlog allows"
            raise LedgerUnavailableError(behind)
        durable = self.local.begin(record)
        durable.add_done_callback(lambda done: self._started(done, record))
        return durable

    def append(self, uid: str, text: str) -> None:
        """See `Ledger.append`."""
        self.local.append(uid, text)

    def note(self, uid: str, known: Known) -> None:
        """See `Ledger.note`."""
        self.local.note(uid, known)

    def end(self, record: Record) -> "asyncio.Future[None]":
        """See `Ledger.end`."""
        durable = self.local.end(record)
        durable.add_done_callback(lambda done: self._ended(done, record.uid))
        return durable

    def stop(self, record: Record) -> "asyncio.Future[None]":
        """See `Ledger.stop`. For a start of this replica on its file: the shared ledger hears of the end alone."""
        return self.local.stop(record)

    async def unsettled(self, limit: int) -> list[Record]:
        """See `Ledger.unsettled`. Of this replica."""
        return await self.local.unsettled(limit)

    def settle(self, record: Record) -> "asyncio.Future[int]":
        """See `Ledger.settle`."""
        settled = self.local.settle(record)
        settled.add_done_callback(lambda done: self._ended(done, record.uid))
        return settled

    async def find(self, identity: str | None, any_id: str) -> Record | None:
        """See `Ledger.find`. What is here is found also while PostgreSQL is away; once both have an end, its counts.

        Raises:
            LedgerUnavailableError: it is not here, and PostgreSQL is away: nobody knows whether there is any.
        """
        here = await self.local.named(identity, any_id)
        try:
            async with self._postgres.reading(FIND_SECONDS) as connection:
                there = await known_later.find(connection, identity, any_id)
        except LedgerUnavailableError:
            if here is None:
                raise
            return here.record
        return _truer(here, there)

    async def page(self, which: RecordFilter, limit: int, cursor: str | None) -> Page:
        """See `Ledger.page`."""
        return await self._asked(lambda connection: known_later.page(connection, which, limit, cursor))

    async def usage(self, query: UsageQuery) -> list[UsageRow]:
        """See `Ledger.usage`."""

        def sums(connection: Connection) -> list[UsageRow]:
            return usage_rows(connection, query)

        return await self._asked(lambda connection: connection.run_sync(sums), REPORT_SECONDS)

    async def used(self, which: UsedFilter) -> list[UsedRow]:
        """See `Ledger.used`: of all replicas; while PostgreSQL is away of this one, for no start waits for it."""
        try:
            return await self._asked(lambda connection: used(connection, which), REPORT_SECONDS)
        except LedgerUnavailableError as error:
            _log.warning("ledger.used_of_this_replica_only", why=str(error))
            return await self.local.used(which)

    async def sizes(self, newest: int) -> list[tuple[str | None, str, int]]:
        """See `Ledger.sizes`. Of this replica."""
        return await self.local.sizes(newest)

    async def wipe_text(self, uid: str) -> None:
        """See `Ledger.wipe_text`. The shared ledger hears of it soon, and by it the replica that has the record."""
        await self.local.wipe_text(uid)

    async def interrupt_left(self, replica: str, now: float, alive: str = "") -> list[tuple[str, str]]:
        """End what a dead replica ran, once whoever asks for it, see `forward.interrupt_left`.

        Raises:
            LedgerUnavailableError: PostgreSQL can't be reached.
        """
        async with self._postgres.writing() as connection:
            return await interrupt_left(connection, replica, now, alive)

    async def interrupt_own(self) -> list[tuple[str, str]]:
        """The same of what this replica ran in an earlier life of its process, and its file lost.

        Not of one that has a lease: it may live, and if not, it is buried when that is over.

        Raises:
            LedgerUnavailableError: PostgreSQL can't be reached.
        """
        return await self.interrupt_left(self.forwarder.replica, time.time(), self.forwarder.boot)

    async def namesakes(self) -> dict[str, float]:
        """Other lives that have this replica's name and a lease, and until when; without those that are known as dead.

        Raises:
            LedgerUnavailableError: PostgreSQL can't be reached.
        """
        async with self._postgres.reading() as connection:
            found = await namesakes(connection, self.forwarder.replica, self.forwarder.boot)
        return {life: until for life, until in found.items() if life not in self.conversations.burials.former}

    async def purge(self, now: float, *, before: float | None = None, dry_run: bool = False) -> tuple[int, int]:
        """See `Ledger.purge`. Both are purged; the numbers are those of the shared one, which all replicas purge.

        Where this process's clock is ahead of the database's, that one says what is old there.
        """
        here = await self.local.purge(now, before=before, dry_run=dry_run)
        try:
            if dry_run:
                return await self._asked(lambda connection: count_old(connection, self._kept, now, before))
            return await purge_shared(self._postgres, self._kept, now, before)
        except LedgerUnavailableError:
            if before is None and not dry_run:  # the next time will do
                return here
            raise

    async def close(self) -> None:
        """See `Ledger.close`. What is not shared yet stays in the local file, and is after the next start."""
        try:
            await self.conversations.close()
            await self.local.close()
        finally:
            await self._postgres.close()
            await self.forwarder.close()

    async def _asked(self, question: Callable[[AsyncConnection], Awaitable[T]], seconds: float | None = None) -> T:
        await self.forwarder.catch_up(CATCH_UP_SECONDS)
        async with self._postgres.reading(seconds) as connection:
            return await question(connection)

    def _started(self, done: "asyncio.Future[None]", record: Record) -> None:
        if not done.cancelled() and done.exception() is None:
            self.forwarder.started(record)

    def _ended(self, done: "asyncio.Future[Any]", uid: str) -> None:
        if not done.cancelled() and done.exception() is None:
            self.forwarder.ended(uid)


def _truer(here: Found | None, there: Found | None) -> Record | None:
    """Of what an id names in the two, the one that counts: a shared end is for ever, all else is newer here."""
    if here is None or there is None:
        found = here or there
        return None if found is None else found.record
    if here.record.uid == there.record.uid:
        return here.record if there.record.outcome is Outcome.RUNNING else there.record
    best = min((here, there), key=lambda found: (found.rank, -found.record.started_at))
    return best.record
