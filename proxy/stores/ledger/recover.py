"""Saving what can be read of a damaged ledger into a new file. The damaged one is only read."""

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Index, Table, bindparam, create_engine, func, literal_column, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from proxy.core.lifecycle import Outcome
from proxy.stores.conversations.sql import IN_PROGRESS
from proxy.stores.ledger.errors import LedgerOpenError
from proxy.stores.ledger.lock_file import is_held
from proxy.stores.ledger.salvage import KEPT, PIECES, Row, fitting
from proxy.stores.ledger.schema import migrate
from proxy.stores.ledger.sqlite_pages import PageReader
from proxy.stores.ledger.statements import compiled
from proxy.stores.tables import consumer, generation, generation_text, message, message_text, settled

_OTHERS: Final = frozenset({1, 4, 5})
"""Columns of rows that are not saved, and not missed: of the schema, its version, and the notes of deletions."""

_AT_ONCE: Final = 200
"""Pages between two signs of progress."""

_CLEARING: Final = (
    "DELETE FROM truth WHERE uid NOT IN (SELECT uid FROM generation)",
    "DELETE FROM settled WHERE uid NOT IN (SELECT uid FROM generation WHERE outcome <> 'running')",
    "DELETE FROM settled WHERE revision > 1 AND (uid, revision) NOT IN (SELECT uid, revision FROM truth)",
)
"""What is of no record, or would be given out and is not there."""

_SETTLING: Final = (
    (
        "INSERT INTO settled (uid, revision) SELECT uid, 1 FROM generation "
        "WHERE outcome NOT IN ('running', 'interrupted') "
        "AND uid NOT IN (SELECT uid FROM settled WHERE revision = 1) ORDER BY ended_at"
    ),
    (
        "INSERT INTO settled (uid, revision) SELECT uid, 1 FROM generation WHERE outcome = 'interrupted' "
        "AND uid IN (SELECT uid FROM truth) AND uid NOT IN (SELECT uid FROM settled WHERE revision = 1)"
    ),
    (
        "INSERT INTO settled (uid, revision) SELECT uid, revision FROM truth "
        "WHERE (uid, revision) NOT IN (SELECT uid, revision FROM settled)"
    ),
)
"""Every end, and every later truth, is given out; again, where it is not known that it was: its id stays the same."""


def _put_into(table: Table) -> str:
    """The first of two rows with one key stays; but of a record, an old copy must not undo the end."""
    fresh = insert(table).values([bindparam(column.name) for column in table.columns])
    if table is not generation:
        return compiled(fresh.on_conflict_do_nothing())
    ended = {column.name: fresh.excluded[column.name] for column in table.columns}
    running = table.c.outcome == literal_column("'running'")
    return compiled(fresh.on_conflict_do_update(index_elements=[table.c.uid], set_=ended, where=running))


_PUT: Final = {table.name: _put_into(table) for table in KEPT}

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Saved:
    """How many rows of a table were saved, and how many are lost; None where nothing says how many there were."""

    table: str
    saved: int
    lost: int | None


@dataclass(frozen=True, slots=True)
class Recovered:
    """What became of each table; `unreadable`: rows that were found and could not be understood."""

    tables: list[Saved]
    unreadable: int


def recover_file(path: Path, new: Path, progress: Progress = lambda _done, _all: None) -> Recovered:
    """Save what can be read of `path` into `new`, which becomes a whole ledger for its owner only.

    Raises:
        LedgerOpenError: `new` is there already, a process holds `path`, nothing of a ledger is left in it, or a file
            can't be read or written.
    """
    if new.exists():
        raise LedgerOpenError(f"{new}: is there already; name a file that is not")
    part = new.with_name(new.name + ".part")
    try:
        if is_held(path.with_name(path.name + ".lock")):
            raise LedgerOpenError(f"{path}: in use by a running process; stop that one first")
        os.close(os.open(part, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600))
        part.chmod(0o600)
        found = _Found()
        with closing(PageReader(path)) as pages, _writing(part) as connection:
            _read(pages, connection, found, progress)
            _tidy(connection, found)
            saved = {table.name: _count(connection, table) for table in KEPT}
        there_were = _counts(path, new.parent)
        if not there_were and not any(saved.values()):
            raise LedgerOpenError(f"{path}: nothing of a ledger is left in it, so nothing was saved. Restore a backup")
        part.rename(new)
    except (OSError, DBAPIError, sqlite3.Error) as error:
        raise LedgerOpenError(f"{path}: can't be saved into {new} ({getattr(error, 'orig', error)})") from error
    finally:
        part.unlink(missing_ok=True)
    tables = [
        Saved(name, count, max(there_were[name] - count, 0) if name in there_were else None)
        for name, count in saved.items()
    ]
    return Recovered(tables, found.unreadable)


