"""What gathers for the next transaction: keyed by record, so that it grows with the records and not with time."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

from proxy.core.record import Known
from proxy.stores.ledger.port import LedgerUnavailableError
from proxy.stores.ledger.rows import Row

T = TypeVar("T")

Value: TypeAlias = str | int | float | None

Step: TypeAlias = tuple[str, tuple[Value, ...] | Mapping[str, Value]]
"""A statement, with its values by place or by name."""


@dataclass(slots=True)
class Start:
    """A START on its way; `late` once its caller was told that it failed."""

    row: Row
    durable: "asyncio.Future[None]"
    deadline: float
    late: bool = False


@dataclass(slots=True)
class Piece:
    """The next stretch of a text: how many characters go before it, and what has come since."""

    offset: int
    parts: list[str]


@dataclass(slots=True)
class Stop:
    """A stop on its way, with everybody who waits for it."""

    row: Row
    durable: list["asyncio.Future[None]"]


@dataclass(slots=True)
class End:
    """An END on its way, with everybody who waits for it.

    `pieces` if there may be pieces of its text to delete; `joins` if they are to become the text first.
    """

    row: Row
    pieces: bool
    joins: bool
    durable: list["asyncio.Future[None]"]


@dataclass(slots=True)
class Chore:
    """A single statement in its turn; the future gets the number of rows it changed.

    `late` once its caller gave it up: it is not tried again.
    """

    step: Step
    changed: "asyncio.Future[int]"
    late: bool = False


@dataclass(slots=True)
class Gathered:
    """The writes of one transaction. Starts go before notes and pieces, then stops, ends, and chores."""

    starts: dict[str, Start] = field(default_factory=dict)
    notes: dict[str, Known] = field(default_factory=dict)
    pieces: dict[str, Piece] = field(default_factory=dict)
    withdrawn: dict[str, None] = field(default_factory=dict)
    stops: dict[str, Stop] = field(default_factory=dict)
    ends: dict[str, End] = field(default_factory=dict)
    chores: list[Chore] = field(default_factory=list)

    def __len__(self) -> int:
        running = len(self.starts) + len(self.notes) + len(self.pieces)
        return running + len(self.withdrawn) + len(self.stops) + len(self.ends) + len(self.chores)

    def add_piece(self, uid: str, piece: Piece) -> None:
        """Take the next stretch of a text, which lengthens one that still waits."""
        first = self.pieces.setdefault(uid, piece)
        if first is not piece:
            first.parts.extend(piece.parts)

    def add_stop(self, uid: str, stop: Stop) -> None:
        """Take how a record ends if nothing more comes; of two the later counts, and both have their waiters."""
        before = self.stops.get(uid)
        if before is not None:
            stop.durable[:0] = before.durable
        self.stops[uid] = stop

    def add_end(self, uid: str, end: End) -> None:
        """Take an END; of two for one record the earlier counts, and the later one's waiters wait with it."""
        first = self.ends.setdefault(uid, end)
        if first is not end:
            first.durable.extend(end.durable)

    def waiting(self) -> list["asyncio.Future[None]"]:
        """Whoever waits for a stop or an END among this."""
        stops = [durable for stop in self.stops.values() for durable in stop.durable]
        return stops + [durable for end in self.ends.values() for durable in end.durable]

    def fail(self, message: str) -> None:
        """Tell everybody who waits for any of this that it is not written."""
        for start in self.starts.values():
            fail(start.durable, message)
        for durable in self.waiting():
            fail(durable, message)
        for chore in self.chores:
            fail(chore.changed, message)

    def behind(self, failed: "Gathered") -> "Gathered":
        """What `failed` could not write, followed by this: one transaction again. What was given up stays out."""
        both = Gathered(withdrawn=failed.withdrawn | self.withdrawn, stops=failed.stops, ends=failed.ends)
        both.starts = {uid: start for uid, start in failed.starts.items() if not start.late} | self.starts
        given_up = {uid for uid, start in failed.starts.items() if start.late}
        both.notes = {uid: known for uid, known in failed.notes.items() if uid not in given_up} | self.notes
        both.pieces = {uid: piece for uid, piece in failed.pieces.items() if uid not in given_up}
        for uid, piece in self.pieces.items():
            both.add_piece(uid, piece)
        for uid, stop in self.stops.items():
            both.add_stop(uid, stop)
        for uid, end in self.ends.items():
            both.add_end(uid, end)
        both.chores = [chore for chore in failed.chores if not chore.late] + self.chores
        return both


def done(future: "asyncio.Future[T]", result: T) -> None:
    """Tell whoever waits; it may have been cancelled, and the future with it."""
    if not future.done():
        future.set_result(result)


def fail(future: "asyncio.Future[T]", message: str) -> None:
    """Tell whoever waits that it is not written; nobody has to wait for an END."""
    if not future.done():
        future.set_exception(LedgerUnavailableError(message))
        future.exception()  # marks it as seen
