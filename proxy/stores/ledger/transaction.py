"""One transaction of the ledger, from its first statement to the commit."""

import contextlib
import sqlite3
from collections.abc import Awaitable, Callable, Iterable

import aiosqlite

from proxy.stores.ledger.gather import End, Gathered, Start
from proxy.stores.ledger.rows import known_row
from proxy.stores.ledger.statements import DROP_PIECES, END, NOTE, PIECE, SETTLED, START, STOP, WITHDRAW

_BEGIN = "BEGIN IMMEDIATE"
"""What can't be locked fails before anything is written."""

_PROBE = "PRAGMA user_version = 1"
"""Writes the file's first page: the smallest write that shows whether the disk takes one again."""


async def write(connection: aiosqlite.Connection, batch: Gathered) -> list[int]:
    """Write the batch as a whole; an empty one only proves that the disk takes a write.

    The connection begins no transaction by itself (`isolation_level` None). All of it is one trip to the connection's
    thread: each further one would wait for its turn on the event loop.

    Returns:
        How many rows each chore changed.

    Raises:
        sqlite3.Error: nothing was written; the transaction may still be open, see `undo`.
    """
    trip: Callable[..., Awaitable[list[int]]] = connection._execute  # noqa: SLF001 aiosqlite has no public way to do it
    return await trip(_write, connection._conn, batch)  # noqa: SLF001 the same


def _write(db: sqlite3.Connection, batch: Gathered) -> list[int]:
    if not batch:
        db.execute(_PROBE)
        return []
    if len(batch) == len(batch.starts) == 1:
        _write_start(db, next(iter(batch.starts.values())))
        return []
    db.execute(_BEGIN)
    if batch.starts:
        db.executemany(START, [start.row for start in batch.starts.values()])
    if batch.withdrawn:
        db.executemany(WITHDRAW, _uids(batch.withdrawn))
        db.executemany(DROP_PIECES, _uids(batch.withdrawn))
    if batch.notes:
        db.executemany(NOTE, [known_row(uid, known) for uid, known in batch.notes.items()])
    if batch.pieces:
        rows = [(uid, piece.offset, "".join(piece.parts)) for uid, piece in batch.pieces.items()]
        db.executemany(PIECE, rows)
    if batch.stops:
        db.executemany(STOP, [stop.row for stop in batch.stops.values()])
    if batch.ends:
        _write_ends(db, batch.ends)
    changed = [db.execute(*chore.step).rowcount for chore in batch.chores]
    db.commit()
    return changed


def _write_start(db: sqlite3.Connection, start: Start) -> None:
    """One START alone, as at low load: a statement outside of a transaction is one by itself, commit included.

    Somebody's first byte may wait for it. With `BEGIN` and `COMMIT` as statements of their own, this thread and the
    event loop take Python's lock from each other six times more, and whoever waits for it is woken late.
    """
    db.execute(START, start.row)


async def undo(connection: aiosqlite.Connection) -> bool:
    """Roll back what failed; False if the connection is in doubt and must be given up."""
    with contextlib.suppress(sqlite3.Error, ValueError):
        await connection.rollback()
        return not connection.in_transaction
    return False


def _write_ends(db: sqlite3.Connection, ends: dict[str, End]) -> None:
    # An END without a text takes the pieces that it finds: those it must not take go before it, those it takes after.
    if unwanted := [uid for uid, end in ends.items() if end.pieces and not end.joins]:
        db.executemany(DROP_PIECES, _uids(unwanted))
    db.executemany(END, [end.row for end in ends.values()])
    db.executemany(SETTLED, _uids(ends))
    if joined := [uid for uid, end in ends.items() if end.pieces and end.joins]:
        db.executemany(DROP_PIECES, _uids(joined))


def _uids(uids: Iterable[str]) -> list[tuple[str]]:
    return [(uid,) for uid in uids]
