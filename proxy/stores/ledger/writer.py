"""The ledger's one writer: what gathers while a transaction runs is the next transaction.

It has no timer of its own: idle, it commits at once; busy, it groups. aiosqlite runs SQLite on a thread that belongs to
the connection, so a slow disk holds up neither the event loop nor anybody else's threads. A transaction that fails is
put back in front of what gathered since, and written again as a new one.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import aiosqlite
import structlog

from proxy.core.record import Known
from proxy.stores.ledger import transaction as ledger_transaction
from proxy.stores.ledger.gather import Chore, End, Gathered, Piece, Start, Step, Stop
from proxy.stores.ledger.port import LedgerUnavailableError
from proxy.stores.ledger.rows import Row

STALL: Final = 0.25
"""Seconds by which a timer may be late before the event loop, not the disk, is what is slow."""

START_DEADLINE: Final = 5.0
"""Seconds after which a START that is not on disk has failed: longer than a healthy disk takes, shorter than people
wait for a first byte."""

CLOSE_PATIENCE: Final = 10.0
"""Seconds that closing goes on trying while the disk refuses."""

_CLOSED: Final = "the ledger is closed"
_RETRY_FIRST: Final = 0.05
_RETRY_MOST: Final = 1.0

_T = TypeVar("_T")
_log = structlog.get_logger("quell.ledger")


class LedgerWriter:
    """Gathers writes and commits them in groups. `start` begins, `close` writes what is left and ends.

    Args:
        connect: opens the write connection; asked again when a failure leaves the old one in doubt.
        max_pending: how many writes may wait for the disk before new work is refused.
        start_deadline: seconds a START may take.
        close_patience: seconds `close` goes on trying while the disk refuses.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[aiosqlite.Connection]],
        *,
        max_pending: int,
        start_deadline: float = START_DEADLINE,
        close_patience: float = CLOSE_PATIENCE,
    ) -> None:
        self._connect = connect
        self._max_pending = max_pending
        self._start_deadline = start_deadline
        self._close_patience = close_patience
        self._loop = asyncio.get_running_loop()
        self._connection: aiosqlite.Connection | None = None
        self._gathered = Gathered()
        self._in_flight = Gathered()
        self._lengths: dict[str, int] = {}  # characters taken so far, for each record begun here that runs
        self._wiped: set[str] = set()  # the running records whose text was deleted
        self._awake = asyncio.Event()
        self._closing = asyncio.Event()
        self._expiry: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._failures = 0
        self.healthy = True
        self.written = 0
        self.failed = 0

    @property
    def pending(self) -> int:
        """How many writes are not on disk yet."""
        return len(self._gathered) + len(self._in_flight)

    async def start(self) -> None:
        """Open the connection and begin to write.

        Raises:
            sqlite3.Error: the connection can't be opened.
        """
        self._connection = await self._connect()
        self._task = self._loop.create_task(self._run(), name="ledger writer")

    def begin(self, uid: str, row: Row) -> "asyncio.Future[None]":
        """Queue a START; the future is done once it is on disk, or fails after the deadline.

        Raises:
            LedgerUnavailableError: too much waits for the disk, or the ledger is closed.
        """
        self._refuse_beyond_the_bound()
        start = Start(row, self._loop.create_future(), self._loop.time() + self._start_deadline)
        self._gathered.starts[uid] = start
        self._lengths[uid] = 0
        if self._expiry is None:
            self._expire_at(start.deadline)
        self._awake.set()
        return start.durable

    def append(self, uid: str, text: str) -> None:
        """Queue the next piece of a text; ignored unless the record was begun here and runs."""
        length = self._lengths.get(uid)
        if length is None or not text:
            return
        self._lengths[uid] = length + len(text)
        self._gathered.add_piece(uid, Piece(length, [text]))
        self._awake.set()

    def note(self, uid: str, known: Known) -> None:
        """Queue what is known now; the newest counts. Ignored unless the record was begun here and runs."""
        if uid in self._lengths or uid in self._wiped:
            self._gathered.notes[uid] = known
            self._awake.set()

    def stop(self, uid: str, row: Row) -> "asyncio.Future[None]":
        """Queue how a record ends if nothing more is heard of it; fails unless it was begun here and runs."""
        durable: asyncio.Future[None] = self._loop.create_future()
        if self._closing.is_set():
            _fail(durable, _CLOSED)
        elif uid not in self._lengths and uid not in self._wiped:
            _fail(durable, "the ledger has no running record that this stop is of")
        else:
            self._gathered.add_stop(uid, Stop(row, [durable]))
            self._awake.set()
        return durable

    def end(self, uid: str, row: Row, *, joins: bool) -> "asyncio.Future[None]":
        """Queue an END. With `joins` the text comes from the pieces; without, they are dropped."""
        durable: asyncio.Future[None] = self._loop.create_future()
        if self._closing.is_set():
            _fail(durable, _CLOSED)
            return durable
        length = self._lengths.pop(uid, None)
        self._wiped.discard(uid)
        self._gathered.notes.pop(uid, None)
        if not joins:
            self._gathered.pieces.pop(uid, None)
        self._gathered.add_end(uid, End(row, length != 0, joins, [durable]))
        self._awake.set()
        return durable

    def wipe(self, uid: str) -> None:
        """Drop what waits of a running record's text, and take no more of it."""
        self._gathered.pieces.pop(uid, None)
        if self._lengths.pop(uid, None) is not None:
            self._wiped.add(uid)

    def is_wiped(self, uid: str) -> bool:
        """Whether the text of this running record was deleted."""
        return uid in self._wiped

    def chore(self, statement: str, *values: str | float) -> "asyncio.Future[int]":
        """Queue one statement behind everything queued so far; the future gets how many rows it changed.

        Raises:
            LedgerUnavailableError: as for `begin`.
        """
        return self.chores((statement, values))[0].changed

    def chores(self, *steps: Step, always: bool = False) -> list[Chore]:
        """Queue statements as `chore` does, all of them for one transaction.

        Args:
            steps: each with its values.
            always: also beyond the bound, for what ends or takes back something that was let in.

        Raises:
            LedgerUnavailableError: as for `begin`; none of them is queued.
        """
        if not always:
            self._refuse_beyond_the_bound()
        elif self._closing.is_set():
            raise LedgerUnavailableError(_CLOSED)
        chores = [Chore(step, self._loop.create_future()) for step in steps]
        self._gathered.chores += chores
        self._awake.set()
        return chores

    async def close(self) -> None:
        """Take nothing more, write what is queued, close the connection. What the disk refuses to the end fails."""
        self._closing.set()
        self._awake.set()
        try:
            if self._task is not None:
                await asyncio.wait({self._task})
        finally:
            # Also when whoever closes has lost patience: the connection's thread would keep the process alive.
            await self._stop()

    async def _stop(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
        if self._task is not None:
            self._task.cancel()
        self._gathered, self._in_flight = self._gathered.behind(self._in_flight), Gathered()
        if self._gathered:
            self._give_up()
        await self._drop_connection()

    def _refuse_beyond_the_bound(self) -> None:
        if self._closing.is_set():
            raise LedgerUnavailableError(_CLOSED)
        if self.pending >= self._max_pending:
            raise LedgerUnavailableError(f"{self.pending} writes wait for the ledger's disk")

    async def _run(self) -> None:
        patience = _Patience(self._loop, self._close_patience)
        delay = _RETRY_FIRST
        while True:
            if not self._gathered and self._closing.is_set():
                return
            if not self._gathered and self.healthy:
                await self._awake.wait()
            self._awake.clear()
            if await self._write():
                delay = _RETRY_FIRST
            elif self._closing.is_set() and patience.is_over():
                self._give_up()
            else:
                await self._pause(delay)
                delay = min(delay * 2, _RETRY_MOST)

    async def _write(self) -> bool:
        """One transaction of all that gathered; when it fails, nothing is lost."""
        batch, self._gathered = self._gathered, Gathered()
        self._in_flight = batch
        try:
            if self._connection is None:
                self._connection = await self._connect()
            changed = await ledger_transaction.write(self._connection, batch)
        except Exception as error:  # noqa: BLE001  whatever it is that stops a transaction, its records stay queued
            self._gathered, self._in_flight = self._gathered.behind(batch), Gathered()
            await self._after_failure(error)
            return False
        self._in_flight = Gathered()
        self._after_success(batch, changed)
        return True

    def _after_success(self, batch: Gathered, changed: list[int]) -> None:
        if self._failures:
            _log.info("ledger.write_recovered", failures=self._failures, pending=self.pending)
        self._failures = 0
        self.healthy = True
        self.written += 1
        for uid, start in batch.starts.items():
            if start.late:
                self._gathered.withdrawn[uid] = None
            _done(start.durable, None)
        for durable in batch.waiting():
            _done(durable, None)
        for chore, rows in zip(batch.chores, changed, strict=True):
            _done(chore.changed, rows)

    async def _after_failure(self, error: Exception) -> None:
        self.failed += 1
        self._failures += 1
        if self._failures == 1:
            _log.error("ledger.write_failed", error=f"{type(error).__name__}: {error}", pending=self.pending)
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
            await asyncio.wait_for(self._closing.wait(), delay)

    def _expire_at(self, when: float) -> None:
        self._expiry = self._loop.call_at(when, self._expire, when)

    def _expire(self, due: float) -> None:
        """Fail the STARTs whose time is over, and look again when the next one's is."""
        self._expiry = None
        now = self._loop.time()
        if now - due > STALL:  # the event loop was held up, so the disk's answer may wait behind us: hear it first
            self._expire_at(now + STALL)
            return
        for batch in (self._in_flight, self._gathered):
            for uid, start in list(batch.starts.items()):
                if start.late:
                    continue
                if start.deadline > now:
                    self._expire_at(start.deadline)
                    return
                if self.healthy:
                    _log.error("ledger.start_late", seconds=self._start_deadline, pending=self.pending)
                self.healthy = False
                start.late = True
                self._gathered.starts.pop(uid, None)
                self._gathered.notes.pop(uid, None)
                self._gathered.pieces.pop(uid, None)
                self._lengths.pop(uid, None)
                _fail(start.durable, f"the start was not on disk within {self._start_deadline:g} s")
        self._awake.set()

    def _give_up(self) -> None:
        batch, self._gathered = self._gathered, Gathered()
        _log.error("ledger.records_lost", starts=len(batch.starts), ends=len(batch.ends))
        message = "the ledger was closed before the disk took this write"
        for start in batch.starts.values():
            _fail(start.durable, message)
        for durable in batch.waiting():
            _fail(durable, message)
        for chore in batch.chores:
            _fail(chore.changed, message)


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


def _done(future: "asyncio.Future[_T]", result: _T) -> None:
    # Whoever waited may have been cancelled, and the future with it.
    if not future.done():
        future.set_result(result)


def _fail(future: "asyncio.Future[_T]", message: str) -> None:
    if not future.done():
        future.set_exception(LedgerUnavailableError(message))
        future.exception()  # marks it as seen: nobody has to wait for an END
