"""What waits for the ledger's disk: everybody puts in, the writer takes out a transaction at a time.

What a transaction could not write is put back in front of what gathered since. A START that waits too long fails.
"""

import asyncio
from typing import Final

import structlog

from proxy.core.record import Known
from proxy.stores.ledger.gather import Chore, End, Gathered, Piece, Start, Step, Stop, done, fail
from proxy.stores.ledger.port import LedgerUnavailableError
from proxy.stores.ledger.rows import Row

STALL: Final = 0.25
"""Seconds by which a timer may be late before the event loop, not the disk, is what is slow."""

START_DEADLINE: Final = 5.0
"""Seconds after which a START that is not on disk has failed: longer than a healthy disk takes, shorter than people
wait for a first byte."""

_CLOSED: Final = "the ledger is closed"

_log = structlog.get_logger("quell.ledger")


class WriteQueue:
    """The writes that are not on disk yet.

    Args:
        max_pending: how many may wait before new work is refused.
        start_deadline: seconds a START may take.
    """

    def __init__(self, *, max_pending: int, start_deadline: float = START_DEADLINE) -> None:
        self._max_pending = max_pending
        self._start_deadline = start_deadline
        self._loop = asyncio.get_running_loop()
        self._gathered = Gathered()
        self._in_flight = Gathered()
        self._lengths: dict[str, int] = {}  # characters taken so far, for each record begun here that runs
        self._wiped: set[str] = set()  # the running records whose text was deleted
        self._awake = asyncio.Event()
        self._expiry: asyncio.TimerHandle | None = None
        self.closing = asyncio.Event()
        """Set: nothing more is taken."""
        self.healthy = True
        """False after a START was late, until a transaction succeeds again."""

    @property
    def pending(self) -> int:
        """How many writes are not on disk yet."""
        return len(self._gathered) + len(self._in_flight)

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
        if self.closing.is_set():
            fail(durable, _CLOSED)
        elif uid not in self._lengths and uid not in self._wiped:
            fail(durable, "the ledger has no running record that this stop is of")
        else:
            self._gathered.add_stop(uid, Stop(row, [durable]))
            self._awake.set()
        return durable

    def end(self, uid: str, row: Row, *, joins: bool) -> "asyncio.Future[None]":
        """Queue an END. With `joins` the text comes from the pieces; without, they are dropped."""
        durable: asyncio.Future[None] = self._loop.create_future()
        if self.closing.is_set():
            fail(durable, _CLOSED)
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
        elif self.closing.is_set():
            raise LedgerUnavailableError(_CLOSED)
        chores = [Chore(step, self._loop.create_future()) for step in steps]
        self._gathered.chores += chores
        self._awake.set()
        return chores

    def _refuse_beyond_the_bound(self) -> None:
        if self.closing.is_set():
            raise LedgerUnavailableError(_CLOSED)
        if self.pending >= self._max_pending:
            raise LedgerUnavailableError(f"{self.pending} writes wait for the ledger's disk")

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
                fail(start.durable, f"the start was not on disk within {self._start_deadline:g} s")
        self._awake.set()

    # For the writer.

    def close(self) -> None:
        """Take nothing more."""
        self.closing.set()
        self._awake.set()

    @property
    def is_done(self) -> bool:
        """Whether nothing waits, and nothing will."""
        return self.closing.is_set() and not self._gathered

    async def filled(self) -> None:
        """Wait until there is something to write; after a late START the disk is to be tried at once."""
        if not self._gathered and self.healthy:
            await self._awake.wait()
        self._awake.clear()

    def take(self) -> Gathered:
        """All that gathered, for one transaction; `written` or `put_back` says what became of it."""
        self._in_flight, self._gathered = self._gathered, Gathered()
        return self._in_flight

    def put_back(self) -> None:
        """The transaction failed: what it had goes in front of what gathered since."""
        self._gathered, self._in_flight = self._gathered.behind(self._in_flight), Gathered()

    def written(self, changed: list[int]) -> None:
        """The transaction is on disk: tell everybody who waited for it. `changed`: rows, for each of its chores."""
        batch, self._in_flight = self._in_flight, Gathered()
        self.healthy = True
        for uid, start in batch.starts.items():
            if start.late:
                self._gathered.withdrawn[uid] = None
            done(start.durable, None)
        for durable in batch.waiting():
            done(durable, None)
        for chore, rows in zip(batch.chores, changed, strict=True):
            done(chore.changed, rows)

    def abandon(self) -> None:
        """The writer has ended: whatever still waits fails."""
        if self._expiry is not None:
            self._expiry.cancel()
        self.put_back()
        if self._gathered:
            self.give_up()

    def give_up(self) -> None:
        """Fail what gathered: the disk does not take it."""
        batch, self._gathered = self._gathered, Gathered()
        _log.error("ledger.records_lost", starts=len(batch.starts), ends=len(batch.ends))
        batch.fail("the ledger was closed before the disk took this write")
