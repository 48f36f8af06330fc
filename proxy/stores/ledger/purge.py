"""Purging a ledger that no process holds."""

import sqlite3
from collections.abc import Collection
from pathlib import Path
from typing import Final

from proxy.core.settings.sections import LedgerSettings
from proxy.stores.ledger.sqlite_open import open_ledger
from proxy.stores.ledger.statements import COUNT_RECORDS, COUNT_SERVED, COUNT_TEXT
from proxy.stores.ledger.verify import Progress, reading, refuse_foreign
from proxy.stores.shared_ledger.spool import HEARD

NAME: Final = "purge"
"""As whom the ledger is held meanwhile."""


async def purge_file(
    path: Path,
    settings: LedgerSettings,
    now: float,
    before: float | None,
    held: Collection[str],
    progress: Progress = lambda _done, _all: None,
) -> tuple[int, int]:
    """Do what `Ledger.purge` does. Holds the ledger meanwhile, and ends what a dead process left, as a start does.

    Args:
        path: the ledger's file.
        settings: how long records and texts are kept.
        now: seconds since the epoch.
        before: instead of what the settings say, what ended before then.
        held: the consumers whose unserved records are spared.
        progress: is told how much is deleted, and of how much.

    Raises:
        LedgerOpenError: it is no ledger or can't be opened; `LedgerLockedError` if a process holds it.
        LedgerUnavailableError: the disk refuses.
        sqlite3.Error: it can't be read.
    """
    with reading(path) as db:  # opening would make a ledger out of an empty file
        refuse_foreign(path, db)
    ledger = await open_ledger(
        f"sqlite:///{path}",
        text=settings.text,
        keep=settings.keep,
        text_keep=settings.text_keep,
        now=now,
        replica=NAME,
    )
    try:
        for name in held:
            ledger.outbox.hold(name, held=True)
        todo, done = sum(count_in_file(path, settings, now, before, held)), 0

        def deleted(count: int) -> None:
            nonlocal done
            done += count
            progress(done, todo)

        return await ledger.purge(now, before=before, deleted=deleted)
    finally:
        await ledger.close()


def count_in_file(
    path: Path, settings: LedgerSettings, now: float, before: float | None, held: Collection[str]
) -> tuple[int, int]:
    """How many texts and records that would delete. The file is not changed.

    Raises:
        LedgerOpenError: it is no ledger.
        sqlite3.Error: it can't be read.
    """
    texts, records = (now - settings.text_keep, now - settings.keep) if before is None else (before, before)
    with reading(path) as db:
        refuse_foreign(path, db)
        positions = _positions(db)
        served = min((positions.get(name, 0) for name in held), default=None)
        of_all = (COUNT_RECORDS, (records,)) if served is None else (COUNT_SERVED, (records, served))
        counted = [db.execute(asked, values).fetchone()[0] for asked, values in ((COUNT_TEXT, (texts,)), of_all)]
        return counted[0], counted[1]


def consumers_in_file(path: Path) -> frozenset[str]:
    """Who was served from this ledger until now.

    Raises:
        sqlite3.Error: it can't be read.
    """
    with reading(path) as db:
        return frozenset(_positions(db)) - {HEARD}


def _positions(db: sqlite3.Connection) -> dict[str, int]:
    if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'consumer'").fetchone() is None:  # of an older schema
        return {}
    return dict(db.execute("SELECT name, number FROM consumer"))
