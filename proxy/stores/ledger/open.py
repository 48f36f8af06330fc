"""Opening the ledger's file: everything that is checked and repaired before the first request.

All of it blocks, so it runs on a thread of its own. Each refusal is one `LedgerOpenError` that names the file and what
to do; a file that is not understood is never changed.
"""

import os
import shlex
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, create_engine, inspect, select
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from proxy.core.called import called
from proxy.core.record import TextPolicy
from proxy.stores.ledger.errors import LedgerOpenError
from proxy.stores.ledger.lock_file import LockFile
from proxy.stores.ledger.recovery import (
    end_stopped,
    forget_deletions,
    interrupt_items,
    interrupt_messages,
    interrupt_running,
)
from proxy.stores.ledger.schema import migrate
from proxy.stores.ledger.statements import UNSETTLED
from proxy.stores.tables import APPLICATION_ID, generation

_MAGIC: Final = b"SQLite format 3\0"
_BUSY_TIMEOUT: Final = 5.0
_CHECKED_UP_TO: Final = 256 << 20
"""Bytes up to which each page is checked at the start; half a gigabyte takes about a second."""


@dataclass(frozen=True, slots=True)
class Left:
    """What the last process left.

    `interrupted`: route and upstream of each record that was still running and is `interrupted` now. `unsettled`:
    whether any of these, or of those before, is still to be counted. `stopped`: route, upstream and outcome of each
    that a stop had released, and whose upstream was still read on.
    """

    interrupted: list[tuple[str, str]]
    unsettled: bool
    stopped: list[tuple[str, str, str]] = field(default_factory=list)


def open_file(path: Path, *, text: TextPolicy, now: float, replica: str) -> tuple[LockFile, Left]:
    """Lock the file, make or migrate its tables, and end what the last process left running.

    Raises:
        LedgerOpenError: as the message says.
        LedgerLockedError: another process has the ledger.
    """
    try:
        _refuse_wrong_place(path)
        lock = LockFile.acquire(path.with_name(path.name + ".lock"), replica)
    except OSError as error:
        raise _unusable(path, error) from error
    try:
        _make_private(path)
        _refuse_foreign_bytes(path)
        return lock, _prepare(path, text=text, now=now)
    except BaseException as error:
        lock.release()
        if isinstance(error, OSError):
            raise _unusable(path, error) from error
        raise


def _refuse_wrong_place(path: Path) -> None:
    if path.is_dir():
        raise LedgerOpenError(f"{path}: is a folder; ledger.url must name a file in it")
    if not path.parent.is_dir():
        # Not made here: it may be a volume that was not mounted.
        raise LedgerOpenError(f"{path}: the folder {path.parent} does not exist; make it, or change ledger.url")


def _make_private(path: Path) -> None:
    # SQLite gives its -wal and -shm files the mode of the database; what it would make itself follows the umask.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))


def _refuse_foreign_bytes(path: Path) -> None:
    with path.open("rb") as file:
        head = file.read(len(_MAGIC))
    if head not in {b"", _MAGIC}:
        raise LedgerOpenError(
            f"{path}: is not an SQLite database, or its beginning is damaged. Nothing was changed. Let ledger.url name "
            "another file; if it was a ledger, restore a backup, or save what can be read with "
            f"`{called()} ledger recover {shlex.quote(str(path))} --to NEW`",
        )


def _prepare(path: Path, *, text: TextPolicy, now: float) -> Left:
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        poolclass=NullPool,
        connect_args={"isolation_level": None, "timeout": _BUSY_TIMEOUT},
    )
    try:
        with engine.connect() as connection:
            _refuse_foreign_database(path, connection)
            _check_pages(path, connection)
            connection.exec_driver_sql("PRAGMA journal_mode = WAL")
            connection.exec_driver_sql("PRAGMA synchronous = FULL")
            connection.exec_driver_sql("PRAGMA secure_delete = ON")
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            migrate(path, connection)
            stopped = end_stopped(connection, text=text)
            interrupted = interrupt_running(connection, text=text, now=now)
            interrupt_messages(connection, now=now)
            interrupt_items(connection)
            forget_deletions(connection)
            unsettled = connection.execute(select(generation.c.uid).where(UNSETTLED).limit(1)).first() is not None
            connection.exec_driver_sql("COMMIT")
            return Left(interrupted, unsettled, stopped)
    except DBAPIError as error:
        raise _refused_by_sqlite(path, error.orig) from error
    finally:
        engine.dispose()


def _refuse_foreign_database(path: Path, connection: Connection) -> None:
    mark = connection.exec_driver_sql("PRAGMA application_id").scalar_one()
    if mark != APPLICATION_ID and inspect(connection).get_table_names():
        raise LedgerOpenError(
            f"{path}: is an SQLite database of another program. Nothing was changed. Let ledger.url name another file",
        )


def _check_pages(path: Path, connection: Connection) -> None:
    if path.stat().st_size > _CHECKED_UP_TO:
        return
    finding = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
    if finding != "ok":
        raise _damaged(path, str(finding))


def _unusable(path: Path, error: OSError) -> LedgerOpenError:
    return LedgerOpenError(
        f"{path}: {error.strerror or error}. The ledger's file and its folder must be writable: "
        "change their owner or mode, or change ledger.url",
    )


def _damaged(path: Path, finding: str) -> LedgerOpenError:
    return LedgerOpenError(
        f"{path}: the database is damaged ({finding}). Nothing was changed. Restore a backup, or save what can be read "
        f"with `{called()} ledger recover {shlex.quote(str(path))} --to NEW` and put that file in its place",
    )


def _refused_by_sqlite(path: Path, error: BaseException | None) -> LedgerOpenError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return LedgerOpenError(f"{path}: another program holds a lock on it; end that program, then start again")
    if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
        return _damaged(path, str(error))
    if code == sqlite3.SQLITE_FULL:
        return LedgerOpenError(f"{path}: the disk is full; make room, then start again")
    return LedgerOpenError(
        f"{path}: {error}. The ledger's file and its folder must be writable, on a disk that works",
    )
