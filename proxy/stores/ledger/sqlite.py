"""The port `Ledger` on one SQLite file; `sqlite_open` opens it.

Write-ahead log, `synchronous=FULL`: what was acknowledged survives a power cut. One connection writes
(`writer`), others read (`reads`; `reports`: what takes long), a lock file keeps a second process out
(`lock_file`). The conversations are in the same file, behind the same writer (`conversations/sqlite`).
"""

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from proxy.core.lifecycle import Outcome
from proxy.core.record import Known, Record, TextPolicy
from proxy.stores.conversations.late_spool import LateSpool
from proxy.stores.conversations.sqlite import SqliteConversations
from proxy.stores.ledger.disk_room import DiskRoom
from proxy.stores.ledger.lock_file import LockFile
from proxy.stores.ledger.open import Left
from proxy.stores.ledger.outbox import Versions
from proxy.stores.ledger.outbox_sqlite import SqliteOutbox
from proxy.stores.ledger.port import LedgerUnavailableError, Page, RecordFilter, UsedFilter, UsedRow
from proxy.stores.ledger.questions import Found
from proxy.stores.ledger.reads import LedgerReads
from proxy.stores.ledger.reports import Reports
from proxy.stores.ledger.rows import clean, counted_row, row_of, stopped_row
from proxy.stores.ledger.sqlite_connection import connect_to_write
from proxy.stores.ledger.statements import (
    COUNTED,
    DROP_PIECES,
    FORGET_WIPED,
    NOTE_WIPED,
    PURGE_RECORDS,
    PURGE_SERVED,
    PURGE_TEXT,
    SETTLED,
    WIPE_TEXT,
)
from proxy.stores.ledger.truths_sqlite import SqliteTruths
from proxy.stores.ledger.usage import UsageQuery, UsageRow
from proxy.stores.ledger.usage_sqlite import usage_rows
from proxy.stores.ledger.used import used
from proxy.stores.ledger.write_queue import WriteQueue
from proxy.stores.ledger.writer import LedgerWriter
from proxy.stores.shared_ledger.spool import FORWARDER, Spool

_PURGED_AT_ONCE: Final = 200
"""Records a purge takes in one transaction, so that no START waits long behind it."""

LAST: Final = 2**63 - 1
"""A number behind all others."""