class _Found:
    """What the reading found that is no row of a table yet."""

    def __init__(self) -> None:
        self.unreadable = 0
        self.pieces: list[Row] = []
        self.last_number = 0


@contextmanager
def _writing(path: Path) -> Iterator[Connection]:
    engine = create_engine(
        URL.create("sqlite", database=str(path)), poolclass=NullPool, connect_args={"isolation_level": None}
    )
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA synchronous = FULL")
            connection.exec_driver_sql("PRAGMA secure_delete = ON")
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            migrate(path, connection)
            yield connection
            connection.exec_driver_sql("COMMIT")
    finally:
        engine.dispose()


def _read(pages: PageReader, connection: Connection, found: _Found, progress: Progress) -> None:
    for number in range(1, pages.count + 1):
        if number % _AT_ONCE == 1:
            progress(number, pages.count)
        for row in pages.rows(number):
            fits = row and fitting(*row)
            if row and fits:
                _put(connection, *fits, found)
            elif row is None or len(row[1]) not in _OTHERS:
                found.unreadable += 1
    progress(pages.count, pages.count)


def _put(connection: Connection, table: Table, row: Row, found: _Found) -> None:
    if table.name in PIECES:  # whose they are is known when everything else is there
        found.pieces.append(row)
        return
    if table is consumer and row[0] == settled.name:  # a row of SQLite's own, of the same shape
        found.last_number = max(found.last_number, int(row[1] or 0))
        return
    connection.exec_driver_sql(_PUT[table.name], row)


def _tidy(connection: Connection, found: _Found) -> None:
    """Make one ledger of it: no row without its record, every end settled, no number used again."""
    running = set(connection.scalars(select(generation.c.uid).where(generation.c.outcome == Outcome.RUNNING.value)))
    in_progress = set(connection.scalars(select(message.c.uid).where(IN_PROGRESS)))
    for table, uids in ((generation_text, running), (message_text, in_progress)):
        for piece in found.pieces:
            if piece[0] in uids:
                connection.exec_driver_sql(_PUT[table.name], piece)
    last = max(
        found.last_number,
        connection.scalar(select(func.max(settled.c.number))) or 0,
        connection.scalar(select(func.max(consumer.c.number))) or 0,
    )
    for statement in _CLEARING:
        connection.exec_driver_sql(statement)
    connection.exec_driver_sql("DELETE FROM sqlite_sequence WHERE name = 'settled'")
    connection.exec_driver_sql("INSERT INTO sqlite_sequence (name, seq) VALUES ('settled', ?)", (last,))
    for statement in _SETTLING:
        connection.exec_driver_sql(statement)


def _count(connection: Connection, table: Table) -> int:
    return connection.execute(select(func.count()).select_from(table)).scalar_one()


def _counts(path: Path, folder: Path) -> dict[str, int]:
    """How many rows SQLite says there were, asked of a copy: the indexes of a broken table often still tell."""
    found: dict[str, int] = {}
    with tempfile.TemporaryDirectory(dir=folder, prefix=".recover-") as place:
        copy = Path(place, "copy.db")
        for end in ("", "-wal"):
            if (source := path.with_name(path.name + end)).exists():
                shutil.copyfile(source, copy.with_name(copy.name + end))
        with closing(sqlite3.connect(copy)) as db:
            for table in KEPT:
                ways = [
                    "NOT INDEXED",
                    *(f"INDEXED BY {index.name}" for index in table.indexes if not _is_partial(index)),
                ]
                told = [_ask(db, f"SELECT count(*) FROM {table.name} {way}") for way in ways]  # noqa: S608 names of our own
                if any(count is not None for count in told):
                    found[table.name] = max(count or 0 for count in told)
    return found


def _is_partial(index: Index) -> bool:
    return index.dialect_options["sqlite"]["where"] is not None


def _ask(db: sqlite3.Connection, asked: str) -> int | None:
    try:
        return int(db.execute(asked).fetchone()[0])
    except sqlite3.Error:
        return None