class SqliteLedger:
    """The port `Ledger` on SQLite. Made by `sqlite_open.open_ledger`."""

    def __init__(
        self,
        path: Path,
        lock: LockFile,
        *,
        text: TextPolicy,
        keep: float,
        text_keep: float,
        conversations_keep: float,
        async_keep: float,
        left: Left,
        reserve: int,
        max_pending: int,
        start_deadline: float,
        close_patience: float,
    ) -> None:
        self.path = path
        self.left: Final = left
        self._lock = lock
        self._text = text
        self._keep = keep
        self._text_keep = text_keep
        self._room = DiskRoom(path.parent, reserve)
        self._reads = LedgerReads(path)
        self._queue = WriteQueue(max_pending=max_pending, start_deadline=start_deadline)
        self._writer = LedgerWriter(self._queue, partial(connect_to_write, path), close_patience=close_patience)
        self._reports = Reports(path)
        self.late: Final = LateSpool(self._queue, self._reads)
        self.outbox: Final = SqliteOutbox(self._queue, self._reports)
        self.spool: Final = Spool(self._queue, self._reports)
        self.truths: Final = SqliteTruths(self._queue, self._reports, self.outbox)
        self.conversations: Final = SqliteConversations(
            self._queue, self._reads, keep=conversations_keep, async_keep=async_keep, patience=start_deadline
        )

    async def start(self) -> None:
        """Begin to write.

        Raises:
            sqlite3.Error: the write connection can't be opened.
        """
        await self._writer.start()
        self._room.start()

    @property
    def exports(self) -> Versions:
        """See `Ledger.exports`: nobody shares it."""
        return self.outbox

    @property
    def pending(self) -> int:
        """How many writes wait for the disk."""
        return self._queue.pending

    @property
    def healthy(self) -> bool:
        """False after a START was late, until a write succeeds again (the writer tries by itself); or without room."""
        return self._queue.healthy and self._room.is_enough

    @property
    def transactions(self) -> tuple[int, int]:
        """How many transactions were written, and how many failed (and were tried again)."""
        return self._writer.written, self._writer.failed

    def begin(self, record: Record) -> "asyncio.Future[None]":
        """See `Ledger.begin`. A START that is not on disk in time fails, and leaves no running record behind."""
        if not self._room.is_enough:
            raise LedgerUnavailableError("the ledger's disk has less room than ledger.reserve")
        return self._queue.begin(record.uid, row_of(record, None))

    def append(self, uid: str, text: str) -> None:
        """See `Ledger.append`. What comes while the disk is busy becomes one piece."""
        if self._text != "none":
            self._queue.append(uid, clean(text))

    def note(self, uid: str, known: Known) -> None:
        """See `Ledger.note`."""
        self._queue.note(uid, known)

    def stop(self, record: Record) -> "asyncio.Future[None]":
        """See `Ledger.stop`."""
        return self._queue.stop(record.uid, stopped_row(record))

    def end(self, record: Record) -> "asyncio.Future[None]":
        """See `Ledger.end`. A record without a text takes the joined pieces, if the settings keep it."""
        keeps = self._keeps_text(record.outcome) and not self._queue.is_wiped(record.uid)
        text = clean(record.text) if keeps and record.text is not None else None
        durable = self._queue.end(record.uid, row_of(record, text), joins=keeps and text is None)
        durable.add_done_callback(self.outbox.grown)
        return durable

    async def unsettled(self, limit: int) -> list[Record]:
        """See `Ledger.unsettled`."""
        return await self._reads.unsettled(limit)

    def settle(self, record: Record) -> "asyncio.Future[int]":
        """See `Ledger.settle`."""
        settled = self._queue.chores((COUNTED, counted_row(record)), (SETTLED, (clean(record.uid),)))[1].changed
        settled.add_done_callback(self.outbox.grown)
        return settled

    async def find(self, identity: str | None, any_id: str) -> Record | None:
        """See `Ledger.find`. An upstream id that two running records share means nothing."""
        found = await self.named(identity, any_id)
        return None if found is None else found.record

    async def named(self, identity: str | None, any_id: str) -> Found | None:
        """The record that `find` gives, and by what the id names it.

        Raises:
            LedgerUnavailableError: the file can't be read.
        """
        return await self._reads.find(identity, any_id)

    async def page(self, which: RecordFilter, limit: int, cursor: str | None) -> Page:
        """See `Ledger.page`. Running records come without their text; a long one is cut behind what a list shows."""
        return await self._reads.page(which, limit, cursor)

    async def usage(self, query: UsageQuery) -> list[UsageRow]:
        """See `Ledger.usage`."""
        return await self._reports.ask(partial(usage_rows, query=query))

    async def used(self, which: UsedFilter) -> list[UsedRow]:
        """See `Ledger.used`. Largest means most tokens."""
        async with self._reads.reading() as connection:
            return await used(connection, which)

    async def sizes(self, newest: int) -> list[tuple[str | None, str, int]]:
        """See `Ledger.sizes`."""
        return await self._reads.sizes(newest)

    async def wipe_text(self, uid: str) -> None:
        """See `Ledger.wipe_text`. A running record takes no text from then on, and ends without one."""
        self._queue.wipe(uid)
        steps = ((DROP_PIECES, (uid,)), (WIPE_TEXT, (uid,)), (NOTE_WIPED, (0.0, uid)))
        await asyncio.gather(*(chore.changed for chore in self._queue.chores(*steps)))

    async def purge(
        self,
        now: float,
        *,
        before: float | None = None,
        dry_run: bool = False,
        deleted: Callable[[int], None] = lambda _count: None,
    ) -> tuple[int, int]:
        """See `Ledger.purge`. Goes in small transactions; what was deleted before a failure stays deleted.

        `deleted` is told how many texts or records each of them has deleted.
        """
        texts, records = (now - self._text_keep, now - self._keep) if before is None else (before, before)
        # A position only grows: an old one spares too much, never too little.
        served = min([await self.outbox.position(consumer) for consumer in self.outbox.held], default=None)
        if dry_run:
            return await self._reads.ended_before(texts, records, served)
        if FORWARDER not in self.outbox.held:
            await self._queue.chore(FORGET_WIPED, LAST)  # nobody shares this ledger
        wiped = await self._purge(deleted, PURGE_TEXT, texts)
        if served is not None:
            return wiped, await self._purge(deleted, PURGE_SERVED, records, served)
        return wiped, await self._purge(deleted, PURGE_RECORDS, records)

    async def close(self) -> None:
        """See `Ledger.close`. Lets the next process in."""
        self._room.stop()
        try:
            await self._writer.close()
        finally:
            await self._reads.close()
            await self._reports.close()
            self._lock.release()

    def _keeps_text(self, outcome: Outcome) -> bool:
        return self._text == "all" or (self._text == "partial" and outcome is not Outcome.COMPLETED)

    async def _purge(self, deleted: Callable[[int], None], statement: str, *bounds: float) -> int:
        total = 0
        while True:
            changed = await self._queue.chore(statement, *bounds, _PURGED_AT_ONCE, 0)
            total += changed
            deleted(changed)
            if changed < _PURGED_AT_ONCE:
                return total
